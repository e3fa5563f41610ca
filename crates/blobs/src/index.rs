//! The index: the durable truth about which blobs there are, where, and for whom.

use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use filch_types::{BlobId, JobId};
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition,
    TableError, TableHandle,
};

use crate::error::{OpenError, is_full};
use crate::layout::{remove, sync_dir};
use crate::state::{Batch, Change, Entry, HoldChange, PackStat, Place, Totals};
use crate::{FORMAT, MAX_BLOB};

const CACHE_BYTES: usize = 4 << 20;

/// "version", "blobs", "bytes", "epoch".
const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
const BLOBS: TableDefinition<'static, &'static [u8; 32], &'static [u8]> = TableDefinition::new("blobs");
const PACKS: TableDefinition<'static, u32, (u64, u64)> = TableDefinition::new("packs");
/// job ‖ blob.
const HOLDS: TableDefinition<'static, &'static [u8; 64], ()> = TableDefinition::new("holds");
/// blob ‖ job.
const HOLDERS: TableDefinition<'static, &'static [u8; 64], ()> = TableDefinition::new("holders");

pub(crate) struct Index {
    path: PathBuf,
    db: RwLock<Option<Database>>,
}

/// Everything that the store keeps in memory of an index.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) totals: Totals,
    pub(crate) packs: Vec<(u32, PackStat)>,
}

fn pair(a: &[u8; 32], b: &[u8; 32]) -> [u8; 64] {
    let mut key = [0; 64];
    let (left, right) = key.split_at_mut(32);
    left.copy_from_slice(a);
    right.copy_from_slice(b);
    key
}

fn second(key: &[u8; 64]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(&key[32..]);
    out
}

/// The next key; false after the last.
fn increment(key: &mut [u8; 64]) -> bool {
    key.iter_mut().rev().any(|b| {
        *b = b.wrapping_add(1);
        *b != 0
    })
}

fn encode(entry: &Entry) -> Vec<u8> {
    let mut row = Vec::with_capacity(28);
    row.extend_from_slice(&entry.len.to_le_bytes());
    row.extend_from_slice(&entry.epoch.to_le_bytes());
    if let Place::Packed { pack, offset } = entry.place {
        row.extend_from_slice(&pack.to_le_bytes());
        row.extend_from_slice(&offset.to_le_bytes());
    }
    row
}

fn decode(row: &[u8]) -> Option<Entry> {
    let (len, row) = row.split_first_chunk::<8>()?;
    let (epoch, row) = row.split_first_chunk::<8>()?;
    let place = match row.split_first_chunk::<4>() {
        None if row.is_empty() => Place::File,
        None => return None,
        Some((pack, offset)) => {
            Place::Packed { pack: u32::from_le_bytes(*pack), offset: offset.try_into().ok().map(u64::from_le_bytes)? }
        }
    };
    let entry = Entry { len: u64::from_le_bytes(*len), epoch: u64::from_le_bytes(*epoch), place };
    (entry.len <= MAX_BLOB).then_some(entry)
}

/// A damaged file can make redb panic; nothing but the file is involved, so it counts as corrupt.
fn open_database(path: &Path) -> Result<Database, DatabaseError> {
    let open = || Database::builder().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create(path);
    catch_unwind(AssertUnwindSafe(open))
        .unwrap_or_else(|_| Err(StorageError::Corrupted("it is damaged inside".to_owned()).into()))
}

/// Whether a failure only says that the disk is full.
pub(crate) fn only_full(e: &redb::Error) -> bool {
    matches!(e, redb::Error::Io(io) if is_full(io))
}

impl Index {
    /// Makes an index, under another name until `fill` has filled it, so that a crash leaves no half of one.
    pub(crate) fn create(
        root: &Path,
        path: &Path,
        fill: impl FnOnce(&Self) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let fresh = path.with_extension("new");
        remove(&fresh).map_err(io)?;
        let db = open_database(&fresh).map_err(|e| open_error(root, e.into()))?;
        init(&db).map_err(|e| open_error(root, e))?;
        let index = Self { path: fresh.clone(), db: RwLock::new(Some(db)) };
        fill(&index)?;
        drop(index);
        std::fs::File::open(&fresh).and_then(|f| f.sync_all()).map_err(io)?;
        std::fs::rename(&fresh, path).map_err(io)?;
        sync_dir(root).map_err(io)?;
        match root.parent().filter(|p| !p.as_os_str().is_empty()) {
            Some(parent) => sync_dir(parent).map_err(io),
            None => Ok(()),
        }
    }

    /// Opens an index that is there.
    pub(crate) fn open(root: &Path, path: &Path) -> Result<Self, OpenError> {
        let db = open_database(path).map_err(|e| open_error(root, e.into()))?;
        check_format(root, &db)?;
        Ok(Self { path: path.to_owned(), db: RwLock::new(Some(db)) })
    }

