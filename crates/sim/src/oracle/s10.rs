//! S10: every table, queue and byte count stays under its cap. Table sizes of every node are looked at now and then; frames,
//! outputs per input and launches per slot are checked where they occur. What a node shows of itself and of its peers is looked at, too: nobody
//! twice, no name but a member's, and counters that only grow while it lives.

use std::collections::{BTreeMap, BTreeSet};

use filch_core::Node;
use filch_core::view::Counters;

use super::Oracle;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S10 {
    /// What the node of this number counted, and in which life.
    counted: BTreeMap<usize, (u32, Counters)>,
}

fn grew(now: &Counters, before: &Counters) -> bool {
    let of = |c: &Counters| {
        let work = [c.launched, c.finished, c.stolen, c.steal_requests, c.given, c.gifts];
        (work, [c.granted, c.copied, c.reclaimed, c.packs, c.facts, c.rejected])
    };
    let ((a, b), (c, d)) = (of(now), of(before));
    a.iter().chain(&b).zip(c.iter().chain(&d)).all(|(now, before)| now >= before)
}

/// Whom a node shows as its peers.
fn peers(world: &World, h: usize, node: &Node) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for peer in node.peers() {
        let known = world.host_of(&peer.id).filter(|p| *p != h);
        if known.is_none_or(|p| peer.name != format!("n{p}")) || !names.insert(peer.id) {
            return Err(format!("n{h} shows {peer:?} among its peers"));
        }
    }
    Ok(())
}

/// What a table of this name may hold in a run with so few jobs: far below the protocol's limits, so that a leak shows.
fn cap(name: &str, world: &World) -> usize {
    let (nodes, jobs) = (world.hosts.len(), world.known.jobs.len());
    match name {
        "peers" => nodes,
        "jobs" | "hearsay" | "tombstones" => jobs,
        "requests" => 64 + nodes * (16 + 8 * jobs),
        // As many as members may have facts on their way to this disk at once.
        "commits" => 4_096.max(8 * nodes),
        "fetches" => 1_024,
        "launches" => 256,
        "outbox" => 4_096,
        _ => 8_192,
    }
}

impl Oracle for S10 {
    fn rule(&self) -> &'static str {
        "S10"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        for (h, host) in world.hosts.iter().enumerate() {
            let Some(node) = &host.node else { continue };
            if let Some((name, size)) = node.table_sizes().into_iter().find(|(name, size)| *size > cap(name, world)) {
                return Err(format!("n{h} has {size} {name}"));
            }
            peers(world, h, node)?;
            let counted = node.counters();
            let before = self.counted.insert(h, (host.life, counted)).filter(|(life, _)| *life == host.life);
            if before.is_some_and(|(_, before)| !grew(&counted, &before)) {
                return Err(format!("n{h} counts {counted:?} after {before:?}"));
            }
        }
        Ok(())
    }
}
