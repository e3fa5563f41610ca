//! S6: every winner came from an execution of exactly that task on an admitted member. Every result in a pack that becomes
//! durable anywhere is one that an executor of its author reported, for this task at this attempt, with this very value;
//! packs that say `NodeLost` are the steward's and need enough losses. Guards P5, P13, P14, signatures.

use std::collections::BTreeSet;

use filch_types::record::Record;
use filch_types::{Cause, Fact, FactBody, FactId, JobId, Outcome, ResultRun};

use super::{Oracle, Seen};
use crate::history::End;
use crate::known::value_of;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S6 {
    checked: BTreeSet<FactId>,
}

fn executed(world: &World, fact: &Fact, run: &ResultRun) -> Result<(), String> {
    let Some(author) = world.host_of(&fact.by) else { return Err(format!("{:?} is no member", fact.by)) };
    let value = value_of(&run.outcome);
    for index in run.range().lo..run.range().hi {
        let done = world.history.of(fact.job, index).iter().any(|r| {
            let same = matches!(r.end, Some((_, End::Done { value: v, .. })) if v == value);
            r.host == author && r.attempt == run.attempt && same
        });
        if !done {
            return Err(format!(
                "n{author} has a result of {:?}#{index} attempt {:#x} that it never executed",
                fact.job, run.attempt
            ));
        }
    }
    Ok(())
}

fn is_divided(world: &World, job: JobId, index: u32) -> bool {
    let info = world.info(job);
    info.and_then(|i| i.manifest.spec.locate(index).map(|(_, g, _)| g.reduce().is_some())).unwrap_or(false)
}

fn check(world: &World, job: JobId, id: FactId) -> Result<(), String> {
    let Some(info) = world.known.facts.get(&id) else {
        return Err(format!("{id:?} of {job:?} is on a disk and not properly signed"));
    };
    if info.fact.job != job {
        return Err(format!("{id:?} is kept for {job:?} and is about {:?}", info.fact.job));
    }
    let FactBody::Pack(runs) = &info.fact.body else { return Ok(()) };
    for run in runs {
        let divided = is_divided(world, job, run.lo);
        if divided && !run.outcome.is_success() {
            // A part of it failed, or the whole: its steward says so.
            continue;
        }
        if !matches!(run.outcome, Outcome::Failed(Cause::NodeLost, _)) {
            executed(world, &info.fact, run)?;
        }
    }
    Ok(())
}

impl Oracle for S6 {
    fn rule(&self) -> &'static str {
        "S6"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        if let Seen::Durable { record: Record::Fact(job, id, _), .. } = seen
            && self.checked.insert(*id)
        {
            return check(world, *job, *id);
        }
        Ok(())
    }
}
