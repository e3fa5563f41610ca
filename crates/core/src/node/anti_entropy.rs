//! Anti-entropy among the replicas of a job: merge is union (P10), absence means nothing (P11).

use std::collections::BTreeSet;

use filch_types::limits::MAX_BUCKET_BITS;
use filch_types::wire::{JobState, Message, Refusal, Request, Response};
use filch_types::{FactId, JobId, NodeId, SignedFact, SignedManifest};

use super::fact_set::bits_of;
use super::job::Job;
use super::{Asked, Node, Timer};
use crate::Mutant;
use crate::io::{Event, Output, Token};
use crate::view::Role;

/// Fact ids of one answer, and facts asked for at once: a frame holds most facts of that many ids.
const MAX_IDS: usize = 1024;
/// Facts pushed at once.
const MAX_PUSH: usize = 512;
/// A sweep that brought so many facts and left some out is followed by another at once.
const WORTH: usize = 16;

/// One question of a comparison with a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    pub job: JobId,
    /// Of the numbers of its buckets.
    bits: u32,
    /// What was here when the sweep began: an answer says nothing of what came since.
    own: (u32, FactId),
    /// The first bucket asked for.
    from: u16,
    /// In earlier buckets the peer has facts that are not here yet.
    lacks: bool,
    /// And some that were not even shown.
    unheard: bool,
    /// Facts that this sweep has brought.
    taken: usize,
    /// Some were asked for and not taken: they did not fit a frame, or are pins whose packs come later (P4).
    left: bool,
}

/// A call for facts, as a step of a sweep over all buckets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pull {
    at: Comparison,
    asked: usize,
    /// The bucket from where it goes on.
    next: Option<u16>,
}

/// The facts here that are in these buckets.
fn in_buckets<'a>(job: &'a Job, buckets: &'a [u16], bits: u32) -> impl Iterator<Item = FactId> + 'a {
    buckets.iter().filter(move |b| *b >> bits == 0).flat_map(move |b| job.fold.facts().bucket(*b, bits))
}

impl Node {
    pub(super) fn on_anti_entropy_timer(&mut self, id: JobId) {
        let me = self.id;
        if self.planted(Mutant::NoAntiEntropy) {
            return;
        }
        let Some(job) = self.jobs.get(&id) else { return };
        if job.role == Role::Hearsay {
            return;
        }
        if self.now < job.quiet_until {
            return self.timers.set(Timer::AntiEntropy(id), job.quiet_until);
        }
        if job.role == Role::Replica && !job.held {
            self.timers.set(Timer::AntiEntropy(id), self.now + self.cfg.timing.anti_entropy);
            return self.decline(id);
        }
        let mut others: Vec<NodeId> =
            job.replicas.iter().copied().filter(|r| *r != me && self.alive(*r) && !job.settled.contains(r)).collect();
        let active = job.state == JobState::Active;
        let busy = active
            || !others.is_empty()
            || !job.outbox.is_empty()
            || !job.pinnable.is_empty()
            || !job.copies.is_empty()
            || !job.held;
        let settled = others.is_empty();
        let observer = job.role == Role::Observer;
        let strayed = job.strayed as usize;
        // A member that does not know the job says nothing of its end: others of R may, whom this reader agreed with before it.
        let astray = observer && strayed > 0;
        if astray || settled && (active || observer) {
            others = job.replicas.iter().copied().filter(|r| *r != me && self.alive(*r)).collect();
        }
        if astray {
            // They may have lost it, too; whoever helped may know.
            let members: BTreeSet<NodeId> = others.iter().copied().collect();
            others.extend(self.usable_peers().into_iter().filter(|p| !members.contains(p)));
        }
        let n = if astray && !others.is_empty() {
            strayed % others.len()
        } else if observer && others.is_empty() {
            // All of R are gone. Whoever helped may have heard that the job was deleted: they are asked in turn.
            others = self.usable_peers();
            strayed % others.len().max(1)
        } else {
            self.below(others.len())
        };
        if let Some(p) = others.get(n).copied() {
            self.compare_with(p, id);
        }
        if busy && (active || !observer) {
            let again = if observer { self.cfg.timing.beat } else { self.cfg.timing.anti_entropy };
            self.timers.set(Timer::AntiEntropy(id), self.now + again);
        } else if observer {
            // Nobody tells an observer that the job was deleted: it asks, seldom.
            let t = &self.cfg.timing;
            let again = if settled { filch_types::time::Span(6 * t.idle_beat.0) } else { t.anti_entropy };
            self.timers.set(Timer::AntiEntropy(id), self.now + again);
        } else {
            self.live.remove(&id);
        }
    }

