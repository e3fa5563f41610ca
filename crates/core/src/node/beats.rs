//! Heartbeats: leases are renewed by saying what is held (P8), ledger digests ride along (P10), silence is noticed.

use filch_types::limits;
use filch_types::ranges::{Range, RangeMap};
use filch_types::wire::{Beat, JobBeat, JobBeatAck, JobDigest, JobState, Office, Request, Response};
use filch_types::{JobId, NodeId, Timestamp};

use super::job::Tag;
use super::{Asked, Node, Timer};
use crate::Mutant;
use crate::io::Token;
use crate::view::Role;

/// Rounds of probes per period.
const PROBE_ROUNDS: u64 = 8;

impl Node {
    /// Sends a heartbeat to `p` as soon as the last one is answered.
    pub(super) fn beat_soon(&mut self, p: NodeId) {
        if p != self.id
            && let Some(peer) = self.peers.get_mut(&p)
            && peer.beat_in_flight
        {
            peer.beat_again = true;
            return;
        }
        self.timers.sooner(Timer::Beat(p), self.now);
    }

    /// Tells the steward of `job` at once what is held.
    pub(super) fn report(&mut self, job: JobId) {
        if let Some(j) = self.jobs.get(&job) {
            self.beat_soon(j.steward_id);
        }
    }

    fn job_beat(&self, id: JobId) -> Option<JobBeat> {
        let job = self.jobs.get(&id)?;
        let something = job.work.holds_any() || job.work.outdated || job.work.unsaid;
        if !something || self.now < job.quiet_until {
            return None;
        }
        Some(JobBeat {
            job: id,
            epoch: job.epoch,
            seen_grant: job.work.seen_grant,
            held: job.work.held(),
            running: self.executing(id),
            given: job.work.given.iter().copied().collect(),
            bags: self.held_bags(id),
        })
    }

    fn digest_of(&self, id: JobId) -> Option<JobDigest> {
        let job = self.jobs.get(&id).filter(|j| j.role == Role::Replica)?;
        let (facts, xor) = job.fold.digest();
        Some(JobDigest { job: id, facts, xor, held: job.held })
    }

    pub(super) fn on_beat_timer(&mut self, p: NodeId) {
        let live: Vec<JobId> = self.live.iter().copied().collect();
        if p == self.id {
            return self.beat_self(&live);
        }
        let Some(peer) = self.peers.get(&p) else { return };
        if !peer.connected {
            return;
        }
        let (last_heard, in_flight) = (peer.last_heard, peer.beat_in_flight);
        let full = self.now < self.disk_full_until;
        let mut beat = Beat { queued: self.queued, idle: self.idle_slots(), full, ..Beat::default() };
        let mut shared = false;
        for id in live {
            self.forget_moved(id);
            let Some(job) = self.jobs.get(&id) else { continue };
            if job.steward_id == p && beat.jobs.len() < limits::MAX_BEAT_JOBS {
                beat.jobs.extend(self.job_beat(id));
            }
            if job.role == Role::Replica && job.replicas.contains(&p) {
                let active = job.state == JobState::Active;
                shared |= active;
                let told = beat.jobs.last().is_some_and(|j| j.job == id);
                if active && job.steward_id == p && !told && beat.offices.len() < limits::MAX_BEAT_JOBS {
                    beat.offices.push(Office { job: id, epoch: job.epoch });
                }
                if !job.settled.contains(&p)
                    && !job.strangers.contains(&p)
                    && beat.digests.len() < limits::MAX_BEAT_JOBS
                {
                    beat.digests.extend(self.digest_of(id));
                }
            }
        }
        let t = self.cfg.timing.clone();
        let interest = shared || !beat.jobs.is_empty() || !beat.digests.is_empty();
        // One of the two probes, the other one only if it hears nothing.
        let idle = if self.id < p { t.idle_beat } else { filch_types::time::Span(t.idle_beat.0 * 3 / 2) };
        let due = self.probe_round(last_heard + idle);
        if !interest && self.now < due {
            return self.timers.set(Timer::Beat(p), due);
        }
        self.timers.set(Timer::Beat(p), if interest { self.now + t.beat } else { self.probe_round(self.now + idle) });
        if !in_flight {
            self.send_beat(p, beat);
        }
    }

