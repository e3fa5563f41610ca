//! What the core wants to have here: closures of jobs and blobs of results, one task each, at most so many at work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use filch_core::io::Providers;
use filch_core::{FetchId, Input};
use filch_types::{BlobId, JobId, Manifest};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::closure::{HoldError, Holder, item_lists};
use super::fetch::FetchError;
use super::stage::HeldJobs;
use crate::driver::Inbox;

/// Closures that are fetched at the same time.
const CLOSURES: usize = 4;
/// Sets of result blobs that are fetched at the same time.
const SETS: usize = 16;
/// Between two words on the progress of a closure.
const PROGRESS: Duration = Duration::from_millis(250);

/// See the module. How many wait is bounded by the core's tables of jobs and fetches.
pub struct Jobs {
    holder: Holder,
    held: Arc<HeldJobs>,
    inbox: Arc<Inbox>,
    closures: Semaphore,
    sets: Semaphore,
    at_work: Mutex<HashMap<JobId, AbortHandle>>,
    runtime: tokio::runtime::Handle,
}

impl Jobs {
    /// Reports to `inbox`.
    pub fn new(holder: Holder, held: Arc<HeldJobs>, inbox: Arc<Inbox>, runtime: tokio::runtime::Handle) -> Arc<Self> {
        let (closures, sets) = (Semaphore::new(CLOSURES), Semaphore::new(SETS));
        Arc::new(Self { holder, held, inbox, closures, sets, at_work: Mutex::default(), runtime })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, AbortHandle>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers with `ClosureHeld` or `ClosureFailed`. A second wish for the same job joins the first.
    pub fn closure(self: &Arc<Self>, job: JobId, manifest: Arc<Manifest>, from: Providers) {
        let nothing =
            manifest.spec.groups.iter().all(|g| g.inputs.is_empty()) && item_lists(&manifest).next().is_none();
        if nothing {
            return self.inbox.push(Input::ClosureHeld(job));
        }
        let mut at_work = self.lock();
        if at_work.contains_key(&job) {
            return;
        }
        let me = self.clone();
        let task = self.runtime.spawn(async move {
            let Ok(_permit) = me.closures.acquire().await else { return };
            let result = me.holder.hold_closure(job, manifest, &from, &me.progress(job)).await;
            let mut at_work = me.lock();
            if at_work.remove(&job).is_none() {
                return;
            }
            match result {
                Ok(()) => {
                    me.held.add(job);
                    me.inbox.push(Input::ClosureHeld(job));
                }
                Err(e) => {
                    tracing::info!(?job, %e, "the inputs of a job cannot be held now");
                    me.full(&e);
                    me.inbox.push(Input::ClosureFailed(job, e.to_string()));
                }
            }
        });
        at_work.insert(job, task.abort_handle());
    }

    /// Tells the core now and then.
    fn progress(self: &Arc<Self>, job: JobId) -> impl Fn(u64) + Send + Sync + use<> {
        let inbox = self.inbox.clone();
        let told = Mutex::new(Instant::now());
        move |bytes| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.elapsed() >= PROGRESS {
                *told = Instant::now();
                inbox.push(Input::ClosureProgress(job, bytes));
            }
        }
    }

    /// Answers with `Fetched` or `FetchFailed`.
    pub fn blobs(self: &Arc<Self>, fetch: FetchId, job: JobId, blobs: Vec<(BlobId, u64)>, from: Providers) {
        let me = self.clone();
        self.runtime.spawn(async move {
            let Ok(_permit) = me.sets.acquire().await else { return };
            let answer = match me.holder.hold(job, blobs, &from, &|_| ()).await {
                Ok(()) => Input::Fetched(fetch),
                Err(e) => {
                    tracing::info!(?job, %e, "the blobs of results cannot be held now");
                    me.full(&e);
                    Input::FetchFailed(fetch, e.to_string())
                }
            };
            me.inbox.push(answer);
        });
    }

    fn full(&self, e: &HoldError) {
        let full = match e {
            HoldError::Fetch(e) => matches!(e, FetchError::Full(_)),
            HoldError::Retain(e) => e.is_full(),
            _ => false,
        };
        if full {
            self.inbox.push(Input::DiskFull);
        }
    }

    /// The job is gone.
    pub fn release(self: &Arc<Self>, job: JobId) {
        if let Some(task) = self.lock().remove(&job) {
            task.abort();
        }
        self.held.remove(job);
        let store = self.holder.store.clone();
        self.runtime.spawn_blocking(move || match store.release(job) {
            Ok(bytes) => tracing::debug!(?job, bytes, "released"),
            Err(e) => tracing::warn!(?job, %e, "blobs cannot be released"),
        });
    }
}
