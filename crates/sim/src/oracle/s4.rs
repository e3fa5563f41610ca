//! S4: equal fact sets fold to equal bytes, in whatever order they came. Nodes whose facts of a job are equal agree on its
//! fingerprint; and the fold of a node is what a second, plain implementation of the rule makes of the facts: the pin if
//! there is one, else the minimum by (success before failure, attempt, fact id).

use std::collections::{BTreeMap, BTreeSet};

use filch_core::view::{Role, Winner};
use filch_types::bag::{BagOutcome, Child, TaskRef};
use filch_types::fact::PinRun;
use filch_types::ranges::Range;
use filch_types::{BagId, FactBody, FactId, JobId};

use super::Oracle;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S4;

/// (failed, attempt, pack), and whether it is pinned.
type Plain = BTreeMap<u32, ((bool, u64, FactId), bool)>;

/// Which node folded facts first, and to what.
type Folded = (usize, Option<[u8; 32]>);

/// The winning results of divided tasks all of whose parts are there, worked out as often as anything changes.
fn complete(world: &World, facts: &[FactId]) -> BTreeMap<u32, (bool, u64, FactId)> {
    let mut results = Vec::new();
    for id in facts {
        let Some(info) = world.known.facts.get(id) else { continue };
        let FactBody::Bags(list) = &info.fact.body else { continue };
        for r in list.iter().filter(|r| matches!(r.outcome, BagOutcome::Ended { .. })) {
            let name = |(n, c): (usize, &Child)| BagId::of(info.fact.job, r.task, r.attempt, n as u32, &c.bag);
            let children: Vec<BagId> = r.children().iter().enumerate().map(name).collect();
            results.push((r.task, (false, r.attempt, *id), children));
        }
    }
    let mut done: BTreeSet<BagId> = BTreeSet::new();
    let mut whole = BTreeMap::new();
    loop {
        let before = (done.len(), whole.len());
        for (task, key, children) in &results {
            if children.iter().all(|c| done.contains(c)) {
                match task {
                    TaskRef::Bag(id) => {
                        done.insert(*id);
                    }
                    TaskRef::Index(i) => {
                        whole.entry(*i).and_modify(|k| *k = (*key).min(*k)).or_insert(*key);
                    }
                }
            }
        }
        if before == (done.len(), whole.len()) {
            return whole;
        }
    }
}

fn plain(world: &World, facts: &[FactId]) -> Plain {
    let mut best: Plain = BTreeMap::new();
    let mut by_pack: BTreeMap<(FactId, u32), (bool, u64, FactId)> = BTreeMap::new();
    let mut pins = Vec::new();
    for id in facts {
        let Some(info) = world.known.facts.get(id) else { continue };
        match &info.fact.body {
            FactBody::Pack(runs) => {
                for run in runs {
                    let key = (!run.outcome.is_success(), run.attempt, *id);
                    for i in run.range().lo..run.range().hi {
                        by_pack.insert((*id, i), key);
                        let entry = best.entry(i).or_insert((key, false));
                        entry.0 = entry.0.min(key);
                    }
                }
            }
            FactBody::Bags(results) => {
                for r in results {
                    if let TaskRef::Index(i) = r.task {
                        let key = (false, r.attempt, *id);
                        by_pack.entry((*id, i)).and_modify(|k| *k = key.min(*k)).or_insert(key);
                    }
                }
            }
            FactBody::Pin(runs) => pins.extend(runs.iter().copied()),
            _ => {}
        }
    }
    for (i, key) in complete(world, facts) {
        let entry = best.entry(i).or_insert((key, false));
        entry.0 = entry.0.min(key);
    }
    // An owner that lost its disk may pin twice: then the lesser pack counts, so that all nodes agree.
    pins.sort_unstable_by_key(|pin: &PinRun| std::cmp::Reverse(pin.pack));
    for pin in pins {
        for i in pin.range().lo..pin.range().hi {
            if let Some(key) = by_pack.get(&(pin.pack, i)) {
                best.insert(i, (*key, true));
            }
        }
    }
    best
}

fn agrees(world: &World, h: usize, job: JobId) -> Result<(), String> {
    let (Some(node), Some(info)) = (&world.hosts[h].node, world.info(job)) else { return Ok(()) };
    let plain = plain(world, &node.facts(job));
    let all = Range::new(0, info.total);
    let winners: Vec<Winner> = node.winners(job, all, usize::MAX);
    for w in &winners {
        for i in w.tasks.lo..w.tasks.hi {
            let have = ((!w.success, w.attempt, w.pack), w.is_final);
            if plain.get(&i) != Some(&have) {
                return Err(format!("n{h} folds {job:?}#{i} to {have:?}, its facts say {:?}", plain.get(&i)));
            }
        }
    }
    let won: u64 = winners.iter().map(|w| u64::from(w.tasks.len())).sum();
    // Successes are always done; failures only when their retries are used up.
    let sure = plain.values().filter(|((failed, ..), _)| !failed).count() as u64;
    if won < sure {
        return Err(format!("n{h} sees {won} winners of {job:?}, its facts have {sure} successes"));
    }
    Ok(())
}

/// Whether rows of the job are gone here and not back: what they said stays in force, though they are listed no more.
fn hides(world: &World, h: usize, job: JobId) -> bool {
    let host = &world.hosts[h];
    let gone = |f: &&FactId| world.known.facts.get(f).is_some_and(|i| i.fact.job == job);
    host.perished.iter().filter(gone).any(|f| !host.disk.image.has_fact(job, f))
}

impl Oracle for S4 {
    fn rule(&self) -> &'static str {
        "S4"
    }

    fn at_end(&mut self, world: &World) -> Result<(), String> {
        let mut seen: BTreeMap<(JobId, Vec<FactId>), Folded> = BTreeMap::new();
        for (h, host) in world.hosts.iter().enumerate() {
            let Some(node) = &host.node else { continue };
            for view in node.jobs() {
                if view.role == Role::Hearsay {
                    continue;
                }
                if hides(world, h, view.job) {
                    continue;
                }
                agrees(world, h, view.job)?;
                let mut facts = node.facts(view.job);
                facts.sort_unstable();
                let print = node.fingerprint(view.job);
                let (first, other) = *seen.entry((view.job, facts)).or_insert((h, print));
                if other != print {
                    return Err(format!(
                        "n{first} and n{h} hold equal facts of {:?} and fold them differently",
                        view.job
                    ));
                }
            }
        }
        Ok(())
    }
}
