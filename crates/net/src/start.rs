//! From a configuration to a running network.

use std::collections::HashSet;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use filch_types::NodeId;
use libp2p::core::transport::ListenerId;
use libp2p::identity::Keypair;
use libp2p::swarm::{self, SwarmEvent};
use libp2p::{Swarm, TransportError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::address::{self, Address};
use crate::behaviour::{self, BLOBS, Behaviour, MESSAGES};
use crate::config::{NetConfig, NetError};
use crate::counters::Counters;
use crate::driver::{Driver, Inbound};
use crate::handle::{Net, NetEvent, Shared};
use crate::membership::{ClusterKey, Gate};
use crate::messages;
use crate::streams::{self, BlobStream, Opener, Permits};
use crate::transport;

/// What nobody asked for stays on the machine.
const DEFAULT_LISTEN: &str = "/ip4/127.0.0.1/tcp/0";
/// Connections to members stay up although nothing is said for long.
const IDLE: Duration = Duration::from_secs(365 * 24 * 3600);
/// A listener that the system accepted has an address at once; this only bounds a bug.
const LISTEN_LIMIT: Duration = Duration::from_secs(5);
/// Streams of messages of one peer into this node: one per connection is in use.
const MESSAGE_STREAMS_PER_PEER: usize = 4;
/// Frames and streams between the tasks that read them and the driver.
const INBOUND: usize = 256;

/// Starts the network. Returns when all listen addresses are bound. Must be called within a tokio runtime.
pub async fn start(config: NetConfig) -> Result<(Net, mpsc::Receiver<NetEvent>), NetError> {
    let keypair = Keypair::ed25519_from_bytes(config.secret).map_err(|e| NetError::Identity(e.to_string()))?;
    let peer = keypair.public().to_peer_id();
    let own = address::node_id(&peer).ok_or_else(|| NetError::Identity("no ed25519 key".into()))?;
    let counters = Arc::new(Counters::default());
    let plan = Plan::read(&config)?;

    let mut swarm = build_swarm(&config, &keypair, own, counters.clone())?;
    let topic = behaviour::topic(&config.cluster_key);
    swarm.behaviour_mut().gossip.subscribe(&topic).map_err(|e| NetError::Setup(e.to_string()))?;
    let listeners = listen(&mut swarm, &plan.listen)?;

    let stop = CancellationToken::new();
    let (inbound_to, inbound) = mpsc::channel(INBOUND);
    take_streams(&swarm, &config, &inbound_to, &stop)?;
    let opener = Opener::new(swarm.behaviour().streams.new_control());
    let shared =
        Arc::new(Shared { own, listening: RwLock::default(), up: RwLock::default(), counters, stop: stop.clone() });
    let (commands_to, commands) = mpsc::channel(config.limits.commands.max(1));
    let (events, events_out) = mpsc::channel(config.limits.events.max(1));

    let mut driver = Driver::new(swarm, config, topic, opener.clone(), shared.clone(), inbound_to, random());
    await_listeners(&mut driver, listeners).await?;
    plan.apply(&mut driver);
    tokio::spawn(driver.run(commands, inbound, events));
    Ok((Net { commands: commands_to, opener, shared }, events_out))
}

/// The addresses of the configuration, checked before anything is done.
struct Plan {
    listen: Vec<Address>,
    bootstrap: Vec<Address>,
    remembered: Vec<(NodeId, Vec<Address>)>,
}

impl Plan {
    fn read(config: &NetConfig) -> Result<Self, NetError> {
        let mut listen = parse_all(&config.listen)?;
        if listen.is_empty() {
            listen = parse_all(&[DEFAULT_LISTEN.to_string()])?;
        }
        let mut remembered = Vec::new();
        for (node, texts) in &config.remembered {
            // From an earlier life, maybe of another version: what makes no sense is left out.
            let addrs: Vec<Address> = texts.iter().filter_map(|t| address::parse(t).ok()).collect();
            remembered.push((*node, addrs));
        }
        Ok(Self { listen, bootstrap: parse_all(&config.bootstrap)?, remembered })
    }

    fn apply(self, driver: &mut Driver) {
        let now = Instant::now();
        for (node, addrs) in self.remembered {
            driver.remember(node, addrs, now);
        }
        for address in self.bootstrap {
            driver.meet(address, now);
        }
    }
}

fn parse_all(texts: &[String]) -> Result<Vec<Address>, NetError> {
    let parse = |t: &String| address::parse(t).map_err(|source| NetError::Address { address: t.clone(), source });
    texts.iter().map(parse).collect()
}

fn build_swarm(
    config: &NetConfig,
    keypair: &Keypair,
    own: NodeId,
    counters: Arc<Counters>,
) -> Result<Swarm<Behaviour>, NetError> {
    let membership = Arc::new(ClusterKey::new(&config.cluster_key));
    let gate = Gate { own, membership, limit: config.limits.handshake };
    let transport = transport::build(keypair, gate, &config.limits, counters)?;
    let behaviour = Behaviour::new(keypair, config)?;
    let swarm_config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE);
    Ok(Swarm::new(transport, behaviour, keypair.public().to_peer_id(), swarm_config))
}

