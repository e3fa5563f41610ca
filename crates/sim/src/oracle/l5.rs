//! L5: an idle slot and a grantable task do not coexist for long. Once faults have ended, a node that could run a task of a
//! job and runs nothing, while a steward of it has tasks or parts to give, is seen at most for a while. Guards stealing, announcements,
//! lifelines, back-off.
//!
//! What a replica believes that is no steward does not count: results may be on their way to it over slow links, and nobody would
//! grant their tasks again. Nor is a node idle that keeps the end of the job on its own disk. But a job that is not over where it is kept in
//! full has a steward, after a while: without one nothing is ever granted.

use std::collections::BTreeMap;

use filch_core::Output;
use filch_core::view::Role;
use filch_types::JobId;
use filch_types::wire::JobState;

use super::{Oracle, Seen, core_keepers, live_jobs};
use crate::world::World;

/// On top of what the protocol's own periods allow.
const MARGIN_US: u64 = 16_000_000;

/// How long it may last: a lost steward must be noticed, a new one waits one lease, an idle node may be in its longest pause.
fn long(world: &World) -> u64 {
    let t = &world.options.timing;
    t.idle_beat.0 * 3 / 2 + t.dead_after.0 + t.lease.0 + 2 * t.quiet_max.0 + MARGIN_US
}

/// See the module.
#[derive(Default)]
pub struct L5 {
    since: BTreeMap<(JobId, usize), u64>,
    /// When a node last began something: between two looks it may have run many.
    began: BTreeMap<usize, u64>,
    /// Since when nobody is the steward of a job that goes on.
    alone: BTreeMap<JobId, u64>,
}

/// Whether a steward has something to give.
fn grantable(world: &World, job: JobId) -> bool {
    core_keepers(world, job).iter().filter_map(|h| world.hosts[*h].node.as_ref()).any(|n| {
        let active = n.job(job).filter(|v| v.state == JobState::Active);
        active.is_some_and(|v| n.leases(job).is_some_and(|l| v.counts.queued > 0 || l.parts > 0))
    })
}

/// A node that could be the steward of a job that is not over, if nobody is.
fn orphan(world: &World, job: JobId) -> Option<usize> {
    let keepers = core_keepers(world, job);
    let node = |h: &usize| world.hosts[*h].node.as_ref();
    if keepers.iter().filter_map(node).any(|n| n.leases(job).is_some()) {
        return None;
    }
    let goes_on = |h: &usize| node(h).and_then(|n| n.job(job)).is_some_and(|v| v.state == JobState::Active);
    // Who has not heard of the end yet hears of it from who has (L1, L2).
    if !keepers.iter().all(goes_on) {
        return None;
    }
    keepers.into_iter().find(|h| !world.hosts[*h].draining && world.holds_all(*h, job))
}

impl L5 {
    fn stewards(&mut self, world: &World) -> Result<(), String> {
        let mut alone = BTreeMap::new();
        for job in live_jobs(world) {
            let Some(h) = orphan(world, job) else { continue };
            let since = self.alone.get(&job).copied().unwrap_or(world.now);
            if world.now - since > long(world) {
                return Err(format!("nobody is the steward of {job:?} since {since} us, and n{h} keeps it"));
            }
            alone.insert(job, since);
        }
        self.alone = alone;
        Ok(())
    }
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
        self.stewards(world)?;
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
                if world.now - since > long(world) {
                    return Err(format!("n{h} is idle since {since} us while {job:?} has tasks to give"));
                }
                still.insert((job, h), since);
            }
        }
        self.since = still;
        Ok(())
    }
}
