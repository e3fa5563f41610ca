//! Tables and the form of their rows: `check (8) ‖ payload`, where the check binds table, key and payload.

use filch_types::record::Record;
use filch_types::sign::Sig;
use filch_types::{FactId, JobId, SignedFact, SignedManifest};

use super::facts::{Changes, FactIndex};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

pub(super) type JobKey = &'static [u8; 32];
pub(super) type FactKey = &'static [u8; 64];
/// Job ‖ number of the fact, big-endian.
pub(super) type RowKey = &'static [u8; 40];
type Def<K> = TableDefinition<'static, K, &'static [u8]>;

/// "version" and "commits", in plain: read before anything else is believed.
pub(super) const FORMAT: TableDefinition<'static, &'static str, u64> = TableDefinition::new("format");
pub(super) const MANIFESTS: Def<JobKey> = TableDefinition::new("manifests");
/// By job ‖ number, in the order in which they came: see `facts`.
pub(super) const FACTS: Def<RowKey> = TableDefinition::new("facts");
pub(super) const OUTBOX: Def<FactKey> = TableDefinition::new("outbox");
pub(super) const HELD: Def<JobKey> = TableDefinition::new("held");
pub(super) const ROUNDS: Def<JobKey> = TableDefinition::new("rounds");
pub(super) const TOMBSTONES: Def<JobKey> = TableDefinition::new("tombstones");
pub(super) const META: Def<&'static str> = TableDefinition::new("meta");

/// One byte per table, part of every check, so that a row cannot pass for one of another table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Manifest = 1,
    Fact = 2,
    Outbox = 3,
    Held = 4,
    Round = 5,
    Tombstone = 6,
    Meta = 7,
}

fn check(tag: Tag, key: &[u8], payload: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[tag as u8]).update(key).update(payload);
    let mut out = [0; 8];
    hasher.finalize_xof().fill(&mut out);
    out
}

/// The row's bytes.
pub(super) fn seal(tag: Tag, key: &[u8], payload: &[&[u8]]) -> Vec<u8> {
    let mut row = Vec::with_capacity(8 + payload.iter().map(|p| p.len()).sum::<usize>());
    row.extend_from_slice(&[0; 8]);
    payload.iter().for_each(|p| row.extend_from_slice(p));
    let (head, body) = row.split_at_mut(8);
    head.copy_from_slice(&check(tag, key, body));
    row
}

/// The payload, if the row is what was written.
pub(super) fn unseal<'a>(tag: Tag, key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let (head, body) = row.split_at_checked(8)?;
    (check(tag, key, body) == head).then_some(body)
}

fn signed(payload: &[u8]) -> Option<(Sig, Vec<u8>)> {
    let (sig, bytes) = payload.split_first_chunk::<64>()?;
    Some((Sig(*sig), bytes.to_vec()))
}

pub(super) fn tombstone(job: &[u8; 32], row: &[u8]) -> Option<SignedFact> {
    let (sig, bytes) = signed(unseal(Tag::Tombstone, job, row)?)?;
    Some(SignedFact { bytes, sig })
}

pub(super) fn manifest(job: JobId, row: &[u8]) -> Option<SignedManifest> {
    let (sig, bytes) = signed(unseal(Tag::Manifest, &job.0, row)?)?;
    Some(SignedManifest { bytes, sig }).filter(|m| m.job() == job)
}

pub(super) fn round(job: &[u8; 32], row: &[u8]) -> Option<u32> {
    unseal(Tag::Round, job, row)?.try_into().ok().map(u32::from_le_bytes)
}

pub(super) fn fact_key(job: JobId, id: FactId) -> [u8; 64] {
    let mut key = [0; 64];
    let (left, right) = key.split_at_mut(32);
    left.copy_from_slice(&job.0);
    right.copy_from_slice(&id.0);
    key
}

pub(super) fn row_key(job: JobId, number: u64) -> [u8; 40] {
    let mut key = [0; 40];
    let (left, right) = key.split_at_mut(32);
    left.copy_from_slice(&job.0);
    right.copy_from_slice(&number.to_be_bytes());
    key
}

