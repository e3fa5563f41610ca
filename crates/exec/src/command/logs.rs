//! The files that a slot's tasks write stdout and stderr to: made once, emptied for each task.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use filch_types::limits::{LOG_HEAD, LOG_TAIL};

use crate::control::Live;

/// One of them.
struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    fn create(path: &Path) -> io::Result<Self> {
        crate::dirs::remove_tree(path)?;
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Whether its path still leads to it.
    fn in_place(&self) -> bool {
        let (Ok(here), Ok(there)) = (rustix::fs::fstat(&self.file), rustix::fs::lstat(&self.path)) else {
            return false;
        };
        (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
    }

    /// What is kept of `total` bytes: all, or head and tail.
    fn take(&self, total: u64) -> io::Result<Vec<u8>> {
        let keep = LOG_HEAD + LOG_TAIL;
        let mut bytes = vec![0; usize::try_from(total.min(keep)).unwrap_or(0)];
        if total <= keep {
            self.read(&mut bytes, 0)?;
        } else {
            let (head, tail) = bytes.split_at_mut(usize::try_from(LOG_HEAD).unwrap_or(0));
            self.read(head, 0)?;
            self.read(tail, total - LOG_TAIL)?;
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
    pub(super) live: Arc<Live>,
}

impl Logs {
    pub(super) fn create(slot: &Path) -> io::Result<Self> {
        fs::create_dir_all(slot)?;
        let (stdout, stderr) = (slot.join("stdout"), slot.join("stderr"));
        let (out, err) = (Log::create(&stdout)?, Log::create(&stderr)?);
        Ok(Self { out, err, live: Arc::new(Live { stdout, stderr }) })
    }
    pub(super) fn paths(&self) -> (&Path, &Path) {
        (&self.out.path, &self.err.path)
    }
    /// Kept bytes of stdout and stderr.
    pub(super) fn take(&self, stdout: u64, stderr: u64) -> io::Result<(Vec<u8>, Vec<u8>)> {
        Ok((self.out.take(stdout)?, self.err.take(stderr)?))
    }
    /// Empties those that were written to. False if they cannot be used again: a task has moved or replaced one.
    pub(super) fn reset(&self, stdout: u64, stderr: u64) -> bool {
        let ready = |log: &Log, len: u64| log.in_place() && (len == 0 || log.file.set_len(0).is_ok());
        ready(&self.out, stdout) && ready(&self.err, stderr)
    }
}
