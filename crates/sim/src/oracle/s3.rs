//! S3: an acked fact stays until its job is deleted. A store that said `Stored` has the fact on disk from then on, across
//! every restart, unless the disk itself is lost, or the row, or the bytes that the fact names and nobody has them; and no job is dropped that nobody deleted. Guards P2, P11, P12.

use std::collections::{BTreeMap, BTreeSet};

use filch_core::Output;
use filch_types::record::Record;
use filch_types::wire::Message;
use filch_types::{FactId, JobId, StoreId};

use super::{Oracle, Seen, replicas};
use crate::fault::DiskAfter;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S3 {
    acked: BTreeMap<(usize, StoreId), BTreeMap<JobId, BTreeSet<FactId>>>,
}

impl S3 {
    fn still_there(&self, world: &World, h: usize) -> Result<(), String> {
        let host = &world.hosts[h];
        let Some(acked) = self.acked.get(&(h, host.store)) else { return Ok(()) };
        for (job, facts) in acked {
            let Some(kept) = host.disk.image.jobs.get(job) else {
                if world.deleted_anywhere(*job) {
                    continue;
                }
                return Err(format!("n{h} has dropped {job:?} and facts that it had acked"));
            };
            if kept.tombstone.is_none()
                && let Some(gone) = facts.iter().find(|f| !kept.facts.contains_key(f) && !host.lost(f))
            {
                return Err(format!("n{h} has lost {gone:?} of {job:?} that it had acked"));
            }
        }
        Ok(())
    }
}

impl Oracle for S3 {
    fn rule(&self) -> &'static str {
        "S3"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Crashed { host, disk: DiskAfter::RolledBack } => {
                self.acked.retain(|(h, _), _| h != host);
            }
            Seen::Started { host } => return self.still_there(world, *host),
            Seen::Did { host, output: Output::Send(_, Message::Stored { job, store, facts }) } => {
                let h = &world.hosts[*host];
                if *store != h.store {
                    return Err(format!("n{host} acks for another store than its own"));
                }
                if world.deleted_anywhere(*job) {
                    return Ok(());
                }
                // A row that just rotted away is missed once the core has read what is left.
                let untold = |f: &FactId| h.untold.get(job).is_some_and(|u| u.contains(f));
                if let Some(f) = facts.iter().find(|f| !h.disk.image.has_fact(*job, f) && !untold(f)) {
                    return Err(format!("n{host} acks {f:?} of {job:?} that is not on its disk"));
                }
                self.acked.entry((*host, *store)).or_default().entry(*job).or_default().extend(facts);
            }
            Seen::Did { host, output: Output::Release(job) } => {
                let keeps = world.hosts[*host].disk.image.jobs.get(job).is_some_and(|k| k.held);
                let member = replicas(world, *job).contains(&world.hosts[*host].id);
                let never = !world.history.accepted.contains_key(job);
                if keeps && member && !never && !world.deleted_anywhere(*job) {
                    return Err(format!("n{host} lets go of the blobs of {job:?} that nobody deleted"));
                }
            }
            // Who only reads along may let go of what all who kept it have lost.
            Seen::Durable { host, record: Record::Lost(job, fact) }
                if world.hosts[*host].disk.image.jobs.get(job).is_some_and(|k| k.held) =>
            {
                if !world.hosts[*host].lost(fact) {
                    return Err(format!("n{host} drops {fact:?} of {job:?} that it never lost"));
                }
                // One whose row had rotted is only owed no more.
                let there = world.hosts[*host].disk.image.has_fact(*job, fact);
                if there && world.is_final(*job, fact, Some(*host)) {
                    return Err(format!("n{host} drops {fact:?} of {job:?}, which is final"));
                }
            }
            Seen::Durable { host, record: Record::Forget(job, _) } if !world.deleted_anywhere(*job) => {
                return Err(format!("n{host} forgets {job:?} that nobody deleted"));
            }
            _ => {}
        }
        Ok(())
    }

    fn at_end(&mut self, world: &World) -> Result<(), String> {
        (0..world.hosts.len()).try_for_each(|h| self.still_there(world, h))
    }
}
