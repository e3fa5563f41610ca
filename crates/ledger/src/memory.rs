//! A ledger without a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use filch_types::record::Record;
use filch_types::{FactId, JobId, SignedFact, SignedManifest};

use crate::{CommitError, Ledger, LedgerError, LedgerReader, ReplayStats};

/// Keeps everything in memory, for tests and simulations. Clones share their content, so that a "restart" is a clone.
#[derive(Clone, Debug, Default)]
pub struct MemoryLedger {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    manifests: BTreeMap<JobId, SignedManifest>,
    facts: BTreeMap<(JobId, FactId), SignedFact>,
    held: BTreeSet<JobId>,
    rounds: BTreeMap<JobId, u32>,
    outbox: BTreeSet<(JobId, FactId)>,
    tombstones: BTreeMap<JobId, SignedFact>,
    meta: BTreeMap<String, Vec<u8>>,
}

const FIRST: FactId = FactId([0; 32]);
const LAST: FactId = FactId([0xff; 32]);

impl Kept {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Manifest(job, manifest) => {
                self.manifests.insert(*job, manifest.clone());
            }
            Record::Held(job) => {
                self.held.insert(*job);
            }
            Record::Fact(job, id, fact) => {
                self.facts.insert((*job, *id), fact.clone());
            }
            Record::Outbox(job, id) => {
                self.outbox.insert((*job, *id));
            }
            Record::OutboxDone(job, id) => {
                self.outbox.remove(&(*job, *id));
            }
            Record::Lost(job, id) => {
                self.facts.remove(&(*job, *id));
                self.outbox.remove(&(*job, *id));
            }
            Record::Round(job, round) => {
                let kept = self.rounds.entry(*job).or_default();
                *kept = (*kept).max(*round);
            }
            Record::Drop(job) => self.drop_job(*job),
            Record::Forget(job, fact) => {
                self.drop_job(*job);
                self.tombstones.insert(*job, fact.clone());
            }
        }
    }

    fn drop_job(&mut self, job: JobId) {
        self.manifests.remove(&job);
        self.held.remove(&job);
        self.rounds.remove(&job);
        let facts: Vec<_> = self.facts.range((job, FIRST)..=(job, LAST)).map(|(k, _)| *k).collect();
        facts.iter().for_each(|k| drop(self.facts.remove(k)));
        self.outbox.retain(|(j, _)| *j != job);
    }
}

impl MemoryLedger {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for MemoryLedger {
    fn replay(&mut self, sink: &mut dyn FnMut(Record)) -> Result<ReplayStats, LedgerError> {
        let mut kept = self.kept();
        let before = kept.manifests.len() + kept.facts.len();
        kept.manifests.retain(|job, m| m.job() == *job);
        kept.facts.retain(|(_, id), f| f.id() == *id);
        let stats = ReplayStats {
            manifests: kept.manifests.len() as u64,
            facts: kept.facts.len() as u64,
            held: kept.held.len() as u64,
            rounds: kept.rounds.len() as u64,
            outbox: kept.outbox.len() as u64,
            tombstones: kept.tombstones.len() as u64,
            dropped: (before - kept.manifests.len() - kept.facts.len()) as u64,
        };
        kept.manifests.iter().for_each(|(j, m)| sink(Record::Manifest(*j, m.clone())));
        kept.held.iter().for_each(|j| sink(Record::Held(*j)));
        kept.facts.iter().for_each(|((j, id), f)| sink(Record::Fact(*j, *id, f.clone())));
        kept.rounds.iter().for_each(|(j, r)| sink(Record::Round(*j, *r)));
        kept.outbox.iter().for_each(|(j, id)| sink(Record::Outbox(*j, *id)));
        kept.tombstones.iter().for_each(|(j, f)| sink(Record::Forget(*j, f.clone())));
        Ok(stats)
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), CommitError> {
        let mut kept = self.kept();
        records.iter().for_each(|r| kept.apply(r));
        Ok(())
    }

    fn put_meta(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), CommitError> {
        let mut kept = self.kept();
        match value {
            Some(value) => kept.meta.insert(key.to_owned(), value.to_vec()),
            None => kept.meta.remove(key),
        };
        Ok(())
    }

    fn reader(&self) -> Arc<dyn LedgerReader> {
        Arc::new(self.clone())
    }
}

impl LedgerReader for MemoryLedger {
    fn fact(&self, job: JobId, id: FactId) -> Result<Option<SignedFact>, LedgerError> {
        Ok(self.kept().facts.get(&(job, id)).filter(|f| f.id() == id).cloned())
    }

    fn facts(&self, job: JobId, sink: &mut dyn FnMut(FactId, SignedFact)) -> Result<(), LedgerError> {
        let facts: Vec<(FactId, SignedFact)> = self
            .kept()
            .facts
            .range((job, FIRST)..=(job, LAST))
            .filter(|((_, id), f)| f.id() == *id)
            .map(|((_, id), f)| (*id, f.clone()))
            .collect();
        facts.into_iter().for_each(|(id, fact)| sink(id, fact));
        Ok(())
    }

    fn manifest(&self, job: JobId) -> Result<Option<SignedManifest>, LedgerError> {
        Ok(self.kept().manifests.get(&job).filter(|m| m.job() == job).cloned())
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        Ok(self.kept().meta.get(key).cloned())
    }

    fn metas(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, LedgerError> {
        let kept = self.kept();
        let from = kept.meta.range(prefix.to_owned()..);
        Ok(from.take_while(|(k, _)| k.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}
