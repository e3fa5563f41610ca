//! What nodes say to each other. Every frame is `codec::encode` of one of these, at most `limits::MAX_FRAME` bytes.

use serde::{Deserialize, Serialize};

use crate::bag::TaskRef;
use crate::epoch::Epoch;
use crate::fact::SignedFact;
use crate::ids::{BagId, FactId, JobId, MachineId, NodeId, StoreId};
use crate::limits;
use crate::manifest::SignedManifest;
use crate::ranges::Range;
use crate::result::Content;
use crate::time::Span;

/// Says who a node is, once per connection, in both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its store: beliefs about holdings are keyed by it.
    pub store: StoreId,
    /// Its machine.
    pub machine: MachineId,
    /// Changes with every start of the process.
    pub boot: u64,
    /// For people.
    pub name: String,
    /// Tasks that it runs at once.
    pub slots: u16,
    /// What it can run: `command`, `handler:NAME`, resource names.
    pub offers: Vec<String>,
    /// It takes no new work and keeps no new jobs.
    pub draining: bool,
}

/// Tasks that somebody may run, all at the same attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRun {
    /// First task.
    pub lo: u32,
    /// Tasks.
    pub count: u32,
    /// Attempt number, unique per grant (P13).
    pub attempt: u64,
    /// Times it moved between queues.
    pub hops: u8,
}

impl LeaseRun {
    /// The tasks as a range.
    pub fn range(&self) -> Range {
        Range::new(self.lo, self.lo.saturating_add(self.count))
    }
}

/// A range that a victim gave away and that its steward may not have heard of yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Grows with every gift of this victim for the job.
    pub seq: u64,
    /// To whom.
    pub to: NodeId,
    /// What.
    pub run: LeaseRun,
}

/// A part of a divisible task on its way to somebody who will run it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenBag {
    /// The index of the job that it is a part of.
    pub root: u32,
    /// What it was split off from,
    pub parent: TaskRef,
    /// at which attempt,
    pub parent_attempt: u64,
    /// as its how many-th child, from 0.
    pub number: u32,
    /// Attempt number, unique per execution (P13).
    pub attempt: u64,
    /// Times it moved between queues.
    pub hops: u8,
    /// What is to be done.
    pub bag: Content,
}

impl GivenBag {
    /// Its name.
    pub fn id(&self, job: JobId) -> BagId {
        BagId::of(job, self.parent, self.parent_attempt, self.number, &self.bag)
    }
}

/// A bag that a worker holds, in its heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBag {
    /// The first eight bytes of its id.
    pub prefix: u64,
    /// At which attempt.
    pub attempt: u64,
    /// Times it moved between queues.
    pub hops: u8,
    /// What became of it.
    pub how: Holding,
}

/// What a worker says of a bag that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holding {
    /// Queued, done but not acked, or passed on a moment ago.
    Waits,
    /// It executes (P14).
    Runs,
    /// Passed on to somebody who is gone.
    Gone,
}

/// One job in a heartbeat from a worker to its steward: all that it holds (P8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobBeat {
    /// The job.
    pub job: JobId,
    /// The steward's epoch that the worker knows.
    pub epoch: Epoch,
    /// The highest grant of that epoch that has arrived: younger ones may still be on their way.
    pub seen_grant: u64,
    /// Everything held: queued, executing, or finished but not yet acked by the steward.
    pub held: Vec<LeaseRun>,
    /// The executing ones among them (P14).
    pub running: Vec<Range>,
    /// Gifts that the steward has not acked.
    pub given: Vec<Given>,
    /// Bags held, in the same sense.
    pub bags: Vec<HeldBag>,
}

/// The ledger digest of one job in a heartbeat between its replicas (P10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDigest {
    /// The job.
    pub job: JobId,
    /// Facts held.
    pub facts: u32,
    /// XOR of their ids.
    pub xor: FactId,
    /// Whether manifest and input closure are durably held.
    pub held: bool,
}

/// One job whose steward the receiver is believed to be by a member of R that holds nothing of it (P7). Answered like a `JobBeat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Office {
    /// The job.
    pub job: JobId,
    /// The highest epoch that the sender has heard of.
    pub epoch: Epoch,
}

