//! The steward: grants ranges, keeps leases, takes back what was lost. Soft state that any replica can rebuild (P7, P8).

use std::collections::{BTreeMap, BTreeSet};

use filch_types::fact::FactBody;
use filch_types::ranges::{Range, RangeMap, RangeSet};
use filch_types::result::{Cause, Outcome, TaskOutput};
use filch_types::wire::{JobBeat, JobBeatAck, JobState, LeaseRun, Refusal, Response, Summary};
use filch_types::{BagId, JobId, NodeId, ResultRun, limits};

use super::bag_leases::BagLeases;
use super::copies::Copies;
use super::job::{CAREFUL, Job, Steward, Tag, attempt_number, lease_run};
use super::leases::Leases;
use super::{Made, Node, Then, Timer};
use crate::io::{Event, Token};
use crate::view::Role;
use crate::{Mutant, Output};
use filch_types::record::Record;
use filch_types::wire::Message;

/// How far a steward's epoch can fall behind in honest ways.
const MAX_EPOCH_LEAP: u32 = 1024;

/// A grant: the epoch, its number there, and what.
pub(super) type Granted = (u32, u64, Vec<LeaseRun>);
/// Nodes with unstarted tasks, and how many.
pub(super) type Victims = Vec<(NodeId, u32)>;

