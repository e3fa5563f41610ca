//! S11: without faults, executions equal tasks, exactly (and failures of a task's own add one for every retry). With faults, extra
//! executions are bounded by what was leased at each fault: a task runs once more only if it was leased, held or on its way back when a
//! node died or came back, and once per such moment. Leased from then on until the cluster knows (a lease, and the time that a new
//! steward listens) counts as leased at the fault. Guards P7, P8, P13: leases that lapse for no reason, double grants, steals that
//! both sides keep.
//!
//! The second half is checked in runs whose faults are of processes: where links lose, delay or cut what is said, or disks forget, what
//! is leased at a moment is not what the two sides of a link believe, and a partition runs the rest of a job on both sides.

use std::collections::BTreeMap;

use filch_types::ranges::RangeSet;
use filch_types::{JobId, ranges::Range};

use super::{Oracle, Seen};
use crate::fault::Class;
use crate::history::{End, Run};
use crate::options::{Options, Profile};
use crate::world::World;

/// A moment at which tasks may have been lost.
struct Edge {
    at: u64,
    exposed: BTreeMap<JobId, RangeSet>,
}

/// See the module.
#[derive(Default)]
pub struct S11 {
    edges: Vec<Edge>,
}

/// Whether executions can be told fault by fault in such a run.
fn countable(options: &Options) -> bool {
    let of_processes = |c| matches!(c, Class::Crash | Class::Drain | Class::Sick | Class::Forge | Class::BitRot);
    let links = options.link.loss_ppm == 0 && options.link.dup_ppm == 0 && options.link.unreachable_ppm == 0;
    options.profile != Profile::OverBudget && links && options.faults.iter().all(|p| of_processes(p.fault.class()))
}

/// Everything of any job that a steward has leased or a worker holds.
fn exposed(world: &World) -> BTreeMap<JobId, RangeSet> {
    let mut out: BTreeMap<JobId, RangeSet> = BTreeMap::new();
    for node in world.hosts.iter().filter_map(|h| h.node.as_ref()) {
        for &job in world.known.jobs.keys() {
            let leased = node.leases(job).map(|l| l.held).unwrap_or_default();
            let all: Vec<Range> = leased.into_iter().map(|(r, _)| r).chain(node.holding(job)).collect();
            if !all.is_empty() {
                let set = out.entry(job).or_default();
                all.into_iter().for_each(|r| set.insert(r));
            }
        }
    }
    out
}

/// Executions of a task beyond those that it needs: one, and one for every failure that is retried.
fn extra(runs: &[Run], retries: usize) -> usize {
    let counts = |r: &&Run| !matches!(r.end, Some((_, End::Stopped)));
    let failed = |r: &&Run| matches!(r.end, Some((_, End::Done { success: false, .. })));
    let failures = runs.iter().filter(failed).count();
    let needed = if failures > retries { failures } else { failures + 1 };
    runs.iter().filter(counts).count().saturating_sub(needed)
}

impl S11 {
    /// Moments that may have cost this task an execution.
    fn excuses(&self, world: &World, job: JobId, index: u32, runs: &[Run]) -> usize {
        // Two leases: that of the one who was lost, and the one for which a new steward listens; and somebody may have to be dialled.
        let aware = 2 * world.options.timing.lease.0 + 2 * world.options.link.dial_us + world.options.timing.request.0;
        let touched = |e: &&Edge| {
            let later = |r: &Run| r.start >= e.at && r.start <= e.at + aware;
            e.exposed.get(&job).is_some_and(|set| set.contains(index)) || runs.iter().any(later)
        };
        self.edges.iter().filter(touched).count()
    }

    fn check(&self, world: &World, calm: bool) -> Result<(), String> {
        for (job, tasks) in &world.history.runs {
            if world.history.revoke_asked.contains_key(job) {
                continue;
            }
            let Some(info) = world.known.jobs.get(job) else { continue };
            for (index, runs) in tasks {
                let retries = info.manifest.spec.locate(*index).map_or(0, |(_, g, _)| usize::from(g.retries));
                let excuses = if calm { 0 } else { self.excuses(world, *job, *index, runs) };
                let extra = extra(runs, retries);
                if extra > excuses {
                    let list: Vec<_> = runs.iter().map(|r| (r.host, r.attempt, r.start, r.end)).collect();
                    let why = if calm { "without a fault".to_owned() } else { format!("at {excuses} faults") };
                    return Err(format!("{job:?}#{index} ran {} times {why}, {extra} too often: {list:?}", runs.len()));
                }
            }
        }
        Ok(())
    }
}

impl Oracle for S11 {
    fn rule(&self) -> &'static str {
        "S11"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        let edge = match seen {
            Seen::Struck { .. } => true,
            Seen::Started { host } => world.hosts[*host].life > 1,
            _ => false,
        };
        if edge && countable(&world.options) {
            self.edges.push(Edge { at: world.now, exposed: exposed(world) });
        }
        Ok(())
    }

    fn at_end(&mut self, world: &World) -> Result<(), String> {
        let calm = world.options.profile == Profile::FaultFree && world.stats.faults == 0;
        if calm && world.stats.reclaimed > 0 && world.history.revoke_asked.is_empty() {
            return Err(format!("{} tasks were taken back without a fault", world.stats.reclaimed));
        }
        if calm || countable(&world.options) { self.check(world, calm) } else { Ok(()) }
    }
}