/// A heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Jobs whose steward the receiver is believed to be.
    pub jobs: Vec<JobBeat>,
    /// Jobs of the same kind of which nothing is held.
    pub offices: Vec<Office>,
    /// Jobs that both keep.
    pub digests: Vec<JobDigest>,
    /// Tasks queued here and not started, of all jobs: what a thief may hope for.
    pub queued: u64,
    /// Slots without work.
    pub idle: u16,
    /// The sender's disk refused something a moment ago: copies that it should have come later.
    pub full: bool,
}

/// The steward's word on one job of a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobBeatAck {
    /// The job.
    pub job: JobId,
    /// Who is the steward: the sender itself or whom it believes to be; none if it does not know the job.
    pub steward: Option<NodeId>,
    /// Its epoch.
    pub epoch: Epoch,
    /// Gifts up to here are known.
    pub given_upto: u64,
    /// Of what was listed, as it was listed: done, cancelled or leased to somebody else. Unstarted ones are to be dropped,
    /// unless they left and came back meanwhile.
    pub revoked: Vec<LeaseRun>,
    /// Bags listed that are done or somebody else's: (prefix, attempt).
    pub revoked_bags: Vec<(u64, u64)>,
    /// Tasks among what was listed that have a result: what still runs of them lost to another attempt, and is to end.
    pub ended: Vec<Range>,
    /// State of the job.
    pub state: JobState,
}

impl JobBeatAck {
    /// Says nothing of what was listed.
    pub fn new(job: JobId, steward: Option<NodeId>, epoch: Epoch, state: JobState) -> Self {
        let (revoked, revoked_bags, ended) = (Vec::new(), Vec::new(), Vec::new());
        Self { job, steward, epoch, given_upto: 0, revoked, revoked_bags, ended, state }
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum JobState {
    /// Tasks are left.
    Active,
    /// Every task succeeded.
    Succeeded,
    /// Every task ended, some failed.
    Failed,
    /// Cancelled; nothing new starts.
    Cancelled,
    /// Deleted.
    Deleted,
}

/// A job in gossip: at most `limits::MAX_SUMMARY` bytes, only ever a hint (P10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The job.
    pub job: JobId,
    /// Who submitted it.
    pub owner: NodeId,
    /// For people.
    pub name: String,
    /// R as far as the sender knows.
    pub replicas: Vec<NodeId>,
    /// The steward.
    pub steward: NodeId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Grows with every summary of this steward and epoch.
    pub seq: u64,
    /// Higher first.
    pub priority: i16,
    /// What a node must offer to run any of it.
    pub needs: Vec<String>,
    /// Tasks in all.
    pub total: u32,
    /// Tasks that succeeded.
    pub succeeded: u32,
    /// Tasks that failed for good.
    pub failed: u32,
    /// Tasks that are leased.
    pub leased: u32,
    /// Tasks that could be granted now.
    pub grantable: u32,
    /// Where it stands.
    pub state: JobState,
    /// Wall clock of its submit, milliseconds since 1970.
    pub created_ms: u64,
}

/// One-way messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Facts to keep. From a worker's outbox, or among replicas.
    Facts(Vec<SignedFact>),
    /// Facts are durable in this store, closures included (P2, P4).
    Stored {
        /// Their job.
        job: JobId,
        /// The store.
        store: StoreId,
        /// Which.
        facts: Vec<FactId>,
    },
    /// Manifest and whole input closure are durable in this store (P3).
    Held {
        /// The job.
        job: JobId,
        /// The store.
        store: StoreId,
        /// The store's machine.
        machine: MachineId,
    },
    /// How far a replica has come with the closure, for "safe to disconnect in ~20 s".
    Fetching {
        /// The job.
        job: JobId,
        /// Bytes held.
        bytes: u64,
    },
    /// Jobs with work, to somebody who may have missed the gossip.
    Announce(Vec<Summary>),
    /// Work for somebody who waits for it (a lifeline) or seems idle.
    Gift {
        /// The job.
        job: JobId,
        /// The steward's epoch that the giver knows.
        epoch: Epoch,
        /// Ranges.
        runs: Vec<LeaseRun>,
        /// Parts of divisible tasks.
        bags: Vec<GivenBag>,
        /// If the receiver may not know it.
        manifest: Option<SignedManifest>,
    },
}

/// Why a node does not do what it was asked (P15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// It is going down.
    #[error("the node is draining")]
    Draining,
    /// Its disk or quota is full.
    #[error("the node has no room: {0}")]
    Full(String),
    /// It does not know the job.
    #[error("the node does not know the job")]
    UnknownJob,
    /// It has no table space left.
    #[error("the node is at its limit of {0}")]
    Limit(String),
    /// The request was malformed or not permitted.
    #[error("refused: {0}")]
    Invalid(String),
}

