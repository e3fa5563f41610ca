//! The address book: whom to dial, when, and when not to. Pure: no swarm, no clock, its own randomness from a seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use filch_types::limits;
use libp2p::{Multiaddr, PeerId};

/// The first wait after a failed dial; it doubles from there.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// The same for a node that does not hold the cluster key: nothing changes until a person changes it.
const REFUSED_MIN: Duration = Duration::from_secs(30);
const REFUSED_MAX: Duration = Duration::from_secs(1800);
/// Of two nodes that learn of each other at the same moment the one with the larger id lets the other dial.
const COURTESY: Duration = Duration::from_millis(400);
/// Addresses without a known node.
const MAX_SEEDS: usize = 64;

/// What a dial was for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Peer(PeerId),
    Seed(Multiaddr),
}

/// How a dial ended badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody there, or it broke.
    Unreachable,
    /// Somebody, but no member.
    Refused,
    /// This node itself: never again.
    Self_,
}

/// How an address became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The node said so itself, answered there, or is remembered to have done so.
    Own,
    /// mDNS.
    Lan,
    /// Another member.
    Hearsay,
}

struct Entry {
    /// Best first.
    addrs: Vec<Multiaddr>,
    connected: bool,
    dialling: bool,
    failures: u32,
    refused: bool,
    next: Instant,
    used: u64,
}

struct Seed {
    addr: Multiaddr,
    /// Who answered there: from then on the entry of that node is in charge.
    peer: Option<PeerId>,
    dialling: bool,
    failures: u32,
    refused: bool,
    next: Instant,
}

pub(crate) struct Book {
    own: PeerId,
    max_peers: usize,
    max_dialling: usize,
    mesh: usize,
    entries: BTreeMap<PeerId, Entry>,
    seeds: Vec<Seed>,
    random: u64,
    tick: u64,
}

impl Book {
    pub fn new(own: PeerId, max_peers: usize, max_dialling: usize, mesh: usize, seed: u64) -> Self {
        let entries = BTreeMap::new();
        Self { own, max_peers, max_dialling, mesh, entries, seeds: Vec::new(), random: seed, tick: 0 }
    }

    /// Takes addresses of a node. True if some were new: then it is dialled afresh, whatever happened before.
    pub fn learn(&mut self, peer: PeerId, addrs: &[Multiaddr], source: Source, now: Instant) -> bool {
        if peer == self.own || addrs.is_empty() {
            return false;
        }
        if !self.entries.contains_key(&peer) && !self.make_room() {
            return false;
        }
        let courtesy = if self.own < peer { Duration::ZERO } else { COURTESY };
        let soon = now + courtesy + self.up_to(RETRY_MIN);
        self.tick += 1;
        let entry = self.entries.entry(peer).or_insert_with(|| Entry::new(now + courtesy));
        entry.used = self.tick;
        let fresh: Vec<Multiaddr> = addrs.iter().filter(|a| !entry.addrs.contains(a)).cloned().collect();
        if fresh.is_empty() {
            // Somebody is connected to it right now: a reason to try sooner than the back-off says.
            if source == Source::Hearsay && !entry.refused {
                entry.next = entry.next.min(soon + RETRY_MIN);
            }
            return false;
        }
        match source {
            Source::Own => entry.addrs.splice(0..0, fresh),
            // What others say of a node never displaces what it said itself.
            Source::Lan | Source::Hearsay => entry.addrs.splice(entry.addrs.len().., fresh),
        };
        entry.addrs.truncate(limits::MAX_ADDRS);
        if !entry.refused {
            entry.failures = 0;
            entry.next = entry.next.min(now + courtesy);
        }
        true
    }

    /// A person or the configuration names this node: dialled at once.
    pub fn wanted(&mut self, peer: PeerId, addr: &Multiaddr, now: Instant) {
        self.learn(peer, std::slice::from_ref(addr), Source::Own, now);
        if let Some(entry) = self.entries.get_mut(&peer) {
            entry.refused = false;
            entry.failures = 0;
            entry.next = now;
        }
    }

    /// An address where a node is expected, whichever it is. Dialled at once and until somebody answers.
    pub fn seed(&mut self, addr: Multiaddr, now: Instant) {
        if let Some(seed) = self.seeds.iter_mut().find(|s| s.addr == addr) {
            seed.next = now;
            seed.peer = None;
            return;
        }
        if self.seeds.len() >= MAX_SEEDS {
            self.seeds.remove(0);
        }
        self.seeds.push(Seed { addr, peer: None, dialling: false, failures: 0, refused: false, next: now });
    }

