//! S2: a visible result survives the loss of any r-1 of its holders. When a worker takes a pack out of its outbox, r
//! replicas (or all of R, if it is smaller) have it on disk with the blobs that it names. Guards P4, P5, P6.

use std::collections::BTreeSet;

use filch_types::record::Record;
use filch_types::{FactId, JobId, NodeId};

use super::{Oracle, Seen, replicas};
use crate::fault::DiskAfter;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S2 {
    /// Nodes whose disk was lost: what they acked before is gone through no fault of the worker.
    lost: BTreeSet<usize>,
}

impl S2 {
    fn check(&self, world: &World, h: usize, job: JobId, pack: &FactId) -> Result<(), String> {
        let (Some(info), Some(fact)) = (world.info(job), world.known.facts.get(pack)) else { return Ok(()) };
        if world.deleted_anywhere(job) {
            return Ok(());
        }
        let members: BTreeSet<NodeId> = replicas(world, job);
        let has = |id: &&NodeId| {
            world.host_of(id).is_some_and(|p| {
                let host = &world.hosts[p];
                let blobs = fact.closure.iter().all(|b| host.shelf.durable(*b));
                self.lost.contains(&p) || (host.disk.image.has_fact(job, pack) && blobs)
            })
        };
        let copies = members.iter().filter(has).count();
        let want = usize::from(info.manifest.r).min(info.manifest.replicas.len());
        if copies < want {
            return Err(format!("n{h} lets go of {pack:?} of {job:?} at {copies} of {want} copies"));
        }
        Ok(())
    }
}

impl Oracle for S2 {
    fn rule(&self) -> &'static str {
        "S2"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Crashed { host, disk: DiskAfter::Wiped | DiskAfter::RolledBack } => {
                self.lost.insert(*host);
                Ok(())
            }
            Seen::Durable { host, record: Record::OutboxDone(job, pack) } => self.check(world, *host, *job, pack),
            _ => Ok(()),
        }
    }
}
