//! Nodes.

use filch_types::{MachineId, NodeId, StoreId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A node in passing: its id and, if known, its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct NodeRef {
    /// Its public key.
    #[serde(with = "crate::hex")]
    #[schema(value_type = String)]
    pub id: NodeId,
    /// For people; empty if it never said.
    pub name: String,
}

/// The answer to `GET /v1/node`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeInfo {
    /// Its public key.
    #[serde(with = "crate::hex")]
    #[schema(value_type = String)]
    pub id: NodeId,
    /// For people.
    pub name: String,
    /// Version of filch.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Milliseconds since the start of the process.
    pub uptime_ms: u64,
    /// The data directory.
    pub data_dir: String,
    /// The socket that this answer came through.
    pub socket: String,
    /// Addresses that other nodes can give to `--bootstrap`, with `/p2p/…`. Empty: it does not listen beyond its process.
    pub addresses: Vec<String>,
    /// Whether it looks for others by mDNS.
    pub mdns: bool,
    /// Tasks that it runs at once.
    pub slots: u16,
    /// Tasks that run now.
    pub running: u64,
    /// What it can run: `command`, `handler:NAME`.
    pub offers: Vec<String>,
    /// Other members believed alive.
    pub peers: u64,
    /// It is going down.
    pub draining: bool,
    /// Its store.
    #[serde(with = "crate::hex")]
    #[schema(value_type = String)]
    pub store: StoreId,
    /// Its machine.
    #[serde(with = "crate::hex")]
    #[schema(value_type = String)]
    pub machine: MachineId,
    /// Bytes of blobs that it keeps.
    pub store_bytes: u64,
    /// Blobs that it keeps.
    pub store_blobs: u64,
    /// Free bytes of the store's file system.
    pub disk_free: u64,
    /// Counters since the start of the process.
    pub counters: NodeCounters,
}

/// Counters since the start of the process. Monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct NodeCounters {
    /// Tasks handed to the executor.
    pub launched: u64,
    /// Tasks that came back with a result.
    pub finished: u64,
    /// Tasks stolen by this node.
    pub stolen: u64,
    /// Steal requests sent.
    pub steal_requests: u64,
    /// Tasks given to thieves.
    pub given: u64,
    /// Tasks granted as steward.
    pub granted: u64,
    /// Tasks taken back as steward.
    pub reclaimed: u64,
    /// Blob bytes fetched from peers.
    pub bytes_fetched: u64,
    /// Blob bytes served to peers.
    pub bytes_served: u64,
    /// Bytes that were read to see whether they are still what they were.
    pub scrub_bytes: u64,
    /// Blobs that were found damaged that way, and dropped.
    pub scrub_damaged: u64,
}

/// The answer to `GET /v1/nodes`: this node first, then by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberList {
    /// The members.
    pub nodes: Vec<Member>,
}

/// A member as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// Its public key.
    #[serde(with = "crate::hex")]
    #[schema(value_type = String)]
    pub id: NodeId,
    /// For people.
    pub name: String,
    /// It is the node that answers.
    pub this: bool,
    /// Whether it is believed alive.
    pub alive: bool,
    /// Whether it takes no new work.
    pub draining: bool,
    /// Tasks that it runs at once.
    pub slots: u16,
    /// Tasks queued there when it was last heard.
    pub queued: u64,
    /// Microseconds of a round trip; 0 if unknown or if it is this node.
    pub rtt_us: u64,
    /// Its machine.
    #[serde(with = "crate::hex")]
    #[schema(value_type = String)]
    pub machine: MachineId,
    /// Its store.
    #[serde(with = "crate::hex")]
    #[schema(value_type = String)]
    pub store: StoreId,
}
