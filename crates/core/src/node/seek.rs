//! The worker's side of work moving: claim or steal before it runs dry, give to thieves.

use filch_types::time::Span;
use std::collections::VecDeque;

use filch_types::wire::{Given, Hello, JobState, LeaseRun, Refusal, Request, Response};
use filch_types::{Epoch, JobId, NodeId, Timestamp, limits};

use super::bags::Want;
use super::beats::remove_counted;
use super::job::{CAREFUL, COPY, Tag, lease_run};
use super::placement::Thief;
use super::{Asked, Node, Timer};
use crate::Mutant;
use crate::io::{Event, Token};

/// Of those that a steward names, so many are asked for a part of a divided task.
const HINTS: usize = 1;

impl Node {
    /// Microseconds of work queued here, per slot; unknown durations count as none.
    fn queued_work(&self, ids: &[JobId]) -> u64 {
        let ns: u64 = self
            .startable(ids)
            .map(|j| j.work.queue.len().saturating_mul(j.work.task_ns.unwrap_or(0)))
            .fold(0, u64::saturating_add);
        ns / 1000 / self.slots.len().max(1) as u64
    }

    pub(super) fn seek(&mut self, ids: &[JobId]) {
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
            let (ending, next) = self.about_to_end(id);
            if let Some(next) = next {
                wake = Some(wake.map_or(next, |at| at.min(next)));
            }
            let want = desired.saturating_sub(here.saturating_sub(ending));
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
            let from = w.next_ask.max(w.hindered_until);
            if self.now < from {
                wake = Some(wake.map_or(from, |at| at.min(from)));
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
        let soon = (2 * rtt).max(2 * self.cfg.timing.batch.0) + self.inputs_wait(id).0;
        let queue = job.work.queue.len();
        match job.work.task_ns {
            Some(ns) => queue.saturating_mul(ns) / 1000 / slots < soon,
            None => queue < slots,
        }
    }

    fn ask_for_work(&mut self, id: JobId, want: u32) {
        let (me, now) = (self.id, self.now);
        let Some(job) = self.jobs.get(&id) else { return };
        let w = &job.work;
        let (elsewhere, leased) = (job.steward_id != me, now < w.lease_until);
        // Neighbours come first once it is known that the steward has nothing: it knows of parts by results only, and thousands would have to
        // connect to it.
        if w.lines.dry && w.victims.is_empty() && elsewhere {
            self.turn_to_neighbours(id);
            self.ask_victims(id, want);
        } else if !w.victims.is_empty() {
            self.ask_victims(id, want);
        }
        let Some(w) = self.jobs.get_mut(&id).map(|j| &mut j.work) else { return };
        // But without a lease of the steward nothing starts.
        if (w.lines.asked > 0 && (leased || w.lines.claimed)) || w.lines.claiming {
            w.asking = true;
            return;
        }
        self.claim(id, want);
    }

    /// Asks the next ones of those who may have something.
    fn ask_victims(&mut self, id: JobId, want: u32) {
        let (idle, wait) = (self.slots_to_fill(), self.inputs_wait(id));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let at_once = if job.fold.tree().any() { usize::from(self.cfg.timing.asks.max(1)) } else { 1 };
        // One that is slow to answer must not keep the others from being asked.
        let more = at_once.saturating_sub(job.work.lines.asked).max(1);
        let asked: Vec<_> = (0..more).filter_map(|_| job.work.victims.pop_front()).collect();
        job.work.asking = true;
        job.work.lines.asked += asked.len();
        self.counters.steal_requests += asked.len() as u64;
        for (victim, _) in asked {
            self.ask(victim, Request::Steal { job: id, want, idle, wait }, Asked::Steal(id));
        }
    }

    fn claim(&mut self, id: JobId, want: u32) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.work.lines.claimed = true;
        let steward = job.steward_id;
        if steward == self.id {
            return self.claim_from_self(id, want);
        }
        job.work.asking = true;
        if self.alive(steward) {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.work.lines.claiming = true;
            }
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

    /// Whom to ask next, by the steward, which has nothing itself.
    fn set_victims(&mut self, id: JobId, victims: Vec<(NodeId, u32)>) {
        let me = self.id;
        let victims = victims.into_iter().filter(|(n, _)| *n != me).take(4).collect();
        let mut list = VecDeque::from(self.nearest(victims));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.work.lines.dry = true;
        if job.fold.tree().any() {
            // What a steward knows of parts is as old as the last results. If all waited where it points to, nobody would wait at
            // those who have come by work since.
            list.truncate(HINTS);
        }
        job.work.victims = list;
        self.turn_to_neighbours(id);
    }

    /// Of a divided task anybody may have a part to give; and whoever has none now remembers who asked. So idle nodes ask around among
    /// their neighbours, and gifts spread from each to each.
    fn turn_to_neighbours(&mut self, id: JobId) {
        let lines = usize::from(self.cfg.timing.lifelines);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if !job.fold.tree().any() || std::mem::replace(&mut job.work.lines.around, true) {
            return;
        }
        job.work.lines.left = 0;
        let needs = job.needs.clone();
        let mut list = std::mem::take(&mut job.work.victims);
        let mut others = self.usable_peers();
        let fits = |h: &Hello| h.slots > 0 && needs.iter().all(|n| h.offers.contains(n));
        others.retain(|p| self.peers.get(p).and_then(|p| p.hello.as_ref()).is_some_and(fits));
        while list.len() < lines && !others.is_empty() {
            let p = others.swap_remove(self.below(others.len()));
            if !list.iter().any(|(n, _)| *n == p) {
                list.push_front((p, 0));
            }
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.work.victims = list;
        }
    }

    /// One that was asked has nothing: the next of the list may, then the steward.
    fn next_or_no_luck(&mut self, id: JobId) {
        let full = self.slots_to_fill() == 0;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (full, w) = (full && job.fold.tree().any(), &mut job.work);
        if !w.victims.is_empty() || (w.lines.around && !w.lines.claimed) {
            w.asking = false;
        } else if full {
            // Somebody else had something: no reason to pause once it is done.
            w.asking &= w.lines.asked > 0;
        } else if w.lines.asked == 0 && !w.lines.claiming {
            self.no_luck(id);
        }
    }

    /// Nothing was to be had: goes quiet for longer and longer, until it hears of work.
    pub(super) fn no_luck(&mut self, id: JobId) {
        let t = &self.cfg.timing;
        let parts_min = t.quiet_parts.0;
        let (min, max) = (t.quiet_min.0, if self.planted(Mutant::NoBackOff) { t.quiet_min.0 } else { t.quiet_max.0 });
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let min = if job.fold.tree().any() { parts_min } else { min };
        job.work.asking = false;
        job.work.lines.new_round();
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
            job.work.lines.asked = job.work.lines.asked.saturating_sub(1);
        }
        self.next_or_no_luck(id);
    }

