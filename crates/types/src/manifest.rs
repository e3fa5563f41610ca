//! What a job is: immutable, signed by its owner, small whatever the number of tasks.

use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::ids::{BlobId, JobId, NodeId, Nonce};
use crate::limits;
use crate::ranges::Range;
use crate::sign::{Keyring, Sig};
use crate::template::Template;

/// A file that is put into a task's directory before it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFile {
    /// Where, relative to the task's directory; normalised.
    pub path: String,
    /// Its bytes.
    pub blob: BlobId,
    /// Their number.
    pub len: u64,
    /// Whether it may be executed.
    pub executable: bool,
}

/// Where a group's tasks come from. Never N task objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Generator {
    /// One task without values.
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
    /// Tasks with explicit values and inputs, packed in a blob (`items`).
    Items {
        /// The packed list.
        list: BlobId,
        /// Its length in bytes.
        len: u64,
        /// Tasks.
        count: u32,
    },
}

impl Generator {
    /// Tasks that it makes.
    pub fn count(&self) -> u32 {
        match self {
            Generator::Once => 1,
            Generator::Array { count, .. } | Generator::Items { count, .. } => *count,
        }
    }
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// A program of the host, without a shell.
    Command {
        /// Program and arguments.
        argv: Vec<Template>,
    },
    /// A Rust function registered in the node.
    Handler {
        /// Its name.
        name: String,
        /// Its arguments.
        args: Vec<Template>,
    },
    /// A registered function whose work splits while it runs.
    Divisible {
        /// Its name.
        name: String,
        /// Its arguments.
        args: Vec<Template>,
        /// How the tallies of its parts become one, component by component: 1 to 16.
        reduce: Vec<Reduce>,
    },
}

/// How one component of the tallies of a divided task becomes one number. Each is associative and commutative, and splitting
/// counts nothing twice, so the order in which parts end never shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reduce {
    /// Their sum, at most `u64::MAX`.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

impl Reduce {
    /// Of no tallies at all.
    pub const fn identity(self) -> u64 {
        match self {
            Reduce::Sum | Reduce::Max => 0,
            Reduce::Min => u64::MAX,
        }
    }
    /// Of two.
    pub fn join(self, a: u64, b: u64) -> u64 {
        match self {
            Reduce::Sum => a.saturating_add(b),
            Reduce::Max => a.max(b),
            Reduce::Min => a.min(b),
        }
    }
}

impl Group {
    /// How the tallies of its parts become one, if it is divisible.
    pub fn reduce(&self) -> Option<&[Reduce]> {
        match &self.program {
            Program::Divisible { reduce, .. } => Some(reduce),
            _ => None,
        }
    }
}

/// How a group waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EdgeKind {
    /// Until all its tasks succeeded.
    All,
    /// Task `i` waits for task `i` of it.
    Elementwise,
}

/// An edge between groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// The group waited for: always an earlier one, so there are no cycles.
    pub group: u16,
    /// How.
    pub kind: EdgeKind,
}

/// Limits of attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLimits {
    /// Milliseconds that it may run; none if absent.
    pub timeout_ms: Option<u64>,
    /// Milliseconds between TERM and KILL.
    pub grace_ms: u32,
    /// Whether an attempt that takes far longer than the others of its group may get a copy on another node near the end of the job:
    /// then two run at once. Off for tasks that must not overlap themselves.
    pub speculate: bool,
}

impl Default for TaskLimits {
    fn default() -> Self {
        Self { timeout_ms: None, grace_ms: 5000, speculate: true }
    }
}

