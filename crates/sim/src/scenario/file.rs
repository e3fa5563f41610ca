//! A scenario as it stands in its file. Every table refuses keys that it does not know.

use serde::Deserialize;
use toml::Spanned;

use super::units::{Between, Share, Size, Takes, Time, Who};

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub about: String,
    #[serde(default)]
    pub seed: u64,
    pub limit: Option<Spanned<Time>>,
    pub cluster: Cluster,
    #[serde(default)]
    pub network: Network,
    #[serde(default)]
    pub disk: Disk,
    #[serde(default)]
    pub protocol: Protocol,
    #[serde(default, rename = "job")]
    pub jobs: Vec<Spanned<Job>>,
    #[serde(default, rename = "fault")]
    pub faults: Vec<Spanned<OneFault>>,
    pub churn: Option<Spanned<Churn>>,
    #[serde(default)]
    pub expect: Expect,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cluster {
    pub nodes: Spanned<usize>,
    pub slots: Option<Spanned<u16>>,
    pub per_machine: Option<Spanned<u32>>,
    /// Random peers of a node, where not everybody is connected to everybody.
    pub peers: Option<Spanned<u16>>,
    #[serde(default, rename = "group")]
    pub groups: Vec<Group>,
}

/// More nodes, that differ.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub nodes: Spanned<usize>,
    pub slots: Option<Spanned<u16>>,
    pub speed: Option<Spanned<f64>>,
    pub able: Option<bool>,
    pub joins: Option<Between>,
    pub clock_drift_ppm: Option<Spanned<i32>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    pub latency: Option<Between>,
    pub jitter: Option<Time>,
    pub spikes: Option<Share>,
    pub spike: Option<Time>,
    pub loss: Option<Share>,
    pub duplicates: Option<Share>,
    pub bandwidth: Option<Spanned<Size>>,
    pub unreachable: Option<Share>,
    pub gossip_loss: Option<Share>,
    pub gossip_latency: Option<Time>,
    pub dial: Option<Time>,
    pub in_order: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Disk {
    pub commit: Option<Time>,
    pub jitter: Option<Time>,
    pub group: Option<Spanned<usize>>,
    pub reorders: Option<bool>,
    pub images: Option<Time>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Protocol {
    pub result_copies: Option<Spanned<u8>>,
    pub repair: Option<Spanned<Time>>,
    pub submit: Option<Spanned<Time>>,
    pub ahead: Option<Spanned<Time>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    pub at: Option<Time>,
    pub node: Option<Spanned<Who>>,
    pub tasks: Option<Spanned<u32>>,
    pub item: Option<Size>,
    #[serde(default)]
    pub inputs: Vec<Size>,
    pub retries: Option<Spanned<u16>>,
    #[serde(default, rename = "group")]
    pub groups: Vec<Spanned<TaskGroup>>,
    pub duration: Option<Takes>,
    pub stragglers: Option<Share>,
    pub straggle: Option<Spanned<u32>>,
    pub broken: Option<Share>,
    pub flaky: Option<Share>,
    pub poison: Option<Spanned<u32>>,
    pub leaves: Option<Spanned<Size>>,
    pub varies: Option<bool>,
    pub speculate: Option<bool>,
    /// Each task is divisible: it counts this tree of the UTS benchmark.
    pub tree: Option<Spanned<String>>,
    /// Time of one node of the tree.
    pub unit: Option<Spanned<Time>>,
    pub copies: Option<Spanned<u8>>,
    pub attended: Option<bool>,
    pub repeat: Option<Spanned<u32>>,
    pub every: Option<Time>,
    #[serde(default)]
    pub then: Vec<Spanned<Then>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskGroup {
    pub tasks: Spanned<u32>,
    pub item: Option<Size>,
    #[serde(default)]
    pub inputs: Vec<Size>,
    pub retries: Option<Spanned<u16>>,
    #[serde(default)]
    pub after: Vec<Spanned<u16>>,
    #[serde(default)]
    pub after_each: Vec<Spanned<u16>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Then {
    pub after: Time,
    pub node: Spanned<Who>,
    #[serde(rename = "do")]
    pub what: What,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum What {
    Watch,
    Cancel,
    Delete,
}

/// A fault at a time, or one after another.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneFault {
    pub at: Time,
    pub every: Option<Time>,
    pub crash: Option<Crash>,
    pub pause: Option<Pause>,
    pub cut: Option<Spanned<Cut>>,
    pub clog: Option<Clog>,
    pub loss: Option<Loss>,
    pub disk_full: Option<During>,
    pub disk_slow: Option<Slow>,
    pub bit_rot: Option<At>,
    pub row_rot: Option<At>,
    pub clock_jump: Option<Jump>,
    pub drain: Option<Drain>,
    pub sick: Option<During>,
    pub forge: Option<At>,
    pub leave: Option<At>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DiskThen {
    #[default]
    Kept,
    Wiped,
    RolledBack,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Crash {
    pub node: Spanned<Who>,
    pub down: Time,
    #[serde(default)]
    pub disk: DiskThen,
    #[serde(default)]
    pub power: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pause {
    pub node: Spanned<Who>,
    #[serde(rename = "for")]
    pub during: Time,
    #[serde(default)]
    pub suspend: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cut {
    pub side: Spanned<Who>,
    pub from: Option<Spanned<Who>>,
    #[serde(rename = "for")]
    pub during: Time,
    #[serde(default)]
    pub one_way: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clog {
    pub between: Spanned<[usize; 2]>,
    pub extra: Time,
    #[serde(rename = "for")]
    pub during: Time,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Loss {
    pub share: Share,
    #[serde(rename = "for")]
    pub during: Time,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct During {
    pub node: Spanned<Who>,
    #[serde(rename = "for")]
    pub during: Time,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slow {
    pub node: Spanned<Who>,
    pub times: u32,
    #[serde(rename = "for")]
    pub during: Time,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct At {
    pub node: Spanned<Who>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Jump {
    pub node: Spanned<Who>,
    pub by: Time,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drain {
    pub node: Spanned<Who>,
    pub back: Option<Time>,
}

/// Deaths that the seed draws.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Churn {
    pub deaths: Spanned<Share>,
    pub from: Option<Time>,
    pub until: Spanned<Time>,
    pub back: Option<Time>,
    #[serde(default)]
    pub disk: DiskThen,
    #[serde(default)]
    pub power: bool,
    pub spare: Option<Spanned<Who>>,
}

/// What must be so in the end. That no rule of the protocol breaks is always expected.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub done_within: Option<Time>,
    pub done_after: Option<Time>,
    /// Against the same load without faults, on a network that loses and delays nothing.
    pub slowdown: Option<Spanned<f64>>,
    pub efficiency: Option<Share>,
    pub busy: Option<Share>,
    pub executions: Option<u64>,
    pub redone: Option<u64>,
    pub failed: Option<u64>,
    pub messages_per_task: Option<f64>,
    pub steals: Option<u64>,
    pub copies_won: Option<u64>,
    pub faults: Option<u64>,
    /// Part of the reason with which a submit was refused.
    pub refused: Option<String>,
}