    /// A connection to a node is up. `dialled` is the address if this node did it. True if that address was new.
    pub fn connected(&mut self, peer: PeerId, dialled: Option<&Multiaddr>, now: Instant) -> bool {
        if peer != self.own && !self.entries.contains_key(&peer) && self.make_room() {
            self.entries.insert(peer, Entry::new(now));
        }
        let mut news = false;
        if let Some(addr) = dialled {
            news = self.learn(peer, std::slice::from_ref(addr), Source::Own, now);
            self.answered(addr, peer);
        }
        if let Some(entry) = self.entries.get_mut(&peer) {
            entry.connected = true;
            entry.dialling = false;
            entry.failures = 0;
            entry.refused = false;
        }
        news
    }

    /// This node answered at the address of a seed.
    pub fn answered(&mut self, addr: &Multiaddr, peer: PeerId) {
        for seed in self.seeds.iter_mut().filter(|s| s.addr == *addr) {
            seed.peer = Some(peer);
            seed.dialling = false;
            seed.failures = 0;
            seed.refused = false;
        }
    }

    /// The last connection is gone.
    pub fn disconnected(&mut self, peer: PeerId, now: Instant) {
        let courtesy = if self.own < peer { Duration::ZERO } else { COURTESY };
        let wait = courtesy + self.up_to(RETRY_MIN / 4);
        if let Some(entry) = self.entries.get_mut(&peer) {
            entry.connected = false;
            entry.failures = 0;
            entry.next = now + wait;
        }
    }

    /// A dial did not lead to a connection.
    pub fn failed(&mut self, target: &Target, failure: Failure, now: Instant) {
        if failure == Failure::Self_ {
            return self.drop_self(target);
        }
        let random = self.next_random();
        match target {
            Target::Peer(peer) => {
                if let Some(e) = self.entries.get_mut(peer) {
                    back_off(&mut e.dialling, &mut e.failures, &mut e.refused, &mut e.next, failure, now, random);
                }
            }
            Target::Seed(addr) => {
                if let Some(s) = self.seeds.iter_mut().find(|s| s.addr == *addr) {
                    back_off(&mut s.dialling, &mut s.failures, &mut s.refused, &mut s.next, failure, now, random);
                }
            }
        }
    }

    /// The dial was not needed after all.
    pub fn not_needed(&mut self, target: &Target, now: Instant) {
        let wait = RETRY_MIN + self.up_to(RETRY_MIN);
        match target {
            Target::Peer(peer) => {
                if let Some(entry) = self.entries.get_mut(peer) {
                    entry.dialling = false;
                    entry.next = now + wait;
                }
            }
            Target::Seed(addr) => {
                if let Some(seed) = self.seeds.iter_mut().find(|s| s.addr == *addr) {
                    seed.dialling = false;
                    seed.next = now + wait;
                }
            }
        }
    }

    /// Somebody else than expected answered at this address: the old node is not there any more.
    pub fn moved_in(&mut self, expected: Option<PeerId>, found: PeerId, addr: &Multiaddr, now: Instant) {
        if let Some(entry) = expected.and_then(|p| self.entries.get_mut(&p)) {
            entry.addrs.retain(|a| a != addr);
        }
        self.learn(found, std::slice::from_ref(addr), Source::Lan, now);
        self.answered(addr, found);
    }

    /// What to dial now, with addresses. They count as being dialled until `connected`, `failed` or `not_needed`.
    pub fn due(&mut self, now: Instant) -> Vec<(Target, Vec<Multiaddr>)> {
        let busy =
            self.entries.values().filter(|e| e.dialling).count() + self.seeds.iter().filter(|s| s.dialling).count();
        let mut room = self.max_dialling.saturating_sub(busy);
        let mut list = Vec::new();
        self.settle_seeds();
        for seed in self.seeds.iter_mut().filter(|s| s.peer.is_none() && !s.dialling && s.next <= now) {
            if room == 0 {
                return list;
            }
            room -= 1;
            seed.dialling = true;
            list.push((Target::Seed(seed.addr.clone()), vec![seed.addr.clone()]));
        }
        if !self.wants_more() {
            return list;
        }
        let mut due: Vec<(Instant, PeerId)> =
            self.entries.iter().filter(|(_, e)| e.is_due(now)).map(|(p, e)| (e.next, *p)).collect();
        due.sort();
        for (_, peer) in due.into_iter().take(room) {
            if let Some(entry) = self.entries.get_mut(&peer) {
                entry.dialling = true;
                list.push((Target::Peer(peer), entry.addrs.clone()));
            }
        }
        list
    }

