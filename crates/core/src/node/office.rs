//! Who is the steward of a job (P7): soft state, a belief of each node, made right by asking whoever is believed to be in office.
//!
//! - A belief is a member of R and the highest epoch that was heard of. Epochs only grow; a steward that hears of a later one steps down.
//! - Only the believed one itself can show that it is not in office: by saying so, by asking this node as if this were the steward, or by
//!   having restarted. Every member of R asks it in each heartbeat, so a wrong belief lasts no longer than one, whatever it came from.
//! - An office that nobody holds goes to the first member of R that lives, in a later epoch than any that was heard of. A returning higher member
//!   does not pre-empt.

use filch_types::record::Record;
use filch_types::wire::{JobBeatAck, JobState, Office};
use filch_types::{Epoch, JobId, NodeId, ranges::Range};

use super::job::{Job, Steward};
use super::{Node, Then, Timer};
use crate::io::Event;
use crate::view::Role;

/// How many rounds an epoch can be ahead in honest ways: further than takeovers could have led, it is a lie.
const MAX_LEAP: u32 = 128;

impl Node {
    /// Sees who should be the steward of a job, after anything about replicas or liveness changed (P7).
    pub(super) fn choose_steward(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        if (job.state != JobState::Active && job.steward.is_none()) || self.timers.is_set(Timer::Elect(id)) {
            return;
        }
        let keeps = !job.vacant
            && job.replicas.contains(&job.steward_id)
            && (if job.steward_id == self.id { job.steward.is_some() } else { self.alive(job.steward_id) });
        if keeps {
            return;
        }
        let Some(next) = self.candidate(job) else { return };
        if next == self.id {
            if job.held && job.role == Role::Replica {
                self.become_steward(id, false);
            }
        } else {
            self.believe(id, next, true);
        }
    }

    /// The first of R that lives. Whoever is known not to keep the job, or goes down, comes last.
    fn candidate(&self, job: &Job) -> Option<NodeId> {
        let lives = |n: &NodeId| self.alive(*n);
        let fit = |n: &NodeId| lives(n) && !job.strangers.contains(n) && !self.drains(*n);
        let mut members = job.replicas.iter().copied();
        members.find(fit).or_else(|| job.replicas.iter().copied().find(lives))
    }

    fn drains(&self, n: NodeId) -> bool {
        let hello = |p| self.peers.get(&p).and_then(|p| p.hello.as_ref());
        if n == self.id { self.draining } else { hello(n).is_some_and(|h| h.draining) }
    }

