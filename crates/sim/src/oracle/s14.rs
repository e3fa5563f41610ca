//! S14: P1's order holds in every crash image: closure blobs, manifest, facts, acks. Whenever a record becomes durable, what
//! it rests on is durable already: `Held` on the input closure, a pack on its blobs (on replicas, and on its author), a pin on
//! its packs, a fact on the manifest. A node that only reads along may have facts without their blobs, but not once it holds
//! the job. Guards P1, P4.

use filch_types::record::Record;
use filch_types::{FactBody, FactId, JobId};

use super::{Oracle, Seen};
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S14;

fn rests(world: &World, h: usize, job: JobId, id: &FactId) -> Result<(), String> {
    let Some(info) = world.known.facts.get(id) else { return Ok(()) };
    let host = &world.hosts[h];
    // Its author may read along later, when it owes the job nothing any more.
    let anew = !world.hosts.iter().any(|o| o.disk.image.has_fact(job, id));
    let keeps = is_member(world, h, job) || (info.fact.by == host.id && anew);
    if !keeps || world.deleted_anywhere(job) {
        return Ok(());
    }
    // Rot that nobody has noticed is the fault's doing.
    let fine = |b| host.shelf.durable(b) || host.shelf.rotted(b) || host.decayed.contains(id);
    if let Some(b) = info.closure.iter().find(|b| !fine(**b)) {
        return Err(format!("n{h} keeps {id:?} of {job:?} without its blob {b:?}"));
    }
    let kept = host.disk.image.jobs.get(&job);
    if kept.is_none_or(|k| k.manifest.is_none() && k.tombstone.is_none()) {
        return Err(format!("n{h} keeps {id:?} without the manifest of {job:?}"));
    }
    if let FactBody::Pin(runs) = &info.fact.body
        && let Some(run) =
            runs.iter().find(|r| !host.disk.image.has_fact(job, &r.pack) && !host.perished.contains(&r.pack))
    {
        return Err(format!("n{h} keeps a pin of {job:?} without the pack {:?} that it names", run.pack));
    }
    Ok(())
}

/// Whether the node's own disk says that it is a holder. One that R names by a fact only has yet to hold the job, and begins anew then.
fn is_member(world: &World, h: usize, job: JobId) -> bool {
    let host = &world.hosts[h];
    let named = world.info(job).is_some_and(|i| i.manifest.replicas.contains(&host.id));
    let kept = host.disk.image.jobs.get(&job);
    named || kept.is_some_and(|k| k.held)
}

/// Everything that the node's disk has of a job that it holds from now on.
fn holds(world: &World, h: usize, job: JobId) -> Result<(), String> {
    let host = &world.hosts[h];
    if world.rot_alone(h, job) || world.deleted_anywhere(job) {
        return Ok(());
    }
    if !world.closure_durable(h, job) {
        return Err(format!("n{h} records that it holds {job:?} before its closure is durable"));
    }
    let facts = host.disk.image.jobs.get(&job).into_iter().flat_map(|k| k.facts.keys());
    for id in facts {
        let blobs = world.known.facts.get(id).into_iter().flat_map(|f| f.closure.iter());
        if let Some(b) = blobs.copied().find(|b| !host.shelf.durable(*b) && !host.decayed.contains(id)) {
            return Err(format!("n{h} holds {job:?} and keeps {id:?} without its blob {b:?}"));
        }
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
            Seen::Durable { host, record: Record::Held(job) } => holds(world, *host, *job),
            Seen::Durable { host, record: Record::Fact(job, id, _) } => rests(world, *host, *job, id),
            _ => Ok(()),
        }
    }
}