    fn db(&self) -> Result<RwLockReadGuard<'_, Option<Database>>, redb::Error> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        if db.is_some() {
            return Ok(db);
        }
        drop(db);
        let mut slot = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(open_database(&self.path)?);
        }
        drop(slot);
        Ok(self.db.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// After a full disk redb takes nothing more: closes it; the next use opens it again.
    pub(crate) fn close(&self) {
        *self.db.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn read<T>(&self, read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        let guard = self.db()?;
        let db = guard.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        read(&db.begin_read()?)
    }

    pub(crate) fn load(&self) -> Result<Loaded, redb::Error> {
        self.read(|txn| {
            let meta = txn.open_table(META)?;
            let get = |key| Ok::<_, redb::Error>(meta.get(key)?.map_or(0, |v| v.value()));
            let totals = Totals { blobs: get("blobs")?, bytes: get("bytes")?, epoch: get("epoch")? };
            let mut packs = Vec::new();
            for row in txn.open_table(PACKS)?.iter()? {
                let (number, row) = row?;
                let (size, dead) = row.value();
                packs.push((number.value(), PackStat { size, dead, changed: false }));
            }
            Ok(Loaded { totals, packs })
        })
    }

    pub(crate) fn get(&self, id: BlobId) -> Result<Option<Entry>, redb::Error> {
        self.read(|txn| Ok(txn.open_table(BLOBS)?.get(&id.0)?.and_then(|row| decode(row.value()))))
    }

    /// The first blob at this name or after it.
    pub(crate) fn from(&self, id: BlobId) -> Result<Option<(BlobId, Entry)>, redb::Error> {
        self.read(|txn| {
            for row in txn.open_table(BLOBS)?.range::<&[u8; 32]>(&id.0..)? {
                let (id, row) = row?;
                if let Some(entry) = decode(row.value()) {
                    return Ok(Some((BlobId(*id.value()), entry)));
                }
            }
            Ok(None)
        })
    }

    /// Hands out every blob.
    pub(crate) fn each(&self, mut sink: impl FnMut(BlobId, Entry)) -> Result<(), redb::Error> {
        self.read(|txn| {
            for row in txn.open_table(BLOBS)?.iter()? {
                let (id, row) = row?;
                if let Some(entry) = decode(row.value()) {
                    sink(BlobId(*id.value()), entry);
                }
            }
            Ok(())
        })
    }

    /// Blobs that this job holds, here or in `also`, and no other job does here.
    pub(crate) fn only_held_by(&self, job: JobId, also: HashSet<BlobId>) -> Result<Vec<BlobId>, redb::Error> {
        self.read(|txn| {
            let (holds, holders) = (txn.open_table(HOLDS)?, txn.open_table(HOLDERS)?);
            let mut ids = also;
            for row in holds.range::<&[u8; 64]>(&pair(&job.0, &[0; 32])..=&pair(&job.0, &[0xff; 32]))? {
                ids.insert(BlobId(second(row?.0.value())));
            }
            let mut only = Vec::new();
            for id in ids {
                let mut others = false;
                for row in holders.range::<&[u8; 64]>(&pair(&id.0, &[0; 32])..=&pair(&id.0, &[0xff; 32]))?.take(2) {
                    others |= second(row?.0.value()) != job.0;
                }
                if !others {
                    only.push(id);
                }
            }
            Ok(only)
        })
    }

    /// Jobs that hold blobs.
    pub(crate) fn holding(&self) -> Result<Vec<JobId>, redb::Error> {
        self.read(|txn| {
            let holds = txn.open_table(HOLDS)?;
            let mut jobs = Vec::new();
            let mut from = [0; 64];
            // One row of each job is enough.
            while let Some(row) = holds.range::<&[u8; 64]>(&from..)?.next() {
                let mut job = [0; 32];
                job.copy_from_slice(&row?.0.value()[..32]);
                jobs.push(JobId(job));
                from = pair(&job, &[0xff; 32]);
                if !increment(&mut from) {
                    break;
                }
            }
            Ok(jobs)
        })
    }

    /// Blobs put before epoch `before` that no job holds.
    pub(crate) fn unheld(&self, before: u64) -> Result<Vec<BlobId>, redb::Error> {
        self.read(|txn| {
            let holders = txn.open_table(HOLDERS)?;
            let mut found = Vec::new();
            for row in txn.open_table(BLOBS)?.iter()? {
                let (id, row) = row?;
                let id = *id.value();
                if decode(row.value()).is_none_or(|e| e.epoch < before)
                    && holders.range::<&[u8; 64]>(&pair(&id, &[0; 32])..=&pair(&id, &[0xff; 32]))?.next().is_none()
                {
                    found.push(BlobId(id));
                }
            }
            Ok(found)
        })
    }

    /// One durable transaction for all of the batch. The error of a full disk means that nothing of it was kept.
    pub(crate) fn commit(&self, batch: &Batch) -> Result<(), redb::Error> {
        let guard = self.db()?;
        let db = guard.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let mut txn = db.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        {
            let mut blobs = txn.open_table(BLOBS)?;
            for (id, change) in &batch.changes {
                match change {
                    Change::Put(entry) => drop(blobs.insert(&id.0, encode(entry).as_slice())?),
                    Change::Gone => drop(blobs.remove(&id.0)?),
                }
            }
            let (mut holds, mut holders) = (txn.open_table(HOLDS)?, txn.open_table(HOLDERS)?);
            for change in &batch.holds {
                apply_hold(&mut holds, &mut holders, change)?;
            }
            let mut packs = txn.open_table(PACKS)?;
            for (number, stat) in &batch.packs {
                match stat {
                    Some(stat) => drop(packs.insert(number, (stat.size, stat.dead))?),
                    None => drop(packs.remove(number)?),
                }
            }
            let mut meta = txn.open_table(META)?;
            meta.insert("blobs", batch.totals.blobs)?;
            meta.insert("bytes", batch.totals.bytes)?;
            meta.insert("epoch", batch.totals.epoch)?;
        }
        txn.commit()?;
        Ok(())
    }
}

fn apply_hold(
    holds: &mut Table<'_, &'static [u8; 64], ()>,
    holders: &mut Table<'_, &'static [u8; 64], ()>,
    change: &HoldChange,
) -> Result<(), redb::Error> {
    match change {
        HoldChange::Retain(job, ids) => {
            for id in ids.iter() {
                holds.insert(&pair(&job.0, &id.0), ())?;
                holders.insert(&pair(&id.0, &job.0), ())?;
            }
        }
        HoldChange::Release(job) => {
            let all = (pair(&job.0, &[0; 32]), pair(&job.0, &[0xff; 32]));
            for row in holds.extract_from_if::<&[u8; 64], _>(&all.0..=&all.1, |_, ()| true)? {
                holders.remove(&pair(&second(row?.0.value()), &job.0))?;
            }
        }
    }
    Ok(())
}

fn init(db: &Database) -> Result<(), redb::Error> {
    let txn = db.begin_write()?;
    txn.open_table(META)?.insert("version", FORMAT)?;
    txn.open_table(BLOBS)?;
    txn.open_table(PACKS)?;
    txn.open_table(HOLDS)?;
    txn.open_table(HOLDERS)?;
    txn.commit()?;
    Ok(())
}

fn open_error(root: &Path, e: redb::Error) -> OpenError {
    let path = root.to_owned();
    let corrupt = |why: &str| OpenError::Corrupt { path: root.to_owned(), why: why.to_owned() };
    match e {
        redb::Error::DatabaseAlreadyOpen => OpenError::Locked { path },
        redb::Error::Io(e) if e.kind() == io::ErrorKind::InvalidData => corrupt("not a database"),
        redb::Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => corrupt("it is cut off"),
        redb::Error::Io(source) => OpenError::Io { path, source },
        other => corrupt(&other.to_string()),
    }
}

/// Refuses what a newer filch wrote and what is no index. An empty file is no index either: the real one is renamed into place.
fn check_format(root: &Path, db: &Database) -> Result<(), OpenError> {
    let fail = |e| open_error(root, e);
    let corrupt = |why: String| OpenError::Corrupt { path: root.to_owned(), why };
    let txn = db.begin_read().map_err(|e| fail(e.into()))?;
    let version = match txn.open_table(META) {
        Ok(table) => table.get("version").map_err(|e| fail(e.into()))?.map(|v| v.value()),
        Err(TableError::TableDoesNotExist(_)) => None,
        Err(e) => return Err(fail(e.into())),
    };
    match version {
        Some(v) if (1..=FORMAT).contains(&v) => {}
        Some(found) if found > FORMAT => {
            return Err(OpenError::NewerVersion { path: root.to_owned(), found, known: FORMAT });
        }
        _ => return Err(corrupt("it names no format version".to_owned())),
    }
    let there: Vec<String> = txn.list_tables().map_err(|e| fail(e.into()))?.map(|t| t.name().to_owned()).collect();
    for table in [BLOBS.name(), PACKS.name(), HOLDS.name(), HOLDERS.name()] {
        if !there.iter().any(|t| t == table) {
            return Err(corrupt(format!("its table `{table}` is missing")));
        }
    }
    Ok(())
}
