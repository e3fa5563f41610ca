//! Inputs of tasks that are about to run. When everything is here a launch costs no hop to another thread; otherwise it is
//! fetched first, and the launch bounces if that fails.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use filch_core::{AskId, Part};
use filch_core::{Input, Launch, LaunchId};
use filch_exec::{Batch, Exec};
use filch_types::manifest::{Generator, Group};
use filch_types::ranges::Range;
use filch_types::time::Span;
use filch_types::{BlobId, Content, JobId, Manifest, NodeId};

use super::closure::{HoldError, Holder, blocking, items_have_inputs};
use super::lists::List;
use crate::driver::Inbox;

/// Launches that wait for inputs, and jobs whose closure is known to be here.
pub struct Stager {
    holder: Holder,
    exec: Arc<Exec>,
    inbox: Arc<Inbox>,
    held: Arc<HeldJobs>,
    /// Launches whose inputs are on their way. Bounded by the core: two per slot.
    waiting: Mutex<HashMap<LaunchId, tokio::task::AbortHandle>>,
    runtime: tokio::runtime::Handle,
}

/// Jobs whose whole closure is durably here, as far as this process knows.
#[derive(Default)]
pub struct HeldJobs(Mutex<HashSet<JobId>>);

impl HeldJobs {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<JobId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// It is here.
    pub fn add(&self, job: JobId) {
        self.lock().insert(job);
    }
    /// It is not, or not any more. Whether it was.
    pub fn remove(&self, job: JobId) -> bool {
        self.lock().remove(&job)
    }
    /// All of them; none is from now on.
    pub fn take_all(&self) -> Vec<JobId> {
        self.lock().drain().collect()
    }
    /// Whether it is here.
    pub fn has(&self, job: JobId) -> bool {
        self.lock().contains(&job)
    }
}

/// What a launch needs besides its group's inputs.
enum Need {
    Nothing,
    List(BlobId, u64),
}

/// Tasks of one group that need their inputs, and who may have them.
struct Wanted<'a> {
    job: JobId,
    manifest: &'a Manifest,
    tasks: Range,
    from: &'a [NodeId],
    /// The blob that a part of a divided task is.
    bag: Option<(BlobId, u64)>,
}

impl<'a> Wanted<'a> {
    fn of(launch: &'a Launch) -> Self {
        let (job, tasks) = (launch.job, launch.tasks);
        Self { job, manifest: &launch.manifest, tasks, from: &launch.from, bag: bag(launch) }
    }
}

fn need<'a>(wanted: &Wanted<'a>) -> Option<(Need, &'a Group, u32)> {
    let (_, group, number) = wanted.manifest.spec.locate(wanted.tasks.lo)?;
    let need = match group.tasks {
        Generator::Items { list, len, .. } => Need::List(list, len),
        Generator::Once | Generator::Array { .. } => Need::Nothing,
    };
    Some((need, group, number))
}

fn batch(launch: Launch) -> Batch {
    Batch {
        launch: launch.id.0,
        job: launch.job,
        manifest: launch.manifest,
        tasks: launch.tasks,
        attempt: launch.attempt,
        slot: launch.slot,
        part: launch.bag.map(|part| part.bag),
    }
}

/// The blob that a part of a divided task is, if it is one.
fn bag(launch: &Launch) -> Option<(BlobId, u64)> {
    match launch.bag {
        Some(Part { bag: Content::Blob(id, len), .. }) => Some((id, len)),
        _ => None,
    }
}

