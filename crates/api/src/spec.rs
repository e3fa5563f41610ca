//! What a job is, as a client writes it: `filch_types::JobSpec` with ids as hex and templates as text.

use filch_types::BlobId;
use filch_types::manifest::Reduce;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a client asks for. `filch_types::JobSpec::try_from` checks it and makes it exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// For people; at most 200 bytes.
    #[serde(default)]
    pub name: String,
    /// Higher first.
    #[serde(default)]
    pub priority: i16,
    /// Somebody waits at a terminal: results come in smaller packs, sooner.
    #[serde(default)]
    pub attended: bool,
    /// The tasks; indices run through the groups in order.
    pub groups: Vec<GroupSpec>,
    /// Bytes of all input blobs, item lists included; for progress.
    #[serde(default)]
    pub closure_bytes: u64,
    /// Number of input blobs, item lists included; for progress.
    #[serde(default)]
    pub closure_blobs: u32,
}

/// Tasks that run the same program on different values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupSpec {
    /// For people; unique in the job.
    #[serde(default)]
    pub name: String,
    /// Which tasks.
    #[serde(default)]
    pub tasks: TasksSpec,
    /// What runs.
    pub program: ProgramSpec,
    /// Added to the documented small environment, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, String)>,
    /// Files that every task gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<InputSpec>,
    /// Paths of files that every task leaves, relative to its directory; templates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Milliseconds that an attempt may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Milliseconds between TERM and KILL.
    #[serde(default = "grace")]
    pub grace_ms: u32,
    /// Whether an attempt that takes far longer than the others of its group may get a copy on another node near the end of the
    /// job, so that two run at once.
    #[serde(default = "yes")]
    pub speculate: bool,
    /// Further attempts after a failure of the task's own.
    #[serde(default)]
    pub retries: u16,
    /// Groups that come first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<EdgeSpec>,
    /// What a slot must offer, e.g. `["cpus", 1]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<(String, u32)>,
}

fn yes() -> bool {
    true
}

fn grace() -> u32 {
    filch_types::manifest::TaskLimits::default().grace_ms
}

/// Where a group's tasks come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TasksSpec {
    /// One task without values.
    #[default]
    Once,
    /// `count` tasks; task `i` has the value `first + i * step`.
    Array {
        /// Value of the first task.
        first: i64,
        /// Distance between values.
        step: i64,
        /// Tasks.
        count: u32,
    },
    /// Tasks with explicit values and inputs, packed in a blob: `filch_types::items`.
    Items {
        /// The packed list, put with `PUT /v1/blobs`.
        #[serde(with = "crate::hex")]
        #[schema(value_type = String)]
        list: BlobId,
        /// Its length in bytes.
        len: u64,
        /// Tasks.
        count: u32,
    },
}

/// What runs. Arguments are templates: `{}` and its kin stand for values, `{{` for one brace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProgramSpec {
    /// A program of the host, without a shell: program and arguments.
    Command(Vec<String>),
    /// A Rust function registered in the nodes.
    Handler {
        /// Its name.
        name: String,
        /// Its arguments.
        #[serde(default)]
        args: Vec<String>,
    },
    /// A Rust function registered in the nodes whose work splits while it runs. What its parts counted is joined into one tally, which
    /// is the task's stdout: one line of numbers. A `handler` of a divisible function's name becomes this.
    Divisible {
        /// Its name.
        name: String,
        /// Its arguments.
        #[serde(default)]
        args: Vec<String>,
        /// How the numbers of the tallies are joined, one for each. May be left out if the node that gets the job has the function.
        #[serde(default)]
        reduce: Vec<ReduceSpec>,
    },
}

/// How the numbers that the parts of a divided task counted become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReduceSpec {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

impl From<Reduce> for ReduceSpec {
    fn from(reduce: Reduce) -> Self {
        match reduce {
            Reduce::Sum => ReduceSpec::Sum,
            Reduce::Max => ReduceSpec::Max,
            Reduce::Min => ReduceSpec::Min,
        }
    }
}

impl From<ReduceSpec> for Reduce {
    fn from(reduce: ReduceSpec) -> Self {
        match reduce {
            ReduceSpec::Sum => Reduce::Sum,
            ReduceSpec::Max => Reduce::Max,
            ReduceSpec::Min => Reduce::Min,
        }
    }
}

/// A file that is put into a task's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Where, relative to the task's directory; normalised.
    pub path: String,
    /// Its bytes.
    #[serde(with = "crate::hex")]
    #[schema(value_type = String)]
    pub blob: BlobId,
    /// Their number.
    pub len: u64,
    /// Whether it may be executed.
    #[serde(default)]
    pub executable: bool,
}

/// An edge between groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EdgeSpec {
    /// Index of the group waited for: an earlier one.
    pub group: u16,
    /// Task `i` waits for task `i` of it only; else every task waits for all of them.
    #[serde(default)]
    pub elementwise: bool,
}