    fn send_beat(&mut self, p: NodeId, beat: Beat) {
        if let Some(peer) = self.peers.get_mut(&p) {
            peer.beat_in_flight = true;
            let since = *peer.unanswered_since.get_or_insert(self.now);
            self.timers.ensure(Timer::Silence(p), since + self.cfg.timing.dead_after);
        }
        let compared = beat.digests.iter().map(|d| d.job).collect();
        self.ask(p, Request::Beat(beat), Asked::Beat(compared));
    }

    /// Asks a peer whether it is there, before its next probe is due.
    pub(super) fn probe_now(&mut self, p: NodeId) {
        if self.peers.get(&p).is_some_and(|x| x.connected && !x.beat_in_flight) {
            let full = self.now < self.disk_full_until;
            self.send_beat(p, Beat { queued: self.queued, idle: self.idle_slots(), full, ..Beat::default() });
        }
    }

    /// The last round of probes before `at`. Whoever has hundreds of idle peers wakes up for many of them at once, and not when others do.
    fn probe_round(&self, at: Timestamp) -> Timestamp {
        let every = (self.cfg.timing.idle_beat.0 / PROBE_ROUNDS).max(1);
        let phase = (u64::from(u16::from_le_bytes([self.id.0[0], self.id.0[1]])) * every) >> 16;
        Timestamp(((at.0 + phase) / every * every).saturating_sub(phase))
    }

    /// A node that is its own steward renews its own leases by the same rules.
    fn beat_self(&mut self, live: &[JobId]) {
        let mut any = false;
        for &id in live {
            if self.jobs.get(&id).is_none_or(|j| j.steward_id != self.id) {
                continue;
            }
            self.forget_moved(id);
            if let Some(jb) = self.job_beat(id) {
                any = true;
                let ack = self.steward_beat(self.id, jb);
                self.apply_beat_ack(self.id, self.now, ack);
            }
        }
        if any {
            self.timers.set(Timer::Beat(self.id), self.now + self.cfg.timing.beat);
        }
    }

