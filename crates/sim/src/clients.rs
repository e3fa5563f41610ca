//! People and programs that use the cluster: they submit, wait for the ack, try again, cancel, delete and read along.

use std::collections::BTreeMap;

use filch_core::{ClientError, ClientId, Input, Reply};
use filch_types::JobId;

use crate::history::Accepted;
use crate::load;
use crate::options::Action;
use crate::oracle::Seen;
use crate::world::{Ev, World};

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Submit planned job.
    Submit(usize),
    /// Action of planned job.
    Act(usize, usize),
}

/// A call of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// At which node.
    pub host: usize,
    /// In which of its lives.
    pub life: u32,
    /// When.
    pub at: u64,
    /// Why.
    pub purpose: Purpose,
}

/// How a planned job stands with its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its id, once a node has told.
    pub job: Option<JobId>,
    /// It was accepted.
    pub accepted: bool,
    /// The client gave up, or it was refused for good.
    pub given_up: bool,
    /// Calls made.
    pub calls: u32,
    /// The last refusal was for lack of so many copies.
    pub short_of: Option<u8>,
}

/// All clients.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    /// Calls without an answer.
    pub open: BTreeMap<ClientId, Call>,
    /// Planned jobs.
    pub jobs: BTreeMap<usize, Standing>,
    /// Actions that are done: (plan, action).
    pub done: BTreeMap<(usize, usize), bool>,
    next: u64,
}

/// Submits of one job before a client gives up.
const MAX_CALLS: u32 = 200;
/// Refusals after which a client no longer insists on its number of copies.
const PATIENCE: u32 = 3;
/// Reasons of refusals that are kept in words.
const MAX_REFUSALS: usize = 16;
/// The wall clock at the start, milliseconds since 1970.
const EPOCH_MS: u64 = 1_700_000_000_000;

impl Clients {
    /// Calls made so far.
    pub fn made(&self) -> u64 {
        self.next
    }
}

impl World {
    fn call(&mut self, h: usize, purpose: Purpose) -> ClientId {
        self.clients.next += 1;
        let id = ClientId(self.clients.next);
        let call = Call { host: h, life: self.hosts[h].life, at: self.now, purpose };
        self.clients.open.insert(id, call);
        id
    }

    pub(crate) fn client_submit(&mut self, plan: usize) {
        let job = self.options.jobs[plan].clone();
        let h = job.node;
        let standing = self.clients.jobs.entry(plan).or_default();
        let busy = self.clients.open.values().any(|c| c.purpose == Purpose::Submit(plan));
        if standing.accepted || standing.given_up || busy {
            return;
        }
        let up = self.hosts.iter().filter(|h| h.is_up() && !h.frozen).count();
        let hopeless = self.settling && standing.short_of.is_some_and(|want| usize::from(want) > up);
        if self.hosts[h].frozen || hopeless || standing.calls >= MAX_CALLS {
            standing.given_up = true;
            return;
        }
        if !self.hosts[h].is_up() || self.hosts[h].paused.is_some() {
            return self.after(1_000_000, Ev::Submit { plan });
        }
        standing.calls += 1;
        // Whoever asked for more copies than there are nodes takes what there is in the end.
        let copies = job.copies.filter(|_| standing.calls <= PATIENCE);
        let nonce = load::nonce(self.options.seed, plan);
        self.known.plans.insert(nonce, plan);
        let given = self.programs.spec(plan);
        let (spec, blobs) = given.unwrap_or_else(|| load::spec(self.options.seed, plan, &job, &mut self.known));
        for (blob, len) in blobs {
            // The client's files are in the store before it calls.
            self.hosts[h].shelf.put(pending(plan), blob, len, false);
        }
        let client = self.call(h, Purpose::Submit(plan));
        let now_ms = EPOCH_MS + self.now / 1000;
        self.feed(h, Input::Submit { client, nonce, now_ms, spec: Box::new(spec), copies });
    }

    pub(crate) fn client_act(&mut self, plan: usize, action: usize) {
        let (_, h, what) = self.options.jobs[plan].then[action];
        let Some(job) = self.clients.jobs.get(&plan).and_then(|s| s.job) else { return };
        if self.clients.done.contains_key(&(plan, action)) {
            return;
        }
        if self.hosts[h].frozen {
            self.clients.done.insert((plan, action), false);
            return;
        }
        if !self.hosts[h].is_up() || self.hosts[h].paused.is_some() {
            return self.after(1_000_000, Ev::Act { plan, action });
        }
        match what {
            Action::Watch => {
                self.clients.done.insert((plan, action), true);
                self.feed(h, Input::Watch(job));
            }
            Action::Cancel | Action::Delete => {
                let delete = what == Action::Delete;
                *self.history.revoke_asked.entry(job).or_insert(false) |= delete;
                let client = self.call(h, Purpose::Act(plan, action));
                self.feed(h, Input::Revoke { client, job, delete });
            }
        }
    }

