//! Who is there, and who is believed alive: the soft view that stewards, leases and placement rest on.

use filch_types::time::Span;
use filch_types::wire::{Hello, Request, Response};
use filch_types::{JobId, NodeId, StoreId, Timestamp, limits};

use super::{Asked, Node, Timer};
use crate::io::{Event, Token};

/// How often a peer that says different things of itself is asked again, per connection.
const MAX_DOUBTS: u8 = 8;

/// A member.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    pub hello: Option<Hello>,
    pub connected: bool,
    pub down_since: Option<Timestamp>,
    pub last_heard: Timestamp,
    /// When the oldest unanswered probe was sent.
    pub unanswered_since: Option<Timestamp>,
    pub dead: bool,
    pub beat_in_flight: bool,
    pub beat_again: bool,
    /// Smoothed round trip; zero if unknown.
    pub rtt: Span,
    pub queued: u64,
    /// It said that its disk is full.
    pub disk_full: bool,
    /// It was told of the running jobs.
    pub announced: bool,
    /// Times that it was asked again who it is, since it came up.
    pub doubts: u8,
    /// When it said that it has another store than before: what it said of the earlier one may still be on its way.
    pub renewed: Option<Timestamp>,
}

impl Peer {
    pub fn alive(&self) -> bool {
        self.hello.is_some() && !self.dead
    }
}

impl Node {
    pub(super) fn own_hello(&self) -> Hello {
        Hello {
            store: self.cfg.store,
            machine: self.cfg.machine,
            boot: self.cfg.boot,
            name: self.cfg.name.clone(),
            slots: self.cfg.slots,
            offers: self.cfg.offers.clone(),
            draining: self.draining,
        }
    }

    pub(super) fn alive(&self, p: NodeId) -> bool {
        p == self.id || self.peers.get(&p).is_some_and(Peer::alive)
    }

    pub(super) fn store_of(&self, p: NodeId) -> Option<StoreId> {
        if p == self.id { Some(self.cfg.store) } else { self.peers.get(&p)?.hello.as_ref().map(|h| h.store) }
    }

    pub(super) fn peer_up(&mut self, p: NodeId) {
        if p == self.id || (self.peers.len() >= limits::MAX_PEERS && !self.peers.contains_key(&p)) {
            return;
        }
        let now = self.now;
        let peer = self.peers.entry(p).or_default();
        peer.connected = true;
        peer.down_since = None;
        peer.last_heard = now;
        peer.unanswered_since = None;
        peer.beat_in_flight = false;
        peer.announced = false;
        peer.doubts = 0;
        self.say_hello(p);
        self.timers.sooner(Timer::Beat(p), now + self.cfg.timing.beat);
    }

    pub(super) fn say_hello(&mut self, p: NodeId) {
        let hello = self.own_hello();
        self.ask(p, Request::Hello(hello), Asked::Hello);
    }

