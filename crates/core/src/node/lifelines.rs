//! Lifelines: whoever found nothing is remembered by a few peers, which push work to it once they have some, parts of divided tasks
//! and ranges of unstarted ones alike. So an idle cluster sends next to nothing, and fills again within a few hops.

use std::collections::VecDeque;

use filch_types::time::Span;
use filch_types::wire::{GivenBag, JobState, LeaseRun, Message, Refusal, Response};
use filch_types::{Epoch, JobId, NodeId, SignedManifest, Timestamp, limits};

use super::bags::Want;
use super::job::Tag;
use super::placement::Thief;
use super::{Node, Timer};
use crate::io::{Output, Token};

/// What could not be split is looked at again after so long, as long as somebody waits: its tree may have grown.
pub(super) const RETRY: Span = Span::millis(5);
/// Calls to split for those who wait that may be open at once.
const AT_ONCE: usize = 4;

/// Somebody who waits for work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub node: NodeId,
    since: Timestamp,
    /// How long a task's inputs take to come to it.
    wait: Span,
}

/// Who waits here for work of a job, and where this node waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lifelines {
    /// In the order that they came.
    pub waiters: VecDeque<Waiter>,
    /// Peers that this node waits at.
    pub left: u8,
    /// Peers that it has asked for a part and that have not answered.
    pub asked: usize,
    /// It has asked around among its neighbours, and its steward, since it last had work or paused.
    pub around: bool,
    pub claimed: bool,
    /// A claim is under way.
    pub claiming: bool,
    /// The steward had nothing when it was last asked, and has not said since that it has.
    pub dry: bool,
    /// Calls to split that are for a waiter.
    open: usize,
}

impl Lifelines {
    /// It waits on, before all others.
    pub fn again(&mut self, node: NodeId, since: Timestamp) {
        if !self.waiters.iter().any(|w| w.node == node) {
            self.waiters.push_back(Waiter { node, since, wait: Span(0) });
        }
    }
    /// This node has come by work, or pauses: the next time, it begins anew.
    pub fn new_round(&mut self) {
        (self.around, self.claimed) = (false, false);
    }
    pub fn answered(&mut self) {
        self.open = self.open.saturating_sub(1);
    }
}

