//! The store itself: opening, looking up, what is shared between threads.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use filch_types::BlobId;

use crate::error::{OpenError, PutError, ReadError};
use crate::index::Index;
use crate::layout::{self, Layout, remove};
use crate::rebuild::{self, Rebuilt};
use crate::state::{Change, Entry, PackStat, Place, State};

/// Makes files and directories durable. Not a choice for users: what a test puts in between, to see and to fail it.
pub trait Fsync: Send + Sync + std::fmt::Debug {
    /// Returns when the bytes of `file`, which is at `path`, are on disk.
    fn file(&self, path: &Path, file: &File) -> io::Result<()>;
    /// Returns when the names in the directory are.
    fn dir(&self, path: &Path) -> io::Result<()>;
}

/// The system's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemFsync;

impl Fsync for SystemFsync {
    fn file(&self, _: &Path, file: &File) -> io::Result<()> {
        file.sync_data()
    }
    fn dir(&self, path: &Path) -> io::Result<()> {
        layout::sync_dir(path)
    }
}

/// How a store behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes that the store leaves free on its disk, so that the ledger still has room when blobs have filled it up. `None`:
    /// 64 MiB, or a fiftieth of the disk if that is less.
    pub reserve: Option<u64>,
    /// How bytes get to the disk. The index has a way of its own.
    pub fsync: Arc<dyn Fsync>,
}

impl Default for Options {
    fn default() -> Self {
        Self { reserve: None, fsync: Arc::new(SystemFsync) }
    }
}

/// What `put_file` does with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Leaves it: shares its blocks where the file system can, else copies.
    Copy,
    /// Takes it away: renames it where that is possible, else copies and removes it. Whoever still has it open could write
    /// through, so only for files whose writers are gone.
    Move,
}

/// How full the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all blobs.
    pub bytes: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes free on the disk, before the store's reserve.
    pub free: u64,
}

/// Content-addressed blobs in a directory. Clones share the store; every method may be called from any thread and may block on
/// the disk.
#[derive(Clone)]
pub struct BlobStore {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for BlobStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobStore").field("dir", &self.inner.layout.root).finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) layout: Layout,
    pub(crate) index: Index,
    pub(crate) reserve: u64,
    pub(crate) fsync: Arc<dyn Fsync>,
    /// Taken before `state` by whoever writes to the index; one round of writing at a time.
    pub(crate) commit: Mutex<()>,
    state: Mutex<State>,
    pub(crate) round_done: Condvar,
    /// The file system cannot share blocks; do not ask again.
    pub(crate) no_reflink: AtomicBool,
    rebuilt: Option<Rebuilt>,
    on_damage: std::sync::OnceLock<OnDamage>,
    _lock: File,
}

/// Told of blobs that were dropped because their bytes did not match: on whatever thread read them, so it must not block.
pub type OnDamage = Box<dyn Fn(BlobId) + Send + Sync>;

impl BlobStore {
    /// Has `told` called for every blob that a read finds damaged, whoever reads. The first call counts.
    pub fn on_damage(&self, told: OnDamage) {
        let _ = self.inner.on_damage.set(told);
    }

    /// Opens or creates the store in `dir`. After a crash the index is checked first; large files that it does not name, a
    /// pack's unsynced tail and temporary files are removed. A damaged index is made again, which reads all blobs: see `rebuilt`.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: dir.to_owned(), source };
        let layout = Layout::create(dir).map_err(io)?;
        let lock = lock(&layout).map_err(io)?.ok_or_else(|| OpenError::Locked { path: dir.to_owned() })?;
        layout.clean_temp().map_err(io)?;
        let (index, loaded, rebuilt) = rebuild::open(&layout)?;
        let total = layout::room(dir).map_or(u64::MAX, |(_, total)| total);
        let reserve = options.reserve.unwrap_or((64 << 20).min(total / 50));
        let mut state = State { totals: loaded.totals, ..State::default() };
        state.packs.extend(loaded.packs);
        let inner = Inner {
            layout,
            index,
            reserve,
            fsync: options.fsync,
            commit: Mutex::new(()),
            state: Mutex::new(state),
            round_done: Condvar::new(),
            no_reflink: AtomicBool::new(false),
            rebuilt,
            on_damage: std::sync::OnceLock::new(),
            _lock: lock,
        };
        inner.recover().map_err(io)?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What came of making the index again, if it was damaged or missing when the store was opened, as it is in a new store. No job
    /// holds any blob then: retain again, or the second sweep takes them all.
    pub fn rebuilt(&self) -> Option<&Rebuilt> {
        self.inner.rebuilt.as_ref()
    }

    /// Whether the blob is here. It may still turn out to be damaged when it is read.
    pub fn has(&self, id: BlobId) -> bool {
        self.len(id).is_some()
    }

    /// Its length in bytes, if it is here.
    pub fn len(&self, id: BlobId) -> Option<u64> {
        self.inner.locate(id).map(|e| e.len)
    }