impl Steward {
    fn new(epoch: u32, open: &BTreeSet<BagId>) -> Self {
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
    fn repool(&mut self, job: &super::fold::Fold, range: Range) {
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

    fn parts_of(&self, range: Range) -> Vec<(Range, Option<(NodeId, Tag)>)> {
        let mut out: Vec<(Range, Option<(NodeId, Tag)>)> =
            self.leased.overlapping(range).map(|(r, v)| (r, Some(*v))).collect();
        out.extend(self.leased.gaps(range).into_iter().map(|r| (r, None)));
        out
    }

    /// What `w` executes of what it holds here. A heartbeat that was under way for long speaks of attempts that are over: it says
    /// nothing of the ones that came after them, and P14 would charge those.
    fn executing(&self, w: NodeId, jb: &JobBeat) -> RangeSet {
        let mut own = RangeSet::default();
        for run in &jb.held {
            let mine = |(r, (n, tag)): (Range, &(NodeId, Tag))| (*n == w && tag.attempt == run.attempt).then_some(r);
            self.leased.overlapping(run.range()).filter_map(mine).for_each(|r| own.insert(r));
            if run.count > 0 && self.copies.has(run.range(), w, run.attempt) {
                own.insert(run.range());
            }
        }
        jb.running.iter().flat_map(|r| own.overlapping(*r).collect::<Vec<_>>()).collect()
    }
}

impl Node {
    /// Sees who should be the steward of a job, after anything about replicas or liveness changed (P7).
    pub(super) fn choose_steward(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        if (job.state != JobState::Active && job.steward.is_none()) || self.timers.is_set(Timer::Elect(id)) {
            return;
        }
        // A believed steward that lives keeps the office: a returning higher member does not pre-empt.
        let keeps = !job.vacant
            && job.replicas.contains(&job.steward_id)
            && (if job.steward_id == self.id { job.steward.is_some() } else { self.alive(job.steward_id) });
        if keeps {
            return;
        }
        let Some(next) = job.replicas.iter().copied().find(|r| self.alive(*r)) else { return };
        if next == self.id {
            if job.held && job.role == Role::Replica {
                self.become_steward(id, false);
            }
        } else if let Some(job) = self.jobs.get_mut(&id) {
            job.steward_id = next;
            job.vacant = false;
            if job.work.holds_any() {
                self.beat_soon(next);
            }
        }
    }

    /// `p` is no longer the steward that this node took it for: the first live member of R is.
    pub(super) fn vacate(&mut self, id: JobId, p: NodeId) {
        let me = self.id;
        if let Some(job) = self.jobs.get_mut(&id)
            && job.steward.is_none()
            && (job.steward_id == p || job.steward_id == me)
        {
            job.vacant = true;
            self.choose_steward(id);
        }
    }

    /// Takes the office. Only the submitter of a new job grants at once: nobody else can hold a lease of it.
    pub(super) fn become_steward(&mut self, id: JobId, fresh: bool) {
        let me = self.id;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.steward.is_some() {
            return;
        }
        let place = job.replicas.iter().position(|r| *r == me).unwrap_or(0) as u32;
        if !fresh {
            job.round = job.round.max(job.epoch / 8) + 1;
        }
        let epoch = job.round * 8 + place;
        let mut s = Steward::new(epoch, job.fold.tree().open());
        s.repool(&job.fold, Range::new(0, job.fold.total()));
        (s.durable, s.grace_over, s.granting) = (fresh, fresh, fresh);
        job.steward = Some(s);
        job.steward_id = me;
        job.vacant = false;
        if job.epoch != epoch {
            job.work.seen_grant = 0;
        }
        job.epoch = epoch;
        let round = job.round;
        self.live.insert(id);
        self.timers.cancel(Timer::Elect(id));
        self.event(Event::Steward(id, epoch));
        if !fresh {
            self.commit(Vec::new(), vec![Record::Round(id, round)], Then::Round(id));
            self.timers.set(Timer::Grace(id), self.now + self.cfg.timing.lease);
            self.timers.set(Timer::AntiEntropy(id), self.now);
        }
        self.set_runnable(id, true);
        self.timers.set(Timer::Announce(id), self.now);
        self.timers.set(Timer::Repair(id), self.now + self.cfg.timing.beat);
        self.beat_soon(me);
    }

    pub(super) fn round_durable(&mut self, id: JobId) {
        self.with_steward(id, |s| s.durable = true);
    }

    /// The disk is full: no office without a round on disk. Somebody has to try again.
    pub(super) fn round_failed(&mut self, id: JobId) {
        self.step_down(id);
        self.timers.set(Timer::Elect(id), self.now + self.cfg.timing.resend);
    }

    pub(super) fn on_grace_timer(&mut self, id: JobId) {
        self.with_steward(id, |s| s.grace_over = true);
        self.beat_soon(self.id);
    }

    fn with_steward(&mut self, id: JobId, f: impl FnOnce(&mut Steward)) {
        if let Some(s) = self.jobs.get_mut(&id).and_then(|j| j.steward.as_mut()) {
            f(s);
            s.granting = s.durable && s.grace_over;
            if s.granting {
                self.timers.set(Timer::Announce(id), self.now);
                self.look_over_bags(id);
                self.offer_bags(id);
            }
        }
    }

    pub(super) fn step_down(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id)
            && let Some(s) = job.steward.take()
        {
            for w in s.workers.keys() {
                self.timers.cancel(Timer::Lease(id, *w));
            }
            self.timers.cancel(Timer::Grace(id));
            self.timers.cancel(Timer::Announce(id));
        }
    }

    /// After a suspend: others may have a new steward and new leases. Listen for one lease before granting again.
    pub(super) fn steward_woke_up(&mut self, id: JobId) {
        let until = self.now + self.cfg.timing.lease;
        let me = self.id;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let alone = job.replicas == [me];
        let Some(s) = job.steward.as_mut() else { return };
        if !alone {
            (s.grace_over, s.granting) = (false, false);
        }
        for (w, lease) in &mut s.workers {
            lease.expires = until;
            self.timers.set(Timer::Lease(id, *w), until);
        }
        if !alone {
            self.timers.set(Timer::Grace(id), until);
        }
    }

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
                    self.remember_waiter(id, from);
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
            let tag = Tag { attempt: attempt_number(s.epoch, n + 1), hops };
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

    /// A worker says what it holds; the steward's table follows it.
    pub(super) fn steward_beat(&mut self, w: NodeId, jb: JobBeat) -> JobBeatAck {
        let (me, now, lease_time) = (self.id, self.now, self.cfg.timing.lease);
        let nobody = |steward, epoch, state, revoked| JobBeatAck {
            job: jb.job,
            steward,
            epoch,
            given_upto: 0,
            revoked,
            revoked_bags: Vec::new(),
            ended: Vec::new(),
            state,
        };
        let all = || jb.held.clone();
        if self.tombstones.contains_key(&jb.job) {
            return nobody(me, jb.epoch, JobState::Deleted, all());
        }
        let Some(job) = self.jobs.get_mut(&jb.job) else {
            return nobody(w, 0, JobState::Active, Vec::new());
        };
        let state = job.state;
        // An epoch further ahead than takeovers could have led is a lie.
        if job.steward.as_ref().is_some_and(|s| s.epoch < jb.epoch && jb.epoch - s.epoch < MAX_EPOCH_LEAP) {
            // Somebody else took over in a later epoch; this node learns who from a summary.
            self.superseded(jb.job, jb.epoch);
        }
        let Some(job) = self.jobs.get_mut(&jb.job) else { return nobody(w, 0, state, Vec::new()) };
        if job.steward.is_none() {
            let mut believed = w;
            if jb.epoch > job.epoch && jb.epoch - job.epoch < MAX_EPOCH_LEAP {
                // It held this office before it lost its disk, and whoever it believes in has an older epoch: nobody else can take over.
                job.epoch = jb.epoch;
                believed = job.steward_id;
            }
            self.vacate(jb.job, believed);
        }
        let Some(job) = self.jobs.get_mut(&jb.job) else { return nobody(w, 0, state, Vec::new()) };
        let Some(s) = job.steward.as_mut() else {
            return nobody(job.steward_id, job.epoch, state, Vec::new());
        };
        let fold = &job.fold;
        if !s.workers.contains_key(&w) && s.workers.len() >= limits::MAX_PEERS {
            return nobody(me, s.epoch, state, Vec::new());
        }
        let total = fold.total();
        let valid = |r: &LeaseRun| r.count > 0 && r.range().hi <= total;
        let mut lease = s.workers.remove(&w).unwrap_or_default();
        lease.expires = now + lease_time;
        for g in jb.given.iter().filter(|g| valid(&g.run)) {
            if g.seq > lease.given_seen {
                lease.given_seen = g.seq;
                for (r, holder) in s.parts_of(g.run.range()) {
                    // A thief that gave its loot on may have been heard first.
                    let fresh = |old: Tag| old.attempt != g.run.attempt || old.hops < g.run.hops;
                    if holder.is_some_and(|(n, old)| n == w && fresh(old)) && g.to != w {
                        s.leased.insert(r, g.to, Tag { attempt: g.run.attempt, hops: g.run.hops });
                        let thief = s.workers.entry(g.to).or_default();
                        // What it last said of an earlier attempt says nothing of this one.
                        thief.running.remove(r);
                        let running = thief.running.clone();
                        thief.incoming.push((r, now + lease_time));
                        thief.expires = thief.expires.max(now + lease_time);
                        self.timers.set(Timer::Lease(jb.job, g.to), thief.expires);
                        s.set_running(g.to, &running);
                    }
                }
            }
        }
        if jb.epoch == s.epoch {
            lease.pending.retain(|grant, _| *grant > jb.seen_grant);
        }
        lease.pending.retain(|_, (_, until)| *until > now);
        let (mut revoked, mut ended) = (Vec::new(), Vec::new());
        let mut listed = RangeSet::default();
        for run in jb.held.iter().filter(|r| valid(r)) {
            listed.insert(run.range());
            let tag = Tag { attempt: run.attempt, hops: run.hops };
            for (r, holder) in s.parts_of(run.range()) {
                if s.hear_copy(w, r, tag, holder) {
                    continue;
                }
                match holder {
                    // Said before it gave the tasks away and got them back, or before another attempt was granted to it.
                    Some((n, old)) if n == w && (old.attempt, old.hops) > (tag.attempt, tag.hops) => {}
                    Some((n, _)) if n == w => s.leased.insert(r, w, tag),
                    // A thief that lists its loot before its victim reported it.
                    Some((_, old)) if old.attempt == tag.attempt && tag.hops > old.hops => s.leased.insert(r, w, tag),
                    Some(_) => revoked.push(lease_run(r, tag)),
                    None => {
                        let mut back: RangeSet = s.pool.overlapping(r).collect();
                        for failed in fold.failed_at(r, tag.attempt) {
                            back.remove(failed);
                            revoked.push(lease_run(failed, tag));
                        }
                        for free in back.iter() {
                            s.pool.remove(free);
                            s.leased.insert(free, w, tag);
                        }
                        let begun = fold.tree().rooted().overlapping(r);
                        revoked.extend(begun.map(|begun| lease_run(begun, tag)));
                        for done in fold.done().overlapping(r) {
                            revoked.push(lease_run(done, tag));
                            ended.push(done);
                        }
                    }
                }
            }
        }
        for r in listed.iter() {
            lease.incoming.retain(|(i, _)| i.intersect(r).is_empty());
        }
        lease.incoming.retain(|(_, until)| *until > now);
        for (range, _) in s.leased.held_by(w) {
            for gap in listed.gaps(range) {
                let mut missing = RangeSet::from_range(gap);
                lease.pending.values().flat_map(|(rs, _)| rs).for_each(|r| missing.remove(*r));
                lease.incoming.iter().for_each(|(r, _)| missing.remove(*r));
                for r in missing.iter().collect::<Vec<_>>() {
                    s.leased.remove(r);
                    s.repool(fold, r);
                }
            }
        }
        let coming: Vec<Range> = lease.pending.values().flat_map(|(rs, _)| rs).copied().collect();
        s.prune_copies(w, &listed, &coming);
        lease.running = s.executing(w, &jb);
        s.set_running(w, &lease.running);
        s.observe(w, &lease.running, now);
        let revoked_bags = s.bags.listed(fold.tree(), w, &jb.bags, now);
        let given_upto = lease.given_seen;
        let expires = lease.expires;
        s.workers.insert(w, lease);
        let epoch = s.epoch;
        if state != JobState::Active {
            revoked = all();
        }
        revoked.truncate(4096);
        ended.truncate(4096);
        self.timers.set(Timer::Lease(jb.job, w), expires);
        self.offer_bags(jb.job);
        JobBeatAck { job: jb.job, steward: me, epoch, given_upto, revoked, revoked_bags, ended, state }
    }

    fn superseded(&mut self, id: JobId, epoch: u32) {
        self.step_down(id);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.epoch = epoch;
            let me = self.id;
            // The place in R is in the epoch's lowest three bits.
            if let Some(who) = job.replicas.get((epoch % 8) as usize).copied().filter(|n| *n != me) {
                job.steward_id = who;
            }
        }
        self.choose_steward(id);
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
    pub(super) fn steward_after_facts(&mut self, id: JobId, touched: &[(Range, u32)], ready: bool) {
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
            self.timers.sooner(Timer::Announce(id), self.now + filch_types::time::Span::millis(20));
        }
    }

