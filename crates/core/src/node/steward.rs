//! The steward: grants ranges, keeps leases, takes back what was lost. Soft state that any replica can rebuild (P7, P8).

use std::collections::{BTreeMap, BTreeSet};

use filch_types::fact::FactBody;
use filch_types::ranges::{Range, RangeMap, RangeSet};
use filch_types::result::{Cause, Outcome, TaskOutput};
use filch_types::time::Span;
use filch_types::wire::{JobState, LeaseRun, Refusal, Response};
use filch_types::{BagId, Epoch, JobId, NodeId, ResultRun, limits};

use super::bag_leases::BagLeases;
use super::copies::Copies;
use super::job::{CAREFUL, Steward, Tag, lease_run};
use super::leases::Leases;
use super::{Made, Node, Timer};
use crate::Mutant;
use crate::io::{Event, Token};

/// A grant: the epoch, its number there, and what.
pub(super) type Granted = (Epoch, u64, Vec<LeaseRun>);
/// Nodes with unstarted tasks, and how many.
pub(super) type Victims = Vec<(NodeId, u32)>;

impl Steward {
    pub(super) fn new(epoch: Epoch, open: &BTreeSet<BagId>) -> Self {
        Self {
            bags: BagLeases::new(open),
            epoch,
            granting: false,
            durable: false,
            grace_over: false,
            pool: RangeSet::default(),
            leased: Leases::default(),
            workers: BTreeMap::new(),
            tries: RangeMap::default(),
            next_grant: 0,
            seq: 0,
            copies: Copies::default(),
        }
    }

    /// Gives back what nobody may have any more: into the pool unless done, waiting or skipped.
    pub(super) fn repool(&mut self, job: &super::fold::Fold, range: Range) {
        for open in job.done().gaps(range) {
            for not_waiting in job.waiting().gaps(open) {
                for r in job.skipped().gaps(not_waiting) {
                    for whole in job.tree().rooted().gaps(r) {
                        for free in self.leased.gaps(whole) {
                            self.promote(free).into_iter().for_each(|r| self.pool.insert(r));
                        }
                    }
                }
            }
        }
    }
}

impl Node {
    pub(super) fn on_claim(
        &mut self,
        from: NodeId,
        token: Token,
        id: JobId,
        want: u32,
        idle: u16,
        need_manifest: bool,
    ) {
        if self.tombstones.contains_key(&id) {
            return self
                .respond(token, Response::Nothing { steward: self.id, victims: vec![], state: JobState::Deleted });
        }
        let Some(job) = self.jobs.get(&id) else { return self.refuse(token, Refusal::UnknownJob) };
        let state = job.state;
        let signed = need_manifest.then(|| (*job.signed).clone());
        if job.steward.is_none() {
            self.vacate(id, from);
            let steward = self.jobs.get(&id).map_or(from, |j| j.steward_id);
            return self.respond(token, Response::Nothing { steward, victims: vec![], state });
        }
        self.lend_absent(id);
        if let Some((epoch, grant, bags)) = self.grant_bags(id, from, want) {
            return self.respond(token, Response::Grant { epoch, grant, runs: Vec::new(), bags, manifest: signed });
        }
        let (granted, victims) = self.grant_or_copy(id, from, want, idle);
        match granted {
            Some((epoch, grant, runs)) => {
                self.respond(token, Response::Grant { epoch, grant, runs, bags: Vec::new(), manifest: signed });
            }
            None => {
                if self.jobs.get(&id).is_some_and(|j| j.fold.tree().any()) {
                    self.remember_waiter(id, from, Span::default());
                }
                self.respond(token, Response::Nothing { steward: self.id, victims, state });
            }
        }
    }

    /// What a claimer gets: a range of the pool, else whom to steal from, else a copy of what straggles.
    pub(super) fn grant_or_copy(&mut self, id: JobId, to: NodeId, want: u32, idle: u16) -> (Option<Granted>, Victims) {
        if let Some(granted) = self.grant(id, to, want) {
            return (Some(granted), Vec::new());
        }
        let victims = self.victims(id, to);
        let copy = if victims.is_empty() { self.grant_copy(id, to, idle) } else { None };
        (copy, victims)
    }

