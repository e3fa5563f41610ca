//! Facts come in, become durable, are folded, are acked, and leave the outbox (P1, P2, P4, P5).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use filch_types::bag::TaskRef;
use filch_types::fact::{Fact, FactBody, SignedFact};
use filch_types::ranges::Range;
use filch_types::record::Record;
use filch_types::time::Span;
use filch_types::wire::{JobState, Message};
use filch_types::{BagId, BlobId, FactId, JobId, NodeId};

use super::job::{Job, OutPack};
use super::{Asker, Fetch, Made, Node, Then, Timer};
use crate::Mutant;
use crate::io::{Event, FetchId, Output};
use crate::view::Role;

/// Facts of one job between arrival and durability: beyond it senders have to come again.
const MAX_IN_FLIGHT: usize = 65_536;
/// Facts kept in mind for a job that is not kept here yet.
const MAX_EARLY: usize = 256;
/// A fetch that fails sooner failed because somebody said that there is nothing, not for lack of an answer.
const SOON: Span = Span::secs(2);

/// Whether a member of R says who joins it: kept before the job itself is, since nobody holds a job who is not in R.
fn joins(job: &Job, fact: &Fact) -> bool {
    matches!(fact.body, FactBody::AddReplica(_)) && job.replicas.contains(&fact.by)
}

/// Tasks with their attempts.
type Attempts<T> = Vec<(T, u64)>;

/// The tasks whose results a pack has, with their attempts, and the parts of divided ones.
fn tasks_of(body: &FactBody) -> (Attempts<Range>, Attempts<BagId>) {
    let (mut ranges, mut bags) = (Vec::new(), Vec::new());
    match body {
        FactBody::Pack(runs) => ranges.extend(runs.iter().map(|r| (r.range(), r.attempt))),
        FactBody::Bags(results) => results.iter().for_each(|r| match r.task {
            TaskRef::Index(i) => ranges.push((Range::new(i, i + 1), r.attempt)),
            TaskRef::Bag(bag) => bags.push((bag, r.attempt)),
        }),
        _ => {}
    }
    (ranges, bags)
}

type Opened = (FactId, SignedFact, Arc<Fact>);

impl Node {
    /// Makes a fact of this node's own and stores it.
    pub(super) fn make_fact(&mut self, id: JobId, body: FactBody, made: Made) {
        let fact = Fact { job: id, by: self.id, body };
        let signed = match SignedFact::sign(&fact, &*self.keys) {
            Ok(s) => s,
            Err(e) => return self.reject(self.id, e.to_string()),
        };
        let fact_id = signed.id();
        let me = self.id;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let mut records = Vec::new();
        if !std::mem::replace(&mut job.recorded, true) {
            records.push(Record::Manifest(id, (*job.signed).clone()));
        }
        records.push(Record::Fact(id, fact_id, signed.clone()));
        let blobs: Vec<BlobId> = fact.closure().map(|(b, _)| b).collect();
        if made == Made::Pack {
            let alone = job.replicas == [me];
            if !alone && self.cfg.mutant != Some(Mutant::OutboxWithoutReplicas) {
                records.push(Record::Outbox(id, fact_id));
            }
            let (ranges, bags) = tasks_of(&fact.body);
            let hedge = job.manifest.spec.attended && blobs.is_empty();
            let out = OutPack { ranges, bags, hedge, signed: Some(signed.clone()), ..OutPack::default() };
            job.outbox.insert(fact_id, out);
        }
        job.in_flight.insert(fact_id);
        job.bare.coming(fact_id, &fact);
        self.live.insert(id);
        let facts = vec![(fact_id, Arc::new(fact))];
        if made == Made::Pin && self.planted(Mutant::PinBeforeDisk) {
            self.event_final(id, &facts);
        }
        self.commit(blobs, records, Then::Facts { job: id, facts, ack: None, made });
        if made == Made::Pack {
            self.send_outbox(id, true);
        }
    }

