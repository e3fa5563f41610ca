//! Everything about the protocol that a deployment or a simulation may set.

use filch_types::time::Span;
use filch_types::{MachineId, StoreId};
use serde::{Deserialize, Serialize};

/// What a node is and how patient it is. Times are safe defaults for a LAN; change them for the whole cluster at once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Of its data directory.
    pub store: StoreId,
    /// Of its machine.
    pub machine: MachineId,
    /// Grows with every start on the same data directory.
    pub boot: u64,
    /// For people.
    pub name: String,
    /// Tasks at once. 0: keeps jobs, runs nothing.
    pub slots: u16,
    /// What it can run: `command`, `handler:NAME`.
    pub offers: Vec<String>,
    /// Copies of a result before it is visible (r), unless fewer replicas exist.
    pub result_copies: u8,
    /// Time limits and periods.
    pub timing: Timing,
    /// A planted bug; `None` outside of tests of the checkers.
    pub mutant: Option<Mutant>,
}

/// Periods and time limits of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// Between heartbeats to peers that share an active job (P8).
    pub beat: Span,
    /// Between probes of other peers.
    pub idle_beat: Span,
    /// A peer that has not answered a probe for so long is believed dead.
    pub dead_after: Span,
    /// The same after its last connection went down.
    pub down_grace: Span,
    /// How long the steward keeps a lease without a heartbeat.
    pub lease: Span,
    /// How long a worker starts tasks after the last acked heartbeat was *sent*: less than `lease`.
    pub lease_worker: Span,
    /// Limit of claims, steals and other small requests: less than `lease`.
    pub request: Span,
    /// Between resends of outbox packs and of requests to keep a job.
    pub resend: Span,
    /// The first resend, to more members of R, of results that somebody waits for and that took no blobs along: whoever has not acked them by then may be dead.
    pub hedge: Span,
    /// Between anti-entropy rounds with a random replica (P10).
    pub anti_entropy: Span,
    /// Fewer than k live copies for so long start a repair (P12).
    pub repair: Span,
    /// A pack is sent at the latest so long after its first result.
    pub pack_flush: Span,
    /// The same while somebody waits at a terminal.
    pub pack_flush_attended: Span,
    /// Work to keep queued ahead per node.
    pub ahead: Span,
    /// Shortest and longest pause of an idle node that found nothing.
    pub quiet_min: Span,
    /// See `quiet_min`.
    pub quiet_max: Span,
    /// The shortest one for parts of divided tasks: a neighbour that has not heard of the job yet remembers nobody.
    pub quiet_parts: Span,
    /// A running bag ends itself at the latest so long after it first gave away a part: what a death undoes stays small.
    pub bag_gift: Span,
    /// The same after its start.
    pub bag_run: Span,
    /// Results of bags are sent at the latest so long after the first of them.
    pub bag_flush: Span,
    /// Peers that an idle node asks for a bag before it waits to be given one: about as many as it has neighbours, so that whoever runs
    /// something has all its idle neighbours waiting at it.
    pub lifelines: u8,
    /// Of those, so many are asked at a time: lifelines lie sooner, and what comes beyond the first part is there when that one ends.
    pub asks: u8,
    /// Between summaries of an active job.
    pub announce: Span,
    /// Work that one launch should be.
    pub batch: Span,
    /// An owner that cannot reach r replicas for so long pins with the copies there are.
    pub lonely_pin: Span,
    /// A submit that has no k copies after so long is refused.
    pub submit: Span,
}

impl Timing {
    /// For clusters of thousands of nodes, where a steward may have as many workers (a heartbeat costs each side some 0.1 ms: every
    /// five seconds, ten thousand of them are a fifth of a core) and every member's probes go to hundreds of others. What it costs: a
    /// machine that falls silent is missed after half a minute instead of five seconds (a process that dies, as soon as ever; a silent
    /// machine that nobody shares a job with, after some minutes), a steward's successor grants after as long, and what nodes say of
    /// other nodes' jobs is up to half a minute old.
    pub fn large() -> Self {
        Self {
            beat: Span::secs(5),
            idle_beat: Span::secs(300),
            dead_after: Span::secs(20),
            lease: Span::secs(25),
            lease_worker: Span::secs(20),
            quiet_max: Span::secs(60),
            announce: Span::secs(30),
            ..Self::default()
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            beat: Span::secs(1),
            idle_beat: Span::secs(10),
            dead_after: Span::millis(4_500),
            down_grace: Span::millis(700),
            lease: Span::millis(5_500),
            lease_worker: Span::millis(4_500),
            request: Span::secs(3),
            hedge: Span::millis(100),
            resend: Span::secs(3),
            anti_entropy: Span::secs(5),
            repair: Span::secs(300),
            pack_flush: Span::secs(2),
            pack_flush_attended: Span::millis(100),
            ahead: Span::secs(2),
            quiet_min: Span::millis(20),
            quiet_max: Span::secs(2),
            quiet_parts: Span::millis(2),
            bag_gift: Span::millis(50),
            bag_run: Span::secs(2),
            bag_flush: Span::millis(2),
            lifelines: 16,
            asks: 3,
            announce: Span::secs(2),
            batch: Span::millis(4),
            lonely_pin: Span::secs(8),
            submit: Span::secs(600),
        }
    }
}

/// Planted bugs: each breaks one rule, so that the simulator's checkers can be shown to bite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Mutant {
    AckBeforeFsync,
    AckAtOneCopy,
    CountSelfTwice,
    PinBeforeDisk,
    TwoPinsInFlight,
    OrderByArrival,
    NoLeaseExpiry,
    NoAntiEntropy,
    LastWriterWins,
    ClosureAfterFact,
    OutboxWithoutReplicas,
    WipedStoreCounts,
    DeleteByAbsence,
    StealBothKeep,
    StealNeitherKeeps,
    BudgetChargesQueued,
    DeadlineIgnoresQueued,
    CancelNotRepeated,
    RepairDropsCopy,
    NoSignatureCheck,
    GrantTwice,
    BagBothKeep,
    BagNeitherKeeps,
    LeaseAcrossClocks,
    NoBackOff,
    /// In the store of blobs: what is read is not checked against its hash.
    UncheckedRead,
    /// In the store of blobs: what arrives is not checked, nor what a crash left of a transfer.
    UncheckedTransfer,
    OwnPinsIgnored,
    RottenRowsListed,
    /// In the store of blobs: a start frees what no manifest names.
    ResultsFreed,
}
