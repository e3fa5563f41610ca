//! A run in numbers, for a person's table and for programs.

use serde::Serialize;

use crate::history::{End, Run};
use crate::oracle;
use crate::world::World;

/// One expectation and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Of what.
    pub what: String,
    /// As the scenario has it.
    pub wanted: String,
    /// As it was.
    pub got: String,
    /// Whether it was so.
    pub held: bool,
}

impl Check {
    pub(crate) fn new(what: &str, wanted: String, got: String, held: bool) -> Self {
        Self { what: what.into(), wanted, got, held }
    }
}

/// How one job went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobReport {
    /// Its place among the planned jobs.
    pub job: usize,
    /// Tasks.
    pub tasks: u32,
    /// When its client was told that it is safe, microseconds; `None`: never.
    pub accepted_us: Option<u64>,
    /// When a node first saw it end.
    pub ended_us: Option<u64>,
    /// How it ended, or `active`.
    pub state: &'static str,
    /// Executions of its tasks.
    pub executions: u64,
}

/// A run in numbers. Times are virtual microseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// All randomness.
    pub seed: u64,
    /// Nodes, those included that come later or leave.
    pub nodes: usize,
    /// Their slots in all.
    pub slots: u64,
    /// From the first submit to the end of the last job.
    pub took_us: u64,
    /// Of the whole run.
    pub simulated_us: u64,
    /// Jobs, as planned.
    pub jobs: Vec<JobReport>,
    /// Tasks of all accepted jobs.
    pub tasks: u64,
    /// Tasks that failed for good, counted by their last execution.
    pub failed: u64,
    /// Executions begun.
    pub executions: u64,
    /// Those of them that the task itself did not call for: it had begun before and had not failed.
    pub redone: u64,
    /// Executions that died with their node.
    pub lost: u64,
    /// Tasks that moved from node to node.
    pub stolen: u64,
    /// Tasks that stewards took back.
    pub reclaimed: u64,
    /// Tasks of which a second attempt was made because the first one straggled.
    pub copied: u64,
    /// Those of them whose copy had its result first.
    pub copies_won: u64,
    /// Why submits were refused: the first few reasons.
    pub refused: Vec<String>,
    /// Faults that took place.
    pub faults: u64,
    /// Share of all slots' time, from the first acceptance to the last end, that went into executions that count. Slots
    /// count from their node's first start, also while it is down.
    pub efficiency: f64,
    /// The same for all executions.
    pub busy: f64,
    /// One-way messages; a request and its answer are two.
    pub messages: u64,
    /// Per task of an accepted job.
    pub messages_per_task: f64,
    /// Events of the simulation.
    pub events: u64,
    /// Equal for equal seeds and options.
    pub digest: String,
    /// Rules of the protocol that were checked all the way.
    pub rules: Vec<&'static str>,
    /// The one that broke, if one did.
    pub violation: Option<String>,
    /// What had not ended when the time was up.
    pub unfinished: Option<String>,
    /// What was expected.
    pub checks: Vec<Check>,
}

/// What executions of one job amount to.
#[derive(Default)]
struct Sums {
    executions: u64,
    redone: u64,
    failed: u64,
    useful_us: u64,
    busy_us: u64,
    copies_won: u64,
}

impl Sums {
    /// Counts time until `until` only. Tells the attempt that had a result first.
    fn add(&mut self, runs: &[Run], until: u64) -> Option<u64> {
        let span = |r: &Run| r.end.map_or(until, |(at, _)| at).min(until).saturating_sub(r.start);
        let success = |r: &&Run| matches!(r.end, Some((_, End::Done { success: true, .. })));
        let own = |r: &&Run| matches!(r.end, Some((_, End::Done { success: false, .. })));
        let own_failures = runs.iter().filter(own).count() as u64;
        let good = runs.iter().filter(success).min_by_key(|r| r.end.map(|(at, _)| at));
        self.executions += runs.len() as u64;
        self.redone += (runs.len() as u64).saturating_sub(own_failures + u64::from(own_failures < runs.len() as u64));
        self.failed += u64::from(good.is_none() && own_failures > 0);
        self.useful_us += good.or_else(|| runs.iter().rfind(own)).map_or(0, span);
        self.busy_us += runs.iter().map(span).sum::<u64>();
        good.map(|r| r.attempt)
    }
}