/// Inputs that the items of the launch's tasks name.
fn item_inputs(list: &List, number: u32, count: u32) -> Result<Vec<(BlobId, u64)>, filch_types::codec::CodecError> {
    const BLOCK: u32 = filch_types::items::BLOCK;
    let end = number.saturating_add(count);
    let mut out = Vec::new();
    for block in number / BLOCK..end.div_ceil(BLOCK) {
        let first = block * BLOCK;
        for (n, item) in list.block(block)?.into_iter().enumerate() {
            let at = first.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
            if (number..end).contains(&at) {
                out.extend(item.inputs.iter().map(|f| (f.blob, f.len)));
            }
        }
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

impl Stager {
    /// Launches into `exec`; reports what could not be staged to `inbox`. Needs the runtime it is made in.
    pub fn new(
        holder: Holder,
        exec: Arc<Exec>,
        inbox: Arc<Inbox>,
        held: Arc<HeldJobs>,
        runtime: tokio::runtime::Handle,
    ) -> Arc<Self> {
        Arc::new(Self { holder, exec, inbox, held, waiting: Mutex::default(), runtime })
    }

    /// Starts the launch, now or once its inputs are here. Does not block.
    pub fn launch(self: &Arc<Self>, launch: Launch) {
        if self.ready(&Wanted::of(&launch)) {
            return self.exec.start(batch(launch));
        }
        let me = self.clone();
        let id = launch.id;
        self.inbox.push(Input::Staging(id));
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let task = self.runtime.spawn(async move {
            let (tasks, staged) = (launch.tasks, me.stage(&Wanted::of(&launch)).await);
            let mut waiting = me.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever takes it out of the table decides: this task, or `stop`.
            if waiting.remove(&id).is_none() {
                return;
            }
            match staged {
                Ok(()) => {
                    me.inbox.push(Input::Staged(id));
                    me.exec.start(batch(launch));
                }
                Err(why) => {
                    me.inbox.push(Input::Bounced { launch: id, tasks, why: format!("input unavailable: {why}") })
                }
            }
        });
        waiting.insert(id, task.abort_handle());
    }

    /// Fetches what will be needed soon. Does not block; the core has no more of these open than it has slots.
    pub fn fetch_ahead(self: &Arc<Self>, job: JobId, manifest: Arc<Manifest>, tasks: Range, from: Vec<NodeId>) {
        let me = self.clone();
        self.runtime.spawn(async move {
            let wanted = Wanted { job, manifest: &manifest, tasks, from: &from, bag: None };
            let here = me.ready(&wanted) || me.stage(&wanted).await.is_ok();
            me.inbox.push(Input::FetchedAhead { job, tasks, here });
        });
    }

    /// Ends a launch, wherever it is. What was waiting comes back as bounced.
    pub fn stop(&self, id: LaunchId) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        match waiting {
            Some(task) => {
                task.abort();
                let all = filch_types::ranges::Range::new(0, u32::MAX);
                self.inbox.push(Input::Bounced { launch: id, tasks: all, why: "stopped before it began".into() });
            }
            None => self.exec.stop(id.0),
        }
    }

    /// Splits something off a launch; it gives nothing while its inputs are on their way.
    pub fn split(&self, id: LaunchId, ask: AskId, least: Span) {
        self.exec.split(id.0, ask.0, std::time::Duration::from_micros(least.0));
    }

    /// Ends a divided launch where it is; one that has not begun goes back whole.
    pub fn checkpoint(&self, id: LaunchId) {
        if self.waiting.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&id) {
            return self.stop(id);
        }
        self.exec.checkpoint(id.0);
    }

    /// Whether everything is here, answered without blocking for long.
    fn ready(&self, wanted: &Wanted<'_>) -> bool {
        let Some((need, group, number)) = need(wanted) else { return true };
        if wanted.bag.is_some_and(|(id, _)| !self.holder.store.has(id)) {
            return false;
        }
        if let Need::Nothing = need
            && group.inputs.is_empty()
        {
            return true;
        }
        if self.held.has(wanted.job) {
            return true;
        }
        let store = &self.holder.store;
        if !group.inputs.iter().all(|f| store.has(f.blob)) {
            return false;
        }
        match need {
            Need::Nothing => true,
            Need::List(list, ..) if !items_have_inputs(wanted.manifest) => store.has(list),
            Need::List(list, ..) => match self.holder.lists.cached(list) {
                Some(list) => item_inputs(&list, number, wanted.tasks.len())
                    .is_ok_and(|inputs| inputs.iter().all(|(id, _)| store.has(*id))),
                None => false,
            },
        }
    }

    async fn stage(&self, wanted: &Wanted<'_>) -> Result<(), HoldError> {
        let Some((need, group, number)) = need(wanted) else { return Ok(()) };
        let mut direct: Vec<(BlobId, u64)> = group.inputs.iter().map(|f| (f.blob, f.len)).collect();
        if let Need::List(list, len) = need {
            direct.push((list, len));
        }
        direct.extend(wanted.bag);
        self.get(wanted, direct).await?;
        if let Need::List(list, len) = need
            && items_have_inputs(wanted.manifest)
        {
            let (lists, count) = (self.holder.lists.clone(), wanted.tasks.len());
            let inputs = blocking(move || {
                let reader = lists.get(list, len)?;
                Ok(item_inputs(&reader, number, count)
                    .map_err(|source| super::lists::ListError::Format { id: list, source })?)
            })
            .await?;
            self.get(wanted, inputs).await?;
        }
        Ok(())
    }

    /// Fetches, and keeps as long as the job is known here. Not synced: a crash only means to fetch again.
    async fn get(&self, wanted: &Wanted<'_>, blobs: Vec<(BlobId, u64)>) -> Result<(), HoldError> {
        self.holder.keep(wanted.job, &blobs).await?;
        Ok(self.holder.fetcher.fetch(&blobs, wanted.from, &|_| ()).await?)
    }
}