    /// Facts from a peer: checked, completed by their blobs, stored; only then acked. Returns how many are new and on their way to the
    /// disk.
    pub(super) fn on_facts(&mut self, from: NodeId, facts: Vec<SignedFact>) -> usize {
        let mut by_job: BTreeMap<JobId, Vec<Opened>> = BTreeMap::new();
        for signed in facts {
            let opened =
                if self.planted(Mutant::NoSignatureCheck) { signed.decode() } else { signed.open(&*self.keys) };
            match opened {
                Ok(fact) => by_job.entry(fact.job).or_default().push((signed.id(), signed, Arc::new(fact))),
                Err(e) => self.reject(from, e.to_string()),
            }
        }
        by_job.into_iter().map(|(id, facts)| self.on_job_facts(from, id, facts)).sum()
    }

    fn on_job_facts(&mut self, from: NodeId, id: JobId, mut facts: Vec<Opened>) -> usize {
        let (me, now) = (self.id, self.now);
        if self.burying(id) {
            return 0;
        }
        if let Some(tomb) = self.tombstones.get(&id).cloned() {
            // So that outboxes empty; whoever sends results of the job has not heard of its end.
            if facts.iter().any(|(_, _, f)| f.body != FactBody::Delete) {
                self.emit(Output::Send(from, Message::Facts(vec![tomb])));
            }
            self.send_stored(from, id, facts.iter().map(|f| f.0).collect());
            return 0;
        }
        if let Some((fact_id, signed, fact)) =
            facts.iter().find(|(_, _, f)| f.body == FactBody::Delete && self.may_revoke(f.by))
        {
            let (fact_id, signed, _) = (*fact_id, signed.clone(), fact.clone());
            self.delete_job(id, signed, vec![Asker::Sender(from, fact_id)]);
            return 0;
        }
        if !self.jobs.contains_key(&id) {
            return 0;
        }
        // Packs first: a pin is only kept next to the packs that it names (P4).
        facts.sort_by_key(|(_, _, f)| !matches!(f.body, FactBody::Pack(_) | FactBody::Bags(_)));
        let (mut direct, mut fetch, mut known) = (Vec::<Opened>::new(), Vec::<Opened>::new(), Vec::new());
        let invited = facts.iter().any(|(_, _, f)| f.body == FactBody::AddReplica(self.id));
        let with_blobs = invited || self.keeps_blobs(id);
        for (fact_id, signed, fact) in facts {
            let skip_closure = self.planted(Mutant::ClosureAfterFact);
            if fact.by == self.id && matches!(fact.body, FactBody::Pin(_)) && self.planted(Mutant::OwnPinsIgnored) {
                continue;
            }
            let Some(job) = self.jobs.get_mut(&id) else { return 0 };
            if job.fold.has(&fact_id) {
                known.extend((!job.bare.has(&fact_id)).then_some(fact_id));
                continue;
            }
            // A replica keeps facts once it keeps the job itself (P1).
            let kept = match job.role {
                Role::Replica => job.held,
                Role::Observer => true,
                Role::Hearsay => false,
            } || fact.body == FactBody::Cancel
                || ((job.role == Role::Replica || !job.outbox.is_empty()) && joins(job, &fact));
            if !kept && job.role == Role::Replica && job.early.len() < MAX_EARLY {
                job.early.push((from, signed));
                continue;
            }
            if !kept || job.in_flight.contains(&fact_id) || job.in_flight.len() >= MAX_IN_FLIGHT {
                continue;
            }
            let may = match &fact.body {
                FactBody::Pack(_) | FactBody::Bags(_) => true,
                FactBody::Pin(runs) => {
                    let kept = |p: &FactId| job.fold.pack(p).is_some() && !job.bare.is_shaky(p);
                    let there = |p: &FactId| kept(p) || direct.iter().any(|d| d.0 == *p);
                    if !runs.iter().all(|r| there(&r.pack)) {
                        let keeps = job.replicas.contains(&from) || job.earlier.asked(&from);
                        if fact.by == me && job.manifest.owner == me && keeps {
                            job.earlier.tell(from, now, runs);
                            job.earlier.show(fact_id);
                        }
                        continue;
                    }
                    fact.by == job.manifest.owner
                }
                FactBody::Lost(_) | FactBody::LostBags(_) | FactBody::AddReplica(_) => job.replicas.contains(&fact.by),
                FactBody::Cancel | FactBody::Delete => true,
            };
            if !may {
                self.reject(from, "a fact by somebody who may not say it");
                continue;
            }
            job.in_flight.insert(fact_id);
            job.bare.coming(fact_id, &fact);
            let needs_blobs = with_blobs && !skip_closure && fact.closure().next().is_some();
            if needs_blobs { fetch.push((fact_id, signed, fact)) } else { direct.push((fact_id, signed, fact)) }
        }
        if let Some(job) = self.jobs.get(&id).filter(|j| j.role == Role::Replica && j.held) {
            // A helper that sends something again may wait for members that are gone: it hears who has joined.
            let added: Vec<FactId> = job.fold.added_by().collect();
            if !known.is_empty() && !added.is_empty() && !job.replicas.contains(&from) {
                self.emit(Output::SendFacts(from, id, added));
            }
            self.send_stored(from, id, known);
        }
        let new = direct.len() + fetch.len();
        self.store_facts(id, direct, with_blobs, Some(from));
        if !fetch.is_empty() {
            self.fetch_for_facts(id, from, fetch);
        }
        new
    }

