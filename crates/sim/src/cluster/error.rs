//! What can be wrong with a test, or with what it tests: one error per operation, in words for whoever reads the test's output.

use std::time::Duration;

use filch_core::view::Counts;
use filch_types::Cause;

use crate::oracle::Violation;

/// Why there is no cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Zero of them.
    #[error("a cluster needs at least one node")]
    NoNodes,
    /// A value in the options.
    #[error("options: {0}")]
    Options(String),
    /// A rule of the protocol is broken before anything was done.
    #[error(transparent)]
    Broken(Violation),
    /// A handler that cannot be registered.
    #[error("handler `{name}`: {why}")]
    Handler {
        /// Which.
        name: String,
        /// Why not.
        why: String,
    },
}

/// Why a job is not submitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Nobody registered it.
    #[error("no handler `{name}`{}; register it with `Cluster::builder().handler(..)`", .nearest.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default())]
    UnknownHandler {
        /// As asked for.
        name: String,
        /// What sounds like it.
        nearest: Option<String>,
    },
    /// More copies than there can be.
    #[error("{copies} copies; this cluster can keep 1 to {most}")]
    Copies {
        /// Asked for.
        copies: usize,
        /// Possible.
        most: usize,
    },
    /// A rule that all jobs must obey.
    #[error("job: {0}")]
    Job(String),
}

impl SubmitError {
    pub(super) fn unknown_handler(name: &str, known: &[&str]) -> Self {
        let near = |k: &&&str| strsim::damerau_levenshtein(name, k) <= 2;
        let nearest = known.iter().filter(near).min_by_key(|k| strsim::damerau_levenshtein(name, k));
        Self::UnknownHandler { name: name.to_owned(), nearest: nearest.map(|k| (*k).to_owned()) }
    }
}

/// Why a fault is not planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// Its time is over.
    #[error("a fault at {at:?}, but the cluster is at {now:?} already")]
    Past {
        /// Its time.
        at: Duration,
        /// The present.
        now: Duration,
    },
    /// A node that does not exist, or an impossible value.
    #[error("{fault}: {why}")]
    Unusable {
        /// Which.
        fault: String,
        /// What is wrong.
        why: String,
    },
}

/// Why time does not go on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RunError {
    /// A rule of the protocol is broken: a bug of filch, or of options that it was never made for.
    #[error(transparent)]
    Broken(Violation),
    /// A fault could not take place: the test would not test what it says.
    #[error("the fault {fault} at {at:?} could not take place: {why}")]
    Impossible {
        /// Which.
        fault: String,
        /// Its time.
        at: Duration,
        /// Why not.
        why: String,
    },
    /// The client gave up: its node was killed, or refused to the end.
    #[error("the job was never accepted: node {node} was killed before, or refused it again and again")]
    NotAccepted {
        /// Where it was submitted.
        node: usize,
    },
    /// Patience is over.
    #[error("the job has not ended at {after:?} ({} of {} tasks have); what is outstanding: {waits}", .counts.succeeded + .counts.failed, .counts.total)]
    NotDone {
        /// Virtual time.
        after: Duration,
        /// Its tasks.
        counts: Counts,
        /// What it waits for.
        waits: String,
    },
    /// Patience is over before everything came to its end.
    #[error("the cluster has not come to rest at {after:?}: {waits}")]
    Unfinished {
        /// Virtual time.
        after: Duration,
        /// For what.
        waits: String,
    },
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// The job is smaller.
    #[error("task {index} of a job of {tasks}")]
    NoSuchTask {
        /// Asked for.
        index: u32,
        /// There are.
        tasks: u32,
    },
    /// No node that is up has a result of it; `Cluster::run_until_done` waits for it.
    #[error("task {index} has no result yet ({} of {} tasks have); `run_until_done` waits for it", .counts.succeeded + .counts.failed, .counts.total)]
    NotYet {
        /// Which.
        index: u32,
        /// Where all of them stand.
        counts: Counts,
    },
    /// Its handler returned an error, or it took down too many nodes.
    #[error("task {index} failed: {cause:?}")]
    Failed {
        /// Which.
        index: u32,
        /// Why.
        cause: Cause,
    },
    /// All nodes that hold its bytes are down.
    #[error("no node that is up has the {len} bytes of task {index}")]
    OutOfReach {
        /// Which.
        index: u32,
        /// Bytes.
        len: u64,
    },
}