    /// How full it is.
    pub fn usage(&self) -> Usage {
        let totals = self.inner.state().totals;
        let free = layout::room(&self.inner.layout.root).map_or(0, |(free, _)| free);
        Usage { bytes: totals.bytes, blobs: totals.blobs, free }
    }
}

fn lock(layout: &Layout) -> io::Result<Option<File>> {
    let file = layout::open_rw(&layout.lock())?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(e)) => Err(e),
    }
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a blob is. An index that cannot be read has no blobs; the next sync says what is wrong with it.
    pub(crate) fn locate(&self, id: BlobId) -> Option<Entry> {
        let state = self.state();
        match state.pending.get(&id) {
            Some((_, Change::Put(entry))) => return Some(*entry),
            Some((_, Change::Gone)) => return None,
            None => drop(state),
        }
        self.indexed(id)
    }

    /// The same for a caller that has the state locked, so that the answer stays true.
    pub(crate) fn locate_in(&self, state: &State, id: BlobId) -> Option<Entry> {
        match state.pending.get(&id) {
            Some((_, Change::Put(entry))) => Some(*entry),
            Some((_, Change::Gone)) => None,
            None => self.indexed(id),
        }
    }

    fn indexed(&self, id: BlobId) -> Option<Entry> {
        self.index.get(id).unwrap_or_else(|error| {
            tracing::error!(%error, "the blob index cannot be read");
            None
        })
    }

    /// Drops a blob that does not match its name, unless it has been replaced meanwhile. Says what to report.
    pub(crate) fn damaged(&self, id: BlobId, entry: &Entry) -> ReadError {
        let mut state = self.state();
        let same = |e: &Entry| (e.place, e.len) == (entry.place, entry.len);
        if self.locate_in(&state, id).as_ref().is_some_and(same) {
            tracing::warn!(blob = %id, len = entry.len, "a blob does not match its name and is dropped");
            state.subtract(id, entry);
            self.unlink(id, entry);
        }
        drop(state);
        if let Some(told) = self.on_damage.get() {
            told(id);
        }
        ReadError::Damaged(id)
    }

    /// Removes the file of a blob, if it has one.
    pub(crate) fn unlink(&self, id: BlobId, entry: &Entry) {
        if entry.place != Place::File {
            return;
        }
        for path in [self.layout.file(id), self.layout.outboard(id)] {
            if let Err(error) = remove(&path) {
                tracing::warn!(%error, path = %path.display(), "a file of a dropped blob stays until the next start");
            }
        }
    }

    /// Refuses when `need` more bytes would eat into the reserve.
    pub(crate) fn check_room(&self, need: u64) -> Result<(), PutError> {
        match layout::room(&self.layout.root) {
            Some((free, _)) if free < need.saturating_add(self.reserve) => {
                Err(PutError::Full { need, free, reserve: self.reserve })
            }
            _ => Ok(()),
        }
    }

    /// An error while writing `need` bytes, as what it means.
    pub(crate) fn put_error(&self, path: &Path, need: u64, e: io::Error) -> PutError {
        if crate::error::is_full(&e) {
            let free = layout::room(&self.layout.root).map_or(0, |(free, _)| free);
            return PutError::Full { need, free, reserve: self.reserve };
        }
        PutError::io(path, e)
    }

    /// Makes the directory agree with the index.
    fn recover(&self) -> io::Result<()> {
        self.recover_packs()?;
        let mut known = HashSet::new();
        let mut missing = Vec::new();
        let each = self.index.each(|id, entry| {
            if entry.place == Place::File {
                known.insert(id);
                missing.push((id, entry));
            }
        });
        each.map_err(io::Error::other)?;
        let mut there = HashSet::new();
        for shard in std::fs::read_dir(self.layout.files())? {
            for file in std::fs::read_dir(shard?.path())? {
                let path = file?.path();
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                match name.strip_suffix(".obao").unwrap_or(&name).parse::<BlobId>() {
                    Ok(id) if known.contains(&id) => drop(there.insert(name)),
                    _ => remove(&path)?,
                }
            }
        }
        missing.retain(|(id, _)| !there.contains(&id.to_string()));
        let mut state = self.state();
        for (id, entry) in missing {
            tracing::warn!(blob = %id, "the file of a blob is gone; it has to be fetched again");
            state.subtract(id, &entry);
        }
        Ok(())
    }

    /// Removes packs that the index does not know and cuts off what was never synced.
    fn recover_packs(&self) -> io::Result<()> {
        let mut state = self.state();
        for file in std::fs::read_dir(self.layout.packs())? {
            let path = file?.path();
            let number = path.file_name().and_then(|n| n.to_str()?.parse::<u32>().ok());
            let stat = number.and_then(|n| state.packs.get(&n));
            match stat {
                None => remove(&path)?,
                Some(PackStat { size, .. }) => {
                    let file = layout::open_rw(&path)?;
                    if file.metadata()?.len() > *size {
                        file.set_len(*size)?;
                    }
                }
            }
        }
        self.reopen_last_pack(&mut state)
    }
}
