//! Everything that a run is made of. A seed and a profile expand to one value of this; a failing run prints it.

use filch_core::{Mutant, Timing};
use filch_types::manifest::EdgeKind;
use serde::{Deserialize, Serialize};

use crate::fault::Planned;

/// A family of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Nothing goes wrong: exact counts are checked.
    FaultFree,
    /// Nodes crash and restart with their disks.
    Crash,
    /// Two nodes, all faults.
    Minimal,
    /// Everything is drawn, and whole classes of faults are left out at random.
    Swarm,
    /// Disks are wiped, rot, or are cut off in the middle of a write, while copies are on their way over slow links.
    Disks,
    /// More copies are lost than the protocol promises to survive: only what still holds is checked.
    OverBudget,
    /// Many nodes, few faults.
    Scale,
}

impl Profile {
    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Profile::FaultFree => "fault-free",
            Profile::Crash => "crash",
            Profile::Minimal => "minimal",
            Profile::Swarm => "swarm",
            Profile::Disks => "disks",
            Profile::OverBudget => "over-budget",
            Profile::Scale => "scale",
        }
    }
    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }
    /// All of them.
    pub const ALL: [Profile; 7] = [
        Profile::FaultFree,
        Profile::Crash,
        Profile::Minimal,
        Profile::Swarm,
        Profile::Disks,
        Profile::OverBudget,
        Profile::Scale,
    ];
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeOptions {
    /// Tasks at once.
    pub slots: u16,
    /// Number of its machine; nodes may share one.
    pub machine: u32,
    /// Whether it can run the jobs at all.
    pub able: bool,
    /// When it first starts.
    pub start_us: u64,
    /// How much too fast its clock runs, in millionths.
    pub clock_ppm: i32,
    /// What its clock shows at the start.
    pub clock_us: u64,
    /// How fast its slots are, per cent of what jobs say.
    pub speed_pct: u32,
}

/// Links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkOptions {
    /// Shortest one-way latency of a pair.
    pub near_us: u64,
    /// Longest.
    pub far_us: u64,
    /// Mean of what comes on top, drawn per message.
    pub jitter_us: u64,
    /// Share of messages that take `spike_us` longer, in millionths.
    pub spike_ppm: u32,
    /// See `spike_ppm`.
    pub spike_us: u64,
    /// Share of messages that are lost, in millionths.
    pub loss_ppm: u32,
    /// Share of one-way messages and requests that come twice, in millionths.
    pub dup_ppm: u32,
    /// Bytes per second of a blob transfer.
    pub blob_bytes_per_s: u64,
    /// Share of pairs that never get a connection, in millionths.
    pub unreachable_ppm: u32,
    /// Share of gossip messages that do not reach a peer, in millionths.
    pub gossip_loss_ppm: u32,
    /// Mean latency of gossip.
    pub gossip_us: u64,
    /// Longest time until a dial succeeds.
    pub dial_us: u64,
}

/// Disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskOptions {
    /// Shortest commit.
    pub commit_us: u64,
    /// Mean of what comes on top.
    pub jitter_us: u64,
    /// Groups in one transaction at most.
    pub group: usize,
    /// Un-acked groups survive a crash independently of each other, instead of in order.
    pub independent: bool,
    /// Period of images to which a roll-back may go.
    pub image_us: u64,
}

impl Default for NodeOptions {
    /// One slot, on a machine of its own if it is node 0.
    fn default() -> Self {
        Self { slots: 1, machine: 0, able: true, start_us: 0, clock_ppm: 0, clock_us: 1_000_000, speed_pct: 100 }
    }
}

impl Default for LinkOptions {
    /// A quiet LAN.
    fn default() -> Self {
        Self {
            near_us: 100,
            far_us: 400,
            jitter_us: 30,
            spike_ppm: 0,
            spike_us: 0,
            loss_ppm: 0,
            dup_ppm: 0,
            blob_bytes_per_s: 100_000_000,
            unreachable_ppm: 0,
            gossip_loss_ppm: 0,
            gossip_us: 1_000,
            dial_us: 10_000,
        }
    }
}

impl Default for DiskOptions {
    /// An SSD that never lies.
    fn default() -> Self {
        Self { commit_us: 2_000, jitter_us: 500, group: 1_000, independent: false, image_us: 0 }
    }
}

/// How long a task takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duration {
    /// Always so long.
    Fixed(u64),
    /// Uniform.
    Uniform(u64, u64),
    /// About exponential with this mean.
    Tail(u64),
}

/// What a task leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leaves {
    /// Nothing.
    Nothing,
    /// So many bytes in the result.
    Inline(u16),
    /// A blob of so many bytes.
    Blob(u64),
}

/// What executing the tasks of a job is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Work {
    /// Time of one task.
    pub takes: Duration,
    /// Share of executions that take `straggle` times as long, in millionths.
    pub straggle_ppm: u32,
    /// See `straggle_ppm`.
    pub straggle: u32,
    /// Share of tasks that fail at every attempt, in millionths.
    pub broken_ppm: u32,
    /// Share of executions that fail, in millionths.
    pub flaky_ppm: u32,
    /// A task that takes its node down.
    pub poison: Option<u32>,
    /// What it leaves.
    pub leaves: Leaves,
    /// Every execution leaves something else.
    pub varies: bool,
    /// Whether what straggles may be copied.
    pub speculate: bool,
    /// Its tasks are divisible: each counts this tree of the UTS benchmark. Then only `unit_us` says how long that takes.
    pub tree: Option<String>,
    /// Time of one unit of a divisible task, a node of its tree.
    pub unit_us: u64,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            takes: Duration::Fixed(10_000),
            straggle_ppm: 0,
            straggle: 1,
            broken_ppm: 0,
            flaky_ppm: 0,
            poison: None,
            leaves: Leaves::Nothing,
            varies: false,
            speculate: true,
            tree: None,
            unit_us: 10,
        }
    }
}

