//! A ledger that is damaged inside: every row that is still what was written goes to a new file. Rows are believed for their check
//! only, so that it does not matter which pages hold them.

use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use redb::{
    BackendError, Builder, ConcurrencyMode, Database, Key, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    ReadableTable, StorageBackend, TableDefinition,
};

use super::storage::{FileStorage, remove};
use super::tables::{self, Tag, is_good, reading, seal, unseal};
use super::{CACHE_BYTES, RedbLedger, open_error};
use crate::{FORMAT, OpenError, SALVAGED};

/// Bytes of rows that are written together.
const BATCH: usize = 4 << 20;

/// Read only, and as if a writer had it open: redb takes such a file as it is, where it would refuse it otherwise.
#[derive(Debug)]
struct AsItIs(FileStorage, AtomicU32);

/// Locks that a reader takes before it asks whether a writer vouches for the file. Until then it asks for other versions of redb.
const READERS_LOCKS: u32 = 2;

impl StorageBackend for AsItIs {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }
    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        self.1.fetch_add(1, Relaxed);
        Ok(true)
    }
    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(self.1.load(Relaxed) >= READERS_LOCKS)
    }
}

/// Makes a new ledger at `path` from what is whole in the one there, which stays beside it as `ledger.damaged`. False if nothing is whole,
/// or if it is none of ours: then nothing was changed.
pub(super) fn salvage(path: &Path) -> Result<bool, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let file = AsItIs(FileStorage::open(path).map_err(io)?, AtomicU32::new(0));
    let Some(Some(old)) = unwound(|| open(file)) else { return Ok(false) };
    let fresh = path.with_extension("new");
    remove(&fresh).map_err(io)?;
    let at = fresh.clone();
    let new = RedbLedger::open_on(path, move || FileStorage::open(&at))?;
    let (rows, bad, torn) = take_over(&old, &new).map_err(|e| open_error(path, e))?;
    if rows == 0 {
        remove(&fresh).map_err(io)?;
        return Ok(false);
    }
    drop((old, new));
    std::fs::File::open(&fresh).and_then(|f| f.sync_all()).map_err(io)?;
    // Kept for whoever wants to know what happened; not being able to is no reason to stop.
    let kept = path.with_extension("damaged");
    let _ = remove(&kept).and_then(|()| std::fs::hard_link(path, &kept));
    std::fs::rename(&fresh, path).and_then(|()| super::sync_parent(path)).map_err(io)?;
    tracing::warn!(
        rows,
        bad,
        torn,
        path = %path.display(),
        "the ledger was damaged: what is whole was taken over, the rest comes from other nodes"
    );
    Ok(true)
}

/// Rows taken over, rows that are not what was written, and whether there may be more.
fn take_over(old: &ReadOnlyDatabase, new: &RedbLedger) -> Result<(u64, u64, bool), redb::Error> {
    let db = new.shared.db()?;
    let db = db.as_ref().ok_or(redb::Error::DatabaseClosed)?;
    let mut copy = Copy { db, rows: 0, bad: 0, torn: false };
    copy.all(old)?;
    Ok((copy.rows, copy.bad, copy.torn))
}

/// What a damaged file makes of redb: an answer, an error, or a panic.
fn unwound<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

fn open(file: AsItIs) -> Option<ReadOnlyDatabase> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_concurrency_mode(ConcurrencyMode::SingleWriter);
    let db = builder.open_read_only_with_backend(file).ok()?;
    let version = {
        let table = db.begin_read().ok()?.open_table(tables::FORMAT).ok()?;
        table.get("version").ok()??.value()
    };
    (1..=u64::from(FORMAT)).contains(&version).then_some(db)
}

struct Copy<'a> {
    db: &'a Database,
    rows: u64,
    bad: u64,
    /// Some rows could not even be looked at.
    torn: bool,
}

type Row = (Vec<u8>, Vec<u8>);

