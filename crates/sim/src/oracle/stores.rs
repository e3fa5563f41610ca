//! What a node can know of the stores of others: a copy that was there when it was counted may be gone by now, and whoever counted it
//! is excused only as long as nobody has told it so. S1 and S2 ask here.

use std::collections::{BTreeMap, BTreeSet};

use filch_core::Input;
use filch_types::StoreId;
use filch_types::wire::{Request, Response};

use super::Seen;
use crate::fault::DiskAfter;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub(super) struct Stores {
    /// Nodes whose disk went back to an older image: same name, fewer contents, and nobody can know.
    rolled_back: BTreeSet<usize>,
    /// Nodes whose disk was wiped.
    wiped: BTreeSet<usize>,
    /// The store that (a node) last heard of (a peer), and when it first did.
    heard: BTreeMap<(usize, usize), (StoreId, u64)>,
}

impl Stores {
    pub fn saw(&mut self, world: &World, seen: &Seen<'_>) {
        match seen {
            Seen::Crashed { host, disk } => {
                self.heard.retain(|(h, _), _| h != host);
                match disk {
                    DiskAfter::Kept => {}
                    DiskAfter::Wiped => drop(self.wiped.insert(*host)),
                    DiskAfter::RolledBack => drop(self.rolled_back.insert(*host)),
                }
            }
            Seen::Fed { host, input: Input::Request(from, _, Request::Hello(hello)) } => {
                if let Some(from) = world.host_of(from) {
                    self.hears(world, *host, from, hello.store);
                }
            }
            Seen::Fed { host, input: Input::Response(_, Response::Hello(hello)) } => {
                // A store has one owner at a time.
                if let Some(from) = world.hosts.iter().position(|h| h.store == hello.store) {
                    self.hears(world, *host, from, hello.store);
                }
            }
            _ => {}
        }
    }

    fn hears(&mut self, world: &World, h: usize, peer: usize, store: StoreId) {
        let entry = self.heard.entry((h, peer)).or_insert((store, world.now));
        if entry.0 != store {
            *entry = (store, world.now);
        }
    }

    /// Whether `h` may still count what `peer` once held: it lost it, and `h` cannot know.
    pub fn excused(&self, world: &World, h: usize, peer: usize) -> bool {
        self.excused_since(world, h, peer, u64::MAX)
    }

    /// The same of something that `h` may have decided as early as this.
    pub fn excused_since(&self, world: &World, h: usize, peer: usize, since: u64) -> bool {
        let known = |(store, at): &(StoreId, u64)| *store == world.hosts[peer].store && *at <= since;
        let told = self.heard.get(&(h, peer)).is_some_and(known);
        self.rolled_back.contains(&peer) || (self.wiped.contains(&peer) && !told)
    }
}
