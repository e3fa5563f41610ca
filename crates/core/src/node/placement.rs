//! Work goes where its inputs are, or where they can be in time. A member of R has all of them; anybody else sees how long a task's inputs
//! take to come, fetches those of what begins next while something runs, and steals only what would wait longer than that.

use std::cmp::Reverse;

use filch_types::ranges::{Range, RangeMap};
use filch_types::time::Span;
use filch_types::{JobId, NodeId, Timestamp};

use super::Node;
use crate::io::Output;

/// Inputs that take less to come are as good as here.
const HERE: Span = Span::millis(1);
/// Ranges remembered that were asked for ahead.
const MAX_ASKED: usize = 512;
/// Longer than any task is foreseen.
const FAR_US: u64 = 1 << 50;
/// Round trips that differ by less than a factor of two, or are below this, are the same.
const NEAR_US: u64 = 500;

/// A thief, as it says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Thief {
    /// Its slots without work.
    pub idle: u16,
    /// How long a task's inputs take to come to it.
    pub wait: Span,
}

/// What the inputs of a job's tasks take to come here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supply {
    /// What those of the last launch took.
    wait: Span,
    /// Queued tasks whose inputs were asked for ahead, and when.
    asked: RangeMap<Timestamp>,
    /// Answers to that which are not here yet.
    open: usize,
}

impl Supply {
    /// These begin, or are gone. Whether their inputs were asked for ahead.
    pub fn begins(&mut self, tasks: Range) -> bool {
        let asked = self.asked.overlapping(tasks).next().is_some();
        self.asked.remove(tasks);
        asked
    }
}

impl Node {
    /// How long a task's inputs take to come here; zero if they are here.
    pub(super) fn inputs_wait(&self, id: JobId) -> Span {
        let wait = self.jobs.get(&id).filter(|j| !j.held).map_or(Span(0), |j| j.work.supply.wait);
        if wait < HERE { Span(0) } else { wait }
    }

    pub(super) fn inputs_took(&mut self, id: JobId, took: Span) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.work.supply.wait = took;
        }
    }

    /// Asks for the inputs of what begins next, one launch ahead per slot.
    pub(super) fn fetch_ahead(&mut self, id: JobId, batch: u32) {
        if self.inputs_wait(id) == Span(0) {
            return;
        }
        let slots = self.slots.len().max(1);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let supply = &mut job.work.supply;
        if supply.asked.run_count() > MAX_ASKED {
            supply.asked = RangeMap::default();
        }
        let mut next = Vec::new();
        let mut looked = 0;
        for (run, _) in job.work.queue.iter() {
            let mut lo = run.lo;
            while lo < run.hi && looked < slots {
                let Some((n, _, _)) = job.manifest.spec.locate(lo) else { break };
                let hi = lo.saturating_add(batch.max(1)).min(run.hi).min(job.manifest.spec.group_range(n).hi);
                let tasks = Range::new(lo, hi);
                let new = supply.asked.overlapping(tasks).next().is_none();
                if new && supply.open + next.len() < slots && !job.fold.tree().divisible(lo) {
                    next.push(tasks);
                }
                (lo, looked) = (hi, looked + 1);
            }
            if looked >= slots {
                break;
            }
        }
        for tasks in &next {
            supply.asked.insert(*tasks, self.now);
        }
        supply.open += next.len();
        let manifest = job.manifest.clone();
        for tasks in next {
            let from = self.providers(id, None);
            self.emit(Output::FetchAhead { job: id, manifest: manifest.clone(), tasks, from });
        }
    }

    pub(super) fn on_fetched_ahead(&mut self, id: JobId, tasks: Range, here: bool) {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let supply = &mut job.work.supply;
        supply.open = supply.open.saturating_sub(1);
        let since = supply.asked.overlapping(tasks).map(|(_, at)| *at).min();
        if let Some(since) = since.filter(|_| here) {
            supply.wait = now.since(since);
        }
    }

    /// Tasks and parts that end before others could be here: their slots are looked for work already. And when the next one will be one.
    pub(super) fn about_to_end(&self, id: JobId) -> (u64, Option<Timestamp>) {
        let Some(job) = self.jobs.get(&id) else { return (0, None) };
        let (wait, task_ns) = (self.inputs_wait(id), job.work.task_ns);
        let mut ending = 0;
        let mut next: Option<Timestamp> = None;
        for l in job.work.launches.iter().filter_map(|l| self.launches.get(l)) {
            if let Some(run) = &l.bag {
                ending += u64::from(run.ends_soon);
                continue;
            }
            let Some(ns) = task_ns.filter(|_| wait > Span(0) && l.staging.is_none()) else { continue };
            let takes = (ns / 1000).saturating_mul(u64::from(l.left.len())).min(FAR_US);
            let at = l.since + Span(takes.saturating_sub(wait.0));
            if at <= self.now {
                ending += u64::from(l.left.len());
            } else {
                next = Some(next.map_or(at, |n| n.min(at)));
            }
        }
        (ending, next)
    }

    /// Of those that a steward names: the nearest first, and of equally near ones any that has about as much as the richest. If all went to the
    /// same one, most would come too late.
    pub(super) fn nearest(&mut self, mut victims: Vec<(NodeId, u32)>) -> Vec<(NodeId, u32)> {
        let alike = order(&mut victims, |n| self.peers.get(n).map_or(Span(0), |p| p.rtt));
        if alike > 1 {
            let pick = self.below(alike);
            victims.swap(0, pick);
        }
        victims
    }
}

/// Sorts by how far and how rich they are. How many of the first are as good as each other.
fn order(victims: &mut [(NodeId, u32)], rtt: impl Fn(&NodeId) -> Span) -> usize {
    let far = |n: &NodeId| (rtt(n).0 / NEAR_US).checked_ilog2().map_or(0, |l| l + 1);
    victims.sort_by_key(|(n, tasks)| (far(n), Reverse(*tasks)));
    let Some((first, most)) = victims.first().copied() else { return 0 };
    let class = far(&first);
    victims.iter().take_while(|(n, tasks)| far(n) == class && *tasks >= most.div_ceil(2)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_victims_come_first_and_rich_ones_before_poor_ones() {
        let id = |n: u8| NodeId([n; 32]);
        let rtt = |n: &NodeId| [Span(300), Span(30_000), Span(400), Span(250), Span::default()][usize::from(n.0[0])];
        let mut victims = vec![(id(1), 1000), (id(0), 4), (id(2), 10), (id(3), 6)];
        assert_eq!(order(&mut victims, rtt), 2, "the two on the LAN that have most");
        assert_eq!(victims, [(id(2), 10), (id(3), 6), (id(0), 4), (id(1), 1000)]);
        let mut one = vec![(id(1), 7), (id(4), 1)];
        assert_eq!((order(&mut one, rtt), one[0].0), (1, id(4)), "of whom nothing is known is near");
        assert_eq!(order(&mut [], rtt), 0);
    }
}
