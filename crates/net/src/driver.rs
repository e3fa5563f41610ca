//! The task that owns the swarm: commands in, events out.

mod connections;
mod discovery;
mod protocols;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use filch_core::io::ReqId;
use filch_types::wire::{Message, Request, Response};
use filch_types::{NodeId, codec, limits};
use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::request_response::{OutboundRequestId, ResponseChannel};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, gossipsub};
use tokio::sync::mpsc;

use crate::address::{self, Address};
use crate::behaviour::{Behaviour, BehaviourEvent};
use crate::book::{Book, Target};
use crate::config::NetConfig;
use crate::handle::{Command, NetEvent, Shared};
use crate::lan::Lan;
use crate::messages::{Outbox, Queue};
use crate::refusals::Refusals;
use crate::requests::{Asked, Owed};
use crate::streams::{BlobStream, Opener};

/// Commands that are taken before the swarm gets its turn.
const BATCH: usize = 128;
/// How long what was said before the end may take to be written, ...
const LAST_WORDS: Duration = Duration::from_secs(1);
const LAST_WORDS_CHECK: Duration = Duration::from_millis(2);
/// ... and connections to close after it.
const FAREWELL: Duration = Duration::from_secs(3);
/// The longest sleep; wakes nobody else, so it may be rare.
const LONG: Duration = Duration::from_secs(300);

/// What other tasks hand to the driver, so that a peer's messages come after its `Up`.
pub(crate) enum Inbound {
    Message(PeerId, Message),
    Stream(PeerId, BlobStream),
    /// It broke a rule.
    Bad(PeerId, String),
    /// A name was looked up for a dial.
    Resolved(Target, Result<Vec<Multiaddr>, String>),
}

/// A connected peer.
struct Peer {
    node: NodeId,
    connections: HashMap<ConnectionId, Connection>,
    /// When it last said anything.
    heard: Instant,
    gossip: Window,
    outbox: Option<Outbox>,
}

struct Connection {
    loopback: bool,
    /// When something was last heard on it, as far as protocols tell.
    heard: Instant,
}

/// Counts events per second.
struct Window {
    since: Instant,
    count: u32,
}

pub(crate) struct Driver {
    swarm: Swarm<Behaviour>,
    config: NetConfig,
    topic: gossipsub::IdentTopic,
    opener: Opener,
    shared: Arc<Shared>,
    inbound_to: mpsc::Sender<Inbound>,
    out: VecDeque<NetEvent>,
    peers: HashMap<PeerId, Peer>,
    book: Book,
    /// Dials on their way.
    dials: HashMap<ConnectionId, Target>,
    /// Nodes that a person or the configuration named: their failures are told.
    named: BTreeSet<PeerId>,
    listening: Vec<(ListenerId, Multiaddr)>,
    lan: Option<Lan>,
    asked: Asked<OutboundRequestId>,
    owed: Owed<ResponseChannel<Response>>,
    /// Answers that are not written yet.
    answering: usize,
    refusals: Refusals,
    /// When to tell some peers what was learned.
    spread: Option<Instant>,
    /// When to compare notes with one peer.
    compare: Instant,
    /// Numbers draws of random peers.
    draws: u64,
    /// The book's deadline, as long as nothing changed it.
    book_deadline: Option<Instant>,
    book_changed: bool,
}

impl Driver {
    pub fn new(
        swarm: Swarm<Behaviour>,
        config: NetConfig,
        topic: gossipsub::IdentTopic,
        opener: Opener,
        shared: Arc<Shared>,
        inbound_to: mpsc::Sender<Inbound>,
        seed: u64,
    ) -> Self {
        let own = *swarm.local_peer_id();
        let l = &config.limits;
        let book = Book::new(own, l.known_peers, l.pending_outgoing as usize, l.mesh, seed);
        let asked = Asked::new(l.requests_in_flight, l.requests_queued, l.request);
        let owed = Owed::new(l.answers_owed, l.request);
        let lan = config.mdns.then(|| Lan::new(own));
        Self {
            swarm,
            topic,
            opener,
            shared,
            inbound_to,
            out: VecDeque::new(),
            peers: HashMap::new(),
            book,
            dials: HashMap::new(),
            named: BTreeSet::new(),
            listening: Vec::new(),
            lan,
            asked,
            owed,
            answering: 0,
            refusals: Refusals::default(),
            spread: None,
            compare: Instant::now() + discovery::COMPARE,
            draws: seed,
            book_deadline: None,
            book_changed: true,
            config,
        }
    }