    /// When `due` should be asked again. None while it is at its limit of dials: the end of one of them is the next event.
    pub fn deadline(&self) -> Option<Instant> {
        let busy =
            self.entries.values().filter(|e| e.dialling).count() + self.seeds.iter().filter(|s| s.dialling).count();
        if busy >= self.max_dialling {
            return None;
        }
        let seeds = self.seeds.iter().filter(|s| s.peer.is_none() && !s.dialling).map(|s| s.next).min();
        let entries = self.entries.values().filter(|e| e.is_idle() && !e.addrs.is_empty()).map(|e| e.next).min();
        let entries = entries.filter(|_| self.wants_more());
        [seeds, entries].into_iter().flatten().min()
    }

    /// Nodes that are connected, with their addresses.
    pub fn members(&self) -> impl Iterator<Item = (&PeerId, &[Multiaddr])> {
        self.entries.iter().filter(|(_, e)| e.connected).map(|(p, e)| (p, e.addrs.as_slice()))
    }

    pub fn addresses(&self, peer: &PeerId) -> &[Multiaddr] {
        self.entries.get(peer).map_or(&[], |e| &e.addrs)
    }

    /// A seed whose address is one of a node that is connected or being dialled needs no dial of its own.
    fn settle_seeds(&mut self) {
        for seed in self.seeds.iter_mut().filter(|s| s.peer.is_none() && !s.dialling) {
            let mut busy = self.entries.iter().filter(|(_, e)| !e.is_idle());
            seed.peer = busy.find(|(_, e)| e.addrs.contains(&seed.addr)).map(|(p, _)| *p);
        }
    }

    fn wants_more(&self) -> bool {
        self.entries.values().filter(|e| e.connected).count() < self.mesh
    }

    /// A full book forgets the node that failed most often, among them the one unheard of for longest.
    fn make_room(&mut self) -> bool {
        if self.entries.len() < self.max_peers {
            return true;
        }
        let worst = self.entries.iter().filter(|(_, e)| e.is_idle());
        let worst = worst.max_by_key(|(_, e)| (e.refused, e.failures, std::cmp::Reverse(e.used))).map(|(p, _)| *p);
        let Some(worst) = worst else { return false };
        self.entries.remove(&worst);
        for seed in self.seeds.iter_mut().filter(|s| s.peer == Some(worst)) {
            seed.peer = None;
        }
        true
    }

    fn drop_self(&mut self, target: &Target) {
        match target {
            Target::Peer(peer) => drop(self.entries.remove(peer)),
            Target::Seed(addr) => self.seeds.retain(|s| s.addr != *addr),
        }
    }

    fn up_to(&mut self, max: Duration) -> Duration {
        jitter(max, self.next_random())
    }

    /// splitmix64: plenty for jitter.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Entry {
    fn new(next: Instant) -> Self {
        let (connected, dialling, refused) = (false, false, false);
        Self { addrs: Vec::new(), connected, dialling, failures: 0, refused, next, used: 0 }
    }

    fn is_idle(&self) -> bool {
        !self.connected && !self.dialling
    }

    fn is_due(&self, now: Instant) -> bool {
        self.is_idle() && self.next <= now && !self.addrs.is_empty()
    }
}

fn jitter(max: Duration, random: u64) -> Duration {
    max.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}

/// Doubles the wait, with jitter over its second half.
fn back_off(
    dialling: &mut bool,
    failures: &mut u32,
    refused: &mut bool,
    next: &mut Instant,
    failure: Failure,
    now: Instant,
    random: u64,
) {
    *dialling = false;
    *refused = failure == Failure::Refused;
    let (min, max) = if *refused { (REFUSED_MIN, REFUSED_MAX) } else { (RETRY_MIN, RETRY_MAX) };
    let wait = min.saturating_mul(1 << (*failures).min(16)).min(max);
    *failures = failures.saturating_add(1);
    *next = now + wait / 2 + jitter(wait / 2, random);
}

#[cfg(test)]
mod tests;
