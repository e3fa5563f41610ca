//! Simulated clusters for other people's tests: your handlers, your bytes, your faults, on the core that the product runs.

mod builder;
mod error;
mod job;
mod task;

use std::time::Duration;

use filch_types::ranges::Range;
use filch_types::wire::JobState;
use filch_types::{Content, FactBody, JobId, Outcome, ResultRun};

pub use builder::Builder;
pub use error::{BuildError, FaultError, ResultError, RunError, SubmitError};
pub use job::Job;
pub use task::{Done, Task};

use crate::fault::{Fault, Planned, us};
use crate::report::Report;
use crate::sim::{Failure, Sim, Submitted};
use crate::world::World;
use filch_core::view::{Counts, JobView};

/// So many seconds.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
/// So many milliseconds.
pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Between looks at whether a job has ended, microseconds.
const STEP_US: u64 = 10_000;

/// Between looks at the whole world, microseconds.
const LOOK_US: u64 = 1_000_000;
/// How long nodes may take to meet, microseconds.
const MEET_US: u64 = 2_000_000;
/// How long a fault waits until it can take place, microseconds.
const FAULT_PATIENCE_US: u64 = 1_000_000;

/// A job of a [`Cluster`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobRef(Submitted);

/// A simulated cluster. Time is virtual and passes only in [`advance`](Self::advance) and its like; the same seed, handlers and
/// calls give the same run. Nodes are numbered from 0.
///
/// Every rule of the protocol is checked as the cluster runs, and what comes of handlers goes the way that it goes on real nodes:
/// packs, copies, pins, blobs for what is longer than 4 KiB.
pub struct Cluster {
    sim: Sim,
    patience_us: u64,
    /// When the nodes had met: the start, as seen from outside.
    start_us: u64,
}

impl Cluster {
    /// Three calm nodes of two slots, unless told otherwise.
    pub fn builder() -> Builder {
        Builder::default()
    }
    /// Waits until the nodes have met, as a person would before submitting: a node that knows nobody keeps a job alone.
    pub(crate) fn new(mut sim: Sim, patience: Duration) -> Result<Self, BuildError> {
        sim.world.fault_patience_us = FAULT_PATIENCE_US;
        while sim.world.now < MEET_US && !met(&sim.world) {
            let next = sim.world.now + STEP_US;
            sim.run_until(next).map_err(|f| BuildError::Broken(f.violation))?;
        }
        let start_us = sim.world.now;
        Ok(Self { sim, patience_us: us(patience), start_us })
    }
    fn since_start(&self, at: u64) -> Duration {
        Duration::from_micros(at.saturating_sub(self.start_us))
    }

    /// Virtual time since the start, when all nodes had met.
    pub fn now(&self) -> Duration {
        self.since_start(self.sim.world.now)
    }
    /// Whether the process of a node runs; false for a node that does not exist.
    pub fn is_up(&self, node: usize) -> bool {
        self.sim.world.hosts.get(node).is_some_and(crate::host::Host::is_up)
    }
    /// The world behind it: nodes, disks, history, counts.
    pub fn sim(&self) -> &Sim {
        &self.sim
    }
    /// The run so far in numbers.
    pub fn report(&self) -> Report {
        Report::of(&self.sim.world)
    }

    /// Has a client submit a job, now, at the job's node. A node that is down is tried again until it is up.
    pub fn submit(&mut self, job: Job) -> Result<JobRef, SubmitError> {
        let (mut plan, spelled, lists) = job.spell(&mut self.sim.world)?;
        plan.at = self.sim.world.now;
        plan.check(self.sim.world.hosts.len()).map_err(SubmitError::Job)?;
        self.sim.world.known.lists.extend(lists);
        let next = self.sim.world.options.jobs.len();
        self.sim.world.programs.spell(next, spelled);
        Ok(JobRef(self.sim.submit(plan)))
    }

    /// Does something bad at a virtual time since the start. A fault that takes a disk away waits, up to a second, until what the
    /// protocol promises to survive it is on other disks; one that cannot take place at all is an error when its time comes.
    pub fn at(&mut self, when: Duration, fault: Fault) -> Result<(), FaultError> {
        let planned = Planned { at: us(when).saturating_add(self.start_us), fault };
        if when < self.now() {
            return Err(FaultError::Past { at: when, now: self.now() });
        }
        let nodes = self.sim.world.hosts.len();
        planned.check(nodes).map_err(|why| FaultError::Unusable { fault: format!("{:?}", planned.fault), why })?;
        self.sim.inject(planned.at, planned.fault);
        Ok(())
    }

    /// Lets so much virtual time pass.
    pub fn advance(&mut self, time: Duration) -> Result<(), RunError> {
        self.run_to(self.sim.world.now.saturating_add(us(time)))
    }

    fn run_to(&mut self, at: u64) -> Result<(), RunError> {
        let second = self.sim.world.now / LOOK_US;
        self.sim.run_until(at).map_err(broken)?;
        if at / LOOK_US > second {
            self.sim.look().map_err(broken)?;
        }
        match self.sim.world.refused.first() {
            None => Ok(()),
            Some(&fault) => Err(self.impossible(fault)),
        }
    }

    fn impossible(&self, fault: usize) -> RunError {
        let world = &self.sim.world;
        let planned = &world.options.faults[fault];
        let down = planned.fault.node().filter(|n| !world.hosts[*n].is_up());
        let why = match down {
            Some(n) => format!("node {n} was not running"),
            None => "its node was in that state already, or more would have been lost than the protocol promises to survive \
                     (a test of that sets the profile OverBudget)"
                .to_owned(),
        };
        RunError::Impossible { fault: format!("{:?}", planned.fault), at: self.since_start(planned.at), why }
    }

