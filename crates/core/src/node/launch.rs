//! What is queued here begins in a slot, and ends when nobody wants it any more.

use filch_types::{JobId, NodeId};
use std::collections::BTreeSet;

use filch_types::bag::TaskRef;
use filch_types::ranges::{Range, RangeSet};
use filch_types::wire::JobState;

use super::bags::BagRun;
use super::beats::remove_counted;
use super::job::{CAREFUL, Job, Tag};
use super::{Node, Running};
use crate::io::{Launch, LaunchId, Output, Part};
use crate::view::Role;

/// Jobs looked at per call: bounds the work of one input.
const LOOK: usize = 64;
/// Launches that wait in a slot behind the executing one, for tasks too short to fetch one by one.
pub(super) const SLOT_DEPTH: u8 = 2;

/// What begins.
pub(super) struct Begin {
    pub launch: LaunchId,
    pub job: JobId,
    pub tasks: Range,
    pub tag: Tag,
    pub slot: usize,
    /// What it takes of the slot's depth.
    pub weight: u8,
    /// Its inputs were asked for ahead.
    pub fetched: bool,
    /// What is kept of a divided task while it runs.
    pub bag: Option<BagRun>,
    /// What the executor is given of it.
    pub part: Option<Part>,
    /// Whoever surely has its bytes.
    pub first: Option<NodeId>,
}

impl Node {
    pub(super) fn idle_slots(&self) -> u16 {
        self.slots.iter().filter(|n| **n == 0).count() as u16
    }

    pub(super) fn set_runnable(&mut self, id: JobId, on: bool) {
        if let Some(key) = self.runnable_key.remove(&id) {
            self.runnable.remove(&key);
        }
        if on && !self.draining && self.slots.len() as u16 > 0 {
            let Some(job) = self.jobs.get(&id) else { return };
            if !job.needs.iter().all(|n| self.cfg.offers.contains(n)) {
                return;
            }
            let priority = -i32::from(job.manifest.spec.priority);
            let key = (priority, self.fresh(), id);
            self.runnable.insert(key);
            self.runnable_key.insert(id, key);
        }
    }

    /// Everything that can go on, goes on. Runs after every input.
    pub(super) fn pump(&mut self) {
        if self.draining {
            // Last of all, so that nothing is left to do once it says so.
            return self.check_drained();
        }
        if self.slots.is_empty() {
            return;
        }
        // What a node grants to itself can start at once; each round either takes work or ends.
        for _ in 0..64 {
            let ids: Vec<JobId> = self.runnable.iter().take(LOOK).map(|(_, _, id)| *id).collect();
            for id in &ids {
                if !self.launch_from(*id) {
                    break;
                }
            }
            let before = (self.queued, self.queued_bags(&ids));
            self.seek(&ids);
            if (self.queued, self.queued_bags(&ids)) == before {
                self.serve_surplus(&ids);
                break;
            }
        }
    }

    fn queued_bags(&self, ids: &[JobId]) -> usize {
        ids.iter().filter_map(|id| self.jobs.get(id)).map(|j| j.work.bags.queue.len()).sum()
    }

    /// Launches from one job until it has nothing or no slot is free. Says whether slots are left.
    fn launch_from(&mut self, id: JobId) -> bool {
        loop {
            let Some(job) = self.jobs.get(&id) else { return true };
            let parts = !job.work.bags.queue.is_empty();
            if (job.work.queue.is_empty() && !parts)
                || job.state != JobState::Active
                || self.now >= job.work.lease_until
            {
                return self.slots.contains(&0);
            }
            if parts {
                // What was begun comes first.
                let Some(slot) = self.slots.iter().position(|n| *n == 0) else { return false };
                self.launch_bag(id, slot);
                continue;
            }
            let next = job.work.queue.iter().next().map_or(0, |(r, _)| r.lo);
            let ns = job.work.task_ns.filter(|_| !job.fold.tree().divisible(next));
            let careful = job.work.queue.iter().next().is_some_and(|(_, t)| t.hops & CAREFUL != 0);
            let short = !careful && ns.is_some_and(|ns| ns / 1000 < 10 * self.cfg.timing.batch.0);
            let depth = if short { SLOT_DEPTH } else { 1 };
            let batch = match ns {
                _ if careful => 1,
                Some(ns) => (self.cfg.timing.batch.0 * 1000 / ns.max(1)).clamp(1, 8192) as u32,
                None => 1,
            };
            let Some(slot) = (0..self.slots.len()).min_by_key(|s| self.slots[*s]).filter(|s| self.slots[*s] < depth)
            else {
                self.fetch_ahead(id, batch);
                return false;
            };
            self.launch(id, slot, batch);
        }
    }

