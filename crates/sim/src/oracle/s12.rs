//! S12: crash budgets. A task is charged only for attempts that executed: it began, or another task of the same launch did (a
//! launch of several tasks is a few milliseconds of work, and an executor does not report the start of each). It fails as
//! `NodeLost` only when it was charged often enough and really began to run more than once. Guards P14: queued tasks, those that
//! wait for their inputs and orderly drains cost nothing.

use std::collections::{BTreeMap, BTreeSet};

use filch_core::{LaunchId, Output};
use filch_types::bag::TaskRef;
use filch_types::ranges::Range;
use filch_types::record::Record;
use filch_types::{BagId, Cause, FactBody, FactId, JobId, Outcome, limits};

use super::{Oracle, Seen};
use crate::history::Run;
use crate::world::World;

/// Tasks, launch, node, and which of its lives.
type Launched = (Range, LaunchId, usize, u32);

/// See the module.
#[derive(Default)]
pub struct S12 {
    checked: BTreeSet<FactId>,
    charged: BTreeSet<(JobId, u32, u64)>,
    /// The same of parts of divided tasks: attempts that were charged.
    parts: BTreeMap<BagId, BTreeSet<u64>>,
    /// By job and attempt: what was launched where, and in which life of the node.
    launched: BTreeMap<(JobId, u64), Vec<Launched>>,
}

impl S12 {
    fn executed(&self, world: &World, job: JobId, index: u32, attempt: u64) -> bool {
        let whole = world.history.bags.get(&(job, TaskRef::Index(index))).map_or(&[][..], Vec::as_slice);
        if whole.iter().any(|r| r.attempt == attempt) {
            return true;
        }
        let launches = self.launched.get(&(job, attempt)).map_or(&[][..], Vec::as_slice);
        launches.iter().filter(|(r, ..)| r.lo <= index && index < r.hi).any(|&(tasks, launch, host, life)| {
            let this = |r: &Run| (r.launch, r.host, r.life) == (launch, host, life);
            (tasks.lo..tasks.hi).any(|i| world.history.of(job, i).iter().any(this))
        })
    }
}

impl Oracle for S12 {
    fn rule(&self) -> &'static str {
        "S12"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        if let Seen::Did { host, output: Output::Launch(l) } = seen {
            let life = world.hosts[*host].life;
            self.launched.entry((l.job, l.attempt)).or_default().push((l.tasks, l.id, *host, life));
        }
        let Seen::Durable { host, record: Record::Fact(job, id, _) } = seen else { return Ok(()) };
        if !self.checked.insert(*id) {
            return Ok(());
        }
        let Some(info) = world.known.facts.get(id) else { return Ok(()) };
        match &info.fact.body {
            FactBody::Lost(list) => {
                for (index, attempt) in list {
                    if !self.executed(world, *job, *index, *attempt) {
                        return Err(format!(
                            "n{host} charges {job:?}#{index} for attempt {attempt:#x}, which did not execute"
                        ));
                    }
                    self.charged.insert((*job, *index, *attempt));
                }
            }
            FactBody::LostBags(list) => {
                for (bag, attempt) in list {
                    let runs = world.history.bags.get(&(*job, TaskRef::Bag(*bag))).map_or(&[][..], Vec::as_slice);
                    if !runs.iter().any(|r| r.attempt == *attempt) {
                        return Err(format!("n{host} charges {bag:?} for attempt {attempt:#x}, which did not execute"));
                    }
                    self.parts.entry(*bag).or_default().insert(*attempt);
                }
            }
            FactBody::Pack(runs) => {
                for run in runs.iter().filter(|r| matches!(r.outcome, Outcome::Failed(Cause::NodeLost, _))) {
                    if self.parts.values().any(|n| n.len() >= limits::CRASH_BUDGET as usize) {
                        continue;
                    }
                    for i in run.range().lo..run.range().hi {
                        let times = self.charged.range((*job, i, 0)..=(*job, i, u64::MAX)).count();
                        let whole = world.history.bags.get(&(*job, TaskRef::Index(i))).map_or(0, Vec::len);
                        let begun = world.history.of(*job, i).len() + whole;
                        if times < limits::CRASH_BUDGET as usize || begun < 2 {
                            return Err(format!("n{host} gives up {job:?}#{i} after {times} losses, {begun} starts"));
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