    /// Asks which facts `p` has of the job: the start of a sweep.
    pub(super) fn compare_with(&mut self, p: NodeId, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (bits, own) = (job.fold.facts().bits(), job.fold.digest());
        let start = Comparison { job: id, bits, own, from: 0, lacks: false, unheard: false, taken: 0, left: false };
        self.compare(p, start);
    }

    fn compare(&mut self, p: NodeId, c: Comparison) {
        let Some(job) = self.jobs.get(&c.job) else { return };
        let (buckets, keeps) = (job.fold.facts().buckets(c.bits), job.role == Role::Replica);
        self.ask(p, Request::Digest { job: c.job, buckets, from: c.from, keeps }, Asked::Digest(c));
    }

    /// Goes on with a sweep. Regular rounds wait for it; should it break off, they come.
    fn sweep_on(&mut self, p: NodeId, c: Comparison, next: Option<u16>) {
        let now = self.now;
        match next {
            Some(from) => {
                self.timers.set(Timer::AntiEntropy(c.job), now + self.cfg.timing.anti_entropy);
                self.compare(p, Comparison { from, ..c });
            }
            None if c.left && c.taken >= WORTH => {
                self.timers.sooner(Timer::AntiEntropy(c.job), now + self.cfg.timing.quiet_min);
            }
            None => {}
        }
    }

    pub(super) fn on_pulled(&mut self, from: NodeId, pull: Pull, facts: Vec<SignedFact>) {
        let Pull { at: mut c, asked, next } = pull;
        if !self.jobs.contains_key(&c.job) {
            return;
        }
        let came = facts.len();
        let taken = self.on_facts(from, facts);
        c.taken += taken;
        c.left |= came < asked || taken < came;
        self.sweep_on(from, c, next);
    }

    pub(super) fn on_digest(
        &mut self,
        from: NodeId,
        token: Token,
        id: JobId,
        buckets: Vec<u64>,
        first: u16,
        keeps: bool,
    ) {
        if let Some(job) = self.jobs.get_mut(&id).filter(|_| keeps) {
            // It may have said the contrary before it was asked to keep the job again.
            job.strangers.remove(&from);
        }
        if let Some(tomb) = self.tombstones.get(&id).cloned() {
            self.refuse(token, Refusal::UnknownJob);
            return self.emit(Output::Send(from, Message::Facts(vec![tomb])));
        }
        // A member of R that does not keep the job (its disk went back to before it did) has to be asked again.
        let kept = self.jobs.get(&id).filter(|j| j.role == Role::Replica);
        let (Some(job), Some(bits)) = (kept, bits_of(buckets.len())) else {
            if self.planted(Mutant::DeleteByAbsence) {
                let all = (0..buckets.len().min(1 << MAX_BUCKET_BITS) as u16).collect();
                return self.respond(token, Response::FactIds { buckets: all, facts: vec![], more: false });
            }
            return self.refuse(token, Refusal::UnknownJob);
        };
        let own = job.fold.facts().buckets(bits);
        let (mut covered, mut facts, mut more) = (Vec::new(), Vec::new(), false);
        let differ = (0u16..).zip(own.iter().zip(&buckets)).filter(|(_, (own, theirs))| own != theirs).map(|(b, _)| b);
        for b in differ.skip_while(|b| *b < first) {
            let ids: Vec<FactId> = job.fold.facts().bucket(b, bits).collect();
            if facts.len() + ids.len() > MAX_IDS && !covered.is_empty() {
                more = true;
                break;
            }
            covered.push(b);
            facts.extend(ids.into_iter().take(MAX_IDS));
        }
        self.respond(token, Response::FactIds { buckets: covered, facts, more });
    }

