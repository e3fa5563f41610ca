//! From a run that breaks a rule to the smallest one found that still breaks it, and its story in a few lines.
//!
//! Greedy, in the spirit of delta debugging: faults, jobs, groups, nodes are left out in ever smaller pieces, what is left is made
//! plainer, and all of it again while anything helps. A candidate is kept if the *same rule* breaks. Bounds that liveness is measured
//! by (`settle_us`, `timing` other than its default) are never shortened: a smaller bound would break the rule by itself.

mod simpler;
mod story;

use crate::options::Options;
use crate::oracle::Violation;
use crate::sim::Sim;

pub use story::LINES;

/// Runs that shrinking takes unless told otherwise: some seconds.
pub const RUNS: u32 = 600;

/// The smallest failing run that was found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// It.
    pub options: Options,
    /// What it breaks.
    pub violation: Violation,
    /// Runs that it took to find it.
    pub runs: u32,
    /// What happens in it, for a person: at most [`LINES`] lines.
    pub timeline: Vec<String>,
}

/// Shrinks options whose run breaks a rule, with at most `runs` runs; `None` if no rule breaks.
pub fn shrink(options: &Options, runs: u32) -> Option<Shrunk> {
    let violation = violation(options)?;
    let mut search = Search { best: options.clone(), violation, runs: 1, most: runs.max(1) };
    search.forget_the_future();
    loop {
        let before = search.best.clone();
        search.leave_out();
        search.make_plain();
        if search.best == before || search.spent() {
            break;
        }
    }
    let Search { best, violation, runs, .. } = search;
    let timeline = story::tell(&best);
    Some(Shrunk { options: best, violation, runs, timeline })
}

fn violation(options: &Options) -> Option<Violation> {
    Sim::new(options.clone()).run().err().map(|f| f.violation)
}

struct Search {
    best: Options,
    violation: Violation,
    runs: u32,
    most: u32,
}

impl Search {
    fn spent(&self) -> bool {
        self.runs >= self.most
    }

    /// Keeps the changed options if the same rule breaks.
    fn attempt(&mut self, change: impl FnOnce(&mut Options)) -> bool {
        let mut candidate = self.best.clone();
        change(&mut candidate);
        if self.spent() || candidate == self.best || !simpler::sound(&candidate) {
            return false;
        }
        self.runs += 1;
        match violation(&candidate) {
            Some(v) if v.rule == self.violation.rule => {
                (self.best, self.violation) = (candidate, v);
                true
            }
            _ => false,
        }
    }

    /// Leaves out as much of a list as possible: halves, quarters, … single ones, from its end.
    fn thin(&mut self, len: impl Fn(&Options) -> usize, leave_out: impl Fn(&mut Options, usize)) {
        let mut piece = len(&self.best);
        while piece > 0 && !self.spent() {
            let mut end = len(&self.best);
            while end > 0 {
                let start = end.saturating_sub(piece);
                self.attempt(|o| (start..end).rev().for_each(|n| leave_out(o, n)));
                end = start;
            }
            piece /= 2;
        }
    }

    /// What was planned for later than the violation played no part in it.
    fn forget_the_future(&mut self) {
        let at = self.violation.at;
        self.attempt(|o| {
            o.faults.retain(|p| p.at <= at);
            o.jobs.retain(|j| j.at <= at);
        });
        self.attempt(|o| o.faults_until = o.faults_until.min(at));
    }

    fn leave_out(&mut self) {
        for class in simpler::classes(&self.best) {
            self.attempt(|o| o.faults.retain(|p| p.fault.class() != class));
        }
        self.thin(|o| o.faults.len(), |o, n| drop(o.faults.remove(n)));
        self.thin(|o| o.jobs.len(), |o, n| drop(o.jobs.remove(n)));
        self.thin(|o| o.nodes.len(), simpler::without_node);
        for job in 0..self.best.jobs.len() {
            self.thin(
                move |o| o.jobs[job].then.len(),
                move |o, n| {
                    o.jobs[job].then.remove(n);
                },
            );
            self.thin(move |o| o.jobs[job].groups.len(), move |o, n| simpler::without_group(&mut o.jobs[job], n));
        }
    }

    fn make_plain(&mut self) {
        for change in simpler::PLAIN {
            self.attempt(change);
        }
        for job in 0..self.best.jobs.len() {
            for change in simpler::PLAIN_JOB {
                self.attempt(|o| change(&mut o.jobs[job]));
            }
            self.fewer_tasks(job);
        }
        for node in 0..self.best.nodes.len() {
            for change in simpler::PLAIN_NODE {
                self.attempt(|o| change(&mut o.nodes[node]));
            }
        }
        for fault in 0..self.best.faults.len() {
            for change in simpler::PLAIN_FAULT {
                while self.attempt(|o| change(&mut o.faults[fault])) {}
            }
        }
        self.earlier();
    }

    fn fewer_tasks(&mut self, job: usize) {
        self.attempt(|o| o.jobs[job].groups.iter_mut().for_each(|g| g.tasks = 1));
        while self.attempt(|o| o.jobs[job].groups.iter_mut().for_each(|g| g.tasks = g.tasks.div_ceil(2))) {}
        while self.attempt(|o| o.jobs[job].groups.iter_mut().for_each(|g| g.tasks = (g.tasks - 1).max(1))) {}
    }

    /// Whole seconds in which nothing is planned are cut out in front.
    fn earlier(&mut self) {
        let first_job = self.best.jobs.iter().map(|j| j.at).min();
        let first = first_job.into_iter().chain(self.best.faults.iter().map(|p| p.at)).min().unwrap_or(0);
        for by in [first, first / 2, first / 4] {
            self.attempt(|o| simpler::shift(o, by));
        }
        let last = self.best.faults.iter().map(|p| p.at).max().unwrap_or(0);
        self.attempt(|o| o.faults_until = o.faults_until.min(last + 1_000_000));
    }
}