/// Tasks that run the same program on different values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// For people; unique in the job.
    pub name: String,
    /// Which tasks.
    pub tasks: Generator,
    /// What runs.
    pub program: Program,
    /// Added to the documented small environment.
    pub env: Vec<(String, String)>,
    /// Files that every task gets.
    pub inputs: Vec<InFile>,
    /// Paths of files that every task leaves, relative to its directory.
    pub outputs: Vec<Template>,
    /// Limits of an attempt.
    pub limits: TaskLimits,
    /// Further attempts after a failure of the task's own.
    pub retries: u16,
    /// Groups that come first.
    pub needs: Vec<Edge>,
    /// Resources that a slot must offer, e.g. `("cpus", 1)`. Empty: any slot.
    pub resources: Vec<(String, u32)>,
}

/// A job before it has an owner and replicas: what a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// For people.
    pub name: String,
    /// Higher first.
    pub priority: i16,
    /// Somebody waits at a terminal: results come in smaller packs.
    pub attended: bool,
    /// The tasks; indices run through the groups in order.
    pub groups: Vec<Group>,
    /// Bytes of all input blobs, item lists included.
    pub closure_bytes: u64,
    /// Number of input blobs, item lists included.
    pub closure_blobs: u32,
}

/// Why a manifest is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not decodable.
    #[error("manifest: {0}")]
    Codec(#[from] CodecError),
    /// The signature is not the owner's.
    #[error("manifest: the signature is not its owner's")]
    Signature,
    /// Breaks a rule.
    #[error("manifest: {0}")]
    Rule(&'static str),
    /// More tasks than a job may have.
    #[error("a job of {got} tasks; at most {} are allowed", limits::MAX_TASKS)]
    TooManyTasks {
        /// Tasks asked for.
        got: u64,
    },
}

impl JobSpec {
    /// Tasks of the job.
    pub fn total(&self) -> u32 {
        self.groups.iter().fold(0u32, |n, g| n.saturating_add(g.tasks.count()))
    }
    /// The index range of group `g`.
    pub fn group_range(&self, g: usize) -> Range {
        let lo = self.groups.iter().take(g).fold(0u32, |n, g| n.saturating_add(g.tasks.count()));
        Range::new(lo, lo.saturating_add(self.groups.get(g).map_or(0, |g| g.tasks.count())))
    }
    /// The group of task `index` and the task's number in it.
    pub fn locate(&self, index: u32) -> Option<(usize, &Group, u32)> {
        let mut lo = 0u32;
        for (n, g) in self.groups.iter().enumerate() {
            let count = g.tasks.count();
            if index >= lo && index - lo < count {
                return Some((n, g, index - lo));
            }
            lo = lo.checked_add(count)?;
        }
        None
    }
    /// Rules that the types cannot say.
    pub fn check(&self) -> Result<(), ManifestError> {
        let rule = |ok: bool, what| if ok { Ok(()) } else { Err(ManifestError::Rule(what)) };
        let total: u64 = self.groups.iter().map(|g| u64::from(g.tasks.count())).sum();
        if total > u64::from(limits::MAX_TASKS) {
            return Err(ManifestError::TooManyTasks { got: total });
        }
        rule(!self.groups.is_empty() && self.groups.len() <= limits::MAX_GROUPS, "needs 1 to 256 groups")?;
        rule(self.name.len() <= limits::MAX_NAME, "its name is longer than 200 bytes")?;
        for (n, g) in self.groups.iter().enumerate() {
            rule(g.tasks.count() > 0, "a group without tasks")?;
            rule(g.name.len() <= limits::MAX_NAME, "a group's name is longer than 200 bytes")?;
            rule(g.retries <= limits::MAX_RETRIES, "more than 200 retries")?;
            rule(g.inputs.len() <= limits::MAX_FILES, "more than 4096 inputs")?;
            rule(g.outputs.len() <= limits::MAX_FILES, "more than 4096 outputs")?;
            rule(g.needs.len() <= limits::MAX_EDGES, "more than 64 edges into one group")?;
            rule(g.resources.len() <= 16, "more than 16 resources")?;
            for e in &g.needs {
                rule(usize::from(e.group) < n, "an edge must come from an earlier group")?;
                let same = self.groups[usize::from(e.group)].tasks.count() == g.tasks.count();
                rule(e.kind == EdgeKind::All || same, "an element-wise edge between groups of different size")?;
            }
            for f in &g.inputs {
                rule(crate::paths::normalise(&f.path).as_deref() == Ok(&f.path), "an input outside the directory")?;
            }
            match &g.program {
                Program::Command { argv } => {
                    rule(!argv.is_empty() && argv.len() <= limits::MAX_ARGV, "needs 1 to 4096 arguments")?;
                }
                Program::Handler { name, args } => {
                    rule(!name.is_empty() && name.len() <= limits::MAX_NAME, "a handler needs a name")?;
                    rule(args.len() <= limits::MAX_ARGV, "more than 4096 arguments")?;
                }
                Program::Divisible { name, args, reduce } => {
                    rule(!name.is_empty() && name.len() <= limits::MAX_NAME, "a handler needs a name")?;
                    rule(args.len() <= limits::MAX_ARGV, "more than 4096 arguments")?;
                    rule(!reduce.is_empty() && reduce.len() <= limits::MAX_TALLY, "a tally has 1 to 16 components")?;
                    rule(g.inputs.is_empty() && g.outputs.is_empty(), "a divisible group has no files")?;
                }
            }
            if let Generator::Array { first, step, count } = g.tasks {
                let last = step.checked_mul(i64::from(count) - 1).and_then(|d| first.checked_add(d));
                rule(last.is_some(), "an array whose values overflow 64 bits")?;
            }
        }
        Ok(())
    }
}

/// A job as it is signed, stored and hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The submitting identity; the only one who may pin.
    pub owner: NodeId,
    /// Makes a retried submit the same job.
    pub nonce: Nonce,
    /// Wall clock of the owner at submit, milliseconds since 1970; for display only.
    pub created_ms: u64,
    /// Copies that an accepted job has.
    pub k: u8,
    /// Copies that a visible result has.
    pub r: u8,
    /// R: the replicas, submitter first. Data, never computed from a view.
    pub replicas: Vec<NodeId>,
    /// What to do.
    pub spec: JobSpec,
}