    fn take_grant(&mut self, id: JobId, sent: Timestamp, epoch: Epoch, grant: Option<u64>, runs: Vec<LeaseRun>) {
        let lease = self.cfg.timing.lease_worker;
        let across_clocks = self.planted(Mutant::LeaseAcrossClocks);
        self.known_there(id);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.work.asking = false;
        job.work.backoff = 0;
        job.work.lines.left = 0;
        job.work.lines.new_round();
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

    pub(super) fn claim_failed(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.work.lines.claiming = false;
        }
        self.no_luck(id);
    }

    pub(super) fn on_claim_answer(&mut self, from: NodeId, sent: Timestamp, id: JobId, r: Response) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.work.lines.claiming = false;
        }
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
                let denied = steward != from && job.steward.is_none() && job.steward_id == from;
                if denied && steward != me {
                    // Without its epoch this is a hint only; whoever is named says what it is when it is asked.
                    job.steward_id = steward;
                }
                if steward == from && state == JobState::Active {
                    // Whoever says so is in office: what peers give meanwhile may start.
                    job.work.lease_until = job.work.lease_until.max(sent + lease);
                }
                self.set_victims(id, victims);
                if denied && steward == me {
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
    pub(super) fn on_steal(&mut self, from: NodeId, token: Token, id: JobId, want: u32, thief: Thief) {
        let neither = self.planted(Mutant::StealNeitherKeeps);
        if !self.jobs.contains_key(&id) {
            return self.refuse(token, Refusal::UnknownJob);
        }
        let runs = self.yield_tail(id, from, want, thief);
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
        if active && held && thief.idle > 0 && self.ask_split(id, Want::Thief(from, token)) {
            return;
        }
        self.remember_or_refuse(id, from, thief.wait, token);
    }

    /// Takes up to half of what has not started from the end of the queue, for somebody else; never crumbs, nor what would begin
    /// here before its inputs are there.
    pub(super) fn yield_tail(&mut self, id: JobId, to: NodeId, want: u32, thief: Thief) -> Vec<LeaseRun> {
        let both_keep = self.planted(Mutant::StealBothKeep);
        let rtt = self.peers.get(&to).map_or(Span::millis(1), |p| p.rtt);
        let slots = self.slots.len().max(1) as u64;
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&id) else { return Vec::new() };
        let w = &mut job.work;
        let work_us = w.queue.len().saturating_mul(w.task_ns.unwrap_or(u64::MAX)) / 1000 / slots;
        let crumbs = work_us < (2 * rtt.0.max(200)).saturating_add(thief.wait.0);
        let mut runs = Vec::new();
        if crumbs || now >= w.lease_until || job.state != JobState::Active || w.given.len() >= 1024 {
            return runs;
        }
        // Half, so that both end up with the same; two busy nodes would pass the odd one back and forth.
        let half = (w.queue.len() / 2).max(w.queue.len().min(u64::from(thief.idle)));
        let mut left = half.min(u64::from(want.max(1))) as u32;
        while left > 0 && runs.len() < limits::MAX_GRANT_RUNS {
            let Some((r, tag)) = w.queue.take_back(left) else { break };
            if tag.hops & COPY != 0 || tag.hops & !CAREFUL >= limits::MAX_HOPS {
                w.queue.insert(r, tag);
                break;
            }
            self.queued -= u64::from(r.len());
            w.supply.begins(r);
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
        let Some(lines) = self.jobs.get_mut(&id).map(|j| &mut j.work.lines) else { return };
        lines.asked = lines.asked.saturating_sub(1);
        match r {
            Response::Stolen { epoch, runs, bags, .. } if !runs.is_empty() || !bags.is_empty() => {
                let tasks = runs.iter().fold(bags.len() as u32, |n, r| n.saturating_add(r.count));
                self.counters.stolen += u64::from(tasks);
                self.event(Event::Stole { job: id, from, tasks });
                self.hear_epoch(id, epoch);
                let ranges = !runs.is_empty();
                self.take_grant(id, sent, epoch, None, runs);
                self.take_bags(id, from, bags);
                if ranges {
                    self.report(id);
                }
            }
            r => {
                let Some(job) = self.jobs.get_mut(&id) else { return };
                job.work.lines.left = job.work.lines.left.saturating_add(u8::from(r == Response::Waiting));
                self.next_or_no_luck(id);
            }
        }
    }
}
