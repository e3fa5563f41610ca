//! S14: P1's order holds in every crash image: closure blobs, manifest, facts, acks. Whenever a record becomes durable, what
//! it rests on is durable already: `Held` on the input closure, a pack on its blobs (on replicas, and on its author), a pin on
//! its packs, a fact on the manifest. Guards P1, P4.

use filch_types::record::Record;
use filch_types::{FactBody, FactId, JobId};

use super::{Oracle, Seen, replicas};
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S14;

fn rests(world: &World, h: usize, job: JobId, id: &FactId) -> Result<(), String> {
    let Some(info) = world.known.facts.get(id) else { return Ok(()) };
    let host = &world.hosts[h];
    // Its author may read along later, when it owes the job nothing any more.
    let anew = !world.hosts.iter().any(|o| o.disk.image.has_fact(job, id));
    let keeps = replicas(world, job).contains(&host.id) || (info.fact.by == host.id && anew);
    if !keeps || world.deleted_anywhere(job) {
        return Ok(());
    }
    if let Some(b) = info.closure.iter().find(|b| !host.shelf.durable(**b)) {
        return Err(format!("n{h} keeps {id:?} of {job:?} without its blob {b:?}"));
    }
    let kept = host.disk.image.jobs.get(&job);
    if kept.is_none_or(|k| k.manifest.is_none() && k.tombstone.is_none()) {
        return Err(format!("n{h} keeps {id:?} without the manifest of {job:?}"));
    }
    if let FactBody::Pin(runs) = &info.fact.body
        && let Some(run) = runs.iter().find(|r| !host.disk.image.has_fact(job, &r.pack))
    {
        return Err(format!("n{h} keeps a pin of {job:?} without the pack {:?} that it names", run.pack));
    }
    Ok(())
}

impl Oracle for S14 {
    fn rule(&self) -> &'static str {
        "S14"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        // Groups that survive a crash out of order are no order of the node's.
        if world.options.disk.independent {
            return Ok(());
        }
        match seen {
            Seen::Durable { host, record: Record::Held(job) } => {
                let rotten = world.hosts[*host].rotten.contains(job);
                if !rotten && !world.deleted_anywhere(*job) && !world.closure_durable(*host, *job) {
                    return Err(format!("n{host} records that it holds {job:?} before its closure is durable"));
                }
                Ok(())
            }
            Seen::Durable { host, record: Record::Fact(job, id, _) } => rests(world, *host, *job, id),
            _ => Ok(()),
        }
    }
}
