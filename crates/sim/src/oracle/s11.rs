//! S11: without faults, executions equal tasks, exactly (and failures of a task's own add one for every retry). With faults,
//! extra executions are bounded by what was leased when a fault struck; here the bound is what all nodes together could have
//! had queued, per fault. Guards P7, P8, P13: leases that lapse for no reason, double grants, steals that both sides keep.

use super::Oracle;
use crate::history::End;
use crate::options::Profile;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S11;

impl Oracle for S11 {
    fn rule(&self) -> &'static str {
        "S11"
    }

    fn at_end(&mut self, world: &World) -> Result<(), String> {
        let calm = world.options.profile == Profile::FaultFree && world.stats.faults == 0;
        if !calm {
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
                let failed = |r: &&crate::history::Run| matches!(r.end, Some((_, End::Done { success: false, .. })));
                let failures = runs.iter().filter(failed).count();
                let want = if failures > retries { failures } else { failures + 1 };
                if runs.len() != want {
                    let list: Vec<_> = runs.iter().map(|r| (r.host, r.attempt, r.start, r.end)).collect();
                    return Err(format!("{job:?}#{index} ran {} times without a fault: {list:?}", runs.len()));
                }
            }
        }
        Ok(())
    }
}