    /// Facts that came too early may be in time now.
    pub(super) fn hear_early(&mut self, id: JobId) {
        let early = self.jobs.get_mut(&id).map(|j| std::mem::take(&mut j.early)).unwrap_or_default();
        for (from, fact) in early {
            self.on_facts(from, vec![fact]);
        }
    }

    /// Whoever only reads along has the facts without their blobs. Whom R names does not, though it may not know yet that it is to keep a copy (P4).
    fn keeps_blobs(&self, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(|j| j.role == Role::Replica || j.replicas.contains(&self.id))
    }

    fn fetch_for_facts(&mut self, id: JobId, from: NodeId, facts: Vec<Opened>) {
        let fetch = FetchId(self.fresh());
        let blobs: BTreeSet<(BlobId, u64)> = facts.iter().flat_map(|(_, _, f)| f.closure()).collect();
        let mut providers = vec![from];
        providers.extend(facts.iter().map(|(_, _, f)| f.by));
        if let Some(job) = self.jobs.get(&id) {
            providers.extend(job.replicas.iter().copied().filter(|r| self.alive(*r)));
        }
        let mut seen = BTreeSet::new();
        let me = self.id;
        providers.retain(|p| *p != me && seen.insert(*p));
        self.fetches.insert(fetch, Fetch { job: id, facts, from, since: self.now });
        self.emit(Output::FetchBlobs { fetch, job: id, blobs: blobs.into_iter().collect(), from: providers });
    }

    pub(super) fn on_fetched(&mut self, fetch: FetchId) {
        if self.mended(fetch, true) {
            return;
        }
        if let Some(f) = self.fetches.remove(&fetch) {
            self.store_facts(f.job, f.facts, true, Some(f.from));
        }
    }

    pub(super) fn on_fetch_failed(&mut self, fetch: FetchId, _why: String) {
        let me = self.id;
        if self.mended(fetch, false) {
            return;
        }
        let Some(mut f) = self.fetches.remove(&fetch) else { return };
        let wanted = self.jobs.contains_key(&f.job) && !self.burying(f.job) && self.now >= self.disk_full_until;
        if wanted && f.facts.len() > 1 && self.now.since(f.since) < SOON {
            // A blob that nobody has must not keep the others away.
            let rest = f.facts.split_off(f.facts.len() / 2);
            self.fetch_for_facts(f.job, f.from, f.facts);
            return self.fetch_for_facts(f.job, f.from, rest);
        }
        // The sender, or anti-entropy, comes again.
        if let Some(job) = self.jobs.get_mut(&f.job) {
            let owner = job.manifest.owner == me;
            for (id, ..) in f.facts {
                job.in_flight.remove(&id);
                if owner {
                    job.earlier.show(id);
                }
            }
        }
    }

    fn store_facts(&mut self, id: JobId, facts: Vec<Opened>, with_blobs: bool, ack: Option<NodeId>) {
        if facts.is_empty() || !self.jobs.contains_key(&id) {
            return;
        }
        if self.planted(Mutant::AckBeforeFsync)
            && let Some(to) = ack
        {
            self.send_stored(to, id, facts.iter().map(|f| f.0).collect());
        }
        let named = facts.iter().filter(|_| with_blobs);
        let blobs = named.flat_map(|(_, _, f)| f.closure().map(|(b, _)| b)).collect();
        let mut records = Vec::new();
        if let Some(job) = self.jobs.get_mut(&id)
            && !std::mem::replace(&mut job.recorded, true)
        {
            // P1: a fact without its manifest would be nothing after a restart.
            records.push(Record::Manifest(id, (*job.signed).clone()));
        }
        records.extend(facts.iter().map(|(f, signed, _)| Record::Fact(id, *f, signed.clone())));
        let facts = facts.into_iter().map(|(f, _, fact)| (f, fact)).collect();
        self.commit(blobs, records, Then::Facts { job: id, facts, ack, made: Made::Elsewhere });
    }

