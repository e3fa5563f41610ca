//! What a node keeps about one job.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use filch_types::fact::SignedFact;
use filch_types::ranges::{Range, RangeMap, RangeSet};
use filch_types::time::Span;
use filch_types::wire::{Given, JobState, LeaseRun, Summary};
use filch_types::{BagId, Epoch, FactId, JobId, Manifest, NodeId, ResultRun, SignedManifest, StoreId, Timestamp};
use std::sync::Arc;

use super::bag_leases::BagLeases;
use super::bags::BagWork;
use super::copies::{Copies, Pace};
use super::damage::Bare;
use super::earlier::Earlier;
use super::fold::Fold;
use super::leases::Leases;
use super::lifelines::Lifelines;
use super::placement::Supply;
use crate::io::{ClientId, LaunchId};
use crate::view::Role;

/// The attempt number of a part that was never given out again: its victim's. A steward's own begin at 2.
pub(crate) fn first_attempt(parent_attempt: u64) -> u64 {
    Epoch::of_attempt(parent_attempt).attempt(1)
}

/// What travels with a queued range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub attempt: u64,
    pub hops: u8,
}

/// Set in `Tag::hops`: the task was lost while it executed, so it runs alone, that a crash charges nobody else (P14).
pub(crate) const CAREFUL: u8 = 0x80;

/// Set in `Tag::hops`: a second attempt at what straggles elsewhere. It stays where it is, and only its success counts.
pub(crate) const COPY: u8 = 0x40;

pub(crate) fn lease_run(r: Range, tag: Tag) -> LeaseRun {
    LeaseRun { lo: r.lo, count: r.len(), attempt: tag.attempt, hops: tag.hops }
}

/// A pack of this node's own on its way to the replicas (P5).
#[derive(Clone, Debug, Default)]
pub(crate) struct OutPack {
    pub acked: BTreeMap<NodeId, StoreId>,
    /// Durable here.
    pub durable: bool,
    /// The tasks whose results it has, with their attempts.
    pub ranges: Vec<(Range, u64)>,
    /// The parts of divided tasks, too.
    pub bags: Vec<(BagId, u64)>,
    /// Its bytes as long as the ledger does not have them.
    pub signed: Option<SignedFact>,
    pub last_sent: Option<Timestamp>,
    /// It is sent again soon, once.
    pub hedge: bool,
}

/// The job as a worker sees it: what it may run of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    pub queue: RangeMap<Tag>,
    pub running: RangeMap<Tag>,
    pub launches: BTreeSet<LaunchId>,
    /// Finished, but the steward has not acked the result.
    pub unacked: RangeMap<Tag>,
    /// Those of `unacked` that failed: the steward may know already, and grant another attempt.
    pub failed: RangeSet,
    pub seen_grant: u64,
    /// The steward grants in an epoch that is over, and has to be told.
    pub outdated: bool,
    /// Something is held no more and the steward does not know: the next heartbeat says so even if nothing is held at all.
    pub unsaid: bool,
    pub given: VecDeque<Given>,
    pub given_seq: u64,
    /// Nothing starts after this (P8).
    pub lease_until: Timestamp,
    /// The node stood still until then: what was queued may run elsewhere by now, and waits for a steward's word.
    pub listening: Option<Timestamp>,
    pub pack: Vec<ResultRun>,
    pub pack_bytes: usize,
    /// Smoothed nanoseconds of a task; `None` before the first one ended.
    pub task_ns: Option<u64>,
    pub asking: bool,
    pub next_ask: Timestamp,
    pub backoff: u64,
    /// Tasks cannot be run here now: the pause before it is tried again, in microseconds, and its end. What was asked for before may still come.
    pub hindered: u64,
    pub hindered_until: Timestamp,
    pub victims: VecDeque<(NodeId, u32)>,
    pub supply: Supply,
    /// Parts of divided tasks.
    pub bags: BagWork,
    pub lines: Lifelines,
}

