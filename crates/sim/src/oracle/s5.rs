//! S5: at most one value is ever final per task. Two `Final` events for a task, on whatever node and at whatever time, name
//! the same pack; and a final value is on the owner's disk, pin, pack and blobs, before anybody hears of it. Guards P6, P9.
//!
//! An owner whose disk was wiped has forgotten its pins. It compares with the replicas before it pins again, so another value is
//! excused only if nobody could have told (the same if rows of its pins rotted and it started again): nobody who keeps the job and the earlier pin was within its reach for [`TOLD_US`], it was started again
//! since, or what they told was still on its way. An owner whose disk went back to an older image cannot know that it has forgotten
//! anything: it is excused. What is pinned on its disk it never pins again, wiped or not.

use std::collections::{BTreeMap, BTreeSet};

use filch_core::{Event, Output};
use filch_types::fact::PinRun;
use filch_types::ranges::Range;
use filch_types::record::Record;
use filch_types::{Fact, FactBody, FactId, JobId, RangeMap};

use super::{Oracle, Seen, replicas};
use crate::fault::DiskAfter;
use crate::host::Host;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S5 {
    finals: BTreeMap<JobId, RangeMap<FactId>>,
    /// What was final before its owner forgot it.
    earlier: BTreeMap<JobId, RangeMap<FactId>>,
    /// All values that were final before they were forgotten: an owner that loses its disk twice may hear of two.
    before: BTreeSet<(JobId, u32, FactId)>,
    /// Owners whose disk was lost, and the life in which they came back.
    forgetful: BTreeMap<usize, u32>,
    /// Pins that were on their owner's disk once.
    made: BTreeSet<FactId>,
    /// Since when a forgetful owner reaches another node, and in which lives of both.
    reach: BTreeMap<(usize, usize), ((u32, u32), u64)>,
}

/// Within this time a replica that is reached has told what it has.
const TOLD_US: u64 = 10_000_000;

/// Whether these two hear each other as on any good day.
fn in_reach(world: &World, a: usize, b: usize) -> bool {
    let well = |h: usize| {
        let host = &world.hosts[h];
        host.is_up() && !host.frozen && host.paused.is_none() && host.disk.full == 0 && host.disk.slow <= 1
    };
    let linked = |a: usize, b: usize| world.hosts[a].ends.get(&b).is_some_and(|conns| !conns.is_empty());
    well(a) && well(b) && linked(a, b) && linked(b, a) && world.path_is_good(a, b)
}

/// Whether this disk has a pin of these tasks that names this pack, and the pack.
fn keeps_pin(world: &World, h: usize, job: JobId, tasks: Range, pack: FactId) -> bool {
    let Some(kept) = world.hosts[h].disk.image.jobs.get(&job).filter(|k| k.held && k.facts.contains_key(&pack)) else {
        return false;
    };
    kept.facts.keys().any(|id| match world.known.facts.get(id).map(|f| &f.fact.body) {
        Some(FactBody::Pin(pins)) => pins.iter().any(|p| p.pack == pack && !p.range().intersect(tasks).is_empty()),
        _ => false,
    })
}

/// Whether this disk has the fact.
fn kept_anywhere(host: &Host, id: &FactId) -> bool {
    host.disk.image.jobs.values().any(|k| k.facts.contains_key(id))
}

impl S5 {
    /// An owner that lost its disk makes something final: whoever can have told it of another value.
    fn forgotten(&self, world: &World, h: usize, job: JobId, run: &PinRun) -> Result<(), String> {
        let Some(earlier) = self.earlier.get(&job) else { return Ok(()) };
        let host = &world.hosts[h];
        if self.forgetful.get(&h) != Some(&host.life) || host.fetches_facts(job) {
            return Ok(());
        }
        let other = |(tasks, pack): &(Range, &FactId)| {
            **pack != run.pack && !self.before.contains(&(job, tasks.lo.max(run.lo), run.pack))
        };
        for (tasks, pack) in earlier.overlapping(run.range()).filter(other) {
            let told = |p: &usize| {
                let lives = (host.life, world.hosts[*p].life);
                let since = self.reach.get(&(h, *p)).filter(|(l, _)| *l == lives).map(|(_, since)| *since);
                since.is_some_and(|s| s + TOLD_US <= world.now)
                    && replicas(world, job).contains(&world.hosts[*p].id)
                    && keeps_pin(world, *p, job, tasks, *pack)
            };
            if let Some(p) = (0..world.hosts.len()).filter(|p| *p != h).find(told) {
                return Err(format!(
                    "n{h} lost its disk and makes {job:?}#{} final as {:?}; n{p} knows it as {pack:?} and could be asked",
                    tasks.lo, run.pack
                ));
            }
        }
        Ok(())
    }

