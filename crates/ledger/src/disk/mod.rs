//! The ledger on disk: one redb file, one durable transaction per group.

mod facts;
mod read;
mod salvage;
mod storage;
mod tables;

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use filch_types::JobId;
use filch_types::record::Record;
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, StorageBackend, StorageError, TableError, TableHandle,
    WriteTransaction,
};

use crate::{CommitError, FORMAT, Ledger, LedgerError, LedgerReader, OpenError, ReplayStats};
use facts::{Changes, FactIndex};
use storage::{Faults, FileStorage, Watched, is_full};
use tables::{BadRow, Tag, Writing, seal};

/// redb's page cache, reads and unwritten pages together. Small, because an idle node must be; the system's cache is
/// behind it.
const CACHE_BYTES: usize = 8 << 20;
/// Rows that wait to be removed because they did not match their check; more are found again by the next replay.
const MAX_BAD_ROWS: usize = 4096;
/// Free bytes that a commit leaves on the disk beyond what it needs itself.
const ROOM_MARGIN: u64 = 256 * 1024;

type Open = Box<dyn Fn(&Arc<Faults>) -> Result<Database, DatabaseError> + Send + Sync>;

/// A ledger in one redb file.
///
/// A full disk during a commit rolls the group back and re-opens the file, because redb takes nothing more after a failed
/// write; readers wait meanwhile. Any other failure is final: every later call says so.
pub struct RedbLedger {
    shared: Arc<Shared>,
    /// Held for as long as the ledger is: keeps other processes out.
    _lock: Option<File>,
}

/// Told of jobs of which a fact was found damaged or missing: on whatever thread read it, so it must not block.
pub type OnDamage = Box<dyn Fn(JobId) + Send + Sync>;

impl std::fmt::Debug for RedbLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbLedger").finish_non_exhaustive()
    }
}

struct Shared {
    db: RwLock<Option<Database>>,
    open: Open,
    faults: Arc<Faults>,
    /// To ask for free space before a commit; absent on storage that is no file.
    file: Option<File>,
    /// Where facts are; `None` until a pass over all of them has found out.
    facts: RwLock<Option<FactIndex>>,
    bad: Mutex<Vec<BadRow>>,
    on_damage: OnceLock<OnDamage>,
    failed: OnceLock<String>,
}

impl RedbLedger {
    /// Has `told` called when a read finds that a fact's row is not what was written; once for each such row. The first call counts.
    pub fn on_damage(&self, told: OnDamage) {
        let _ = self.shared.on_damage.set(told);
    }

    /// Opens or creates the ledger at `path`, whose directory must exist, and keeps `path` with the extension `lock`
    /// locked. After a crash the file is checked and repaired first, at about the speed it can be read. Of a damaged one all rows that are
    /// what was written are taken over into a new file, with the note [`crate::SALVAGED`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let lock = storage::lock(&path.with_extension("lock")).map_err(io)?;
        let lock = lock.ok_or_else(|| OpenError::Locked { path: path.to_owned() })?;
        if !path.try_exists().map_err(io)? {
            create(path)?;
        }
        let at = path.to_owned();
        let open = move || FileStorage::open(&at);
        let mut ledger = match Self::open_on(path, open.clone()) {
            Err(OpenError::Corrupt { .. }) if salvage::salvage(path)? => Self::open_on(path, open)?,
            opened => opened?,
        };
        if let Some(shared) = Arc::get_mut(&mut ledger.shared) {
            // Only now: salvage puts another file in its place.
            shared.file = Some(File::open(path).map_err(io)?);
        }
        Ok(Self { _lock: Some(lock), ..ledger })
    }

    /// Opens or creates a ledger on any storage; `open` is called again after a full disk and must give the same bytes.
    /// No lock is taken. `name` only appears in errors. Meant for fault injection.
    pub fn open_on<B: StorageBackend>(
        name: &Path,
        open: impl Fn() -> io::Result<B> + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let faults = Arc::new(Faults::default());
        let open: Open = Box::new(move |faults| open_database(Watched { inner: open()?, faults: faults.clone() }));
        let db = open(&faults).map_err(|e| open_error(name, e.into()))?;
        check_format(name, &db)?;
        let shared = Shared {
            db: RwLock::new(Some(db)),
            open,
            faults,
            file: None,
            facts: RwLock::new(None),
            bad: Mutex::default(),
            on_damage: OnceLock::new(),
            failed: OnceLock::new(),
        };
        Ok(Self { shared: Arc::new(shared), _lock: None })
    }
}

/// Makes an empty ledger under a temporary name first, so that a crash never leaves half a file at `path`.
fn create(path: &Path) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let fresh: PathBuf = path.with_extension("new");
    storage::remove(&fresh).map_err(io)?;
    let at = fresh.clone();
    drop(RedbLedger::open_on(path, move || FileStorage::open(&at))?);
    File::open(&fresh).and_then(|f| f.sync_all()).map_err(io)?;
    std::fs::rename(&fresh, path).and_then(|()| sync_parent(path)).map_err(io)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|d| d.sync_all())
}