    pub(super) fn peer_down(&mut self, p: NodeId) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&p) else { return };
        peer.connected = false;
        peer.down_since = Some(now);
        self.timers.sooner(Timer::Silence(p), now + self.cfg.timing.down_grace);
        let lost: Vec<_> = self.pending.iter().filter(|(_, q)| q.peer == p).map(|(id, _)| *id).collect();
        for id in lost {
            self.on_request_failed(id);
        }
        self.bags_absent(p);
        self.moved_to_absent(p);
    }

    pub(super) fn heard_from(&mut self, p: NodeId) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&p) else { return };
        peer.last_heard = now;
        if peer.unanswered_since.take().is_some() && peer.connected {
            self.timers.cancel(Timer::Silence(p));
        }
        if peer.dead && peer.connected {
            peer.dead = false;
            if peer.hello.is_some() {
                self.peer_came_back(p);
            }
        }
    }

    pub(super) fn measured(&mut self, p: NodeId, rtt: Span) {
        if let Some(peer) = self.peers.get_mut(&p) {
            // Quick to fall, slow to rise: an answer may have waited for a connection, a disk or a slot, none is faster than the way.
            peer.rtt = if peer.rtt.0 == 0 || rtt < peer.rtt { rtt } else { Span((peer.rtt.0 * 7 + rtt.0) / 8) };
        }
    }

    pub(super) fn on_hello_request(&mut self, from: NodeId, token: Token, h: Hello) {
        let own = self.own_hello();
        self.respond(token, Response::Hello(own));
        if !self.peers.get(&from).is_some_and(|p| p.connected) {
            self.peer_up(from);
        }
        self.on_hello(from, h);
    }

    pub(super) fn on_hello(&mut self, from: NodeId, mut h: Hello) {
        h.name.truncate(h.name.floor_char_boundary(limits::MAX_NAME));
        h.offers.truncate(256);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let old = peer.hello.replace(h.clone());
        let was_dead = std::mem::take(&mut peer.dead);
        match old {
            None => self.event(Event::PeerJoined(from)),
            Some(old) => {
                if old.store != h.store {
                    peer.renewed = Some(self.now);
                    self.store_changed(from, h.store);
                }
                if old.boot != h.boot {
                    self.peer_restarted(from);
                }
                if (old.store, old.boot) != (h.store, h.boot) {
                    self.doubt(from);
                }
                if was_dead {
                    self.event(Event::PeerJoined(from));
                }
            }
        }
        if h.draining {
            self.peer_drains(from);
        }
        self.peer_came_back(from);
    }

    /// What it says of itself is not what it said before. An answer of a process that is gone may be late, and neither counts: what it
    /// says when it is asked now does.
    fn doubt(&mut self, p: NodeId) {
        if let Some(peer) = self.peers.get_mut(&p)
            && peer.doubts < MAX_DOUBTS
        {
            peer.doubts += 1;
            self.say_hello(p);
        }
    }

    /// A wiped store holds nothing of what its node once acked.
    fn store_changed(&mut self, p: NodeId, store: StoreId) {
        if self.mutant(crate::Mutant::WipedStoreCounts) {
            return;
        }
        for job in self.jobs.values_mut() {
            if job.holders.get(&p).is_some_and(|s| *s != store) {
                job.holders.remove(&p);
            }
            job.settled.remove(&p);
            job.earlier.agrees(p);
            for holders in job.copies.values_mut() {
                if holders.get(&p).is_some_and(|s| *s != store) {
                    holders.remove(&p);
                }
            }
            for holders in job.thin.values_mut() {
                if holders.get(&p).is_some_and(|s| *s != store) {
                    holders.remove(&p);
                }
            }
            for out in job.outbox.values_mut() {
                if out.acked.get(&p).is_some_and(|s| *s != store) {
                    out.acked.remove(&p);
                }
            }
        }
    }

    fn peer_restarted(&mut self, p: NodeId) {
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            self.reclaim(id, p);
            self.vacate(id, p);
        }
    }

    /// A member is there (again): tell it what it may have missed, and see who stewards what.
    fn peer_came_back(&mut self, p: NodeId) {
        self.announce_to(p);
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            if let Some(job) = self.jobs.get_mut(&id)
                && job.replicas.contains(&p)
            {
                job.settled.remove(&p);
                job.strangers.remove(&p);
                (job.unheard, job.quiet_until) = (0, Timestamp::default());
                if !job.outbox.is_empty() {
                    self.timers.sooner(Timer::Resend(id), self.now);
                }
                self.nudge_submission(id);
                self.look_again(id);
                self.timers.ensure(Timer::AntiEntropy(id), self.now + self.cfg.timing.beat);
            }
            self.choose_steward(id);
            self.copies_changed(id);
        }
        self.ask_for_manifests(p);
        self.beat_soon(p);
    }

    pub(super) fn on_silence_timer(&mut self, p: NodeId) {
        let now = self.now;
        let t = &self.cfg.timing;
        let Some(peer) = self.peers.get_mut(&p) else { return };
        let down = peer.down_since.filter(|_| !peer.connected);
        let gone = down.is_some_and(|since| now.since(since) >= t.down_grace);
        let silent = peer.unanswered_since.is_some_and(|since| now.since(since) >= t.dead_after);
        if gone || silent {
            if !std::mem::replace(&mut peer.dead, true) && peer.hello.is_some() {
                self.peer_died(p);
            }
            return;
        }
        let next = [down.map(|s| s + t.down_grace), peer.unanswered_since.map(|s| s + t.dead_after)];
        if let Some(at) = next.into_iter().flatten().min() {
            self.timers.set(Timer::Silence(p), at);
        }
    }

    fn peer_died(&mut self, p: NodeId) {
        self.event(Event::PeerLost(p));
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            self.reclaim(id, p);
            self.choose_steward(id);
            self.nudge_submission(id);
            self.copies_changed(id);
            if self.jobs.get(&id).is_some_and(|j| !j.outbox.is_empty()) {
                self.timers.sooner(Timer::Resend(id), self.now);
            }
        }
    }

    /// Members that could keep a job or run tasks, alive and not on their way out.
    pub(super) fn usable_peers(&self) -> Vec<NodeId> {
        self.peers
            .iter()
            .filter(|(_, p)| p.alive() && p.connected && p.hello.as_ref().is_some_and(|h| !h.draining))
            .map(|(id, _)| *id)
            .collect()
    }
}