    /// What a peer has in the buckets that differ: pull what is missing here, push what is missing there.
    pub(super) fn on_fact_ids(
        &mut self,
        from: NodeId,
        c: Comparison,
        buckets: Vec<u16>,
        facts: Vec<FactId>,
        more: bool,
    ) {
        let (me, id) = (self.id, c.job);
        let next =
            buckets.iter().max().map(|b| b.saturating_add(1)).filter(|b| more && *b > c.from && b >> c.bits == 0);
        let theirs: BTreeSet<FactId> = facts.into_iter().collect();
        self.known_there(id);
        let drop = self.planted(Mutant::DeleteByAbsence) || self.planted(Mutant::LastWriterWins);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.role == Role::Replica && !job.held {
            // It asked whether the job is over. Facts are kept once the job itself is (P1).
            return;
        }
        let missing: Vec<FactId> =
            theirs.iter().filter(|f| !job.fold.has(f) && !job.in_flight.contains(f)).copied().take(MAX_IDS).collect();
        let extra = || in_buckets(job, &buckets, c.bits).filter(|f| !theirs.contains(f));
        let pack = |f: &FactId| job.fold.pack(f).is_some();
        // Packs first: a pin is only kept next to them (P4).
        let extra: Vec<FactId> = extra().filter(pack).chain(extra().filter(|f| !pack(f))).take(MAX_PUSH).collect();
        if drop && !extra.is_empty() && theirs.len() > extra.len() {
            let manifest = job.manifest.clone();
            job.fold = super::fold::Fold::new(&manifest.spec);
        }
        let lacks = c.lacks || !theirs.iter().all(|f| job.fold.has(f));
        let unheard = c.unheard || !theirs.iter().all(|f| job.fold.has(f) || job.earlier.was_shown(f));
        if !more && !lacks {
            job.earlier.agrees(from);
        }
        if !more && !unheard {
            job.compared(from);
        }
        // A reader's facts may outlive every replica that had them: then they count for nothing (P4), and there is work again.
        let ended = matches!(job.state, JobState::Succeeded | JobState::Failed);
        let grants = job.heard.as_ref().is_some_and(|h| h.state == JobState::Active && h.grantable > 0);
        let reader = job.role == Role::Observer && job.manifest.owner != me;
        if reader && ended && grants && from == job.steward_id && !extra.is_empty() {
            return self.let_go(id, extra);
        }
        let replica = job.role == Role::Replica && job.replicas.contains(&from);
        if c.from == 0 && buckets.is_empty() && missing.is_empty() && job.fold.digest() == c.own {
            job.settled.insert(from);
            self.copies_listed(id, from, None);
        } else {
            self.copies_listed(id, from, Some(&theirs));
        }
        if replica && !extra.is_empty() {
            self.emit(Output::SendFacts(from, id, extra));
        }
        let at = Comparison { lacks, unheard, ..c };
        if missing.is_empty() {
            return self.sweep_on(from, at, next);
        }
        let pull = Pull { at, asked: missing.len(), next };
        self.ask(from, Request::GetFacts { job: id, facts: missing }, Asked::GetFacts(pull));
    }

    /// A member of R does not know the job: its store was wiped, or the call to keep it got lost.
    pub(super) fn replica_lacks(&mut self, p: NodeId, id: JobId) {
        self.unknown_there(id);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.holders.remove(&p);
        job.settled.remove(&p);
        job.earlier.agrees(p);
        let manifest = (*job.signed).clone();
        if job.held && job.replicas.contains(&p) {
            self.ask(p, Request::Replicate(manifest), Asked::Replicate(id));
        }
        self.copies_changed(id);
    }

    /// A client of this node wants to read a job that may not be kept here.
    pub(super) fn on_watch(&mut self, id: JobId) {
        if self.tombstones.contains_key(&id) {
            return;
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            if job.role == Role::Hearsay {
                job.role = Role::Observer;
            }
            if job.role == Role::Observer {
                self.timers.sooner(Timer::AntiEntropy(id), self.now);
            }
            return self.refresh_state(id, false);
        }
        let Some(s) = self.hearsay.get(&id) else { return };
        let whom = s.replicas.iter().copied().find(|r| *r != self.id && self.alive(*r));
        if let Some(p) = whom {
            self.watched.insert(id);
            self.ask(p, Request::Manifest(id), Asked::Manifest(id));
        }
    }

    /// The manifest of a job that this node heard of: to help with it, or to read along.
    pub(super) fn on_manifest(&mut self, from: NodeId, id: JobId, signed: SignedManifest) {
        if self.jobs.contains_key(&id) || self.tombstones.contains_key(&id) {
            return;
        }
        if self.jobs.len() >= filch_types::limits::MAX_JOBS {
            return;
        }
        let manifest = match signed.open(&*self.keys) {
            Ok(m) if signed.job() == id => m,
            Ok(_) => return self.reject(from, "a manifest of another job"),
            Err(e) => return self.reject(from, e.to_string()),
        };
        let mut job = Job::new(id, signed, manifest);
        let me = self.id;
        let watched = self.watched.remove(&id);
        if job.replicas.contains(&me) {
            job.role = Role::Replica;
        } else if watched {
            job.role = Role::Observer;
        }
        if let Some(s) = self.hearsay.remove(&id) {
            job.steward_id = s.steward;
            job.epoch = s.epoch;
            job.heard = Some(s);
        }
        let role = job.role;
        let active = job.heard.as_ref().is_none_or(|h| h.state == JobState::Active);
        self.jobs.insert(id, Box::new(job));
        self.live.insert(id);
        self.event(Event::JobKnown(id));
        if active {
            self.set_runnable(id, true);
        }
        match role {
            Role::Replica => self.resend_replication(id),
            Role::Observer => self.timers.set(Timer::AntiEntropy(id), self.now),
            Role::Hearsay => {}
        }
        self.choose_steward(id);
    }
}
