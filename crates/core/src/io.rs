//! The core's contract with whatever drives it: all that goes in, all that comes out.

use std::sync::Arc;

use filch_types::fact::PinRun;
use filch_types::manifest::{ManifestError, SignedManifest};
use filch_types::ranges::Range;
use filch_types::record::Record;
use filch_types::time::Span;
use filch_types::wire::{Message, Refusal, Request, Response, Summary};
use filch_types::{
    BagId, BlobId, Cause, Content, Epoch, FactId, JobId, JobSpec, Manifest, NodeId, Nonce, ResultRun, SignedFact,
    StoreId,
};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);
    };
}
number!(
    /// A request of the core to a peer. Chosen by the core.
    ReqId
);
number!(
    /// A request of a peer to the core. Chosen by the driver, answered exactly once with `Output::Respond` or
    /// `Output::RespondFacts`.
    Token
);
number!(
    /// A group of records on its way to the disk. Chosen by the core.
    Ticket
);
number!(
    /// A batch of tasks in execution. Chosen by the core.
    LaunchId
);
number!(
    /// A call to split a running bag. Chosen by the core, answered exactly once with `Input::Split`.
    AskId
);
number!(
    /// A set of blobs to be fetched. Chosen by the core.
    FetchId
);
number!(
    /// A call of a local client. Chosen by the driver, answered exactly once with `Output::Reply`, except `Watch`.
    ClientId
);

/// Everything that can happen to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// The first connection to a member is up, its membership proved.
    PeerUp(NodeId),
    /// The last connection to it is gone.
    PeerDown(NodeId),
    /// A one-way message.
    Message(NodeId, Message),
    /// A request; the driver waits for the answer under this token.
    Request(NodeId, Token, Request),
    /// The answer to a request of this node.
    Response(ReqId, Response),
    /// A request of this node failed: no connection, no answer, a malformed one.
    RequestFailed(ReqId),
    /// A gossiped summary. Untrusted.
    Gossip(Summary),

    /// These records are durable.
    Committed(Ticket),
    /// They are not and never will be: the disk is full (P2). Anything worse ends the process instead.
    CommitFailed(Ticket, String),
    /// The whole input closure of the job is durably held here.
    ClosureHeld(JobId),
    /// It could not be had now: no provider, disk full. The core tries again later.
    ClosureFailed(JobId, String),
    /// Progress of `FetchClosure`, bytes held.
    ClosureProgress(JobId, u64),
    /// A blob of the job's inputs was found missing or damaged: this node is no holder until it is fetched again.
    ClosureLost(JobId),
    /// Blobs that these facts of the job name were found missing or damaged: which, with lengths. May be said again.
    ResultsLost(JobId, Vec<(FactId, Vec<(BlobId, u64)>)>),
    /// Rows of this job in the ledger did not match their check and are dropped: the core compares what it knows with what is left.
    RowsLost(JobId),
    /// The answer to `Output::ReadFacts`.
    FactsRead(JobId, Vec<(FactId, SignedFact)>),
    /// The own disk had no room for a blob: for a while nothing more is asked for, and others are told.
    DiskFull,
    /// All blobs of the fetch are durably held.
    Fetched(FetchId),
    /// They could not be had now.
    FetchFailed(FetchId, String),

    /// A launch waits for inputs that are on their way: nothing of it executes before `Staged`. Not said of launches that can
    /// begin at once.
    Staging(LaunchId),
    /// The inputs of a launch that waited are here.
    Staged(LaunchId),
    /// The answer to `Output::FetchAhead`: the inputs are here, or cannot be had now.
    FetchedAhead {
        /// The job.
        job: JobId,
        /// The tasks.
        tasks: Range,
        /// Whether they are.
        here: bool,
    },
    /// Tasks of a launch ended, in order. Their output blobs are in the store, not necessarily synced.
    Finished {
        /// The launch.
        launch: LaunchId,
        /// Results, consecutive from where the last ones ended.
        runs: Vec<ResultRun>,
    },
    /// The answer to `Output::Split`. With a bag only before the launch's end is reported; the bag's bytes are in the store if it
    /// is `Content::Blob`, not necessarily synced.
    Split {
        /// The launch.
        launch: LaunchId,
        /// The call.
        ask: AskId,
        /// What was split off; `None` if there was too little, or the launch does not run.
        bag: Option<Content>,
    },
    /// By its estimate, what this divisible launch has left is done within a few round trips. Said once, if at all.
    EndsSoon(LaunchId),
    /// A divisible launch ended: everything was processed or given away, or it was told to stop there.
    Bag {
        /// The launch.
        launch: LaunchId,
        /// What was counted in it.
        tally: Vec<u64>,
        /// What is left after `Output::Checkpoint`; in the store if it is `Content::Blob`.
        rest: Option<Content>,
        /// Microseconds that it took.
        wall_us: u64,
    },
    /// A divisible launch failed, by its own fault.
    BagFailed {
        /// The launch.
        launch: LaunchId,
        /// Why.
        cause: Cause,
        /// For people.
        text: String,
    },
    /// Tasks of a launch that were not executed or whose execution does not count: node's fault, not theirs.
    Bounced {
        /// The launch.
        launch: LaunchId,
        /// Which.
        tasks: Range,
        /// For people: input unavailable, disk full, spawn failed.
        why: String,
    },

    /// A client submits a job. Input blobs are in the local store already.
    Submit {
        /// The call.
        client: ClientId,
        /// Chosen by the client; a repeated one is the same job.
        nonce: Nonce,
        /// Wall clock, milliseconds since 1970.
        now_ms: u64,
        /// The job.
        spec: Box<JobSpec>,
        /// Copies wanted; `None` for min(3, live peers + 1).
        copies: Option<u8>,
    },
    /// A client cancels (or deletes) a job.
    Revoke {
        /// The call.
        client: ClientId,
        /// The job.
        job: JobId,
        /// Delete, not only cancel.
        delete: bool,
    },
    /// A client reads a job that this node may not keep: become an observer and sync its facts until told otherwise.
    Watch(JobId),
    /// Takes no new work, gives back what has not started; then ends with `Output::Drained`.
    Drain,
}