    fn forgets(&mut self, world: &World, h: usize, disk: DiskAfter) {
        let id = world.hosts[h].id;
        self.forgetful.insert(h, world.hosts[h].life + 1);
        let owned: Vec<JobId> = self.finals.keys().copied().collect();
        for job in owned.into_iter().filter(|j| world.info(*j).is_some_and(|i| i.manifest.owner == id)) {
            let finals = self.finals.remove(&job).unwrap_or_default();
            match disk {
                DiskAfter::Wiped => finals.iter().for_each(|(r, pack)| {
                    self.before.extend((r.lo..r.hi).map(|i| (job, i, *pack)));
                    self.earlier.entry(job).or_default().insert(r, *pack);
                }),
                _ => drop(self.earlier.remove(&job)),
            }
        }
    }

    /// An owner that lost rows of its own pins and starts again has forgotten these.
    fn forgets_rows(&mut self, world: &World, h: usize) {
        let host = &world.hosts[h];
        let own = |f: &FactId| world.known.facts.get(f).filter(|i| i.fact.by == host.id);
        for info in host.perished.iter().filter(|f| !kept_anywhere(host, f)).filter_map(own) {
            let FactBody::Pin(pins) = &info.fact.body else { continue };
            let Some(finals) = self.finals.get_mut(&info.fact.job) else { continue };
            self.forgetful.insert(h, host.life);
            let earlier = self.earlier.entry(info.fact.job).or_default();
            for pin in pins {
                finals.remove(pin.range());
                self.before.extend((pin.lo..pin.range().hi).map(|i| (info.fact.job, i, pin.pack)));
                earlier.insert(pin.range(), pin.pack);
            }
        }
    }

    fn pinned(&mut self, world: &World, h: usize, job: JobId, runs: &[PinRun]) -> Result<(), String> {
        let is_owner = world.info(job).is_some_and(|i| i.manifest.owner == world.hosts[h].id);
        if is_owner {
            runs.iter().try_for_each(|run| self.forgotten(world, h, job, run))?;
        }
        let finals = self.finals.entry(job).or_default();
        for run in runs {
            if let Some((r, other)) = finals.overlapping(run.range()).find(|(_, p)| **p != run.pack) {
                return Err(format!("n{h}: {job:?}#{}..{} is final as {other:?}, then as {:?}", r.lo, r.hi, run.pack));
            }
            finals.insert(run.range(), run.pack);
        }
        let host = &world.hosts[h];
        if !is_owner {
            return Ok(());
        }
        let Some(kept) = host.disk.image.jobs.get(&job) else {
            return Err(format!("n{h} calls tasks of {job:?} final that its disk does not know"));
        };
        for run in runs {
            let pin = kept.facts.keys().any(|id| {
                let body = world.known.facts.get(id).map(|f| &f.fact.body);
                let says = |p: &PinRun| p.pack == run.pack && p.range().intersect(run.range()) == run.range();
                matches!(body, Some(FactBody::Pin(pins)) if pins.iter().any(says))
            });
            if !pin {
                return Err(format!("n{h} calls {job:?}#{} final before its pin is on disk", run.lo));
            }
            let blobs =
                world.known.facts.get(&run.pack).is_some_and(|f| f.closure.iter().all(|b| host.shelf.durable(*b)));
            // It rotted, and nobody has noticed.
            let blobs = blobs || host.decayed.contains(&run.pack);
            if !(kept.facts.contains_key(&run.pack) || host.perished.contains(&run.pack)) || !blobs {
                return Err(format!("n{h} calls {job:?}#{} final without its result on disk", run.lo));
            }
        }
        Ok(())
    }
}

/// One pin per task: the owner never writes a second one while the first is on its way or there (P9).
fn once(world: &World, h: usize, job: JobId, id: &FactId, made: &mut BTreeSet<FactId>) -> Result<(), String> {
    let pins = |id: &FactId| match world.known.facts.get(id).map(|f| &f.fact) {
        Some(Fact { by, body: FactBody::Pin(runs), .. }) if *by == world.hosts[h].id => runs.clone(),
        _ => Vec::new(),
    };
    let new = pins(id);
    if !new.is_empty() {
        made.insert(*id);
    }
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
            Seen::Started { host } => {
                self.forgets_rows(world, *host);
                Ok(())
            }
            Seen::Crashed { host, disk } => {
                if *disk != DiskAfter::Kept {
                    self.forgets(world, *host, *disk);
                }
                Ok(())
            }
            Seen::Durable { host, record: Record::Fact(job, id, _) } => {
                // One that it made before it lost its disk may come back.
                let again = self.forgetful.contains_key(host) && self.made.contains(id);
                if again { Ok(()) } else { once(world, *host, *job, id, &mut self.made) }
            }
            Seen::Did { host, output: Output::Event(Event::Final(job, runs)) } => self.pinned(world, *host, *job, runs),
            _ => Ok(()),
        }
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        let mut reach = BTreeMap::new();
        for &h in self.forgetful.keys() {
            for p in (0..world.hosts.len()).filter(|p| *p != h && in_reach(world, h, *p)) {
                let lives = (world.hosts[h].life, world.hosts[p].life);
                let before = self.reach.get(&(h, p)).filter(|(l, _)| *l == lives);
                reach.insert((h, p), (lives, before.map_or(world.now, |(_, since)| *since)));
            }
        }
        self.reach = reach;
        Ok(())
    }
}
