//! Connections, messages, requests and gossip between nodes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use filch_core::{Input, ReqId, Token};
use filch_types::wire::{Message, Request, Response, Summary};
use filch_types::{FactId, JobId, NodeId, SignedFact, codec, limits};

use crate::oracle::Seen;
use crate::world::{Ev, World};

/// What travels over a connection.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    Message(Message),
    Request { call: u64, body: Request },
    Response { call: u64, body: Response },
}

/// One connection between two processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conn {
    pub a: usize,
    pub b: usize,
    pub a_life: u32,
    pub b_life: u32,
    /// When both ends are up.
    pub whole_at: u64,
}

/// A request that has no answer yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub from: usize,
    pub life: u32,
    pub req: ReqId,
    pub conn: u64,
}

/// Packets behind a cut, with their connection.
type Parked = Vec<(u64, Box<Packet>)>;

/// State of all links.
#[derive(Default)]
pub(crate) struct Net {
    pub conns: BTreeMap<u64, Conn>,
    pub calls: BTreeMap<u64, Call>,
    /// When they end at the latest. All have the same limit, so the first made is the first to end.
    pub limits: VecDeque<(u64, u64)>,
    /// Whom gossip of a node reaches, as long as no connection changes.
    pub flooded: BTreeMap<usize, Vec<bool>>,
    /// Token -> (call, responder, its life).
    pub tokens: BTreeMap<u64, (u64, usize, u32)>,
    /// Directions that are cut, and how often.
    pub cuts: BTreeMap<(usize, usize), u32>,
    /// More latency per direction.
    pub clogs: BTreeMap<(usize, usize), u64>,
    /// Loss of the day.
    pub loss_ppm: u32,
    /// What waits behind a cut, as a transport's buffers do.
    pub parked: BTreeMap<(usize, usize), Parked>,
    /// Requests that wait for a connection on demand.
    pub waiting: BTreeMap<(usize, usize), Vec<Packet>>,
    /// Dials on their way.
    pub dialing: BTreeSet<(usize, usize)>,
    /// Latest arrival per connection and direction, if links keep order.
    pub order: BTreeMap<(u64, usize), u64>,
}

/// The transport's own limit of a request.
const CALL_LIMIT_US: u64 = 10_000_000;
/// Packets that wait behind one cut direction.
const MAX_PARKED: usize = 2_000;
/// Every so many packets is encoded and decoded as on a real wire.
const WIRE_CHECK: u64 = 16;

impl Net {
    /// All connections of a node, the oldest first, and whether it is their `a`.
    pub fn conns_of(&self, h: usize) -> Vec<(u64, bool)> {
        let own = self.conns.iter().filter(|(_, c)| c.a == h || c.b == h);
        let mut own: Vec<(u64, bool)> = own.map(|(id, c)| (*id, c.a == h)).collect();
        own.sort_unstable();
        own
    }
    pub fn blocked(&self, from: usize, to: usize) -> bool {
        !self.cuts.is_empty() && self.cuts.contains_key(&(from, to))
    }
}

impl World {
    /// Whether nothing is in the way of what these two say to each other but what the links always do.
    pub(crate) fn path_is_good(&self, a: usize, b: usize) -> bool {
        let bad = |pair| self.net.cuts.contains_key(&pair) || self.net.clogs.get(&pair).is_some_and(|us| *us > 0);
        self.net.loss_ppm == 0 && !bad((a, b)) && !bad((b, a))
    }
    /// Plans a dial between two nodes if they should be connected and are not.
    pub(crate) fn dial_later(&mut self, a: usize, b: usize) {
        let (a, b) = (a.min(b), a.max(b));
        let up = |h: usize| self.hosts[h].is_up() && !self.hosts[h].frozen;
        if a == b
            || !self.belong(a, b)
            || !up(a)
            || !up(b)
            || !self.links.reachable(a, b)
            || self.live_conn(a, b).is_some()
        {
            return;
        }
        if self.net.dialing.insert((a, b)) {
            let delay = self.links.dial(a, b);
            self.after(delay, Ev::Dial { a, b });
        }
    }

