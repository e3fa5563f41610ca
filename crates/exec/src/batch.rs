//! What goes into an executor and what comes out.

use std::sync::Arc;
use std::time::Duration;

use filch_types::ranges::Range;
use filch_types::{Cause, Content, JobId, Manifest, ResultRun};

use crate::control::Live;

/// Consecutive tasks of one group, for one slot.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its name; chosen by the core.
    pub launch: u64,
    /// The job.
    pub job: JobId,
    /// What to run.
    pub manifest: Arc<Manifest>,
    /// Which tasks.
    pub tasks: Range,
    /// Their attempt number.
    pub attempt: u64,
    /// The slot, from 0.
    pub slot: u16,
    /// What to do of a divisible task, if not the whole: `tasks` is the one index that it is a part of.
    pub part: Option<Content>,
}

/// What came of tasks. Every task of a batch is reported exactly once, in order within its batch; every batch of a divisible group,
/// which is always of one task, by `Bag`, `BagFailed` or `Bounced`; every call to split by one `Split`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// They ended, well or not.
    Finished {
        /// The batch.
        launch: u64,
        /// Results, consecutive from where the last ones ended.
        runs: Vec<ResultRun>,
    },
    /// They were not executed, or their execution does not count: stopped, or this node's fault.
    Bounced {
        /// The batch.
        launch: u64,
        /// Which.
        tasks: Range,
        /// For people.
        why: String,
    },
    /// The answer to [`crate::Exec::split`]. With a bag only before the batch's end is reported.
    Split {
        /// The batch.
        launch: u64,
        /// The call.
        ask: u64,
        /// What was split off; `None` if there was too little, it could not be kept, or the batch does not run.
        bag: Option<Content>,
    },
    /// What is left of a divisible batch is done within [`filch_handlers::ENDS_SOON_US`], by its estimate. Said once, if at all.
    EndsSoon {
        /// The batch.
        launch: u64,
    },
    /// A divisible batch ended: all is processed or given away, or it was told to stop there.
    Bag {
        /// The batch.
        launch: u64,
        /// What was counted.
        tally: Vec<u64>,
        /// What is left after [`crate::Exec::checkpoint`].
        rest: Option<Content>,
        /// Microseconds that it took.
        wall_us: u64,
    },
    /// A divisible batch failed, by its own fault.
    BagFailed {
        /// The batch.
        launch: u64,
        /// Why.
        cause: Cause,
        /// For people.
        text: String,
    },
}

/// A task that is running now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its batch.
    pub launch: u64,
    /// Its job.
    pub job: JobId,
    /// Its index in the job.
    pub index: u32,
    /// Attempt number.
    pub attempt: u64,
    /// The slot, from 0.
    pub slot: u16,
    /// How long it has been running, staging included.
    pub elapsed: Duration,
    /// Where its output goes; `None` for handlers. The files are used again by later tasks: follow them with
    /// [`crate::Exec::read_live`].
    pub live: Option<Live>,
}

/// Which output of a running task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
