//! S11: without faults, executions equal tasks, exactly (and failures of a task's own add one for every retry). With faults,
//! extra executions are bounded by what was leased when a fault struck; here the bound is what all nodes together could have
//! had queued, per fault. Guards P7, P8, P13: leases that lapse for no reason, double grants, steals that both sides keep.
//!
//! Copies are the declared exception: near the end of a job, a steward may have one more attempt made at what has executed for
//! two heartbeats at least, on another node, once per task. Without faults a task has its exact executions, and that one.

use filch_core::{Event, Output};

use super::{Oracle, Seen};
use crate::history::{End, Run};
use crate::options::Profile;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S11;

fn calm(world: &World) -> bool {
    world.options.profile == Profile::FaultFree && world.stats.faults == 0
}

impl Oracle for S11 {
    fn rule(&self) -> &'static str {
        "S11"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Did { output: Output::Event(Event::Copied { job, to, tasks, attempt }), .. } = seen else {
            return Ok(());
        };
        if !calm(world) {
            return Ok(());
        }
        let least = 2 * world.options.timing.beat.0;
        let host = world.host_of(to);
        let begun = |i| world.history.of(*job, i).iter().any(|r| r.start + least <= world.now && Some(r.host) != host);
        if !(tasks.lo..tasks.hi).any(begun) {
            return Err(format!("{job:?}#{tasks:?} is copied as attempt {attempt:#x}, and did not straggle elsewhere"));
        }
        match (tasks.lo..tasks.hi).find(|i| world.history.copies.contains_key(&(*job, *i))) {
            Some(i) => Err(format!("{job:?}#{i} is copied a second time without a fault")),
            None => Ok(()),
        }
    }

    fn at_end(&mut self, world: &World) -> Result<(), String> {
        if !calm(world) {
            return Ok(());
        }
        if world.stats.reclaimed > 0 && world.history.revoke_asked.is_empty() {
            return Err(format!("{} tasks were taken back without a fault", world.stats.reclaimed));
        }
        for ((job, task), runs) in &world.history.bags {
            if runs.len() != 1 && !world.history.revoke_asked.contains_key(job) {
                let list: Vec<_> = runs.iter().map(|r| (r.host, r.attempt, r.start, r.end)).collect();
                return Err(format!("{task:?} of {job:?} ran {} times without a fault: {list:?}", runs.len()));
            }
        }
        for (job, tasks) in &world.history.runs {
            if world.history.revoke_asked.contains_key(job) {
                continue;
            }
            let Some(info) = world.known.jobs.get(job) else { continue };
            for (index, runs) in tasks {
                let retries = info.manifest.spec.locate(*index).map_or(0, |(_, g, _)| usize::from(g.retries));
                let ended = |r: &Run, ok| matches!(r.end, Some((_, End::Done { success, .. })) if success == ok);
                let (copies, own): (Vec<&Run>, Vec<&Run>) =
                    runs.iter().partition(|r| world.history.is_copy(*job, *index, r.attempt));
                let failures = own.iter().filter(|r| ended(r, false)).count();
                // A copy that succeeds spares the retry of what it is a copy of.
                let spared = copies.iter().any(|r| ended(r, true));
                let want = if failures > retries || (spared && failures > 0) { failures } else { failures + 1 };
                let most = if spared { failures + 1 } else { want };
                if own.len() < want || own.len() > most || copies.len() > 1 {
                    let list: Vec<_> = runs.iter().map(|r| (r.host, r.attempt, r.start, r.end)).collect();
                    return Err(format!("{job:?}#{index} ran {} times without a fault: {list:?}", runs.len()));
                }
            }
        }
        Ok(())
    }
}
