//! The steward's side of divided tasks: who runs which part, and parts that nobody runs, as work to be granted. Soft state, rebuilt from the
//! fold and from heartbeats.
//!
//! A part is lent to whoever its parent says got it, as soon as the parent's result is here. Who holds it lists it in its heartbeats; who
//! lost it, or never got it, gives it back that way, or with its lease.

use std::collections::{BTreeMap, BTreeSet};

use filch_types::bag::TaskRef;
use filch_types::fact::FactBody;
use filch_types::result::{Cause, Content, Outcome, Stream, TaskOutput};
use filch_types::wire::{GivenBag, HeldBag, Holding};
use filch_types::{BagId, Epoch, JobId, NodeId, ResultRun, Timestamp, limits};

use super::job::first_attempt;
use super::tree::{Grown, Tree};
use super::{Made, Node, Timer};
use crate::io::Event;

/// Stands for a holder where there is none: a worker that is on its way out leaves the rest of its part to whomever its steward finds.
pub(crate) const NOBODY: NodeId = NodeId([0; 32]);

/// Parts remembered as gone before the result that names them was here.
const MAX_GONE: usize = 4096;

/// Who runs a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BagLease {
    pub to: NodeId,
    pub attempt: u64,
    pub hops: u8,
    /// It must be listed once by then.
    pub until: Timestamp,
    pub listed: bool,
    /// As it was last listed.
    pub running: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct BagLeases {
    pool: BTreeSet<BagId>,
    held: BTreeMap<BagId, BagLease>,
    of: BTreeMap<NodeId, BTreeSet<BagId>>,
    /// Grants of this epoch; absent: none.
    tries: BTreeMap<BagId, u32>,
    /// Workers whose connection is down, and that are not believed dead yet.
    absent: BTreeSet<NodeId>,
    /// What those had begun and was given to others meanwhile.
    left: BTreeMap<NodeId, Vec<(BagId, u64)>>,
    /// Parts (by prefix) that are not known yet, at which attempts they went to somebody who is gone.
    gone: BTreeSet<(u64, u64)>,
    /// Attempts at indices that this steward has failed.
    failing: BTreeSet<(u32, u64)>,
}

