//! Everything that happened and that an oracle may need later: executions, acceptances, revocations.

use std::collections::{BTreeMap, BTreeSet};

use filch_core::LaunchId;
use filch_types::bag::TaskRef;
use filch_types::wire::JobState;
use filch_types::{JobId, NodeId};

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this value.
    Done {
        /// See `known::value_of`.
        value: u64,
        /// Whether it succeeded.
        success: bool,
    },
    /// Its node died under it.
    Lost,
    /// It was told to stop; it does not count.
    Stopped,
}

/// One execution of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Attempt number.
    pub attempt: u64,
    /// Where.
    pub host: usize,
    /// In which life of that node.
    pub life: u32,
    /// In which launch.
    pub launch: LaunchId,
    /// From.
    pub start: u64,
    /// Until, and how it ended.
    pub end: Option<(u64, End)>,
}

/// How an execution of a divided task, or of a part of one, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BagEnd {
    /// By itself, or where it was told to.
    Done,
    /// Its node died under it.
    Lost,
    /// It was told to stop; it does not count.
    Stopped,
}

/// What an execution of a divided task counted, and at which host.
pub type Counted = (usize, Vec<u64>);

/// One execution of a divided task, or of a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BagRun {
    /// Attempt number.
    pub attempt: u64,
    /// Where.
    pub host: usize,
    /// In which life of that node.
    pub life: u32,
    /// In which launch.
    pub launch: LaunchId,
    /// From.
    pub start: u64,
    /// Units worked off.
    pub units: u64,
    /// Until, and how it ended.
    pub end: Option<(u64, BagEnd)>,
}

/// A job that a client was told is safe.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// When.
    pub at: u64,
    /// Who was said to hold it.
    pub holders: Vec<NodeId>,
}

/// The history of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// By job and task, in order.
    pub runs: BTreeMap<JobId, BTreeMap<u32, Vec<Run>>>,
    /// The same of divided tasks and their parts.
    pub bags: BTreeMap<(JobId, TaskRef), Vec<BagRun>>,
    /// What their executions that ended counted, and where.
    pub tallies: BTreeMap<(JobId, TaskRef), Vec<Counted>>,
    /// Units of divided tasks worked off.
    pub units: u64,
    /// Those of executions that did not come to their end.
    pub undone: u64,
    /// Parts split off.
    pub splits: u64,
    /// A steward's disk was lost: attempt numbers may repeat.
    pub forgetful: bool,
    /// Acked jobs (P3).
    pub accepted: BTreeMap<JobId, Accepted>,
    /// Revocations that a client was told are done: deleted or only cancelled, when.
    pub revoked: BTreeMap<JobId, (bool, u64)>,
    /// Revocations that anybody asked for, done or not.
    pub revoke_asked: BTreeMap<JobId, bool>,
    /// Jobs that a node saw end first at this time, and how.
    pub ended: BTreeMap<JobId, (u64, JobState)>,
    /// Attempts that a steward declared to be copies of one that straggles.
    pub copies: BTreeMap<(JobId, u32), Vec<u64>>,
    /// Why clients' submits were refused, in words: the first few.
    pub refusals: BTreeSet<String>,
    /// Executions started.
    pub executions: u64,
    /// Executions that ended with a result.
    pub finished: u64,
    /// Executions that died with their node.
    pub lost: u64,
}

impl History {
    /// Executions of one task.
    pub fn of(&self, job: JobId, index: u32) -> &[Run] {
        self.runs.get(&job).and_then(|j| j.get(&index)).map_or(&[], Vec::as_slice)
    }
    /// Whether this attempt is a declared copy.
    pub fn is_copy(&self, job: JobId, index: u32, attempt: u64) -> bool {
        self.copies.get(&(job, index)).is_some_and(|c| c.contains(&attempt))
    }
    /// Executions of one job.
    pub fn of_job(&self, job: JobId) -> u64 {
        self.runs.get(&job).map_or(0, |j| j.values().map(|v| v.len() as u64).sum())
    }
    /// The execution of a part that runs now.
    pub fn open_bag(&mut self, job: JobId, task: TaskRef, host: usize) -> Option<&mut BagRun> {
        self.bags.get_mut(&(job, task))?.iter_mut().rev().find(|r| r.host == host && r.end.is_none())
    }
    /// The execution that runs now under this name, if one does.
    pub fn open(&mut self, job: JobId, index: u32, host: usize) -> Option<&mut Run> {
        self.runs.get_mut(&job)?.get_mut(&index)?.iter_mut().rev().find(|r| r.host == host && r.end.is_none())
    }
}