/// The exact bytes of a manifest and its owner's signature over them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedManifest {
    /// `codec::encode` of a `Manifest`.
    #[serde(with = "crate::result::bytes")]
    pub bytes: Vec<u8>,
    /// Over `bytes`.
    pub sig: Sig,
}

impl SignedManifest {
    /// Signs a manifest as its owner.
    pub fn sign(manifest: &Manifest, keys: &dyn Keyring) -> Result<Self, ManifestError> {
        let bytes = codec::encode(manifest, limits::MAX_MANIFEST)?;
        let sig = keys.sign(&bytes);
        Ok(Self { bytes, sig })
    }
    /// The job that these bytes name.
    pub fn job(&self) -> JobId {
        JobId::of(&self.bytes)
    }
    /// Decodes and checks everything: shape, rules and signature.
    pub fn open(&self, keys: &dyn Keyring) -> Result<Manifest, ManifestError> {
        let m: Manifest = codec::decode(&self.bytes, limits::MAX_MANIFEST)?;
        m.spec.check()?;
        let distinct: std::collections::BTreeSet<_> = m.replicas.iter().collect();
        if m.replicas.is_empty() || m.replicas.len() > limits::MAX_REPLICAS || distinct.len() != m.replicas.len() {
            return Err(ManifestError::Rule("needs 1 to 8 distinct replicas"));
        }
        if m.replicas[0] != m.owner {
            return Err(ManifestError::Rule("its owner is not its first replica"));
        }
        if m.k == 0 || m.r == 0 || m.r > m.k || usize::from(m.k) > m.replicas.len() {
            return Err(ManifestError::Rule("needs 1 <= r <= k <= number of replicas"));
        }
        if !keys.verify(m.owner, &self.bytes, &self.sig) {
            return Err(ManifestError::Signature);
        }
        Ok(m)
    }
}