impl Work {
    pub fn holds_any(&self) -> bool {
        let ranges = [&self.queue, &self.running, &self.unacked];
        ranges.iter().any(|r| !r.is_empty()) || !self.given.is_empty() || self.bags.holds_any()
    }
    /// The steward has the result of this attempt, or wants none: it need not be listed any more.
    pub fn acked(&mut self, range: Range, attempt: u64) {
        let old: Vec<Range> =
            self.unacked.overlapping(range).filter(|(_, tag)| tag.attempt <= attempt).map(|(r, _)| r).collect();
        for r in old {
            self.unacked.remove(r);
            self.failed.remove(r);
        }
    }
    /// Parts of a grant that are new here. What runs or waits for its ack is not begun again, unless it failed and this is
    /// another attempt: then the steward knew before its ack was here.
    pub fn takes(&mut self, range: Range, attempt: u64) -> Vec<Range> {
        for r in self.failed.overlapping(range).collect::<Vec<_>>() {
            self.acked(r, attempt.saturating_sub(1));
        }
        let free = self.running.gaps(range);
        free.into_iter().flat_map(|r| self.unacked.gaps(r)).collect()
    }
    /// The process stood still: nothing that was queued starts before a steward was heard (P8).
    pub fn stood_still(&mut self, now: Timestamp) {
        if !self.queue.is_empty() {
            self.listening = Some(now);
            self.lease_until = now;
        }
    }
    /// The lease goes on, counted from when the heartbeat or claim behind it was sent.
    pub fn renew(&mut self, sent: Timestamp, lease: Span) {
        if self.queue.is_empty() {
            self.listening = None;
        }
        if self.listening.is_none() {
            self.lease_until = self.lease_until.max(sent + lease);
        }
    }
    /// A steward answered a heartbeat that was sent then: what it does not take back is still this node's.
    pub fn heard_steward(&mut self, sent: Timestamp) {
        if self.listening.is_some_and(|since| sent >= since) {
            self.listening = None;
        }
    }
    pub fn held_runs(&self) -> usize {
        self.queue.run_count() + self.running.run_count() + self.unacked.run_count()
    }
    /// Everything held, as runs.
    pub fn held(&self) -> Vec<LeaseRun> {
        let mut all = self.queue.clone();
        for (r, tag) in self.running.iter().chain(self.unacked.iter()) {
            all.insert(r, *tag);
        }
        all.iter().map(|(r, tag)| lease_run(r, *tag)).collect()
    }
}

/// What the steward knows of one worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerLease {
    pub expires: Timestamp,
    /// Grants whose arrival the worker has not confirmed.
    pub pending: BTreeMap<u64, (Vec<Range>, Timestamp)>,
    /// Gifts to it that it has not listed yet, and until when it must.
    pub incoming: Vec<(Range, Timestamp)>,
    pub running: RangeSet,
    pub given_seen: u64,
    /// The victim's process that `given_seen` counts for.
    pub boot: u64,
}

/// The job as its steward sees it. Soft state: any replica can rebuild it (P7).
#[derive(Clone, Debug)]
pub(crate) struct Steward {
    pub epoch: Epoch,
    /// Grants only from here on.
    pub granting: bool,
    /// The round record is on disk.
    pub durable: bool,
    pub grace_over: bool,
    /// Ready, not done, not leased.
    pub pool: RangeSet,
    /// Who holds what.
    pub leased: Leases,
    /// Parts of divided tasks.
    pub bags: BagLeases,
    pub workers: BTreeMap<NodeId, WorkerLease>,
    /// Grants of this epoch per task; absent: none.
    pub tries: RangeMap<u32>,
    /// Grants of this epoch.
    pub next_grant: u64,
    pub seq: u64,
    /// Second attempts at what straggles.
    pub copies: Copies,
}

/// A submit that waits for its copies (P3).
#[derive(Clone, Debug)]
pub(crate) struct Submission {
    pub clients: Vec<ClientId>,
    pub want: u8,
    pub why: String,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub id: JobId,
    pub signed: Arc<SignedManifest>,
    pub manifest: Arc<Manifest>,
    /// What a node must offer to run any of it.
    pub needs: Vec<String>,
    pub role: Role,
    pub fold: Fold,
    /// How long its tasks take.
    pub pace: Pace,
    /// R: the manifest's, then those added.
    pub replicas: Vec<NodeId>,
    /// The manifest record is on its way to the disk or there.
    pub recorded: bool,
    /// Manifest and closure are durably here.
    pub held: bool,
    /// Its disk says that it is a holder, also while inputs that were lost are fetched again: what it says is never started over.
    pub kept: bool,
    pub fetching: bool,
    /// How often in a row the closure could not be had.
    pub starved: u32,
    /// Who else holds it, in which store (P3).
    pub holders: BTreeMap<NodeId, StoreId>,
    /// Whom `Held` must be told once it is true.
    pub tell_held: BTreeSet<NodeId>,
    /// When this node was last asked to keep it.
    pub invited: Timestamp,
    pub state: JobState,

    /// Whom this node believes to be the steward, and that one's epoch.
    pub steward_id: NodeId,
    /// That one showed that it does not hold the office: it restarted, or asked this node for work as if this were the steward.
    pub vacant: bool,
    pub epoch: Epoch,
    pub round: u32,
    pub steward: Option<Steward>,
    pub work: Work,

    pub outbox: BTreeMap<FactId, OutPack>,
    /// Owner: stores known to hold a pack that is not pinned.
    pub copies: BTreeMap<FactId, BTreeMap<NodeId, StoreId>>,
    pub pin_in_flight: bool,
    pub pinnable: BTreeSet<FactId>,
    /// Owner: pins of its own that it has forgotten.
    pub earlier: Earlier,
    /// Owner: facts about divided tasks that fewer than r stores are known to hold.
    pub thin: BTreeMap<FactId, BTreeMap<NodeId, StoreId>>,
    /// Owner: facts with the whole of a divided task, and which of those that it rests on are still thin.
    pub rests_on: BTreeMap<FactId, BTreeSet<FactId>>,
    /// When a copy of an unpinned pack was last heard of.
    pub last_copy: Timestamp,
    /// Since when fewer than r replicas are alive.
    pub short_since: Option<Timestamp>,
    /// Since when fewer than k holders are alive.
    pub thin_since: Option<Timestamp>,

