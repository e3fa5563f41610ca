//! What goes into an executor and what comes out.

use std::sync::Arc;
use std::time::Duration;

use filch_types::ranges::Range;
use filch_types::{JobId, Manifest, ResultRun};

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
    pub attempt: u32,
    /// The slot, from 0.
    pub slot: u16,
}

/// What came of tasks. Every task of a batch is reported exactly once, in order within its batch.
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
    pub attempt: u32,
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
