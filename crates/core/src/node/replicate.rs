//! Copies of jobs: made at submit (P3), kept up by repair (P12), never taken away (P11).

use std::collections::BTreeSet;

use filch_types::fact::FactBody;
use filch_types::time::Span;
use filch_types::wire::{JobState, Message, Refusal, Request, Response};
use filch_types::{JobId, NodeId, SignedManifest, StoreId, limits};

use super::job::{Job, OutPack};
use super::{Asked, Made, Node, Timer};
use crate::io::{Event, Output, Token};
use crate::view::Role;
use crate::{ClientError, Mutant, Reply};

/// Peers asked for a closure that nobody known has.
const MAX_GUESSES: usize = 16;
/// Peers asked whether they are there, before one of them becomes a member of R.
const PROBED: usize = 4;
/// Doublings of the pause between looks for a closure that nobody has.
const MAX_STARVED: u32 = 5;

impl Node {
    /// Whether what the ledger had of the job at start is of no use: this node is no member, and others have all that it did.
    pub(super) fn only_helped(&mut self, id: JobId) -> bool {
        let me = self.id;
        let Some(job) = self.jobs.get_mut(&id) else { return false };
        job.refresh_replicas();
        let member = job.held || job.replicas.contains(&me) || job.manifest.owner == me;
        !member && job.outbox.is_empty() && !job.fold.cancelled()
    }

    /// Takes up a job that the ledger had at start.
    pub(super) fn resume_job(&mut self, id: JobId) {
        let (me, store) = (self.id, self.cfg.store);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.refresh_replicas();
        let member = job.replicas.contains(&me);
        if !job.held && member && job.outbox.is_empty() && job.fold.digest().0 > 0 {
            self.start_over(id);
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.role = if job.held || (member && job.outbox.is_empty()) {
            Role::Replica
        } else if job.outbox.is_empty() {
            Role::Observer
        } else {
            Role::Hearsay
        };
        job.state = job.folded_state();
        // Its disk does not tell whether it had been lost, and pins of before may be elsewhere still.
        if job.manifest.owner == me && job.replicas.len() > 1 {
            job.earlier.may_come(self.now);
        }
        let outbox: Vec<_> = job.outbox.keys().copied().collect();
        for f in outbox {
            let ranges: Vec<_> = job
                .fold
                .pack(&f)
                .map(|p| p.runs.iter().map(|(r, best)| (*r, best.attempt)).collect())
                .unwrap_or_default();
            let mut out = OutPack { ranges, durable: true, ..OutPack::default() };
            if job.role == Role::Replica {
                out.acked.insert(me, store);
            }
            job.outbox.insert(f, out);
        }
        let packs: Vec<_> = job.fold.packs().copied().collect();
        let (owner, held, role, state) = (job.manifest.owner, job.held, job.role, job.state);
        if held {
            job.holders.insert(me, store);
        }
        self.live.insert(id);
        if owner == me {
            for p in packs {
                self.bags_here(id, p);
                self.copy_known(id, p, me, store);
            }
            self.divided_done_before(id);
            self.timers.set(Timer::Lonely(id), self.now + self.cfg.timing.beat);
        }
        if role == Role::Replica {
            if !held {
                self.fetch_closure(id);
            }
            self.timers.set(Timer::AntiEntropy(id), self.now + self.cfg.timing.beat);
            self.timers.set(Timer::Repair(id), self.now + self.cfg.timing.beat);
        }
        if state == JobState::Active {
            self.set_runnable(id, true);
            // Time to hear from a steward that is in office.
            let wait = filch_types::time::Span(2 * self.cfg.timing.down_grace.0);
            self.timers.set(Timer::Elect(id), self.now + wait);
        }
        self.timers.set(Timer::Resend(id), self.now + self.cfg.timing.beat);
    }

    /// Asks the driver for the input closure, from whoever may have it.
    pub(super) fn fetch_closure(&mut self, id: JobId) {
        let me = self.id;
        let Some(job) = self.jobs.get(&id) else { return };
        if job.fetching {
            return;
        }
        let mut from: Vec<NodeId> = job.holders.keys().copied().collect();
        from.extend(job.replicas.iter().copied());
        let mut seen = BTreeSet::from([me]);
        from.retain(|n| seen.insert(*n) && self.alive(*n));
        if from.is_empty() {
            // R may have changed since this node last heard of it: whoever is there is asked.
            from = self.usable_peers();
            from.truncate(MAX_GUESSES);
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.fetching = true;
        let manifest = job.manifest.clone();
        self.emit(Output::FetchClosure { job: id, manifest, from });
    }

    pub(super) fn on_closure_held(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.fetching = false;
        if !job.held {
            self.hold(id);
        }
    }

    pub(super) fn on_closure_failed(&mut self, id: JobId, why: String) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.fetching = false;
        job.starved = job.starved.saturating_add(1);
        if job.manifest.owner == self.id && job.submission.is_some() && !job.held && !job.recorded {
            // The submitter itself lacks an input: nothing was promised, nothing is kept. A job that is on disk may have results
            // and pins already: forgetting it could make a second value final (S5).
            let clients = job.submission.take().map(|s| s.clients).unwrap_or_default();
            let (nonce, want) = (job.manifest.nonce, job.manifest.k);
            self.forget_unaccepted(id, nonce);
            for c in clients {
                let e = ClientError::Copies { have: 0, want, why: why.clone() };
                self.emit(Output::Reply(c, Reply::Refused(e)));
            }
            return;
        }
        let again = self.closure_pause(id);
        self.timers.ensure(Timer::Resend(id), self.now + again);
        self.ask_around(id);
    }

    /// Nobody known has the inputs. The job may have been deleted where this node was not heard of (it was away, and whoever remembers
    /// has restarted since, or is no member of R): peers are asked in turn.
    fn ask_around(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id).filter(|j| j.role == Role::Replica && !j.held) else { return };
        let starved = job.starved as usize;
        // Who does not know by which fact it is a member is known to fewer others.
        let most = if job.replicas.contains(&self.id) { 1 } else { MAX_GUESSES };
        let mut peers = self.usable_peers();
        let first = starved % peers.len().max(1);
        peers.rotate_left(first);
        for p in peers.into_iter().take(most) {
            self.compare_with(p, id);
        }
    }