    /// A connection between the present processes, up at one end at least.
    fn live_conn(&self, a: usize, b: usize) -> Option<u64> {
        let live = |id: &u64| {
            self.net.conns.get(id).is_some_and(|c| c.a_life == self.hosts[c.a].life && c.b_life == self.hosts[c.b].life)
        };
        let at = |x: usize, y: usize| self.hosts[x].ends.get(&y).and_then(|s| s.iter().find(live));
        at(a, b).or_else(|| at(b, a))
    }

    pub(crate) fn dial(&mut self, a: usize, b: usize) {
        self.net.dialing.remove(&(a, b));
        let ready = |h: usize| self.hosts[h].is_up() && self.hosts[h].paused.is_none() && !self.hosts[h].frozen;
        let cut = self.net.blocked(a, b) || self.net.blocked(b, a);
        // Whoever cannot be reached now is dialled again when the cut heals, the pause ends or the node starts.
        if !ready(a) || !ready(b) || cut || self.live_conn(a, b).is_some() {
            return self.nobody_listens(a, b);
        }
        let id = self.number();
        let skew = self.streams.net.between(0, 1_000);
        let (a_life, b_life) = (self.hosts[a].life, self.hosts[b].life);
        let conn = Conn { a, b, a_life, b_life, whole_at: self.now + skew };
        self.net.conns.insert(id, conn);
        let first = self.streams.net.one_in(2);
        self.after(0, Ev::ConnUp { conn: id, at_a: first });
        self.after(skew, Ev::ConnUp { conn: id, at_a: !first });
    }

    /// A dial that finds a machine without the process ends at once, and so does what waited for the connection.
    fn nobody_listens(&mut self, a: usize, b: usize) {
        if self.hosts[a].is_up() && self.hosts[b].is_up() {
            return;
        }
        for way in [(a, b), (b, a)] {
            for what in self.net.waiting.remove(&way).unwrap_or_default() {
                if let Packet::Request { call, .. } = what {
                    self.call_failed(call);
                }
            }
        }
    }

    fn end_of(&self, conn: u64, at_a: bool) -> Option<(usize, usize, u32)> {
        let c = self.net.conns.get(&conn)?;
        Some(if at_a { (c.a, c.b, c.a_life) } else { (c.b, c.a, c.b_life) })
    }

    pub(crate) fn conn_up(&mut self, conn: u64, at_a: bool) {
        let Some((h, peer, life)) = self.end_of(conn, at_a) else { return };
        if self.hosts[h].life != life || !self.hosts[h].is_up() {
            return;
        }
        let ends = self.hosts[h].ends.entry(peer).or_default();
        let first = ends.is_empty();
        ends.insert(conn);
        self.paths_changed();
        if first {
            let id = self.hosts[peer].id;
            self.feed(h, Input::PeerUp(id));
        }
        // What is sent at once on a new connection waits for the other end in a real one; here it would find nobody.
        if self.hosts[peer].ends.get(&h).is_some_and(|s| s.contains(conn)) {
            self.send_waiting(conn, h, peer);
            self.send_waiting(conn, peer, h);
        }
    }

    pub(crate) fn conn_down(&mut self, conn: u64, at_a: bool) {
        let Some((h, peer, life)) = self.end_of(conn, at_a) else { return };
        self.forget_if_dead(conn, at_a);
        if self.hosts[h].life != life || !self.hosts[h].is_up() {
            return;
        }
        let Some(ends) = self.hosts[h].ends.get_mut(&peer) else { return };
        if !ends.remove(conn) {
            return;
        }
        let last = ends.is_empty();
        if last {
            self.hosts[h].ends.remove(&peer);
            self.paths_changed();
        }
        let mut lost: Vec<u64> =
            self.net.calls.iter().filter(|(_, c)| c.conn == conn && c.from == h).map(|(id, _)| *id).collect();
        lost.sort_unstable();
        lost.into_iter().for_each(|call| self.call_failed(call));
        if last {
            let id = self.hosts[peer].id;
            self.nobody_listens(h, peer);
            self.feed(h, Input::PeerDown(id));
        }
        self.dial_later(h, peer);
    }