impl Copy<'_> {
    fn all(&mut self, old: &ReadOnlyDatabase) -> Result<(), redb::Error> {
        self.table(old, tables::MANIFESTS, Tag::Manifest)?;
        self.table(old, tables::FACTS, Tag::Fact)?;
        self.table(old, tables::OUTBOX, Tag::Outbox)?;
        self.table(old, tables::HELD, Tag::Held)?;
        self.table(old, tables::ROUNDS, Tag::Round)?;
        self.table(old, tables::TOMBSTONES, Tag::Tombstone)?;
        let good = |key: &[u8], row: &[u8]| std::str::from_utf8(key).is_ok() && unseal(Tag::Meta, key, row).is_some();
        self.rows_of(
            old,
            tables::META,
            |k: &str| k.as_bytes().to_vec(),
            good,
            |txn, batch| {
                let mut table = txn.open_table(tables::META)?;
                for (key, row) in batch {
                    if let Ok(key) = std::str::from_utf8(&key) {
                        table.insert(key, row.as_slice())?;
                    }
                }
                Ok(())
            },
        )?;
        let note = seal(Tag::Meta, SALVAGED.as_bytes(), &[&[1]]);
        let txn = self.db.begin_write()?;
        txn.open_table(tables::META)?.insert(SALVAGED, note.as_slice())?;
        Ok(txn.commit()?)
    }

    fn table<const N: usize>(
        &mut self,
        old: &ReadOnlyDatabase,
        def: TableDefinition<'static, &'static [u8; N], &'static [u8]>,
        tag: Tag,
    ) -> Result<(), redb::Error> {
        let good = |key: &[u8], row: &[u8]| is_good(tag, key, row);
        self.rows_of(
            old,
            def,
            |key: &[u8; N]| key.to_vec(),
            good,
            |txn, batch| {
                let mut table = txn.open_table(def)?;
                for (key, row) in batch {
                    if let Ok(key) = <&[u8; N]>::try_from(key.as_slice()) {
                        table.insert(key, row.as_slice())?;
                    }
                }
                Ok(())
            },
        )
    }

    /// Forwards until something cannot be read, then backwards: what is lost is what lies between.
    fn rows_of<K: Key + 'static>(
        &mut self,
        old: &ReadOnlyDatabase,
        def: TableDefinition<'static, K, &'static [u8]>,
        bytes: impl for<'k> Fn(K::SelfType<'k>) -> Vec<u8>,
        good: impl Fn(&[u8], &[u8]) -> bool,
        write: impl Fn(&redb::WriteTransaction, Vec<Row>) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        for backwards in [false, true] {
            let mut batch: Vec<Row> = Vec::new();
            let (mut size, mut rows, mut bad) = (0, 0, 0);
            let mut failed = None;
            let whole = unwound(|| {
                let mut pass = |txn: &ReadTransaction| -> Result<(), redb::Error> {
                    let Some(table) = reading(txn, def)? else { return Ok(()) };
                    let mut all = table.iter()?;
                    while let Some(row) = if backwards { all.next_back() } else { all.next() } {
                        let (key, row) = row?;
                        let (key, row) = (bytes(key.value()), row.value().to_vec());
                        if !good(&key, &row) {
                            bad += 1;
                            continue;
                        }
                        rows += 1;
                        size += key.len() + row.len();
                        batch.push((key, row));
                        if size >= BATCH {
                            size = 0;
                            if let Err(e) = self.commit(&write, std::mem::take(&mut batch)) {
                                failed = Some(e);
                                return Ok(());
                            }
                        }
                    }
                    Ok(())
                };
                old.begin_read().map_err(redb::Error::from).and_then(|txn| pass(&txn))
            });
            if let Some(e) = failed {
                return Err(e);
            }
            self.commit(&write, batch)?;
            (self.rows, self.bad) = (self.rows + rows, self.bad + bad);
            if matches!(whole, Some(Ok(()))) {
                break;
            }
            self.torn = true;
        }
        Ok(())
    }

    fn commit(
        &self,
        write: &impl Fn(&redb::WriteTransaction, Vec<Row>) -> Result<(), redb::Error>,
        batch: Vec<Row>,
    ) -> Result<(), redb::Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let txn = self.db.begin_write()?;
        write(&txn, batch)?;
        Ok(txn.commit()?)
    }
}
