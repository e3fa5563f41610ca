//! The executor of a node: slots, their threads, and the loop that works off a batch.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use filch_types::manifest::Program;
use filch_types::ranges::Range;
use filch_types::result::Stream;
use filch_types::{Cause, Content, JobId, Outcome, ResultRun, TaskOutput};

use crate::batch::{Batch, LiveStream, Report, Running};
use crate::config::{ExecConfig, ExecError};
use crate::control::Control;
use crate::courier::Courier;
use crate::dirs::{self, Trash, Workspace};
use crate::divisible::DivisibleExecutor;
use crate::executor::{Attempt, Executor, Fault, Runner, SlotInfo, Verdict};
use crate::handler::{HandlerExecutor, Handlers};
use crate::host::Host;
use crate::lock::lock;
use crate::outbox::Sink;
use crate::slot::{Ask, Queued, Slot};
use crate::task::{Plan, PlanError, Unusable};

/// How long `shutdown` waits beyond its grace for killed trees to be gone.
const KILL_WAIT: Duration = Duration::from_secs(5);

struct Shared {
    config: Arc<ExecConfig>,
    host: Arc<dyn Host>,
    executors: Vec<Arc<dyn Executor>>,
    sink: Sink,
    slots: Vec<Arc<Slot>>,
    courier: Courier,
    reuse: bool,
    /// Slot threads that have not ended.
    alive: Mutex<usize>,
    ended: Condvar,
}

