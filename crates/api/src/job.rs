//! Jobs: submit, list, look at, end.

use filch_types::wire::JobState as WireState;
use filch_types::{JobId, NodeId, Nonce};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{JobSpec, NodeRef, Problem, TaskCause};

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
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

impl JobState {
    /// Whether nothing more will start.
    pub fn is_over(self) -> bool {
        self != JobState::Active
    }
    /// As it is written in JSON and on a terminal.
    pub fn word(self) -> &'static str {
        match self {
            JobState::Active => "active",
            JobState::Succeeded => "succeeded",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
            JobState::Deleted => "deleted",
        }
    }
}

impl From<WireState> for JobState {
    fn from(state: WireState) -> Self {
        match state {
            WireState::Active => JobState::Active,
            WireState::Succeeded => JobState::Succeeded,
            WireState::Failed => JobState::Failed,
            WireState::Cancelled => JobState::Cancelled,
            WireState::Deleted => JobState::Deleted,
        }
    }
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for another group.
    Waiting,
    /// Could be granted.
    Queued,
    /// Granted to a node: queued there, executing, or on its way back.
    Leased,
    /// Executes on the node that answers; elsewhere a running task shows as `leased`.
    Running,
    /// Ended well.
    Succeeded,
    /// Failed for good.
    Failed,
    /// Will never run.
    Cancelled,
}

impl TaskState {
    /// As it is written in JSON and on a terminal.
    pub fn word(self) -> &'static str {
        match self {
            TaskState::Waiting => "waiting",
            TaskState::Queued => "queued",
            TaskState::Leased => "leased",
            TaskState::Running => "running",
            TaskState::Succeeded => "succeeded",
            TaskState::Failed => "failed",
            TaskState::Cancelled => "cancelled",
        }
    }
}

/// What a job's tasks are doing. `waiting + queued + leased + succeeded + failed + cancelled = total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// All.
    pub total: u64,
    /// Wait for another group.
    pub waiting: u64,
    /// Could be granted.
    pub queued: u64,
    /// Granted to a node.
    pub leased: u64,
    /// Succeeded.
    pub succeeded: u64,
    /// Failed for good.
    pub failed: u64,
    /// Will never run.
    pub cancelled: u64,
    /// Pinned by the owner: these no longer change.
    #[serde(rename = "final")]
    pub finals: u64,
}

impl Counts {
    /// Tasks that ended.
    pub fn done(&self) -> u64 {
        self.succeeded.saturating_add(self.failed).saturating_add(self.cancelled)
    }
}

/// How a node keeps a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It was submitted here.
    Owner,
    /// One of its copies is here.
    Replica,
    /// Reads along for a client.
    Observer,
    /// Knows it from others, or runs tasks of it.
    Hearsay,
}

/// The body of `POST /v1/jobs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// The idempotency key, 32 random hex digits that the client keeps before the first send: the same nonce with the same job is
    /// the same job, however often it comes; with another job it is refused (`nonce_reused`).
    #[serde(with = "crate::hex")]
    #[schema(value_type = String)]
    pub nonce: Nonce,
    /// What to do. Every blob that it names, and every blob that its item lists name, is in the local store already.
    pub spec: JobSpec,
    /// Absolute path of an existing directory that output files are written into as soon as they are final. Absent: nothing
    /// is written; `POST …/fetch` can do it later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_to: Option<String>,
    /// Copies to make before the job counts as accepted, 1 to 8. Absent: min(3, live members).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<u8>,
}

/// A line of the answer to `POST /v1/jobs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubmitLine {
    /// First: the job has this id and may already run, but only this node has it.
    Submitted {
        /// Its id.
        #[serde(with = "crate::hex")]
        #[schema(value_type = String)]
        job: JobId,
        /// The nonce was known: nothing new was made.
        #[serde(default)]
        known: bool,
    },
    /// How far the copies are; on change, at most ten a second, at least once a second.
    Copies {
        /// Complete copies.
        have: u8,
        /// Copies wanted.
        want: u8,
        /// Who has one.
        holders: Vec<NodeRef>,
        /// Bytes that copies in the making still lack.
        missing_bytes: u64,
        /// Milliseconds that this will take at the present rate, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        eta_ms: Option<u64>,
    },
    /// Last: so many nodes hold the job durably. The client may go.
    Accepted {
        /// Its id.
        #[serde(with = "crate::hex")]
        #[schema(value_type = String)]
        job: JobId,
        /// Who holds a copy; as many losses less one are survived.
        holders: Vec<NodeRef>,
    },
    /// Last: it is not accepted, for this reason.
    Problem(Problem),
}

/// The answer to `GET /v1/jobs`: the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<JobSummary>,
    /// There are more than `limit`.
    #[serde(default)]
    pub more: bool,
}