    pub async fn next_swarm_event(&mut self) -> SwarmEvent<BehaviourEvent> {
        self.swarm.select_next_some().await
    }

    /// Until shutdown, or until nobody holds the other ends any more.
    pub async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut inbound: mpsc::Receiver<Inbound>,
        events: mpsc::Sender<NetEvent>,
    ) {
        let stop = self.shared.stop.clone();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            self.tick(Instant::now());
            while let Some(event) = self.out.pop_front() {
                // A driver that does not read stops the network, not the memory.
                match stop.run_until_cancelled(events.send(event)).await {
                    Some(Ok(())) => {}
                    Some(Err(_)) => stop.cancel(),
                    None => break,
                }
            }
            let wake = self.deadline();
            tokio::select! {
                () = stop.cancelled() => break,
                taken = commands.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        break;
                    }
                    let now = Instant::now();
                    for command in batch.drain(..) {
                        self.on_command(command, now);
                    }
                }
                event = self.swarm.select_next_some() => {
                    let now = Instant::now();
                    if matches!(event, SwarmEvent::ConnectionClosed { .. }) {
                        // What came over it comes before its end.
                        while let Ok(event) = inbound.try_recv() {
                            self.on_inbound(event, now);
                        }
                    }
                    self.on_swarm(event, now);
                }
                Some(event) = inbound.recv() => self.on_inbound(event, Instant::now()),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
        stop.cancel();
        commands.close();
        while let Ok(command) = commands.try_recv() {
            self.on_command(command, Instant::now());
        }
        self.last_words().await;
        self.farewell().await;
    }

    /// What the driver said before it said `Shutdown` still goes out.
    async fn last_words(&mut self) {
        let until = tokio::time::Instant::now() + LAST_WORDS;
        while self.answering > 0 || self.peers.values().filter_map(|p| p.outbox.as_ref()).any(|o| !o.queue.is_idle()) {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm(event, Instant::now()),
                () = tokio::time::sleep(LAST_WORDS_CHECK) => {}
                () = tokio::time::sleep_until(until) => return,
            }
            self.out.clear();
        }
    }

    /// Closes every connection, so that the peers see it now and not after a time limit.
    async fn farewell(mut self) {
        self.peers.clear();
        let connected: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in connected {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        if tokio::time::timeout(FAREWELL, closed).await.is_err() {
            tracing::debug!("some connections did not close in time");
        }
    }

    fn on_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Send(node, message) => self.send(node, &message),
            Command::Request(node, id, request) => self.request(node, id, request, now),
            Command::Respond(token, response) => {
                if let Some(channel) = self.owed.take(token) {
                    match self.swarm.behaviour_mut().requests.send_response(channel, response) {
                        Ok(()) => self.answering += 1,
                        // The requester is gone or its time is over.
                        Err(_) => self.count(|c| &c.answers_missed),
                    }
                }
            }
            Command::Publish(summary) => match codec::encode(&summary, limits::MAX_SUMMARY) {
                Ok(bytes) => {
                    self.count(|c| &c.gossip_out);
                    if let Err(error) = self.swarm.behaviour_mut().gossip.publish(self.topic.clone(), bytes) {
                        // Nobody there, or everybody busy: gossip is only a hint.
                        tracing::trace!(%error, "not published");
                    }
                }
                Err(error) => tracing::warn!(%error, job = ?summary.job, "a summary was not published"),
            },
            Command::Dial(text) => match address::parse(&text) {
                Ok(address) => self.meet(address, now),
                Err(error) => self.refused(text, error.to_string(), now),
            },
            Command::Shutdown => self.shared.stop.cancel(),
        }
    }

    fn send(&mut self, node: NodeId, message: &Message) {
        let Some(peer) = address::peer_id(&node).filter(|p| self.peers.contains_key(p)) else {
            return self.count(|c| &c.messages_dropped);
        };
        let bytes = match codec::encode(message, limits::MAX_FRAME) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(%error, to = ?node, "a message was not sent");
                return self.count(|c| &c.messages_dropped);
            }
        };
        let (opener, counters) = (&self.opener, &self.shared.counters);
        let l = &self.config.limits;
        if let Some(entry) = self.peers.get_mut(&peer) {
            let outbox = entry.outbox.get_or_insert_with(|| {
                let queue = Queue::new(l.messages_queued, l.message_bytes_queued);
                Outbox::start(peer, node, opener.clone(), queue, counters.clone())
            });
            let dropped = outbox.queue.push(bytes);
            counters.add(&counters.messages_dropped, dropped);
        }
    }

    fn request(&mut self, node: NodeId, id: ReqId, request: Request, now: Instant) {
        match address::peer_id(&node).filter(|p| self.peers.contains_key(p)) {
            Some(peer) if self.asked.push(peer, id, request, now) => self.pump(peer, now),
            _ => self.request_failed(id),
        }
    }

    /// Puts waiting requests on the wire as far as that is allowed.
    fn pump(&mut self, peer: PeerId, now: Instant) {
        while let Some((id, request)) = self.asked.next(peer) {
            let wire = self.swarm.behaviour_mut().requests.send_request(&peer, Ok(request));
            self.asked.sent(peer, id, wire, now);
            self.count(|c| &c.requests_out);
        }
    }

    fn request_failed(&mut self, id: ReqId) {
        self.count(|c| &c.requests_failed);
        self.out.push_back(NetEvent::RequestFailed(id));
    }

    fn on_inbound(&mut self, event: Inbound, now: Instant) {
        match event {
            Inbound::Message(peer, message) => {
                let Some(node) = self.heard(&peer, now) else { return };
                self.count(|c| &c.messages_in);
                self.out.push_back(NetEvent::Message(node, message));
            }
            Inbound::Stream(peer, stream) => {
                let Some(node) = self.heard(&peer, now) else { return };
                self.count(|c| &c.streams_in);
                self.out.push_back(NetEvent::Stream(node, stream));
            }
            Inbound::Bad(peer, why) => self.refused_peer(&peer, why, now),
            Inbound::Resolved(target, Ok(addrs)) => self.dial(target, addrs, now),
            Inbound::Resolved(target, Err(why)) => {
                self.dial_failed(&target, crate::book::Failure::Unreachable, &why, now)
            }
        }
    }

    /// Does what is due.
    fn tick(&mut self, now: Instant) {
        for id in self.asked.expired(now) {
            self.request_failed(id);
        }
        let missed = self.owed.expire(now);
        self.shared.counters.add(&self.shared.counters.answers_missed, missed);
        self.discover(now);
    }

    fn deadline(&mut self) -> Instant {
        if std::mem::take(&mut self.book_changed) {
            self.book_deadline = self.book.deadline();
        }
        let lan = self.lan.as_ref().and_then(|l| l.deadline(self.peers.len()));
        let some = [self.book_deadline, self.asked.deadline(), self.owed.deadline(), lan, self.spread];
        let first = some.into_iter().flatten().min().unwrap_or(self.compare).min(self.compare);
        first.min(Instant::now() + LONG)
    }

    /// Notes that a connected peer said something; none if it is not connected (any more).
    fn heard(&mut self, peer: &PeerId, now: Instant) -> Option<NodeId> {
        let entry = self.peers.get_mut(peer)?;
        entry.heard = now;
        Some(entry.node)
    }

    /// The same, on a known connection.
    fn heard_on(&mut self, peer: &PeerId, connection: ConnectionId, now: Instant) -> Option<NodeId> {
        if let Some(connection) = self.peers.get_mut(peer).and_then(|p| p.connections.get_mut(&connection)) {
            connection.heard = now;
        }
        self.heard(peer, now)
    }

    fn refused_peer(&mut self, peer: &PeerId, why: String, now: Instant) {
        let who = address::node_id(peer).map_or_else(|| peer.to_string(), |n| n.to_string());
        self.refused(who, why, now);
    }

    fn refused(&mut self, who: String, why: String, now: Instant) {
        self.count(|c| &c.refused);
        if self.refusals.tell(&who, &why, now) {
            tracing::info!(%who, %why, "refused");
            self.out.push_back(NetEvent::Refused { who, why });
        }
    }

    fn count(&self, which: impl Fn(&crate::counters::Counters) -> &std::sync::atomic::AtomicU64) {
        let counters = &self.shared.counters;
        counters.one(which(counters));
    }

    fn publish_listening(&self) {
        let own = *self.swarm.local_peer_id();
        let texts = self.listening.iter().map(|(_, addr)| address::shown(addr, own)).collect();
        *self.shared.listening.write().unwrap_or_else(PoisonError::into_inner) = texts;
    }

    /// A person or the configuration wants the node at this address.
    pub fn meet(&mut self, address: Address, now: Instant) {
        self.book_changed = true;
        match address.peer {
            Some(peer) => {
                if self.named.len() < discovery::MAX_NAMED {
                    self.named.insert(peer);
                }
                self.book.wanted(peer, &address.addr, now);
            }
            None => self.book.seed(address.addr, now),
        }
    }
}
