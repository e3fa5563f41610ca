//! The owner: submits (P3) and pins winners (P6, P9).

use filch_types::fact::FactBody;
use filch_types::ranges::Range;
use filch_types::record::Record;
use filch_types::time::Span;
use filch_types::{FactId, JobId, JobSpec, Manifest, NodeId, Nonce, SignedManifest, StoreId, limits};

use super::earlier::unpledged;
use super::job::{Job, Submission};
use super::{Made, Node, Then, Timer};
use crate::io::{ClientId, Event, Output, Reply};
use crate::view::Role;
use crate::{ClientError, Mutant};

impl Node {
    pub(super) fn on_submit(&mut self, client: ClientId, nonce: Nonce, now_ms: u64, spec: JobSpec, copies: Option<u8>) {
        if let Some(id) = self.nonces.get(&nonce).copied() {
            return self.resubmit(client, id);
        }
        let refused = |e| Output::Reply(client, Reply::Refused(e));
        if self.draining {
            return self.emit(refused(filch_types::wire::Refusal::Draining.into()));
        }
        if self.jobs.len() >= limits::MAX_JOBS {
            return self.emit(refused(filch_types::wire::Refusal::Limit("jobs".into()).into()));
        }
        if let Err(e) = spec.check() {
            return self.emit(refused(e.into()));
        }
        let others = self.place(copies);
        let mut replicas = vec![self.id];
        replicas.extend(others);
        let k = copies.map_or(replicas.len() as u8, |c| c.clamp(1, limits::MAX_REPLICAS as u8));
        if usize::from(k) > replicas.len() {
            let why = "there are not enough nodes".to_owned();
            return self.emit(refused(ClientError::Copies { have: 0, want: k, why }));
        }
        let r = self.cfg.result_copies.clamp(1, k);
        let manifest = Manifest { owner: self.id, nonce, created_ms: now_ms, k, r, replicas, spec };
        let signed = match SignedManifest::sign(&manifest, &*self.keys) {
            Ok(s) => s,
            Err(e) => return self.emit(refused(e.into())),
        };
        let id = signed.job();
        let closure = manifest.spec.closure_blobs > 0;
        let mut job = Job::new(id, signed, manifest);
        job.role = Role::Replica;
        job.submission = Some(Submission { clients: vec![client], want: k, why: String::new() });
        self.jobs.insert(id, Box::new(job));
        self.live.insert(id);
        self.nonces.insert(nonce, id);
        self.timers.set(Timer::Submit(id), self.now + self.cfg.timing.submit);
        self.emit(Output::Reply(client, Reply::Submitted(id)));
        self.event(Event::JobKnown(id));
        if closure {
            self.fetch_closure(id);
        } else {
            self.hold(id);
        }
    }

