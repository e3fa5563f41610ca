//! The file under redb: who owns it, how much room there is, and what went wrong with it first.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use redb::StorageBackend;

/// Plain positioned reads and writes. The lock that keeps other processes out is a file of its own (`lock`), because redb
/// gives up its locks whenever it is re-opened after a full disk.
#[derive(Debug)]
pub(super) struct FileStorage(File);

impl FileStorage {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(path).map(Self)
    }
}

impl StorageBackend for FileStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

/// Removes a file that need not be there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Takes the lock file beside the ledger. `None` if another process has it. Released when dropped or when the process ends.
pub(super) fn lock(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(e)) => Err(e),
    }
}

/// Whether an error says that there is no room, rather than that something is broken.
pub(super) fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// What went wrong below redb, which by itself reports only the first error and then refuses everything.
#[derive(Debug, Default)]
pub(super) struct Faults {
    full: AtomicBool,
    other: AtomicBool,
}

impl Faults {
    fn note<T>(&self, result: io::Result<T>, syncing: bool) -> io::Result<T> {
        if let Err(e) = &result {
            // A failed fsync leaves it unknown which pages are on disk, whatever its reason (P2).
            let kind = if !syncing && is_full(e) { &self.full } else { &self.other };
            kind.store(true, SeqCst);
        }
        result
    }
    /// The disk was full and nothing else went wrong. Forgets it.
    pub(super) fn take_only_full(&self) -> bool {
        self.full.swap(false, SeqCst) && !self.other.load(SeqCst)
    }
}

/// Any storage, with its faults noted.
#[derive(Debug)]
pub(super) struct Watched<B> {
    pub(super) inner: B,
    pub(super) faults: Arc<Faults>,
}

impl<B: StorageBackend> StorageBackend for Watched<B> {
    fn len(&self) -> io::Result<u64> {
        self.faults.note(self.inner.len(), false)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.faults.note(self.inner.read(offset, out), true)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.note(self.inner.set_len(len), false)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.faults.note(self.inner.sync_data(), true)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.note(self.inner.write(offset, data), false)
    }
    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}