    /// Nodes with unstarted tasks, most first.
    pub(super) fn victims(&mut self, id: JobId, except: NodeId) -> Victims {
        let Some(s) = self.jobs.get(&id).and_then(|j| j.steward.as_ref()) else { return Vec::new() };
        let others = s.leased.richest().filter(|(n, _)| *n != except && self.alive(*n));
        let rich: Vec<(NodeId, u32)> = others.map(|(n, queued)| (n, queued as u32)).take(4).collect();
        if rich.is_empty() { self.bag_victims(id, except) } else { rich }
    }

    /// Leases up to `want` tasks of the pool to `to`: guided self-scheduling, so that the last ones spread by themselves.
    pub(super) fn grant(&mut self, id: JobId, to: NodeId, want: u32) -> Option<Granted> {
        let (now, t) = (self.now, self.cfg.timing.clone());
        let (twice, clock) = (self.planted(Mutant::GrantTwice), self.planted(Mutant::LeaseAcrossClocks));
        let boot = self.peers.get(&to).and_then(|p| p.hello.as_ref()).map_or(0, |h| h.boot);
        let job = self.jobs.get_mut(&id)?;
        let s = job.steward.as_mut()?;
        if !s.granting || job.state != JobState::Active || s.pool.is_empty() {
            return None;
        }
        let sharers = s.workers.len().max(1) as u64 + u64::from(!s.workers.contains_key(&to));
        let fair = (s.pool.len() / (2 * sharers)).max(1);
        let mut left = u64::from(want).min(fair).max(1) as u32;
        let mut runs = Vec::new();
        while left > 0 && runs.len() < limits::MAX_GRANT_RUNS {
            let Some(first) = s.pool.iter().next() else { break };
            let first = Range::new(first.lo, first.hi.min(first.lo.saturating_add(left)));
            let tried = s.tries.overlapping(first).next().map(|(r, n)| (r, *n));
            // Equal attempt numbers only within one run.
            let (r, n) = match tried {
                Some((r, n)) if r.lo == first.lo => (r, n),
                Some((r, _)) => (Range::new(first.lo, r.lo), 0),
                None => (first, 0),
            };
            let (r, hops) = match job.fold.first_lost(r) {
                Some(i) if i == r.lo => (Range::new(i, i + 1), CAREFUL),
                Some(i) => (Range::new(r.lo, i), 0),
                None => (r, 0),
            };
            let tag = Tag { attempt: s.epoch.attempt(n + 1), hops };
            if !twice {
                s.pool.remove(r);
            }
            s.tries.insert(r, n + 1);
            s.leased.insert(r, to, tag);
            runs.push(lease_run(r, tag));
            left -= r.len();
            if twice {
                break;
            }
        }
        // One count for all workers: it must not start over when a lease ends.
        s.next_grant += 1;
        if clock {
            s.next_grant = s.next_grant.max(now.0);
        }
        let grant = s.next_grant;
        let lease = s.workers.entry(to).or_default();
        lease.boot = boot;
        // What it last said of an earlier attempt says nothing of this one.
        runs.iter().for_each(|r| lease.running.remove(r.range()));
        let running = lease.running.clone();
        lease.pending.insert(grant, (runs.iter().map(LeaseRun::range).collect(), now + t.lease));
        if lease.expires < now + t.lease {
            lease.expires = now + t.lease;
            self.timers.set(Timer::Lease(id, to), lease.expires);
        }
        s.set_running(to, &running);
        let epoch = s.epoch;
        let tasks = runs.iter().map(|r| r.count).sum();
        self.counters.granted += u64::from(tasks);
        self.event(Event::Granted { job: id, to, tasks });
        Some((epoch, grant, runs))
    }

    pub(super) fn on_lease_timer(&mut self, id: JobId, w: NodeId) {
        if self.planted(Mutant::NoLeaseExpiry) {
            return;
        }
        let now = self.now;
        let Some(s) = self.jobs.get(&id).and_then(|j| j.steward.as_ref()) else { return };
        match s.workers.get(&w).map(|l| l.expires) {
            Some(at) if at > now => self.timers.set(Timer::Lease(id, w), at),
            Some(_) => self.reclaim(id, w),
            None => {}
        }
    }

