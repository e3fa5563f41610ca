//! What a node keeps on its own disk about jobs: manifests, facts, its outbox, tombstones.
//!
//! A [`Ledger`] commits groups of [`Record`]s, each group all or nothing and on disk before the call returns, and replays
//! them after a restart. [`RedbLedger`] is the real one, [`MemoryLedger`] the one for tests; both pass [`conformance`].
//!
//! The ledger believes nothing it reads: every row carries a check over its key and value, a fact must hash to its id and a
//! manifest to its job. A row that does not match is dropped, as if it had never been there; the fact set of a job grows
//! by union, so whoever still has the fact sends it again.

pub mod conformance;
mod disk;
mod error;
mod memory;

use std::sync::Arc;

use filch_types::record::Record;
use filch_types::{FactId, JobId, SignedFact, SignedManifest};

pub use crate::disk::{OnDamage, RedbLedger};
pub use crate::error::{CommitError, LedgerError, OpenError};
pub use crate::memory::MemoryLedger;

/// Version of the directory format that this build writes.
pub const FORMAT: u32 = 1;

/// The note of a ledger that was damaged and has only some of its rows: others may believe that it has more. Whoever acts on it removes it.
pub const SALVAGED: &str = "salvaged";

/// Counts of what a replay handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayStats {
    /// Manifests.
    pub manifests: u64,
    /// Facts.
    pub facts: u64,
    /// Jobs whose closure is held.
    pub held: u64,
    /// Steward rounds.
    pub rounds: u64,
    /// Packs that wait for acks.
    pub outbox: u64,
    /// Deleted jobs.
    pub tombstones: u64,
    /// Rows that did not match their check and were dropped.
    pub dropped: u64,
}

/// Durable records of one node. One writer; readers on other threads through [`Ledger::reader`].
pub trait Ledger: Send {
    /// Hands out everything that is kept, a job's manifest before its other records. Rows that do not match their check
    /// or cannot be decoded are dropped, counted and logged. Errors when the storage itself cannot be read.
    fn replay(&mut self, sink: &mut dyn FnMut(Record)) -> Result<ReplayStats, LedgerError>;

    /// Makes all of these records durable in one transaction, in their order. On `Full` nothing of it was kept and the
    /// ledger goes on; on `Fatal` it is unknown what was kept, and the caller ends the process (P2).
    fn commit(&mut self, records: &[Record]) -> Result<(), CommitError>;

    /// Sets or removes a local note of the node. Durable on return; errors as for `commit`.
    fn put_meta(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), CommitError>;

    /// Reads what was committed, from any thread, also while a commit is under way.
    fn reader(&self) -> Arc<dyn LedgerReader>;
}

/// The reading side of a [`Ledger`].
pub trait LedgerReader: Send + Sync {
    /// A fact whose bytes hash to `id`. Bytes that do not are dropped, whoever asked to be told is told, and the answer is `None`: fetch
    /// it from a peer.
    fn fact(&self, job: JobId, id: FactId) -> Result<Option<SignedFact>, LedgerError>;
    /// Hands out all facts of a job, as of some moment after the last commit that returned. Those that do not match their check are left out.
    fn facts(&self, job: JobId, sink: &mut dyn FnMut(FactId, SignedFact)) -> Result<(), LedgerError>;
    /// A manifest whose bytes hash to `job`.
    fn manifest(&self, job: JobId) -> Result<Option<SignedManifest>, LedgerError>;
    /// A note set with `put_meta`.
    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, LedgerError>;
    /// All notes whose key starts with `prefix`, sorted by key.
    fn metas(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, LedgerError>;
}