/// The fact in a row and its id; `None` if the row is not what was written, or was written under another id than the fact's.
pub(super) fn fact_row(key: &[u8; 40], row: &[u8]) -> Option<(JobId, FactId, u64, SignedFact)> {
    let (job, number) = key.split_first_chunk::<32>()?;
    let job = JobId(*job);
    let (sig, bytes) = signed(row.get(8..)?)?;
    let fact = SignedFact { bytes, sig };
    let id = fact.id();
    unseal(Tag::Fact, &fact_key(job, id), row)?;
    Some((job, id, number.try_into().ok().map(u64::from_be_bytes)?, fact))
}

pub(super) fn split_fact_key(key: &[u8; 64]) -> (JobId, FactId) {
    let (mut job, mut id) = (JobId::default(), FactId::default());
    job.0.copy_from_slice(&key[..32]);
    id.0.copy_from_slice(&key[32..]);
    (job, id)
}

/// All tables that records go to, open for writing.
pub(super) struct Writing<'t> {
    manifests: Table<'t, JobKey, &'static [u8]>,
    facts: Table<'t, RowKey, &'static [u8]>,
    outbox: Table<'t, FactKey, &'static [u8]>,
    held: Table<'t, JobKey, &'static [u8]>,
    rounds: Table<'t, JobKey, &'static [u8]>,
    tombstones: Table<'t, JobKey, &'static [u8]>,
    index: &'t FactIndex,
    pub(super) changes: Changes,
}

impl<'t> Writing<'t> {
    pub(super) fn open(txn: &'t WriteTransaction, index: &'t FactIndex) -> Result<Self, TableError> {
        Ok(Self {
            index,
            changes: Changes { next: index.next, ..Changes::default() },
            manifests: txn.open_table(MANIFESTS)?,
            facts: txn.open_table(FACTS)?,
            outbox: txn.open_table(OUTBOX)?,
            held: txn.open_table(HELD)?,
            rounds: txn.open_table(ROUNDS)?,
            tombstones: txn.open_table(TOMBSTONES)?,
        })
    }

    pub(super) fn apply(&mut self, record: &Record) -> Result<(), redb::Error> {
        match record {
            Record::Manifest(job, m) => {
                let row = seal(Tag::Manifest, &job.0, &[&m.sig.0, &m.bytes]);
                self.manifests.insert(&job.0, row.as_slice())?;
            }
            Record::Held(job) => {
                self.held.insert(&job.0, seal(Tag::Held, &job.0, &[]).as_slice())?;
            }
            Record::Fact(job, id, f) => self.put_fact(*job, *id, f)?,
            Record::Outbox(job, id) => {
                let key = fact_key(*job, *id);
                self.outbox.insert(&key, seal(Tag::Outbox, &key, &[]).as_slice())?;
            }
            Record::OutboxDone(job, id) => {
                self.outbox.remove(&fact_key(*job, *id))?;
            }
            Record::Lost(job, id) => {
                if let Some(number) = self.find(*job, *id)? {
                    self.facts.remove(&row_key(*job, number))?;
                    self.changes.facts.insert((*job, *id), None);
                }
                self.outbox.remove(&fact_key(*job, *id))?;
            }
            Record::Round(job, new) => {
                let old = self.rounds.get(&job.0)?.and_then(|row| round(&job.0, row.value()));
                let new = old.map_or(*new, |old| old.max(*new));
                self.rounds.insert(&job.0, seal(Tag::Round, &job.0, &[&new.to_le_bytes()]).as_slice())?;
            }
            Record::Drop(job) => self.drop_job(*job)?,
            Record::Forget(job, f) => {
                self.drop_job(*job)?;
                let row = seal(Tag::Tombstone, &job.0, &[&f.sig.0, &f.bytes]);
                self.tombstones.insert(&job.0, row.as_slice())?;
            }
        }
        Ok(())
    }

