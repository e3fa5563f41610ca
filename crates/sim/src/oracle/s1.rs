//! S1: an acked job survives the loss of any k-1 of its holders. At the moment of the ack, k distinct nodes hold manifest and
//! whole input closure on disk, under the store that is counted; and whoever says `Held` does hold them. A holder whose disk was wiped
//! is none from the moment on at which whoever counts has heard of its new store. Guards P1, P2, P3, and that beliefs are kept by store.

use std::collections::BTreeSet;

use filch_core::{Output, Reply};
use filch_types::wire::Message;
use filch_types::{JobId, NodeId};

use super::stores::Stores;
use super::{Oracle, Seen};
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S1 {
    stores: Stores,
}

impl S1 {
    fn holds(&self, world: &World, h: usize, job: JobId) -> bool {
        let host = &world.hosts[h];
        let recorded = host.disk.image.jobs.get(&job).is_some_and(|k| k.manifest.is_some() && k.held);
        // Rot that nobody has noticed is the fault's doing.
        recorded && (world.closure_durable(h, job) || world.rot_alone(h, job))
    }

    fn acked(&self, world: &World, h: usize, job: JobId, holders: &[NodeId]) -> Result<(), String> {
        let Some(info) = world.info(job) else { return Err(format!("n{h} accepts {job:?} that nobody knows")) };
        let k = usize::from(info.manifest.k);
        let names: BTreeSet<&NodeId> = holders.iter().collect();
        if names.len() < k {
            return Err(format!("n{h} accepts {job:?} with {} of {k} copies", names.len()));
        }
        for id in names {
            let Some(peer) = world.host_of(id) else { return Err(format!("{job:?} is held by nobody: {id:?}")) };
            let excused = self.stores.excused(world, h, peer) || world.deleted_anywhere(job);
            if !excused && !self.holds(world, peer, job) {
                return Err(format!("n{h} accepts {job:?} counting n{peer}, whose disk does not hold it"));
            }
        }
        Ok(())
    }
}

impl Oracle for S1 {
    fn rule(&self) -> &'static str {
        "S1"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        self.stores.saw(world, seen);
        match seen {
            Seen::Replied { host, reply: Reply::Accepted { job, holders }, .. } => {
                return self.acked(world, *host, *job, holders);
            }
            Seen::Did { host, output: Output::Send(_, Message::Held { job, store, .. }) } => {
                if *store != world.hosts[*host].store {
                    return Err(format!("n{host} says that another store than its own holds {job:?}"));
                }
                if !self.holds(world, *host, *job) {
                    return Err(format!("n{host} says that it holds {job:?}, and its disk does not"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
