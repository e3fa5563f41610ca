//! Connections come and go: the swarm's own events.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Instant;

use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionId, DialError, ListenError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, TransportError};

use super::{Connection, Driver, Peer, Window};
use crate::address;
use crate::behaviour::BehaviourEvent;
use crate::book::{Failure, Target};
use crate::handle::NetEvent;
use crate::membership::HandshakeError;
use crate::transport::{handshake_error, speaks_otherwise};

impl Driver {
    pub fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>, now: Instant) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_protocol(event, now),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.established(peer_id, connection_id, &endpoint, now);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                tracing::debug!(peer = %peer_id, ?cause, left = num_established, "a connection closed");
                self.closed(peer_id, connection_id, num_established, now);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                self.incoming_failed(&send_back_addr, &error, now);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.outgoing_failed(connection_id, peer_id, error, now);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                let own = *self.swarm.local_peer_id();
                self.out.push_back(NetEvent::Listening(address::shown(&address, own)));
                self.listening.push((listener_id, address));
                self.publish_listening();
            }
            SwarmEvent::ExpiredListenAddr { listener_id, address } => {
                self.listening.retain(|(id, a)| (*id, a) != (listener_id, &address));
                self.publish_listening();
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                if let Err(error) = reason {
                    tracing::warn!(%error, "a listener ended");
                }
                self.listening.retain(|(id, _)| *id != listener_id);
                self.publish_listening();
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener failed"),
            _ => {}
        }
    }

    fn established(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint, now: Instant) {
        let Some(node) = address::node_id(&peer) else { return };
        let remote = endpoint.get_remote_address();
        let connection = Connection { loopback: address::is_loopback(remote), heard: now };
        let first = !self.peers.contains_key(&peer);
        let entry = self.peers.entry(peer).or_insert_with(|| Peer {
            node,
            connections: HashMap::new(),
            heard: now,
            gossip: Window { since: now, count: 0 },
            outbox: None,
        });
        entry.connections.insert(id, connection);

        let dialled = match endpoint {
            ConnectedPoint::Dialer { address, .. } => address::split(address.clone()).ok().map(|a| a.addr),
            ConnectedPoint::Listener { .. } => None,
        };
        self.book_changed = true;
        let news = self.book.connected(peer, dialled.as_ref(), now);
        if let Some(Target::Seed(addr)) = self.dials.remove(&id) {
            self.book.answered(&addr, peer);
        }
        if first {
            self.shared.up.write().unwrap_or_else(PoisonError::into_inner).insert(node);
            self.out.push_back(NetEvent::Up(node));
        }
        if first || news {
            self.tell_reachable(&peer);
        }
        if let (Some(addr), Some(kad)) = (dialled, self.swarm.behaviour_mut().kad.as_mut()) {
            kad.add_address(&peer, addr);
        }
        if endpoint.is_dialer() {
            self.exchange_with(&peer);
        }
    }

    fn closed(&mut self, peer: PeerId, id: ConnectionId, left: u32, now: Instant) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.connections.remove(&id);
        }
        if left > 0 {
            return;
        }
        let Some(entry) = self.peers.remove(&peer) else { return };
        self.book_changed = true;
        self.book.disconnected(peer, now);
        self.shared.up.write().unwrap_or_else(PoisonError::into_inner).remove(&entry.node);
        for id in self.asked.lost(&peer) {
            self.request_failed(id);
        }
        self.out.push_back(NetEvent::Down(entry.node));
    }

    fn incoming_failed(&mut self, from: &Multiaddr, error: &ListenError, now: Instant) {
        match error {
            ListenError::Transport(TransportError::Other(io)) => match handshake_error(io) {
                Some(error) if error.is_refusal() => {
                    let (who, why) = told(error, from);
                    self.refused(who, why, now);
                }
                _ => tracing::debug!(%from, error = %chain(io), "an incoming connection failed"),
            },
            ListenError::Denied { cause } => {
                self.count(|c| &c.refused);
                tracing::debug!(%from, %cause, "an incoming connection was one too many");
            }
            other => tracing::debug!(%from, error = %other, "an incoming connection failed"),
        }
    }

    pub(super) fn outgoing_failed(&mut self, id: ConnectionId, peer: Option<PeerId>, error: DialError, now: Instant) {
        let target = self.dials.remove(&id);
        let (failure, why) = match &error {
            DialError::LocalPeerId { .. } => (Failure::Self_, String::new()),
            DialError::WrongPeerId { obtained, address } => {
                if let Ok(found) = address::split(address.clone()) {
                    self.book_changed = true;
                    self.book.moved_in(peer, *obtained, &found.addr, now);
                }
                (Failure::Unreachable, "another node answered there".to_string())
            }
            DialError::Transport(errors) => self.dial_errors(errors, now),
            DialError::Denied { cause } => (Failure::Unreachable, cause.to_string()),
            DialError::DialPeerConditionFalse(_) => {
                if let Some(target) = target {
                    self.book_changed = true;
                    self.book.not_needed(&target, now);
                }
                return;
            }
            // The swarm takes this node's own addresses out of a dial.
            DialError::NoAddresses if matches!(target, Some(Target::Seed(_))) => (Failure::Self_, String::new()),
            DialError::NoAddresses | DialError::Aborted => (Failure::Unreachable, error.to_string()),
        };
        // Kademlia dials, too: those are its own business.
        if let Some(target) = target {
            self.dial_failed(&target, failure, &why, now);
        }
    }

    /// A refusal at any of the addresses outweighs the other errors.
    fn dial_errors(
        &mut self,
        errors: &[(Multiaddr, TransportError<std::io::Error>)],
        now: Instant,
    ) -> (Failure, String) {
        let mut result = (Failure::Unreachable, String::new());
        for (addr, error) in errors {
            match error {
                TransportError::Other(io) => match handshake_error(io) {
                    Some(error) if error.is_refusal() => {
                        let (who, why) = told(error, addr);
                        self.refused(who, why.clone(), now);
                        return (Failure::Refused, why);
                    }
                    // Found on the LAN, but some other program.
                    _ if speaks_otherwise(io) => {
                        result = (Failure::Refused, "it is no filch node".to_string());
                    }
                    _ => result.1 = chain(io),
                },
                TransportError::MultiaddrNotSupported(_) => {
                    result.1 = "this node cannot use such an address".to_string();
                }
            }
        }
        result
    }

    pub fn dial_failed(&mut self, target: &Target, failure: Failure, why: &str, now: Instant) {
        self.book_changed = true;
        self.count(|c| &c.dials_failed);
        self.book.failed(target, failure, now);
        let who = match target {
            Target::Seed(addr) => addr.to_string(),
            Target::Peer(peer) if self.named.contains(peer) => match address::node_id(peer) {
                Some(node) => node.to_string(),
                None => return,
            },
            Target::Peer(_) => return,
        };
        if failure == Failure::Unreachable {
            self.refused(who, format!("it cannot be reached: {why}; still trying"), now);
        }
    }
}

/// Who and why, for people.
fn told(error: &HandshakeError, addr: &Multiaddr) -> (String, String) {
    (error.peer().map_or_else(|| addr.to_string(), |node| node.to_string()), error.to_string())
}

/// The innermost message: the layers above only say that something below them failed.
fn chain(error: &std::io::Error) -> String {
    let mut text = error.to_string();
    let mut next: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(inner) = next {
        text = inner.to_string();
        next = inner.source();
    }
    text
}
