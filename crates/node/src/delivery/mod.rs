//! Output files for the submitter: written under the directory that came with the job as soon as results are final (P6).
//!
//! What was delivered is noted in the ledger, after the files are safe on their disk and at most once a second, so a restart
//! goes on where the last life ended; writing a file again is harmless. A directory is noted under the job's nonce before the
//! job is handed to the core: no crash leaves a job without its directory.

pub mod collect;
mod state;
pub mod target;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use filch_api::{Delivery as View, EventKind};
use filch_blobs::BlobStore;
use filch_core::view::Winner;
use filch_types::fact::PinRun;
use filch_types::ranges::Range;
use filch_types::result::OutFile;
use filch_types::wire::JobState;
use filch_types::{JobId, Manifest, NodeId, Nonce};
use tokio::sync::Semaphore;

use crate::disk::{Disk, Note};
use crate::driver::DriverHandle;
use crate::events::{Events, Happening};
use crate::packs::Packs;
use crate::stats::Stats;
use crate::transfer::Fetcher;
use state::{Note as Kept, Progress};
pub use target::{DeliverError, Target, Written};

/// Jobs whose files are written at the same time.
const AT_WORK: usize = 2;
/// Packs whose files are in memory at the same time.
const PACKS: usize = 8;
/// Notes in the ledger begin with this; the nonce follows.
pub const PREFIX: &str = "deliver/";

/// What delivering needs.
pub struct Tools {
    /// Bytes.
    pub store: BlobStore,
    /// Bytes of others.
    pub fetcher: Arc<Fetcher>,
    /// Results.
    pub packs: Arc<Packs>,
    /// The core.
    pub driver: DriverHandle,
    /// Notes.
    pub disk: Disk,
    /// Who watches.
    pub events: Events,
    /// Counters.
    pub stats: Arc<Stats>,
}

/// See the module.
pub struct Deliveries {
    tools: Tools,
    jobs: Mutex<HashMap<JobId, Arc<Job>>>,
    at_work: Semaphore,
    runtime: tokio::runtime::Handle,
}

struct Job {
    nonce: Nonce,
    manifest: Arc<Manifest>,
    progress: Mutex<Progress>,
}

