//! The start: what the ledger says goes into the core, and what the blob store has is brought in line with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use filch_blobs::{BlobStore, PutError};
use filch_core::Node;
use filch_core::view::Role;
use filch_ledger::{CommitError, Ledger, RedbLedger, SALVAGED};
use filch_types::record::Record;
use filch_types::{BlobId, FactId, JobId, Manifest, SignedFact};

use crate::damage::{self, Lost};
use crate::datadir::DataDir;
use crate::delivery;
use crate::error::UpError;

/// The note that names the store of which the ledger is a part.
const STORE: &str = "store";

/// What the ledger had at the start.
pub struct Restored {
    /// Jobs whose closure is said to be here.
    pub held: Vec<JobId>,
    /// Own jobs.
    pub jobs: Vec<(JobId, Arc<Manifest>)>,
    /// Notes on deliveries.
    pub notes: Vec<(String, Vec<u8>)>,
    /// Results whose blobs are not here any more.
    pub lost: Vec<(JobId, Lost)>,
}

/// A store that lost its ledger has forgotten what others believe it holds: it goes on as another store (a wiped store is no holder).
pub fn settle_store(dir: &mut DataDir, ledger: &mut RedbLedger) -> Result<(), UpError> {
    let reader = ledger.reader();
    if reader.meta(SALVAGED)?.is_some() {
        tracing::warn!("the ledger has lost rows: it is a new store from now on, so that nobody counts on them");
        dir.renew_store()?;
        note(ledger, STORE, Some(&dir.store.0))?;
        return note(ledger, SALVAGED, None);
    }
    let note_there = reader.meta(STORE)?;
    if note_there.as_deref() == Some(&dir.store.0[..]) {
        return Ok(());
    }
    let mut empty = true;
    if note_there.is_none() {
        ledger.replay(&mut |_| empty = false)?;
    }
    if empty && dir.boot > 1 {
        tracing::warn!("the ledger is not the one of this store's earlier life; it is a new store from now on");
        dir.renew_store()?;
    }
    note(ledger, STORE, Some(&dir.store.0))
}

fn note(ledger: &mut RedbLedger, key: &str, value: Option<&[u8]>) -> Result<(), UpError> {
    match ledger.put_meta(key, value) {
        Ok(()) => Ok(()),
        // The next start that finds room says it.
        Err(CommitError::Full { why }) => {
            tracing::warn!(why, key, "no room for a note in the ledger");
            Ok(())
        }
        Err(CommitError::Fatal(why)) => Err(filch_ledger::LedgerError::Storage(why).into()),
    }
}

/// Feeds the ledger to the core.
pub fn restore(mut node: Node, ledger: &mut RedbLedger, store: &BlobStore) -> Result<(Node, Restored), UpError> {
    let mut held = Vec::new();
    let mut results = store.rebuilt().map(|_| Results::default());
    let stats = ledger.replay(&mut |record| {
        if let Record::Held(job) = &record {
            held.push(*job);
        }
        if let (Some(results), Record::Fact(job, id, fact)) = (&mut results, &record) {
            results.keep(store, *job, *id, fact);
        }
        node.restore(record);
    })?;
    tracing::info!(?stats, "ledger replayed");
    let lost = results.map(|r| r.lost(store)).unwrap_or_default();
    release_unknown(&node, store);
    let me = node.id();
    let jobs = node.jobs().into_iter().filter(|j| j.role == Role::Replica || j.owner == me);
    let jobs = jobs.filter_map(|j| Some((j.job, j.manifest?))).filter(|(_, m)| m.owner == me).collect();
    let notes = ledger.reader().metas(delivery::PREFIX)?;
    Ok((node, Restored { held, jobs, notes, lost }))
}

/// Blobs of results after the index was made again: nobody holds them, and some may be gone.
#[derive(Default)]
struct Results {
    lost: BTreeMap<JobId, Lost>,
}

impl Results {
    fn keep(&mut self, store: &BlobStore, job: JobId, id: FactId, signed: &SignedFact) {
        let Ok(fact) = signed.decode() else { return };
        let ids: Vec<BlobId> = fact.closure().map(|(id, _)| id).collect();
        warn_or_end(store.retain(job, &ids), "the blobs of results cannot be held");
        if let Some(lost) = damage::lost_of(id, signed, |b| !store.has(*b)) {
            self.lost.entry(job).or_default().push(lost);
        }
    }

    fn lost(self, store: &BlobStore) -> Vec<(JobId, Lost)> {
        warn_or_end(store.sync(&[]).map_err(PutError::Sync), "the blobs of results cannot be held");
        for (job, lost) in &self.lost {
            tracing::warn!(
                ?job,
                packs = lost.len(),
                "blobs of results are gone; they are fetched from the job's other replicas"
            );
        }
        self.lost.into_iter().collect()
    }
}

/// A crash in the middle of deleting a job, or before one was accepted, leaves blobs held for nobody.
fn release_unknown(node: &Node, store: &BlobStore) {
    let holding = match store.holding() {
        Ok(jobs) => jobs,
        Err(e) => return warn_or_end(Err(e), "which jobs hold blobs cannot be read"),
    };
    for job in holding.into_iter().filter(|job| node.job(*job).is_none()) {
        match store.release(job) {
            Ok(bytes) => tracing::info!(?job, bytes, "blobs of a job that is not known any more were released"),
            Err(e) => warn_or_end(Err(e), "blobs of a job that is not known any more cannot be released"),
        }
    }
}

fn warn_or_end(result: Result<(), PutError>, what: &str) {
    match result {
        Err(e) if e.is_fatal() => crate::fatal::disk(&e.to_string()),
        Err(e) => tracing::warn!(%e, "{what}"),
        Ok(()) => {}
    }
}