/// A job in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobSummary {
    /// Its id.
    #[serde(with = "crate::hex")]
    #[schema(value_type = String)]
    pub job: JobId,
    /// For people.
    pub name: String,
    /// Where it stands.
    pub state: JobState,
    /// Who submitted it.
    pub owner: NodeRef,
    /// Wall clock of the submitter then, milliseconds since 1970.
    pub created_ms: u64,
    /// Higher first.
    pub priority: i16,
    /// How this node keeps it.
    pub role: Role,
    /// Its tasks.
    pub counts: Counts,
    /// Copies known.
    pub copies: u8,
    /// Copies that it should have.
    pub want_copies: u8,
}

/// The answer to `GET /v1/jobs/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobDetail {
    /// What a list shows.
    pub summary: JobSummary,
    /// What it does; absent as long as this node only heard of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<JobSpec>,
    /// Who is believed to hand out its tasks.
    pub steward: NodeRef,
    /// The replica list.
    pub replicas: Vec<NodeRef>,
    /// Who is known to hold a copy.
    pub holders: Vec<NodeRef>,
    /// Tasks of it that execute on this node.
    pub running_here: u64,
    /// Where its output files go, if this node delivers them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// What keeps results that are done from becoming final, if anything does. Only the owner's node knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
}

/// Results that are done wait for copies before they are final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delay {
    /// Copies that a final result has, unless too few of the nodes can be reached.
    pub copies: u8,
    /// Whose copy is missing.
    pub missing: Vec<MissingCopy>,
}

/// A node that should have a copy of a result and has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MissingCopy {
    /// Which.
    pub node: NodeRef,
    /// Why, as far as that is known.
    pub why: Missing,
}

/// Why a node has no copy of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// It said that its disk is full.
    DiskFull,
    /// It cannot be reached; after a while results become final without it.
    Unreachable,
    /// It has not answered yet.
    NoWord,
}

impl Missing {
    /// As it is written on a terminal.
    pub fn phrase(self) -> &'static str {
        match self {
            Missing::DiskFull => "its disk is full",
            Missing::Unreachable => "it cannot be reached",
            Missing::NoWord => "it has not answered yet",
        }
    }
}

/// Output files on their way to the submitter's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// The directory.
    pub dir: String,
    /// Files written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files of final results that are still to be written.
    pub pending: u64,
    /// Files that could not be written, and why; the first few. They are kept: `POST …/fetch` tries again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// How many could not.
    #[serde(default)]
    pub failed: u64,
}

/// The answer to `GET /v1/jobs/{id}/tasks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskPage {
    /// In the order of their index.
    pub tasks: Vec<TaskRow>,
    /// `?from=` for the next page; absent if this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

/// One task, or consecutive tasks of one group that stand alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskRow {
    /// Index in the job, from 0; the first one's if there are several.
    pub task: u32,
    /// How many.
    pub count: u32,
    /// Index of the group in the spec.
    pub group: u32,
    /// Number in the group, from 0.
    pub number: u32,
    /// Where they stand.
    pub state: TaskState,
    /// The attempt that this is about; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u64>,
    /// Why they failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<TaskCause>,
    /// Microseconds taken, of all of them together.
    #[serde(default)]
    pub wall_us: u64,
    /// Where they ran or run, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeRef>,
}

/// The answer to `POST …/cancel` and `DELETE …`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevokeAnswer {
    /// The full id.
    #[serde(with = "crate::hex")]
    #[schema(value_type = String)]
    pub job: JobId,
    /// Its state now. A job that had ended before it was cancelled keeps its state.
    pub state: JobState,
}

/// The body of `POST /v1/jobs/{id}/fetch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FetchRequest {
    /// Absolute path of an existing directory. Files of the same name are replaced.
    pub dir: String,
    /// Write what there is, and do not wait for the end of the job.
    #[serde(default)]
    pub now: bool,
}

/// A line of the answer to `POST /v1/jobs/{id}/fetch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FetchLine {
    /// The job goes on; its files are written at its end. At least once a second.
    Waiting(Counts),
    /// How far it is; on change, at most ten a second, at least once a second.
    Progress(Delivery),
    /// Last: everything that is there so far was written, except what `problems` says.
    Done(Delivery),
    /// Last: it ends here, for this reason.
    Problem(Problem),
}

/// The body of `POST /v1/down`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DownRequest {
    /// Milliseconds that running tasks may still take before they are ended and go back; default 10 s.
    pub grace_ms: Option<u64>,
}

/// The answer to `POST /v1/down`; the socket is gone when the node has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DownAnswer {
    /// The node.
    #[serde(with = "crate::hex")]
    #[schema(value_type = String)]
    pub node: NodeId,
    /// Its process, to be waited for.
    pub pid: u32,
    /// Tasks that run now.
    pub running: u64,
}