    fn resubmit(&mut self, client: ClientId, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return self.emit(Output::Reply(client, Reply::Refused(ClientError::UnknownJob)));
        };
        let k = job.manifest.k;
        let s = job.submission.get_or_insert_with(|| Submission { clients: Vec::new(), want: k, why: String::new() });
        s.clients.push(client);
        self.emit(Output::Reply(client, Reply::Submitted(id)));
        self.timers.ensure(Timer::Submit(id), self.now + self.cfg.timing.submit);
        self.resend_replication(id);
        // Members of R may have gone since; the repair of a job that nobody waited for was in no hurry.
        self.copies_changed(id);
        self.timers.sooner(Timer::Repair(id), self.now + self.cfg.timing.resend);
        self.nudge_submission(id);
    }

    /// Who keeps a new job besides the submitter: live members, machines as different as possible.
    fn place(&mut self, copies: Option<u8>) -> Vec<NodeId> {
        let mut peers = self.usable_peers();
        let start = self.below(peers.len());
        peers.rotate_left(start);
        let want = usize::from(copies.unwrap_or(3).clamp(1, limits::MAX_REPLICAS as u8)) - 1;
        let machine = |n: &Node, p: NodeId| n.peers.get(&p).and_then(|p| p.hello.as_ref()).map(|h| h.machine);
        let mut seen = vec![Some(self.cfg.machine)];
        let mut chosen = Vec::new();
        for distinct in [true, false] {
            for p in &peers {
                let m = machine(self, *p);
                if chosen.len() < want && !chosen.contains(p) && (!distinct || !seen.contains(&m)) {
                    chosen.push(*p);
                    seen.push(m);
                }
            }
        }
        chosen
    }

    /// The manifest and its closure are durable here; the job may start, and copies may be made.
    pub(super) fn now_held(&mut self, id: JobId) {
        let (me, now, store, machine) = (self.id, self.now, self.cfg.store, self.cfg.machine);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        (job.held, job.kept) = (true, true);
        job.earlier.kept(now);
        job.fetching = false;
        job.recorded = true;
        job.settled.clear();
        job.holders.insert(me, store);
        for out in job.outbox.values_mut().filter(|o| o.durable) {
            out.acked.insert(me, store);
        }
        let tell: Vec<NodeId> = std::mem::take(&mut job.tell_held).into_iter().collect();
        let own = job.manifest.owner == me;
        let fresh =
            own && job.submission.is_some() && job.fold.digest().0 == 0 && job.round == 0 && job.steward.is_none();
        for p in tell {
            self.emit(Output::Send(p, filch_types::wire::Message::Held { job: id, store, machine }));
        }
        self.live.insert(id);
        if fresh {
            self.resend_replication(id);
            self.become_steward(id, true);
        } else {
            self.choose_steward(id);
        }
        self.set_runnable(id, true);
        self.copies_changed(id);
        self.nudge_submission(id);
        self.timers.ensure(Timer::AntiEntropy(id), self.now + self.cfg.timing.anti_entropy);
        self.hear_early(id);
    }

    /// A submit is accepted once k distinct stores hold manifest and closure.
    pub(super) fn nudge_submission(&mut self, id: JobId) {
        let (one, twice) = (self.planted(Mutant::AckAtOneCopy), self.planted(Mutant::CountSelfTwice));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(s) = &job.submission else { return };
        let have = job.holders.len() + usize::from(twice && job.held);
        if !job.held || (have < usize::from(s.want) && !one) {
            return;
        }
        let holders: Vec<NodeId> = job.holders.keys().copied().collect();
        let clients = job.submission.take().map(|s| s.clients).unwrap_or_default();
        let copies = job.holders.iter().map(|(n, s)| (*n, *s)).collect();
        self.timers.cancel(Timer::Submit(id));
        self.event(Event::Copies(id, copies));
        for c in clients {
            self.emit(Output::Reply(c, Reply::Accepted { job: id, holders: holders.clone() }));
        }
    }

    pub(super) fn on_submit_timer(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(s) = job.submission.take() else { return };
        let have = job.holders.len() as u8;
        let e = ClientError::Copies { have, want: s.want, why: s.why };
        for c in s.clients {
            self.emit(Output::Reply(c, Reply::Refused(e.clone())));
        }
        self.maybe_drop(id);
    }

    /// A store is known to hold a pack: counts for visibility.
    pub(super) fn copy_known(&mut self, id: JobId, pack: FactId, who: NodeId, store: StoreId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.fold.pack(&pack).is_some_and(|info| info.bags) {
            return self.thin_copy(id, pack, who, store);
        }
        let open = match job.fold.pack(&pack) {
            Some(info) => info.runs.iter().any(|(r, _)| !job.fold.pins().gaps(*r).is_empty()),
            // Pins and the like are acked, too.
            None if job.fold.has(&pack) => false,
            // Heard from another replica before the pack itself arrived.
            None => job.copies.contains_key(&pack) || job.copies.len() < 65_536,
        };
        if open {
            if job.copies.entry(pack).or_default().insert(who, store).is_none() {
                job.last_copy = self.now;
            }
            // What others have and is not here yet is looked at once it is: there may be thousands of them, and this runs for each fact.
            if job.fold.pack(&pack).is_some() {
                job.pinnable.insert(pack);
            }
            self.timers.ensure(Timer::Lonely(id), self.now + self.cfg.timing.lonely_pin);
        }
    }

    /// A fact about divided tasks is here: copies that were heard of before it are counted with those of its kind.
    pub(super) fn bags_here(&mut self, id: JobId, fact: FactId) {
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.fold.pack(&fact).is_some_and(|info| info.bags)) else {
            return;
        };
        job.pinnable.remove(&fact);
        let holders = job.copies.remove(&fact).unwrap_or_default();
        job.thin.insert(fact, holders);
    }

    fn thin_copy(&mut self, id: JobId, fact: FactId, who: NodeId, store: StoreId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let enough = job.r();
        let Some(holders) = job.thin.get_mut(&fact) else { return };
        if holders.insert(who, store).is_none() {
            job.last_copy = self.now;
        }
        if holders.len() >= enough {
            job.thin.remove(&fact);
        }
        if !job.pinnable.is_empty() {
            self.timers.ensure(Timer::Lonely(id), self.now + self.cfg.timing.lonely_pin);
        }
    }

    /// A divided task is complete here: it may be pinned once all that it rests on has its copies.
    pub(super) fn divided_done(&mut self, id: JobId, index: u32) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let won = job.fold.winners(Range::new(index, index + 1));
        let Some((_, best, false)) = won.first().copied() else { return };
        let mut rest = job.fold.tree_facts(index);
        rest.retain(|fact| job.thin.contains_key(fact));
        // A fact may have the whole of several.
        job.rests_on.entry(best.pack).or_default().extend(rest);
        job.pinnable.insert(best.pack);
        self.timers.ensure(Timer::Lonely(id), self.now + self.cfg.timing.lonely_pin);
    }

    /// After a restart: what was complete before.
    pub(super) fn divided_done_before(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id).filter(|j| j.fold.tree().any()) else { return };
        let all = Range::new(0, job.fold.total());
        let done: Vec<u32> = job.fold.done().overlapping(all).flat_map(|r| r.lo..r.hi).collect();
        for index in done {
            if self.jobs.get(&id).is_some_and(|j| j.fold.tree().divisible(index) && j.fold.pins().get(index).is_none())
            {
                self.divided_done(id, index);
            }
        }
    }

    /// A replica is known to hold these facts, or all that are held here.
    pub(super) fn copies_listed(&mut self, id: JobId, who: NodeId, facts: Option<&std::collections::BTreeSet<FactId>>) {
        let (me, store) = (self.id, self.store_of(who));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (Some(store), true) = (store, job.manifest.owner == me && job.replicas.contains(&who)) else { return };
        for pack in &job.pinnable {
            if facts.is_none_or(|f| f.contains(pack)) {
                job.copies.entry(*pack).or_default().insert(who, store);
            }
        }
        let enough = job.r();
        job.thin.retain(|fact, holders| {
            if facts.is_none_or(|f| f.contains(fact)) {
                holders.insert(who, store);
            }
            holders.len() < enough
        });
        self.try_pin(id);
    }

    /// Pins what r replicas hold. One pin fact in flight per job, so one per task (P9).
    pub(super) fn try_pin(&mut self, id: JobId) {
        let (me, now) = (self.id, self.now);
        let (two, lonely) = (self.planted(Mutant::TwoPinsInFlight), self.cfg.timing.lonely_pin);
        let Some(job) = self.jobs.get(&id) else { return };
        // An owner that lost its disk and only helps would start over when it is asked to keep the job again, pins and all (S5).
        let pinning = job.pin_in_flight || job.bare.pins_come();
        if job.manifest.owner != me || !job.kept || job.pinnable.is_empty() || (pinning && !two) {
            return;
        }
        if self.earlier_pins_may_come(job) {
            return self.timers.ensure(Timer::Lonely(id), now + Span(lonely.0 / 4 + 1));
        }
        let alive = job.replicas.iter().filter(|r| self.alive(**r)).count().max(1);
        let short = alive < job.r();
        let enough = match job.short_since {
            Some(since) if short && now.since(since) >= lonely => alive,
            // They live but cannot store: a full disk must not keep finished files from their owner.
            _ if now.since(job.last_copy) >= Span(4 * lonely.0) => 1,
            _ => job.r(),
        };
        let word = self.final_elsewhere(job);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.short_since = if short { job.short_since.or(Some(now)) } else { None };
        let mut runs = Vec::new();
        let mut settled = Vec::new();
        let full = job.r();
        for pack in &job.pinnable {
            if job.bare.is_shaky(pack) {
                continue;
            }
            if let Some(rest) = job.rests_on.get_mut(pack) {
                while rest.first().is_some_and(|fact| !job.thin.contains_key(fact)) {
                    rest.pop_first();
                }
                if enough >= full && !rest.is_empty() {
                    continue;
                }
                let pins = job.fold.pinnable(pack);
                if pins.is_empty() {
                    settled.push(*pack);
                }
                let pins = unpledged(&word, pins);
                if runs.len() + pins.len() <= limits::MAX_PIN_RUNS {
                    runs.extend(pins);
                }
                continue;
            }
            let Some(holders) = job.copies.get(pack) else {
                settled.push(*pack);
                continue;
            };
            if holders.len() < enough || !holders.contains_key(&me) {
                continue;
            }
            let now_pinnable = unpledged(&word, job.fold.pinnable(pack));
            if runs.len() + now_pinnable.len() > limits::MAX_PIN_RUNS {
                if runs.is_empty() {
                    runs.extend(now_pinnable.into_iter().take(limits::MAX_PIN_RUNS));
                }
                break;
            }
            if now_pinnable.is_empty()
                && job.fold.pack(pack).is_some_and(|i| i.runs.iter().all(|(r, _)| job.fold.pins().gaps(*r).is_empty()))
            {
                settled.push(*pack);
            }
            runs.extend(now_pinnable);
        }
        for p in settled {
            job.pinnable.remove(&p);
            job.copies.remove(&p);
            job.rests_on.remove(&p);
        }
        if short && !job.pinnable.is_empty() {
            self.timers.ensure(Timer::Lonely(id), now + Span(lonely.0 / 4 + 1));
        }
        if runs.is_empty() {
            return;
        }
        runs.sort_by_key(|r| r.lo);
        runs.dedup_by_key(|r| r.lo);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.pin_in_flight = true;
        self.make_fact(id, FactBody::Pin(runs), Made::Pin);
    }

    pub(super) fn on_lonely_timer(&mut self, id: JobId) {
        self.hear_the_others(id);
        self.try_pin(id);
        if self.jobs.get(&id).is_some_and(|j| !j.pinnable.is_empty() && j.manifest.owner == self.id) {
            self.timers.ensure(Timer::Lonely(id), self.now + Span(self.cfg.timing.lonely_pin.0 / 4 + 1));
        }
    }

    /// Writes manifest and the statement that the closure is here.
    pub(super) fn hold(&mut self, id: JobId) {
        let me = self.id;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if !job.replicas.contains(&me) {
            // A copy that does not know that it is in R could not carry the job on alone: the fact that says so comes first.
            return;
        }
        job.fetching = true;
        let mut records = vec![Record::Manifest(id, (*job.signed).clone()), Record::Held(id)];
        if !job.recorded && job.fold.digest().0 == 0 && job.in_flight.is_empty() {
            // Facts that a full disk once kept without their manifest are no part of this copy (P4).
            records.insert(0, Record::Drop(id));
        }
        job.recorded = true;
        self.commit(Vec::new(), records, Then::Held(id));
    }
}
