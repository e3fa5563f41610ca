//! S5: at most one value is ever final per task. Two `Final` events for a task, on whatever node and at whatever time, name
//! the same pack; and a final value is on the owner's disk, pin, pack and blobs, before anybody hears of it. An owner that
//! lost its disk may have forgotten a pin that reached nobody else: then only later values are compared. Guards P6, P9.

use std::collections::{BTreeMap, BTreeSet};

use filch_core::{Event, Output};
use filch_types::fact::PinRun;
use filch_types::record::Record;
use filch_types::{Fact, FactBody, FactId, JobId, RangeMap};

use super::{Oracle, Seen};
use crate::fault::DiskAfter;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S5 {
    finals: BTreeMap<JobId, RangeMap<FactId>>,
    /// Owners whose disk was lost.
    forgetful: BTreeSet<usize>,
}

impl S5 {
    fn pinned(&mut self, world: &World, h: usize, job: JobId, runs: &[PinRun]) -> Result<(), String> {
        let finals = self.finals.entry(job).or_default();
        for run in runs {
            if let Some((r, other)) = finals.overlapping(run.range()).find(|(_, p)| **p != run.pack) {
                return Err(format!("n{h}: {job:?}#{}..{} is final as {other:?}, then as {:?}", r.lo, r.hi, run.pack));
            }
            finals.insert(run.range(), run.pack);
        }
        let host = &world.hosts[h];
        let is_owner = world.info(job).is_some_and(|i| i.manifest.owner == host.id);
        if !is_owner {
            return Ok(());
        }
        let Some(kept) = host.disk.image.jobs.get(&job) else {
            return Err(format!("n{h} calls tasks of {job:?} final that its disk does not know"));
        };
        for run in runs {
            let pin = kept.facts.keys().any(|id| {
                let body = world.known.facts.get(id).map(|f| &f.fact.body);
                matches!(body, Some(FactBody::Pin(pins)) if pins.contains(run))
            });
            if !pin {
                return Err(format!("n{h} calls {job:?}#{} final before its pin is on disk", run.lo));
            }
            let blobs =
                world.known.facts.get(&run.pack).is_some_and(|f| f.closure.iter().all(|b| host.shelf.durable(*b)));
            if !kept.facts.contains_key(&run.pack) || !blobs {
                return Err(format!("n{h} calls {job:?}#{} final without its result on disk", run.lo));
            }
        }
        Ok(())
    }
}

/// One pin per task: the owner never writes a second one while the first is on its way or there (P9).
fn once(world: &World, h: usize, job: JobId, id: &FactId) -> Result<(), String> {
    let pins = |id: &FactId| match world.known.facts.get(id).map(|f| &f.fact) {
        Some(Fact { by, body: FactBody::Pin(runs), .. }) if *by == world.hosts[h].id => runs.clone(),
        _ => Vec::new(),
    };
    let new = pins(id);
    let Some(kept) = world.hosts[h].disk.image.jobs.get(&job).filter(|_| !new.is_empty()) else { return Ok(()) };
    for old in kept.facts.keys().filter(|k| *k != id).flat_map(pins) {
        if let Some(twice) = new.iter().find(|run| !run.range().intersect(old.range()).is_empty()) {
            return Err(format!("n{h} pins {job:?}#{} twice", twice.range().intersect(old.range()).lo));
        }
    }
    Ok(())
}

impl Oracle for S5 {
    fn rule(&self) -> &'static str {
        "S5"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Crashed { host, disk: DiskAfter::Wiped | DiskAfter::RolledBack } => {
                let id = world.hosts[*host].id;
                self.forgetful.insert(*host);
                self.finals.retain(|job, _| world.info(*job).is_some_and(|i| i.manifest.owner != id));
                Ok(())
            }
            Seen::Durable { host, record: Record::Fact(job, id, _) } if !self.forgetful.contains(host) => {
                once(world, *host, *job, id)
            }
            Seen::Did { host, output: Output::Event(Event::Final(job, runs)) } => self.pinned(world, *host, *job, runs),
            _ => Ok(()),
        }
    }
}
