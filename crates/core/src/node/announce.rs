//! Summaries of jobs: what a steward tells the cluster, and what others make of it. Only ever a hint (P10).

use std::collections::BTreeSet;

use filch_types::wire::{JobState, Message, Request, Summary};
use filch_types::{JobId, NodeId, limits};

use super::job::Job;
use super::{Asked, Node, Timer};
use crate::io::{Event, Output};
use crate::view::Role;

/// Jobs looked at for a member that just came.
const LOOK: usize = 64;

impl Node {
    pub(super) fn summary(&self, id: JobId) -> Option<Summary> {
        let job = self.jobs.get(&id)?;
        let s = job.steward.as_ref();
        let mut name = job.manifest.spec.name.clone();
        name.truncate(name.floor_char_boundary(64));
        let mut needs = job.needs.clone();
        needs.truncate(8);
        Some(Summary {
            job: id,
            owner: job.manifest.owner,
            name,
            replicas: job.replicas.clone(),
            steward: job.steward_id,
            epoch: job.epoch,
            seq: s.map_or(0, |s| s.seq),
            priority: job.manifest.spec.priority,
            needs,
            total: job.fold.total(),
            succeeded: job.fold.succeeded() as u32,
            failed: job.fold.failed() as u32,
            leased: s.map_or(0, |s| (s.leased.len() + job.fold.tree().rooted().len()) as u32),
            grantable: s.filter(|s| s.granting).map_or(0, |s| s.pool.len() as u32 + s.bags.pool().len() as u32)
                + u32::from(self.copy_wanted(id)),
            state: job.state,
            created_ms: job.manifest.created_ms,
        })
    }

    /// Tells the cluster where a job stands; directly, too, to some who hold nothing: gossip is only a hint.
    pub(super) fn on_announce_timer(&mut self, id: JobId) {
        let me = self.id;
        let Some(s) = self.jobs.get_mut(&id).and_then(|j| j.steward.as_mut()) else { return };
        s.seq += 1;
        let busy: BTreeSet<NodeId> = s.leased.holders().collect();
        if s.granting && !(s.pool.is_empty() && s.bags.pool().is_empty()) {
            self.wake_up_for(id);
        }
        let Some(summary) = self.summary(id) else { return };
        let active = summary.state == JobState::Active;
        if active {
            self.timers.set(Timer::Announce(id), self.now + self.cfg.timing.announce);
        }
        let mut told = if active { self.usable_peers() } else { busy.iter().copied().collect() };
        told.retain(|p| *p != me && (!active || !busy.contains(p)));
        let start = self.below(told.len());
        told.rotate_left(start);
        told.truncate(8);
        for p in told {
            self.emit(Output::Send(p, Message::Announce(vec![summary.clone()])));
        }
        self.emit(Output::Publish(summary));
    }

    /// Jobs of this steward, to a member that just came.
    pub(super) fn announce_to(&mut self, p: NodeId) {
        let Some(peer) = self.peers.get_mut(&p) else { return };
        if std::mem::replace(&mut peer.announced, true) {
            return;
        }
        let stewarded = |j: &&Job| j.steward.is_some() && j.state == JobState::Active;
        let ids: Vec<JobId> = self
            .live
            .iter()
            .filter_map(|id| self.jobs.get(id).map(AsRef::as_ref))
            .filter(stewarded)
            .map(|j| j.id)
            .collect();
        let list: Vec<Summary> = ids.into_iter().take(128).filter_map(|id| self.summary(id)).collect();
        for chunk in list.chunks(64) {
            self.emit(Output::Send(p, Message::Announce(chunk.to_vec())));
        }
    }