    pub(crate) fn client_reply(&mut self, h: usize, client: ClientId, reply: Reply) {
        self.seen(&Seen::Replied { host: h, client, reply: &reply });
        let Some(call) = self.clients.open.get(&client).copied() else {
            return self.violate("L4", format!("n{h} answers a call twice, or one that nobody made: {client:?}"));
        };
        if let Reply::Submitted(job) = reply {
            // Not the end of the call: the ack is.
            return self.submitted(h, call, job);
        }
        self.clients.open.remove(&client);
        match (call.purpose, reply) {
            (Purpose::Submit(plan), Reply::Accepted { job, holders }) => {
                self.submitted(h, call, job);
                self.hosts[h].shelf.release(pending(plan));
                self.clients.jobs.entry(plan).or_default().accepted = true;
                self.history.accepted.entry(job).or_insert(Accepted { at: self.now, holders });
                for action in 0..self.options.jobs[plan].then.len() {
                    let delay = self.options.jobs[plan].then[action].0;
                    self.after(delay, Ev::Act { plan, action });
                }
            }
            (Purpose::Submit(plan), Reply::Refused(ClientError::Spec(e))) => {
                self.violate("L1", format!("n{h} refuses a good spec, job {plan}: {e}"));
            }
            (Purpose::Submit(plan), Reply::Refused(e)) => {
                if self.history.refusals.len() < MAX_REFUSALS {
                    self.history.refusals.insert(e.to_string());
                }
                let short_of = if let ClientError::Copies { want, .. } = e { Some(want) } else { None };
                self.clients.jobs.entry(plan).or_default().short_of = short_of;
                let delay = self.streams.clients.between(500_000, 5_000_000);
                self.after(delay, Ev::Submit { plan });
            }
            (Purpose::Act(plan, action), Reply::Revoked(job)) => {
                let delete = self.options.jobs[plan].then[action].2 == Action::Delete;
                self.clients.done.insert((plan, action), true);
                let now = self.now;
                self.history.revoked.entry(job).or_insert((false, now)).0 |= delete;
            }
            (Purpose::Act(plan, action), Reply::Refused(e)) => {
                if e == ClientError::UnknownJob {
                    // This node has forgotten the job; somebody else may know it.
                    let nodes = self.hosts.len();
                    let place = &mut self.options.jobs[plan].then[action].1;
                    *place = (*place + 1) % nodes;
                }
                let delay = self.streams.clients.between(500_000, 5_000_000);
                self.after(delay, Ev::Act { plan, action });
            }
            (purpose, reply) => {
                self.violate("L4", format!("n{h} answers {purpose:?} with {reply:?}"));
            }
        }
    }

    fn submitted(&mut self, h: usize, call: Call, job: JobId) {
        let Purpose::Submit(plan) = call.purpose else {
            return self.violate("L4", format!("n{h} answers {:?} with a new job", call.purpose));
        };
        self.clients.jobs.entry(plan).or_default().job = Some(job);
        if let Some(info) = self.info(job) {
            for (blob, _) in &info.closure {
                self.hosts[h].shelf.retain(job, *blob);
            }
        }
    }

    /// Calls at a process that died end without an answer; clients come back.
    pub(crate) fn calls_die(&mut self, h: usize) {
        let gone: Vec<(ClientId, Purpose)> =
            self.clients.open.iter().filter(|(_, c)| c.host == h).map(|(id, c)| (*id, c.purpose)).collect();
        for (id, purpose) in gone {
            self.clients.open.remove(&id);
            let delay = self.streams.clients.between(500_000, 5_000_000);
            match purpose {
                Purpose::Submit(plan) => self.after(delay, Ev::Submit { plan }),
                Purpose::Act(plan, action) => self.after(delay, Ev::Act { plan, action }),
            }
        }
    }
}

/// Whether blobs are kept for a client that has no job id yet.
pub(crate) fn is_pending(job: JobId) -> bool {
    job.0[8..].iter().all(|b| *b == 0xff)
}

/// Stands for "kept for the client" until the job has an id.
fn pending(plan: usize) -> JobId {
    let mut out = [0xff; 32];
    out[..8].copy_from_slice(&(plan as u64).to_le_bytes());
    JobId(out)
}
