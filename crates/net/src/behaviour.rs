//! The protocols that members speak, and how they are tuned for a quiet mesh.

use std::time::Duration;

use filch_types::limits;
use filch_types::members::{self, Known};
use filch_types::wire::{Request, Response};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{StreamProtocol, gossipsub, identify, kad, mdns, ping};

use crate::config::{NetConfig, NetError, NetLimits};
use crate::frame::Codec;

pub(crate) const REQUESTS: StreamProtocol = StreamProtocol::new("/filch/1/requests");
pub(crate) const MESSAGES: StreamProtocol = StreamProtocol::new("/filch/1/messages");
pub(crate) const BLOBS: StreamProtocol = StreamProtocol::new("/filch/1/blobs");
const EXCHANGE: StreamProtocol = StreamProtocol::new("/filch/1/members");
const KADEMLIA: StreamProtocol = StreamProtocol::new("/filch/1/kad");
const IDENTIFY: &str = "/filch/1/id";

/// The core's heartbeats find dead peers; this only finds links over which nothing else goes.
const PING_EVERY: Duration = Duration::from_secs(45);
const PING_LIMIT: Duration = Duration::from_secs(20);
/// Only the first identification matters: addresses come by the exchange.
const IDENTIFY_EVERY: Duration = Duration::from_secs(3600);
const KADEMLIA_EVERY: Duration = Duration::from_secs(1800);
/// Meshes of summaries heal slowly at this pace, and may: everything holds without gossip.
const GOSSIP_HEARTBEAT: Duration = Duration::from_secs(5);
/// Room for the envelope and for gossipsub's own lists; the summary itself is checked against its own limit.
const GOSSIP_BYTES: usize = 16 * 1024;

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // First: what is over a limit is refused before anybody else hears of it.
    pub limits: connection_limits::Behaviour,
    pub requests: request_response::Behaviour<Codec<Request, Response>>,
    pub exchange: request_response::Behaviour<Codec<Known, Known>>,
    pub streams: libp2p_stream::Behaviour,
    pub gossip: gossipsub::Behaviour,
    pub mdns: Toggle<mdns::tokio::Behaviour>,
    pub kad: Toggle<kad::Behaviour<MemoryStore>>,
    pub identify: identify::Behaviour,
    pub ping: ping::Behaviour,
}

impl Behaviour {
    /// mDNS is not among them yet: it starts when there is something to announce.
    pub fn new(keypair: &Keypair, config: &NetConfig) -> Result<Self, NetError> {
        let peer = keypair.public().to_peer_id();
        let identify = identify::Config::new(IDENTIFY.into(), keypair.public())
            .with_agent_version(concat!("filch/", env!("CARGO_PKG_VERSION")).into())
            .with_interval(IDENTIFY_EVERY)
            .with_cache_size(0);
        Ok(Self {
            limits: connection_limits::Behaviour::new(connection_limits(&config.limits)),
            requests: request_response(
                REQUESTS,
                limits::MAX_FRAME,
                config.limits.request,
                4 * config.limits.requests_in_flight,
            ),
            exchange: request_response(EXCHANGE, members::MAX_BYTES, config.limits.request, 8),
            streams: libp2p_stream::Behaviour::new(),
            gossip: gossip(keypair)?,
            mdns: Toggle::from(None),
            kad: Toggle::from(config.kademlia.then(|| kademlia(peer))),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_EVERY).with_timeout(PING_LIMIT)),
        })
    }
}

fn connection_limits(limits: &NetLimits) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.pending_incoming))
        .with_max_pending_outgoing(Some(limits.pending_outgoing))
        .with_max_established(Some(limits.connections))
        .with_max_established_per_peer(Some(limits.connections_per_peer))
}

fn request_response<Q, A>(
    name: StreamProtocol,
    max_bytes: usize,
    limit: Duration,
    streams: usize,
) -> request_response::Behaviour<Codec<Q, A>>
where
    Codec<Q, A>: request_response::Codec<Protocol = StreamProtocol>,
{
    // Streams of both directions count, and what is over the limit is dropped without a word: twice what both sides use.
    let config = request_response::Config::default().with_request_timeout(limit).with_max_concurrent_streams(streams);
    request_response::Behaviour::with_codec(Codec::new(max_bytes), [(name, ProtocolSupport::Full)], config)
}

fn gossip(keypair: &Keypair) -> Result<gossipsub::Behaviour, NetError> {
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix("/filch/1/gossip")
        .heartbeat_interval(GOSSIP_HEARTBEAT)
        .heartbeat_initial_delay(Duration::from_secs(1))
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(GOSSIP_BYTES)
        .flood_publish(false)
        .history_length(4)
        .history_gossip(2)
        .connection_handler_queue_len(256)
        .build()
        .map_err(|e| NetError::Setup(e.to_string()))?;
    let author = gossipsub::MessageAuthenticity::Signed(keypair.clone());
    gossipsub::Behaviour::new(author, config).map_err(|e| NetError::Setup(e.to_string()))
}

/// One topic per cluster. Only its members hear it anyway.
pub(crate) fn topic(cluster_key: &[u8; 32]) -> gossipsub::IdentTopic {
    let name = blake3::derive_key("filch 2026 gossip topic v1", cluster_key);
    gossipsub::IdentTopic::new(format!("filch/1/{}", filch_types::BlobId(name).short()))
}

fn kademlia(peer: libp2p::PeerId) -> kad::Behaviour<MemoryStore> {
    // Only for finding members: nothing that others want stored is taken (the filter's events are dropped).
    let store =
        MemoryStoreConfig { max_records: 1, max_value_bytes: 1, max_providers_per_key: 1, max_provided_keys: 1 };
    let mut config = kad::Config::new(KADEMLIA);
    config.set_record_filtering(kad::StoreInserts::FilterBoth);
    config.set_replication_interval(None);
    config.set_publication_interval(None);
    config.set_provider_publication_interval(None);
    config.set_periodic_bootstrap_interval(Some(KADEMLIA_EVERY));
    config.set_query_timeout(Duration::from_secs(30));
    let mut kad = kad::Behaviour::with_config(peer, MemoryStore::with_config(peer, store), config);
    // Otherwise a node without a confirmed outside address would only ask and never answer.
    kad.set_mode(Some(kad::Mode::Server));
    kad
}

/// What mDNS is started with.
pub(crate) fn mdns_config(query_every: Duration) -> mdns::Config {
    mdns::Config { ttl: Duration::from_secs(360), query_interval: query_every, enable_ipv6: false }
}
