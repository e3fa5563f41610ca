//! The worker's side of work moving: launch what is queued, claim or steal before it runs dry, give to thieves.

use filch_types::bag::TaskRef;
use filch_types::ranges::{Range, RangeSet};
use filch_types::time::Span;
use std::collections::VecDeque;

use filch_types::wire::{Given, Hello, JobState, LeaseRun, Refusal, Request, Response, Summary};
use filch_types::{JobId, NodeId, Timestamp, limits};

use super::bags::{BagRun, Want};
use super::beats::remove_counted;
use super::job::{CAREFUL, COPY, Job, Tag, lease_run};
use super::{Asked, Node, Running, Timer};
use crate::Mutant;
use crate::io::{Event, Launch, LaunchId, Output, Token};
use crate::view::Role;

/// Jobs looked at per call: bounds the work of one input.
const LOOK: usize = 64;
/// Of those that a steward names, so many are asked for a part of a divided task.
const HINTS: usize = 1;
/// Launches that wait in a slot behind the executing one, for tasks too short to fetch one by one.
const SLOT_DEPTH: u8 = 2;

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
            let Some(slot) = (0..self.slots.len()).min_by_key(|s| self.slots[*s]).filter(|s| self.slots[*s] < depth)
            else {
                return false;
            };
            let batch = match ns {
                _ if careful => 1,
                Some(ns) => (self.cfg.timing.batch.0 * 1000 / ns.max(1)).clamp(1, 8192) as u32,
                None => 1,
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
        job.work.running.insert(tasks, tag);
        job.work.launches.insert(launch);
        let manifest = job.manifest.clone();
        let replicas = job.replicas.clone();
        self.queued -= u64::from(tasks.len());
        let divided = job.fold.tree().divisible(tasks.lo);
        // Nothing waits behind a task that may take the node down, or that may last.
        let weight = if tag.hops & CAREFUL != 0 || divided { SLOT_DEPTH } else { 1 };
        self.slots[slot] += weight;
        self.counters.launched += u64::from(tasks.len());
        self.launches.insert(
            launch,
            Running {
                job: id,
                left: tasks,
                tag,
                slot: slot as u16,
                weight,
                since: self.now,
                staging: false,
                unwanted: false,
                bag: divided.then(|| BagRun::new(TaskRef::Index(tasks.lo), tasks.lo)),
            },
        );
        let me = self.id;
        let from = replicas.into_iter().filter(|r| *r != me && self.alive(*r)).collect();
        let attempt = tag.attempt;
        self.emit(Output::Launch(Launch {
            id: launch,
            job: id,
            manifest,
            tasks,
            attempt,
            slot: slot as u16,
            from,
            bag: None,
        }));
        if divided {
            self.divided_begins(id, launch);
        }
    }

    /// Those of these jobs whose queue may start: what waits for a steward that is gone must not keep the slots from other jobs.
    fn startable<'a>(&'a self, ids: &'a [JobId]) -> impl Iterator<Item = &'a Job> + 'a {
        ids.iter().filter_map(|id| self.jobs.get(id)).filter(|j| self.now < j.work.lease_until)
    }

    /// Microseconds of work queued here, per slot; unknown durations count as none.
    fn queued_work(&self, ids: &[JobId]) -> u64 {
        let ns: u64 = self
            .startable(ids)
            .map(|j| j.work.queue.len().saturating_mul(j.work.task_ns.unwrap_or(0)))
            .fold(0, u64::saturating_add);
        ns / 1000 / self.slots.len().max(1) as u64
    }

    fn seek(&mut self, ids: &[JobId]) {
        let ahead = self.cfg.timing.ahead.0;
        let busy = self.slots.iter().filter(|n| **n > 0).count() as u64;
        let slots = self.slots.len() as u64;
        if self.now < self.disk_full_until {
            return self.timers.sooner(Timer::Seek, self.disk_full_until);
        }
        if self.queued_work(ids) >= ahead / 2 {
            return;
        }
        let mut hoped = self.startable(ids).map(|j| j.work.queue.len()).sum::<u64>() + busy;
        let mut wake: Option<Timestamp> = None;
        for &id in ids {
            let Some(job) = self.jobs.get(&id) else { continue };
            let w = &job.work;
            let desired = match w.task_ns {
                Some(ns) => (ahead.saturating_mul(1000).saturating_mul(slots) / ns.max(1)).max(slots),
                None => slots,
            };
            let here = w.queue.len() + w.running.len() + w.bags.here();
            let want = desired.saturating_sub(here);
            // A job behind others only gets what they leave idle.
            if want == 0 || (here == 0 && hoped >= slots && w.task_ns.is_none_or(|ns| ns / 1000 > ahead)) {
                continue;
            }
            if w.asking {
                hoped += 1;
                continue;
            }
            if w.held_runs() > limits::MAX_HELD_RUNS || job.state != JobState::Active || w.listening.is_some() {
                continue;
            }
            if self.now < w.next_ask {
                wake = Some(wake.map_or(w.next_ask, |at| at.min(w.next_ask)));
                continue;
            }
            // Claims look seconds ahead; a steal only pays when this node is about to run dry, else two nodes take the same
            // tasks from each other in turn.
            if !w.victims.is_empty() && !self.nearly_dry(id) {
                continue;
            }
            hoped += want.min(slots);
            self.ask_for_work(id, want.min(1 << 22) as u32);
            if hoped > 4 * slots {
                break;
            }
        }
        if let Some(at) = wake {
            self.timers.sooner(Timer::Seek, at);
        }
    }

    /// Whether what is queued of a job ends within two round trips (or batches).
    fn nearly_dry(&self, id: JobId) -> bool {
        let Some(job) = self.jobs.get(&id) else { return true };
        let slots = self.slots.len().max(1) as u64;
        let rtt = job.work.victims.front().and_then(|(v, _)| self.peers.get(v)).map_or(0, |p| p.rtt.0);
        let soon = (2 * rtt).max(2 * self.cfg.timing.batch.0);
        let queue = job.work.queue.len();
        match job.work.task_ns {
            Some(ns) => queue.saturating_mul(ns) / 1000 / slots < soon,
            None => queue < slots,
        }
    }

    fn ask_for_work(&mut self, id: JobId, want: u32) {
        let me = self.id;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if let Some((victim, _)) = job.work.victims.pop_front() {
            job.work.asking = true;
            self.counters.steal_requests += 1;
            let idle = self.idle_slots();
            return self.ask(victim, Request::Steal { job: id, want, idle }, Asked::Steal(id));
        }
        let steward = job.steward_id;
        if steward == me {
            return self.claim_from_self(id, want);
        }
        job.work.asking = true;
        if self.alive(steward) {
            let idle = self.idle_slots();
            self.ask(steward, Request::Claim { job: id, want, idle, need_manifest: false }, Asked::Claim(id));
        } else {
            self.no_luck(id);
            self.choose_steward(id);
        }
    }

    fn claim_from_self(&mut self, id: JobId, want: u32) {
        if let Some((epoch, grant, bags)) = self.grant_bags(id, self.id, want) {
            let me = self.id;
            self.take_grant(id, self.now, epoch, Some(grant), Vec::new());
            return self.take_bags(id, me, bags);
        }
        let (granted, victims) = self.grant_or_copy(id, self.id, want, self.idle_slots());
        if let Some((epoch, grant, runs)) = granted {
            return self.take_grant(id, self.now, epoch, Some(grant), runs);
        }
        self.set_victims(id, victims);
        if self.jobs.get(&id).is_none_or(|j| j.work.victims.is_empty()) {
            return self.no_luck(id);
        }
        if self.nearly_dry(id) {
            self.ask_for_work(id, want);
        }
    }

    /// Whom to ask next. Of a divided task anybody may have a part to give; and whoever has none now remembers who asked.
    fn set_victims(&mut self, id: JobId, victims: Vec<(NodeId, u32)>) {
        let (me, lines) = (self.id, usize::from(self.cfg.timing.lifelines));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let mut list: VecDeque<(NodeId, u32)> = victims.into_iter().filter(|(n, _)| *n != me).take(4).collect();
        if job.fold.tree().any() {
            job.work.lines.left = 0;
            // What a steward knows of parts is as old as the last results. If all waited where it points to, nobody would wait at
            // those who have come by work since; so most ask around among their neighbours, and gifts spread from each to each.
            list.truncate(HINTS);
            let needs = job.needs.clone();
            let mut others = self.usable_peers();
            let fits = |h: &Hello| h.slots > 0 && needs.iter().all(|n| h.offers.contains(n));
            others.retain(|p| self.peers.get(p).and_then(|p| p.hello.as_ref()).is_some_and(fits));
            while list.len() < lines && !others.is_empty() {
                let p = others.swap_remove(self.below(others.len()));
                if !list.iter().any(|(n, _)| *n == p) {
                    list.push_front((p, 0));
                }
            }
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.work.victims = list;
        }
    }

    /// Nothing was to be had: goes quiet for longer and longer, until it hears of work.
    fn no_luck(&mut self, id: JobId) {
        let t = &self.cfg.timing;
        let (min, max) = (t.quiet_min.0, if self.planted(Mutant::NoBackOff) { t.quiet_min.0 } else { t.quiet_max.0 });
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.work.asking = false;
        job.work.backoff = (job.work.backoff * 2).clamp(min, max);
        job.work.next_ask = (self.now + Span(job.work.backoff)).max(job.quiet_until);
        let at = job.work.next_ask;
        self.timers.sooner(Timer::Seek, at);
    }

    /// There is work of this job again: ends the quiet.
    pub(super) fn wake_up_for(&mut self, id: JobId) {
        let now = self.now;
        if let Some(job) = self.jobs.get_mut(&id) {
            job.work.next_ask = now;
            job.work.backoff = 0;
        }
    }

    pub(super) fn ask_failed(&mut self, peer: NodeId, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.work.victims.retain(|(n, _)| *n != peer);
        }
        self.no_luck(id);
    }

    fn take_grant(&mut self, id: JobId, sent: Timestamp, epoch: u32, grant: Option<u64>, runs: Vec<LeaseRun>) {
        let lease = self.cfg.timing.lease_worker;
        let across_clocks = self.planted(Mutant::LeaseAcrossClocks);
        self.known_there(id);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.work.asking = false;
        job.work.backoff = 0;
        job.work.lines.left = 0;
        job.work.next_ask = self.now;
        if let Some(grant) = grant {
            if epoch < job.epoch {
                // Whoever grants does not know of a later epoch: its disk was lost. It has to hear of it, or nothing goes on.
                job.work.outdated = true;
                return self.report(id);
            }
            if epoch > job.epoch {
                job.epoch = epoch;
            }
            job.work.seen_grant = grant;
        }
        match grant {
            Some(at) if across_clocks => job.work.lease_until = Timestamp(at) + lease,
            _ => job.work.renew(sent, lease),
        }
        let total = job.fold.total();
        let mut added = 0;
        for run in runs.into_iter().take(limits::MAX_GRANT_RUNS).filter(|r| r.range().hi <= total) {
            let tag = Tag { attempt: run.attempt, hops: run.hops };
            for r in job.work.takes(run.range(), run.attempt) {
                added += u64::from(r.len()) - remove_counted(&mut job.work.queue, r);
                job.work.queue.insert(r, tag);
            }
        }
        self.queued += added;
        self.live.insert(id);
        let (steward, now) = (job.steward_id, self.now);
        self.timers.sooner(Timer::Beat(steward), now + self.cfg.timing.beat);
    }

    pub(super) fn on_claim_answer(&mut self, from: NodeId, sent: Timestamp, id: JobId, r: Response) {
        match r {
            Response::Grant { epoch, grant, runs, bags, .. } => {
                self.learn_steward(id, from, epoch);
                self.take_grant(id, sent, epoch, Some(grant), runs);
                self.take_bags(id, from, bags);
            }
            Response::Nothing { steward, victims, state } => {
                let (me, lease) = (self.id, self.cfg.timing.lease_worker);
                let Some(job) = self.jobs.get_mut(&id) else { return };
                job.work.asking = false;
                let misled = steward == me && job.steward.is_none() && job.steward_id == from;
                if steward != from && steward != me && job.steward_id == from {
                    job.steward_id = steward;
                }
                if steward == from && state == JobState::Active {
                    // Whoever says so is in office: what peers give meanwhile may start.
                    job.work.lease_until = job.work.lease_until.max(sent + lease);
                }
                self.set_victims(id, victims);
                if misled {
                    self.vacate(id, from);
                }
                let Some(job) = self.jobs.get_mut(&id) else { return };
                match state {
                    JobState::Active if job.work.victims.is_empty() => self.no_luck(id),
                    JobState::Active => {}
                    _ => {
                        self.stop_work(id, state != JobState::Succeeded && state != JobState::Failed);
                        if let Some(h) = self.jobs.get_mut(&id).and_then(|j| j.heard.as_mut()) {
                            h.state = state;
                        }
                        if state == JobState::Deleted {
                            self.owes_nothing(id);
                        }
                        self.maybe_drop(id);
                    }
                }
            }
            Response::Refused(Refusal::UnknownJob) => {
                self.unknown_there(id);
                self.no_luck(id);
            }
            _ => self.no_luck(id),
        }
    }

    /// A thief asks: it gets tasks that have not started, a part that has not, a part of what runs, or is remembered.
    pub(super) fn on_steal(&mut self, from: NodeId, token: Token, id: JobId, want: u32, idle: u16) {
        let neither = self.planted(Mutant::StealNeitherKeeps);
        if !self.jobs.contains_key(&id) {
            return self.refuse(token, Refusal::UnknownJob);
        }
        let runs = self.yield_tail(id, from, want, idle);
        let Some(job) = self.jobs.get(&id) else { return };
        let (epoch, active, held) = (job.epoch, job.state == JobState::Active, self.now < job.work.lease_until);
        if !runs.is_empty() {
            let manifest = (!neither).then(|| (*job.signed).clone());
            self.report(id);
            let runs = if neither { Vec::new() } else { runs };
            return self.respond(token, Response::Stolen { epoch, runs, bags: Vec::new(), manifest });
        }
        if active
            && held
            && let Some(bag) = self.pass_on(id, from)
        {
            return self.respond(token, Response::Stolen { epoch, runs, bags: vec![bag], manifest: None });
        }
        if active && held && idle > 0 && self.ask_split(id, Want::Thief(from, token)) {
            return;
        }
        self.remember_or_refuse(id, from, token);
    }

    /// Takes up to half of what has not started from the end of the queue, for somebody else; never crumbs.
    pub(super) fn yield_tail(&mut self, id: JobId, to: NodeId, want: u32, idle: u16) -> Vec<LeaseRun> {
        let both_keep = self.planted(Mutant::StealBothKeep);
        let rtt = self.peers.get(&to).map_or(Span::millis(1), |p| p.rtt);
        let slots = self.slots.len().max(1) as u64;
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&id) else { return Vec::new() };
        let w = &mut job.work;
        let work_us = w.queue.len().saturating_mul(w.task_ns.unwrap_or(u64::MAX)) / 1000 / slots;
        let crumbs = work_us < 2 * rtt.0.max(200);
        let mut runs = Vec::new();
        if crumbs || now >= w.lease_until || job.state != JobState::Active || w.given.len() >= 1024 {
            return runs;
        }
        // Half, so that both end up with the same; two busy nodes would pass the odd one back and forth.
        let half = (w.queue.len() / 2).max(w.queue.len().min(u64::from(idle)));
        let mut left = half.min(u64::from(want.max(1))) as u32;
        while left > 0 && runs.len() < limits::MAX_GRANT_RUNS {
            let Some((r, tag)) = w.queue.take_back(left) else { break };
            if tag.hops & COPY != 0 || tag.hops & !CAREFUL >= limits::MAX_HOPS {
                w.queue.insert(r, tag);
                break;
            }
            self.queued -= u64::from(r.len());
            let run = lease_run(r, Tag { attempt: tag.attempt, hops: tag.hops + 1 });
            if both_keep {
                w.queue.insert(r, tag);
                self.queued += u64::from(r.len());
            }
            left -= r.len();
            w.given_seq += 1;
            w.given.push_back(Given { seq: w.given_seq, to, run });
            runs.push(run);
        }
        self.counters.given += runs.iter().map(|r| u64::from(r.count)).sum::<u64>();
        runs
    }

    pub(super) fn on_steal_answer(&mut self, from: NodeId, sent: Timestamp, id: JobId, r: Response) {
        match r {
            Response::Stolen { epoch, runs, bags, .. } if !runs.is_empty() || !bags.is_empty() => {
                let tasks = runs.iter().fold(bags.len() as u32, |n, r| n.saturating_add(r.count));
                self.counters.stolen += u64::from(tasks);
                self.event(Event::Stole { job: id, from, tasks });
                if let Some(job) = self.jobs.get_mut(&id)
                    && epoch > job.epoch
                {
                    job.epoch = epoch;
                    job.work.seen_grant = 0;
                }
                let ranges = !runs.is_empty();
                self.take_grant(id, sent, epoch, None, runs);
                self.take_bags(id, from, bags);
                if ranges {
                    self.report(id);
                }
            }
            r => {
                let Some(job) = self.jobs.get_mut(&id) else { return };
                job.work.asking = false;
                job.work.lines.left = job.work.lines.left.saturating_add(u8::from(r == Response::Waiting));
                if job.work.victims.is_empty() {
                    self.no_luck(id);
                }
            }
        }
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

    /// Gossip or an announcement. A hint: it may be old, wrong or forged.
    pub(super) fn on_summary(&mut self, s: Summary, from: Option<NodeId>) {
        if s.replicas.is_empty() || s.replicas.len() > limits::MAX_REPLICAS || self.tombstones.contains_key(&s.job) {
            return;
        }
        let id = s.job;
        if let Some(job) = self.jobs.get_mut(&id) {
            let grantable = s.grantable;
            let state = s.state;
            let older = job.heard.as_ref().is_some_and(|h| (h.epoch, h.seq) > (s.epoch, s.seq));
            if older {
                return;
            }
            job.quiet_until = Default::default();
            let (steward, epoch) = (s.steward, s.epoch);
            // An observer's facts may outlive every replica that had them: then they count for nothing (P4).
            let outdated = state == JobState::Active && epoch > job.epoch && job.outbox.is_empty();
            let ended = matches!(job.state, JobState::Succeeded | JobState::Failed);
            if outdated && ended && job.role == Role::Observer {
                self.start_over(id);
            }
            let Some(job) = self.jobs.get_mut(&id) else { return };
            let told_stop = matches!(state, JobState::Cancelled | JobState::Deleted);
            job.heard = Some(s);
            // Results that only the last steward had are gone with it: there is work again.
            let again = state == JobState::Active && grantable > 0 && job.role != Role::Replica;
            let again = again && job.state == JobState::Active && !self.runnable_key.contains_key(&id);
            if again {
                job.over = false;
            }
            if grantable > 0 && !job.work.asking {
                job.work.next_ask = self.now;
                job.work.backoff = 0;
                job.work.victims.clear();
            }
            if again {
                self.set_runnable(id, true);
            }
            self.learn_steward(id, steward, epoch);
            if self.alive(steward) && steward != self.id {
                self.timers.cancel(Timer::Elect(id));
            }
            if told_stop && self.jobs.get(&id).is_some_and(|j| j.steward_id == steward && j.steward.is_none()) {
                self.stop_work(id, true);
            }
            if state != JobState::Active {
                self.maybe_drop(id);
            }
            return;
        }
        if !self.hearsay.contains_key(&id) {
            if self.hearsay.len() >= limits::MAX_JOBS {
                self.hearsay.pop_first();
            }
            self.event(Event::JobKnown(id));
        }
        let steward = s.steward;
        self.hearsay.insert(id, s);
        let whom = if self.alive(steward) { Some(steward) } else { from };
        if let Some(whom) = whom {
            self.ask_for_manifest(id, whom);
        }
    }

    /// Asks for a job that was heard of, if this node could run something of it.
    fn ask_for_manifest(&mut self, id: JobId, whom: NodeId) {
        let Some(s) = self.hearsay.get(&id) else { return };
        let runnable = s.state == JobState::Active
            && !self.draining
            && !self.slots.is_empty()
            && s.needs.iter().all(|n| self.cfg.offers.contains(n));
        // Of a divided task there is something to be had as long as it runs.
        let divided = s.needs.iter().any(|n| n.starts_with("divisible:"));
        let some = s.grantable > 0 || (divided && s.leased > 0);
        if !runnable || !some || !self.alive(whom) || whom == self.id || self.pending.len() >= 4096 {
            return;
        }
        if !self.pending.values().any(|p| matches!(p.asked, Asked::Manifest(j) if j == id)) {
            self.ask(whom, Request::Manifest(id), Asked::Manifest(id));
        }
    }

    /// The steward of jobs that this node has only heard of is there: what was said of them may have come before it could be asked.
    pub(super) fn ask_for_manifests(&mut self, p: NodeId) {
        let stewarded = self.hearsay.iter().filter(|(_, s)| s.steward == p);
        let ids: Vec<JobId> = stewarded.map(|(id, _)| *id).take(LOOK).collect();
        ids.into_iter().for_each(|id| self.ask_for_manifest(id, p));
    }

    pub(super) fn on_drain(&mut self) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        let peers: Vec<NodeId> = self.peers.iter().filter(|(_, p)| p.connected).map(|(id, _)| *id).collect();
        peers.into_iter().for_each(|p| self.say_hello(p));
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let all = Range::new(0, job.fold.total());
            let dropped = remove_counted(&mut job.work.queue, all) + job.work.bags.queue.len() as u64;
            self.queued -= dropped - job.work.bags.queue.len() as u64;
            job.work.bags.queue.clear();
            job.work.lines = Default::default();
            let launches: Vec<LaunchId> = job.work.launches.iter().copied().collect();
            launches.into_iter().for_each(|l| self.on_bag_timer(l));
            self.set_runnable(id, false);
            self.flush_pack(id);
            self.flush_bags(id);
            if dropped > 0 {
                self.report(id);
            }
        }
    }

    pub(super) fn check_drained(&mut self) {
        if !self.draining || self.drained {
            return;
        }
        let owed = self
            .jobs
            .values()
            .any(|j| !j.outbox.is_empty() && j.replicas.iter().any(|r| *r != self.id && self.alive(*r)));
        if self.launches.is_empty() && self.commits.is_empty() && !owed {
            self.drained = true;
            self.emit(Output::Drained);
        } else {
            self.timers.set(Timer::Drain, self.now + Span::millis(20));
        }
    }
}
