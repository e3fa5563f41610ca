//! Reading: replay and single rows, nothing believed.

use std::sync::PoisonError;

use filch_types::record::Record;
use filch_types::{FactId, JobId, SignedFact, SignedManifest};
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};

use super::Shared;
use super::facts::FactIndex;
use super::tables::{self, Tag, fact_row, manifest, reading, round, row_key, split_fact_key, tombstone, unseal};
use crate::{LedgerError, LedgerReader, ReplayStats};

impl From<redb::Error> for LedgerError {
    fn from(e: redb::Error) -> Self {
        match e {
            redb::Error::Io(io) if super::is_full(&io) => LedgerError::Full(io.to_string()),
            other => LedgerError::Storage(other.to_string()),
        }
    }
}

type Rows<const N: usize> = TableDefinition<'static, &'static [u8; N], &'static [u8]>;

/// One pass over everything.
struct Replay<'a> {
    shared: &'a Shared,
    txn: &'a ReadTransaction,
    dropped: u64,
    sink: &'a mut dyn FnMut(Record),
}

impl Replay<'_> {
    /// Hands out the rows of one table as `decode` makes them; returns how many.
    fn table<const N: usize>(
        &mut self,
        rows: Rows<N>,
        tag: Tag,
        mut decode: impl FnMut(&[u8; N], &[u8]) -> Option<Record>,
    ) -> Result<u64, redb::Error> {
        let Some(table) = reading(self.txn, rows)? else { return Ok(0) };
        let mut count = 0;
        for row in table.iter()? {
            let (key, value) = row?;
            match decode(key.value(), value.value()) {
                Some(record) => {
                    count += 1;
                    (self.sink)(record);
                }
                None => {
                    self.dropped += 1;
                    self.shared.note_bad(tag, key.value());
                }
            }
        }
        Ok(count)
    }

    /// Facts, and where they are.
    fn facts(&mut self) -> Result<(u64, FactIndex), redb::Error> {
        let mut index = FactIndex::default();
        let count = self.table(tables::FACTS, Tag::Fact, |key, row| {
            let (job, id, number, fact) = fact_row(key, row)?;
            index.insert(job, id, number);
            Some(Record::Fact(job, id, fact))
        })?;
        Ok((count, index))
    }

    fn run(mut self) -> Result<ReplayStats, redb::Error> {
        Ok(ReplayStats {
            manifests: self.table(tables::MANIFESTS, Tag::Manifest, |job, row| {
                let job = JobId(*job);
                Some(Record::Manifest(job, manifest(job, row)?))
            })?,
            held: self.table(tables::HELD, Tag::Held, |job, row| {
                unseal(Tag::Held, job, row)?;
                Some(Record::Held(JobId(*job)))
            })?,
            facts: {
                let (count, index) = self.facts()?;
                *self.shared.facts.write().unwrap_or_else(PoisonError::into_inner) = Some(index);
                count
            },
            rounds: self
                .table(tables::ROUNDS, Tag::Round, |job, row| Some(Record::Round(JobId(*job), round(job, row)?)))?,
            outbox: self.table(tables::OUTBOX, Tag::Outbox, |key, row| {
                let (job, id) = split_fact_key(key);
                unseal(Tag::Outbox, key, row)?;
                Some(Record::Outbox(job, id))
            })?,
            tombstones: self.table(tables::TOMBSTONES, Tag::Tombstone, |job, row| {
                Some(Record::Forget(JobId(*job), tombstone(job, row)?))
            })?,
            dropped: self.dropped,
        })
    }
}

impl Shared {
    /// Runs `read` on one snapshot. The database cannot be re-opened meanwhile.
    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, LedgerError> {
        let run = || {
            let guard = self.db()?;
            let db = guard.as_ref().ok_or(redb::Error::DatabaseClosed)?;
            read(&db.begin_read()?)
        };
        run().map_err(LedgerError::from)
    }

