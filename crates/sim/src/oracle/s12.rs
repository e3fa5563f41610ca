//! S12: crash budgets. A task is charged only for attempts that an executor had been given, and fails as `NodeLost` only when
//! it was charged often enough and really began to run more than once. Guards P14: queued tasks and orderly drains cost
//! nothing. (An executor reports no starts, so that all tasks of a launch count as executing.)

use std::collections::{BTreeMap, BTreeSet};

use filch_core::Output;
use filch_types::record::Record;
use filch_types::{Cause, FactBody, FactId, JobId, Outcome, RangeSet, limits};

use super::{Oracle, Seen};
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S12 {
    checked: BTreeSet<FactId>,
    charged: BTreeSet<(JobId, u32, u32)>,
    launched: BTreeMap<(JobId, u32), RangeSet>,
}

impl Oracle for S12 {
    fn rule(&self) -> &'static str {
        "S12"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        if let Seen::Did { output: Output::Launch(l), .. } = seen {
            self.launched.entry((l.job, l.attempt)).or_default().insert(l.tasks);
        }
        let Seen::Durable { host, record: Record::Fact(job, id, _) } = seen else { return Ok(()) };
        if !self.checked.insert(*id) {
            return Ok(());
        }
        let Some(info) = world.known.facts.get(id) else { return Ok(()) };
        match &info.fact.body {
            FactBody::Lost(list) => {
                for (index, attempt) in list {
                    if !self.launched.get(&(*job, *attempt)).is_some_and(|l| l.contains(*index)) {
                        return Err(format!(
                            "n{host} charges {job:?}#{index} for attempt {attempt:#x}, never launched"
                        ));
                    }
                    self.charged.insert((*job, *index, *attempt));
                }
            }
            FactBody::Pack(runs) => {
                for run in runs.iter().filter(|r| matches!(r.outcome, Outcome::Failed(Cause::NodeLost, _))) {
                    for i in run.range().lo..run.range().hi {
                        let times = self.charged.range((*job, i, 0)..=(*job, i, u32::MAX)).count();
                        let begun = world.history.of(*job, i).len();
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