impl BagLeases {
    /// Of a steward that comes into office: it learns from heartbeats who runs what.
    pub fn new(open: &BTreeSet<BagId>) -> Self {
        Self { pool: open.clone(), ..Self::default() }
    }
    /// Parts that nobody runs.
    pub fn pool(&self) -> &BTreeSet<BagId> {
        &self.pool
    }
    /// Parts lent.
    pub fn lent(&self) -> usize {
        self.held.len()
    }
    /// Those that hold parts, from somewhere on and around.
    pub fn holders(&self, from: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.of.range(from..).chain(self.of.range(..from)).map(|(n, _)| *n)
    }
    fn lend(&mut self, id: BagId, lease: BagLease) {
        self.close(id);
        self.held.insert(id, lease);
        self.of.entry(lease.to).or_default().insert(id);
    }
    /// It is neither lent nor to be granted any more.
    fn close(&mut self, id: BagId) {
        self.pool.remove(&id);
        if let Some(old) = self.held.remove(&id)
            && let Some(of) = self.of.get_mut(&old.to)
        {
            of.remove(&id);
            if of.is_empty() {
                self.of.remove(&old.to);
            }
        }
    }
    fn pool_again(&mut self, id: BagId) {
        self.close(id);
        self.pool.insert(id);
    }
    /// Takes back all that `w` holds; says which of it had begun.
    fn take_back(&mut self, w: NodeId) -> (Vec<BagId>, Vec<(BagId, u64)>) {
        let ids: Vec<BagId> = self.of.get(&w).into_iter().flatten().copied().collect();
        let begun = ids.iter().filter_map(|id| self.held.get(id).filter(|l| l.running).map(|l| (*id, l.attempt)));
        let begun = begun.collect();
        ids.iter().for_each(|id| self.pool_again(*id));
        (ids, begun)
    }
    fn grant(&mut self, tree: &Tree, epoch: Epoch, to: NodeId, until: Timestamp, want: usize) -> Vec<GivenBag> {
        let mut out = Vec::new();
        while out.len() < want.min(limits::MAX_GRANT_BAGS) {
            let Some(id) = self.pool.pop_first() else { break };
            // The first attempt of an epoch is its victim's.
            let tries = self.tries.entry(id).or_insert(1);
            *tries += 1;
            let attempt = epoch.attempt(*tries);
            let Some(given) = tree.give(id, attempt) else { continue };
            self.lend(id, BagLease { to, attempt, hops: 0, until, listed: false, running: false });
            out.push(given);
        }
        out
    }
    /// `w` says what it holds. The answer: what it need not, or must not.
    pub fn listed(&mut self, tree: &Tree, w: NodeId, bags: &[HeldBag], now: Timestamp) -> Vec<(u64, u64)> {
        let mut revoked = Vec::new();
        let mut there = BTreeSet::new();
        self.absent.remove(&w);
        self.left.remove(&w);
        for b in bags.iter().take(limits::MAX_HELD_BAGS * 2) {
            // What its parent's result has not told yet is on its way.
            let id = tree.find(b.prefix);
            let gone = b.how == Holding::Gone;
            if gone && id.is_none_or(|id| !tree.open().contains(&id)) && self.gone.len() < MAX_GONE {
                self.gone.insert((b.prefix, b.attempt));
            }
            let Some(id) = id else { continue };
            if tree.has_result(id) || tree.is_dead(id) {
                revoked.push((b.prefix, b.attempt));
                continue;
            }
            if !tree.open().contains(&id) {
                continue;
            }
            if gone {
                // Whoever is believed to have it passed it on to `w`, unless it went on from there already.
                let newer = |l: &BagLease| l.attempt == b.attempt && (l.to == w || b.hops > l.hops);
                if self.held.get(&id).is_some_and(newer) {
                    self.pool_again(id);
                }
                revoked.push((b.prefix, b.attempt));
                continue;
            }
            there.insert(id);
            let running = b.how == Holding::Runs;
            let fresh = BagLease { to: w, attempt: b.attempt, hops: b.hops, until: now, listed: true, running };
            match self.held.get(&id) {
                Some(l) if l.to != w && l.attempt == b.attempt && b.hops <= l.hops => {} // passed on
                Some(l) if l.to != w && l.attempt != b.attempt => revoked.push((b.prefix, b.attempt)),
                _ => self.lend(id, fresh),
            }
        }
        for id in self.of.get(&w).into_iter().flatten().copied().collect::<Vec<_>>() {
            if !there.contains(&id) && self.held.get(&id).is_some_and(|l| l.listed || l.until <= now) {
                self.pool_again(id);
            }
        }
        revoked
    }
}

impl Node {
    /// Lends up to `want` parts that nobody runs to `to`.
    pub(super) fn grant_bags(&mut self, id: JobId, to: NodeId, want: u32) -> Option<(Epoch, u64, Vec<GivenBag>)> {
        let until = self.now + self.cfg.timing.lease;
        let job = self.jobs.get_mut(&id)?;
        let s = job.steward.as_mut()?;
        if !s.granting || job.state != filch_types::wire::JobState::Active || s.bags.pool.is_empty() {
            return None;
        }
        let fair = s.bags.pool.len().div_ceil(2 * s.workers.len().max(1));
        let bags = s.bags.grant(job.fold.tree(), s.epoch, to, until, fair.min(want as usize).max(1));
        s.next_grant += 1;
        let (epoch, grant) = (s.epoch, s.next_grant);
        self.expect_beats(id, to);
        self.counters.granted += bags.len() as u64;
        (!bags.is_empty()).then_some((epoch, grant, bags))
    }

    /// A worker holds something: it is heard of within a lease, or it is lost.
    fn expect_beats(&mut self, id: JobId, w: NodeId) {
        let until = self.now + self.cfg.timing.lease;
        let Some(s) = self.jobs.get_mut(&id).and_then(|j| j.steward.as_mut()) else { return };
        let lease = s.workers.entry(w).or_default();
        if lease.expires < until {
            lease.expires = until;
            self.timers.set(Timer::Lease(id, w), until);
        }
    }