/// A file that something else damaged can make redb panic; nothing but the file is involved, so it counts as corrupt.
fn open_database<B: StorageBackend>(storage: Watched<B>) -> Result<Database, DatabaseError> {
    let open = || {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        builder.create_with_backend(storage)
    };
    catch_unwind(AssertUnwindSafe(open))
        .unwrap_or_else(|_| Err(StorageError::Corrupted("it is damaged inside".to_owned()).into()))
}

fn open_error(name: &Path, e: redb::Error) -> OpenError {
    let path = name.to_owned();
    match e {
        redb::Error::DatabaseAlreadyOpen => OpenError::Locked { path },
        redb::Error::Io(e) if e.kind() == io::ErrorKind::InvalidData => {
            OpenError::Corrupt { path, why: "not a database".to_owned() }
        }
        redb::Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            OpenError::Corrupt { path, why: "it is cut off".to_owned() }
        }
        redb::Error::Io(source) => OpenError::Io { path, source },
        other => OpenError::Corrupt { path, why: other.to_string() },
    }
}

/// Refuses what a newer filch wrote and what is no ledger; writes the version into an empty file.
fn check_format(name: &Path, db: &Database) -> Result<(), OpenError> {
    let fail = |e| open_error(name, e);
    let txn = db.begin_read().map_err(|e| fail(e.into()))?;
    let found = match txn.open_table(tables::FORMAT) {
        Ok(table) => redb::ReadableTable::get(&table, "version").map_err(|e| fail(e.into()))?.map(|v| v.value()),
        Err(TableError::TableDoesNotExist(_)) => {
            let others = txn.list_tables().map_err(|e| fail(e.into()))?.next().map(|t| t.name().to_owned());
            if let Some(table) = others {
                return Err(OpenError::Corrupt {
                    path: name.to_owned(),
                    why: format!("a database of something else, with a table `{table}`"),
                });
            }
            drop(txn);
            return init(db).map_err(fail);
        }
        Err(e) => return Err(fail(e.into())),
    };
    match found.map(u32::try_from) {
        Some(Ok(1..=FORMAT)) => Ok(()),
        None | Some(Ok(0)) => {
            Err(OpenError::Corrupt { path: name.to_owned(), why: "it names no format version".to_owned() })
        }
        Some(found) => {
            Err(OpenError::NewerVersion { path: name.to_owned(), found: found.unwrap_or(u32::MAX), known: FORMAT })
        }
    }
}

fn init(db: &Database) -> Result<(), redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    txn.open_table(tables::FORMAT)?.insert("version", u64::from(FORMAT))?;
    txn.open_table(tables::META)?;
    Writing::open(&txn, &FactIndex::default())?;
    txn.commit()?;
    Ok(())
}