/// How a peer's blob can be had.
pub type Providers = Vec<NodeId>;

/// Everything that a node wants done. Classes: net, disk, blob, exec, client.
#[derive(Clone, Debug)]
pub enum Output {
    /// Net: one-way, best effort; the core repeats what matters.
    Send(NodeId, Message),
    /// Net: answer with `Input::Response` or `Input::RequestFailed`. The core has its own time limit.
    Request(NodeId, ReqId, Request),
    /// Net: the answer to a peer's request.
    Respond(Token, Response),
    /// Net: `Response::Facts` with these facts, read from the ledger, as many as fit `limits::FRAME_BUDGET`.
    RespondFacts(Token, JobId, Vec<FactId>),
    /// Net: `Message::Facts` with these facts, read from the ledger, in as many frames as it takes.
    SendFacts(NodeId, JobId, Vec<FactId>),
    /// Net: gossip.
    Publish(Summary),

    /// Disk: make these blobs durable, then these records, then answer. Tickets commit in order.
    Commit {
        /// Its name.
        ticket: Ticket,
        /// Blobs to sync first (P1).
        blobs: Vec<BlobId>,
        /// Records, all or nothing.
        records: Vec<Record>,
    },
    /// Disk: read all facts of the job, as the ledger has them after everything that was committed so far; answered with `Input::FactsRead`.
    ReadFacts(JobId),
    /// Blob: have the whole input closure of this job here, durably: item lists, the inputs that they name, group inputs.
    FetchClosure {
        /// The job.
        job: JobId,
        /// What it needs.
        manifest: Arc<Manifest>,
        /// Who may have it, best first.
        from: Providers,
    },
    /// Blob: have these here, durably.
    FetchBlobs {
        /// Its name.
        fetch: FetchId,
        /// For which job: they are kept as long as it is.
        job: JobId,
        /// Which, with lengths.
        blobs: Vec<(BlobId, u64)>,
        /// Who may have them, best first.
        from: Providers,
    },
    /// Blob: the job is gone, its blobs may go if no other job needs them.
    Release(JobId),

    /// Exec: run these tasks one after another in this slot.
    Launch(Launch),
    /// Exec: end this launch: TERM, grace, KILL; tasks of it that have not started must not start. What was ended comes back
    /// as `Bounced`.
    Stop(LaunchId),
    /// Blobs: inputs of these tasks, which are queued here and will begin soon, are not here as far as the core knows. They may still go to
    /// another node. Answered with `Input::FetchedAhead`.
    FetchAhead {
        /// The job.
        job: JobId,
        /// Its manifest.
        manifest: Arc<Manifest>,
        /// Tasks of one group.
        tasks: Range,
        /// Who may have the inputs, best first.
        from: Vec<NodeId>,
    },
    /// Exec: split something off this divisible launch; answered with `Input::Split`.
    Split {
        /// The launch.
        launch: LaunchId,
        /// The call.
        ask: AskId,
        /// What is split off must be worth so much time in this slot: never crumbs.
        least: Span,
    },
    /// Exec: end this divisible launch where it is; answered with `Input::Bag` (or ignored, if it has just ended).
    Checkpoint(LaunchId),