    /// A worker that was given a part by another one need not be connected to this steward, and then no connection breaks when
    /// it dies: it is asked whether it is there. Once.
    fn look_for(&mut self, w: NodeId) {
        let connected = self.peers.get(&w).is_some_and(|p| p.connected);
        if w != self.id && !connected && self.sought.len() < limits::MAX_PEERS && self.sought.insert(w) {
            self.say_hello(w);
        }
    }

    /// It did not answer.
    pub(super) fn not_found(&mut self, w: NodeId) {
        if self.sought.remove(&w) && self.peers.get(&w).is_none_or(|p| !p.connected) {
            self.bags_absent(w);
        }
    }

    /// The fold changed: parts that are worth running are lent to whoever has them, others go.
    pub(super) fn steward_bags(&mut self, id: JobId, grown: &Grown) {
        let until = self.now + self.cfg.timing.lease;
        if grown.is_empty() || self.jobs.get(&id).is_none_or(|j| j.steward.is_none()) {
            return;
        }
        for bag in &grown.opened {
            let Some(job) = self.jobs.get(&id) else { return };
            let Some((to, parent_attempt)) = job.fold.tree().hint(*bag) else { continue };
            // What is on its way even to this node itself is not here yet.
            let gone = to == NOBODY || self.peers.get(&to).is_some_and(|p| p.dead);
            let absent = self.peers.get(&to).is_some_and(|p| !p.connected);
            let attempt = first_attempt(parent_attempt);
            let Some(s) = self.jobs.get_mut(&id).and_then(|j| j.steward.as_mut()) else { return };
            let passed_on = s.bags.gone.remove(&(bag.prefix(), attempt));
            if gone || passed_on {
                s.bags.pool_again(*bag);
            } else {
                s.bags.lend(*bag, BagLease { to, attempt, hops: 0, until, listed: false, running: false });
                if absent {
                    s.bags.absent.insert(to);
                }
                self.expect_beats(id, to);
                self.look_for(to);
                if absent && self.jobs.get(&id).is_some_and(|j| !j.work.lines.waiters.is_empty()) {
                    self.lend_absent(id);
                }
            }
        }
        if let Some(s) = self.jobs.get_mut(&id).and_then(|j| j.steward.as_mut()) {
            grown.closed.iter().for_each(|bag| s.bags.close(*bag));
        }
        for bag in &grown.failed {
            self.fail_divided(id, *bag);
        }
        self.offer_bags(id);
    }

    /// Parts that nobody runs go to those who wait; if nobody does, they are announced.
    pub(super) fn offer_bags(&mut self, id: JobId) {
        let some = |n: &Self| {
            let s = n.jobs.get(&id).and_then(|j| j.steward.as_ref());
            s.is_some_and(|s| s.granting && !s.bags.pool.is_empty())
        };
        if !some(self) {
            return;
        }
        self.serve_waiters(id);
        if some(self) {
            self.wake_up_for(id);
            self.timers.sooner(Timer::Announce(id), self.now + filch_types::time::Span::millis(20));
        }
    }

    /// The connection to a worker went down. As long as others have nothing to do, they may as well begin what it had: a copy
    /// never counts twice.
    pub(super) fn bags_absent(&mut self, p: NodeId) {
        let ids: Vec<JobId> = self.live.iter().copied().collect();
        for id in ids {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let Some(s) = job.steward.as_mut().filter(|s| s.bags.of.contains_key(&p)) else { continue };
            s.bags.absent.insert(p);
            if !job.work.lines.waiters.is_empty() {
                self.lend_absent(id);
                self.offer_bags(id);
            }
        }
    }

    /// Somebody has nothing to do: what absent workers have may be begun again.
    pub(super) fn lend_absent(&mut self, id: JobId) {
        let Some(s) = self.jobs.get_mut(&id).and_then(|j| j.steward.as_mut()) else { return };
        if !s.bags.pool.is_empty() {
            return;
        }
        while let Some(w) = s.bags.absent.pop_first() {
            let (_, begun) = s.bags.take_back(w);
            if !begun.is_empty() {
                s.bags.left.insert(w, begun);
            }
        }
    }