    /// Pause before a closure is looked for again: twice as long each time that nobody had it, until a replica comes back.
    fn closure_pause(&self, id: JobId) -> Span {
        let starved = self.jobs.get(&id).map_or(0, |j| j.starved);
        Span(self.cfg.timing.resend.0 << starved.saturating_sub(1).min(MAX_STARVED))
    }

    /// A replica is there (again): it may have what this node looks for.
    pub(super) fn look_again(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if !job.held && std::mem::take(&mut job.starved) > 0 {
            self.timers.sooner(Timer::Resend(id), self.now);
        }
    }

    fn forget_unaccepted(&mut self, id: JobId, nonce: filch_types::Nonce) {
        self.nonces.remove(&nonce);
        self.set_runnable(id, false);
        self.jobs.remove(&id);
        self.live.remove(&id);
        self.timers.drop_job(id);
        self.emit(Output::Release(id));
    }

    pub(super) fn on_closure_progress(&mut self, id: JobId, bytes: u64) {
        let Some(job) = self.jobs.get(&id) else { return };
        let owner = job.manifest.owner;
        if owner != self.id {
            self.emit(Output::Send(owner, Message::Fetching { job: id, bytes }));
        }
    }

    /// The disk was full when the job was to be kept.
    pub(super) fn hold_failed(&mut self, id: JobId, why: String) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.recorded = false;
        job.fetching = false;
        let owner = job.manifest.owner;
        if owner == self.id && job.submission.is_some() {
            let clients = job.submission.take().map(|s| s.clients).unwrap_or_default();
            let nonce = job.manifest.nonce;
            self.forget_unaccepted(id, nonce);
            for c in clients {
                self.emit(Output::Reply(c, Reply::Refused(ClientError::DiskFull(why.clone()))));
            }
        } else {
            self.timers.ensure(Timer::Resend(id), self.now + self.cfg.timing.resend);
        }
    }

    pub(super) fn on_replicate(&mut self, from: NodeId, token: Token, signed: SignedManifest) {
        let id = signed.job();
        let (me, now, store, machine) = (self.id, self.now, self.cfg.store, self.cfg.machine);
        if let Some(tomb) = self.tombstones.get(&id).cloned() {
            self.refuse(token, Refusal::Invalid("the job was deleted".into()));
            return self.emit(Output::Send(from, Message::Facts(vec![tomb])));
        }
        // Own packs came with their blobs; anything else may be without.
        let bare = |j: &Job| j.role != Role::Replica && !j.held && j.fold.digest().0 as usize > j.outbox.len();
        if self.jobs.get(&id).map(AsRef::as_ref).is_some_and(bare) {
            // What the asker has is safe with it and comes back from there.
            let owed = |j: &Job| j.outbox.values().any(|o| !o.acked.contains_key(&from));
            if self.jobs.get(&id).map(AsRef::as_ref).is_some_and(owed) {
                return self.refuse(token, Refusal::Limit("packs that are on their way".into()));
            }
            self.start_over(id);
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            let held = job.held;
            if job.manifest.owner == me && !job.kept {
                job.earlier.may_come_still(now);
            }
            job.earlier.asks(from);
            job.tell_held.insert(from);
            job.role = Role::Replica;
            job.invited = self.now;
            self.respond(token, Response::Replicating);
            self.refresh_state(id, false);
            if held {
                self.emit(Output::Send(from, Message::Held { job: id, store, machine }));
            } else {
                self.begin_holding(id);
            }
            return;
        }
        if self.draining {
            return self.refuse(token, Refusal::Draining);
        }
        if self.now < self.disk_full_until {
            return self.refuse(token, Refusal::Full("the disk was full a moment ago".into()));
        }
        if self.jobs.len() >= limits::MAX_JOBS {
            return self.refuse(token, Refusal::Limit("jobs".into()));
        }
        let manifest = match signed.open(&*self.keys) {
            Ok(m) => m,
            Err(e) => {
                self.reject(from, e.to_string());
                return self.refuse(token, Refusal::Invalid(e.to_string()));
            }
        };
        let mut job = Job::new(id, signed, manifest);
        job.role = Role::Replica;
        job.invited = self.now;
        if job.manifest.owner == me {
            job.earlier.may_come(now);
        }
        job.earlier.asks(from);
        job.tell_held.insert(from);
        job.heard = self.hearsay.remove(&id);
        self.jobs.insert(id, Box::new(job));
        self.live.insert(id);
        self.event(Event::JobKnown(id));
        self.respond(token, Response::Replicating);
        self.begin_holding(id);
    }

    /// Facts that were stored while this node only read along came without their blobs: they are no basis for a copy (P4).
    pub(super) fn start_over(&mut self, id: JobId) {
        let owed: Vec<_> = self.jobs.get(&id).into_iter().flat_map(|j| j.outbox.keys().copied()).collect();
        owed.iter().for_each(|pack| self.unacked_done(id, pack));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.fold = super::fold::Fold::new(&job.manifest.spec);
        job.state = job.folded_state();
        job.kept = false;
        job.outbox.clear();
        job.in_flight.clear();
        job.settled.clear();
        job.bare = Default::default();
        job.recorded = false;
        self.commit(Vec::new(), vec![filch_types::record::Record::Drop(id)], super::Then::Nothing);
    }

    pub(super) fn begin_holding(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        // From now on it matters whether the others of R live: the next idle probe may be long off.
        let others: Vec<NodeId> = job.replicas.iter().copied().filter(|r| *r != self.id).collect();
        others.into_iter().for_each(|r| self.timers.sooner(Timer::Beat(r), self.now + self.cfg.timing.beat));
        let Some(job) = self.jobs.get(&id) else { return };
        if job.manifest.spec.closure_blobs > 0 {
            self.fetch_closure(id);
        } else if !job.held && !job.fetching {
            self.hold(id);
        }
        self.timers.ensure(Timer::AntiEntropy(id), self.now + self.cfg.timing.anti_entropy);
    }

    pub(super) fn on_held(&mut self, from: NodeId, id: JobId, store: StoreId) {
        if self.store_of(from).is_some_and(|s| s != store) {
            return;
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let first = job.holders.insert(from, store).is_none();
        job.strangers.remove(&from);
        // A pack may have overtaken the call to keep the job: whoever keeps it only now dropped it.
        for out in job.outbox.values_mut().filter(|o| first && !o.acked.contains_key(&from)) {
            out.last_sent = None;
        }
        let copies = job.holders.iter().map(|(n, s)| (*n, *s)).collect();
        if first {
            self.send_outbox(id, true);
        }
        self.event(Event::Copies(id, copies));
        self.nudge_submission(id);
        self.copies_changed(id);
    }

    /// It begins to keep the job: if it is no member of R by the manifest, it has to know by whom it is one.
    pub(super) fn replicating(&mut self, p: NodeId, id: JobId) {
        let Some(job) = self.jobs.get(&id).filter(|j| !j.manifest.replicas.contains(&p)) else { return };
        let facts: Vec<_> = job.fold.added_by().collect();
        self.emit(Output::SendFacts(p, id, facts));
    }

    pub(super) fn replicate_refused(&mut self, from: NodeId, id: JobId, why: Refusal) {
        // Who owes packs to a job whose R it knew is gone learns whom to send them to.
        self.replicating(from, id);
        let name = self.peers.get(&from).and_then(|p| p.hello.as_ref()).map_or(String::new(), |h| h.name.clone());
        if let Some(s) = self.jobs.get_mut(&id).and_then(|j| j.submission.as_mut()) {
            s.why = format!("{name}: {why}");
        }
    }

    /// Asks replicas that do not hold the job yet to keep it; retries a closure that could not be had.
    pub(super) fn resend_replication(&mut self, id: JobId) {
        let me = self.id;
        let Some(job) = self.jobs.get(&id) else { return };
        if job.role != Role::Replica || job.state == JobState::Deleted {
            return;
        }
        if !job.held {
            if job.manifest.spec.closure_blobs > 0 {
                self.fetch_closure(id);
            } else if !job.fetching {
                self.hold(id);
            }
            let again = self.closure_pause(id);
            self.timers.ensure(Timer::Resend(id), self.now + again);
            return;
        }
        // The owner spreads a new job; later any steward fills gaps, and without one the first live holder does.
        if job.manifest.owner != me && job.steward.is_none() && !self.first_holder(job) {
            return;
        }
        let missing: Vec<NodeId> = job
            .replicas
            .iter()
            .copied()
            .filter(|r| *r != me && !job.holders.contains_key(r) && self.alive(*r))
            .collect();
        let asked: BTreeSet<NodeId> = self
            .pending
            .values()
            .filter(|p| matches!(p.asked, Asked::Replicate(j) if j == id))
            .map(|p| p.peer)
            .collect();
        let manifest = (*job.signed).clone();
        let waiting = job.submission.is_some() || !missing.is_empty();
        for r in missing.into_iter().filter(|r| !asked.contains(r)) {
            self.ask(r, Request::Replicate(manifest.clone()), Asked::Replicate(id));
        }
        if waiting {
            self.timers.ensure(Timer::Resend(id), self.now + self.cfg.timing.resend);
        }
    }

    /// Liveness or holdings changed: start or stop the clock of a repair, see whether pins may go on.
    pub(super) fn copies_changed(&mut self, id: JobId) {
        let now = self.now;
        let Some(job) = self.jobs.get(&id) else { return };
        if job.role != Role::Replica {
            return;
        }
        let alive = job.holders.keys().filter(|h| self.alive(**h)).count();
        let thin = alive < usize::from(job.manifest.k);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.thin_since = if thin { job.thin_since.or(Some(now)) } else { None };
        if thin {
            self.timers.ensure(Timer::Repair(id), now + self.cfg.timing.repair);
        }
        self.try_pin(id);
    }

    /// Whether this node is the first of R that lives and holds the job.
    fn first_holder(&self, job: &Job) -> bool {
        let holds = |r: &&NodeId| self.alive(**r) && job.holders.contains_key(r);
        job.held && job.replicas.iter().find(holds) == Some(&self.id)
    }

    /// It is on disk that these members keep the job: only now they are asked to. Whoever was asked before a full disk or a crash took
    /// the fact away would wait for it for ever.
    pub(super) fn ask_to_join(&mut self, id: JobId, new: Vec<NodeId>) {
        for n in new {
            let Some(manifest) = self.jobs.get(&id).map(|j| (*j.signed).clone()) else { return };
            self.ask(n, Request::Replicate(manifest), Asked::Replicate(id));
        }
    }

    /// Who asked this node to keep the job did not tell by which fact it is a member of R, and may have gone with the fact: nobody
    /// counts on this copy. Whoever does asks again.
    pub(super) fn decline(&mut self, id: JobId) {
        let (me, now, patience) = (self.id, self.now, Span(2 * self.cfg.timing.anti_entropy.0));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        // What its own disk calls a copy stays one, also if a crash took the fact that says so (P11).
        let member = job.replicas.contains(&me) || job.kept || job.fetching || !job.in_flight.is_empty();
        if member || now.since(job.invited) < patience {
            return;
        }
        job.role = Role::Hearsay;
        job.tell_held.clear();
        job.early.clear();
        job.over = true;
        self.maybe_drop(id);
    }

    /// One of these that was heard from just now. R never forgets a member, so none is spent on a peer that fell silent since its last
    /// probe: where nobody was heard of late, some are asked, for the next time.
    fn one_heard_of_late(&mut self, peers: Vec<NodeId>) -> Option<NodeId> {
        let (now, late) = (self.now, Span(2 * self.cfg.timing.resend.0));
        let heard = |p: &NodeId| self.peers.get(p).is_some_and(|x| now.since(x.last_heard) < late);
        let there: Vec<NodeId> = peers.iter().copied().filter(heard).collect();
        let n = self.below(there.len());
        if there.is_empty() {
            let first = self.below(peers.len());
            peers.iter().cycle().skip(first).take(PROBED.min(peers.len())).for_each(|p| self.probe_now(*p));
        }
        there.get(n).copied()
    }

    /// Too few live copies for too long: another member is asked to keep the job and joins R (P12).
    pub(super) fn on_repair_timer(&mut self, id: JobId) {
        self.copies_changed(id);
        let (now, wait) = (self.now, self.cfg.timing.repair);
        let Some(job) = self.jobs.get(&id) else { return };
        let Some(since) = job.thin_since else { return };
        // One of R does it.
        let mine = self.first_holder(job);
        // A submit that waits for its copies does not wait five minutes for a member that died.
        let urgent = job.submission.is_some();
        let due = since + if urgent { self.cfg.timing.resend } else { wait };
        if now < due {
            return self.timers.set(Timer::Repair(id), due);
        }
        self.timers.set(Timer::Repair(id), now + self.cfg.timing.resend);
        if !mine || job.replicas.len() >= limits::MAX_REPLICAS {
            return;
        }
        // Members of R that live but do not hold it yet are on their way.
        let coming = job.replicas.iter().filter(|r| self.alive(**r) && !job.holders.contains_key(r)).count();
        let alive = job.holders.keys().filter(|h| self.alive(**h)).count();
        let members = job.replicas.clone();
        if alive + coming >= usize::from(job.manifest.k) {
            return self.resend_replication(id);
        }
        let mut others = self.usable_peers();
        others.retain(|p| !members.contains(p));
        if let Some(new) = self.one_heard_of_late(others) {
            self.make_fact(id, FactBody::AddReplica(new), Made::Here);
            if self.planted(Mutant::RepairDropsCopy)
                && let Some(job) = self.jobs.get_mut(&id)
            {
                job.holders.retain(|h, _| *h == new);
                job.role = Role::Observer;
            }
        }
    }
}
