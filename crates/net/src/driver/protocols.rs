//! What the protocols on the connections say.

use std::time::{Duration, Instant};

use filch_types::codec::{self, CodecError};
use filch_types::limits;
use filch_types::members::Known;
use filch_types::wire::{Request, Response, Summary};
use libp2p::gossipsub::{self, MessageAcceptance};
use libp2p::request_response::{self, InboundFailure, OutboundFailure};
use libp2p::swarm::ConnectionId;
use libp2p::{PeerId, identify, kad, mdns, ping};

use super::Driver;
use crate::address;
use crate::behaviour::BehaviourEvent;
use crate::book::Source;
use crate::frame;
use crate::handle::NetEvent;

impl Driver {
    pub(super) fn on_protocol(&mut self, event: BehaviourEvent, now: Instant) {
        match event {
            BehaviourEvent::Requests(event) => self.on_request_event(event, now),
            BehaviourEvent::Exchange(event) => self.on_exchange_event(event, now),
            BehaviourEvent::Gossip(gossipsub::Event::Message { propagation_source, message_id, message }) => {
                let verdict = self.on_gossip(&propagation_source, &message.data, now);
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                gossip.report_message_validation_result(&message_id, &propagation_source, verdict);
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, addr) in found {
                    if let Ok(found) = address::split(addr) {
                        self.learn(peer, &[found.addr], Source::Lan, now);
                    }
                }
            }
            BehaviourEvent::Kad(event) => self.on_kad(event, now),
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                let loopback = self.over_loopback(&peer_id);
                let addrs = info.listen_addrs.into_iter().filter_map(|a| address::split(a).ok()).map(|a| a.addr);
                let addrs = addrs.filter(|a| address::may_be_told(a, loopback)).take(limits::MAX_ADDRS);
                self.learn(peer_id, &addrs.collect::<Vec<_>>(), Source::Own, now);
            }
            BehaviourEvent::Ping(event) => match event.result {
                Ok(_) => {
                    self.heard_on(&event.peer, event.connection, now);
                }
                Err(ping::Failure::Unsupported) => {}
                Err(error) => {
                    tracing::debug!(peer = %event.peer, %error, "a connection is dead");
                    self.swarm.close_connection(event.connection);
                }
            },
            _ => {}
        }
    }

    fn on_request_event(
        &mut self,
        event: request_response::Event<Result<Request, CodecError>, Response>,
        now: Instant,
    ) {
        use request_response::{Event, Message};
        match event {
            Event::Message { peer, connection_id, message: Message::Request { request, channel, .. } } => {
                let Some(node) = self.heard_on(&peer, connection_id, now) else { return };
                self.count(|c| &c.requests_in);
                let request = match request {
                    Ok(request) => request,
                    // Dropping the channel lets the requester know, here and below.
                    Err(error) => return self.refused_peer(&peer, frame::bad(&error), now),
                };
                match self.owed.add(channel, now) {
                    Some(token) => self.out.push_back(NetEvent::Request(node, token, request)),
                    None => self.count(|c| &c.answers_missed),
                }
            }
            Event::Message { peer, connection_id, message: Message::Response { request_id, response } } => {
                self.heard_on(&peer, connection_id, now);
                if let Some((_, id, _)) = self.asked.ended(&request_id) {
                    self.out.push_back(NetEvent::Response(id, response));
                }
                self.pump(peer, now);
            }
            Event::OutboundFailure { peer, connection_id, request_id, error } => {
                if let Some((_, id, sent)) = self.asked.ended(&request_id) {
                    self.request_failed(id);
                    self.on_outbound_failure(&peer, connection_id, &error, sent, now);
                }
                self.pump(peer, now);
            }
            Event::InboundFailure { peer, error, .. } => {
                // One that was omitted was never counted.
                if !matches!(error, InboundFailure::ResponseOmission) {
                    self.answering = self.answering.saturating_sub(1);
                }
                tracing::debug!(%peer, %error, "a request was not answered");
            }
            Event::ResponseSent { .. } => self.answering = self.answering.saturating_sub(1),
        }
    }

    fn on_outbound_failure(
        &mut self,
        peer: &PeerId,
        connection: ConnectionId,
        error: &OutboundFailure,
        sent: Instant,
        now: Instant,
    ) {
        match error {
            OutboundFailure::Io(error) => match frame::broke_rules(error) {
                Some(why) => self.refused_peer(peer, why, now),
                None => tracing::debug!(%peer, %error, "a request failed"),
            },
            // Not one word since: the link is dead, and TCP would find out in a quarter of an hour. A new connection has
            // a chance as soon as there is a way again.
            OutboundFailure::Timeout if self.is_silent(peer, connection, sent) => {
                tracing::debug!(%peer, "a connection was silent for a whole request: closing it");
                self.swarm.close_connection(connection);
            }
            error => tracing::debug!(%peer, %error, "a request failed"),
        }
    }

    /// Of several connections of a peer one may be a dead remnant while the others live.
    fn is_silent(&self, peer: &PeerId, connection: ConnectionId, since: Instant) -> bool {
        let Some(peer) = self.peers.get(peer) else { return false };
        let heard = peer.connections.get(&connection).map_or(peer.heard, |c| c.heard);
        heard < since && (peer.heard < since || peer.connections.len() > 1)
    }

    fn on_exchange_event(&mut self, event: request_response::Event<Result<Known, CodecError>, Known>, now: Instant) {
        use request_response::{Event, Message};
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.heard(&peer, now);
                let request = match request {
                    Ok(request) => request,
                    Err(error) => return self.refused_peer(&peer, frame::bad(&error), now),
                };
                let answer = if self.config.exchange { self.known_to(&peer) } else { Known::default() };
                let _ = self.swarm.behaviour_mut().exchange.send_response(channel, answer);
                self.take_known(peer, &request, now);
            }
            Event::Message { peer, message: Message::Response { response, .. }, .. } => {
                self.heard(&peer, now);
                self.take_known(peer, &response, now);
            }
            Event::OutboundFailure { peer, error: OutboundFailure::Io(error), .. } => {
                if let Some(why) = frame::broke_rules(&error) {
                    self.refused_peer(&peer, why, now);
                }
            }
            _ => {}
        }
    }

    fn take_known(&mut self, peer: PeerId, known: &Known, now: Instant) {
        if self.config.exchange && self.peers.contains_key(&peer) {
            self.on_known(peer, known, now);
        }
    }

    fn on_gossip(&mut self, source: &PeerId, data: &[u8], now: Instant) -> MessageAcceptance {
        let limit = self.config.limits.gossip_per_second;
        let Some(peer) = self.peers.get_mut(source) else { return MessageAcceptance::Ignore };
        peer.heard = now;
        if now.saturating_duration_since(peer.gossip.since) >= Duration::from_secs(1) {
            peer.gossip.since = now;
            peer.gossip.count = 0;
        }
        peer.gossip.count += 1;
        if peer.gossip.count > limit {
            self.count(|c| &c.gossip_refused);
            return MessageAcceptance::Ignore;
        }
        match codec::decode::<Summary>(data, limits::MAX_SUMMARY) {
            Ok(summary) => {
                self.count(|c| &c.gossip_in);
                self.out.push_back(NetEvent::Gossip(summary));
                MessageAcceptance::Accept
            }
            Err(error) => {
                self.count(|c| &c.gossip_refused);
                self.refused_peer(source, format!("passed on bad gossip: {error}"), now);
                MessageAcceptance::Reject
            }
        }
    }

    fn on_kad(&mut self, event: kad::Event, now: Instant) {
        if let kad::Event::RoutingUpdated { peer, addresses, .. } = event {
            let addrs = addresses.iter().filter_map(|a| address::split(a.clone()).ok()).map(|a| a.addr);
            let addrs: Vec<_> = addrs.take(limits::MAX_ADDRS).collect();
            self.learn(peer, &addrs, Source::Hearsay, now);
        }
    }
}
