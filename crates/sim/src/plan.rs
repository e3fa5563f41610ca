//! What would a job take? Simulates it on a quiet LAN, then again with deaths, and compares.
//!
//! Every task is simulated as long as that takes seconds. Of longer jobs two shorter ones are simulated, one twice the other, and
//! what the second half adds is taken for what any further tasks add: the middle of a job repeats itself, its beginning and its end do not.

use filch_types::limits;
use serde::Serialize;

use crate::check::{MAX_STRAGGLE, MAX_TASK_US};
use crate::fault::{Fault, Planned};
use crate::options::{Checks, Duration, JobPlan, Options, Profile, Work};
use crate::report::Report;
use crate::rng::Dice;
use crate::sim::Sim;

/// When the job is submitted: nodes have met by then.
const SUBMIT_US: u64 = 2_000_000;
/// Between looks at whether it has ended.
const STEP_US: u64 = 1_000_000;
/// Most nodes of a plan.
pub const MAX_NODES: usize = 2_000;
/// Most slots of a node.
pub const MAX_SLOTS: u16 = 1_024;
/// Beyond so many nodes everybody is connected to [`DEGREE`] others only.
pub const MESH: usize = 200;
/// See [`MESH`].
pub const DEGREE: u16 = 16;
/// Largest input of a task: a TiB.
pub const MAX_INPUT: u64 = 1 << 40;
/// Events that one simulation should cost at most, about: some seconds.
const EVENTS: u64 = 500_000;
/// A shortened job still has so many rounds of all slots.
const ROUNDS: u64 = 8;
/// Most tasks that are simulated.
const MOST: u64 = 1_000_000;
/// Most tasks that are simulated if each has a file of its own.
const MOST_FILES: u64 = 100_000;

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
    /// Share of tasks that take `straggle` times as long, in millionths.
    pub straggle_ppm: u32,
    /// See `straggle_ppm`; 1 or more.
    pub straggle: u32,
    /// Nodes that die for good on the way, besides the ones that are always tried.
    pub deaths: usize,
    /// Bytes of the file that each task reads, which is at the submitter at first; 0: none.
    pub input: u64,
    /// Bytes per second of a transfer.
    pub bandwidth: u64,
    /// All randomness.
    pub seed: u64,
}

impl Default for Question {
    /// One task of a second on one slot.
    fn default() -> Self {
        Self {
            nodes: 1,
            slots: 1,
            tasks: 1,
            takes: Duration::Fixed(1_000_000),
            straggle_ppm: 0,
            straggle: 1,
            deaths: 0,
            input: 0,
            bandwidth: 117_000_000,
            seed: 0,
        }
    }
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
    /// Share of all slots' time that went into results, the time of the dead included.
    pub efficiency: f64,
    /// Executions that were done again.
    pub redone: u64,
    /// Tasks that moved from node to node.
    pub stolen: u64,
    /// Messages per task.
    pub messages_per_task: f64,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Answer {
    /// Work divided by slots, microseconds.
    pub ideal_us: u64,
    /// Work of all tasks, microseconds.
    pub work_us: u64,
    /// Tasks of the longest job that was simulated.
    pub simulated_tasks: u32,
    /// In what the simulation is simpler than what was asked; empty: in nothing that is known.
    pub simplified: Vec<String>,
    /// Calm first.
    pub cases: Vec<Case>,
    /// All cases are there.
    pub complete: bool,
}

impl Question {
    /// Whether it can be answered; the error says what is too much.
    pub fn check(&self) -> Result<(), String> {
        let between = |what: &str, is: u64, least: u64, most: u64| {
            if (least..=most).contains(&is) {
                Ok(())
            } else {
                Err(format!("{is} {what}: a plan has {least} to {most}"))
            }
        };
        between("nodes", self.nodes as u64, 1, MAX_NODES as u64)?;
        between("slots per node", u64::from(self.slots), 1, u64::from(MAX_SLOTS))?;
        between("tasks", u64::from(self.tasks), 1, u64::from(limits::MAX_TASKS))?;
        between("bytes of input per task", self.input, 0, MAX_INPUT)?;
        between("bytes per second", self.bandwidth, 1, u64::MAX)?;
        between("times as long for a straggler", u64::from(self.straggle), 1, u64::from(MAX_STRAGGLE))?;
        if self.mean_us() == 0 || self.mean_us() > MAX_TASK_US {
            return Err(format!("a task takes 1 us to {} days", MAX_TASK_US / 86_400_000_000));
        }
        if self.deaths >= self.nodes && self.deaths > 0 {
            return Err(format!("{} of {} nodes die: nobody would be left", self.deaths, self.nodes));
        }
        self.options(1, Vec::new()).check()
    }

