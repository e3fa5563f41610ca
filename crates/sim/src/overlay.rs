//! Who is connected to whom. In a small cluster everybody is; in a large one a node keeps a few random peers, over which
//! gossip spreads, and meets others only when it has to do with them.

use filch_core::Input;
use filch_types::wire::{JobState, Request, Summary};

use crate::net::Packet;
use crate::world::World;

/// Packets that wait for one connection on demand.
const MAX_WAITING: usize = 64;

impl World {
    /// Draws a connected graph in which every node has about `degree` neighbours: rings through all nodes in random orders.
    pub(crate) fn draw_overlay(&mut self) {
        let Some(degree) = self.options.overlay else { return };
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        for _ in 0..degree.div_ceil(2) {
            self.streams.overlay.shuffle(&mut order);
            for (i, &a) in order.iter().enumerate() {
                let b = order[(i + 1) % order.len()];
                if a != b {
                    self.hosts[a].contacts.insert(b);
                    self.hosts[b].contacts.insert(a);
                }
            }
        }
    }

    /// Whether these two should be connected.
    pub(crate) fn belong(&self, a: usize, b: usize) -> bool {
        self.options.overlay.is_none() || self.hosts[a].contacts.contains(&b)
    }

    /// Dials everybody that a node should be connected to.
    pub(crate) fn dial_all(&mut self, h: usize) {
        let peers: Vec<usize> = match self.options.overlay {
            None => (0..self.hosts.len()).collect(),
            Some(_) => self.hosts[h].contacts.iter().copied().collect(),
        };
        for other in peers {
            self.dial_later(h, other);
        }
    }

    /// Two nodes have to do with each other.
    pub(crate) fn meet(&mut self, a: usize, b: usize) {
        if self.options.overlay.is_some() && a != b && self.hosts[a].contacts.insert(b) {
            self.hosts[b].contacts.insert(a);
            self.dial_later(a, b);
        }
    }

    /// What a node is told may name nodes that it will need: who keeps a job, and who hands it out.
    pub(crate) fn introduce(&mut self, h: usize, input: &Input) {
        if self.options.overlay.is_none() {
            return;
        }
        let named = match input {
            Input::Gossip(s) if self.may_work(h, s) => s.replicas.clone(),
            Input::Request(_, _, Request::Replicate(m)) => {
                self.known.job(m.job(), m).map(|i| i.manifest.replicas.clone()).unwrap_or_default()
            }
            _ => return,
        };
        for peer in named.iter().filter_map(|id| self.host_of(id)).collect::<Vec<_>>() {
            self.meet(h, peer);
        }
    }

    fn may_work(&self, h: usize, s: &Summary) -> bool {
        let o = &self.hosts[h].options;
        let divided = s.leased > 0 && s.needs.iter().any(|n| n.starts_with("divisible:"));
        s.state == JobState::Active && (s.grantable > 0 || divided) && o.slots > 0 && o.able
    }

    /// Keeps a request until the connection that it needs is up. False if there will be none.
    pub(crate) fn wait_for_conn(&mut self, from: usize, to: usize, what: Packet) -> bool {
        if self.options.overlay.is_none() || !self.links.reachable(from, to) || !self.hosts[to].is_up() {
            return false;
        }
        self.meet(from, to);
        let waiting = self.net.waiting.entry((from, to)).or_default();
        let room = waiting.len() < MAX_WAITING;
        if room {
            waiting.push(what);
        }
        room
    }
}