    /// Tasks that took down too many nodes fail for good (P14).
    pub(super) fn enforce_budget(&mut self, id: JobId, tasks: &[(u32, u32)]) {
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

    pub(super) fn summary(&self, id: JobId) -> Option<Summary> {
        let job = self.jobs.get(&id)?;
        let s = job.steward.as_ref();
        let mut name = job.manifest.spec.name.clone();
        name.truncate(name.floor_char_boundary(64));
        let mut needs = job.needs.clone();
        needs.truncate(8);
        Some(Summary {
            job: id,
            owner: job.manifest.owner,
            name,
            replicas: job.replicas.clone(),
            steward: job.steward_id,
            epoch: job.epoch,
            seq: s.map_or(0, |s| s.seq),
            priority: job.manifest.spec.priority,
            needs,
            total: job.fold.total(),
            succeeded: job.fold.succeeded() as u32,
            failed: job.fold.failed() as u32,
            leased: s.map_or(0, |s| (s.leased.len() + job.fold.tree().rooted().len()) as u32),
            grantable: s.filter(|s| s.granting).map_or(0, |s| s.pool.len() as u32 + s.bags.pool().len() as u32)
                + u32::from(self.copy_wanted(id)),
            state: job.state,
            created_ms: job.manifest.created_ms,
        })
    }

    /// Tells the cluster where a job stands; directly, too, to some who hold nothing: gossip is only a hint.
    pub(super) fn on_announce_timer(&mut self, id: JobId) {
        let me = self.id;
        let Some(s) = self.jobs.get_mut(&id).and_then(|j| j.steward.as_mut()) else { return };
        s.seq += 1;
        let busy: BTreeSet<NodeId> = s.leased.holders().collect();
        if s.granting && !(s.pool.is_empty() && s.bags.pool().is_empty()) {
            self.wake_up_for(id);
        }
        let Some(summary) = self.summary(id) else { return };
        let active = summary.state == JobState::Active;
        if active {
            self.timers.set(Timer::Announce(id), self.now + self.cfg.timing.announce);
        }
        let mut told = if active { self.usable_peers() } else { busy.iter().copied().collect() };
        told.retain(|p| *p != me && (!active || !busy.contains(p)));
        let start = self.below(told.len());
        told.rotate_left(start);
        told.truncate(8);
        for p in told {
            self.emit(Output::Send(p, Message::Announce(vec![summary.clone()])));
        }
        self.emit(Output::Publish(summary));
    }

    /// Jobs of this steward, to a member that just came.
    pub(super) fn announce_to(&mut self, p: NodeId) {
        let Some(peer) = self.peers.get_mut(&p) else { return };
        if std::mem::replace(&mut peer.announced, true) {
            return;
        }
        let stewarded = |j: &&Job| j.steward.is_some() && j.state == JobState::Active;
        let ids: Vec<JobId> =
            self.live.iter().filter_map(|id| self.jobs.get(id)).filter(stewarded).map(|j| j.id).collect();
        let list: Vec<Summary> = ids.into_iter().take(128).filter_map(|id| self.summary(id)).collect();
        for chunk in list.chunks(64) {
            self.emit(Output::Send(p, Message::Announce(chunk.to_vec())));
        }
    }
}