impl Report {
    /// Whether no rule broke, everything ended and all was as expected.
    pub fn held(&self) -> bool {
        self.violation.is_none() && self.unfinished.is_none() && self.checks.iter().all(|c| c.held)
    }

    /// A world as it stands.
    pub fn of(w: &World) -> Self {
        let mut sums = Sums::default();
        let jobs: Vec<JobReport> = (0..w.options.jobs.len()).map(|plan| job(w, plan, &mut sums)).collect();
        let first = w.options.jobs.iter().map(|j| j.at).min().unwrap_or(0);
        let begin = jobs.iter().filter_map(|j| j.accepted_us).min().unwrap_or(first);
        let all_ended = jobs.iter().all(|j| j.ended_us.is_some() || j.accepted_us.is_none());
        let end = jobs.iter().filter_map(|j| j.ended_us).max().filter(|_| all_ended).unwrap_or(w.now);
        let able = || w.options.nodes.iter().filter(|n| n.able);
        let capacity: f64 =
            able().map(|n| u64::from(n.slots) as f64 * end.saturating_sub(begin.max(n.start_us)) as f64).sum();
        let share = |us: u64| if capacity > 0.0 { us as f64 / capacity } else { 0.0 };
        let tasks = jobs.iter().filter(|j| j.accepted_us.is_some()).map(|j| u64::from(j.tasks)).sum();
        let messages = w.stats.messages + 2 * w.stats.requests;
        Self {
            seed: w.options.seed,
            nodes: w.options.nodes.len(),
            slots: able().map(|n| u64::from(n.slots)).sum(),
            took_us: end.saturating_sub(first),
            simulated_us: w.now,
            jobs,
            tasks,
            failed: sums.failed,
            executions: sums.executions,
            redone: sums.redone,
            lost: w.history.lost,
            stolen: w.stats.stolen,
            reclaimed: w.stats.reclaimed,
            copied: w.stats.copied,
            copies_won: sums.copies_won,
            refused: w.history.refusals.iter().cloned().collect(),
            faults: w.stats.faults,
            efficiency: share(sums.useful_us),
            busy: share(sums.busy_us),
            messages,
            messages_per_task: messages as f64 / (tasks.max(1)) as f64,
            events: w.stats.events,
            digest: format!("{:016x}", w.digest()),
            rules: oracle::all(&w.options).iter().map(|o| o.rule()).collect(),
            violation: w.violation.as_ref().map(oracle::Violation::to_string),
            unfinished: None,
            checks: Vec::new(),
        }
    }
}

fn job(w: &World, plan: usize, sums: &mut Sums) -> JobReport {
    use filch_types::wire::JobState;
    let id = w.clients.jobs.get(&plan).and_then(|s| s.job);
    let ended = id.and_then(|id| w.history.ended.get(&id));
    let before = sums.executions;
    let until = ended.map_or(w.now, |e| e.0);
    if let Some((id, tasks)) = id.and_then(|id| Some((id, w.history.runs.get(&id)?))) {
        for (index, runs) in tasks {
            let first = sums.add(runs, until);
            sums.copies_won += u64::from(first.is_some_and(|attempt| w.history.is_copy(id, *index, attempt)));
        }
    }
    JobReport {
        job: plan,
        tasks: w.options.jobs[plan].total(),
        accepted_us: id.and_then(|id| w.history.accepted.get(&id)).map(|a| a.at),
        ended_us: ended.map(|e| e.0),
        state: match ended.map(|e| e.1) {
            None | Some(JobState::Active) => "active",
            Some(JobState::Succeeded) => "succeeded",
            Some(JobState::Failed) => "failed",
            Some(JobState::Cancelled) => "cancelled",
            Some(JobState::Deleted) => "deleted",
        },
        executions: sums.executions - before,
    }
}
