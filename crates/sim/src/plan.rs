//! What would a job take? Simulates it on a quiet LAN, then again with deaths, and compares.

use filch_types::limits;
use serde::Serialize;

use crate::fault::{Fault, Planned};
use crate::options::{Duration, JobPlan, Options, Profile, Work};
use crate::report::Report;
use crate::rng::Dice;
use crate::sim::Sim;

/// When the job is submitted: nodes have met by then.
const SUBMIT_US: u64 = 2_000_000;
/// Between looks at whether it has ended.
const STEP_US: u64 = 1_000_000;
/// Most nodes of a plan.
pub const MAX_NODES: usize = 2_000;
/// Most tasks of a plan; every one of them is simulated.
pub const MAX_TASKS: u32 = 1_000_000;

/// A job and a cluster to run it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Nodes.
    pub nodes: usize,
    /// Tasks that each node runs at once.
    pub slots: u16,
    /// Tasks of the job.
    pub tasks: u32,
    /// Time of one.
    pub takes: Duration,
    /// Share of nodes that die for good on the way, in millionths; 0: only the one that is always tried.
    pub deaths_ppm: u32,
    /// All randomness.
    pub seed: u64,
}

/// One way that it may go.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// What happens.
    pub what: String,
    /// Nodes that die.
    pub deaths: usize,
    /// From submit to the end, microseconds; `None`: it did not end within ten times the ideal.
    pub took_us: Option<u64>,
    /// Share of all slots' time that went into results.
    pub efficiency: f64,
    /// Executions that were done again.
    pub redone: u64,
    /// Messages per task.
    pub messages_per_task: f64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// Work divided by slots, microseconds.
    pub ideal_us: u64,
    /// Calm first.
    pub cases: Vec<Case>,
}

impl Question {
    /// Whether it can be answered; the error says what is too much.
    pub fn check(&self) -> Result<(), String> {
        if self.nodes == 0 || self.nodes > MAX_NODES {
            return Err(format!("{} nodes: a plan has 1 to {MAX_NODES}", self.nodes));
        }
        if self.slots == 0 || self.slots > 1_024 {
            return Err(format!("{} slots per node: a plan has 1 to 1024", self.slots));
        }
        if self.tasks == 0 || self.tasks > MAX_TASKS.min(limits::MAX_TASKS) {
            return Err(format!("{} tasks: a plan has 1 to {MAX_TASKS}", self.tasks));
        }
        self.options(Vec::new()).check()
    }

    fn mean_us(&self) -> u64 {
        match self.takes {
            Duration::Fixed(us) | Duration::Tail(us) => us,
            Duration::Uniform(lo, hi) => lo.midpoint(hi),
        }
    }
    fn ideal_us(&self) -> u64 {
        let slots = (self.nodes as u64 * u64::from(self.slots)).max(1);
        // Whole tasks: the last round may be thin, but takes as long.
        let rounds = u64::from(self.tasks).div_ceil(slots);
        let spread = u64::from(self.tasks).saturating_mul(self.mean_us()) / slots;
        if matches!(self.takes, Duration::Fixed(_)) { rounds.saturating_mul(self.mean_us()) } else { spread }
    }

    fn options(&self, faults: Vec<Planned>) -> Options {
        let mut options = Options::calm(self.seed, self.nodes, self.slots);
        let mut job = JobPlan::array(self.tasks, 0);
        job.at = SUBMIT_US;
        job.work = Work { takes: self.takes.clone(), ..Work::default() };
        options.jobs = vec![job];
        options.profile = if faults.is_empty() { Profile::FaultFree } else { Profile::Swarm };
        options.faults = faults;
        options
    }

    /// Simulates every case; `said` hears of each before it begins.
    pub fn answer(&self, mut said: impl FnMut(&str)) -> Answer {
        let mut cases = Vec::new();
        let mut add = |what: &str, faults: Vec<Planned>| {
            said(what);
            let case = self.case(what, faults);
            let took = case.took_us;
            cases.push(case);
            took
        };
        let calm = add("nothing happens", Vec::new());
        let half = SUBMIT_US + calm.unwrap_or(self.ideal_us()) / 2;
        if self.nodes > 1 {
            let death = |node| vec![Planned { at: half, fault: Fault::Leave { node } }];
            add("a worker dies half-way", death(self.nodes - 1));
            add("the submitter dies half-way", death(0));
        }
        let many = (self.nodes as u64 * u64::from(self.deaths_ppm)).div_ceil(1_000_000) as usize;
        if many > 0 && many < self.nodes {
            let mut dice = Dice::stream(self.seed, "plan");
            let mut nodes: Vec<usize> = (1..self.nodes).collect();
            dice.shuffle(&mut nodes);
            let end = SUBMIT_US + calm.unwrap_or(self.ideal_us());
            let mut faults: Vec<Planned> = nodes[..many]
                .iter()
                .map(|&node| Planned { at: dice.between(SUBMIT_US, end), fault: Fault::Leave { node } })
                .collect();
            faults.sort_by_key(|p| p.at);
            add(&format!("{many} of {} nodes die on the way", self.nodes), faults);
        }
        Answer { ideal_us: self.ideal_us(), cases }
    }

    fn case(&self, what: &str, faults: Vec<Planned>) -> Case {
        let deaths = faults.len();
        let mut sim = Sim::builder().options(self.options(faults)).build();
        let limit = SUBMIT_US + self.ideal_us().saturating_mul(10).saturating_add(600_000_000);
        let world = &mut sim.world;
        while world.history.ended.is_empty() && world.now < limit {
            let next = world.now + STEP_US;
            if !world.run_until(next) {
                break;
            }
        }
        let report = Report::of(world);
        Case {
            what: what.into(),
            deaths,
            took_us: (!world.history.ended.is_empty()).then_some(report.took_us),
            efficiency: report.efficiency,
            redone: report.redone,
            messages_per_task: report.messages_per_task,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_costs_what_was_under_way_and_a_share_of_the_rest() {
        let question = Question {
            nodes: 8,
            slots: 4,
            tasks: 3_200,
            takes: Duration::Fixed(1_000_000),
            deaths_ppm: 250_000,
            seed: 1,
        };
        question.check().unwrap();
        let answer = question.answer(|_| ());
        assert_eq!(answer.ideal_us, 100_000_000);
        let took: Vec<u64> = answer.cases.iter().map(|c| c.took_us.unwrap()).collect();
        assert_eq!(took.len(), 4);
        assert!(took[0] < 103_000_000, "{took:?}");
        // Seven nodes do in 57 s what eight had left for 50.
        assert!(took[1] > 105_000_000 && took[1] < 120_000_000, "{took:?}");
        assert_eq!(answer.cases[0].redone, 0);
        assert!((1..=16).contains(&answer.cases[1].redone), "{:?}", answer.cases[1]);
        assert!(answer.cases[3].deaths == 2 && took[3] > took[0]);
    }

    #[test]
    fn what_cannot_be_planned_is_said() {
        let question = Question { nodes: 0, slots: 1, tasks: 1, takes: Duration::Fixed(1), deaths_ppm: 0, seed: 0 };
        assert!(question.check().unwrap_err().contains("0 nodes"));
        let much = Question { nodes: 1, tasks: MAX_TASKS + 1, ..question };
        assert!(much.check().unwrap_err().contains("tasks"));
    }
}
