//! What a node keeps on its own disk about jobs. A restart replays these records, in any order a ledger likes as long as a
//! job's `Manifest` comes before its other records.

use serde::{Deserialize, Serialize};

use crate::fact::SignedFact;
use crate::ids::{FactId, JobId};
use crate::manifest::SignedManifest;

/// One durable statement. Committed in groups; a group is all or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// This node keeps the job (as a replica or as an observer).
    Manifest(JobId, SignedManifest),
    /// This node durably holds the job's whole input closure (P1: blobs first, then this).
    Held(JobId),
    /// A fact. Grow-only until `Forget`.
    Fact(JobId, FactId, SignedFact),
    /// A pack of this node's own that r replicas have not acked yet (P5).
    Outbox(JobId, FactId),
    /// They have.
    OutboxDone(JobId, FactId),
    /// The highest round in which this node was the job's steward: makes attempts unique (P13). Replaces an older one.
    Round(JobId, u32),
    /// This node only helped with the job and owes it nothing any more: drop everything about it, without a tombstone.
    Drop(JobId),
    /// The job was deleted: drop everything about it but the delete fact given here, the tombstone (P11).
    Forget(JobId, SignedFact),
    /// The bytes that this fact names are gone and nobody has them: drop it, and its place in the outbox, as if it had never been here (P4).
    Lost(JobId, FactId),
}

impl Record {
    /// The job it is about.
    pub fn job(&self) -> JobId {
        match self {
            Record::Manifest(j, _)
            | Record::Held(j)
            | Record::Fact(j, ..)
            | Record::Outbox(j, _)
            | Record::OutboxDone(j, _)
            | Record::Round(j, _)
            | Record::Drop(j)
            | Record::Lost(j, _)
            | Record::Forget(j, _) => *j,
        }
    }
}