    /// Takes back everything that `w` holds of a job: its lease ended, or its process did.
    pub(super) fn reclaim(&mut self, id: JobId, w: NodeId) {
        let charge_all = self.planted(Mutant::BudgetChargesQueued);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(s) = job.steward.as_mut() else { return };
        let Some(lease) = s.workers.remove(&w) else { return };
        self.timers.cancel(Timer::Lease(id, w));
        self.reclaim_bags(id, w);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(s) = job.steward.as_mut() else { return };
        let held = s.leased.held_by(w);
        s.leased.set_running(w, 0);
        s.copies.forget(w);
        let mut lost = Vec::new();
        let mut all = 0u64;
        let copies = s.copies.of(w);
        for (r, attempt) in &copies {
            s.copies.drop(*r);
            for e in lease.running.overlapping(*r) {
                lost.extend(job.fold.done().gaps(e).into_iter().flat_map(|g| g.lo..g.hi).map(|i| (i, *attempt)));
            }
        }
        for (r, tag) in &held {
            s.leased.remove(*r);
            all += u64::from(r.len());
            let executing: Vec<Range> = if charge_all { vec![*r] } else { lease.running.overlapping(*r).collect() };
            for e in executing {
                lost.extend(job.fold.done().gaps(e).into_iter().flat_map(|g| g.lo..g.hi).map(|i| (i, tag.attempt)));
            }
            s.repool(&job.fold, *r);
        }
        if held.is_empty() && lost.is_empty() {
            return;
        }
        self.counters.reclaimed += all;
        let executing = lost.len() as u32;
        self.event(Event::Reclaimed { job: id, from: w, queued: all as u32 - executing.min(all as u32), executing });
        for chunk in lost.chunks(4096) {
            self.make_fact(id, FactBody::Lost(chunk.to_vec()), Made::Here);
        }
        self.timers.set(Timer::Announce(id), self.now);
    }

    /// A node goes down in an orderly way: what it has not started comes back by its own heartbeats, nothing is charged.
    pub(super) fn peer_drains(&mut self, _p: NodeId) {}

    /// The fold changed: what is done leaves the tables, what failed and may be tried again comes back.
    pub(super) fn steward_after_facts(&mut self, id: JobId, touched: &[(Range, u64)], ready: bool) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(s) = job.steward.as_mut() else { return };
        let mut again = false;
        for (range, attempt) in touched {
            for done in job.fold.done().overlapping(*range) {
                s.pool.remove(done);
                s.leased.remove(done);
                s.copies.drop(done);
            }
            for begun in job.fold.tree().rooted().overlapping(*range) {
                s.pool.remove(begun);
            }
            for open in job.fold.done().gaps(*range) {
                // A failure that may be retried: the lease of that attempt is used up.
                for (r, holder) in s.parts_of(open) {
                    if holder.is_some_and(|(_, tag)| tag.attempt <= *attempt) {
                        s.leased.remove(r);
                    }
                }
                s.repool(&job.fold, open);
                again = true;
            }
        }
        if ready && job.manifest.spec.groups.iter().any(|g| !g.needs.is_empty()) {
            s.repool(&job.fold, Range::new(0, job.fold.total()));
            again = true;
        }
        if again {
            self.timers.sooner(Timer::Announce(id), self.now + Span::millis(20));
        }
    }

    /// Tasks that took down too many nodes fail for good (P14).
    pub(super) fn enforce_budget(&mut self, id: JobId, tasks: &[(u32, u64)]) {
        let Some(job) = self.jobs.get(&id) else { return };
        if job.steward.is_none() {
            return;
        }
        let mut over: Vec<u32> =
            tasks.iter().map(|(i, _)| *i).filter(|i| job.fold.over_budget(*i) && !job.fold.is_done(*i)).collect();
        over.sort_unstable();
        over.dedup();
        for chunk in over.chunks(limits::MAX_PACK_RUNS) {
            let runs = chunk
                .iter()
                .map(|i| {
                    let attempt = tasks.iter().filter(|(t, _)| t == i).map(|(_, a)| *a).max().unwrap_or(0);
                    ResultRun::one(*i, attempt, 0, Outcome::Failed(Cause::NodeLost, TaskOutput::default()))
                })
                .collect();
            self.make_fact(id, FactBody::Pack(runs), Made::Pack);
        }
    }
}
