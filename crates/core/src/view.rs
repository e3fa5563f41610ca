//! What may be read of a node from outside: API, metrics, oracles.

use std::sync::Arc;

use filch_types::ranges::Range;
use filch_types::wire::JobState;
use filch_types::{Epoch, FactId, JobId, MachineId, Manifest, NodeId, StoreId};

/// A member as this node sees it.
#[derive(Clone, Debug)]
pub struct PeerView {
    /// Who.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Its store.
    pub store: StoreId,
    /// Its machine.
    pub machine: MachineId,
    /// Its slots.
    pub slots: u16,
    /// Whether it is believed alive.
    pub alive: bool,
    /// Whether it takes no new work.
    pub draining: bool,
    /// Tasks queued there when it was last heard.
    pub queued: u64,
    /// Microseconds of a round trip, smoothed; 0 if unknown.
    pub rtt_us: u64,
}

/// Where the tasks of a job stand. `waiting + queued + leased + succeeded + failed + cancelled = total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub total: u64,
    /// Wait for another group.
    pub waiting: u64,
    /// Could be granted.
    pub queued: u64,
    /// Granted to a node: queued there, executing, or on their way back.
    pub leased: u64,
    /// Succeeded.
    pub succeeded: u64,
    /// Failed for good.
    pub failed: u64,
    /// Will never run.
    pub cancelled: u64,
    /// Pinned by the owner.
    pub finals: u64,
}

/// Whether a node keeps a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// In R.
    Replica,
    /// Reads along for a client.
    Observer,
    /// Knows it from gossip, or runs tasks of it.
    Hearsay,
}

/// A job as this node sees it.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Which.
    pub job: JobId,
    /// What it is; absent as long as it is only hearsay.
    pub manifest: Option<Arc<Manifest>>,
    /// Name, also for hearsay.
    pub name: String,
    /// Who submitted it.
    pub owner: NodeId,
    /// Wall clock of its submit, milliseconds since 1970.
    pub created_ms: u64,
    /// How it is kept here.
    pub role: Role,
    /// Who is believed to be the steward.
    pub steward: NodeId,
    /// R.
    pub replicas: Vec<NodeId>,
    /// Stores known to hold manifest and closure.
    pub holders: Vec<(NodeId, StoreId)>,
    /// Copies that it should have.
    pub k: u8,
    /// Where it stands.
    pub state: JobState,
    /// Its tasks.
    pub counts: Counts,
    /// Tasks executing on this node, of this job.
    pub running_here: u64,
    /// What keeps results from becoming final, if anything does. Only its owner knows: absent everywhere else.
    pub delay: Option<Delay>,
    /// Others have told of more results, or of its end, than is known here yet.
    pub behind: bool,
}

/// Results that are done wait for copies before they are final (P6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// Copies that a final result has (r), unless too few replicas can be reached.
    pub copies: u8,
    /// Members of R whose copy is missing, and why as far as that is known.
    pub missing: Vec<(NodeId, Missing)>,
}

/// Why a replica has no copy of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    /// It said that its disk is full. With none of the others either, results become final with fewer copies after four times
    /// `Timing::lonely_pin`.
    DiskFull,
    /// It is believed dead. Results become final without it after `Timing::lonely_pin`.
    Unreachable,
    /// It lives and has said nothing.
    NoWord,
}

/// The winning result of consecutive tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Winner {
    /// Which.
    pub tasks: Range,
    /// The pack that has their result.
    pub pack: FactId,
    /// At this attempt.
    pub attempt: u64,
    /// Whether they succeeded.
    pub success: bool,
    /// Whether the owner has pinned them.
    pub is_final: bool,
}

/// What a steward has leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leases {
    /// Its epoch.
    pub epoch: Epoch,
    /// Whether its grace period is over.
    pub granting: bool,
    /// Ranges and their holders.
    pub held: Vec<(Range, NodeId)>,
    /// Copies of what straggles, and who has them: never the node that holds the lease.
    pub copies: Vec<(Range, NodeId)>,
    /// Parts of divided tasks that nobody runs.
    pub parts: usize,
}

/// Counters since start, for metrics and oracles. Monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Tasks handed to the executor.
    pub launched: u64,
    /// Tasks that came back with a result.
    pub finished: u64,
    /// Tasks stolen by this node.
    pub stolen: u64,
    /// Steal requests sent.
    pub steal_requests: u64,
    /// Tasks given to thieves.
    pub given: u64,
    /// Gifts pushed to those who waited.
    pub gifts: u64,
    /// Tasks granted as steward.
    pub granted: u64,
    /// Tasks of which this steward had a second attempt made because the first one straggled.
    pub copied: u64,
    /// Tasks taken back as steward.
    pub reclaimed: u64,
    /// Packs made.
    pub packs: u64,
    /// Facts stored.
    pub facts: u64,
    /// Inputs refused for breaking a rule.
    pub rejected: u64,
}
