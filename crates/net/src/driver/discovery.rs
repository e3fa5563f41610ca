//! Finding members: what the book says is due is dialled, what is learned goes into the book and on to others.

use std::time::{Duration, Instant};

use filch_types::NodeId;
use filch_types::members::Known;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};
use tokio::net::lookup_host;

use super::{Driver, Inbound};
use crate::address::{self, Address};
use crate::book::{Failure, Source, Target};
use crate::exchange;
use crate::handle::NetEvent;

/// One random peer is asked this often, so that what was missed is learned in the end.
pub(super) const COMPARE: Duration = Duration::from_secs(300);
/// What was learned is told to this many random peers, ...
const SPREAD_TO: usize = 3;
/// ... after this long: at a common start much is learned at once.
const SPREAD_AFTER: Duration = Duration::from_millis(700);
/// Nodes whose failed dials are told.
pub(super) const MAX_NAMED: usize = 64;
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);
const MAX_LOOKED_UP: usize = 8;

impl Driver {
    /// Where a member was in an earlier life.
    pub fn remember(&mut self, node: NodeId, addrs: Vec<Address>, now: Instant) {
        let Some(peer) = address::peer_id(&node) else { return };
        let addrs: Vec<Multiaddr> = addrs.into_iter().map(|a| a.addr).collect();
        self.book_changed = true;
        self.book.learn(peer, &addrs, Source::Own, now);
    }

    /// Does what is due about other nodes.
    pub fn discover(&mut self, now: Instant) {
        let beyond = self.listening.iter().any(|(_, addr)| !address::is_loopback(addr));
        if let Some(lan) = self.lan.as_mut().filter(|_| beyond) {
            lan.update(&mut self.swarm.behaviour_mut().mdns, &self.listening, self.peers.len(), now);
        }
        if self.book_changed || self.book_deadline.is_some_and(|at| at <= now) {
            self.book_changed = true;
            for (target, addrs) in self.book.due(now) {
                self.look_up_and_dial(target, addrs, now);
            }
        }
        if self.spread.is_some_and(|at| at <= now) {
            self.spread = None;
            self.exchange_with_some(SPREAD_TO);
        }
        if self.compare <= now {
            self.compare = now + COMPARE;
            self.exchange_with_some(1);
        }
    }

    /// Names are looked up by the system (hosts file, resolver), aside.
    fn look_up_and_dial(&mut self, target: Target, addrs: Vec<Multiaddr>, now: Instant) {
        if addrs.iter().all(|a| address::ip(a).is_some()) {
            return self.dial(target, addrs, now);
        }
        let to = self.inbound_to.clone();
        let stop = self.shared.stop.clone();
        tokio::spawn(async move {
            let found = tokio::time::timeout(LOOKUP_LIMIT, look_up(&addrs));
            if let Some(found) = stop.run_until_cancelled(found).await {
                let found = found.unwrap_or_else(|_| Err("the name was not found in time".into()));
                let _ = to.send(Inbound::Resolved(target, found)).await;
            }
        });
    }

    pub fn dial(&mut self, target: Target, addrs: Vec<Multiaddr>, now: Instant) {
        self.count(|c| &c.dials);
        let opts = match (&target, addrs.first()) {
            (Target::Peer(peer), _) => {
                DialOpts::peer_id(*peer).addresses(addrs).condition(PeerCondition::DisconnectedAndNotDialing).build()
            }
            (Target::Seed(_), Some(addr)) => DialOpts::unknown_peer_id().address(addr.clone()).build(),
            (Target::Seed(_), None) => return self.dial_failed(&target, Failure::Unreachable, "no address", now),
        };
        let id = opts.connection_id();
        self.dials.insert(id, target);
        if let Err(error) = self.swarm.dial(opts) {
            // Not every error comes again as an event.
            self.outgoing_failed(id, None, error, now);
        }
    }

    /// Takes addresses of a node, and passes on what is new.
    pub fn learn(&mut self, peer: PeerId, addrs: &[Multiaddr], source: Source, now: Instant) {
        if !self.book.learn(peer, addrs, source, now) {
            return;
        }
        self.book_changed = true;
        if !self.peers.contains_key(&peer) {
            return;
        }
        self.book.connected(peer, None, now);
        self.tell_reachable(&peer);
        if let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() {
            for addr in addrs {
                kad.add_address(&peer, addr.clone());
            }
        }
        if self.config.exchange && self.peers.len() > 1 {
            self.spread.get_or_insert(now + SPREAD_AFTER);
        }
    }

    pub fn tell_reachable(&mut self, peer: &PeerId) {
        let Some(node) = address::node_id(peer) else { return };
        let addrs: Vec<String> = self.book.addresses(peer).iter().map(|a| address::shown(a, *peer)).collect();
        if !addrs.is_empty() {
            self.out.push_back(NetEvent::Reachable(node, addrs));
        }
    }

    /// What this node would tell a peer.
    pub fn known_to(&self, peer: &PeerId) -> Known {
        let loopback = self.over_loopback(peer);
        let own: Vec<Multiaddr> = self.listening.iter().map(|(_, addr)| addr.clone()).collect();
        exchange::tell(&own, self.book.members().filter(|(p, _)| *p != peer), loopback)
    }

    pub fn on_known(&mut self, from: PeerId, known: &Known, now: Instant) {
        for (peer, addrs) in exchange::read(known, from, self.over_loopback(&from)) {
            let source = if peer == from { Source::Own } else { Source::Hearsay };
            self.learn(peer, &addrs, source, now);
        }
    }

    pub fn over_loopback(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|p| p.connections.values().any(|c| c.loopback))
    }

    pub fn exchange_with(&mut self, peer: &PeerId) {
        if self.config.exchange {
            let known = self.known_to(peer);
            self.swarm.behaviour_mut().exchange.send_request(peer, Ok(known));
        }
    }

    fn exchange_with_some(&mut self, count: usize) {
        let mut peers: Vec<PeerId> = self.peers.keys().copied().collect();
        for _ in 0..count.min(peers.len()) {
            // The map's order is random per process; stepping through it is random enough.
            self.draws = self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let peer = peers.swap_remove((self.draws >> 33) as usize % peers.len());
            self.exchange_with(&peer);
        }
    }
}

async fn look_up(addrs: &[Multiaddr]) -> Result<Vec<Multiaddr>, String> {
    let mut all = Vec::new();
    let mut why = String::new();
    for addr in addrs {
        let Some(name) = addr.iter().next() else { continue };
        let (host, v4, v6) = match &name {
            Protocol::Dns(host) => (host, true, true),
            Protocol::Dns4(host) => (host, true, false),
            Protocol::Dns6(host) => (host, false, true),
            _ => {
                all.push(addr.clone());
                continue;
            }
        };
        match lookup_host((host.as_ref(), 0)).await {
            Ok(found) => {
                let fit = found.map(|s| s.ip()).filter(|ip| if ip.is_ipv4() { v4 } else { v6 });
                for ip in fit.take(MAX_LOOKED_UP) {
                    all.push(std::iter::once(Protocol::from(ip)).chain(addr.iter().skip(1)).collect());
                }
            }
            Err(error) => why = format!("`{host}` was not found: {error}"),
        }
    }
    if all.is_empty() { Err(why) } else { Ok(all) }
}