impl Shared {
    /// The open database; re-opens it if the disk was full when that was tried last.
    fn db(&self) -> Result<RwLockReadGuard<'_, Option<Database>>, redb::Error> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        if db.is_some() {
            return Ok(db);
        }
        drop(db);
        let mut slot = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some((self.open)(&self.faults)?);
        }
        drop(slot);
        Ok(self.db.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn fatal(&self, why: String) -> CommitError {
        CommitError::Fatal(self.failed.get_or_init(|| why).clone())
    }

    fn room(&self, need: u64) -> Result<(), CommitError> {
        let Some(file) = self.file.as_ref().filter(|_| need > 0) else { return Ok(()) };
        let Ok(fs) = rustix::fs::fstatvfs(file) else { return Ok(()) };
        let free = fs.f_bavail.saturating_mul(fs.f_frsize);
        if free < need.saturating_add(ROOM_MARGIN) {
            return Err(CommitError::Full { why: format!("{need} bytes to write, {free} free") });
        }
        Ok(())
    }

    /// Runs `change` in one durable transaction, and remembers where it put facts once that is certain.
    fn write(
        &self,
        need: u64,
        change: impl Fn(&WriteTransaction, &FactIndex) -> Result<Changes, redb::Error>,
    ) -> Result<(), CommitError> {
        if let Some(why) = self.failed.get() {
            return Err(CommitError::Fatal(why.clone()));
        }
        self.room(need)?;
        self.find_facts().map_err(|e| match e {
            LedgerError::Full(why) => CommitError::Full { why },
            LedgerError::Storage(why) => self.fatal(why),
        })?;
        let number = match self.last_commit() {
            Ok(last) => last.wrapping_add(1),
            Err(e) => return self.give_up(e, None),
        };
        let mut changes = Changes::default();
        if let Err(e) = self.try_write(number, &mut changes, change) {
            self.give_up(e, Some(number))?;
        }
        if let Some(index) = &mut *self.facts.write().unwrap_or_else(PoisonError::into_inner) {
            index.apply(changes);
        }
        Ok(())
    }

    fn try_write(
        &self,
        number: u64,
        changes: &mut Changes,
        change: impl Fn(&WriteTransaction, &FactIndex) -> Result<Changes, redb::Error>,
    ) -> Result<(), redb::Error> {
        let index = self.facts.read().unwrap_or_else(PoisonError::into_inner);
        let index = index.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let guard = self.db()?;
        let db = guard.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let mut txn = db.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        txn.open_table(tables::FORMAT)?.insert("commits", number)?;
        self.drop_bad_rows(&txn, index)?;
        *changes = change(&txn, index)?;
        txn.commit()?;
        Ok(())
    }

    /// The number of the last commit that is on disk.
    fn last_commit(&self) -> Result<u64, redb::Error> {
        let guard = self.db()?;
        let db = guard.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let table = db.begin_read()?.open_table(tables::FORMAT)?;
        Ok(redb::ReadableTable::get(&table, "commits")?.map_or(0, |n| n.value()))
    }

    /// After a failure: `Full` if that is all it was and the ledger could be put back, else `Fatal`.
    fn give_up(&self, e: redb::Error, number: Option<u64>) -> Result<(), CommitError> {
        let nothing_written = matches!(&e, redb::Error::Io(io) if is_full(io)) && number.is_none();
        if !self.faults.take_only_full() && !nothing_written {
            return Err(self.fatal(e.to_string()));
        }
        *self.db.write().unwrap_or_else(PoisonError::into_inner) = None;
        match self.last_commit() {
            // The error came after the point of no return, and the re-open has found the group whole and synced it.
            Ok(last) if Some(last) == number => Ok(()),
            Ok(_) => Err(CommitError::Full { why: e.to_string() }),
            // There is not even room to re-open. Whether the group is in is only known then: to say `Full` would be a guess.
            Err(again) => Err(self.fatal(format!("{e}; and then, while opening it again: {again}"))),
        }
    }

    fn note_bad(&self, tag: Tag, key: &[u8]) {
        let row = BadRow { tag, key: key.to_vec() };
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        if bad.len() >= MAX_BAD_ROWS || bad.contains(&row) {
            return;
        }
        bad.push(row);
        drop(bad);
        if let (Tag::Fact, Some(job)) = (tag, key.first_chunk::<32>()) {
            self.tell(JobId(*job));
        }
    }

    fn is_noted(&self, key: &[u8]) -> bool {
        let bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        bad.iter().any(|row| row.tag == Tag::Fact && row.key == key)
    }

    fn tell(&self, job: JobId) {
        if let Some(told) = self.on_damage.get() {
            told(job);
        }
    }

    /// Removes rows found bad since the last commit, before anything is written: a good copy may be in this very group.
    fn drop_bad_rows(&self, txn: &WriteTransaction, index: &FactIndex) -> Result<(), redb::Error> {
        let bad = std::mem::take(&mut *self.bad.lock().unwrap_or_else(PoisonError::into_inner));
        if bad.is_empty() {
            return Ok(());
        }
        let mut tables = Writing::open(txn, index)?;
        bad.iter().try_for_each(|row| tables.drop_row(row))
    }
}

/// Bytes that a group may take on disk: its rows, and the pages that copy on write touches. Nothing for a group that only
/// removes: that has to be tried on a full disk too.
fn estimate(records: &[Record]) -> u64 {
    let bytes = |r: &Record| match r {
        Record::Manifest(_, m) => m.bytes.len() as u64 * 2 + 1024,
        Record::Fact(_, _, f) => f.bytes.len() as u64 * 2 + 1024,
        Record::Held(_) | Record::Outbox(..) | Record::Round(..) => 1024,
        Record::OutboxDone(..) | Record::Drop(_) | Record::Forget(..) | Record::Lost(..) => 0,
    };
    match records.iter().map(bytes).sum::<u64>() {
        0 => 0,
        rows => rows + (64 << 10),
    }
}

impl Ledger for RedbLedger {
    fn replay(&mut self, sink: &mut dyn FnMut(Record)) -> Result<ReplayStats, LedgerError> {
        self.shared.replay(sink)
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), CommitError> {
        if records.is_empty() {
            return Ok(());
        }
        self.shared.write(estimate(records), |txn, index| {
            let mut tables = Writing::open(txn, index)?;
            records.iter().try_for_each(|r| tables.apply(r))?;
            Ok(tables.changes)
        })
    }

    fn put_meta(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), CommitError> {
        let need = value.map_or(0, |v| 8192 + 2 * v.len() as u64);
        self.shared.write(need, |txn, _| {
            let mut table = txn.open_table(tables::META)?;
            match value {
                Some(value) => drop(table.insert(key, seal(Tag::Meta, key.as_bytes(), &[value]).as_slice())?),
                None => drop(table.remove(key)?),
            }
            Ok(Changes::default())
        })
    }

    fn reader(&self) -> Arc<dyn LedgerReader> {
        self.shared.clone()
    }
}