    /// This one is taken for the steward from now on. Whoever just said that it is not is not asked again before the next heartbeat.
    fn believe(&mut self, id: JobId, who: NodeId, soon: bool) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.steward_id = who;
        let was_vacant = std::mem::replace(&mut job.vacant, false);
        if soon && !was_vacant && job.work.holds_any() {
            self.beat_soon(who);
        }
    }

    /// `p` showed that it is not the steward that this node took it for: the first live member of R is.
    pub(super) fn vacate(&mut self, id: JobId, p: NodeId) {
        let me = self.id;
        if let Some(job) = self.jobs.get_mut(&id)
            && job.steward.is_none()
            && (job.steward_id == p || job.steward_id == me)
        {
            job.vacant = true;
            self.choose_steward(id);
        }
    }

    /// An epoch is heard of. Whoever takes the office later does it in a later one, and who grants in an earlier one is told.
    pub(super) fn hear_epoch(&mut self, id: JobId, epoch: Epoch) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if epoch <= job.epoch || epoch.round().saturating_sub(job.epoch.round()) >= MAX_LEAP {
            return;
        }
        let in_office = job.steward.is_some();
        job.epoch = epoch;
        job.work.seen_grant = 0;
        if in_office {
            self.superseded(id, epoch);
        }
    }

    /// Somebody took over in a later epoch. Its number says who, if this node knows of that member of R; else a summary does.
    fn superseded(&mut self, id: JobId, epoch: Epoch) {
        self.step_down(id);
        let me = self.id;
        if let Some(job) = self.jobs.get_mut(&id)
            && let Some(who) = job.replicas.iter().copied().find(|n| *n != me && epoch.is_of(n))
        {
            job.steward_id = who;
        }
        self.choose_steward(id);
    }

    /// A member of R takes this node for the steward.
    pub(super) fn on_office(&mut self, from: NodeId, o: Office) -> JobBeatAck {
        if self.tombstones.contains_key(&o.job) {
            return JobBeatAck::new(o.job, Some(self.id), o.epoch, JobState::Deleted);
        }
        self.asked_as_steward(o.job, from, o.epoch);
        match self.jobs.get(&o.job) {
            Some(job) => JobBeatAck::new(o.job, Some(job.steward_id), job.epoch, job.state),
            None => JobBeatAck::new(o.job, None, o.epoch, JobState::Active),
        }
    }

    /// Somebody believes that this node is the steward, and that this is the epoch: so it is not in office itself.
    pub(super) fn asked_as_steward(&mut self, id: JobId, from: NodeId, epoch: Epoch) {
        self.hear_epoch(id, epoch);
        self.vacate(id, from);
    }

    /// Whom this node asked as the steward says that it is not, but another one, in this epoch as far as it knows; or that it knows nothing.
    pub(super) fn denied(&mut self, id: JobId, from: NodeId, named: Option<NodeId>, epoch: Epoch) {
        let me = self.id;
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.steward.is_none() && j.steward_id == from) else {
            return named.into_iter().for_each(|n| self.learn_steward(id, n, epoch));
        };
        if named.is_none() && job.replicas.contains(&from) {
            job.strangers.insert(from);
        }
        job.vacant = true;
        if let Some(named) = named.filter(|n| *n != me) {
            self.learn_steward(id, named, epoch);
        }
        // Its belief is older than this node's own: nothing that it says of others counts.
        if self.jobs.get(&id).is_some_and(|j| j.vacant) {
            self.hear_epoch(id, epoch);
            self.choose_steward(id);
        }
    }

    /// Somebody is said to be the steward. The higher epoch is right; the own belief about who is alive is not touched.
    pub(super) fn learn_steward(&mut self, id: JobId, steward: NodeId, epoch: Epoch) {
        let me = self.id;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if steward == me {
            // Said by somebody who takes this node for the steward.
            if job.steward.is_none() && epoch >= job.epoch {
                self.vacate(id, me);
            }
            return;
        }
        if (epoch, steward) == (job.epoch, job.steward_id) {
            return;
        }
        let believed = job.steward_id;
        let (newer, older, vacant) = (epoch > job.epoch, epoch < job.epoch, job.vacant);
        let own_is_better = job.steward.as_ref().is_some_and(|s| s.epoch >= epoch);
        let stays = !newer && !vacant && self.alive(believed);
        if own_is_better || older || stays || !self.alive(steward) {
            return;
        }
        self.step_down(id);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.epoch != epoch {
            job.work.seen_grant = 0;
        }
        job.epoch = epoch;
        self.believe(id, steward, newer);
        if self.jobs.get(&id).is_some_and(|j| !j.outbox.is_empty()) {
            self.timers.sooner(Timer::Resend(id), self.now);
        }
    }

    /// Takes the office. Only the submitter of a new job grants at once: nobody else can hold a lease of it.
    pub(super) fn become_steward(&mut self, id: JobId, fresh: bool) {
        let me = self.id;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.steward.is_some() {
            return;
        }
        let epoch = if fresh {
            Epoch::FIRST
        } else {
            job.round = job.round.max(job.epoch.round()).saturating_add(1);
            Epoch::new(job.round, &me)
        };
        let mut s = Steward::new(epoch, job.fold.tree().open());
        s.repool(&job.fold, Range::new(0, job.fold.total()));
        (s.durable, s.grace_over, s.granting) = (fresh, fresh, fresh);
        job.steward = Some(s);
        job.steward_id = me;
        job.vacant = false;
        if job.epoch != epoch {
            job.work.seen_grant = 0;
        }
        job.epoch = epoch;
        let round = job.round;
        self.live.insert(id);
        self.timers.cancel(Timer::Elect(id));
        self.event(Event::Steward(id, epoch));
        if !fresh {
            self.commit(Vec::new(), vec![Record::Round(id, round)], Then::Round(id));
            self.timers.set(Timer::Grace(id), self.now + self.cfg.timing.lease);
            self.timers.set(Timer::AntiEntropy(id), self.now);
        }
        self.set_runnable(id, true);
        self.timers.set(Timer::Announce(id), self.now);
        self.timers.set(Timer::Repair(id), self.now + self.cfg.timing.beat);
        self.beat_soon(me);
    }

    pub(super) fn round_durable(&mut self, id: JobId) {
        self.with_steward(id, |s| s.durable = true);
    }

    /// The disk is full: no office without a round on disk. Somebody has to try again.
    pub(super) fn round_failed(&mut self, id: JobId) {
        self.step_down(id);
        self.timers.set(Timer::Elect(id), self.now + self.cfg.timing.resend);
    }

    pub(super) fn on_grace_timer(&mut self, id: JobId) {
        self.with_steward(id, |s| s.grace_over = true);
        self.beat_soon(self.id);
    }

    fn with_steward(&mut self, id: JobId, f: impl FnOnce(&mut Steward)) {
        if let Some(s) = self.jobs.get_mut(&id).and_then(|j| j.steward.as_mut()) {
            f(s);
            s.granting = s.durable && s.grace_over;
            if s.granting {
                self.timers.set(Timer::Announce(id), self.now);
                self.look_over_bags(id);
                self.offer_bags(id);
            }
        }
    }

    pub(super) fn step_down(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id)
            && let Some(s) = job.steward.take()
        {
            for w in s.workers.keys() {
                self.timers.cancel(Timer::Lease(id, *w));
            }
            self.timers.cancel(Timer::Grace(id));
            self.timers.cancel(Timer::Announce(id));
        }
    }

    /// This node goes down: whoever comes next takes the offices at once, and listens while what runs here comes to its end.
    pub(super) fn leave_offices(&mut self) {
        let mine: Vec<JobId> = self.jobs.values().filter(|j| j.steward.is_some()).map(|j| j.id).collect();
        for id in mine {
            let Some(next) = self.jobs.get(&id).and_then(|j| self.candidate(j)).filter(|n| *n != self.id) else {
                continue;
            };
            self.step_down(id);
            self.believe(id, next, true);
            self.beat_soon(next);
        }
    }

    /// After a suspend: others may have a new steward and new leases. Listen for one lease before granting again.
    pub(super) fn steward_woke_up(&mut self, id: JobId) {
        let until = self.now + self.cfg.timing.lease;
        let me = self.id;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let alone = job.replicas == [me];
        let Some(s) = job.steward.as_mut() else { return };
        if !alone {
            (s.grace_over, s.granting) = (false, false);
        }
        for (w, lease) in &mut s.workers {
            lease.expires = until;
            self.timers.set(Timer::Lease(id, *w), until);
        }
        if !alone {
            self.timers.set(Timer::Grace(id), until);
        }
    }
}
