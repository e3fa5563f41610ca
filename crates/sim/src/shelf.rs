//! A node's blob store: which blobs it has, and which of them would survive a crash.

use std::collections::{BTreeMap, BTreeSet};

use filch_types::{BlobId, JobId};

/// Blobs of one node. Only names and lengths: contents never matter to the core.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    blobs: BTreeMap<BlobId, (u64, bool)>,
    wanted: BTreeMap<JobId, BTreeSet<BlobId>>,
}

impl Shelf {
    /// Puts a blob in for a job; durable at once or by a later `sync`.
    pub fn put(&mut self, job: JobId, id: BlobId, len: u64, durable: bool) {
        let entry = self.blobs.entry(id).or_insert((len, false));
        entry.1 |= durable;
        self.wanted.entry(job).or_default().insert(id);
    }
    /// Keeps a blob that is here for this job too.
    pub fn retain(&mut self, job: JobId, id: BlobId) {
        self.wanted.entry(job).or_default().insert(id);
    }
    /// Makes a blob durable; false if it is not here.
    pub fn sync(&mut self, id: BlobId) -> bool {
        self.blobs.get_mut(&id).map(|b| b.1 = true).is_some()
    }
    /// Whether it is here.
    pub fn has(&self, id: BlobId) -> bool {
        self.blobs.contains_key(&id)
    }
    /// Whether it is here and would survive a crash.
    pub fn durable(&self, id: BlobId) -> bool {
        self.blobs.get(&id).is_some_and(|b| b.1)
    }
    /// The job's hold ends; blobs that no other job wants go.
    pub fn release(&mut self, job: JobId) {
        let Some(ids) = self.wanted.remove(&job) else { return };
        for id in ids {
            if !self.wanted.values().any(|w| w.contains(&id)) {
                self.blobs.remove(&id);
            }
        }
    }
    /// Bit rot: found damaged and dropped.
    pub fn lose(&mut self, id: BlobId) -> bool {
        self.blobs.remove(&id).is_some()
    }
    /// A crash: what was not synced stays if `survives` says so.
    pub fn crash(&mut self, mut survives: impl FnMut() -> bool) {
        self.blobs.retain(|_, (_, durable)| {
            *durable = *durable || survives();
            *durable
        });
    }
    /// Blobs and bytes.
    pub fn usage(&self) -> (usize, u64) {
        (self.blobs.len(), self.blobs.values().map(|b| b.0).sum())
    }
    /// Jobs that blobs are kept for.
    pub fn jobs(&self) -> Vec<JobId> {
        self.wanted.keys().copied().collect()
    }
    /// Blobs kept for a job.
    pub fn of_job(&self, job: JobId) -> impl Iterator<Item = BlobId> + '_ {
        self.wanted.get(&job).into_iter().flatten().copied()
    }
}