fn listen(swarm: &mut Swarm<Behaviour>, addresses: &[Address]) -> Result<HashSet<ListenerId>, NetError> {
    // libp2p listens with SO_REUSEPORT: two nodes would share a port, and get each other's connections by turns. All are tried
    // before any is taken, since `::` and `0.0.0.0` exclude each other here and not there.
    for Address { addr, .. } in addresses {
        if let Some(socket) = address::tcp_socket(addr) {
            std::net::TcpListener::bind(socket)
                .map_err(|error| NetError::Listen { address: addr.to_string(), why: error.to_string() })?;
        }
    }
    let mut ids = HashSet::new();
    for Address { addr, .. } in addresses {
        let id = swarm.listen_on(addr.clone()).map_err(|error| {
            let why = match error {
                TransportError::MultiaddrNotSupported(_) => "a listen address must be an IP address".to_string(),
                TransportError::Other(error) => error.to_string(),
            };
            NetError::Listen { address: addr.to_string(), why }
        })?;
        ids.insert(id);
    }
    Ok(ids)
}

/// Drives the swarm until every listener has said where it listens.
async fn await_listeners(driver: &mut Driver, mut waiting: HashSet<ListenerId>) -> Result<(), NetError> {
    let until = tokio::time::Instant::now() + LISTEN_LIMIT;
    while !waiting.is_empty() {
        let Ok(event) = tokio::time::timeout_at(until, driver.next_swarm_event()).await else {
            let why = format!("no address after {LISTEN_LIMIT:?}");
            return Err(NetError::Listen { address: "the given addresses".into(), why });
        };
        match &event {
            SwarmEvent::NewListenAddr { listener_id, .. } => {
                waiting.remove(listener_id);
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason: Err(error) }
                if waiting.contains(listener_id) =>
            {
                let address = addresses.first().map_or_else(|| "an address".to_string(), ToString::to_string);
                return Err(NetError::Listen { address, why: error.to_string() });
            }
            _ => {}
        }
        driver.on_swarm(event, Instant::now());
    }
    Ok(())
}

/// Takes streams that peers open: messages and blobs.
fn take_streams(
    swarm: &Swarm<Behaviour>,
    config: &NetConfig,
    inbound: &mpsc::Sender<Inbound>,
    stop: &CancellationToken,
) -> Result<(), NetError> {
    let mut control = swarm.behaviour().streams.new_control();
    let taken = |_| NetError::Setup("a stream protocol was registered twice".into());
    let limits = &config.limits;

    let streams = control.accept(MESSAGES).map_err(taken)?;
    let total = MESSAGE_STREAMS_PER_PEER.saturating_mul(limits.connections as usize);
    let to = inbound.clone();
    let read = move |peer, stream, permit| messages::read(peer, stream, permit, to.clone());
    tokio::spawn(streams::take(streams, Permits::new(MESSAGE_STREAMS_PER_PEER, total), stop.clone(), read));

    let streams = control.accept(BLOBS).map_err(taken)?;
    let to = inbound.clone();
    let hand_over = move |peer, stream, permit| {
        let to = to.clone();
        async move {
            let _ = to.send(Inbound::Stream(peer, BlobStream::new(stream, Some(permit)))).await;
        }
    };
    tokio::spawn(streams::take(
        streams,
        Permits::new(limits.streams_per_peer, limits.streams),
        stop.clone(),
        hand_over,
    ));
    Ok(())
}

/// A seed for jitter; without the system's randomness, jitter is the least of the problems.
fn random() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => 1,
    }
}
