//! Groups of records on their way to the disk, and what follows once they are there (P1, P2).
//!
//! A disk may be much slower than results come in. So only so many groups are under way at a time: what comes beyond them becomes one group, which
//! costs the disk one sync. What was said before is durable before it all the same. Only the round of a new steward goes first: nobody else
//! grants meanwhile, and nothing that waits names it.

use std::collections::{BTreeMap, VecDeque};

use filch_types::record::Record;
use filch_types::{BlobId, JobId};

use super::{Made, Node, Then, Timer};
use crate::io::{Output, Ticket};

/// Groups under way at a time.
const MAX_OPEN: usize = 16;
/// Records of groups that become one.
const MAX_JOINED: usize = 4096;

#[derive(Clone, Debug)]
struct Group {
    blobs: Vec<BlobId>,
    records: Vec<Record>,
    then: Then,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Commits {
    open: BTreeMap<Ticket, Vec<Then>>,
    waiting: VecDeque<Group>,
}

impl Commits {
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty()
    }
    /// Groups that are not durable yet, joined or not.
    pub fn len(&self) -> usize {
        self.open.values().map(Vec::len).sum::<usize>() + self.waiting.len()
    }
    /// What is to follow.
    pub fn all(&self) -> impl Iterator<Item = &Then> {
        self.open.values().flatten().chain(self.waiting.iter().map(|g| &g.then))
    }
    /// The first of those that wait, as many as one group may have.
    fn take(&mut self) -> Vec<Group> {
        let mut sum = 0;
        let fits = |g: &&Group| {
            let first = sum == 0;
            sum += g.records.len();
            first || sum <= MAX_JOINED
        };
        let n = self.waiting.iter().take_while(fits).count();
        self.waiting.drain(..n).collect()
    }
}

impl Node {
    pub(super) fn commit(&mut self, blobs: Vec<BlobId>, records: Vec<Record>, then: Then) {
        let group = Group { blobs, records, then };
        let behind = !self.commits.waiting.is_empty() || self.commits.open.len() >= MAX_OPEN;
        if behind && !matches!(group.then, Then::Round(_)) {
            return self.commits.waiting.push_back(group);
        }
        self.commit_joined(vec![group]);
    }

    fn commit_joined(&mut self, groups: Vec<Group>) {
        let ticket = Ticket(self.fresh());
        let (mut blobs, mut records, mut then) = (Vec::new(), Vec::new(), Vec::new());
        for g in groups {
            blobs.extend(g.blobs);
            records.extend(g.records);
            then.push(g.then);
        }
        self.commits.open.insert(ticket, then);
        self.emit(Output::Commit { ticket, blobs, records });
    }

    fn commit_waiting(&mut self) {
        while self.commits.open.len() < MAX_OPEN && !self.commits.waiting.is_empty() {
            let groups = self.commits.take();
            self.commit_joined(groups);
        }
    }

    pub(super) fn on_committed(&mut self, ticket: Ticket) {
        for then in self.commits.open.remove(&ticket).unwrap_or_default() {
            self.follow(then);
        }
        self.commit_waiting();
    }

    fn follow(&mut self, then: Then) {
        match then {
            Then::Held(job) => self.now_held(job),
            // The job was deleted meanwhile: whoever asked for its end has it all the same.
            Then::Facts { job, made: Made::Asked(asker), .. } if !self.jobs.contains_key(&job) => {
                self.revoked(job, asker);
            }
            Then::Facts { job, facts, ack, made } => self.facts_durable(job, facts, ack, made),
            Then::Round(job) => self.round_durable(job),
            Then::Lost(job) => self.facts_lost(job),
            Then::Forgotten { askers, job } => self.forgotten(job, askers),
            Then::Delivered(..) | Then::Dropped(_) | Then::Nothing => {}
        }
    }

    pub(super) fn on_commit_failed(&mut self, ticket: Ticket, why: String) {
        self.on_disk_full();
        for then in self.commits.open.remove(&ticket).unwrap_or_default() {
            self.follow_failed(then, &why);
        }
        self.commit_waiting();
    }

    fn follow_failed(&mut self, then: Then, why: &str) {
        match then {
            Then::Held(job) => self.hold_failed(job, why.to_owned()),
            Then::Facts { job, made: Made::Asked(asker), .. } if !self.jobs.contains_key(&job) => {
                self.revoke_failed(asker, why);
            }
            Then::Facts { job, facts, made, .. } => self.facts_failed(job, facts, made, why.to_owned()),
            Then::Round(job) => self.round_failed(job),
            Then::Lost(job) => self.lose_failed(job),
            Then::Delivered(job, pack) => self.delivered_failed(job, pack),
            // Rows of it are still there.
            Then::Dropped(job) => self.timers.set(Timer::Bury(job), self.now + self.cfg.timing.resend),
            Then::Forgotten { askers, job } => self.bury_failed(job, askers, why),
            Then::Nothing => {}
        }
    }

    /// Whether the tombstone is on its way to the disk, behind records that may name blobs of the job.
    pub(super) fn burying(&self, id: JobId) -> bool {
        self.commits.all().any(|t| matches!(t, Then::Forgotten { job, .. } if *job == id))
    }
}
