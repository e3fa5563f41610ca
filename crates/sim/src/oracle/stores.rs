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
    /// The store that (a node) last heard of (a peer).
    heard: BTreeMap<(usize, usize), StoreId>,
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
                    self.heard.insert((*host, from), hello.store);
                }
            }
            Seen::Fed { host, input: Input::Response(_, Response::Hello(hello)) } => {
                // A store has one owner at a time.
                if let Some(from) = world.hosts.iter().position(|h| h.store == hello.store) {
                    self.heard.insert((*host, from), hello.store);
                }
            }
            _ => {}
        }
    }

    /// Whether `h` may still count what `peer` once held: it lost it, and `h` cannot know.
    pub fn excused(&self, world: &World, h: usize, peer: usize) -> bool {
        let told = self.heard.get(&(h, peer)) == Some(&world.hosts[peer].store);
        self.rolled_back.contains(&peer) || (self.wiped.contains(&peer) && !told)
    }
}