impl Shared {
    /// Waits for the slot threads to end; how many have not.
    fn wait_ended(&self, limit: Duration) -> usize {
        let waited = self.ended.wait_timeout_while(lock(&self.alive), limit, |alive| *alive > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Runs batches of tasks. Dropping it shuts it down without grace.
pub struct Exec {
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
    _claim: File,
}

#[derive(Default)]
struct Threads {
    slots: Vec<Option<JoinHandle<()>>>,
    others: Vec<JoinHandle<()>>,
    trash: Option<Trash>,
}

impl Exec {
    /// Kills what an earlier run left behind, empties the work directory, and is ready; threads and spawners start with the
    /// first task that needs them. `report` is called from threads of the executor, never from inside a call to it; it may
    /// block, which holds the slot back, and must not call the executor.
    pub fn new(
        mut config: ExecConfig,
        host: Arc<dyn Host>,
        handlers: Handlers,
        report: Box<dyn Fn(Report) + Send + Sync>,
    ) -> Result<Self, ExecError> {
        let dir = config.work_dir.clone();
        let failed = |source| ExecError::WorkDir { dir: dir.clone(), source };
        let Some((real, claim)) = dirs::claim(&dir).map_err(failed)? else {
            return Err(ExecError::Busy { dir });
        };
        #[cfg(target_os = "linux")]
        crate::leftover::kill_all(&real).map_err(|count| ExecError::Leftovers { count, dir: dir.clone() })?;
        dirs::clear(&real).map_err(failed)?;
        let reuse = dirs::changes_show(&real);
        config.work_dir = real;
        let config = Arc::new(config);
        let slots = (0..config.slots).map(|n| Arc::new(Slot::new(n))).collect::<Vec<_>>();
        let executors = registry(&config, handlers);
        let shared = Arc::new(Shared {
            config,
            host,
            executors,
            sink: report,
            slots,
            courier: Courier::default(),
            reuse,
            alive: Mutex::new(0),
            ended: Condvar::new(),
        });
        let mut threads = Threads::default();
        threads.slots.resize_with(shared.slots.len(), || None);
        let (trash, waste) = Trash::new();
        threads.trash = Some(trash);
        threads.others.push(spawn("filch-trash", move || dirs::empty(&waste)).map_err(ExecError::Thread)?);
        let courier = shared.clone();
        let body = move || courier.courier.run(&courier.slots, &courier.sink);
        threads.others.push(spawn("filch-report", body).map_err(ExecError::Thread)?);
        Ok(Self { shared, threads: Mutex::new(threads), _claim: claim })
    }

    /// What this node can run: `command`, `handler:NAME`, `divisible:NAME`.
    pub fn offers(&self) -> Vec<String> {
        self.shared.executors.iter().flat_map(|e| e.offers()).collect()
    }

    /// Queues a batch behind what its slot runs. What cannot be queued comes back as bounced.
    pub fn start(&self, batch: Batch) {
        let Some(slot) = self.shared.slots.get(usize::from(batch.slot)) else {
            return self.bounce(batch, "this node has no such slot");
        };
        if let Err(e) = self.thread(slot) {
            return self.bounce(batch, &format!("cannot start a thread: {e}"));
        }
        if let Queued::No(batch, why) = slot.push(batch) {
            self.bounce(batch, why);
        }
    }

    /// Ends a batch: what runs gets TERM, its grace period, KILL; it and what has not started come back as bounced.
    pub fn stop(&self, launch: u64) {
        for slot in &self.shared.slots {
            let (found, waiting) = slot.stop(launch);
            let found = found || waiting.is_some();
            if let Some(batch) = waiting {
                self.bounce(batch, "stopped");
            }
            if found {
                return;
            }
        }
    }

    /// Splits something off a running divisible batch, worth at least so much time in its slot. Answered by one
    /// [`Report::Split`], within a step of the handler or, if the batch does not run, at once.
    pub fn split(&self, launch: u64, ask: u64, least: Duration) {
        let call = Ask { id: ask, least };
        if !self.shared.slots.iter().any(|s| s.split(launch, call)) {
            self.shared.courier.send(Report::Split { launch, ask, bag: None });
        }
    }

    /// Ends a divisible batch where it is: it reports what is left. One whose rest cannot be kept (too long, disk full) goes on to
    /// its end. Nothing happens if it is not here any more.
    pub fn checkpoint(&self, launch: u64) {
        let _ = self.shared.slots.iter().any(|s| s.end_bag(launch));
    }

    /// What runs now.
    pub fn running(&self) -> Vec<Running> {
        self.shared.slots.iter().filter_map(|s| s.running()).collect()
    }

    /// Up to `max` bytes that a running attempt has written, from `offset` on; empty if there are no more yet. `None`: this
    /// attempt does not run here (any more); its kept output has the rest.
    pub fn read_live(
        &self,
        (job, index, attempt): (JobId, u32, u64),
        which: LiveStream,
        offset: u64,
        max: usize,
    ) -> Option<io::Result<Vec<u8>>> {
        use std::os::unix::fs::FileExt;
        let find = || self.shared.slots.iter().find_map(|s| s.live(job, index, attempt, which));
        let live = find()?;
        let read = || {
            let file = File::open(&live.path)?;
            let mut bytes = vec![0; max];
            let got = file.read_at(&mut bytes, live.from.saturating_add(offset))?;
            bytes.truncate(got);
            Ok(bytes)
        };
        let bytes = read();
        // The file may have gone to the next task in between.
        find().map(|_| bytes)
    }

    /// Ends everything: waiting batches bounce, what runs gets TERM and after `grace` KILL. Blocks until all processes are
    /// dead and the threads have ended, at most a few seconds longer than `grace`; a handler that does not look at its stop
    /// sign is left to end with the process.
    pub fn shutdown(&self, grace: Duration) {
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        for slot in &self.shared.slots {
            for batch in slot.close(grace_ms) {
                self.bounce(batch, "the node is shutting down");
            }
        }
        // Nothing starts a thread from here on.
        lock(&self.threads).trash = None;
        let mut stuck = self.shared.wait_ended(grace.saturating_add(KILL_WAIT));
        if stuck > 0 {
            self.shared.slots.iter().for_each(|s| s.kill());
            stuck = self.shared.wait_ended(KILL_WAIT);
        }
        self.shared.courier.close();
        let threads = std::mem::take(&mut *lock(&self.threads));
        if stuck > 0 {
            // A stuck slot holds the trash open as well; the threads end with the process.
            return tracing::warn!(stuck, "handlers do not stop");
        }
        threads.slots.into_iter().flatten().chain(threads.others).for_each(|t| drop(t.join()));
        if let Err(e) = dirs::clear(&self.shared.config.work_dir) {
            tracing::warn!(error = %e, "cannot empty the work directory");
        }
    }

    fn bounce(&self, batch: Batch, why: &str) {
        self.shared.courier.send(Report::Bounced { launch: batch.launch, tasks: batch.tasks, why: why.to_owned() });
    }

    fn thread(&self, slot: &Arc<Slot>) -> io::Result<()> {
        let mut threads = lock(&self.threads);
        let Some(trash) = threads.trash.clone() else { return Ok(()) };
        if let Some(place @ None) = threads.slots.get_mut(usize::from(slot.number)) {
            let (shared, slot) = (self.shared.clone(), slot.clone());
            let name = format!("filch-slot-{}", slot.number);
            *lock(&self.shared.alive) += 1;
            let alive = Alive(self.shared.clone());
            *place = Some(spawn(&name, move || {
                let _alive = alive;
                Worker::new(shared, slot, trash).run();
            })?);
        }
        Ok(())
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        if lock(&self.threads).trash.is_some() {
            self.shutdown(Duration::ZERO);
        }
    }
}

fn registry(config: &ExecConfig, handlers: Handlers) -> Vec<Arc<dyn Executor>> {
    let mut all = config.executors.clone();
    #[cfg(target_os = "linux")]
    if !config.spawner.is_empty() {
        all.push(Arc::new(crate::command::CommandExecutor));
    }
    all.push(Arc::new(DivisibleExecutor::new(handlers.kinds().clone())));
    all.push(Arc::new(HandlerExecutor::new(handlers)));
    all
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// Counts a slot's thread until it ends, or could not be started.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        *lock(&self.0.alive) -= 1;
        self.0.ended.notify_all();
    }
}

/// The body of a slot's thread.
struct Worker {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    info: SlotInfo,
    workspace: Workspace,
    runners: Vec<Option<Box<dyn Runner>>>,
}

impl Worker {
    fn new(shared: Arc<Shared>, slot: Arc<Slot>, trash: Trash) -> Self {
        let dir = shared.config.work_dir.join(format!("s{}", slot.number));
        let info =
            SlotInfo { slot: slot.number, dir: dir.clone(), config: shared.config.clone(), host: shared.host.clone() };
        let workspace = Workspace::new(dir, trash, shared.reuse);
        let mut runners = Vec::new();
        runners.resize_with(shared.executors.len(), || None);
        Self { shared, slot, info, workspace, runners }
    }

    fn run(mut self) {
        while let Some(batch) = self.slot.next() {
            self.batch(&batch);
        }
    }

    fn batch(&mut self, batch: &Batch) {
        let shared = self.shared.clone();
        let manifest = batch.manifest.clone();
        let mut plan = match Plan::new(&manifest, batch, &*shared.host) {
            Ok(plan) => plan,
            Err(PlanError::Fault(why)) => return self.bounce(batch, batch.tasks.lo, batch.tasks.hi, why),
            Err(PlanError::Unusable(e)) => return self.all_unusable(batch, &e),
        };
        let program = &plan.group.program;
        let Some(which) = shared.executors.iter().position(|e| e.takes(program)) else {
            let why = format!("this node cannot run {}", name_of(program));
            return self.bounce(batch, batch.tasks.lo, batch.tasks.hi, why);
        };
        let divisible = plan.group.reduce().is_some();
        if (divisible && batch.tasks.len() != 1) || (!divisible && batch.part.is_some()) {
            let why = "a part is of one task of a divisible group".to_owned();
            return self.bounce(batch, batch.tasks.lo, batch.tasks.hi, why);
        }
        if divisible {
            self.slot.open_asks();
        }
        let timeout = plan.group.limits.timeout_ms.map(Duration::from_millis);
        let mut began = Instant::now();
        for index in batch.tasks.lo..batch.tasks.hi {
            if self.slot.is_stopped() {
                return self.bounce(batch, index, batch.tasks.hi, "stopped".to_owned());
            }
            if let Err(why) = shared.config.policy.allows(&manifest, plan.group) {
                return self.bounce(batch, index, batch.tasks.hi, format!("not allowed on this node: {why}"));
            }
            self.slot.begin(index, began);
            let control = Control {
                slot: &self.slot.clone(),
                sink: &shared.sink,
                launch: batch.launch,
                deadline: timeout.and_then(|t| began.checked_add(t)),
            };
            let verdict = match plan.task(index) {
                Err(e) => Verdict::Done(unusable(program, &e)),
                Ok(task) => {
                    let (job, attempt) = (batch.job, batch.attempt);
                    let workspace = &mut self.workspace;
                    let part = batch.part.as_ref();
                    let attempt = Attempt { job, attempt, part, task, control, workspace };
                    run_one(&mut self.runners[which], &shared.executors[which], &self.info, attempt)
                }
            };
            let now = Instant::now();
            let took = now.saturating_duration_since(began);
            began = now;
            match verdict {
                // A result of a stopped task may be a half one.
                Verdict::Done(_) | Verdict::Counted { .. } if self.slot.is_stopped() => {
                    self.bounce(batch, index, index + 1, "stopped".to_owned())
                }
                verdict if divisible => self.end_bag(batch, verdict, took),
                Verdict::Done(outcome) => self.finish(batch, index, outcome, took, now),
                Verdict::Counted { .. } => {
                    self.bounce(batch, index, index + 1, "counted what is not divisible".to_owned())
                }
                Verdict::Bounced(Fault { why, lasting }) => {
                    let hi = if lasting { batch.tasks.hi } else { index + 1 };
                    self.bounce(batch, index, hi, why);
                    if lasting {
                        return;
                    }
                }
            }
        }
        lock(&self.slot.outbox).flush(&shared.sink);
    }

    fn finish(&self, batch: &Batch, index: u32, outcome: Outcome, took: Duration, now: Instant) {
        let run = ResultRun::one(index, batch.attempt, 0, outcome);
        let first = lock(&self.slot.outbox).push(batch.launch, run, took, now, &self.shared.sink);
        // The last one is flushed by the batch's end.
        if first && index + 1 < batch.tasks.hi {
            self.shared.courier.arm();
        }
    }

    /// Reports a divisible batch: what was asked and not answered first, then its end.
    fn end_bag(&self, batch: &Batch, verdict: Verdict, took: Duration) {
        for ask in self.slot.close_asks() {
            (self.shared.sink)(Report::Split { launch: batch.launch, ask: ask.id, bag: None });
        }
        let launch = batch.launch;
        let report = match verdict {
            Verdict::Counted { tally, rest } => {
                let wall_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                Report::Bag { launch, tally, rest, wall_us }
            }
            Verdict::Done(Outcome::Failed(cause, output)) => {
                let text = match output.stderr.kept {
                    Content::Inline(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                    Content::Blob(..) => String::new(),
                };
                Report::BagFailed { launch, cause, text: clip(&text).to_owned() }
            }
            Verdict::Done(Outcome::Success(_)) => {
                let text = "ended without a tally".to_owned();
                Report::BagFailed { launch, cause: Cause::Handler(text.clone()), text }
            }
            Verdict::Bounced(fault) => Report::Bounced { launch, tasks: batch.tasks, why: fault.why },
        };
        (self.shared.sink)(report);
    }

    fn bounce(&self, batch: &Batch, lo: u32, hi: u32, why: String) {
        for ask in self.slot.close_asks() {
            (self.shared.sink)(Report::Split { launch: batch.launch, ask: ask.id, bag: None });
        }
        lock(&self.slot.outbox).bounce(batch.launch, Range::new(lo, hi), why, &self.shared.sink);
    }

    fn all_unusable(&self, batch: &Batch, e: &Unusable) {
        let program = batch.manifest.spec.locate(batch.tasks.lo).map(|(_, g, _)| &g.program);
        if let Some(program @ Program::Divisible { .. }) = program {
            return self.end_bag(batch, Verdict::Done(unusable(program, e)), Duration::ZERO);
        }
        for index in batch.tasks.lo..batch.tasks.hi {
            let outcome = program.map_or_else(|| failed(Cause::Handler(e.to_string()), ""), |p| unusable(p, e));
            self.finish(batch, index, outcome, Duration::ZERO, Instant::now());
        }
        lock(&self.slot.outbox).flush(&self.shared.sink);
    }
}

/// A panic of an executor or of the node's part costs one attempt, not the slot.
fn run_one(
    runner: &mut Option<Box<dyn Runner>>,
    executor: &Arc<dyn Executor>,
    info: &SlotInfo,
    mut attempt: Attempt<'_>,
) -> Verdict {
    let result =
        catch_unwind(AssertUnwindSafe(|| runner.get_or_insert_with(|| executor.runner(info)).run(&mut attempt)));
    result.unwrap_or_else(|panic| {
        *runner = None;
        Verdict::Bounced(Fault::once(format!("the executor failed: {}", crate::handler::panic_text(&*panic))))
    })
}

fn name_of(program: &Program) -> String {
    match program {
        Program::Command { .. } => "commands".to_owned(),
        Program::Handler { name, .. } => format!("the handler `{name}`"),
        Program::Divisible { name, .. } => format!("the divisible handler `{name}`"),
    }
}

/// The outcome of a task that its manifest makes impossible.
pub(crate) fn unusable(program: &Program, e: &Unusable) -> Outcome {
    match (program, e) {
        (_, Unusable::Output { path, .. }) => {
            failed(Cause::OutputMissing(clip(path).to_owned()), &format!("filch: {e}\n"))
        }
        (Program::Command { .. }, _) => failed(Cause::Exit(126), &format!("filch: {e}\n")),
        (Program::Handler { .. } | Program::Divisible { .. }, _) => {
            failed(Cause::Handler(clip(&e.to_string()).to_owned()), "")
        }
    }
}

/// A failure with a message as its stderr.
pub(crate) fn failed(cause: Cause, stderr: &str) -> Outcome {
    let mut output = TaskOutput::default();
    let bytes = clip(stderr).as_bytes().to_vec();
    output.stderr = Stream { total: bytes.len() as u64, kept: Content::Inline(bytes) };
    Outcome::Failed(cause, output)
}

/// A text short enough for a result.
pub(crate) fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(2000)]
}
