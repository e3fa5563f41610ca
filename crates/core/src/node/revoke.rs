//! Cancel and delete: facts like all others, so that no partition loses them (P11, S9).

use std::collections::BTreeSet;

use filch_types::fact::{FactBody, SignedFact};
use filch_types::record::Record;
use filch_types::time::Span;
use filch_types::wire::{Message, Refusal, Request, Response};
use filch_types::{FactId, JobId, NodeId};

use super::{Asked, Asker, Made, Node, Then, Timer};
use crate::io::{ClientId, Event, Output, Reply, Token};
use crate::view::Role;
use crate::{ClientError, Mutant};

impl Node {
    /// Who may cancel and delete. With one cluster key every member may; roles will narrow it.
    pub(super) fn may_revoke(&self, _who: NodeId) -> bool {
        true
    }

    pub(super) fn on_revoke(&mut self, client: ClientId, id: JobId, delete: bool) {
        if self.tombstones.contains_key(&id) {
            return self.gone_already(id, Asker::Client(client));
        }
        if self.jobs.get(&id).is_some_and(|j| j.role == Role::Replica) {
            return self.revoke_here(id, delete, Asker::Client(client));
        }
        let replicas = match (self.jobs.get(&id), self.hearsay.get(&id)) {
            (Some(j), _) => j.replicas.clone(),
            (None, Some(s)) => s.replicas.clone(),
            (None, None) => return self.emit(Output::Reply(client, Reply::Refused(ClientError::UnknownJob))),
        };
        self.revoke_next(id, Some(client), delete, replicas);
    }

    pub(super) fn revoke_next(&mut self, job: JobId, client: Option<ClientId>, delete: bool, mut left: Vec<NodeId>) {
        while !left.is_empty() {
            let p = left.remove(0);
            if p != self.id && self.alive(p) {
                return self.ask(p, Request::Revoke { job, delete }, Asked::Revoke { job, client, delete, left });
            }
        }
        if let Some(c) = client {
            self.emit(Output::Reply(c, Reply::Refused(ClientError::Unreachable)));
        }
    }

    pub(super) fn on_revoke_answer(
        &mut self,
        job: JobId,
        client: Option<ClientId>,
        delete: bool,
        left: Vec<NodeId>,
        r: Response,
    ) {
        match (r, client) {
            (Response::Done, Some(c)) => {
                self.stop_work(job, true);
                if delete {
                    self.owes_nothing(job);
                }
                self.emit(Output::Reply(c, Reply::Revoked(job)));
            }
            (Response::Done, None) => {}
            _ => self.revoke_next(job, client, delete, left),
        }
    }

    pub(super) fn on_revoke_request(&mut self, from: NodeId, token: Token, id: JobId, delete: bool) {
        if self.tombstones.contains_key(&id) {
            return self.gone_already(id, Asker::Peer(token));
        }
        if !self.may_revoke(from) {
            return self.refuse(token, Refusal::Invalid("not permitted".into()));
        }
        if !self.jobs.get(&id).is_some_and(|j| j.role == Role::Replica) {
            return self.refuse(token, Refusal::UnknownJob);
        }
        self.revoke_here(id, delete, Asker::Peer(token));
    }

    /// Answers once the tombstone is on disk (P2): it may be on its way there, or wait for room.
    fn gone_already(&mut self, id: JobId, asker: Asker) {
        if self.burying(id) || self.timers.is_set(Timer::Bury(id)) {
            self.bury(id, vec![asker]);
        } else {
            self.revoked(id, asker);
        }
    }

    fn revoke_here(&mut self, id: JobId, delete: bool, asker: Asker) {
        let Some(job) = self.jobs.get(&id) else { return };
        if delete {
            let fact = filch_types::Fact { job: id, by: self.id, body: FactBody::Delete };
            if let Ok(signed) = SignedFact::sign(&fact, &*self.keys) {
                self.delete_job(id, signed, vec![asker]);
            }
            return;
        }
        if job.fold.cancelled() {
            return self.revoked(id, asker);
        }
        self.make_fact(id, FactBody::Cancel, Made::Asked(asker));
    }

