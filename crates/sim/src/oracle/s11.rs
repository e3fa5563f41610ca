//! S11: without faults, executions equal tasks, exactly (and failures of a task's own add one for every retry). With faults, extra
//! executions are bounded by what was leased at each fault: a task runs once more only if it was leased, held or on its way back when a
//! node died or came back, and once per such moment. Leased from then on until the cluster knows (a lease, and the time that a new
//! steward listens) counts as leased at the fault. Guards P7, P8, P13: leases that lapse for no reason, double grants, steals that
//! both sides keep.
//!
//! The second half is checked in runs whose faults are of processes: where links lose, delay or cut what is said, or disks forget, what
//! is leased at a moment is not what the two sides of a link believe, and a partition runs the rest of a job on both sides.
//!
//! Copies are the declared exception: near the end of a job, a steward may have one more attempt made at what has executed for
//! two heartbeats at least, on another node, once per task. Without faults a task has its exact executions, and that one.

use std::collections::BTreeMap;

use filch_core::{Event, Output};
use filch_types::ranges::RangeSet;
use filch_types::{FactBody, JobId, ranges::Range};

use super::{Oracle, Seen};
use crate::fault::Class;
use crate::history::{End, Run};
use crate::options::{Options, Profile};
use crate::world::World;

/// Larger clusters are not counted fault by fault: each fault would look at what every node holds.
const MOST_NODES: usize = 2_000;

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

fn calm(world: &World) -> bool {
    world.options.profile == Profile::FaultFree && world.stats.faults == 0
}

/// Whether executions can be told fault by fault in such a run.
fn countable(options: &Options) -> bool {
    let of_processes = |c| matches!(c, Class::Crash | Class::Drain | Class::Sick | Class::Forge);
    let links = options.link.loss_ppm == 0 && options.link.dup_ppm == 0 && options.link.unreachable_ppm == 0;
    let small = options.nodes.len() <= MOST_NODES;
    options.profile != Profile::OverBudget
        && small
        && links
        && options.faults.iter().all(|p| of_processes(p.fault.class()))
}

/// Everything of any job that a steward has leased, a worker holds, or is on its way back: owed, and maybe on one disk only.
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
    for kept in world.hosts.iter().filter(|h| h.is_up()).flat_map(|h| h.disk.image.jobs.values()) {
        for info in kept.outbox.iter().filter_map(|id| world.known.facts.get(id)) {
            if let FactBody::Pack(runs) = &info.fact.body {
                let set = out.entry(info.fact.job).or_default();
                runs.iter().for_each(|run| set.insert(run.range()));
            }
        }
    }
    out
}

/// Executions of a task beyond those that it needs: one, and one for every failure that is retried.
fn extra(runs: &[&Run], retries: usize) -> usize {
    let counts = |r: &&&Run| !matches!(r.end, Some((_, End::Stopped)));
    let failures = runs.iter().filter(|r| ended(r, false)).count();
    let needed = if failures > retries { failures } else { failures + 1 };
    runs.iter().filter(counts).count().saturating_sub(needed)
}

fn ended(run: &Run, well: bool) -> bool {
    matches!(run.end, Some((_, End::Done { success, .. })) if success == well)
}

/// Whether a task ran as often as it has to without faults. A copy that succeeds spares the retry of what it is a copy of.
fn exact(own: &[&Run], copies: &[&Run], retries: usize) -> bool {
    let failures = own.iter().filter(|r| ended(r, false)).count();
    let spared = copies.iter().any(|r| ended(r, true));
    let want = if failures > retries || (spared && failures > 0) { failures } else { failures + 1 };
    let most = if spared { failures + 1 } else { want };
    (want..=most).contains(&own.len()) && copies.len() <= 1
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
        // Who leaves for good takes along what only it has: at r = 1 that is enough to be visible.
        let again = |r: &Run| runs.iter().any(|o| o.start > r.start && !world.hosts[o.host].frozen);
        let taken = runs.iter().filter(|r| ended(r, true) && world.hosts[r.host].frozen && again(r)).count();
        self.edges.iter().filter(touched).count() + taken
    }

    fn check(&self, world: &World, calm: bool) -> Result<(), String> {
        for (job, tasks) in &world.history.runs {
            if world.history.revoke_asked.contains_key(job) {
                continue;
            }
            let Some(info) = world.known.jobs.get(job) else { continue };
            for (index, runs) in tasks {
                let retries = info.manifest.spec.locate(*index).map_or(0, |(_, g, _)| usize::from(g.retries));
                let (copies, own): (Vec<&Run>, Vec<&Run>) =
                    runs.iter().partition(|r| world.history.is_copy(*job, *index, r.attempt));
                let excuses = if calm { 0 } else { self.excuses(world, *job, *index, runs) };
                let wrong =
                    if calm { !exact(&own, &copies, retries) } else { extra(&own, retries) > excuses + copies.len() };
                if wrong {
                    let list: Vec<_> = runs.iter().map(|r| (r.host, r.attempt, r.start, r.end)).collect();
                    let why = if calm { "without a fault".to_owned() } else { format!("at {excuses} faults") };
                    return Err(format!("{job:?}#{index} ran {} times {why}: {list:?}", runs.len()));
                }
            }
        }
        Ok(())
    }
}

/// What straggled may be copied, and nothing else, once.
fn copied(world: &World, seen: &Seen<'_>) -> Result<(), String> {
    let Seen::Did { output: Output::Event(Event::Copied { job, to, tasks, attempt }), .. } = seen else {
        return Ok(());
    };
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
        if calm(world) { copied(world, seen) } else { Ok(()) }
    }

    fn at_end(&mut self, world: &World) -> Result<(), String> {
        let calm = calm(world);
        if calm && world.stats.reclaimed > 0 && world.history.revoke_asked.is_empty() {
            return Err(format!("{} tasks were taken back without a fault", world.stats.reclaimed));
        }
        if calm {
            for ((job, task), runs) in &world.history.bags {
                if runs.len() != 1 && !world.history.revoke_asked.contains_key(job) {
                    let list: Vec<_> = runs.iter().map(|r| (r.host, r.attempt, r.start, r.end)).collect();
                    return Err(format!("{task:?} of {job:?} ran {} times without a fault: {list:?}", runs.len()));
                }
            }
        }
        if calm || countable(&world.options) { self.check(world, calm) } else { Ok(()) }
    }
}
