//! Who runs in a slot, written down for a later run of the node that finds both node and spawner killed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

/// Name of the file in the slot's directory.
pub(crate) const FILE: &str = "task";
const LEN: usize = 128;

/// A process id with the time that it was born, on the boot that this was: enough to tell it from a later namesake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub boot: String,
    pub pid: i32,
    /// Nanoseconds since boot, right before and right after the process was started.
    pub born: (u64, u64),
}

/// Keeps the record of the running task.
pub(super) struct Recorder {
    file: File,
    boot: String,
}

/// Names this boot of the machine.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|s| s.trim().to_owned()).unwrap_or_default()
}

/// Nanoseconds since boot.
pub(super) fn since_boot() -> u64 {
    let t = clock_gettime(ClockId::Boottime);
    u64::try_from(t.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000) + u64::try_from(t.tv_nsec).unwrap_or(0)
}

impl Recorder {
    pub(super) fn create(dir: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create(dir.join(FILE))?, boot: boot_id() })
    }
    /// A full disk loses the record, not the task.
    pub(super) fn write(&mut self, pid: i32, born: (u64, u64)) {
        let text = format!("{} {pid} {} {}\n", self.boot, born.0, born.1);
        let _ = self.file.write_all_at(format!("{text:<LEN$}").as_bytes(), 0);
    }
}

/// The last record of a slot.
pub(crate) fn read(slot: &Path) -> Option<Record> {
    let text = std::fs::read_to_string(slot.join(FILE)).ok()?;
    let mut words = text.split_whitespace();
    let boot = words.next()?.to_owned();
    let pid = words.next()?.parse().ok()?;
    Some(Record { boot, pid, born: (words.next()?.parse().ok()?, words.next()?.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written_last() {
        let dir = tempfile::tempdir().unwrap();
        let mut r = Recorder::create(dir.path()).unwrap();
        assert_eq!(read(dir.path()), None);
        r.write(4_000_000, (123_456_789_012, 123_456_789_999));
        r.write(7, (1, 2));
        assert_eq!(read(dir.path()), Some(Record { boot: boot_id(), pid: 7, born: (1, 2) }));
    }
}
