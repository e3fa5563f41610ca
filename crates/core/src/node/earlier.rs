//! An owner that has forgotten what it pinned: its disk was lost, or went back before it started again. Its earlier pins may be with the
//! others of R, and another value must never become final (S5).
//!
//! So it compares with every live member before it pins. A member that never agrees delays that for a time only, counted from when this node keeps
//! the job: it takes no facts before. Who asked it to keep the job again keeps it, and may have joined R by a fact that is forgotten here.
//! What a member shows counts though it cannot be kept here, for want of the bytes that it names (P4): then the
//! member was heard all the same, and of tasks that an earlier pin names no other result is pinned as long as whoever showed it is there.

use std::collections::{BTreeMap, BTreeSet};

use filch_types::fact::PinRun;
use filch_types::ranges::RangeMap;
use filch_types::time::Span;
use filch_types::{FactId, JobId, NodeId, Timestamp};

use super::job::Job;
use super::{Asked, Node};

/// Who asks beyond this number is not asked in return: R has no more members.
const MAX_ASKERS: usize = filch_types::limits::MAX_REPLICAS;
/// Facts kept in mind that were shown and could not be kept.
const MAX_SHOWN: usize = 65_536;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Earlier {
    /// Since when earlier pins may come, if any may.
    since: Option<Timestamp>,
    /// Members of R that are known to have no facts but those that are, or were shown, here.
    heard: BTreeSet<NodeId>,
    shown: BTreeSet<FactId>,
    /// Who asked this node to keep the job again.
    askers: BTreeSet<NodeId>,
    /// What members said was final: which pack's results, and when they last said so.
    told: BTreeMap<NodeId, (Timestamp, RangeMap<FactId>)>,
}

impl Earlier {
    /// From now on nobody has been heard.
    pub fn may_come(&mut self, now: Timestamp) {
        *self = Self { since: Some(now), ..Self::default() };
    }
    /// The same, unless it is so already.
    pub fn may_come_still(&mut self, now: Timestamp) {
        self.since.get_or_insert(now);
    }
    /// The job is kept here.
    pub fn kept(&mut self, now: Timestamp) {
        self.since = self.since.map(|_| now);
    }
    /// Somebody who keeps the job asked this node to keep it again.
    pub fn asks(&mut self, by: NodeId) {
        if self.since.is_some() && self.askers.len() < MAX_ASKERS {
            self.askers.insert(by);
        }
    }
    /// Whether it did.
    pub fn asked(&self, by: &NodeId) -> bool {
        self.askers.contains(by)
    }
    pub fn heard(&mut self, member: NodeId) {
        if self.since.is_some() {
            self.heard.insert(member);
        }
    }
    /// A member has nothing but what is here: what it said before went with its disk.
    pub fn agrees(&mut self, member: NodeId) {
        self.told.remove(&member);
    }
    /// A fact is known and cannot be kept now.
    pub fn show(&mut self, fact: FactId) {
        if self.shown.len() < MAX_SHOWN {
            self.shown.insert(fact);
        }
    }
    pub fn was_shown(&self, fact: &FactId) -> bool {
        self.shown.contains(fact)
    }
    /// An own pin that cannot be kept now.
    pub fn tell(&mut self, by: NodeId, now: Timestamp, runs: &[PinRun]) {
        let (at, pins) = self.told.entry(by).or_default();
        *at = now;
        runs.iter().for_each(|run| pins.insert(run.range(), run.pack));
    }
    /// What is final by the word of those that count.
    pub fn word(&self, counts: impl Fn(&NodeId, Timestamp) -> bool) -> RangeMap<FactId> {
        let mut all = RangeMap::default();
        for (_, (_, pins)) in self.told.iter().filter(|(member, (at, _))| counts(member, *at)) {
            pins.iter().for_each(|(r, pack)| all.insert(r, *pack));
        }
        all
    }
}

/// Parts of these runs of which nothing is final already, not even the same: that pin is still to come, and there is one of a task (P9).
pub(super) fn unpledged(word: &RangeMap<FactId>, runs: Vec<PinRun>) -> Vec<PinRun> {
    if word.is_empty() {
        return runs;
    }
    let parts = |run: PinRun| {
        let open = word.gaps(run.range()).into_iter();
        open.map(move |r| PinRun { lo: r.lo, count: r.len(), pack: run.pack })
    };
    runs.into_iter().flat_map(parts).collect()
}

impl Node {
    fn patience(&self) -> Span {
        Span(4 * self.cfg.timing.lonely_pin.0)
    }

    /// Live members of R, and others who keep the job, that may know more than this owner.
    fn unheard<'a>(&'a self, job: &'a Job) -> impl Iterator<Item = NodeId> + 'a {
        let heard = |r: &NodeId| job.earlier.heard.contains(r) || job.strangers.contains(r);
        let askers = job.earlier.askers.iter().filter(|a| !job.replicas.contains(a));
        let all = job.replicas.iter().chain(askers).copied();
        all.filter(move |r| *r != self.id && self.alive(*r) && !heard(r))
    }

    pub(super) fn earlier_pins_may_come(&self, job: &Job) -> bool {
        let early = |since| self.now.since(since) < self.patience();
        job.earlier.since.is_some_and(early) && self.unheard(job).next().is_some()
    }

    /// Results wait for it: whoever was not heard is asked directly, and again if the answer got lost.
    pub(super) fn hear_the_others(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id).filter(|j| j.held && self.earlier_pins_may_come(j)) else { return };
        let asked = |p: &NodeId| {
            self.pending.values().any(|x| x.peer == *p && matches!(x.asked, Asked::Digest(c) if c.job == id))
        };
        let others: Vec<NodeId> = self.unheard(job).filter(|p| !asked(p)).collect();
        others.into_iter().for_each(|p| self.compare_with(p, id));
    }

    /// What is final by the word of members that are there, or were a moment ago.
    pub(super) fn final_elsewhere(&self, job: &Job) -> RangeMap<FactId> {
        let recent = |at| self.now.since(at) < self.patience();
        job.earlier.word(|member, at| recent(at) || self.alive(*member))
    }
}
