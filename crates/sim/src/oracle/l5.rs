//! L5: an idle slot and a grantable task do not coexist for long. Once faults have ended, a node that could run a task of a
//! job and runs nothing, while a steward of it has tasks or parts to give, is seen at most for a while. Guards stealing, announcements,
//! lifelines, back-off.
//!
//! What a replica believes that is no steward does not count: results may be on their way to it over slow links, and nobody would
//! grant their tasks again. Nor is a node idle that keeps the end of the job on its own disk.

use std::collections::BTreeMap;

use filch_core::Output;
use filch_core::view::Role;
use filch_types::JobId;
use filch_types::wire::JobState;

use super::{Oracle, Seen, core_keepers, live_jobs};
use crate::world::World;

/// How long it may last: a lost steward must be noticed, a new one waits one lease, an idle node may be in its longest pause.
const LONG_US: u64 = 45_000_000;

/// See the module.
#[derive(Default)]
pub struct L5 {
    since: BTreeMap<(JobId, usize), u64>,
    /// When a node last began something: between two looks it may have run many.
    began: BTreeMap<usize, u64>,
}

/// Whether a steward has something to give.
fn grantable(world: &World, job: JobId) -> bool {
    core_keepers(world, job).iter().filter_map(|h| world.hosts[*h].node.as_ref()).any(|n| {
        let active = n.job(job).filter(|v| v.state == JobState::Active);
        active.is_some_and(|v| n.leases(job).is_some_and(|l| v.counts.queued > 0 || l.parts > 0))
    })
}

impl Oracle for L5 {
    fn rule(&self) -> &'static str {
        "L5"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        if let Seen::Did { host, output: Output::Launch(_) } = seen {
            self.began.insert(*host, world.now);
        }
        Ok(())
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        if !world.settling {
            return Ok(());
        }
        let mut still = BTreeMap::new();
        for job in live_jobs(world) {
            if !grantable(world, job) {
                continue;
            }
            for (h, host) in world.hosts.iter().enumerate() {
                let idle = host.is_up() && !host.frozen && host.options.able && host.options.slots > 0;
                let view = host.node.as_ref().and_then(|n| n.job(job));
                let knows = view.is_some_and(|v| v.role == Role::Replica && v.state != JobState::Active);
                if !idle || knows || host.draining || host.launches() > 0 {
                    continue;
                }
                let began = self.began.get(&h).copied().unwrap_or(0);
                let since = self.since.get(&(job, h)).copied().unwrap_or(world.now).max(began);
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