    /// A worker is lost: so are its parts. Says how many, and charges those that executed (P14).
    pub(super) fn reclaim_bags(&mut self, id: JobId, w: NodeId) -> u64 {
        let charge_all = self.planted(crate::Mutant::BudgetChargesQueued);
        let Some(job) = self.jobs.get_mut(&id) else { return 0 };
        let Some(s) = job.steward.as_mut() else { return 0 };
        s.bags.absent.remove(&w);
        let (taken, begun) = s.bags.take_back(w);
        let mut lost = s.bags.left.remove(&w).unwrap_or_default();
        lost.extend(if charge_all { taken.iter().map(|b| (*b, 1)).collect() } else { begun });
        lost.retain(|(bag, _)| !job.fold.tree().has_result(*bag));
        for chunk in lost.chunks(limits::MAX_LOST) {
            self.make_fact(id, FactBody::LostBags(chunk.to_vec()), Made::Here);
        }
        if !taken.is_empty() {
            self.counters.reclaimed += taken.len() as u64;
            let executing = lost.len() as u32;
            let queued = (taken.len() as u32).saturating_sub(executing);
            self.event(Event::Reclaimed { job: id, from: w, queued, executing });
        }
        self.offer_bags(id);
        taken.len() as u64
    }

    /// Parts that took down too many nodes end their task (P14).
    pub(super) fn enforce_bag_budget(&mut self, id: JobId, lost: &[(BagId, u64)]) {
        for (bag, _) in lost {
            if self.jobs.get(&id).is_some_and(|j| j.steward.is_some() && j.fold.bag_over_budget(*bag)) {
                self.fail_divided(id, *bag);
            }
        }
    }

    /// An open part failed, or may not run again: so did the attempt at its index, which its retries decide about.
    fn fail_divided(&mut self, id: JobId, bag: BagId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(s) = job.steward.as_mut().filter(|_| job.fold.tree().open().contains(&bag)) else { return };
        let Some((index, attempt)) = job.fold.tree().root(bag) else { return };
        let (cause, text) = match job.fold.tree().failure(bag) {
            Some(f) => (f.cause.clone(), f.text.clone()),
            None if job.fold.bag_over_budget(bag) => (Cause::NodeLost, String::new()),
            None => return,
        };
        if job.fold.is_done(index) || !s.bags.failing.insert((index, attempt)) {
            return;
        }
        let (total, kept) = (text.len() as u64, Content::Inline(text.into_bytes()));
        let output = TaskOutput { stderr: Stream { kept, total }, ..TaskOutput::default() };
        let run = ResultRun::one(index, attempt, 0, Outcome::Failed(cause, output));
        self.make_fact(id, FactBody::Pack(vec![run]), Made::Pack);
    }

    /// What a steward that comes into office finds to be over.
    pub(super) fn look_over_bags(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let over = |b: &&BagId| job.fold.tree().failure(**b).is_some() || job.fold.bag_over_budget(**b);
        let failed: Vec<BagId> = job.fold.tree().open().iter().filter(over).copied().collect();
        failed.into_iter().for_each(|bag| self.fail_divided(id, bag));
    }

    /// Whoever runs parts of a job, to be asked for some.
    pub(super) fn bag_victims(&mut self, id: JobId, except: NodeId) -> Vec<(NodeId, u32)> {
        let mut from = [0; 32];
        from[0] = self.below(256) as u8;
        from[1] = self.below(256) as u8;
        let Some(job) = self.jobs.get(&id).filter(|j| j.fold.tree().any()) else { return Vec::new() };
        let Some(s) = job.steward.as_ref() else { return Vec::new() };
        let parts = s.bags.holders(NodeId(from));
        let whole = s.leased.holders();
        let mut out: Vec<(NodeId, u32)> = Vec::new();
        for n in parts.chain(whole).filter(|n| *n != except).take(16) {
            if out.len() < 4 && !out.iter().any(|(o, _)| *o == n) && self.alive(n) {
                out.push((n, 0));
            }
        }
        out
    }
}

/// What a task of a divided job is called in a heartbeat.
pub(crate) fn part(task: TaskRef) -> Option<BagId> {
    match task {
        TaskRef::Bag(id) => Some(id),
        TaskRef::Index(_) => None,
    }
}