    /// Drops a connection that is up at neither end.
    fn forget_if_dead(&mut self, conn: u64, going_a: bool) {
        let Some((other, me, life)) = self.end_of(conn, !going_a) else { return };
        let there = self.hosts[other].ends.get(&me).is_some_and(|s| s.contains(conn));
        if !there || self.hosts[other].life != life {
            // Kept until both ends had their say; a late packet finds no end and is dropped.
            let Some((h, peer, _)) = self.end_of(conn, going_a) else { return };
            if !self.hosts[h].ends.get(&peer).is_some_and(|s| s.contains(conn)) {
                self.net.conns.remove(&conn);
            }
        }
    }

    /// Breaks a connection; each end notices after its own delay.
    pub(crate) fn break_conn(&mut self, conn: u64, a_us: u64, b_us: u64) {
        self.after(a_us, Ev::ConnDown { conn, at_a: true });
        self.after(b_us, Ev::ConnDown { conn, at_a: false });
    }

    /// A process is gone: its peers notice after `notice` each.
    pub(crate) fn drop_conns(&mut self, h: usize, mut notice: impl FnMut(&mut World) -> u64) {
        self.hosts[h].ends.clear();
        self.paths_changed();
        for (conn, is_a) in self.net.conns_of(h) {
            let delay = notice(self);
            self.after(delay, Ev::ConnDown { conn, at_a: !is_a });
        }
        self.net.calls.retain(|_, c| c.from != h);
    }

    fn pick_conn(&mut self, from: usize, to: usize) -> Option<u64> {
        let conns = self.hosts[from].ends.get(&to)?;
        // Usually the newest; sometimes one that is already dead at the other end.
        if conns.several() && self.streams.net.one_in(4) {
            let conns: Vec<u64> = conns.iter().collect();
            self.streams.net.pick(&conns)
        } else {
            conns.newest()
        }
    }

    fn carry(&mut self, conn: u64, from: usize, to: usize, what: Packet) {
        if self.net.blocked(from, to) {
            return self.park(conn, from, to, Box::new(what));
        }
        let carried = self.links.carry(from, to, self.net.loss_ppm);
        let clog = self.net.clogs.get(&(from, to)).copied().unwrap_or(0);
        // What is sent while the other end is not up yet waits in the transport's buffers.
        let whole = self.net.conns.get(&conn).map_or(0, |c| c.whole_at);
        if let Some(delay) = carried.again
            && !matches!(what, Packet::Response { .. })
        {
            self.queue.push(
                (self.now + delay + clog).max(whole),
                Ev::Packet { conn, from, to, what: Box::new(what.clone()) },
            );
        }
        if let Some(delay) = carried.first {
            let mut at = (self.now + delay + clog).max(whole);
            if self.options.in_order {
                let last = self.net.order.entry((conn, from)).or_default();
                at = at.max(*last);
                *last = at;
            }
            self.queue.push(at, Ev::Packet { conn, from, to, what: Box::new(what) });
        }
    }

    fn park(&mut self, conn: u64, from: usize, to: usize, what: Box<Packet>) {
        let parked = self.net.parked.entry((from, to)).or_default();
        if parked.len() < MAX_PARKED {
            parked.push((conn, what));
        }
    }

    pub(crate) fn arrive(&mut self, conn: u64, from: usize, to: usize, what: Box<Packet>) {
        if self.net.blocked(from, to) {
            return self.park(conn, from, to, what);
        }
        let Some(c) = self.net.conns.get(&conn) else { return };
        let life = if c.a == to { c.a_life } else { c.b_life };
        let host = &self.hosts[to];
        if host.life != life || !host.is_up() || !host.ends.get(&from).is_some_and(|s| s.contains(conn)) {
            return;
        }
        let sender = self.hosts[from].id;
        match *what {
            Packet::Message(m) => self.feed(to, Input::Message(sender, m)),
            Packet::Request { call, body } => {
                let token = self.number();
                self.net.tokens.insert(token, (call, to, life));
                self.feed(to, Input::Request(sender, Token(token), body));
            }
            Packet::Response { call, body } => {
                if let Some(c) = self.net.calls.remove(&call)
                    && c.life == self.hosts[to].life
                {
                    self.feed(to, Input::Response(c.req, body));
                }
            }
        }
    }

