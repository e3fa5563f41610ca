//! Bytes that are gone from this node's own disk: damaged, found so by a read, and dropped by the store (P4).
//!
//! Inputs are fetched again, and until then this node is no holder. Blobs that results name are fetched from the other members of R. If
//! nobody has them, the fact goes, as if it had never been here: losing the bytes loses "done", and the task runs again. If another member
//! finds the bytes after all, the fact comes back by anti-entropy. What is final stays: another value must never become so (S5).
//!
//! Rows of the ledger rot, too. A fact whose row is gone is not told, listed or counted any more, so anti-entropy fetches it as one that
//! was never here; what it said stays in force meanwhile, since a cancel, a pin or a member that was forgotten for a moment would do harm.
//! Results that nobody else has go as those without bytes do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use filch_types::fact::{FactBody, SignedFact};
use filch_types::ranges::Range;
use filch_types::record::Record;
use filch_types::time::Span;
use filch_types::wire::JobState;
use filch_types::{BlobId, Fact, FactId, JobId, NodeId, Timestamp};

use super::fold::Fold;
use super::job::Job;
use super::{Node, Then, Timer};
use crate::Mutant;
use crate::io::{Event, FetchId, Output};
use crate::view::Role;

/// Facts of a job without their blobs that are kept in mind; more are found again by the next read.
const MAX_BARE: usize = 4096;
/// Facts whose blobs are fetched together.
const MAX_MENDED: usize = 64;
/// Rounds without success before a fact is given up.
const PATIENCE: u32 = 3;
/// Doublings of the pause between rounds, for what is final and nobody has.
const MAX_DOUBLINGS: u32 = 6;

/// Facts of a job that are here without their blobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bare {
    /// Which blobs of which facts, with lengths.
    facts: BTreeMap<FactId, Vec<(BlobId, u64)>>,
    /// Those whose blobs are being fetched now.
    mending: Option<(FetchId, Vec<FactId>)>,
    /// Rounds in a row without success.
    rounds: u32,
    next: Timestamp,
    /// Being dropped: the ledger is told, then the fold is made again from what is left there.
    going: BTreeSet<FactId>,
    /// Pins on their way to the disk: what they name is final as soon as they are there.
    pins: BTreeSet<FactId>,
    /// Facts that became durable while all facts are being read.
    meanwhile: Option<Vec<(FactId, Arc<Fact>)>>,
    /// Facts whose rows are gone from the ledger.
    rows: BTreeSet<FactId>,
    /// Members asked for them in a row, without success.
    asked: u32,
    ask_next: Timestamp,
    /// Rows were damaged after the reading that is under way may have begun.
    suspect: bool,
}

impl Bare {
    /// Whether the fact is here and its bytes are not: this node is no holder of it.
    pub fn has(&self, id: &FactId) -> bool {
        self.facts.contains_key(id)
    }
    fn open(&self) -> impl Iterator<Item = (&FactId, &Vec<(BlobId, u64)>)> {
        self.facts.iter().filter(|(f, _)| !self.going.contains(*f))
    }
    /// Whether the fact is on its way out.
    pub fn is_going(&self, id: &FactId) -> bool {
        self.going.contains(id)
    }
    /// Whether nothing may rest on the fact: its row is gone, or it goes.
    pub fn is_shaky(&self, id: &FactId) -> bool {
        self.is_going(id) || self.rows.contains(id)
    }
    /// A fact is on its way to the disk.
    pub fn coming(&mut self, id: FactId, fact: &Fact) {
        if matches!(fact.body, FactBody::Pin(_)) {
            self.pins.insert(id);
        }
    }
    /// Whether a pin is on its way to the disk.
    pub fn pins_come(&self) -> bool {
        !self.pins.is_empty()
    }
    /// It is not any more.
    pub fn came(&mut self, id: &FactId) {
        self.pins.remove(id);
    }
    /// A fact is durable: it must not be missing in a fold that is being made from an older reading of the ledger.
    pub fn durable(&mut self, id: FactId, fact: &Arc<Fact>) {
        if self.rows.remove(&id) {
            self.asked = 0;
        }
        if let Some(list) = &mut self.meanwhile {
            list.push((id, fact.clone()));
        }
    }
}