    pub(super) fn send_stored(&mut self, to: NodeId, job: JobId, facts: Vec<FactId>) {
        if facts.is_empty() {
            return;
        }
        let store = self.cfg.store;
        if to == self.id {
            return self.on_stored(to, job, store, facts);
        }
        for chunk in facts.chunks(2048) {
            self.emit(Output::Send(to, Message::Stored { job, store, facts: chunk.to_vec() }));
        }
    }

    /// Facts are on this disk: fold them, say so, act on them.
    pub(super) fn facts_durable(
        &mut self,
        id: JobId,
        facts: Vec<(FactId, Arc<Fact>)>,
        ack: Option<NodeId>,
        made: Made,
    ) {
        let (me, store) = (self.id, self.cfg.store);
        let (by_arrival, untold) = (self.planted(Mutant::OrderByArrival), self.planted(Mutant::CancelNotRepeated));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let mut touched: Vec<(Range, u64)> = Vec::new();
        let (mut ready, mut lost, mut packs, mut cancel) = (false, Vec::new(), Vec::new(), false);
        // A pack whose row had rotted: it is in the fold still, and what it completes was complete before.
        let mut returned = false;
        let (mut grown, mut lost_bags, mut back) = (Vec::new(), Vec::new(), Vec::new());
        // An owner that has forgotten its pins hears of them from others: they are as final as those that it makes.
        let comes_back = made == Made::Elsewhere && job.manifest.owner == me && job.role == Role::Replica && job.held;
        for (fact_id, fact) in &facts {
            job.bare.came(fact_id);
            if !job.in_flight.remove(fact_id) {
                // The job was started over meanwhile; the record is dropped again.
                continue;
            }
            self.counters.facts += 1;
            job.bare.durable(*fact_id, fact);
            if let FactBody::Pin(runs) = &fact.body
                && comes_back
            {
                back.extend(job.fold.not_pinned(runs));
            }
            returned |= job.fold.pack(fact_id).is_some();
            let change = match fact.body {
                FactBody::Cancel if untold => job.fold.cancel_untold(),
                _ if by_arrival => job.fold.apply_by_arrival(*fact_id, fact),
                _ => job.fold.apply(*fact_id, fact),
            };
            touched.extend(change.touched);
            ready |= change.ready;
            grown.push(change.grown);
            match &fact.body {
                FactBody::Pack(runs) => {
                    job.pace.learn(&job.manifest.spec, runs);
                    packs.push(*fact_id);
                }
                FactBody::Bags(_) => packs.push(*fact_id),
                FactBody::LostBags(list) => lost_bags.extend(list.iter().copied()),
                FactBody::Lost(list) => lost.extend(list.iter().copied()),
                FactBody::Cancel => cancel = true,
                _ => {}
            }
            if let Some(out) = job.outbox.get_mut(fact_id) {
                out.durable = true;
                out.signed = None;
                if job.role == Role::Replica && job.held {
                    out.acked.insert(me, store);
                }
            }
        }
        job.settled.clear();
        let members = job.replicas.len();
        job.refresh_replicas();
        let more = job.replicas.len() > members;
        let joined = job.role == Role::Replica && !job.held && more;
        if more && !job.outbox.is_empty() {
            // There is somebody new to take what nobody acked.
            job.unheard = 0;
            self.timers.sooner(Timer::Resend(id), self.now);
        }
        let (owner, keeps) = (job.manifest.owner, job.role == Role::Replica && job.held);
        self.live.insert(id);
        self.timers.ensure(Timer::AntiEntropy(id), self.now + self.cfg.timing.anti_entropy);
        if keeps {
            if let Some(to) = ack {
                self.send_stored(to, id, facts.iter().map(|f| f.0).collect());
            }
            if ack != Some(owner) && owner != me {
                self.send_stored(owner, id, packs.clone());
            }
        }
        if owner == me {
            for p in &packs {
                self.bags_here(id, *p);
                self.copy_known(id, *p, me, store);
            }
            grown.iter().flat_map(|g| &g.complete).for_each(|(index, _)| self.divided_done(id, *index));
            if returned {
                self.divided_done_before(id);
            }
        }
        match made {
            Made::Pack => {
                let steward_here = self.jobs.get(&id).is_some_and(|j| j.steward_id == me);
                for p in &packs {
                    if steward_here {
                        self.unacked_done(id, p);
                    }
                    self.check_outbox(id, *p);
                }
            }
            Made::Pin => {
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.pin_in_flight = false;
                }
                if !self.planted(Mutant::PinBeforeDisk) {
                    self.event_final(id, &facts);
                }
            }
            Made::Asked(asker) => self.revoked(id, asker),
            Made::Here | Made::Elsewhere => {}
        }
        if !back.is_empty() {
            self.event(Event::Final(id, back));
        }
        if matches!(made, Made::Pin | Made::Here | Made::Asked(_)) {
            self.push_to_replicas(id, facts.iter().map(|f| f.0).collect());
        }
        if made == Made::Here {
            let added = facts.iter().filter_map(|(_, f)| match f.body {
                FactBody::AddReplica(n) => Some(n),
                _ => None,
            });
            self.ask_to_join(id, added.collect());
        }
        if joined {
            self.hear_early(id);
            self.begin_holding(id);
        }
        self.steward_after_facts(id, &touched, ready);
        grown.iter().for_each(|g| self.steward_bags(id, g));
        if !lost.is_empty() {
            self.enforce_budget(id, &lost);
        }
        if !lost_bags.is_empty() {
            self.enforce_bag_budget(id, &lost_bags);
        }
        if !touched.is_empty() {
            self.event(Event::Results(id, touched.into_iter().map(|(r, _)| r).collect()));
        }
        self.try_pin(id);
        self.refresh_state(id, cancel);
        self.maybe_drop(id);
    }

    fn event_final(&mut self, id: JobId, facts: &[(FactId, Arc<Fact>)]) {
        for (_, f) in facts {
            if let FactBody::Pin(runs) = &f.body {
                self.event(Event::Final(id, runs.clone()));
            }
        }
    }

    fn push_to_replicas(&mut self, id: JobId, facts: Vec<FactId>) {
        let Some(job) = self.jobs.get(&id) else { return };
        let to: Vec<NodeId> = job.replicas.iter().copied().filter(|r| *r != self.id && self.alive(*r)).collect();
        for r in to {
            self.emit(Output::SendFacts(r, id, facts.clone()));
        }
    }

    /// The disk is full: facts of others come again later; an own pack is delivered all the same.
    pub(super) fn facts_failed(&mut self, id: JobId, facts: Vec<(FactId, Arc<Fact>)>, made: Made, why: String) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        for (f, _) in &facts {
            job.in_flight.remove(f);
            job.bare.came(f);
        }
        // The manifest may have been in the same group: the next one has it again.
        job.recorded = job.held;
        match made {
            Made::Pin => job.pin_in_flight = false,
            Made::Pack => self.timers.sooner(Timer::Resend(id), self.now + self.cfg.timing.resend),
            Made::Asked(asker) => self.revoke_failed(asker, &why),
            Made::Here | Made::Elsewhere => {}
        }
    }

    /// Recomputes the state from the fold and tells of a change.
    pub(super) fn refresh_state(&mut self, id: JobId, cancel: bool) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let new = job.folded_state();
        let old = std::mem::replace(&mut job.state, new);
        if new == old {
            if cancel {
                self.stop_work(id, true);
            }
            return;
        }
        if new == JobState::Active {
            // A late success took back a failure that others waited on.
            self.set_runnable(id, true);
        } else {
            self.stop_work(id, new == JobState::Cancelled);
            if let Some(s) = self.jobs.get_mut(&id).and_then(|j| j.steward.as_mut()) {
                s.pool = Default::default();
                s.bags = Default::default();
                self.timers.set(Timer::Announce(id), self.now);
            }
        }
        self.event(Event::State(id, new));
    }
}
