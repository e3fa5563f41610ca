//! Faults: what can be done to a cluster, each with its own parameters, so that a run can be repeated without one of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a disk looks like when its node comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskAfter {
    /// As the crash left it.
    Kept,
    /// Empty, with a new store id.
    Wiped,
    /// An older image of itself, under the same store id.
    RolledBack,
}

/// One fault. Nodes are numbered from 0; times are microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// `kill -9`, or the power goes: then nobody hears of it until time limits pass.
    Crash {
        /// Who.
        node: usize,
        /// Time until it starts again.
        down_us: u64,
        /// With which disk.
        disk: DiskAfter,
        /// The machine went, not only the process.
        power: bool,
    },
    /// SIGSTOP: no input for a while, then all at once. With `suspend` its tasks stop too (a closed lid).
    Pause {
        /// Who.
        node: usize,
        /// For how long.
        for_us: u64,
        /// Its tasks stop too.
        suspend: bool,
    },
    /// Nothing passes between these nodes and the rest; one way only, if so: from them to the rest.
    Cut {
        /// One side.
        side: Vec<usize>,
        /// Only from the side to the rest.
        one_way: bool,
        /// For how long.
        for_us: u64,
    },
    /// Nothing passes between these nodes and those; whoever is on neither side reaches both.
    Split {
        /// One side.
        side: Vec<usize>,
        /// The other.
        from: Vec<usize>,
        /// For how long.
        for_us: u64,
    },
    /// Messages between two nodes take so much longer.
    Clog {
        /// One.
        a: usize,
        /// The other.
        b: usize,
        /// More latency, one way.
        extra_us: u64,
        /// For how long.
        for_us: u64,
    },
    /// The link layer drops this share of all messages, in millionths.
    Loss {
        /// Share.
        ppm: u32,
        /// For how long.
        for_us: u64,
    },
    /// Commits and blobs are refused for lack of room.
    DiskFull {
        /// Who.
        node: usize,
        /// For how long.
        for_us: u64,
    },
    /// Commits take so many times as long.
    DiskSlow {
        /// Who.
        node: usize,
        /// Times.
        factor: u32,
        /// For how long.
        for_us: u64,
    },
    /// An input blob of some job is damaged.
    BitRot {
        /// Where.
        node: usize,
    },
    /// A row of the ledger is damaged: a fact that another node has too, or that nobody was promised.
    RowRot {
        /// Where.
        node: usize,
    },
    /// The node's clock jumps ahead.
    ClockJump {
        /// Whose.
        node: usize,
        /// By how much.
        by_us: u64,
    },
    /// An orderly end, and a start later if `back_us` says so.
    Drain {
        /// Who.
        node: usize,
        /// Time from its end to its next start.
        back_us: Option<u64>,
    },
    /// The executor cannot start anything.
    Sick {
        /// Where.
        node: usize,
        /// For how long.
        for_us: u64,
    },
    /// Somebody sends this node a result under a name that is not his, with a signature that does not fit.
    Forge {
        /// To whom.
        node: usize,
    },
    /// The node goes and stays away, its disk with it.
    Leave {
        /// Who.
        node: usize,
    },
}

/// Classes of faults, to leave whole classes out of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Class {
    Crash,
    Wipe,
    RollBack,
    Pause,
    Cut,
    Clog,
    Loss,
    Disk,
    BitRot,
    Clock,
    Drain,
    Sick,
    Leave,
    Forge,
    RowRot,
}

/// Those that a swarm is drawn from.
pub const CLASSES: [Class; 14] = [
    Class::Crash,
    Class::Wipe,
    Class::RollBack,
    Class::Pause,
    Class::Cut,
    Class::Clog,
    Class::Loss,
    Class::Disk,
    Class::BitRot,
    Class::Clock,
    Class::Drain,
    Class::Sick,
    Class::Leave,
    Class::Forge,
];

impl Class {
    /// Its name in a table.
    pub fn name(self) -> &'static str {
        match self {
            Class::Crash => "crash",
            Class::Wipe => "wipe",
            Class::RollBack => "roll-back",
            Class::Pause => "pause",
            Class::Cut => "cut",
            Class::Clog => "clog",
            Class::Loss => "loss",
            Class::Disk => "disk",
            Class::BitRot => "bit-rot",
            Class::RowRot => "row-rot",
            Class::Clock => "clock",
            Class::Drain => "drain",
            Class::Sick => "sick",
            Class::Leave => "leave",
            Class::Forge => "forge",
        }
    }
}