    fn launch(&mut self, id: JobId, slot: usize, batch: u32) {
        let launch = LaunchId(self.fresh());
        let slots = self.slots.len() as u64;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        // Leave something for the other slots.
        let share = (job.work.queue.len() / slots).max(1).min(u64::from(batch)) as u32;
        let Some(first) = job.work.queue.iter().next().map(|(r, _)| r) else { return };
        let Some((n, _, _)) = job.manifest.spec.locate(first.lo) else { return };
        let within = first.intersect(job.manifest.spec.group_range(n));
        let Some((tasks, tag)) = job.work.queue.take_front(share.min(within.len())) else { return };
        let fetched = job.work.supply.begins(tasks);
        job.work.running.insert(tasks, tag);
        self.queued -= u64::from(tasks.len());
        let divided = job.fold.tree().divisible(tasks.lo);
        // Nothing waits behind a task that may take the node down, or that may last.
        let weight = if tag.hops & CAREFUL != 0 || divided { SLOT_DEPTH } else { 1 };
        let bag = divided.then(|| BagRun::new(TaskRef::Index(tasks.lo), tasks.lo));
        self.begin(Begin { launch, job: id, tasks, tag, slot, weight, fetched, bag, part: None, first: None });
        if divided {
            self.divided_begins(id, launch);
        }
    }

    /// Takes the slot, and tells the executor.
    pub(super) fn begin(&mut self, b: Begin) {
        let from = self.providers(b.job, b.first);
        let Some(job) = self.jobs.get_mut(&b.job) else { return };
        job.work.launches.insert(b.launch);
        let manifest = job.manifest.clone();
        self.slots[b.slot] += b.weight;
        self.counters.launched += u64::from(b.tasks.len());
        let (job, tasks, tag, slot) = (b.job, b.tasks, b.tag, b.slot as u16);
        let (since, weight, fetched, bag) = (self.now, b.weight, b.fetched, b.bag);
        let running =
            Running { job, left: tasks, tag, slot, weight, since, staging: None, unwanted: false, fetched, bag };
        self.launches.insert(b.launch, running);
        let attempt = tag.attempt;
        self.emit(Output::Launch(Launch { id: b.launch, job, manifest, tasks, attempt, slot, from, bag: b.part }));
    }

    /// Who may have a job's inputs, best first. A helper may not have the facts that say who has joined R; its steward and
    /// summaries name them.
    pub(super) fn providers(&self, id: JobId, first: Option<NodeId>) -> Vec<NodeId> {
        let Some(job) = self.jobs.get(&id) else { return Vec::new() };
        let heard = job.heard.iter().flat_map(|h| h.replicas.iter().copied());
        let mut from: Vec<NodeId> = first.into_iter().chain(job.replicas.iter().copied()).collect();
        from.push(job.steward_id);
        from.extend(heard);
        let mut seen = BTreeSet::from([self.id]);
        from.retain(|n| seen.insert(*n) && self.alive(*n));
        from
    }

    /// Those of these jobs whose queue may start: what waits for a steward that is gone must not keep the slots from other jobs.
    pub(super) fn startable<'a>(&'a self, ids: &'a [JobId]) -> impl Iterator<Item = &'a Job> + 'a {
        ids.iter().filter_map(|id| self.jobs.get(id).map(AsRef::as_ref)).filter(|j| self.now < j.work.lease_until)
    }

    fn stop_launch(&mut self, launch: LaunchId) {
        if self.launches.get(&launch).is_some_and(|l| l.bag.is_some()) {
            return self.stop_part(launch);
        }
        if let Some(l) = self.launches.get_mut(&launch)
            && !std::mem::replace(&mut l.unwanted, true)
        {
            self.emit(Output::Stop(launch));
        }
    }

    /// Other attempts at these tasks have succeeded, and are on their steward's disk: what still runs of them ends.
    pub(super) fn stop_losers(&mut self, id: JobId, ended: RangeSet) {
        let Some(job) = self.jobs.get(&id).filter(|_| !ended.is_empty()) else { return };
        let lost = |l: &LaunchId| self.launches.get(l).is_some_and(|l| ended.gaps(l.left).is_empty());
        let losers: Vec<LaunchId> = job.work.launches.iter().copied().filter(lost).collect();
        losers.into_iter().for_each(|l| self.stop_launch(l));
    }

    /// A job is over or cancelled: nothing more of it starts here; cancelled ones stop what runs (S9).
    pub(super) fn stop_work(&mut self, id: JobId, kill: bool) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let all = Range::new(0, job.fold.total());
        self.queued -= remove_counted(&mut job.work.queue, all);
        job.work.supply.begins(all);
        job.work.given.clear();
        job.work.bags.queue.clear();
        job.work.bags.moved.clear();
        job.work.lines = Default::default();
        // Of a job that has ended only what lost to another attempt still runs. A replica believes its own fold only.
        let over = kill || job.role != Role::Replica || job.state != JobState::Active;
        let launches: Vec<LaunchId> = if over { job.work.launches.iter().copied().collect() } else { Vec::new() };
        // Parts of a job that is over count for nothing.
        let parts: Vec<LaunchId> = if over { Vec::new() } else { job.work.bags.running.values().copied().collect() };
        for l in launches {
            self.stop_launch(l);
        }
        parts.into_iter().for_each(|l| self.stop_part(l));
        if kill && let Some(job) = self.jobs.get_mut(&id) {
            job.work.bags.unacked.clear();
            job.work.unacked = Default::default();
            job.work.failed = Default::default();
        }
        // On a replica only its own fold ends a job: whoever said that it is over may have been the last to know why.
        if let Some(job) = self.jobs.get_mut(&id)
            && !(job.role == Role::Replica && job.state == JobState::Active && !kill)
        {
            job.over = job.role == Role::Hearsay;
            self.set_runnable(id, false);
        } else {
            self.no_luck(id);
        }
        self.maybe_drop(id);
    }
}
