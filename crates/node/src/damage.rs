//! Blobs that a read found damaged or missing: the core is told whose inputs and results they are. Which jobs name a blob is kept nowhere:
//! damage is rare, and a look through the facts of all jobs costs little.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use filch_core::Input;
use filch_core::view::Role;
use filch_ledger::LedgerReader;
use filch_types::{BlobId, FactId, JobId, SignedFact};

use crate::driver::{DriverHandle, Inbox};
use crate::transfer::stage::HeldJobs;

/// Blobs that are looked for together; what is found damaged beyond them is found again by the next read.
const MOST: usize = 4096;

/// Facts with those of their blobs that are gone.
pub type Lost = Vec<(FactId, Vec<(BlobId, u64)>)>;

/// See the module.
pub struct Damage {
    inbox: Arc<Inbox>,
    held: Arc<HeldJobs>,
    reader: Arc<dyn LedgerReader>,
    driver: DriverHandle,
    runtime: tokio::runtime::Handle,
    /// Blobs that are not looked for yet. Somebody looks while there are any.
    found: Mutex<HashSet<BlobId>>,
}

/// Those blobs of a fact that `gone` says of, if it names any.
pub fn lost_of(id: FactId, fact: &SignedFact, gone: impl Fn(&BlobId) -> bool) -> Option<(FactId, Vec<(BlobId, u64)>)> {
    let fact = fact.decode().ok()?;
    let blobs: Vec<(BlobId, u64)> = fact.closure().filter(|(b, _)| gone(b)).collect();
    (!blobs.is_empty()).then_some((id, blobs))
}

impl Damage {
    /// Tells `inbox` what it finds in the ledger behind `reader`.
    pub fn new(
        inbox: Arc<Inbox>,
        held: Arc<HeldJobs>,
        reader: Arc<dyn LedgerReader>,
        runtime: tokio::runtime::Handle,
    ) -> Arc<Self> {
        let driver = DriverHandle::new(inbox.clone());
        Arc::new(Self { inbox, held, reader, driver, runtime, found: Mutex::default() })
    }

    fn found(&self) -> std::sync::MutexGuard<'_, HashSet<BlobId>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This blob should be here and is not. From any thread; does not block.
    pub fn blob(self: &Arc<Self>, blob: BlobId) {
        let mut found = self.found();
        let first = found.is_empty();
        if found.len() >= MOST || !found.insert(blob) {
            return;
        }
        drop(found);
        tracing::warn!(?blob, "a blob is missing or damaged; it is looked for at the other nodes");
        if first {
            let me = self.clone();
            self.runtime.spawn(async move { me.look().await });
        }
    }

    async fn look(self: Arc<Self>) {
        for job in self.held.take_all() {
            self.inbox.push(Input::ClosureLost(job));
        }
        let keeps = |n: &filch_core::Node| -> Vec<JobId> {
            n.jobs().into_iter().filter(|j| j.role != Role::Observer).map(|j| j.job).collect()
        };
        let jobs = self.driver.read(keeps).await.unwrap_or_default();
        let me = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let gone = std::mem::take(&mut *me.found());
            jobs.into_iter().for_each(|job| me.look_into(job, &gone));
        });
        if let Err(error) = looked.await {
            tracing::error!(%error, "the look for damaged results ended");
        }
    }

    fn look_into(&self, job: JobId, gone: &HashSet<BlobId>) {
        let mut lost = Lost::new();
        let sink = &mut |id, fact: SignedFact| lost.extend(lost_of(id, &fact, |b| gone.contains(b)));
        if let Err(error) = self.reader.facts(job, sink) {
            tracing::error!(%error, "the facts of a job cannot be read");
        }
        if !lost.is_empty() {
            tracing::warn!(?job, packs = lost.len(), "results name what is damaged or missing here");
            self.inbox.push(Input::ResultsLost(job, lost));
        }
    }

    /// Answers `Output::ReadFacts`.
    pub fn read_facts(self: &Arc<Self>, job: JobId) {
        let me = self.clone();
        self.runtime.spawn(async move {
            let reader = me.reader.clone();
            let read = tokio::task::spawn_blocking(move || {
                let mut facts = Vec::new();
                reader.facts(job, &mut |id, fact| facts.push((id, fact))).map(|()| facts)
            });
            match read.await {
                Ok(Ok(facts)) => me.inbox.push(Input::FactsRead(job, facts)),
                // As any other failure of the disk: going on with half of a ledger would lose what was acked (P2). A page that is damaged
                // in its structure may also make the database panic; the next start takes over what is whole.
                Ok(Err(error)) => crate::fatal::disk(&error.to_string()),
                Err(error) => crate::fatal::disk(&error.to_string()),
            }
        });
    }
}