impl Node {
    /// `p` asked and got nothing: it is remembered. False if too many wait already.
    pub(super) fn remember_waiter(&mut self, id: JobId, p: NodeId, wait: Span) -> bool {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.state == JobState::Active && !j.over) else { return false };
        let lines = &mut job.work.lines;
        lines.waiters.retain(|w| w.node != p);
        if lines.waiters.len() >= limits::MAX_LIFELINES {
            return false;
        }
        lines.waiters.push_back(Waiter { node: p, since: now, wait });
        let divided = |l: &crate::io::LaunchId| self.launches.get(l).is_some_and(|l| l.bag.is_some());
        if job.work.launches.iter().any(divided) {
            self.timers.ensure(Timer::Lifeline(id), now + RETRY);
        }
        true
    }

    /// Answers a thief for whom there is nothing.
    pub(super) fn remember_or_refuse(&mut self, id: JobId, p: NodeId, wait: Span, token: Token) {
        let Some(epoch) = self.jobs.get(&id).map(|j| j.epoch) else { return self.refuse(token, Refusal::UnknownJob) };
        if self.remember_waiter(id, p, wait) {
            return self.respond(token, Response::Waiting);
        }
        self.respond(token, Response::Stolen { epoch, runs: Vec::new(), bags: Vec::new(), manifest: None });
    }

    /// Gives to those who wait what can be spared.
    pub(super) fn serve_waiters(&mut self, id: JobId) {
        // Whoever waits asks again after its longest pause: what is older is no lifeline any more.
        let oldest = 2 * self.cfg.timing.quiet_max.0;
        let now = self.now;
        for _ in 0..limits::MAX_LIFELINES {
            let Some(job) = self.jobs.get_mut(&id).filter(|j| j.state == JobState::Active) else { return };
            // Whoever came last is the least likely to have found something elsewhere.
            let Some(waiter) = job.work.lines.waiters.pop_back() else { return };
            let (p, since) = (waiter.node, waiter.since);
            let usable = self.peers.get(&p).is_some_and(|p| p.alive() && p.connected);
            if !usable || now.since(since).0 > oldest {
                continue;
            }
            if self.give_spare(id, waiter) {
                continue;
            }
            let Some(job) = self.jobs.get_mut(&id) else { return };
            let full = job.work.lines.open >= AT_ONCE;
            if !full && self.ask_split(id, Want::Waiter(p)) {
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.work.lines.open += 1;
                }
                continue;
            }
            let Some(job) = self.jobs.get_mut(&id) else { return };
            job.work.lines.waiters.push_back(waiter);
            return;
        }
    }

    /// Gives somebody a part or tasks that nobody has begun, if this node has some to spare.
    fn give_spare(&mut self, id: JobId, waiter: Waiter) -> bool {
        let p = waiter.node;
        let (mut runs, mut bags) = (Vec::new(), Vec::new());
        if let Some((_, _, granted)) = self.grant_bags(id, p, 1) {
            bags = granted;
        } else if let Some(bag) = self.pass_on(id, p) {
            bags.push(bag);
        } else {
            runs = self.yield_tail(id, p, u32::MAX, Thief { idle: 0, wait: waiter.wait });
        }
        if runs.is_empty() && bags.is_empty() {
            return false;
        }
        let Some(job) = self.jobs.get(&id) else { return false };
        let (epoch, told) = (job.epoch, !runs.is_empty());
        self.counters.gifts += 1;
        self.emit(Output::Send(p, Message::Gift { job: id, epoch, runs, bags, manifest: None }));
        if told {
            self.report(id);
        }
        true
    }

    /// Whether this node has anything that it cannot begin itself, for those who wait.
    pub(super) fn serve_surplus(&mut self, ids: &[JobId]) {
        let full = !self.slots.contains(&0);
        for id in ids {
            let Some(w) = self.jobs.get(id).map(|j| &j.work) else { continue };
            if !w.lines.waiters.is_empty() && full && (!w.bags.queue.is_empty() || w.queue.len() > 1) {
                self.serve_waiters(*id);
            }
        }
    }

    pub(super) fn on_lifeline_timer(&mut self, id: JobId) {
        self.serve_waiters(id);
    }

    /// Work for this node, which waits for some.
    pub(super) fn on_gift(
        &mut self,
        from: NodeId,
        id: JobId,
        epoch: Epoch,
        runs: Vec<LeaseRun>,
        bags: Vec<GivenBag>,
        _manifest: Option<SignedManifest>,
    ) {
        let (draining, none) = (self.draining, self.slots.is_empty());
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.state == JobState::Active && !j.over) else { return };
        // What is dropped here comes back to its steward: nobody lists it.
        if draining || none || epoch < job.epoch {
            return;
        }
        let total = job.fold.total();
        self.hear_epoch(id, epoch);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let mut added = 0;
        for run in runs.into_iter().take(limits::MAX_GRANT_RUNS).filter(|r| r.count > 0 && r.range().hi <= total) {
            if !job.work.bags.is_new(u64::from(run.lo), run.attempt, run.hops) {
                continue;
            }
            let tag = Tag { attempt: run.attempt, hops: run.hops };
            for r in job.work.takes(run.range(), run.attempt) {
                added += u64::from(r.len()) - super::beats::remove_counted(&mut job.work.queue, r);
                job.work.queue.insert(r, tag);
            }
        }
        job.work.lines.left = 0;
        job.work.lines.new_round();
        job.work.backoff = 0;
        job.work.next_ask = self.now;
        // Nothing starts beyond the lease that this node last had (P8); its steward renews it when it hears what is here.
        let lapsed = self.now >= job.work.lease_until;
        self.queued += added;
        self.counters.stolen += added + bags.len() as u64;
        self.take_bags(id, from, bags);
        self.live.insert(id);
        let Some(steward) = self.jobs.get(&id).map(|j| j.steward_id) else { return };
        self.timers.sooner(Timer::Beat(steward), self.now + self.cfg.timing.beat);
        if added > 0 || lapsed {
            self.report(id);
        }
    }
}
