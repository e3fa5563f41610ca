//! S10: every table, queue and byte count stays under its cap. Table sizes of every node are looked at now and then; frames,
//! outputs per input and launches per slot are checked where they occur.

use super::Oracle;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S10;

/// What a table of this name may hold in a run with so few jobs: far below the protocol's limits, so that a leak shows.
fn cap(name: &str, world: &World) -> usize {
    let (nodes, jobs) = (world.hosts.len(), world.known.jobs.len());
    match name {
        "peers" => nodes,
        "jobs" | "hearsay" | "tombstones" => jobs,
        "requests" => 64 + nodes * (16 + 8 * jobs),
        "commits" => 4_096,
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
            for (name, size) in host.node.iter().flat_map(filch_core::Node::table_sizes) {
                if size > cap(name, world) {
                    return Err(format!("n{h} has {size} {name}"));
                }
            }
        }
        Ok(())
    }
}