    fn put_fact(&mut self, job: JobId, id: FactId, f: &SignedFact) -> Result<(), redb::Error> {
        let number = match self.find(job, id)? {
            Some(number) => number,
            None => {
                let number = self.changes.next;
                self.changes.next += 1;
                self.changes.facts.insert((job, id), Some(number));
                number
            }
        };
        let row = seal(Tag::Fact, &fact_key(job, id), &[&f.sig.0, &f.bytes]);
        self.facts.insert(&row_key(job, number), row.as_slice())?;
        Ok(())
    }

    /// The number of a fact that is there.
    fn find(&self, job: JobId, id: FactId) -> Result<Option<u64>, redb::Error> {
        if let Some(number) = self.changes.facts.get(&(job, id)) {
            return Ok(*number);
        }
        for number in self.index.places(job, id) {
            let key = row_key(job, number);
            if self
                .facts
                .get(&key)?
                .and_then(|row| fact_row(&key, row.value()))
                .is_some_and(|(_, found, ..)| found == id)
            {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    fn drop_job(&mut self, job: JobId) -> Result<(), redb::Error> {
        self.manifests.remove(&job.0)?;
        self.held.remove(&job.0)?;
        self.rounds.remove(&job.0)?;
        let changes = &mut self.changes.facts;
        let rows = (row_key(job, 0), row_key(job, u64::MAX));
        self.facts.retain_in::<&[u8; 40], _>(&rows.0..=&rows.1, |_, row| {
            let id = row.get(8 + 64..).map(FactId::of);
            changes.extend(id.map(|id| ((job, id), None)));
            false
        })?;
        let all = (fact_key(job, FactId([0; 32])), fact_key(job, FactId([0xff; 32])));
        self.outbox.retain_in::<&[u8; 64], _>(&all.0..=&all.1, |_, _| false)?;
        Ok(())
    }

    /// Removes a row that did not match its check, unless a good one has taken its place.
    pub(super) fn drop_row(&mut self, row: &BadRow) -> Result<(), redb::Error> {
        match row.tag {
            Tag::Manifest => drop_bad(&mut self.manifests, row),
            Tag::Held => drop_bad(&mut self.held, row),
            Tag::Round => drop_bad(&mut self.rounds, row),
            Tag::Tombstone => drop_bad(&mut self.tombstones, row),
            Tag::Fact => drop_bad(&mut self.facts, row),
            Tag::Outbox => drop_bad(&mut self.outbox, row),
            Tag::Meta => Ok(()),
        }
    }
}

fn drop_bad<const N: usize>(
    table: &mut Table<'_, &'static [u8; N], &'static [u8]>,
    row: &BadRow,
) -> Result<(), redb::Error> {
    let Ok(key) = <&[u8; N]>::try_from(&row.key[..]) else { return Ok(()) };
    let bad = table.get(key)?.is_some_and(|found| !is_good(row.tag, key, found.value()));
    if bad {
        table.remove(key)?;
    }
    Ok(())
}

/// Whether a row can be handed out.
pub(super) fn is_good(tag: Tag, key: &[u8], row: &[u8]) -> bool {
    if tag == Tag::Fact {
        return key.try_into().is_ok_and(|key| fact_row(key, row).is_some());
    }
    let Some(payload) = unseal(tag, key, row) else { return false };
    match tag {
        Tag::Manifest => signed(payload).is_some_and(|(_, bytes)| JobId::of(&bytes).0 == key),
        Tag::Tombstone => signed(payload).is_some(),
        Tag::Round => payload.len() == 4,
        Tag::Fact | Tag::Outbox | Tag::Held | Tag::Meta => true,
    }
}

/// A row to be removed with the next commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadRow {
    pub(super) tag: Tag,
    pub(super) key: Vec<u8>,
}

/// A table for reading; one that was never written reads as `None`.
pub(super) fn reading<K: redb::Key>(
    txn: &ReadTransaction,
    def: Def<K>,
) -> Result<Option<ReadOnlyTable<K, &'static [u8]>>, TableError> {
    match txn.open_table(def) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(e) => Err(e),
    }
}
