//! S2: a visible result survives the loss of any r-1 of its holders. When a worker decides to take a pack out of its outbox, r
//! replicas (or all of R, if it is smaller) have it on disk with the blobs that it names. A replica that was wiped counts no more than the
//! worker can believe: until it hears of the new store. Guards P4, P5, P6, and that beliefs are kept by store.

use std::collections::BTreeSet;

use filch_core::Output;
use filch_types::record::Record;
use filch_types::{FactBody, FactId, JobId, NodeId, SignedFact};

use super::stores::Stores;
use super::{Oracle, Seen, replicas};
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S2 {
    stores: Stores,
    /// Packs that were on a disk once. One that comes back from a replica which then loses it is nothing new.
    written: BTreeSet<FactId>,
    /// Packs that a process let go of.
    decided: BTreeSet<(usize, FactId)>,
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
                self.stores.excused(world, h, p) || (host.disk.image.has_fact(job, pack) && blobs)
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

/// A pack is in the outbox from its first write on, or a crash would leave it to nobody but its author (P5).
fn in_outbox(
    world: &World,
    h: usize,
    job: JobId,
    pack: &FactId,
    signed: &SignedFact,
    records: &[Record],
    written: &BTreeSet<FactId>,
) -> Result<(), String> {
    let host = &world.hosts[h];
    let own = signed.decode().is_ok_and(|f| f.by == host.id && matches!(f.body, FactBody::Pack(_)));
    let first = || !written.contains(pack);
    let alone = || host.node.as_ref().and_then(|n| n.job(job)).is_none_or(|v| v.replicas == [host.id]);
    let there = || records.iter().any(|r| matches!(r, Record::Outbox(_, p) if p == pack));
    if own && first() && !alone() && !there() {
        return Err(format!("n{h} writes its pack {pack:?} of {job:?} without an entry in its outbox"));
    }
    Ok(())
}

impl Oracle for S2 {
    fn rule(&self) -> &'static str {
        "S2"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        self.stores.saw(world, seen);
        match seen {
            Seen::Crashed { host, .. } => {
                self.decided.retain(|(h, _)| h != host);
                Ok(())
            }
            Seen::Durable { record: Record::Fact(_, id, _), .. } => {
                self.written.insert(*id);
                Ok(())
            }
            Seen::Did { host, output: Output::Commit { records, .. } } => {
                records.iter().try_for_each(|record| match record {
                    Record::Fact(job, pack, signed) => {
                        in_outbox(world, *host, *job, pack, signed, records, &self.written)
                    }
                    // A full disk may refuse it, and it comes again: it was decided once.
                    Record::OutboxDone(job, pack) if self.decided.insert((*host, *pack)) => {
                        self.check(world, *host, *job, pack)
                    }
                    _ => Ok(()),
                })
            }
            _ => Ok(()),
        }
    }
}
