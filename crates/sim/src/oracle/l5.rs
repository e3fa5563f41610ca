//! L5: an idle slot and a grantable task do not coexist for long. Once faults have ended, a node that could run a task of a
//! job and runs nothing, while a steward of it has tasks to give, is seen at most for a while. Guards stealing, announcements,
//! lifelines, back-off.

use std::collections::BTreeMap;

use filch_types::JobId;
use filch_types::wire::JobState;

use super::{Oracle, core_keepers, live_jobs};
use crate::world::World;

/// How long it may last: a lost steward must be noticed, a new one waits one lease, an idle node may be in its longest pause.
const LONG_US: u64 = 45_000_000;

/// See the module.
#[derive(Default)]
pub struct L5 {
    since: BTreeMap<(JobId, usize), u64>,
}

impl Oracle for L5 {
    fn rule(&self) -> &'static str {
        "L5"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        if !world.settling {
            return Ok(());
        }
        let mut still = BTreeMap::new();
        for job in live_jobs(world) {
            let queued = core_keepers(world, job).iter().any(|h| {
                let view = world.hosts[*h].node.as_ref().and_then(|n| n.job(job));
                view.is_some_and(|v| v.state == JobState::Active && v.counts.queued > 0)
            });
            if !queued {
                continue;
            }
            for (h, host) in world.hosts.iter().enumerate() {
                let idle = host.is_up() && !host.frozen && host.options.able && host.options.slots > 0;
                if !idle || host.drained || host.launches() > 0 {
                    continue;
                }
                let since = self.since.get(&(job, h)).copied().unwrap_or(world.now);
                if world.now - since > LONG_US {
                    return Err(format!("n{h} is idle since {since} us while {job:?} has tasks to give"));
                }
                still.insert((job, h), since);
            }
        }
        self.since = still;
        Ok(())
    }
}