    /// It is on disk: only now anybody hears of it (P2).
    pub(super) fn revoked(&mut self, id: JobId, asker: Asker) {
        match asker {
            Asker::Client(c) => self.emit(Output::Reply(c, Reply::Revoked(id))),
            Asker::Peer(token) => self.respond(token, Response::Done),
            Asker::Sender(p, fact) => self.send_stored(p, id, vec![fact]),
        }
    }

    pub(super) fn revoke_failed(&mut self, asker: Asker, why: &str) {
        match asker {
            Asker::Client(c) => self.emit(Output::Reply(c, Reply::Refused(ClientError::DiskFull(why.to_owned())))),
            Asker::Peer(token) => self.refuse(token, Refusal::Full(why.to_owned())),
            // It comes again.
            Asker::Sender(..) => {}
        }
    }

    /// Drops everything about a job but its tombstone.
    pub(super) fn delete_job(&mut self, id: JobId, tomb: SignedFact, askers: Vec<Asker>) {
        self.stop_work(id, true);
        self.step_down(id);
        if let Some(job) = self.jobs.remove(&id) {
            self.nonces.remove(&job.manifest.nonce);
            let waiting = job.submission.map(|s| s.clients).unwrap_or_default();
            for c in waiting {
                self.emit(Output::Reply(c, Reply::Refused(ClientError::UnknownJob)));
            }
            // Who holds it without being in R hears of it from nobody else.
            let mut told: BTreeSet<NodeId> = job.replicas.iter().chain(job.holders.keys()).copied().collect();
            told.remove(&self.id);
            self.untold.insert(id, told);
        }
        self.hearsay.remove(&id);
        self.live.remove(&id);
        self.timers.drop_job(id);
        self.tombstones.insert(id, tomb);
        self.event(Event::State(id, filch_types::wire::JobState::Deleted));
        self.tell(id);
        self.bury(id, askers);
    }

    /// Tells of the end of a job whoever keeps it and has not acked it: no loss of a message, and no partition, brings it
    /// back.
    pub(super) fn tell(&mut self, id: JobId) {
        let (Some(untold), Some(tomb)) = (self.untold.get(&id), self.tombstones.get(&id).cloned()) else { return };
        let up: Vec<NodeId> = untold.iter().copied().filter(|r| self.alive(*r)).collect();
        let t = &self.cfg.timing;
        let again = if up.is_empty() { Span(6 * t.idle_beat.0) } else { t.resend };
        for r in up {
            self.emit(Output::Send(r, Message::Facts(vec![tomb.clone()])));
        }
        if !self.planted(Mutant::CancelNotRepeated) {
            self.timers.set(Timer::Tell(id), self.now + again);
        }
    }

    /// Somebody acked facts of a job that is gone.
    pub(super) fn told(&mut self, id: JobId, from: NodeId, facts: &[FactId]) {
        let Some(tomb) = self.tombstones.get(&id).map(SignedFact::id) else { return };
        let Some(untold) = self.untold.get_mut(&id).filter(|_| facts.contains(&tomb)) else { return };
        untold.remove(&from);
        if untold.is_empty() {
            self.untold.remove(&id);
            self.timers.cancel(Timer::Tell(id));
        }
    }

    /// Writes the tombstone; of a job that was only helped with, that nothing of it is left.
    pub(super) fn bury(&mut self, id: JobId, askers: Vec<Asker>) {
        if let Some(tomb) = self.tombstones.get(&id).cloned() {
            self.commit(Vec::new(), vec![Record::Forget(id, tomb)], Then::Forgotten { askers, job: id });
        } else if let Some(job) = self.jobs.get_mut(&id) {
            // It was heard of again meanwhile. Its rows are there still, and go once it does.
            job.recorded = true;
        } else {
            self.commit(Vec::new(), vec![Record::Drop(id)], Then::Dropped(id));
        }
    }

    /// The disk is full. The job is gone all the same, and its tombstone is written as soon as there is room.
    pub(super) fn bury_failed(&mut self, id: JobId, askers: Vec<Asker>, why: &str) {
        for a in askers {
            self.revoke_failed(a, why);
        }
        self.timers.set(Timer::Bury(id), self.now + self.cfg.timing.resend);
    }

    pub(super) fn forgotten(&mut self, id: JobId, askers: Vec<Asker>) {
        self.emit(Output::Release(id));
        for a in askers {
            self.revoked(id, a);
        }
    }
}