    fn mean_us(&self) -> u64 {
        match self.takes {
            Duration::Fixed(us) | Duration::Tail(us) => us,
            Duration::Uniform(lo, hi) => lo.midpoint(hi),
        }
    }
    fn slots(&self) -> u64 {
        (self.nodes as u64 * u64::from(self.slots)).max(1)
    }
    /// Of all tasks on the average, stragglers included.
    fn work_us(&self, tasks: u32) -> u64 {
        let more = u128::from(self.straggle.saturating_sub(1)) * u128::from(self.straggle_ppm);
        let us = u128::from(tasks) * u128::from(self.mean_us()) * (1_000_000 + more) / 1_000_000;
        u64::try_from(us).unwrap_or(u64::MAX)
    }
    /// How often all slots run a task, if no slot waits.
    fn rounds(&self, tasks: u32) -> f64 {
        // Equal tasks: the last round may be thin, but takes as long.
        let even = matches!(self.takes, Duration::Fixed(_)) && self.straggle_ppm == 0;
        if even { u64::from(tasks).div_ceil(self.slots()) as f64 } else { f64::from(tasks) / self.slots() as f64 }
    }
    fn ideal_us(&self, tasks: u32) -> u64 {
        (self.rounds(tasks) * (self.work_us(tasks) as f64 / f64::from(tasks.max(1)))) as u64
    }

    /// Tasks that are simulated at most.
    fn simulated(&self) -> u32 {
        let rate = 3.0 + 6.0 * self.mean_us() as f64 / 1e6 / f64::from(self.slots.max(1));
        let affordable = ((EVENTS as f64 / rate) as u64).max(ROUNDS * self.slots());
        let most = affordable.min(if self.input > 0 { MOST_FILES } else { MOST });
        if u64::from(self.tasks) <= most {
            return self.tasks;
        }
        // Two halves of whole rounds.
        let rounds = (most / self.slots() / 2).max(1) * 2;
        u32::try_from(rounds * self.slots()).unwrap_or(self.tasks).min(self.tasks)
    }

    fn simplified(&self, simulated: u32) -> Vec<String> {
        let mut out = Vec::new();
        if simulated < self.tasks {
            out.push(format!(
                "{simulated} and {} of the {} tasks were simulated; what the second half of these adds was taken for what the others add",
                simulated / 2,
                self.tasks
            ));
        }
        if self.input > 0 {
            out.push(
                "every transfer has the whole bandwidth: lines that several transfers share are not simulated".into(),
            );
        }
        if self.nodes > MESH {
            out.push(format!("every node is connected to {DEGREE} others, and to those that it has to do with"));
        }
        out
    }

    fn options(&self, tasks: u32, faults: Vec<Planned>) -> Options {
        let mut options = Options::calm(self.seed, self.nodes, self.slots);
        let mut job = JobPlan::array(tasks, 0);
        job.at = SUBMIT_US;
        job.work = Work {
            takes: self.takes.clone(),
            straggle_ppm: self.straggle_ppm,
            straggle: self.straggle,
            ..Work::default()
        };
        if self.input > 0 {
            job.groups[0].item_bytes = Some(self.input);
            options.link.blob_bytes_per_s = self.bandwidth;
            // Nobody's patience with copies is part of the question.
            options.timing.submit = filch_types::time::Span::secs(30 * 86_400);
        }
        options.jobs = vec![job];
        options.profile = if faults.is_empty() { Profile::FaultFree } else { Profile::Swarm };
        options.faults = faults;
        options.checks = Checks::Cheap;
        options.overlay = (self.nodes > MESH).then_some(DEGREE);
        options
    }