/// A group of tasks of a planned job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupPlan {
    /// Tasks.
    pub tasks: u32,
    /// Explicit items, each with an input blob of so many bytes; else an array.
    pub item_bytes: Option<u64>,
    /// Input blobs that all tasks share, with lengths.
    pub inputs: Vec<u64>,
    /// Groups that come first.
    pub needs: Vec<(u16, EdgeKind)>,
    /// Further attempts after a failure.
    pub retries: u16,
}

/// What a client does later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Cancels the job.
    Cancel,
    /// Deletes it.
    Delete,
    /// Reads along.
    Watch,
}

/// A job that a client submits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobPlan {
    /// When.
    pub at: u64,
    /// Where.
    pub node: usize,
    /// Copies asked for.
    pub copies: Option<u8>,
    /// Somebody waits for it.
    pub attended: bool,
    /// Its tasks.
    pub groups: Vec<GroupPlan>,
    /// What they are like.
    pub work: Work,
    /// What clients do so long after it was accepted: (delay, node, what).
    pub then: Vec<(u64, usize, Action)>,
}

impl JobPlan {
    /// A plain array of tasks that take `task_us` each, submitted at node 0 at the start.
    pub fn array(tasks: u32, task_us: u64) -> Self {
        Self {
            groups: vec![GroupPlan { tasks, ..GroupPlan::default() }],
            work: Work { takes: Duration::Fixed(task_us), ..Work::default() },
            ..Self::default()
        }
    }
    /// One divisible task, a tree of the UTS benchmark, of so many microseconds a node, submitted at node 0 at the start.
    pub fn tree(name: &str, unit_us: u64) -> Self {
        Self {
            groups: vec![GroupPlan { tasks: 1, ..GroupPlan::default() }],
            work: Work { tree: Some(name.to_owned()), unit_us, ..Work::default() },
            ..Self::default()
        }
    }
    /// Tasks in all.
    pub fn total(&self) -> u32 {
        self.groups.iter().map(|g| g.tasks).sum()
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// All randomness.
    pub seed: u64,
    /// Which checks apply.
    pub profile: Profile,
    /// The cluster.
    pub nodes: Vec<NodeOptions>,
    /// Its links.
    pub link: LinkOptions,
    /// Its disks.
    pub disk: DiskOptions,
    /// Share of launches that bounce for no reason, in millionths.
    pub bounce_ppm: u32,
    /// r.
    pub result_copies: u8,
    /// Time limits of the protocol.
    pub timing: Timing,
    /// A planted bug.
    pub mutant: Option<Mutant>,
    /// The load.
    pub jobs: Vec<JobPlan>,
    /// The faults.
    pub faults: Vec<Planned>,
    /// When faults end and the frozen core begins.
    pub faults_until: u64,
    /// How long the frozen core may take to finish everything.
    pub settle_us: u64,
    /// How many nodes the frozen core has besides those that it must.
    pub core_extra: usize,
    /// Every connection carries its messages in order.
    pub in_order: bool,
    /// Everybody is connected to everybody, or, in a cluster beyond its nodes' connection limits, to so many random peers
    /// and, when it has to do with them, to others.
    pub overlay: Option<u16>,
    /// How much is checked.
    pub checks: Checks,
}

/// How much the oracles look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checks {
    /// Everything that applies to the profile.
    All,
    /// What costs the same at ten nodes and at ten thousand; looks at the whole world every minute and at the end.
    Cheap,
}

impl Options {
    /// A quiet LAN: `nodes` nodes of `slots` slots, no jobs, no faults.
    pub fn calm(seed: u64, nodes: usize, slots: u16) -> Self {
        Self {
            seed,
            nodes: (0..nodes).map(|n| NodeOptions { slots, machine: n as u32, ..NodeOptions::default() }).collect(),
            ..Self::default()
        }
    }
}

/// Random peers of a node in a large cluster.
const DEGREE: u16 = 16;

impl Options {
    /// A calm cluster of thousands of nodes: everybody has a few random neighbours and meets others on demand, the
    /// protocol's periods are those for such clusters, and only cheap checks are on.
    pub fn large(seed: u64, nodes: usize, slots: u16) -> Self {
        let calm = Self::calm(seed, nodes, slots);
        Self {
            overlay: (nodes > 2 * usize::from(DEGREE)).then_some(DEGREE),
            timing: Timing::large(),
            checks: Checks::Cheap,
            link: LinkOptions { dial_us: 2_000_000, ..calm.link },
            ..calm
        }
    }
}

impl Default for Options {
    /// A quiet LAN without nodes, jobs or faults.
    fn default() -> Self {
        Self {
            seed: 0,
            profile: Profile::FaultFree,
            nodes: Vec::new(),
            link: LinkOptions::default(),
            disk: DiskOptions::default(),
            bounce_ppm: 0,
            result_copies: 2,
            timing: Timing::default(),
            mutant: None,
            jobs: Vec::new(),
            faults: Vec::new(),
            faults_until: 1_000_000,
            settle_us: 300_000_000,
            core_extra: usize::MAX,
            in_order: false,
            overlay: None,
            checks: Checks::All,
        }
    }
}