    pub(super) fn replay(&self, sink: &mut dyn FnMut(Record)) -> Result<ReplayStats, LedgerError> {
        let stats = self.read(|txn| Replay { shared: self, txn, dropped: 0, sink }.run())?;
        if stats.dropped > 0 {
            tracing::warn!(rows = stats.dropped, "ledger rows did not match their check and were dropped");
        }
        Ok(stats)
    }

    fn get<T, const N: usize>(
        &self,
        rows: Rows<N>,
        tag: Tag,
        key: &[u8; N],
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, LedgerError> {
        self.read(|txn| {
            let Some(table) = reading(txn, rows)? else { return Ok(None) };
            let Some(row) = table.get(key)? else { return Ok(None) };
            let value = decode(row.value());
            if value.is_none() {
                tracing::warn!(?tag, "a ledger row did not match its check and is dropped");
                self.note_bad(tag, key);
            }
            Ok(value)
        })
    }
}

impl Shared {
    /// Looks for all facts, unless a replay has done so already.
    pub(super) fn find_facts(&self) -> Result<(), LedgerError> {
        if self.facts.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        // Locked for the whole pass, so that no commit comes in between.
        let mut index = self.facts.write().unwrap_or_else(PoisonError::into_inner);
        if index.is_none() {
            let pass = |txn: &_| Replay { shared: self, txn, dropped: 0, sink: &mut |_| {} }.facts();
            *index = Some(self.read(pass)?.1);
        }
        Ok(())
    }
}

impl LedgerReader for Shared {
    fn fact(&self, job: JobId, id: FactId) -> Result<Option<SignedFact>, LedgerError> {
        self.find_facts()?;
        let index = self.facts.read().unwrap_or_else(PoisonError::into_inner);
        let places: Vec<u64> = index.as_ref().map(|i| i.places(job, id).collect()).unwrap_or_default();
        drop(index);
        for number in places {
            let key = row_key(job, number);
            let found = self.get(tables::FACTS, Tag::Fact, &key, |row| fact_row(&key, row))?;
            if let Some((.., fact)) = found.filter(|(_, found, ..)| *found == id) {
                return Ok(Some(fact));
            }
            // Said once: whoever has the fact sends it again, and then it lies elsewhere.
            if let Some(index) = &mut *self.facts.write().unwrap_or_else(PoisonError::into_inner)
                && index.forget(job, id, number)
                && !self.is_noted(&key)
            {
                self.tell(job);
            }
        }
        Ok(None)
    }

    fn facts(&self, job: JobId, sink: &mut dyn FnMut(FactId, SignedFact)) -> Result<(), LedgerError> {
        self.read(|txn| {
            let Some(table) = reading(txn, tables::FACTS)? else { return Ok(()) };
            for row in table.range::<&[u8; 40]>(&row_key(job, 0)..=&row_key(job, u64::MAX))? {
                let (key, value) = row?;
                match fact_row(key.value(), value.value()) {
                    Some((_, id, _, fact)) => sink(id, fact),
                    None => self.note_bad(Tag::Fact, key.value()),
                }
            }
            Ok(())
        })
    }

    fn manifest(&self, job: JobId) -> Result<Option<SignedManifest>, LedgerError> {
        self.get(tables::MANIFESTS, Tag::Manifest, &job.0, |row| manifest(job, row))
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        self.read(|txn| {
            let Some(table) = reading(txn, tables::META)? else { return Ok(None) };
            let row = table.get(key)?;
            Ok(row.and_then(|row| unseal(Tag::Meta, key.as_bytes(), row.value()).map(<[u8]>::to_vec)))
        })
    }

    fn metas(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, LedgerError> {
        self.read(|txn| {
            let Some(table) = reading(txn, tables::META)? else { return Ok(Vec::new()) };
            let mut found = Vec::new();
            for row in table.range(prefix..)? {
                let (key, value) = row?;
                let key = key.value();
                if !key.starts_with(prefix) {
                    break;
                }
                if let Some(value) = unseal(Tag::Meta, key.as_bytes(), value.value()) {
                    found.push((key.to_owned(), value.to_vec()));
                }
            }
            Ok(found)
        })
    }
}