    pub(crate) fn call_failed(&mut self, call: u64) {
        if let Some(c) = self.net.calls.remove(&call)
            && self.hosts[c.from].life == c.life
        {
            self.feed(c.from, Input::RequestFailed(c.req));
        }
    }

    fn on_the_wire<T>(&mut self, h: usize, what: &T)
    where
        T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        if !(self.stats.messages + self.stats.requests).is_multiple_of(WIRE_CHECK) {
            return;
        }
        match codec::encode(what, limits::MAX_FRAME) {
            Err(e) => self.violate("S10", format!("n{h} sends a frame that no wire takes: {e}")),
            Ok(bytes) => {
                if codec::decode::<T>(&bytes, limits::MAX_FRAME).as_ref() != Ok(what) {
                    self.violate("S10", format!("n{h} sends what does not decode to itself: {what:?}"));
                }
            }
        }
    }

    pub(crate) fn send(&mut self, h: usize, to: NodeId, message: Message) {
        self.stats.messages += 1;
        if let Some(census) = &mut self.census {
            census.message(&message);
        }
        self.on_the_wire(h, &message);
        let Some(to) = self.host_of(&to) else { return };
        if let Some(conn) = self.pick_conn(h, to) {
            self.carry(conn, h, to, Packet::Message(message));
        }
    }

    pub(crate) fn request(&mut self, h: usize, to: NodeId, req: ReqId, body: Request) {
        self.stats.requests += 1;
        if let Some(census) = &mut self.census {
            census.request(&body);
        }
        self.on_the_wire(h, &body);
        let life = self.hosts[h].life;
        let to = self.host_of(&to);
        let conn = to.and_then(|to| self.pick_conn(h, to).map(|c| (to, c)));
        let Some((to, conn)) = conn else {
            return self.request_on_demand(h, to, req, body);
        };
        let call = self.number();
        self.begin_call(call, Call { from: h, life, req, conn });
        self.carry(conn, h, to, Packet::Request { call, body });
    }

    /// There is no connection: it is made where nodes meet on demand, else the request fails.
    fn request_on_demand(&mut self, h: usize, to: Option<usize>, req: ReqId, body: Request) {
        let life = self.hosts[h].life;
        let call = self.number();
        let waits = to.is_some_and(|to| self.wait_for_conn(h, to, Packet::Request { call, body }));
        if !waits {
            let delay = self.streams.net.between(1, 500);
            return self.after(delay, Ev::RequestFailed { host: h, life, req });
        }
        self.begin_call(call, Call { from: h, life, req, conn: 0 });
    }

    fn begin_call(&mut self, id: u64, call: Call) {
        self.net.calls.insert(id, call);
        self.net.limits.push_back((self.now + CALL_LIMIT_US, id));
    }
    /// When the oldest call without an answer ends; calls that have one are forgotten.
    pub(crate) fn next_limit(&mut self) -> Option<u64> {
        while let Some((at, call)) = self.net.limits.front() {
            if self.net.calls.contains_key(call) {
                return Some(*at);
            }
            self.net.limits.pop_front();
        }
        None
    }
    /// That call ends.
    pub(crate) fn limit_passes(&mut self) {
        if let Some((_, call)) = self.net.limits.pop_front() {
            self.call_failed(call);
        }
    }

    /// A connection is up at both ends: what waited for it goes.
    fn send_waiting(&mut self, conn: u64, from: usize, to: usize) {
        for what in self.net.waiting.remove(&(from, to)).unwrap_or_default() {
            if let Packet::Request { call, .. } = &what
                && let Some(c) = self.net.calls.get_mut(call)
            {
                c.conn = conn;
                self.carry(conn, from, to, what);
            }
        }
    }

    pub(crate) fn respond(&mut self, h: usize, token: Token, body: Response) {
        self.on_the_wire(h, &body);
        let Some((call, host, life)) = self.net.tokens.remove(&token.0) else {
            return self.violate("L4", format!("n{h} answers a request twice, or one that nobody made: {token:?}"));
        };
        if host != h || life != self.hosts[h].life {
            return self.violate("L4", format!("n{h} answers with a token of another life: {token:?}"));
        }
        let Some(c) = self.net.calls.get(&call).copied() else { return };
        self.seen(&Seen::Answered { host: h, to: c.from, response: &body });
        if self.hosts[h].ends.get(&c.from).is_some_and(|s| s.contains(c.conn)) {
            self.carry(c.conn, h, c.from, Packet::Response { call, body });
        }
    }

    /// What the driver does: read the facts from the ledger, skip those that are not there.
    fn read_facts(&mut self, h: usize, job: JobId, facts: &[FactId]) -> Vec<SignedFact> {
        if self.find_rows(h, job, |id| facts.contains(id)) {
            let life = self.hosts[h].life;
            self.after(0, Ev::RowsLost { host: h, life, job });
        }
        let kept = self.hosts[h].disk.image.jobs.get(&job);
        facts.iter().filter_map(|id| kept?.facts.get(id)).map(|f| (**f).clone()).collect()
    }

    pub(crate) fn respond_facts(&mut self, h: usize, token: Token, job: JobId, facts: &[FactId]) {
        let mut room = limits::FRAME_BUDGET;
        let mut out = self.read_facts(h, job, facts);
        let fits = out.iter().take_while(|f| {
            let len = f.bytes.len() + 80;
            let ok = len <= room;
            room = room.saturating_sub(len);
            ok
        });
        out.truncate(fits.count());
        self.respond(h, token, Response::Facts(out));
    }

    pub(crate) fn send_facts(&mut self, h: usize, to: NodeId, job: JobId, facts: &[FactId]) {
        let mut frame = Vec::new();
        let mut room = limits::FRAME_BUDGET;
        for fact in self.read_facts(h, job, facts) {
            let len = fact.bytes.len() + 80;
            if len > room && !frame.is_empty() {
                self.send(h, to, Message::Facts(std::mem::take(&mut frame)));
                room = limits::FRAME_BUDGET;
            }
            room = room.saturating_sub(len);
            frame.push(fact);
        }
        if !frame.is_empty() {
            self.send(h, to, Message::Facts(frame));
        }
    }

    pub(crate) fn publish(&mut self, h: usize, summary: &Summary) {
        self.stats.gossips += 1;
        if let Err(e) = codec::encode(summary, limits::MAX_SUMMARY) {
            return self.violate("S10", format!("n{h} gossips a summary that is too long: {e}"));
        }
        let reached = match self.net.flooded.remove(&h) {
            Some(reached) => reached,
            None => self.flood(h),
        };
        let summary = Arc::new(summary.clone());
        for peer in (0..reached.len()).filter(|p| *p != h && reached[*p]) {
            if let Some(delay) = self.links.gossip(h, peer) {
                let life = self.hosts[peer].life;
                self.after(delay, Ev::Gossip { host: peer, life, summary: summary.clone() });
            }
        }
        self.net.flooded.insert(h, reached);
    }

    /// The overlay floods whatever is connected.
    fn flood(&self, h: usize) -> Vec<bool> {
        let mut reached = vec![false; self.hosts.len()];
        reached[h] = true;
        let mut todo = vec![h];
        while let Some(at) = todo.pop() {
            for &peer in self.hosts[at].ends.keys() {
                if !reached[peer] && self.hosts[peer].is_up() && !self.net.blocked(at, peer) {
                    reached[peer] = true;
                    todo.push(peer);
                }
            }
        }
        reached
    }
    /// Somebody may be reached that was not, or the reverse.
    pub(crate) fn paths_changed(&mut self) {
        self.net.flooded.clear();
    }

    /// A direction opens again: what the transports still hold arrives, late.
    pub(crate) fn heal(&mut self, from: usize, to: usize) {
        for (conn, what) in self.net.parked.remove(&(from, to)).unwrap_or_default() {
            let delay = self.streams.net.between(1_000, 400_000);
            self.after(delay, Ev::Packet { conn, from, to, what });
        }
        self.dial_later(from, to);
    }
}