impl Node {
    /// An input blob of the job is gone.
    pub(super) fn on_closure_lost(&mut self, id: JobId) {
        let me = self.id;
        // A helper fetches what it needs when it needs it.
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.role == Role::Replica) else { return };
        job.held = false;
        job.fetching = false;
        job.holders.remove(&me);
        job.settled.clear();
        self.live.insert(id);
        self.fetch_closure(id);
    }

    /// Blobs that these facts name are gone.
    pub(super) fn on_results_lost(&mut self, id: JobId, lost: Vec<(FactId, Vec<(BlobId, u64)>)>) {
        let me = self.id;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        for (fact, blobs) in lost {
            // Who only reads along never had them.
            let mine = job.role == Role::Replica || job.outbox.contains_key(&fact);
            let new = !job.bare.is_shaky(&fact) && job.bare.facts.len() < MAX_BARE;
            if !mine || !new || job.fold.pack(&fact).is_none() {
                continue;
            }
            job.bare.facts.insert(fact, blobs);
            job.copies.get_mut(&fact).map(|c| c.remove(&me));
            job.thin.get_mut(&fact).map(|c| c.remove(&me));
        }
        self.mend(id);
    }

    /// Fetches what is gone from whoever else keeps the job.
    pub(super) fn mend(&mut self, id: JobId) {
        let (me, now) = (self.id, self.now);
        let Some(job) = self.jobs.get(&id) else { return };
        let some: Vec<FactId> = job.bare.open().map(|(f, _)| *f).take(MAX_MENDED).collect();
        if some.is_empty() || job.bare.mending.is_some() {
            return;
        }
        if now < job.bare.next {
            return self.timers.sooner(Timer::Resend(id), job.bare.next);
        }
        let blobs: BTreeSet<(BlobId, u64)> =
            job.bare.open().take(MAX_MENDED).flat_map(|(_, blobs)| blobs.iter().copied()).collect();
        let from: Vec<NodeId> = job.replicas.iter().copied().filter(|r| *r != me && self.alive(*r)).collect();
        let fetch = FetchId(self.fresh());
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.bare.mending = Some((fetch, some));
        self.mends.insert(fetch, id);
        self.emit(Output::FetchBlobs { fetch, job: id, blobs: blobs.into_iter().collect(), from });
    }

    /// A round of mending ended. False if the fetch was for something else.
    pub(super) fn mended(&mut self, fetch: FetchId, here: bool) -> bool {
        let Some(id) = self.mends.remove(&fetch) else { return false };
        let (me, store, now, resend) = (self.id, self.cfg.store, self.now, self.cfg.timing.resend.0);
        let Some(job) = self.jobs.get_mut(&id) else { return true };
        let owner = job.manifest.owner == me;
        let bare = &mut job.bare;
        // The job may have been started over meanwhile.
        let Some((_, facts)) = bare.mending.take_if(|(f, _)| *f == fetch) else { return true };
        if here {
            bare.rounds = 0;
            facts.iter().for_each(|f| drop(bare.facts.remove(f)));
            for f in facts.into_iter().filter(|_| owner) {
                self.copy_known(id, f, me, store);
            }
            self.mend(id);
            self.try_pin(id);
            return true;
        }
        bare.rounds = bare.rounds.saturating_add(1);
        let pause = Span(resend << (bare.rounds - 1).min(MAX_DOUBLINGS));
        bare.next = now + pause;
        self.timers.sooner(Timer::Resend(id), now + pause);
        if self.jobs.get(&id).is_some_and(|j| j.bare.rounds >= PATIENCE) {
            self.give_up(id);
        }
        true
    }

    /// Nobody has the bytes: facts that are not final go.
    fn give_up(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        if !job.bare.pins.is_empty() {
            // The next round knows what they make final.
            return;
        }
        let open = job.bare.open().map(|(f, _)| f);
        let going: Vec<FactId> = open.filter(|f| !is_final(job, f)).take(MAX_MENDED).copied().collect();
        self.let_go(id, going);
    }

    /// These facts go from the ledger, then from the fold.
    pub(super) fn let_go(&mut self, id: JobId, mut going: Vec<FactId>) {
        let Some(job) = self.jobs.get(&id).filter(|j| j.bare.meanwhile.is_none() && j.bare.going.is_empty()) else {
            return;
        };
        let read = job.role == Role::Observer;
        going.retain(|f| !read || !job.outbox.contains_key(f));
        if going.is_empty() {
            return;
        }
        going.iter().for_each(|f| self.unacked_done(id, f));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.bare.going.extend(&going);
        let records = going.iter().map(|f| Record::Lost(id, *f)).collect();
        self.commit(Vec::new(), records, Then::Lost(id));
    }

    /// The ledger has them no more: the fold is made again from what it has.
    pub(super) fn facts_lost(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.bare.meanwhile = Some(Vec::new());
        self.emit(Output::ReadFacts(id));
    }

    /// The disk was full: tried again with the next round.
    pub(super) fn lose_failed(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.bare.going.clear();
        self.timers.sooner(Timer::Resend(id), self.now + self.cfg.timing.resend);
        if std::mem::take(&mut job.bare.suspect) {
            self.on_rows_lost(id);
        }
    }

    /// Rows of the job in the ledger were damaged and are dropped: which, shows a comparison.
    pub(super) fn on_rows_lost(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.bare.meanwhile.is_some() || !job.bare.going.is_empty() {
            job.bare.suspect = true;
            return;
        }
        self.facts_lost(id);
    }

    /// These facts are not in the ledger any more.
    fn rows_gone(&mut self, id: JobId, gone: BTreeSet<FactId>) {
        if self.planted(Mutant::RottenRowsListed) {
            return;
        }
        let me = self.id;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        for f in &gone {
            job.fold.hide(f);
            job.bare.facts.remove(f);
            job.copies.get_mut(f).map(|c| c.remove(&me));
            job.thin.get_mut(f).map(|c| c.remove(&me));
            job.outbox.get_mut(f).map(|out| out.acked.remove(&me));
        }
        job.bare.rows.extend(gone);
        job.bare.asked = 0;
        job.settled.clear();
        self.live.insert(id);
        self.timers.sooner(Timer::AntiEntropy(id), self.now);
    }

    /// Asks the others of R in turn for facts whose rows are gone; results that none of them has go.
    pub(super) fn seek_rows(&mut self, id: JobId) {
        let (me, now, resend) = (self.id, self.now, self.cfg.timing.resend.0);
        let Some(job) = self.jobs.get(&id).filter(|j| !j.bare.rows.is_empty()) else { return };
        if now < job.bare.ask_next {
            return self.timers.sooner(Timer::Resend(id), job.bare.ask_next);
        }
        let keeps = job.role == Role::Replica && job.held;
        // Who only helped compares with nobody, and owes the results: the tasks run again elsewhere.
        let others = job.replicas.iter().copied().filter(|r| keeps && *r != me && self.alive(*r));
        let others: Vec<NodeId> = others.collect();
        let patience = if keeps { PATIENCE.max(others.len() as u32) } else { 0 };
        let asked = job.bare.asked;
        let give_up = asked >= patience && job.role != Role::Observer;
        let goes = |f: &&FactId| job.fold.pack(f).is_some() && !job.in_flight.contains(*f) && !is_final(job, f);
        let going: Vec<FactId> =
            job.bare.rows.iter().filter(|f| give_up && goes(f)).take(MAX_MENDED).copied().collect();
        if let Some(p) = others.get(asked as usize % others.len().max(1)) {
            self.compare_with(*p, id);
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.bare.asked = asked.saturating_add(1);
        job.bare.ask_next = now + Span(resend << asked.saturating_sub(patience).min(MAX_DOUBLINGS));
        self.timers.sooner(Timer::Resend(id), job.bare.ask_next);
        self.let_go(id, going);
    }

    /// All that the ledger has of the job.
    pub(super) fn on_facts_read(&mut self, id: JobId, facts: Vec<(FactId, SignedFact)>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(meanwhile) = job.bare.meanwhile.take() else { return };
        let gone = std::mem::take(&mut job.bare.going);
        let suspect = std::mem::take(&mut job.bare.suspect);
        let there: BTreeSet<FactId> = facts.iter().map(|(f, _)| *f).chain(meanwhile.iter().map(|(f, _)| *f)).collect();
        let missing: BTreeSet<FactId> =
            job.fold.ids().filter(|f| !there.contains(f) && !gone.contains(f)).copied().collect();
        if !missing.is_empty() {
            self.rows_gone(id, missing);
        }
        if !gone.is_empty() {
            let facts = facts.into_iter().filter_map(|(f, signed)| Some((f, Arc::new(signed.decode().ok()?))));
            self.fold_again(id, &gone, facts.chain(meanwhile).filter(|(f, _)| !gone.contains(f)));
        }
        self.mend(id);
        self.seek_rows(id);
        if suspect {
            self.on_rows_lost(id);
        }
    }

    /// Makes the fold from these facts, without those that are gone.
    fn fold_again(&mut self, id: JobId, gone: &BTreeSet<FactId>, facts: impl Iterator<Item = (FactId, Arc<Fact>)>) {
        let (me, store) = (self.id, self.cfg.store);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let mut fold = Fold::new(&job.manifest.spec);
        facts.for_each(|(f, fact)| drop(fold.apply(f, &fact)));
        job.bare.rows.retain(|f| !gone.contains(f));
        if !job.bare.rows.is_empty() {
            fold.carry(&job.fold);
        }
        job.fold = fold;
        job.settled.clear();
        for f in gone {
            job.bare.facts.remove(f);
            job.outbox.remove(f);
            job.copies.remove(f);
            job.pinnable.remove(f);
            job.thin.remove(f);
        }
        job.rests_on.clear();
        job.refresh_replicas();
        let packs: Vec<FactId> = job.fold.packs().copied().filter(|p| !job.bare.facts.contains_key(p)).collect();
        let (owner, in_office) = (job.manifest.owner == me, job.steward.is_some());
        if owner {
            for p in packs {
                self.bags_here(id, p);
                self.copy_known(id, p, me, store);
            }
            self.divided_done_before(id);
        }
        if in_office {
            // Who has what of it is to be learned anew, as by a new steward.
            self.step_down(id);
            self.vacate(id, me);
        }
        self.live.insert(id);
        self.timers.sooner(Timer::AntiEntropy(id), self.now);
        self.event(Event::ResultsLost { job: id, packs: gone.len() as u32 });
        self.refresh_state(id, false);
        self.choose_steward(id);
        if self.jobs.get(&id).is_some_and(|j| j.state == JobState::Active) {
            self.set_runnable(id, true);
        }
    }
}

/// Whether something that the fact says is final: it is pinned; of parts of divided tasks that is known of the whole job only.
fn is_final(job: &Job, fact: &FactId) -> bool {
    let Some(info) = job.fold.pack(fact) else { return false };
    if info.bags {
        let all = Range::new(0, job.fold.total());
        return job.fold.pins().gaps(all).is_empty();
    }
    info.runs.iter().any(|(r, _)| job.fold.pins().overlapping(*r).any(|(_, p)| p == fact))
}
