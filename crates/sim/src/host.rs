//! One simulated machine: a real core node, its clock, disk, blobs, slots and the ends of its connections.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use filch_core::{Input, Launch, LaunchId, Node};
use filch_types::{BlobId, JobId, MachineId, NodeId, Outcome, ResultRun, StoreId};

use crate::clock::Clock;
use crate::disk::Disk;
use crate::options::NodeOptions;
use crate::shelf::{Print, Shelf};

/// Why a node gets no input for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paused {
    /// Its tasks stand still too.
    pub suspend: bool,
}

/// A task that runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// Which.
    pub index: u32,
    /// Whether it will fail.
    pub fails: bool,
    /// What a handler computed; absent where only the model runs.
    pub outcome: Option<Outcome>,
}

/// A launch in a slot.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What the core said.
    pub launch: Launch,
    /// The next task that has not started.
    pub next: u32,
    /// The one that runs.
    pub running: Option<Running>,
    /// Results not yet reported.
    pub done: Vec<ResultRun>,
    /// When results were last reported.
    pub reported: u64,
    /// Names the step that the slot waits for; older ones are void.
    pub step: u64,
    /// It was told to stop.
    pub stopping: bool,
    /// Its first task cannot be started.
    pub dud: bool,
    /// The input bytes that its tasks read: a copy of their own, made before the first of them starts.
    pub inputs: Vec<(BlobId, Print)>,
}

/// One slot: the launch that runs and those that wait behind it.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    /// Runs.
    pub now: Option<Batch>,
    /// Wait.
    pub queue: VecDeque<Launch>,
}

/// What a fetch is for.
#[derive(Clone, Debug)]
pub enum FetchFor {
    /// `Output::FetchClosure`.
    Closure(JobId),
    /// `Output::FetchBlobs`.
    Blobs(filch_core::FetchId),
    /// Inputs of a launch in this slot.
    Launch(u16, LaunchId),
    /// `Output::FetchAhead`.
    Ahead(filch_types::ranges::Range),
}

/// Blobs on their way here.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Why.
    pub what: FetchFor,
    /// For which job.
    pub job: JobId,
    /// All that was asked for.
    pub all: Vec<filch_types::BlobId>,
    /// What is still missing.
    pub missing: Vec<(filch_types::BlobId, u64)>,
    /// Who may have it.
    pub from: Vec<NodeId>,
    /// Under way: from whom, and which of `missing`.
    pub step: Option<(usize, Vec<(filch_types::BlobId, u64)>)>,
    /// Steps taken; a fetch that goes nowhere ends.
    pub steps: u32,
    /// Who sent bytes that did not match: not asked again.
    pub liars: BTreeSet<usize>,
}

/// Connections to one peer that are up at this end. Nearly always it is one, which needs no memory of its own.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    newest: Option<u64>,
    /// The others, the oldest first.
    older: Vec<u64>,
}

impl Ends {
    /// One more is up.
    pub fn insert(&mut self, conn: u64) {
        if self.contains(conn) {
            return;
        }
        self.older.extend(self.newest.take());
        self.older.push(conn);
        self.older.sort_unstable();
        self.newest = self.older.pop();
    }
    /// It is down; false if it was not up.
    pub fn remove(&mut self, conn: u64) -> bool {
        if self.newest == Some(conn) {
            self.newest = self.older.pop();
            return true;
        }
        let before = self.older.len();
        self.older.retain(|c| *c != conn);
        self.older.len() < before
    }
    /// Whether it is up.
    pub fn contains(&self, conn: u64) -> bool {
        self.newest == Some(conn) || self.older.contains(&conn)
    }
    /// The oldest first.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.older.iter().copied().chain(self.newest)
    }
    /// The one that was made last.
    pub fn newest(&self) -> Option<u64> {
        self.newest
    }
    /// Whether there are others besides the newest one.
    pub fn several(&self) -> bool {
        !self.older.is_empty()
    }
    /// Whether none is up.
    pub fn is_empty(&self) -> bool {
        self.newest.is_none()
    }
}

/// One machine.
pub struct Host {
    /// Who.
    pub id: NodeId,
    /// As drawn.
    pub options: NodeOptions,
    /// Its machine.
    pub machine: MachineId,
    /// Its present store.
    pub store: StoreId,
    /// Starts on this store.
    pub boot: u64,
    /// Starts in all: events of an older life are void.
    pub life: u32,
    /// The core, while it is up.
    pub node: Option<Node>,
    /// It gets no input.
    pub paused: Option<Paused>,
    /// What waits for the end of the pause.
    pub backlog: VecDeque<Input>,
    /// It left for good.
    pub frozen: bool,
    /// It was told to drain in this life.
    pub draining: bool,
    /// Its clock.
    pub clock: Clock,
    /// World time of the earliest timer event in the queue.
    pub armed: Option<u64>,
    /// Timer events without any progress of the clock.
    pub spins: u32,
    /// Its ledger.
    pub disk: Disk,
    /// Its blobs.
    pub shelf: Shelf,
    /// Its slots.
    pub slots: Vec<Slot>,
    /// While positive, nothing can be started.
    pub sick: u32,
    /// Fetches under way, by a number of their own.
    pub fetches: BTreeMap<u64, Fetch>,
    /// Connections that are up at this end, by peer.
    pub ends: BTreeMap<usize, Ends>,
    /// Whom it should be connected to where that is not everybody.
    pub contacts: BTreeSet<usize>,
    /// Jobs whose bytes rotted and that nobody has noticed yet.
    pub rotten: BTreeSet<JobId>,
    /// Facts on its disk whose blobs rotted there, ever.
    pub decayed: BTreeSet<filch_types::FactId>,
    /// Facts on its disk whose rows rotted there, ever.
    pub perished: BTreeSet<filch_types::FactId>,
    /// Those of them that were dropped, and the core has not read what is left.
    pub untold: BTreeMap<JobId, BTreeSet<filch_types::FactId>>,
}

impl Host {
    /// Whether the core runs (paused or not).
    pub fn is_up(&self) -> bool {
        self.node.is_some()
    }
    /// Whether the row of a fact, or bytes that it names, ever rotted here.
    pub fn lost(&self, fact: &filch_types::FactId) -> bool {
        self.decayed.contains(fact) || self.perished.contains(fact)
    }
    /// Whether the fact is on this disk, or was until it rotted.
    pub fn ever_had(&self, job: JobId, fact: &filch_types::FactId) -> bool {
        self.lost(fact) || self.disk.image.has_fact(job, fact)
    }
    /// Whether tasks stand still.
    pub fn suspended(&self) -> bool {
        self.paused.is_some_and(|p| p.suspend)
    }
    /// Whether blobs that facts of a job name are on their way here.
    pub fn fetches_facts(&self, job: JobId) -> bool {
        self.fetches.values().any(|f| f.job == job && matches!(f.what, FetchFor::Blobs(_)))
    }
    /// Launches in its slots, running or waiting.
    pub fn launches(&self) -> usize {
        self.slots.iter().map(|s| s.queue.len() + usize::from(s.now.is_some())).sum()
    }
}
