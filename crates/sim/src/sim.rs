//! Runs: built in a few lines for a test, or drawn from a seed; both with all oracles.

use filch_core::view::JobView;
use filch_types::{JobId, StoreId};

use crate::fault::Fault;
use crate::options::{Checks, JobPlan, Options, Profile};
use crate::oracle::Violation;
use crate::world::{Ev, Stats, World};

/// A simulated cluster.
pub struct Sim {
    /// All of it, for whoever wants to look.
    pub world: World,
}

/// A planned job of a [`Sim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Submitted(pub usize);

/// A run in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Names the run: equal for equal seeds and options.
    pub digest: u64,
    /// Virtual time.
    pub us: u64,
    /// Counts.
    pub stats: Stats,
    /// Tasks executed.
    pub executions: u64,
    /// Tasks of all accepted jobs.
    pub tasks: u64,
    /// Jobs accepted.
    pub jobs: u64,
    /// Planned faults that could not take place: their node was down, or more would have been lost than the protocol promises to
    /// survive.
    pub skipped: u64,
}

/// A run that broke a rule: what, and all that is needed to repeat it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{violation}\nreplay: {}\n{options:#?}", .options.command())]
pub struct Failure {
    /// The rule.
    pub violation: Violation,
    /// Expanded.
    pub options: Box<Options>,
}

/// Between looks at the whole world.
const LOOK_US: u64 = 1_000_000;
/// The same while only cheap checks are on.
const SELDOM_US: u64 = 60_000_000;
/// Quiet after the end, before messages are counted.
const CALM_US: u64 = 60_000_000;
/// And while they are counted.
const QUIET_US: u64 = 60_000_000;

impl Sim {
    /// The cluster that these options describe, before its first event. [`crate::Cluster`] is the same for tests of programs
    /// that are built on filch.
    ///
    /// ```
    /// use filch_sim::{DiskAfter, Fault, JobPlan, Options, Sim};
    ///
    /// let mut sim = Sim::new(Options::calm(7, 5, 2));
    /// let job = sim.submit(JobPlan::array(200, 20_000));
    /// sim.inject(3_000_000, Fault::Crash { node: 2, down_us: 5_000_000, disk: DiskAfter::Kept, power: false });
    /// sim.run_until_done(120_000_000).unwrap();
    /// assert_eq!(sim.job(job).unwrap().counts.succeeded, 200);
    /// ```
    pub fn new(options: Options) -> Self {
        Self { world: World::new(options) }
    }
    /// A run drawn from a seed.
    pub fn draw(profile: Profile, seed: u64) -> Self {
        Self::new(Options::draw(profile, seed))
    }

    /// Has a client submit a job at its time.
    pub fn submit(&mut self, plan: JobPlan) -> Submitted {
        let at = plan.at.max(self.world.now);
        self.world.options.jobs.push(plan);
        let plan = self.world.options.jobs.len() - 1;
        self.world.queue.push(at, Ev::Submit { plan });
        Submitted(plan)
    }
    /// Does something bad at a time.
    pub fn inject(&mut self, at: u64, fault: Fault) {
        if self.world.options.profile == Profile::FaultFree {
            // Exact counts hold only while nothing goes wrong.
            self.world.options.profile = Profile::Swarm;
        }
        self.world.inject(at, fault);
    }
    /// The id of a submitted job, once a node has told.
    pub fn id(&self, job: Submitted) -> Option<JobId> {
        self.world.clients.jobs.get(&job.0).and_then(|s| s.job)
    }
    /// A job as its submitter sees it now, or any other node that is up.
    pub fn job(&self, job: Submitted) -> Option<JobView> {
        let id = self.id(job)?;
        let first = self.world.options.jobs[job.0].node;
        let order = std::iter::once(first).chain((0..self.world.hosts.len()).filter(|h| *h != first));
        order.filter_map(|h| self.world.hosts[h].node.as_ref()).find_map(|n| n.job(id))
    }
    /// The store of a node.
    pub fn store(&self, node: usize) -> StoreId {
        self.world.hosts[node].store
    }

    fn verdict(&self) -> Result<(), Failure> {
        match &self.world.violation {
            None => Ok(()),
            Some(v) => Err(Failure { violation: v.clone(), options: Box::new(self.world.options.clone()) }),
        }
    }

    /// Has every rule look at the whole world now.
    pub fn look(&mut self) -> Result<(), Failure> {
        self.world.look(false);
        self.verdict()
    }
    /// Advances virtual time, with all checks.
    pub fn run_until(&mut self, us: u64) -> Result<(), Failure> {
        let look = match self.world.options.checks {
            Checks::All => LOOK_US,
            Checks::Cheap => SELDOM_US,
        };
        let mut next = (self.world.now / look + 1) * look;
        while next <= us && self.world.run_until(next) {
            self.world.look(false);
            next += look;
        }
        self.world.run_until(us);
        self.verdict()
    }
    /// Advances until nothing is outstanding: every job ended, every call was answered, copies agree. That this takes longer
    /// than until `us` breaks the rule of whatever is outstanding.
    pub fn run_until_done(&mut self, us: u64) -> Result<(), Failure> {
        loop {
            let waits = self.world.outstanding();
            match waits {
                None => return self.verdict(),
                Some((rule, what)) if self.world.now >= us => {
                    self.world.violate(rule, what);
                    return self.verdict();
                }
                Some(_) => {}
            }
            let next = (self.world.now / LOOK_US + 1) * LOOK_US;
            self.run_until(next.min(us))?;
        }
    }
    /// The whole of a drawn run: faults, then the frozen core, then quiet.
    pub fn run(&mut self) -> Result<Summary, Failure> {
        let until = self.world.options.faults_until;
        self.run_until(until)?;
        self.world.settle();
        // Whoever just started knows nothing of its jobs before its first event.
        self.run_until(self.world.now + LOOK_US)?;
        let bound = self.world.now + self.world.options.settle_us;
        self.run_until_done(bound)?;
        self.rest()
    }
    /// What comes when nothing is outstanding any more: calm, then a quiet minute in which messages are counted, then the
    /// last look.
    pub fn rest(&mut self) -> Result<Summary, Failure> {
        let calm = self.world.now + CALM_US;
        self.run_until(calm)?;
        self.world.begin_quiet();
        let quiet = self.world.now + QUIET_US;
        self.run_until(quiet)?;
        self.world.look(true);
        self.verdict()?;
        Ok(self.summary())
    }
    /// Numbers so far.
    pub fn summary(&self) -> Summary {
        let w = &self.world;
        let accepted = w.history.accepted.keys();
        Summary {
            digest: w.digest(),
            us: w.now,
            stats: w.stats,
            executions: w.history.executions,
            tasks: accepted.filter_map(|j| w.known.jobs.get(j)).map(|j| u64::from(j.total)).sum(),
            jobs: w.history.accepted.len() as u64,
            skipped: w.refused.len() as u64,
        }
    }
}