    /// Simulates every case while `go_on`, which hears of a case and how many of its tasks are done (of how many) now and then.
    pub fn answer(&self, mut go_on: impl FnMut(&str, u64, u64) -> bool) -> Answer {
        let simulated = self.simulated();
        let mut answer = Answer {
            ideal_us: self.ideal_us(self.tasks),
            work_us: self.work_us(self.tasks),
            simulated_tasks: simulated,
            simplified: self.simplified(simulated),
            ..Answer::default()
        };
        let mut calm = Vec::new();
        for tasks in self.sizes() {
            match self.run("nothing happens", tasks, Vec::new(), &mut go_on) {
                Some(run) => calm.push(run),
                None => return answer,
            }
        }
        answer.cases.push(self.case("nothing happens", 0, &calm));
        for (what, which) in self.troubles() {
            let mut runs = Vec::new();
            for (tasks, calm) in self.sizes().into_iter().zip(&calm) {
                let until = SUBMIT_US + calm.took_us.unwrap_or(self.ideal_us(tasks));
                match self.run(&what, tasks, self.faults(&which, until), &mut go_on) {
                    Some(run) => runs.push(run),
                    None => return answer,
                }
            }
            let deaths = if let Trouble::Some(n) = which { n } else { 1 };
            answer.cases.push(self.case(&what, deaths, &runs));
        }
        answer.complete = true;
        answer
    }

    /// One size if all tasks are simulated, else two.
    fn sizes(&self) -> Vec<u32> {
        let most = self.simulated();
        if most == self.tasks { vec![most] } else { vec![most / 2, most] }
    }

    fn troubles(&self) -> Vec<(String, Trouble)> {
        let mut out = Vec::new();
        if self.nodes > 1 {
            out.push(("a worker dies half-way".into(), Trouble::Node(self.nodes - 1)));
            out.push(("the submitter dies half-way".into(), Trouble::Node(0)));
        }
        if self.deaths > 0 {
            out.push((format!("{} of {} nodes die on the way", self.deaths, self.nodes), Trouble::Some(self.deaths)));
        }
        out
    }

    fn faults(&self, trouble: &Trouble, until: u64) -> Vec<Planned> {
        match trouble {
            Trouble::Node(node) => {
                vec![Planned { at: SUBMIT_US + (until - SUBMIT_US) / 2, fault: Fault::Leave { node: *node } }]
            }
            Trouble::Some(count) => {
                let mut dice = Dice::stream(self.seed, "plan");
                let mut nodes: Vec<usize> = (0..self.nodes).collect();
                dice.shuffle(&mut nodes);
                let dies =
                    |node: &usize| Planned { at: dice.between(SUBMIT_US, until), fault: Fault::Leave { node: *node } };
                let mut faults: Vec<Planned> = nodes[..*count].iter().map(dies).collect();
                faults.sort_by_key(|p| p.at);
                faults
            }
        }
    }

    fn run(
        &self,
        what: &str,
        tasks: u32,
        faults: Vec<Planned>,
        go_on: &mut impl FnMut(&str, u64, u64) -> bool,
    ) -> Option<Run> {
        let mut sim = Sim::new(self.options(tasks, faults));
        let limit =
            SUBMIT_US + self.ideal_us(tasks).saturating_mul(10).saturating_add(600_000_000 + self.ship_us(tasks));
        let world = &mut sim.world;
        while world.history.ended.is_empty() && world.now < limit {
            if !go_on(what, world.history.finished, u64::from(tasks)) {
                return None;
            }
            let next = world.now + STEP_US;
            if !world.run_until(next) {
                break;
            }
        }
        let report = Report::of(world);
        let took_us = (!world.history.ended.is_empty()).then_some(report.took_us);
        Some(Run { tasks, took_us, report })
    }

    /// All inputs to two other nodes, one after the other: more than enough patience.
    fn ship_us(&self, tasks: u32) -> u64 {
        let us = u128::from(tasks) * u128::from(self.input) * 20_000_000 / u128::from(self.bandwidth.max(1));
        u64::try_from(us).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
    }

    fn case(&self, what: &str, deaths: usize, runs: &[Run]) -> Case {
        let took_us = self.extended(runs);
        let Some(last) = runs.last() else { return Case::empty(what, deaths) };
        let r = &last.report;
        let capacity = took_us.unwrap_or(r.took_us) as f64 * self.slots() as f64;
        let share = if runs.len() > 1 { self.work_us(self.tasks) as f64 / capacity } else { r.efficiency };
        Case {
            what: what.into(),
            deaths,
            took_us,
            efficiency: if share.is_finite() { share.min(1.0) } else { 0.0 },
            redone: r.redone,
            stolen: r.stolen,
            messages_per_task: r.messages_per_task,
        }
    }