    /// Gossip or an announcement. A hint: it may be old, wrong or forged.
    pub(super) fn on_summary(&mut self, s: Summary, from: Option<NodeId>) {
        if s.replicas.is_empty() || s.replicas.len() > limits::MAX_REPLICAS || self.tombstones.contains_key(&s.job) {
            return;
        }
        let id = s.job;
        if let Some(job) = self.jobs.get_mut(&id) {
            let grantable = s.grantable;
            let state = s.state;
            let older = job.heard.as_ref().is_some_and(|h| (h.epoch, h.seq) > (s.epoch, s.seq));
            if older {
                return self.tell_of_later_epoch(&s, from);
            }
            job.quiet_until = Default::default();
            let (steward, epoch) = (s.steward, s.epoch);
            // An observer's facts may outlive every replica that had them: then they count for nothing (P4).
            let outdated = state == JobState::Active && epoch > job.epoch && job.outbox.is_empty();
            let ended = matches!(job.state, JobState::Succeeded | JobState::Failed);
            if outdated && ended && job.role == Role::Observer {
                self.start_over(id);
            }
            let Some(job) = self.jobs.get_mut(&id) else { return };
            let told_stop = matches!(state, JobState::Cancelled | JobState::Deleted);
            job.heard = Some(s);
            // Results that only the last steward had are gone with it: there is work again.
            let again = state == JobState::Active && grantable > 0 && job.role != Role::Replica;
            let again = again && job.state == JobState::Active && !self.runnable_key.contains_key(&id);
            if again {
                job.over = false;
            }
            if grantable > 0 && !job.work.asking {
                job.work.next_ask = self.now;
                job.work.backoff = 0;
                job.work.victims.clear();
                job.work.lines.dry = false;
            }
            if again {
                self.set_runnable(id, true);
            }
            self.learn_steward(id, steward, epoch);
            if self.alive(steward) && steward != self.id {
                self.timers.cancel(Timer::Elect(id));
            }
            if told_stop && self.jobs.get(&id).is_some_and(|j| j.steward_id == steward && j.steward.is_none()) {
                self.stop_work(id, true);
            }
            if state != JobState::Active {
                self.maybe_drop(id);
            }
            return;
        }
        if !self.hearsay.contains_key(&id) {
            if self.hearsay.len() >= limits::MAX_JOBS {
                self.hearsay.pop_first();
            }
            self.event(Event::JobKnown(id));
        }
        let steward = s.steward;
        self.hearsay.insert(id, s);
        let whom = if self.alive(steward) { Some(steward) } else { from };
        if let Some(whom) = whom {
            self.ask_for_manifest(id, whom);
        }
    }

    /// A steward says in person what it grants, in an epoch that is over: it was away. It has to hear that, or whoever knows never asks it.
    fn tell_of_later_epoch(&mut self, s: &Summary, from: Option<NodeId>) {
        let Some(job) = self.jobs.get(&s.job).filter(|j| s.epoch < j.epoch && s.state == JobState::Active) else {
            return;
        };
        let free = job.steward_id == s.steward || !self.alive(job.steward_id);
        if !free || from != Some(s.steward) || job.steward.is_some() {
            return;
        }
        if let Some(job) = self.jobs.get_mut(&s.job) {
            job.steward_id = s.steward;
            job.work.outdated = true;
            self.beat_soon(s.steward);
        }
    }

    /// Asks for a job that was heard of, if this node could run something of it.
    fn ask_for_manifest(&mut self, id: JobId, whom: NodeId) {
        let Some(s) = self.hearsay.get(&id) else { return };
        let runnable = s.state == JobState::Active
            && !self.draining
            && !self.slots.is_empty()
            && s.needs.iter().all(|n| self.cfg.offers.contains(n));
        // Of a divided task there is something to be had as long as it runs.
        let divided = s.needs.iter().any(|n| n.starts_with("divisible:"));
        let some = s.grantable > 0 || (divided && s.leased > 0);
        if !runnable || !some || !self.alive(whom) || whom == self.id || self.pending.len() >= 4096 {
            return;
        }
        if !self.pending.values().any(|p| matches!(p.asked, Asked::Manifest(j) if j == id)) {
            self.ask(whom, Request::Manifest(id), Asked::Manifest(id));
        }
    }

    /// The steward of jobs that this node has only heard of is there: what was said of them may have come before it could be asked.
    pub(super) fn ask_for_manifests(&mut self, p: NodeId) {
        let stewarded = self.hearsay.iter().filter(|(_, s)| s.steward == p);
        let ids: Vec<JobId> = stewarded.map(|(id, _)| *id).take(LOOK).collect();
        ids.into_iter().for_each(|id| self.ask_for_manifest(id, p));
    }
}
