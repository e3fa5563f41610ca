//! Requests that this node waits for, and those that wait for this node: both bounded, both with a time limit.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use filch_core::io::{ReqId, Token};
use filch_types::wire::Request;
use libp2p::PeerId;

/// Requests of this node. `W` names a request on the wire.
pub(crate) struct Asked<W> {
    on_wire: HashMap<W, (PeerId, ReqId, Instant)>,
    peers: HashMap<PeerId, PerPeer>,
    in_flight: usize,
    queued: usize,
    limit: Duration,
}

#[derive(Default)]
struct PerPeer {
    on_wire: usize,
    waiting: VecDeque<(ReqId, Request, Instant)>,
}

impl<W: Eq + Hash + Clone> Asked<W> {
    pub fn new(in_flight: usize, queued: usize, limit: Duration) -> Self {
        Self { on_wire: HashMap::new(), peers: HashMap::new(), in_flight, queued, limit }
    }

    /// Queues a request. False if one more than allowed is waiting for this peer.
    pub fn push(&mut self, peer: PeerId, id: ReqId, request: Request, now: Instant) -> bool {
        let entry = self.peers.entry(peer).or_default();
        if entry.waiting.len() >= self.queued {
            return false;
        }
        entry.waiting.push_back((id, request, now + self.limit));
        true
    }

    /// The next request that may go on the wire to this peer; `sent` must follow.
    pub fn next(&mut self, peer: PeerId) -> Option<(ReqId, Request)> {
        let entry = self.peers.get_mut(&peer)?;
        if entry.on_wire >= self.in_flight {
            return None;
        }
        entry.waiting.pop_front().map(|(id, request, _)| (id, request))
    }

    pub fn sent(&mut self, peer: PeerId, id: ReqId, wire: W, now: Instant) {
        self.peers.entry(peer).or_default().on_wire += 1;
        self.on_wire.insert(wire, (peer, id, now));
    }

    /// A request ended, well or not: its peer, its id, and when it was sent.
    pub fn ended(&mut self, wire: &W) -> Option<(PeerId, ReqId, Instant)> {
        let (peer, id, at) = self.on_wire.remove(wire)?;
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.on_wire = entry.on_wire.saturating_sub(1);
            if entry.on_wire == 0 && entry.waiting.is_empty() {
                self.peers.remove(&peer);
            }
        }
        Some((peer, id, at))
    }

    /// The peer is gone: what waited for it never will be sent. What is on the wire fails by itself.
    pub fn lost(&mut self, peer: &PeerId) -> Vec<ReqId> {
        let Some(entry) = self.peers.get_mut(peer) else { return Vec::new() };
        let ids = entry.waiting.drain(..).map(|(id, _, _)| id).collect();
        if entry.on_wire == 0 {
            self.peers.remove(peer);
        }
        ids
    }

    /// What waited too long.
    pub fn expired(&mut self, now: Instant) -> Vec<ReqId> {
        let mut ids = Vec::new();
        for entry in self.peers.values_mut() {
            while entry.waiting.front().is_some_and(|(_, _, until)| *until <= now) {
                ids.extend(entry.waiting.pop_front().map(|(id, _, _)| id));
            }
        }
        self.peers.retain(|_, e| e.on_wire > 0 || !e.waiting.is_empty());
        ids
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.peers.values().filter_map(|e| e.waiting.front()).map(|(_, _, until)| *until).min()
    }
}

/// Requests of others that wait for `Command::Respond`. `C` is what the answer is sent with.
pub(crate) struct Owed<C> {
    channels: HashMap<Token, C>,
    /// All have the same time limit: in order.
    order: VecDeque<(Instant, Token)>,
    next: u64,
    max: usize,
    limit: Duration,
}

impl<C> Owed<C> {
    pub fn new(max: usize, limit: Duration) -> Self {
        Self { channels: HashMap::new(), order: VecDeque::new(), next: 0, max, limit }
    }

    /// A token for a request, or none if too many wait.
    pub fn add(&mut self, channel: C, now: Instant) -> Option<Token> {
        if self.order.len() >= self.max {
            // Answered ones may still stand behind an unanswered one.
            self.order.retain(|(_, token)| self.channels.contains_key(token));
            if self.order.len() >= self.max {
                return None;
            }
        }
        let token = Token(self.next);
        self.next += 1;
        self.channels.insert(token, channel);
        self.order.push_back((now + self.limit, token));
        Some(token)
    }

    /// None if it was answered already or its time is over.
    pub fn take(&mut self, token: Token) -> Option<C> {
        let channel = self.channels.remove(&token);
        // Answers come about in order, so the order stays about as short as the map.
        while self.order.front().is_some_and(|(_, token)| !self.channels.contains_key(token)) {
            self.order.pop_front();
        }
        channel
    }

    /// Forgets those whose time is over; how many of them nobody had answered.
    pub fn expire(&mut self, now: Instant) -> u64 {
        let mut missed = 0;
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            let gone = self.order.pop_front().and_then(|(_, token)| self.channels.remove(&token));
            missed += u64::from(gone.is_some());
        }
        missed
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.order.front().map(|(until, _)| *until)
    }
}

#[cfg(test)]
mod tests {
    use filch_types::JobId;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn request() -> Request {
        Request::Manifest(JobId([0; 32]))
    }

    #[test]
    fn requests_wait_their_turn_and_are_bounded() {
        let (peer, now) = (PeerId::random(), Instant::now());
        let mut asked = Asked::<u64>::new(2, 3, LIMIT);
        for i in 0..3 {
            assert!(asked.push(peer, ReqId(i), request(), now));
        }
        assert!(!asked.push(peer, ReqId(3), request(), now), "the queue is full");
        for wire in 0..2 {
            let (id, _) = asked.next(peer).unwrap();
            asked.sent(peer, id, wire, now);
        }
        assert!(asked.next(peer).is_none(), "two are on the wire");
        assert_eq!(asked.ended(&0), Some((peer, ReqId(0), now)));
        assert_eq!(asked.ended(&0), None);
        assert_eq!(asked.next(peer).unwrap().0, ReqId(2));
    }

    #[test]
    fn what_waits_ends_with_its_peer_or_its_time() {
        let (peer, now) = (PeerId::random(), Instant::now());
        let mut asked = Asked::<u64>::new(1, 8, LIMIT);
        asked.push(peer, ReqId(0), request(), now);
        assert_eq!(asked.deadline(), Some(now + LIMIT));
        assert_eq!(asked.expired(now), vec![]);
        assert_eq!(asked.expired(now + LIMIT), vec![ReqId(0)]);
        asked.push(peer, ReqId(1), request(), now);
        assert_eq!(asked.lost(&peer), vec![ReqId(1)]);
        assert!(asked.peers.is_empty());
    }

    #[test]
    fn tokens_are_bounded_and_expire() {
        let now = Instant::now();
        let mut owed = Owed::new(2, LIMIT);
        let a = owed.add("a", now).unwrap();
        let b = owed.add("b", now).unwrap();
        assert_eq!(owed.add("c", now), None);
        assert_eq!(owed.take(a), Some("a"));
        assert_eq!(owed.take(a), None);
        let c = owed.add("c", now + LIMIT).unwrap();
        assert_eq!(owed.expire(now + LIMIT), 1);
        assert_eq!(owed.take(b), None);
        assert_eq!(owed.take(c), Some("c"));
    }
}