    pub(super) fn on_beat(&mut self, from: NodeId, token: Token, beat: Beat) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.queued = beat.queued;
            peer.disk_full = beat.full;
        }
        let mut jobs = Vec::new();
        for jb in beat.jobs.into_iter().take(limits::MAX_BEAT_JOBS) {
            jobs.push(self.steward_beat(from, jb));
        }
        for o in beat.offices.into_iter().take(limits::MAX_BEAT_JOBS) {
            jobs.push(self.on_office(from, o));
        }
        let mut digests = Vec::new();
        for d in beat.digests.into_iter().take(limits::MAX_BEAT_JOBS) {
            if let Some(tomb) = self.tombstones.get(&d.job).cloned() {
                self.emit(crate::Output::Send(from, filch_types::wire::Message::Facts(vec![tomb])));
                continue;
            }
            digests.extend(self.digest_of(d.job));
            self.compare_digest(from, d);
        }
        self.respond(token, Response::Beat { jobs, digests });
    }

    pub(super) fn on_beat_answer(
        &mut self,
        p: NodeId,
        sent: Timestamp,
        compared: Vec<JobId>,
        jobs: Vec<JobBeatAck>,
        digests: Vec<JobDigest>,
    ) {
        if let Some(peer) = self.peers.get_mut(&p) {
            peer.beat_in_flight = false;
            if std::mem::take(&mut peer.beat_again) {
                self.timers.set(Timer::Beat(p), self.now);
            }
        }
        for ack in jobs {
            self.apply_beat_ack(p, sent, ack);
        }
        for id in compared.into_iter().filter(|id| !digests.iter().any(|d| d.job == *id)) {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.strangers.insert(p);
            }
        }
        for d in digests {
            self.compare_digest(p, d);
        }
    }

    pub(super) fn beat_failed(&mut self, p: NodeId) {
        let now = self.now;
        if let Some(peer) = self.peers.get_mut(&p) {
            peer.beat_in_flight = false;
            peer.beat_again = false;
            if peer.connected {
                self.timers.sooner(Timer::Beat(p), now + self.cfg.timing.beat);
            }
        }
    }

    fn compare_digest(&mut self, from: NodeId, d: JobDigest) {
        let store = self.store_of(from);
        let renewed = self.peers.get(&from).and_then(|p| p.renewed);
        let late = renewed.is_some_and(|at| self.now.since(at) < self.cfg.timing.dead_after);
        let Some(job) = self.jobs.get_mut(&d.job) else { return };
        if job.role != Role::Replica {
            return;
        }
        if late && d.held && !job.holders.contains_key(&from) {
            // Digests do not name their store: this one may be of the store that was lost. A new copy is told by `Held`, which does.
            return;
        }
        job.strangers.remove(&from);
        match store {
            Some(store) if d.held => {
                job.holders.insert(from, store);
            }
            _ => {
                job.holders.remove(&from);
            }
        }
        let same = job.fold.digest() == (d.facts, d.xor);
        if same {
            job.settled.insert(from);
            job.earlier.agrees(from);
            job.compared(from);
            self.copies_listed(d.job, from, None);
            self.try_pin(d.job);
        } else {
            job.settled.remove(&from);
            self.live.insert(d.job);
            self.timers.ensure(Timer::AntiEntropy(d.job), self.now + self.cfg.timing.anti_entropy);
        }
        self.nudge_submission(d.job);
    }

    fn apply_beat_ack(&mut self, from: NodeId, sent: Timestamp, ack: JobBeatAck) {
        let me = self.id;
        let lease = self.cfg.timing.lease_worker;
        let across_clocks = self.planted(Mutant::LeaseAcrossClocks) && from != me;
        let Some(job) = self.jobs.get_mut(&ack.job) else { return };
        if ack.state != JobState::Active {
            // An end is told by facts, whatever the epoch and the office: nothing held has to be listed any more.
            job.work.unacked = Default::default();
            job.work.failed = Default::default();
            job.work.bags.unacked.clear();
        }
        if ack.steward != Some(from) {
            if ack.steward.is_none() && ack.state == JobState::Active {
                self.unknown_there(ack.job);
            }
            self.denied(ack.job, from, ack.steward, ack.epoch);
            return self.ended_there(ack.job, ack.state);
        }
        if ack.epoch < job.epoch {
            return;
        }
        (job.work.outdated, job.work.unsaid) = (false, false);
        // After a suspend the own office proves nothing: others may have taken it over, until one lease was listened for.
        if from != me || job.steward.as_ref().is_some_and(|s| s.granting) {
            job.work.heard_steward(sent);
        }
        if !across_clocks {
            job.work.renew(sent, lease);
        }
        while job.work.given.front().is_some_and(|g| g.seq <= ack.given_upto) {
            job.work.given.pop_front();
        }
        for run in &ack.revoked {
            let tag = Tag { attempt: run.attempt, hops: run.hops };
            // What was given away and stolen back since the heartbeat is not what the steward spoke of.
            for r in same_tag(&job.work.queue, run.range(), tag) {
                self.queued -= remove_counted(&mut job.work.queue, r);
            }
            for r in same_tag(&job.work.unacked, run.range(), tag) {
                job.work.unacked.remove(r);
                job.work.failed.remove(r);
            }
        }
        self.bags_revoked(ack.job, &ack.revoked_bags);
        if from != me {
            self.learn_steward(ack.job, from, ack.epoch);
        }
        self.stop_losers(ack.job, ack.ended.into_iter().collect());
        if ack.state == JobState::Active {
            self.outlived(ack.job);
        }
        self.known_there(ack.job);
        self.ended_there(ack.job, ack.state);
    }

    /// A steward confirms that tasks are this node's, of a job that has ended by the facts which this helper or observer has: these
    /// facts have outlived every replica that had them, and count for nothing (P4).
    fn outlived(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let ended = matches!(job.state, JobState::Succeeded | JobState::Failed);
        if ended && job.role != Role::Replica && job.outbox.is_empty() && !job.work.queue.is_empty() {
            self.start_over(id);
            self.set_runnable(id, true);
        }
    }

    /// What a replica says of the state of a job.
    fn ended_there(&mut self, id: JobId, state: JobState) {
        match state {
            JobState::Active => {}
            JobState::Cancelled => self.stop_work(id, true),
            JobState::Deleted => {
                self.stop_work(id, true);
                self.owes_nothing(id);
            }
            JobState::Succeeded | JobState::Failed => self.stop_work(id, false),
        }
    }

    /// Whether `m` is the planted bug under test.
    pub(super) fn planted(&self, m: Mutant) -> bool {
        self.mutant(m)
    }
}

/// The parts of `r` that have exactly this tag.
pub(super) fn same_tag(map: &RangeMap<Tag>, r: Range, tag: Tag) -> Vec<Range> {
    map.overlapping(r).filter(|(_, t)| **t == tag).map(|(part, _)| part).collect()
}

/// Removes `r` and says how many indices had a value.
pub(super) fn remove_counted<V: Clone + PartialEq>(map: &mut RangeMap<V>, r: Range) -> u64 {
    let before = map.len();
    map.remove(r);
    before - map.len()
}