    /// Client: the answer to a call.
    Reply(ClientId, Reply),
    /// Client: something a person may want to know.
    Event(Event),
    /// Drained: nothing runs, everything is handed over. The process may end.
    Drained,
}

/// A batch of tasks for one slot.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its name.
    pub id: LaunchId,
    /// The job.
    pub job: JobId,
    /// What to run.
    pub manifest: Arc<Manifest>,
    /// Consecutive tasks of one group.
    pub tasks: Range,
    /// Their attempt number.
    pub attempt: u64,
    /// The slot, from 0.
    pub slot: u16,
    /// Who may have the inputs, best first; the own store comes before.
    pub from: Providers,
    /// What to do of a divisible task: `tasks` is the one index that it is a part of.
    pub bag: Option<Part>,
}

/// A part of a divisible task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub id: BagId,
    /// Its bytes: fetched like an input if they are a blob.
    pub bag: Content,
}

/// Answers to clients.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The job is known here; `Event::Copies` tells when it is accepted. Comes before any copy exists.
    Submitted(JobId),
    /// The job is accepted: so many copies, at these nodes.
    Accepted {
        /// The job.
        job: JobId,
        /// Its holders.
        holders: Vec<NodeId>,
    },
    /// Cancelled or deleted, durably here.
    Revoked(JobId),
    /// No.
    Refused(ClientError),
}

/// Why a client's call fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The job breaks a rule.
    #[error(transparent)]
    Spec(#[from] ManifestError),
    /// No such job here or at anybody reachable.
    #[error("no such job")]
    UnknownJob,
    /// Not enough copies could be made in time; nothing was lost, the same nonce continues.
    #[error("only {have} of {want} copies could be made: {why}")]
    Copies {
        /// Copies there are.
        have: u8,
        /// Copies wanted.
        want: u8,
        /// What stood in the way.
        why: String,
    },
    /// A node said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The disk is full.
    #[error("the local disk is full: {0}")]
    DiskFull(String),
    /// Nobody who could do it answered.
    #[error("no node that keeps the job answered")]
    Unreachable,
}

/// What happened, for the event stream, delivery and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A member said hello for the first time since it came up.
    PeerJoined(NodeId),
    /// A member is believed dead or gone.
    PeerLost(NodeId),
    /// A job became known here.
    JobKnown(JobId),
    /// Copies of a job's manifest and closure known here: (node, store).
    Copies(JobId, Vec<(NodeId, StoreId)>),
    /// This node became the steward, in this epoch.
    Steward(JobId, Epoch),
    /// Tasks were granted by this steward.
    Granted {
        /// The job.
        job: JobId,
        /// To whom.
        to: NodeId,
        /// Tasks.
        tasks: u32,
    },
    /// This steward gave a copy of what straggles, so that two attempts run at once: the first to succeed wins.
    Copied {
        /// The job.
        job: JobId,
        /// To whom.
        to: NodeId,
        /// Which tasks: a launch, less what of it has ended.
        tasks: Range,
        /// At which attempt.
        attempt: u64,
    },
    /// This node stole tasks.
    Stole {
        /// The job.
        job: JobId,
        /// From whom.
        from: NodeId,
        /// Tasks.
        tasks: u32,
    },
    /// This steward took tasks back from a node that went silent or away.
    Reclaimed {
        /// The job.
        job: JobId,
        /// From whom.
        from: NodeId,
        /// Tasks that had not been executing.
        queued: u32,
        /// Tasks that had been.
        executing: u32,
    },
    /// Winners changed or appeared in this store; not final yet.
    Results(JobId, Vec<Range>),
    /// These winners are final; on the owner, their files may be delivered (P6): it made the pin, or, having forgotten it, heard of it again.
    Final(JobId, Vec<PinRun>),
    /// The job reached another state.
    State(JobId, filch_types::wire::JobState),
    /// The bytes of so many packs were damaged here and nobody had them: their tasks run again.
    ResultsLost {
        /// The job.
        job: JobId,
        /// Packs.
        packs: u32,
    },
    /// Tasks could not be executed here and went back.
    Bounced {
        /// The job.
        job: JobId,
        /// Which.
        tasks: Range,
        /// Why.
        why: String,
    },
    /// A peer sent something that breaks a rule; it was dropped.
    Rejected(NodeId, String),
}

/// The next time something is due, and what: "why does it wake up?" must always have an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    /// When.
    pub at: filch_types::Timestamp,
    /// What.
    pub reason: &'static str,
}

/// A signed manifest that was checked, kept with its decoded form.
#[derive(Clone, Debug)]
pub struct KnownManifest {
    /// Its name.
    pub job: JobId,
    /// Exact bytes.
    pub signed: Arc<SignedManifest>,
    /// Decoded.
    pub manifest: Arc<Manifest>,
}
