//! What a worker owes (P5): packs that are on its own disk, sent again until r replicas have acked them, also after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use filch_types::fact::SignedFact;
use filch_types::record::Record;
use filch_types::time::Span;
use filch_types::wire::{JobState, Message};
use filch_types::{FactId, JobId, NodeId, StoreId, Timestamp, limits};

use super::job::OutPack;
use super::{Made, Node, Then, Timer};
use crate::io::Output;
use crate::view::Role;

/// Limits the doublings of the pause between rounds of packs that nobody acks.
const MAX_UNHEARD: u32 = 6;

/// A pack on its way to a member of R, with its bytes if the ledger has not got them yet.
type Send = (NodeId, FactId, Option<SignedFact>);

impl Node {
    /// The disk is full: that a pack was delivered is written later, or it would be sent again after a restart.
    pub(super) fn delivered_failed(&mut self, id: JobId, pack: FactId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.delivered.insert(pack);
            self.timers.ensure(Timer::Resend(id), self.now + self.cfg.timing.resend);
        }
    }

    /// A store says that it holds facts durably.
    pub(super) fn on_stored(&mut self, from: NodeId, id: JobId, store: StoreId, facts: Vec<FactId>) {
        if self.store_of(from).is_some_and(|s| s != store) {
            return;
        }
        let me = self.id;
        self.told(id, from, &facts);
        self.known_there(id);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (owner, steward) = (job.manifest.owner, job.steward_id);
        let counts = job.replicas.contains(&from);
        for f in facts.into_iter().take(4096) {
            let Some(job) = self.jobs.get_mut(&id) else { return };
            if let Some(out) = job.outbox.get_mut(&f) {
                if counts {
                    out.acked.insert(from, store);
                }
                if from == steward {
                    self.unacked_done(id, &f);
                }
                self.check_outbox(id, f);
            }
            if owner == me && counts {
                self.copy_known(id, f, from, store);
            }
        }
        self.try_pin(id);
    }

    /// The steward has the results, or this node no longer owes them: it need not list the tasks any more.
    pub(super) fn unacked_done(&mut self, id: JobId, pack: &FactId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(out) = job.outbox.get(pack) else { return };
        for (r, attempt) in &out.ranges {
            job.work.acked(*r, *attempt);
        }
        let unacked = &mut job.work.bags.unacked;
        unacked.retain(|bag, tag| !out.bags.iter().any(|(b, attempt)| b == bag && tag.attempt <= *attempt));
    }

    pub(super) fn check_outbox(&mut self, id: JobId, pack: FactId) {
        let me = self.id;
        let Some(job) = self.jobs.get(&id) else { return };
        let Some(out) = job.outbox.get(&pack) else { return };
        let need = job.r();
        let steward = job.steward_id;
        let steward_has = out.acked.contains_key(&steward) || (steward != me && !self.alive(steward));
        if out.acked.len() < need || !steward_has {
            return;
        }
        let alone = job.replicas == [me];
        // A steward that is gone acks nothing; the next one hears of the results from those who took them, or not at all, if they are
        // lost: then nobody must take the tasks for held here.
        self.unacked_done(id, &pack);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.outbox.remove(&pack);
        }
        if !alone {
            // Also when the acks were faster than this disk: tickets commit in order.
            self.commit(Vec::new(), vec![Record::OutboxDone(id, pack)], Then::Delivered(id, pack));
        }
        self.maybe_drop(id);
    }

    /// Packs that were owed, and whose rows the ledger had to drop before this start: they can be sent to nobody, and their tasks run again.
    pub(super) fn write_off(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let gone: Vec<FactId> = job.outbox.keys().filter(|f| !job.fold.has(f)).copied().collect();
        if gone.is_empty() {
            return;
        }
        gone.iter().for_each(|f| drop(job.outbox.remove(f)));
        let records = gone.into_iter().map(|f| Record::Lost(id, f)).collect();
        self.commit(Vec::new(), records, Then::Nothing);
    }

    /// Sends packs that replicas have not acked. `only_new`: those never sent.
    pub(super) fn send_outbox(&mut self, id: JobId, only_new: bool) {
        let now = self.now;
        let Some(job) = self.jobs.get(&id).filter(|j| !j.outbox.is_empty()) else { return };
        if now < job.quiet_until {
            return self.timers.sooner(Timer::Resend(id), job.quiet_until);
        }
        let there = job.replicas.iter().any(|r| *r != self.id && self.alive(*r));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        // A steward that waits for them hears of them at the usual pace; else those who never ack are tried ever more rarely.
        let waits = there && job.work.holds_any();
        job.unheard = if waits { 0 } else { job.unheard };
        let (hedge, again) = (self.cfg.timing.hedge, Span(self.cfg.timing.resend.0 << job.unheard.saturating_sub(1)));
        let due = |out: &OutPack| out.last_sent.map(|at| at + if out.hedge { hedge } else { again });
        let sends = self.due_packs(id, only_new, &due);
        let probe = if sends.is_empty() && !only_new { self.probe(id) } else { None };
        let Some(job) = self.jobs.get_mut(&id) else { return };
        // All of R may be gone: then nobody is sent anything, and whoever else may know of the job's end is asked all the same.
        if !only_new && (!sends.is_empty() || !there) && !waits {
            job.unheard = (job.unheard + 1).min(MAX_UNHEARD);
        }
        let mut stored: BTreeMap<NodeId, Vec<FactId>> = BTreeMap::new();
        if let Some((to, fact)) = probe {
            job.probed = Some(now);
            stored.insert(to, vec![fact]);
        }
        let mut direct = Vec::new();
        for (to, fact, signed) in sends {
            if let Some(out) = job.outbox.get_mut(&fact) {
                out.hedge &= out.last_sent.is_none_or(|at| at == now);
                out.last_sent = Some(now);
            }
            match signed {
                Some(s) => direct.push((to, s)),
                None => stored.entry(to).or_default().push(fact),
            }
        }
        for (to, s) in direct {
            self.emit(Output::Send(to, Message::Facts(vec![s])));
        }
        for (to, facts) in stored {
            self.emit(Output::SendFacts(to, id, facts));
        }
        let Some(job) = self.jobs.get(&id) else { return };
        // What nobody could be sent now is tried again after a whole period.
        let next = job.outbox.values().filter_map(due).filter(|at| *at > now).min();
        self.timers.sooner(Timer::Resend(id), next.unwrap_or(now + again));
    }

    /// Which packs go to whom now: the steward and the owner first, then as many others as r asks for.
    fn due_packs(&self, id: JobId, only_new: bool, due: &impl Fn(&OutPack) -> Option<Timestamp>) -> Vec<Send> {
        let (me, now, mut sends) = (self.id, self.now, Vec::new());
        let Some(job) = self.jobs.get(&id) else { return sends };
        let mut order = vec![job.steward_id, job.manifest.owner];
        order.extend(job.replicas.iter().copied());
        let mut seen = BTreeSet::from([me]);
        order.retain(|n| seen.insert(*n) && job.replicas.contains(n) && self.alive(*n));
        let own = usize::from(job.role == Role::Replica && job.held);
        let need = job.r();
        for (fact, out) in &job.outbox {
            let fresh = out.last_sent.is_none();
            if (only_new && !fresh) || due(out).is_some_and(|at| at > now) {
                continue;
            }
            let mut have = own.max(out.acked.len());
            for to in &order {
                // Who did not ack a first time may never: then the others get it, too.
                let wanted = *to == job.steward_id || *to == job.manifest.owner || have < need || !fresh;
                if wanted && !out.acked.contains_key(to) {
                    sends.push((*to, *fact, out.signed.clone()));
                    have += 1;
                }
            }
            if sends.len() > 512 {
                break;
            }
        }
        sends
    }

    /// A helper whose packs wait for members of R that are gone asks one that is there, now and then: others may have joined,
    /// or the job may have been deleted, and nobody tells a helper.
    fn probe(&self, id: JobId) -> Option<(NodeId, FactId)> {
        let job = self.jobs.get(&id).filter(|j| j.role != Role::Replica)?;
        if job.probed.is_some_and(|at| self.now.since(at).0 < 6 * self.cfg.timing.idle_beat.0) {
            return None;
        }
        let steward = [job.steward_id];
        let to = steward.iter().chain(&job.replicas).copied().find(|n| *n != self.id && self.alive(*n))?;
        let fact = job.outbox.iter().find(|(_, o)| o.durable).map(|(f, _)| *f)?;
        Some((to, fact))
    }

    pub(super) fn on_resend_timer(&mut self, id: JobId) {
        let full: Vec<FactId> = match self.jobs.get(&id) {
            Some(job) => job.outbox.keys().copied().collect(),
            None => return,
        };
        for f in full {
            self.check_outbox(id, f);
        }
        self.commit_again(id);
        let delivered = self.jobs.get_mut(&id).map(|j| std::mem::take(&mut j.delivered)).unwrap_or_default();
        for pack in delivered {
            self.commit(Vec::new(), vec![Record::OutboxDone(id, pack)], Then::Delivered(id, pack));
        }
        self.send_outbox(id, false);
        self.ask_whether_it_is_over(id);
        self.resend_replication(id);
        self.mend(id);
        self.seek_rows(id);
        let Some(job) = self.jobs.get(&id) else { return };
        if !job.outbox.is_empty() {
            self.timers.ensure(Timer::Resend(id), self.now + self.cfg.timing.resend);
        }
    }

    /// Nobody acks what this helper owes: R may have lost the job, and somebody else may know that it was deleted.
    fn ask_whether_it_is_over(&mut self, id: JobId) {
        if self.jobs.get(&id).is_none_or(|j| j.role == Role::Replica || j.unheard < MAX_UNHEARD) {
            return;
        }
        let peers = self.usable_peers();
        let n = self.below(peers.len());
        if let Some(p) = peers.get(n).copied() {
            self.compare_with(p, id);
        }
    }

    /// Own packs that found the disk full: nobody else may have them.
    fn commit_again(&mut self, id: JobId) {
        let me = self.id;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let alone = job.replicas == [me];
        let mut groups = Vec::new();
        for (fact_id, out) in &job.outbox {
            let Some(signed) = out.signed.clone().filter(|_| !out.durable && !job.in_flight.contains(fact_id)) else {
                continue;
            };
            if let Ok(fact) = signed.decode() {
                groups.push((*fact_id, signed, Arc::new(fact)));
            }
        }
        for (fact_id, signed, fact) in groups {
            let Some(job) = self.jobs.get_mut(&id) else { return };
            job.in_flight.insert(fact_id);
            let mut records = Vec::new();
            if !std::mem::replace(&mut job.recorded, true) {
                records.push(Record::Manifest(id, (*job.signed).clone()));
            }
            records.push(Record::Fact(id, fact_id, signed));
            if !alone {
                records.push(Record::Outbox(id, fact_id));
            }
            let blobs = fact.closure().map(|(b, _)| b).collect();
            let facts = vec![(fact_id, fact)];
            self.commit(blobs, records, Then::Facts { job: id, facts, ack: None, made: Made::Pack });
        }
    }

    /// The job was deleted, says somebody who keeps it: a helper's packs are wanted by nobody.
    pub(super) fn owes_nothing(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.role == Role::Hearsay) else { return };
        job.outbox.clear();
        job.work.pack.clear();
        job.work.pack_bytes = 0;
        job.work.bags.results.clear();
        job.work.bags.bytes = 0;
        job.over = true;
        self.maybe_drop(id);
    }

    /// A node that only helped forgets the job once it owes nothing.
    pub(super) fn maybe_drop(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let over = job.over
            || job.heard.as_ref().is_some_and(|h| h.state != JobState::Active)
            || job.state != JobState::Active;
        let idle =
            job.outbox.is_empty() && !job.work.holds_any() && job.work.pack.is_empty() && job.work.launches.is_empty();
        // Whoever submits it again waits for an answer: R may ask this node to keep it.
        let idle = idle && job.work.bags.results.is_empty() && job.submission.is_none();
        if job.role != Role::Hearsay || !over || !idle || !job.in_flight.is_empty() {
            return;
        }
        // A full disk may have refused the last group, and taken others before.
        let recorded = job.recorded || job.fold.digest().0 > 0;
        let heard = job.heard.clone();
        self.set_runnable(id, false);
        self.live.remove(&id);
        self.timers.drop_job(id);
        self.forget_help(id, recorded);
        if let Some(h) = heard {
            if self.hearsay.len() >= limits::MAX_JOBS {
                self.hearsay.pop_first();
            }
            self.hearsay.insert(id, h);
        }
    }
    /// Nothing of the job is of use here any more.
    pub(super) fn forget_help(&mut self, id: JobId, recorded: bool) {
        self.jobs.remove(&id);
        if recorded {
            self.commit(Vec::new(), vec![Record::Drop(id)], Then::Dropped(id));
        }
        self.emit(Output::Release(id));
    }
}
