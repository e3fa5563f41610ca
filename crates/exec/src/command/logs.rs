//! The files that a slot's tasks write stdout and stderr to. One task's output is appended to that of the one before, and a
//! file is replaced when it has grown long.
//!
//! Emptying it for each task would be dear: ext4 writes a file that was truncated to disk as soon as it is closed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use filch_types::limits::{LOG_HEAD, LOG_TAIL};

use crate::control::{Live, LiveFile};
use crate::spawner::proto::Written;

/// A file this long is replaced.
const LONG: u64 = 1024 * 1024;

/// One of them.
struct Log {
    path: Arc<Path>,
    file: File,
    /// Bytes of earlier tasks.
    end: u64,
}

impl Log {
    fn create(path: &Path) -> io::Result<Self> {
        crate::dirs::remove_tree(path)?;
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self { path: path.into(), file, end: 0 })
    }

    /// Whether the next task can go on after this one: not too long, and its path still leads to it.
    fn reusable(&mut self, last: Written) -> bool {
        self.end = last.from.saturating_add(last.bytes);
        if self.end > LONG {
            return false;
        }
        let (Ok(here), Ok(there)) = (rustix::fs::fstat(&self.file), rustix::fs::lstat(&*self.path)) else {
            return false;
        };
        (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
    }

    /// What is kept of a task's part: all, or head and tail.
    fn take(&self, Written { from, bytes: total }: Written) -> io::Result<Vec<u8>> {
        let keep = LOG_HEAD + LOG_TAIL;
        let mut bytes = vec![0; usize::try_from(total.min(keep)).unwrap_or(0)];
        if total <= keep {
            self.read(&mut bytes, from)?;
        } else {
            let (head, tail) = bytes.split_at_mut(usize::try_from(LOG_HEAD).unwrap_or(0));
            self.read(head, from)?;
            self.read(tail, from + (total - LOG_TAIL))?;
        }
        Ok(bytes)
    }

    /// A task may have cut its own log shorter meanwhile: the rest stays zero.
    fn read(&self, mut buf: &mut [u8], mut at: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.file.read_at(buf, at) {
                Ok(0) => return Ok(()),
                Ok(n) => {
                    buf = buf.get_mut(n..).unwrap_or_default();
                    at += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Both.
pub(super) struct Logs {
    out: Log,
    err: Log,
}

impl Logs {
    pub(super) fn create(slot: &Path) -> io::Result<Self> {
        fs::create_dir_all(slot)?;
        Ok(Self { out: Log::create(&slot.join("stdout"))?, err: Log::create(&slot.join("stderr"))? })
    }
    /// Where the next task's output will be.
    pub(super) fn live(&self) -> Live {
        let of = |log: &Log| LiveFile { path: log.path.clone(), from: log.end };
        Live { stdout: of(&self.out), stderr: of(&self.err) }
    }
    /// Kept bytes of stdout and stderr.
    pub(super) fn take(&self, stdout: Written, stderr: Written) -> io::Result<(Vec<u8>, Vec<u8>)> {
        Ok((self.out.take(stdout)?, self.err.take(stderr)?))
    }
    /// Whether the next task can use them too.
    pub(super) fn reusable(&mut self, stdout: Written, stderr: Written) -> bool {
        self.out.reusable(stdout) && self.err.reusable(stderr)
    }
}