    /// The time of all tasks from the times of one or two sizes.
    fn extended(&self, runs: &[Run]) -> Option<u64> {
        match runs {
            [one] => one.took_us,
            [half, whole] => {
                let (a, b) = (half.took_us? as f64, whole.took_us? as f64);
                let (x, y, z) = (self.rounds(half.tasks), self.rounds(whole.tasks), self.rounds(self.tasks));
                Some((b + (b - a) * (z - y) / (y - x).max(f64::MIN_POSITIVE)) as u64)
            }
            _ => None,
        }
    }
}

impl Case {
    fn empty(what: &str, deaths: usize) -> Self {
        let what = what.into();
        Self { what, deaths, took_us: None, efficiency: 0.0, redone: 0, stolen: 0, messages_per_task: 0.0 }
    }
}

enum Trouble {
    /// This node dies half-way.
    Node(usize),
    /// So many, at any time.
    Some(usize),
}

/// One simulation.
struct Run {
    tasks: u32,
    took_us: Option<u64>,
    report: Report,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(answer: &Answer) -> Vec<u64> {
        answer.cases.iter().map(|c| c.took_us.unwrap_or_else(|| panic!("{c:?} ended"))).collect()
    }

    #[test]
    fn a_death_costs_what_was_under_way_and_a_share_of_the_rest() {
        let question = Question { nodes: 8, slots: 4, tasks: 3_200, deaths: 2, seed: 1, ..Question::default() };
        question.check().unwrap();
        let answer = question.answer(|_, _, _| true);
        assert!(answer.complete && answer.simplified.is_empty());
        assert_eq!(answer.ideal_us, 100_000_000);
        let took = took(&answer);
        assert_eq!(took.len(), 4);
        assert!(took[0] < 103_000_000, "{took:?}");
        // Seven nodes do in 57 s what eight had left for 50.
        assert!(took[1] > 105_000_000 && took[1] < 120_000_000, "{took:?}");
        assert_eq!(answer.cases[0].redone, 0);
        assert!((1..=16).contains(&answer.cases[1].redone), "{:?}", answer.cases[1]);
        assert!(answer.cases[3].deaths == 2 && took[3] > took[0]);
    }

    #[test]
    fn a_long_job_is_extended_from_two_short_ones() {
        let takes = Duration::Uniform(3_000_000_000, 4_000_000_000);
        let question = Question { nodes: 4, slots: 2, tasks: 100_000, takes, ..Question::default() };
        question.check().unwrap();
        assert!(question.simulated() < 2_000, "{}", question.simulated());
        let answer = question.answer(|_, _, _| true);
        assert_eq!(answer.simplified.len(), 1);
        let took = took(&answer);
        assert_eq!(answer.ideal_us, 43_750_000_000_000);
        let over = took[0] as f64 / answer.ideal_us as f64;
        // What is drawn for some hundreds of tasks is half a per cent off the mean at times.
        assert!((0.99..1.01).contains(&over), "{over}");
        // Half of the work on three nodes instead of four.
        let death = took[1] as f64 / took[0] as f64;
        assert!((1.14..1.23).contains(&death), "{death}");
    }

    #[test]
    fn inputs_take_their_time() {
        let plain = Question { nodes: 3, slots: 2, tasks: 60, ..Question::default() };
        let heavy = Question { input: 50_000_000, bandwidth: 10_000_000, ..plain.clone() };
        heavy.check().unwrap();
        let took = |q: &Question| took(&q.answer(|what, _, _| what == "nothing happens"))[0];
        assert!(took(&heavy) > 2 * took(&plain), "{} {}", took(&heavy), took(&plain));
    }

    #[test]
    fn it_stops_when_told() {
        let question = Question { nodes: 2, tasks: 50, ..Question::default() };
        let answer = question.answer(|what, _, _| what == "nothing happens");
        assert_eq!((answer.cases.len(), answer.complete), (1, false));
    }

    #[test]
    fn what_cannot_be_planned_is_said() {
        let one = Question::default();
        let refused = |q: Question| q.check().unwrap_err();
        assert!(refused(Question { nodes: 0, ..one.clone() }).contains("0 nodes"));
        assert!(refused(Question { tasks: limits::MAX_TASKS + 1, ..one.clone() }).contains("tasks"));
        assert!(refused(Question { deaths: 1, ..one.clone() }).contains("nobody would be left"));
        assert!(refused(Question { takes: Duration::Fixed(0), ..one.clone() }).contains("a task takes"));
        assert!(refused(Question { bandwidth: 0, ..one }).contains("bytes per second"));
    }
}