    /// Delivered packs whose row in the outbox found the disk full when it was to go.
    pub delivered: BTreeSet<FactId>,
    /// When somebody was last asked what has become of packs that nobody acks.
    pub probed: Option<Timestamp>,
    /// Answers in a row that the job is unknown, to a node that does not keep it itself.
    pub strayed: u32,
    /// Nothing is asked or said about it before.
    pub quiet_until: Timestamp,
    /// Rounds of packs in a row that nobody acked.
    pub unheard: u32,
    /// Facts that came before the job itself was kept here; looked at again once it is.
    pub early: Vec<(NodeId, SignedFact)>,
    /// Facts on their way through fetch and commit.
    pub in_flight: BTreeSet<FactId>,
    /// Facts whose blobs are gone from the own disk.
    pub bare: Bare,
    /// Replicas known to hold exactly the same facts.
    pub settled: BTreeSet<NodeId>,
    /// Members of R that answered a digest with none: they do not keep the job, nothing is to be compared with them.
    pub strangers: BTreeSet<NodeId>,
    pub submission: Option<Submission>,
    /// The last summary heard, for views of nodes that are not the steward.
    pub heard: Option<Summary>,
    /// A helper was told that the job is over.
    pub over: bool,
}

/// What a node must offer to run any task of the job.
pub(crate) fn needs(manifest: &Manifest) -> Vec<String> {
    use filch_types::manifest::Program;
    let mut out = BTreeSet::new();
    for g in &manifest.spec.groups {
        out.insert(match &g.program {
            Program::Command { .. } => "command".to_owned(),
            Program::Handler { name, .. } => format!("handler:{name}"),
            Program::Divisible { name, .. } => format!("divisible:{name}"),
        });
        out.extend(g.resources.iter().filter(|(n, _)| n != "cpus").map(|(n, _)| n.clone()));
    }
    out.into_iter().collect()
}

impl Job {
    pub fn new(id: JobId, signed: SignedManifest, manifest: Manifest) -> Self {
        let fold = Fold::new(&manifest.spec);
        let steward_id = manifest.owner;
        Self {
            id,
            signed: Arc::new(signed),
            needs: needs(&manifest),
            role: Role::Hearsay,
            replicas: manifest.replicas.clone(),
            manifest: Arc::new(manifest),
            fold,
            pace: Pace::default(),
            recorded: false,
            held: false,
            kept: false,
            fetching: false,
            starved: 0,
            holders: BTreeMap::new(),
            tell_held: BTreeSet::new(),
            invited: Timestamp::default(),
            state: JobState::Active,
            steward_id,
            vacant: false,
            epoch: Epoch::FIRST,
            round: 0,
            steward: None,
            work: Work::default(),
            outbox: BTreeMap::new(),
            copies: BTreeMap::new(),
            pin_in_flight: false,
            pinnable: BTreeSet::new(),
            earlier: Earlier::default(),
            thin: BTreeMap::new(),
            rests_on: BTreeMap::new(),
            last_copy: Timestamp::default(),
            short_since: None,
            thin_since: None,
            delivered: BTreeSet::new(),
            probed: None,
            strayed: 0,
            quiet_until: Timestamp::default(),
            unheard: 0,
            early: Vec::new(),
            in_flight: BTreeSet::new(),
            bare: Bare::default(),
            settled: BTreeSet::new(),
            strangers: BTreeSet::new(),
            submission: None,
            heard: None,
            over: false,
        }
    }

    /// The state as the fold says it. A helper's says nothing of the end: it knows its own results only, and everybody who took them may
    /// have lost them. A cancel that came once everything had ended changes nothing.
    pub fn folded_state(&self) -> JobState {
        if self.fold.deleted() {
            JobState::Deleted
        } else if self.role == Role::Hearsay {
            if self.fold.cancelled() { JobState::Cancelled } else { JobState::Active }
        } else if self.fold.complete() {
            let well = self.fold.failed() == 0 && self.fold.skipped().is_empty();
            if well { JobState::Succeeded } else { JobState::Failed }
        } else if self.fold.cancelled() {
            JobState::Cancelled
        } else {
            JobState::Active
        }
    }

    /// A member of R has no facts but those that are here.
    pub fn compared(&mut self, with: NodeId) {
        if self.replicas.contains(&with) || self.earlier.asked(&with) {
            self.earlier.heard(with);
        }
    }

    /// Copies of a result that make it visible.
    pub fn r(&self) -> usize {
        usize::from(self.manifest.r).clamp(1, self.replicas.len().max(1))
    }

    /// Recomputes R after `AddReplica` facts.
    pub fn refresh_replicas(&mut self) {
        let mut all = self.manifest.replicas.clone();
        for n in self.fold.added() {
            if !all.contains(&n) && all.len() < filch_types::limits::MAX_REPLICAS {
                all.push(n);
            }
        }
        self.replicas = all;
    }
}