/// Microseconds.
pub(crate) fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Longer than any run: 17 years, in microseconds.
const FOR_GOOD_US: u64 = 1 << 49;

/// Those that a test wants most. Every field can be said where they are not enough.
impl Fault {
    /// `kill -9`: a start with the disk as it was after `down`.
    pub fn crash(node: usize, down: Duration) -> Self {
        Fault::Crash { node, down_us: us(down), disk: DiskAfter::Kept, power: false }
    }
    /// The power goes, and nobody is told: peers notice by silence.
    pub fn power_loss(node: usize, down: Duration) -> Self {
        Fault::Crash { node, down_us: us(down), disk: DiskAfter::Kept, power: true }
    }
    /// A crash after which the disk is empty.
    pub fn wipe(node: usize, down: Duration) -> Self {
        Fault::Crash { node, down_us: us(down), disk: DiskAfter::Wiped, power: false }
    }
    /// SIGSTOP and SIGCONT of the node; its tasks go on.
    pub fn pause(node: usize, time: Duration) -> Self {
        Fault::Pause { node, for_us: us(time), suspend: false }
    }
    /// A closed lid: node and tasks stand still.
    pub fn suspend(node: usize, time: Duration) -> Self {
        Fault::Pause { node, for_us: us(time), suspend: true }
    }
    /// Nothing passes between these nodes and the others.
    pub fn cut(side: impl IntoIterator<Item = usize>, time: Duration) -> Self {
        Fault::Cut { side: side.into_iter().collect(), one_way: false, for_us: us(time) }
    }
    /// So many of a hundred messages are lost or late.
    pub fn loss(percent: u32, time: Duration) -> Self {
        Fault::Loss { ppm: percent.saturating_mul(10_000), for_us: us(time) }
    }
    /// No room on the disk.
    pub fn disk_full(node: usize, time: Duration) -> Self {
        Fault::DiskFull { node, for_us: us(time) }
    }
    /// An orderly end, and a start so long after it.
    pub fn drain(node: usize, back: Duration) -> Self {
        Fault::Drain { node, back_us: Some(us(back)) }
    }
    /// `kill -9`, and nobody ever starts it again.
    pub fn kill(node: usize) -> Self {
        Fault::Crash { node, down_us: FOR_GOOD_US, disk: DiskAfter::Kept, power: false }
    }
    /// Whether it is a [`kill`](Self::kill).
    pub(crate) fn is_for_good(&self) -> bool {
        matches!(self, Fault::Crash { down_us, .. } if *down_us >= FOR_GOOD_US)
    }
}

impl Fault {
    /// Its class.
    pub fn class(&self) -> Class {
        match self {
            Fault::Crash { disk: DiskAfter::Kept, .. } => Class::Crash,
            Fault::Crash { disk: DiskAfter::Wiped, .. } => Class::Wipe,
            Fault::Crash { disk: DiskAfter::RolledBack, .. } => Class::RollBack,
            Fault::Pause { .. } => Class::Pause,
            Fault::Cut { .. } | Fault::Split { .. } => Class::Cut,
            Fault::Clog { .. } => Class::Clog,
            Fault::Loss { .. } => Class::Loss,
            Fault::DiskFull { .. } | Fault::DiskSlow { .. } => Class::Disk,
            Fault::BitRot { .. } => Class::BitRot,
            Fault::RowRot { .. } => Class::RowRot,
            Fault::ClockJump { .. } => Class::Clock,
            Fault::Drain { .. } => Class::Drain,
            Fault::Sick { .. } => Class::Sick,
            Fault::Leave { .. } => Class::Leave,
            Fault::Forge { .. } => Class::Forge,
        }
    }
    /// The node that it is about, if it is about one.
    pub fn node(&self) -> Option<usize> {
        match self {
            Fault::Crash { node, .. }
            | Fault::Pause { node, .. }
            | Fault::DiskFull { node, .. }
            | Fault::DiskSlow { node, .. }
            | Fault::BitRot { node }
            | Fault::RowRot { node }
            | Fault::ClockJump { node, .. }
            | Fault::Drain { node, .. }
            | Fault::Sick { node, .. }
            | Fault::Forge { node }
            | Fault::Leave { node } => Some(*node),
            Fault::Cut { .. } | Fault::Split { .. } | Fault::Clog { .. } | Fault::Loss { .. } => None,
        }
    }
}

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// Microseconds from the start.
    pub at: u64,
    /// What.
    pub fault: Fault,
}
