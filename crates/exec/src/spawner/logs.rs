//! Keeps a running task's output within bounds: the middle of a long log is given back to the file system.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use filch_types::limits::{LOG_HEAD, LOG_TAIL};
use rustix::fs::FallocateFlags;

use super::proto::Written;

/// Between looks at a log that grows slowly.
pub(super) const SLOW: Duration = Duration::from_millis(250);
/// Between looks at one that grows fast: what it writes meanwhile is what it may take too much.
const FAST: Duration = Duration::from_millis(20);
/// Growth between two looks that counts as fast.
const FAST_BYTES: u64 = 4 * 1024 * 1024;
/// The middle is cut when it is at least so long.
const SLACK: u64 = 1024 * 1024;
/// Where the file system cannot give back a middle, a task that writes more than this is killed.
const FLOOD: u64 = 256 * 1024 * 1024;
const PAGE: u64 = 4096;

/// One log.
pub(super) struct Log {
    pub(super) file: File,
    /// Where the task's part begins.
    from: u64,
    seen: u64,
    cut_to: u64,
    cannot_cut: bool,
}

/// Size of a log, and whether it still has exactly one name.
pub(super) struct Size {
    pub(super) written: Written,
    pub(super) intact: bool,
}

impl Log {
    /// A log opened for a task that has not started.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let from = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
        Ok(Self { file, from, seen: 0, cut_to: from + LOG_HEAD, cannot_cut: false })
    }

    pub(super) fn size(&self) -> io::Result<Size> {
        let stat = rustix::fs::fstat(&self.file)?;
        let end = u64::try_from(stat.st_size).unwrap_or(0);
        // A program that empties its own output writes from the beginning.
        let from = if end < self.from { 0 } else { self.from };
        Ok(Size { written: Written { from, bytes: end - from }, intact: stat.st_nlink == 1 })
    }

    /// Cuts what may be cut; when to look again, or `None` if it cannot be bounded.
    fn look(&mut self) -> Option<Duration> {
        let Written { from, bytes } = self.size().map(|s| s.written).unwrap_or_default();
        let grown = bytes.saturating_sub(self.seen);
        self.seen = bytes;
        let end = (from + bytes).saturating_sub(LOG_TAIL) / PAGE * PAGE;
        if end >= self.cut_to + SLACK && !self.cannot_cut {
            let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match rustix::fs::fallocate(&self.file, mode, self.cut_to, end - self.cut_to) {
                Ok(()) => self.cut_to = end,
                Err(_) => self.cannot_cut = true,
            }
        }
        if self.cannot_cut && bytes > FLOOD {
            return None;
        }
        Some(if grown >= FAST_BYTES { FAST } else { SLOW })
    }
}

/// Both logs of a task and when to look at them.
pub(super) struct Logs {
    pub(super) out: Log,
    pub(super) err: Log,
    pub(super) next: Instant,
}

impl Logs {
    pub(super) fn new(out: Log, err: Log) -> Self {
        Self { out, err, next: Instant::now() + FAST }
    }

    /// Looks if it is time; false if a log cannot be bounded.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        if now < self.next {
            return true;
        }
        match (self.out.look(), self.err.look()) {
            (Some(a), Some(b)) => {
                self.next = now + a.min(b);
                true
            }
            _ => false,
        }
    }
}