    /// Lets time pass until a job has ended, well or not, and its results can be read. The error says what it waits for when
    /// the cluster's patience is over (an hour of virtual time unless the builder was told otherwise).
    pub fn run_until_done(&mut self, job: JobRef) -> Result<(), RunError> {
        let until = self.sim.world.now.saturating_add(self.patience_us);
        while !self.has_ended(job) {
            let (standing, node) = (self.standing(job), self.sim.world.options.jobs[job.0.0].node);
            if standing.given_up || (!standing.accepted && self.is_killed(node)) {
                return Err(RunError::NotAccepted { node });
            }
            if self.sim.world.now >= until {
                return Err(self.not_done(job));
            }
            self.run_to((self.sim.world.now + STEP_US).min(until))?;
        }
        Ok(())
    }

    /// Lets time pass until faults are over, jobs have ended and copies agree, then a quiet minute; then has every rule looked
    /// at once more. Without faults this includes that every task ran exactly once.
    pub fn finish(mut self) -> Result<Report, RunError> {
        let until = self.sim.world.now.saturating_add(self.patience_us);
        while let Some(waits) = self.sim.world.unfinished() {
            if self.sim.world.now >= until {
                return Err(RunError::Unfinished { after: self.now(), waits });
            }
            self.run_to((self.sim.world.now + STEP_US * 100).min(until))?;
        }
        self.sim.rest().map_err(broken)?;
        Ok(self.report())
    }

    fn standing(&self, job: JobRef) -> crate::clients::Standing {
        self.sim.world.clients.jobs.get(&job.0.0).copied().unwrap_or_default()
    }
    fn is_killed(&self, node: usize) -> bool {
        let w = &self.sim.world;
        let faults = w.active.keys().map(|f| &w.options.faults[*f].fault);
        faults.filter(|f| f.is_for_good()).any(|f| f.node() == Some(node))
    }
    fn view(&self, job: JobRef) -> Option<JobView> {
        self.sim.job(job.0)
    }
    fn has_ended(&self, job: JobRef) -> bool {
        self.standing(job).accepted && self.view(job).is_some_and(|v| v.state != JobState::Active)
    }
    fn not_done(&self, job: JobRef) -> RunError {
        let waits = self.sim.world.outstanding().map_or_else(|| "nothing".to_owned(), |(_, text)| text);
        RunError::NotDone { after: self.now(), counts: self.counts(job), waits }
    }

    /// Where a job stands; `None` before a node has taken it.
    pub fn state(&self, job: JobRef) -> Option<JobState> {
        self.view(job).map(|v| v.state)
    }
    /// Where its tasks stand, as its submitter sees it, or another node that is up.
    pub fn counts(&self, job: JobRef) -> Counts {
        self.view(job).map(|v| v.counts).unwrap_or_default()
    }
    /// Executions of its tasks so far, those that died with their node included.
    pub fn executions(&self, job: JobRef) -> u64 {
        self.sim.id(job.0).map_or(0, |id| self.sim.world.history.of_job(id))
    }
    /// Nodes on which task `index` was executed, in order.
    pub fn ran_on(&self, job: JobRef, index: u32) -> Vec<usize> {
        let runs = self.sim.id(job.0).map(|id| self.sim.world.history.of(id, index)).unwrap_or_default();
        runs.iter().map(|r| r.host).collect()
    }

    /// What the handler returned for task `index`, as a client would read it now.
    pub fn result(&self, job: JobRef, index: u32) -> Result<Vec<u8>, ResultError> {
        let tasks = self.sim.world.options.jobs[job.0.0].total();
        if index >= tasks {
            return Err(ResultError::NoSuchTask { index, tasks });
        }
        let outcome = self.sim.id(job.0).and_then(|id| self.winner(id, index));
        match outcome {
            None => Err(ResultError::NotYet { index, counts: self.counts(job) }),
            Some(Outcome::Failed(cause, _)) => Err(ResultError::Failed { index, cause }),
            Some(Outcome::Success(output)) => match output.stdout.kept {
                Content::Inline(bytes) => Ok(bytes),
                Content::Blob(id, len) => {
                    let bytes = self.sim.world.read_blob(id);
                    bytes.map(|b| b.to_vec()).ok_or(ResultError::OutOfReach { index, len })
                }
            },
        }
    }
    /// All of them, in order of the tasks.
    pub fn results(&self, job: JobRef) -> Result<Vec<Vec<u8>>, ResultError> {
        (0..self.sim.world.options.jobs[job.0.0].total()).map(|index| self.result(job, index)).collect()
    }

    /// The winning result of a task at the first node that has it.
    fn winner(&self, job: JobId, index: u32) -> Option<Outcome> {
        let w = &self.sim.world;
        w.hosts.iter().find_map(|host| {
            let winner = host.node.as_ref()?.winners(job, Range::new(index, index + 1), 1).into_iter().next()?;
            let pack = w.known.facts.get(&winner.pack).filter(|_| host.disk.image.has_fact(job, &winner.pack))?;
            let FactBody::Pack(runs) = &pack.fact.body else { return None };
            let of = |r: &&ResultRun| r.lo <= index && index < r.range().hi && r.attempt == winner.attempt;
            runs.iter().find(of).map(|r| r.outcome.clone())
        })
    }
}

fn broken(failure: Failure) -> RunError {
    RunError::Broken(failure.violation)
}

/// Whether everybody has met everybody whom it should be connected to.
fn met(world: &World) -> bool {
    let all = world.hosts.len();
    let wants = |h: &crate::host::Host| if world.options.overlay.is_some() { h.contacts.len() } else { all - 1 };
    world.hosts.iter().all(|h| h.node.as_ref().is_some_and(|n| n.peers().len() >= wants(h)))
}