/// Requests. Each has an id and a time limit of the core's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Introduces the sender.
    Hello(Hello),
    /// Heartbeat.
    Beat(Beat),
    /// An idle slot asks the steward for up to `want` tasks.
    Claim {
        /// The job.
        job: JobId,
        /// Tasks wanted.
        want: u32,
        /// Slots of the sender without work: only for these it gets a copy of what straggles elsewhere.
        idle: u16,
        /// The sender does not have the manifest yet.
        need_manifest: bool,
    },
    /// An idle slot asks a peer for up to `want` of its unstarted tasks.
    Steal {
        /// The job.
        job: JobId,
        /// Tasks wanted.
        want: u32,
        /// Slots of the sender without work: only for these may a victim give its last task away.
        idle: u16,
        /// How long the inputs of a task take to come to the sender; zero if they are there. It is only worth moving what would wait
        /// longer than that.
        wait: Span,
    },
    /// Please keep this job.
    Replicate(SignedManifest),
    /// The manifest, please.
    Manifest(JobId),
    /// Anti-entropy (P10): which facts are there that the sender lacks?
    Digest {
        /// The job.
        job: JobId,
        /// Buckets of the sender's fact ids, by the first bits of an id: a power of two of them between `limits::MIN_BUCKET_BITS` and
        /// `limits::MAX_BUCKET_BITS`, more for more facts. Of each, eight bytes of the XOR of the ids in it.
        buckets: Vec<u64>,
        /// The first bucket that is asked for: the ones before it were answered already.
        from: u16,
        /// The sender keeps the job; else it only reads along.
        keeps: bool,
    },
    /// These facts, please.
    GetFacts {
        /// The job.
        job: JobId,
        /// Which.
        facts: Vec<FactId>,
    },
    /// Cancel or delete a job on behalf of a client of the sender.
    Revoke {
        /// The job.
        job: JobId,
        /// Delete, not only cancel.
        delete: bool,
    },
}

/// Answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To `Hello`.
    Hello(Hello),
    /// To `Beat`.
    Beat {
        /// One entry per job listed.
        jobs: Vec<JobBeatAck>,
        /// The own digests of the jobs whose digests came.
        digests: Vec<JobDigest>,
    },
    /// To `Claim`: tasks.
    Grant {
        /// The steward's epoch.
        epoch: Epoch,
        /// Numbers the grants of this epoch to this worker.
        grant: u64,
        /// What.
        runs: Vec<LeaseRun>,
        /// Parts of divisible tasks.
        bags: Vec<GivenBag>,
        /// If it was asked for.
        manifest: Option<SignedManifest>,
    },
    /// To `Claim`: nothing to grant now.
    Nothing {
        /// Whom to ask instead, if the receiver is not the steward.
        steward: NodeId,
        /// Nodes with unstarted tasks of this job, most first.
        victims: Vec<(NodeId, u32)>,
        /// Where the job stands.
        state: JobState,
    },
    /// To `Steal`: tasks, none if there were none to spare.
    Stolen {
        /// The steward's epoch that the victim knows.
        epoch: Epoch,
        /// What.
        runs: Vec<LeaseRun>,
        /// Parts of divisible tasks.
        bags: Vec<GivenBag>,
        /// The job's manifest if there is anything: a thief may not know it.
        manifest: Option<SignedManifest>,
    },
    /// To `Steal`: nothing now; the sender is remembered, and work is pushed to it once there is some (a lifeline).
    Waiting,
    /// To `Replicate`: it will say `Message::Held` when it does.
    Replicating,
    /// To `Manifest`.
    Manifest(SignedManifest),
    /// To `Digest`: all ids of the buckets that differ, as many buckets as fit a frame.
    FactIds {
        /// The buckets that are covered in full.
        buckets: Vec<u16>,
        /// The ids in them.
        facts: Vec<FactId>,
        /// Whether more buckets differ, behind these.
        more: bool,
    },
    /// To `GetFacts`: those that are here, as many as fit a frame.
    Facts(Vec<SignedFact>),
    /// To `Revoke`.
    Done,
    /// To anything.
    Refused(Refusal),
}

/// The largest frame of any kind.
pub const FRAME: usize = limits::MAX_FRAME;
