//! S6, of divided tasks: every result of a part came from an execution of exactly that part, at that attempt, by its author; and the tally
//! of a tree that is complete anywhere is what one node alone would have counted, whatever was split, lost and run again. Guards that a
//! child counts only if the winning result of its parent names it, and that neither side of a split keeps or loses what the other has.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use filch_handlers::{Kinds, Progress};
use filch_types::bag::{BagOutcome, BagResult};
use filch_types::record::Record;
use filch_types::template::Context;
use filch_types::{Fact, FactBody, FactId, JobId};

use super::{Oracle, Seen};
use crate::divide::known_counts;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct Parts {
    checked: BTreeSet<FactId>,
    right: RefCell<BTreeSet<(usize, u32, JobId, u32)>>,
    alone: RefCell<BTreeMap<String, Vec<u64>>>,
}

impl Parts {
    fn executed(&self, world: &World, fact: &Fact, r: &BagResult) -> Result<(), String> {
        let Some(author) = world.host_of(&fact.by) else { return Err(format!("{:?} is no member", fact.by)) };
        let runs = world.history.bags.get(&(fact.job, r.task)).map_or(&[][..], Vec::as_slice);
        if !runs.iter().any(|run| run.host == author && run.attempt == r.attempt && run.end.is_some()) {
            let what = r.task;
            return Err(format!(
                "n{author} has a result of {what:?} at attempt {:#x} that it never executed",
                r.attempt
            ));
        }
        let BagOutcome::Ended { tally, .. } = &r.outcome else { return Ok(()) };
        let counted = world.history.tallies.get(&(fact.job, r.task)).map_or(&[][..], Vec::as_slice);
        if counted.iter().any(|(h, t)| *h == author && t == tally) {
            return Ok(());
        }
        Err(format!("n{author} says {tally:?} of {:?}, which counted {counted:?}", r.task))
    }

    /// What one node alone counts of this index.
    fn want(&self, world: &World, job: JobId, index: u32) -> Option<Vec<u64>> {
        let info = world.info(job)?;
        let (_, group, _) = info.manifest.spec.locate(index)?;
        let filch_types::manifest::Program::Divisible { name, args, .. } = &group.program else { return None };
        let cx = Context { values: &[], inputs: &[], outputs: &[], index, slot: 0 };
        let args: Vec<String> = args.iter().map(|a| a.expand(&cx)).collect();
        let key = args.join(" ");
        if let Some(known) = known_counts(&key) {
            return Some(known.to_vec());
        }
        if let Some(known) = self.alone.borrow().get(&key) {
            return Some(known.clone());
        }
        let mut work = Kinds::builtin().get(name)?.start(&args).ok()?;
        while let Ok(Progress::More(_)) = work.process(1 << 20) {}
        self.alone.borrow_mut().insert(key, work.tally());
        Some(work.tally())
    }
}

impl Oracle for Parts {
    fn rule(&self) -> &'static str {
        "S6"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Durable { record: Record::Fact(_, id, _), .. } = seen else { return Ok(()) };
        let Some(info) = world.known.facts.get(id) else { return Ok(()) };
        let FactBody::Bags(results) = &info.fact.body else { return Ok(()) };
        if self.checked.insert(*id) {
            results.iter().try_for_each(|r| self.executed(world, &info.fact, r))?;
        }
        Ok(())
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        for (job, info) in &world.known.jobs {
            let groups = info.manifest.spec.groups.iter().enumerate().filter(|(_, g)| g.reduce().is_some());
            for index in groups.map(|(n, _)| info.manifest.spec.group_range(n)).flat_map(|r| r.lo..r.hi) {
                for (h, host) in world.hosts.iter().enumerate() {
                    let name = (h, host.life, *job, index);
                    if self.right.borrow().contains(&name) {
                        continue;
                    }
                    let Some(tally) = host.node.as_ref().and_then(|n| n.tally(*job, index)) else { continue };
                    let want = self.want(world, *job, index);
                    if want.as_ref().is_some_and(|w| *w != tally) {
                        return Err(format!("n{h} counts {tally:?} for {job:?}#{index}, which is {want:?}"));
                    }
                    self.right.borrow_mut().insert(name);
                }
            }
        }
        Ok(())
    }
}
