//! What a picture of a run shows: attempts as bars, and marks for what happened to nodes and jobs.

use std::collections::BTreeMap;

use filch_types::{Epoch, JobId};

use crate::history::{End, Run};
use crate::world::World;

/// Marks that a chronicle keeps: the first ones.
const MAX_MARKS: usize = 200_000;

/// Something that is no execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Tasks moved.
    Stole {
        /// Who had them.
        from: usize,
        /// Who has them now.
        to: usize,
        /// How many.
        tasks: u32,
    },
    /// A node began to hand out a job's tasks.
    Steward {
        /// Who.
        host: usize,
        /// Of which job.
        job: JobId,
        /// In which epoch.
        epoch: Epoch,
    },
    /// A planned fault took place.
    Fault {
        /// Its place in the options.
        fault: usize,
        /// When it ends, if it does.
        until: Option<u64>,
    },
    /// A process ended.
    Down {
        /// Which.
        host: usize,
    },
    /// A process started.
    Up {
        /// Which.
        host: usize,
    },
}

/// Marks with their times.
#[derive(Clone, Debug, Default)]
pub struct Chronicle {
    /// In the order of time.
    pub marks: Vec<(u64, Mark)>,
    /// Marks that found no room.
    pub dropped: u64,
}

/// How an attempt ended, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Its result is the task's first.
    Done,
    /// Somebody else had it done before.
    Redone,
    /// It failed by itself.
    Failed,
    /// It died with its node.
    Lost,
    /// It was told to stop.
    Stopped,
    /// It runs.
    Open,
}

/// An attempt in its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Of which planned job; jobs beyond the plan come last.
    pub job: usize,
    /// Which task.
    pub index: u32,
    /// Where.
    pub host: usize,
    /// In which of the node's lanes.
    pub lane: usize,
    /// From.
    pub start: u64,
    /// Until.
    pub end: u64,
    /// How it ended.
    pub fate: Fate,
}

impl World {
    /// Keeps what a picture needs besides the history.
    pub fn chronicle_on(&mut self) {
        self.chronicle = Some(Chronicle::default());
    }
    pub(crate) fn chronicle(&mut self, mark: Mark) {
        let now = self.now;
        match &mut self.chronicle {
            Some(c) if c.marks.len() < MAX_MARKS => c.marks.push((now, mark)),
            Some(c) => c.dropped += 1,
            None => {}
        }
    }
    /// All attempts, by node and time.
    pub fn bars(&self) -> Vec<Bar> {
        let plan_of: BTreeMap<JobId, usize> =
            self.clients.jobs.iter().filter_map(|(plan, s)| Some((s.job?, *plan))).collect();
        let mut out = Vec::new();
        for (job, tasks) in &self.history.runs {
            let job = plan_of.get(job).copied().unwrap_or(self.options.jobs.len());
            for (index, runs) in tasks {
                let good = |r: &&Run| matches!(r.end, Some((_, End::Done { success: true, .. })));
                let first = runs.iter().filter(good).map(|r| (r.end, r.host)).min_by_key(|(end, _)| end.map(|e| e.0));
                for r in runs {
                    let fate = match r.end {
                        None => Fate::Open,
                        Some((_, End::Lost)) => Fate::Lost,
                        Some((_, End::Stopped)) => Fate::Stopped,
                        Some((_, End::Done { success: false, .. })) => Fate::Failed,
                        Some(_) if first == Some((r.end, r.host)) => Fate::Done,
                        Some(_) => Fate::Redone,
                    };
                    let end = r.end.map_or(self.now, |(at, _)| at);
                    out.push(Bar { job, index: *index, host: r.host, lane: 0, start: r.start, end, fate });
                }
            }
        }
        out.sort_by_key(|b| (b.host, b.start, b.end, b.job, b.index));
        lanes(&mut out);
        out
    }
}

/// Gives every bar the first lane of its node that is free.
fn lanes(bars: &mut [Bar]) {
    let mut host = usize::MAX;
    let mut free: Vec<u64> = Vec::new();
    for bar in bars {
        if bar.host != host {
            host = bar.host;
            free.clear();
        }
        let lane = free.iter().position(|until| *until <= bar.start).unwrap_or(free.len());
        if lane == free.len() {
            free.push(0);
        }
        free[lane] = bar.end;
        bar.lane = lane;
    }
}