impl Job {
    fn lock(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(nonce: Nonce) -> String {
    format!("{PREFIX}{nonce}")
}

/// Files that these tasks declare.
fn declared(manifest: &Manifest, ranges: impl Iterator<Item = Range>) -> u64 {
    let all: Vec<(Range, u64)> = (0..manifest.spec.groups.len())
        .map(|g| (manifest.spec.group_range(g), manifest.spec.groups[g].outputs.len() as u64))
        .collect();
    ranges.flat_map(|r| all.iter().map(move |(g, n)| u64::from(g.intersect(r).len()) * n)).sum()
}

impl Deliveries {
    /// Nothing to deliver yet. Needs the runtime it is made in.
    pub fn new(tools: Tools, runtime: tokio::runtime::Handle) -> Arc<Self> {
        Arc::new(Self { tools, jobs: Mutex::default(), at_work: Semaphore::new(AT_WORK), runtime })
    }

    /// Checks that a directory can be delivered into.
    pub fn check(&self, dir: &Path) -> Result<(), DeliverError> {
        let target = Target::open(dir, self.tools.store.clone())?;
        target.check_writable().map_err(|e| DeliverError::Dir { path: dir.to_owned(), source: e.into() })
    }

    /// Notes durably where the files of a job that is about to be submitted go. A second submit of the same nonce replaces
    /// the directory.
    pub async fn announce(&self, nonce: Nonce, dir: &Path) -> Result<(), String> {
        let kept = Kept::new(dir.to_string_lossy().into_owned());
        self.tools.disk.note_durably(key(nonce), Some(kept.encode())).await
    }

    /// The submit failed: nothing will be delivered.
    pub fn withdraw(&self, nonce: Nonce) {
        self.tools.disk.note(Note { key: key(nonce), value: None, done: None });
    }

    /// The job has an id now: whatever is final of it is delivered, from now on.
    pub fn begin(self: &Arc<Self>, id: JobId, manifest: Arc<Manifest>, dir: &Path) {
        let dir = dir.to_string_lossy().into_owned();
        if self.find(id).is_none_or(|job| job.lock().dir() != dir) {
            self.take_up(id, manifest, Kept::new(dir));
        }
    }

    /// After a restart: takes up what the notes say, for the jobs that are still known; drops the other notes.
    pub fn resume(self: &Arc<Self>, notes: Vec<(String, Vec<u8>)>, jobs: Vec<(JobId, Arc<Manifest>)>) {
        let mut by_nonce: HashMap<String, (JobId, Arc<Manifest>)> =
            jobs.into_iter().map(|(id, m)| (key(m.nonce), (id, m))).collect();
        for (key, value) in notes {
            match (by_nonce.remove(&key), Kept::decode(&value)) {
                (Some((id, manifest)), Some(kept)) => self.take_up(id, manifest, kept),
                (None, _) | (_, None) => self.tools.disk.note(Note { key, value: None, done: None }),
            }
        }
    }

    fn take_up(self: &Arc<Self>, id: JobId, manifest: Arc<Manifest>, kept: Kept) {
        let all = Range::new(0, manifest.spec.total());
        let mut progress = Progress::from(kept);
        progress.look_at(all);
        let job = Arc::new(Job { nonce: manifest.nonce, manifest, progress: Mutex::new(progress) });
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).insert(id, job);
        self.wake(id);
    }

    fn find(&self, id: JobId) -> Option<Arc<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// These winners are final. Called for every job; does not block.
    pub fn finals(self: &Arc<Self>, id: JobId, runs: &[PinRun]) {
        let Some(job) = self.find(id) else { return };
        {
            let mut progress = job.lock();
            for r in runs {
                progress.look_at(r.range());
            }
        }
        self.wake(id);
    }

    /// The job reached another state.
    pub fn state(self: &Arc<Self>, id: JobId, state: JobState) {
        if state == JobState::Deleted
            && let Some(job) = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
        {
            self.withdraw(job.nonce);
        }
    }

    /// How far it is, if this node delivers the job.
    pub fn view(&self, id: JobId) -> Option<View> {
        let job = self.find(id)?;
        let progress = job.lock();
        let mut view = progress.view();
        view.pending = declared(&job.manifest, progress.open());
        Some(view)
    }

    /// Whether everything that is final is delivered.
    pub fn idle(&self, id: JobId) -> bool {
        self.find(id).is_none_or(|job| job.lock().idle())
    }

    /// Sees to it that somebody works on the job.
    fn wake(self: &Arc<Self>, id: JobId) {
        let Some(job) = self.find(id) else { return };
        if !job.lock().start() {
            return;
        }
        let me = self.clone();
        self.runtime.spawn(async move { me.work(id, job).await });
    }

    async fn work(self: Arc<Self>, id: JobId, job: Arc<Job>) {
        let Ok(_permit) = self.at_work.acquire().await else { return };
        let mut noted = Instant::now();
        loop {
            let Some(span) = job.lock().next(collect::SPAN) else { break };
            let files = self.deliver(id, &job, span).await;
            if files > 0 {
                self.tools.stats.files_delivered.add(files);
                let dir = job.lock().dir().to_owned();
                self.tools.events.tell(Happening::Node(Some(id), EventKind::Delivered { files, dir }));
            }
            if noted.elapsed() >= Duration::from_secs(1) {
                self.note(id, &job).await;
                noted = Instant::now();
            }
        }
        self.note(id, &job).await;
    }

    /// Delivers what is final in the span; the rest comes back with `finals`.
    async fn deliver(&self, id: JobId, job: &Arc<Job>, span: Range) -> u64 {
        let (winners, from) = self
            .tools
            .driver
            .read(move |n| {
                let from: Vec<NodeId> = n.job(id).map(|j| j.replicas).unwrap_or_default();
                let me = n.id();
                let winners: Vec<Winner> = n.winners(id, span, usize::MAX).into_iter().filter(|w| w.is_final).collect();
                (winners, from.into_iter().filter(|p| *p != me).collect::<Vec<_>>())
            })
            .await
            .unwrap_or_default();
        let winners = job.lock().undelivered(winners);
        let mut files = 0;
        for part in winners.chunks(PACKS) {
            let tasks: Vec<Range> = part.iter().map(|w| w.tasks).collect();
            if declared(&job.manifest, tasks.iter().copied()) > 0 {
                files += self.deliver_part(id, job, part.to_vec(), &from).await;
            }
            job.lock().delivered(&tasks);
        }
        files
    }

    async fn deliver_part(&self, id: JobId, job: &Arc<Job>, winners: Vec<Winner>, from: &[NodeId]) -> u64 {
        let packs = self.tools.packs.clone();
        let files = tokio::task::spawn_blocking(move || collect::files(&packs, id, &winners)).await;
        let files = match files.map_err(|e| e.to_string()).and_then(|f| f) {
            Ok(files) => files,
            Err(why) => {
                self.failed(id, job, "results", &why);
                return 0;
            }
        };
        let dir = PathBuf::from(job.lock().dir());
        let written = write_somehow(&self.tools.fetcher, &self.tools.store, &dir, files, from).await;
        let mut progress = job.lock();
        progress.written(written.files, written.bytes);
        drop(progress);
        for (path, why) in &written.problems {
            self.failed(id, job, path, why);
        }
        written.files
    }

    fn failed(&self, id: JobId, job: &Job, path: &str, why: &str) {
        job.lock().failed(why);
        tracing::warn!(job = ?id, path, why, "an output file could not be delivered");
        let event = EventKind::DeliveryFailed { path: path.to_owned(), why: why.to_owned() };
        self.tools.events.tell(Happening::Node(Some(id), event));
    }

    /// Writes down what is delivered, once it is safe on its disk.
    async fn note(&self, id: JobId, job: &Arc<Job>) {
        let kept = job.lock().note();
        let (dir, store) = (PathBuf::from(&kept.dir), self.tools.store.clone());
        let synced = tokio::task::spawn_blocking(move || {
            Target::open(&dir, store).map_err(|e| e.to_string())?.sync().map_err(|e| e.to_string())
        });
        if let Err(why) = synced.await.map_err(|e| e.to_string()).and_then(|r| r) {
            tracing::warn!(job = ?id, why, "the delivery directory cannot be synced");
            return;
        }
        if self.find(id).is_some_and(|now| Arc::ptr_eq(&now, job)) {
            self.tools.disk.note(Note { key: key(job.nonce), value: Some(kept.encode()), done: None });
        }
    }
}

/// What came of writing files.
#[derive(Default)]
pub struct Outcome {
    /// Written, or there already.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Path and reason of the others.
    pub problems: Vec<(String, String)>,
}

/// Fetches what is missing and writes the files. A blob that shows only now to be damaged is dropped by the store, so a second
/// try can fetch it again from a node that has it whole.
pub async fn write_somehow(
    fetcher: &Fetcher,
    store: &BlobStore,
    dir: &Path,
    mut files: Vec<OutFile>,
    from: &[NodeId],
) -> Outcome {
    let mut all = Outcome::default();
    for last in [false, true] {
        collect::bring(fetcher, &files, from).await;
        let (dir, store) = (dir.to_owned(), store.clone());
        let work = move || {
            let written = write_all(&dir, store, &files);
            (files, written)
        };
        let Ok((back, written)) = tokio::task::spawn_blocking(work).await else { break };
        all.files += written.files;
        all.bytes += written.bytes;
        if last || written.problems.is_empty() {
            all.problems = written.problems;
            break;
        }
        files = back;
        files.retain(|f| written.problems.iter().any(|(path, _)| *path == f.path));
    }
    all
}

/// Writes files into a directory. Blocks.
fn write_all(dir: &Path, store: BlobStore, files: &[OutFile]) -> Outcome {
    let mut out = Outcome::default();
    let mut target = match Target::open(dir, store) {
        Ok(target) => target,
        Err(e) => {
            let why = e.to_string();
            out.problems = files.iter().map(|f| (f.path.clone(), why.clone())).collect();
            return out;
        }
    };
    for file in files {
        match target.write(file) {
            Ok(Written::New | Written::Same) => {
                out.files += 1;
                out.bytes += file.content.len();
            }
            Err(e) => out.problems.push((file.path.clone(), e.to_string())),
        }
    }
    out
}
