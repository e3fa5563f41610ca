//! What the adapter is told at its start, and why it may refuse to start.

use std::time::Duration;

use filch_types::NodeId;

use crate::address::AddressError;

/// How a node takes part in the network. `NetConfig::new` is the secure default: it listens on the loopback interface only and
/// looks for nobody.
#[derive(Clone)]
pub struct NetConfig {
    /// The ed25519 secret; the public key is the node's id.
    pub secret: [u8; 32],
    /// Shared by all nodes of one cluster; whoever does not prove it reaches nothing.
    pub cluster_key: [u8; 32],
    /// Addresses to listen on, see `address::parse`. Empty: TCP on 127.0.0.1, any port. The adapter never listens beyond
    /// the machine unless an address here says so.
    pub listen: Vec<String>,
    /// Look for members on the LAN by multicast DNS. Loopback interfaces are left out by the protocol.
    pub mdns: bool,
    /// Addresses of nodes to meet first. They are dialled until somebody answers.
    pub bootstrap: Vec<String>,
    /// What `NetEvent::Reachable` said in an earlier life.
    pub remembered: Vec<(NodeId, Vec<String>)>,
    /// Tell new connections about the members known here, and dial those that they tell of.
    pub exchange: bool,
    /// Find members beyond the LAN by Kademlia.
    pub kademlia: bool,
    /// Bounds.
    pub limits: NetLimits,
}

impl NetConfig {
    /// Defaults: listens on loopback only, no mDNS, nobody to dial.
    pub fn new(secret: [u8; 32], cluster_key: [u8; 32]) -> Self {
        Self {
            secret,
            cluster_key,
            listen: Vec::new(),
            mdns: false,
            bootstrap: Vec::new(),
            remembered: Vec::new(),
            exchange: true,
            kademlia: true,
            limits: NetLimits::default(),
        }
    }
}

/// Bounds of everything that others could make grow.
#[derive(Clone, Debug)]
pub struct NetLimits {
    /// Commands that may wait; more are refused with `Overflow::Full`.
    pub commands: usize,
    /// Events that may wait for the driver. When they are all waiting, the network waits too.
    pub events: usize,
    /// Connections in all.
    pub connections: u32,
    /// Connections to one peer: two that dial each other at the same moment make two.
    pub connections_per_peer: u32,
    /// Incoming connections that have not proved membership yet.
    pub pending_incoming: u32,
    /// Dials at the same time.
    pub pending_outgoing: u32,
    /// Members that are dialled because others told of them; beyond it only bootstrap addresses are.
    pub mesh: usize,
    /// Peers in the address book.
    pub known_peers: usize,
    /// Time for transport security and the proof of membership.
    pub handshake: Duration,
    /// Time for a dial, handshake included.
    pub dial: Duration,
    /// Requests to one peer on the wire.
    pub requests_in_flight: usize,
    /// Requests to one peer that wait for their turn.
    pub requests_queued: usize,
    /// Time for a request, its wait included.
    pub request: Duration,
    /// Requests of others that wait for this node's answer.
    pub answers_owed: usize,
    /// One-way messages to one peer that wait; the oldest is dropped for one too many.
    pub messages_queued: usize,
    /// Bytes of these.
    pub message_bytes_queued: usize,
    /// Blob streams of one peer into this node.
    pub streams_per_peer: usize,
    /// Blob streams into this node in all.
    pub streams: usize,
    /// Gossip messages that one neighbour may send or relay in a second.
    pub gossip_per_second: u32,
}

impl Default for NetLimits {
    fn default() -> Self {
        Self {
            commands: 4096,
            events: 4096,
            connections: 1024,
            connections_per_peer: 4,
            pending_incoming: 64,
            pending_outgoing: 32,
            mesh: 128,
            known_peers: 1024,
            handshake: Duration::from_secs(5),
            dial: Duration::from_secs(10),
            requests_in_flight: 64,
            requests_queued: 1024,
            request: Duration::from_secs(10),
            answers_owed: 4096,
            messages_queued: 512,
            message_bytes_queued: 8 * 1024 * 1024,
            streams_per_peer: 32,
            streams: 256,
            gossip_per_second: 200,
        }
    }
}

/// Why the network could not be started.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A listen, bootstrap or remembered address makes no sense.
    #[error("address `{address}`: {source}")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {why}; choose another address or port, or end the program that has it")]
    Listen {
        /// As it was given.
        address: String,
        /// What the system said.
        why: String,
    },
    /// The secret or what is made of it is not usable.
    #[error("the node's identity is not usable: {0}")]
    Identity(String),
    /// A part of the network stack could not be set up.
    #[error("the network stack could not be set up: {0}")]
    Setup(String),
}
