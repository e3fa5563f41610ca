//! The node.
use filch_types::ranges::Range;
use filch_types::record::Record;
use filch_types::sign::Keyring;
use filch_types::{JobId, NodeId, Timestamp};

use crate::view::{Counters, JobView, PeerView, Winner};
use crate::{Config, Deadline, Input, Output};

/// One node of the cluster.
pub struct Node {
    id: NodeId,
}

impl Node {
    /// A node that knows nothing yet. `seed` is the only source of randomness.
    pub fn new(_config: Config, keys: Box<dyn Keyring>, _seed: [u8; 32], _now: Timestamp) -> Self {
        Self { id: keys.id() }
    }
    /// Replays one record of the ledger; before any other input. Records that do not decode are ignored and counted.
    pub fn restore(&mut self, _record: Record) {}
    /// Handles what happened. Never fails, never blocks, bounded work.
    pub fn handle_input(&mut self, _now: Timestamp, _input: Input) {}
    /// Fires everything that is due at `now`.
    pub fn handle_timeout(&mut self, _now: Timestamp) {}
    /// When `handle_timeout` is wanted next. Queued work counts: then it is not after the last `now`.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        None
    }
    /// The next thing to do. Drain to `None` after every `handle_*` and after the last `restore`.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }
    /// Who it is.
    pub fn id(&self) -> NodeId {
        self.id
    }
    /// All members known.
    pub fn peers(&self) -> Vec<PeerView> {
        Vec::new()
    }
    /// All jobs known, newest last.
    pub fn jobs(&self) -> Vec<JobView> {
        Vec::new()
    }
    /// One job.
    pub fn job(&self, _job: JobId) -> Option<JobView> {
        None
    }
    /// Winners of tasks in `range` that are in this store, in order, at most `max` runs.
    pub fn winners(&self, _job: JobId, _range: Range, _max: usize) -> Vec<Winner> {
        Vec::new()
    }
    /// Counters since start.
    pub fn counters(&self) -> Counters {
        Counters::default()
    }
}
