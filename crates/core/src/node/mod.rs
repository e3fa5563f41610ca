//! The node: owner of all protocol state, split into one file per part of the protocol.
//!
//! Contract, as for quinn-proto: call `handle_input` or `handle_timeout`, then drain `poll_output` to `None`, then sleep until
//! `poll_timeout`. Nothing here blocks, fails or reads a clock; work per call is bounded.

mod announce;
mod anti_entropy;
mod bag_leases;
mod bags;
mod beats;
mod commits;
mod copies;
mod damage;
mod drain;
mod earlier;
mod fact_set;
mod facts;
mod fold;
mod job;
mod launch;
mod lease_beat;
mod leases;
mod lifelines;
mod membership;
mod office;
mod outbox;
mod owner;
mod placement;
mod replicate;
mod revoke;
mod seek;
mod steward;
mod strays;
mod tasks;
mod timers;
mod tree;
mod views;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use filch_types::fact::SignedFact;
use filch_types::ranges::Range;
use filch_types::record::Record;
use filch_types::sign::Keyring;
use filch_types::wire::{Message, Refusal, Request, Response, Summary};
use filch_types::{FactId, JobId, NodeId, Nonce, Timestamp};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use crate::io::{AskId, ClientId, Deadline, Event, FetchId, Input, LaunchId, Output, ReqId, Token};
use crate::view::Counters;
use crate::{Config, Mutant};
use bags::{Ask, BagRun};
use commits::Commits;
use job::{Job, Tag};
use membership::Peer;
use placement::Thief;
use timers::{Timer, Timers};

/// What a request was for.
#[derive(Clone, Debug)]
enum Asked {
    Hello,
    /// A heartbeat, with the jobs whose digests were in it.
    Beat(Vec<JobId>),
    Claim(JobId),
    Steal(JobId),
    Replicate(JobId),
    Manifest(JobId),
    Digest(anti_entropy::Comparison),
    GetFacts(anti_entropy::Pull),
    Revoke {
        job: JobId,
        client: Option<ClientId>,
        delete: bool,
        left: Vec<NodeId>,
    },
}

#[derive(Clone, Debug)]
struct Pending {
    peer: NodeId,
    sent: Timestamp,
    asked: Asked,
}

/// What happens once a group of records is durable.
#[derive(Clone, Debug)]
enum Then {
    /// The job's manifest and closure are held.
    Held(JobId),
    /// Facts of one job, received from somebody or made here.
    Facts {
        job: JobId,
        facts: Vec<(FactId, Arc<filch_types::Fact>)>,
        ack: Option<NodeId>,
        made: Made,
    },
    /// Facts whose bytes nobody has left the ledger.
    Lost(JobId),
    /// A pack left the outbox.
    Delivered(JobId, FactId),
    /// A helper has forgotten the job.
    Dropped(JobId),
    /// The steward's round.
    Round(JobId),
    /// The job is gone.
    Forgotten {
        askers: Vec<Asker>,
        job: JobId,
    },
    Nothing,
}

/// Where facts came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// A peer.
    Elsewhere,
    /// A pack of this worker.
    Pack,
    /// A pin of this owner.
    Pin,
    /// Anything else of this node; goes to all replicas.
    Here,
    /// A revocation that somebody asked for.
    Asked(Asker),
}

/// Who waits for the end of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// A client of this node.
    Client(ClientId),
    /// A peer, on behalf of a client of its own.
    Peer(Token),
    /// A peer that sent the fact.
    Sender(NodeId, FactId),
}

/// A batch in execution.
#[derive(Clone, Debug)]
struct Running {
    job: JobId,
    left: Range,
    tag: Tag,
    slot: u16,
    /// What it takes of the slot's depth.
    weight: u8,
    /// Since when it has been the first of its slot, with its inputs here.
    since: Timestamp,
    /// Since when its inputs are on their way: nothing of it executes yet.
    staging: Option<Timestamp>,
    /// It was told to end: nobody waits for what it does.
    unwanted: bool,
    /// Its inputs had to come from elsewhere, now or ahead of time.
    fetched: bool,
    /// It is a divided task.
    bag: Option<BagRun>,
}

/// Facts whose closure is being fetched (P4).
#[derive(Clone, Debug)]
struct Fetch {
    job: JobId,
    facts: Vec<(FactId, SignedFact, Arc<filch_types::Fact>)>,
    from: NodeId,
    since: Timestamp,
}

/// One node of the cluster. See the module for the contract. A clone goes its own way from there: for exhaustive search.
#[derive(Clone, Debug)]
pub struct Node {
    cfg: Config,
    keys: Arc<dyn Keyring>,
    id: NodeId,
    now: Timestamp,
    started: bool,
    rng: ChaCha8Rng,
    out: VecDeque<Output>,
    timers: Timers,
    peers: BTreeMap<NodeId, Peer>,
    jobs: BTreeMap<JobId, Box<Job>>,
    /// Jobs that this node might run tasks of, best first: (-priority, first seen, id).
    runnable: BTreeSet<(i32, u64, JobId)>,
    runnable_key: BTreeMap<JobId, (i32, u64, JobId)>,
    /// Jobs about which something may still have to be said or done.
    live: BTreeSet<JobId>,
    hearsay: BTreeMap<JobId, Summary>,
    /// Jobs whose manifest was asked for so that a client can read along.
    watched: BTreeSet<JobId>,
    tombstones: BTreeMap<JobId, SignedFact>,
    /// Jobs of which the ledger has rows and no manifest: a crash took it, and nothing of them was ever acked (P1).
    orphans: BTreeSet<JobId>,
    /// Who has not acked a tombstone of this life yet.
    untold: BTreeMap<JobId, BTreeSet<NodeId>>,
    nonces: BTreeMap<Nonce, JobId>,
    pending: BTreeMap<ReqId, Pending>,
    /// When they end at the latest, oldest first: all have the same limit. The first one is always open.
    limits: VecDeque<(Timestamp, ReqId)>,
    commits: Commits,
    fetches: BTreeMap<FetchId, Fetch>,
    /// Fetches of blobs that were here before, and their jobs.
    mends: BTreeMap<FetchId, JobId>,
    launches: BTreeMap<LaunchId, Running>,
    /// Calls to split what runs.
    asks: BTreeMap<AskId, Ask>,
    /// Workers out of sight that were asked whether they are there.
    sought: BTreeSet<NodeId>,
    /// Launches per slot.
    slots: Vec<u8>,
    /// Sum over jobs of queued tasks: what heartbeats tell.
    queued: u64,
    disk_full_until: Timestamp,
    draining: bool,
    drained: bool,
    next_id: u64,
    counters: Counters,
}

impl Node {
    /// A node that knows nothing yet. `seed` is the only source of randomness.
    pub fn new(cfg: Config, keys: Box<dyn Keyring>, seed: [u8; 32], now: Timestamp) -> Self {
        Self {
            id: keys.id(),
            slots: vec![0; usize::from(cfg.slots)],
            cfg,
            keys: keys.into(),
            now,
            started: false,
            rng: ChaCha8Rng::from_seed(seed),
            out: VecDeque::new(),
            timers: Timers::default(),
            peers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            runnable: BTreeSet::new(),
            runnable_key: BTreeMap::new(),
            live: BTreeSet::new(),
            hearsay: BTreeMap::new(),
            watched: BTreeSet::new(),
            tombstones: BTreeMap::new(),
            orphans: BTreeSet::new(),
            untold: BTreeMap::new(),
            nonces: BTreeMap::new(),
            pending: BTreeMap::new(),
            limits: VecDeque::new(),
            commits: Commits::default(),
            fetches: BTreeMap::new(),
            mends: BTreeMap::new(),
            launches: BTreeMap::new(),
            asks: BTreeMap::new(),
            sought: BTreeSet::new(),
            queued: 0,
            disk_full_until: Timestamp::default(),
            draining: false,
            drained: false,
            next_id: 0,
            counters: Counters::default(),
        }
    }

    /// Replays one record of the ledger; before any other input. Records that do not decode are ignored and counted.
    pub fn restore(&mut self, record: Record) {
        let rests = !matches!(record, Record::Manifest(..) | Record::Drop(_) | Record::Forget(..));
        if rests && !self.jobs.contains_key(&record.job()) {
            self.orphans.insert(record.job());
        }
        match record {
            Record::Manifest(id, signed) => match signed.open(&*self.keys) {
                Ok(manifest) if signed.job() == id => {
                    if manifest.owner == self.id {
                        self.nonces.insert(manifest.nonce, id);
                    }
                    let mut job = Job::new(id, signed, manifest);
                    job.recorded = true;
                    self.jobs.insert(id, Box::new(job));
                }
                _ => self.counters.rejected += 1,
            },
            Record::Held(id) => {
                if let Some(job) = self.jobs.get_mut(&id) {
                    (job.held, job.kept) = (true, true);
                }
            }
            Record::Fact(id, fact_id, signed) => match (self.jobs.get_mut(&id), signed.decode()) {
                (Some(job), Ok(fact)) if fact.job == id && signed.id() == fact_id => {
                    if let filch_types::FactBody::Pack(runs) = &fact.body {
                        job.pace.learn(&job.manifest.spec, runs);
                    }
                    job.fold.apply(fact_id, &fact);
                }
                _ => self.counters.rejected += 1,
            },
            Record::Outbox(id, fact) => {
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.outbox.insert(fact, job::OutPack { durable: true, ..Default::default() });
                }
            }
            Record::OutboxDone(id, fact) => {
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.outbox.remove(&fact);
                }
            }
            Record::Round(id, round) => {
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.round = job.round.max(round);
                }
            }
            // A ledger drops the fact itself.
            Record::Lost(..) => {}
            Record::Drop(id) => {
                self.jobs.remove(&id);
            }
            Record::Forget(id, fact) => {
                self.jobs.remove(&id);
                self.tombstones.insert(id, fact);
            }
        }
    }

    /// What restored jobs need: roles, stewards, resends. Runs before the first input.
    fn start(&mut self) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        for id in std::mem::take(&mut self.orphans) {
            self.commit(Vec::new(), vec![Record::Drop(id)], Then::Nothing);
        }
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            self.write_off(id);
            if self.only_helped(id) {
                self.forget_help(id, true);
            } else {
                self.resume_job(id);
            }
        }
    }

    /// Handles what happened. Never fails, never blocks, bounded work.
    pub fn handle_input(&mut self, now: Timestamp, input: Input) {
        self.start();
        self.advance(now);
        match input {
            Input::PeerUp(p) => self.peer_up(p),
            Input::PeerDown(p) => self.peer_down(p),
            Input::Message(from, m) => {
                self.heard_from(from);
                self.on_message(from, m);
            }
            Input::Request(from, token, r) => {
                self.heard_from(from);
                self.on_request(from, token, r);
            }
            Input::Response(id, r) => self.on_response(id, r),
            Input::RequestFailed(id) => self.on_request_failed(id),
            Input::Gossip(s) => self.on_summary(s, None),
            Input::Committed(t) => self.on_committed(t),
            Input::CommitFailed(t, why) => self.on_commit_failed(t, why),
            Input::ClosureHeld(j) => self.on_closure_held(j),
            Input::ClosureFailed(j, why) => self.on_closure_failed(j, why),
            Input::ClosureProgress(j, bytes) => self.on_closure_progress(j, bytes),
            Input::ClosureLost(j) => self.on_closure_lost(j),
            Input::ResultsLost(j, facts) => self.on_results_lost(j, facts),
            Input::RowsLost(j) => self.on_rows_lost(j),
            Input::FactsRead(j, facts) => self.on_facts_read(j, facts),
            Input::DiskFull => self.on_disk_full(),
            Input::Fetched(f) => self.on_fetched(f),
            Input::FetchFailed(f, why) => self.on_fetch_failed(f, why),
            Input::Staging(launch) => self.on_staging(launch, true),
            Input::Staged(launch) => self.on_staging(launch, false),
            Input::FetchedAhead { job, tasks, here } => self.on_fetched_ahead(job, tasks, here),
            Input::Finished { launch, runs } => self.on_finished(launch, runs),
            Input::EndsSoon(launch) => self.on_ends_soon(launch),
            Input::Split { launch, ask, bag } => self.on_split(launch, ask, bag),
            Input::Bag { launch, tally, rest, wall_us } => self.on_bag(launch, tally, rest, wall_us),
            Input::BagFailed { launch, cause, text } => self.on_bag_failed(launch, cause, text),
            Input::Bounced { launch, tasks, why } => self.on_bounced(launch, tasks, why),
            Input::Submit { client, nonce, now_ms, spec, copies } => {
                self.on_submit(client, nonce, now_ms, *spec, copies);
            }
            Input::Revoke { client, job, delete } => self.on_revoke(client, job, delete),
            Input::Watch(job) => self.on_watch(job),
            Input::Drain => self.on_drain(),
        }
        self.pump();
    }

    /// Fires everything that is due at `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.start();
        self.advance(now);
        loop {
            while let Some(id) = self.next_limit().filter(|(at, _)| *at <= self.now).map(|(_, id)| id) {
                self.on_request_failed(id);
            }
            let Some((_, timer)) = self.timers.pop(self.now) else { break };
            match timer {
                Timer::Beat(p) => self.on_beat_timer(p),
                Timer::Silence(p) => self.on_silence_timer(p),
                Timer::Lease(j, w) => self.on_lease_timer(j, w),
                Timer::Grace(j) => self.on_grace_timer(j),
                Timer::Elect(j) => self.choose_steward(j),
                Timer::Announce(j) => self.on_announce_timer(j),
                Timer::Pack(j) => self.flush_pack(j),
                Timer::Bags(j) => self.flush_bags(j),
                Timer::Bag(l) => self.on_bag_timer(l),
                Timer::Lifeline(j) => self.on_lifeline_timer(j),
                Timer::Resend(j) => self.on_resend_timer(j),
                Timer::AntiEntropy(j) => self.on_anti_entropy_timer(j),
                Timer::Repair(j) => self.on_repair_timer(j),
                Timer::Lonely(j) => self.on_lonely_timer(j),
                Timer::Submit(j) => self.on_submit_timer(j),
                Timer::Bury(j) => self.bury(j, Vec::new()),
                Timer::Tell(j) => self.tell(j),
                Timer::Seek | Timer::Drain => {}
            }
        }
        self.pump();
    }

    /// When `handle_timeout` is wanted next. Queued work counts: then it is not after the last `now`.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        if !self.out.is_empty() && !self.mutant(Mutant::DeadlineIgnoresQueued) {
            return Some(Deadline { at: self.now, reason: "outputs to drain" });
        }
        let anything = !self.jobs.is_empty() || !self.orphans.is_empty();
        if !self.started && anything {
            return Some(Deadline { at: self.now, reason: "start" });
        }
        self.next_due()
    }

    fn next_limit(&self) -> Option<(Timestamp, ReqId)> {
        self.limits.front().copied()
    }
    fn next_due(&self) -> Option<Deadline> {
        let limit = self.next_limit().map(|(at, _)| Deadline { at, reason: "request time limit" });
        match (limit, self.timers.next()) {
            (Some(a), Some(b)) => Some(if a.at <= b.at { a } else { b }),
            (a, b) => a.or(b),
        }
    }
    /// A request is no longer open.
    fn close_request(&mut self, id: ReqId) -> Option<Pending> {
        let closed = self.pending.remove(&id);
        while self.limits.front().is_some_and(|(_, id)| !self.pending.contains_key(id)) {
            self.limits.pop_front();
        }
        closed
    }

    /// The next thing to do. Drain to `None` after every `handle_*`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Who it is.
    pub fn id(&self) -> NodeId {
        self.id
    }

    fn advance(&mut self, now: Timestamp) {
        let before = self.now;
        self.now = self.now.max(now);
        let due = self.next_due().map_or(self.now, |d| d.at).max(before);
        // A timer this late means that the process stood still: what others believed meanwhile is unknown (P7, P8).
        if self.now.since(due) >= self.cfg.timing.dead_after {
            self.woke_up();
        }
    }

    /// The machine or process was suspended. Leases granted here are unreliable, so are beliefs about peers.
    fn woke_up(&mut self) {
        let now = self.now;
        for peer in self.peers.values_mut() {
            peer.unanswered_since = None;
            peer.last_heard = now;
        }
        let me = self.id;
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            self.steward_woke_up(id);
            // Nobody else grants a job that nobody else keeps.
            if let Some(job) = self.jobs.get_mut(&id).filter(|j| j.replicas != [me]) {
                job.work.stood_still(now);
            }
        }
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        for p in peers {
            self.timers.set(Timer::Beat(p), now);
        }
    }

    fn mutant(&self, m: Mutant) -> bool {
        self.cfg.mutant == Some(m)
    }

    fn fresh(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn emit(&mut self, o: Output) {
        self.out.push_back(o);
    }

    fn event(&mut self, e: Event) {
        self.out.push_back(Output::Event(e));
    }

    fn reject(&mut self, from: NodeId, why: impl Into<String>) {
        self.counters.rejected += 1;
        self.event(Event::Rejected(from, why.into()));
    }

    fn respond(&mut self, token: Token, r: Response) {
        self.emit(Output::Respond(token, r));
    }

    fn refuse(&mut self, token: Token, r: Refusal) {
        self.respond(token, Response::Refused(r));
    }

    fn ask(&mut self, peer: NodeId, request: Request, asked: Asked) {
        let id = ReqId(self.fresh());
        self.pending.insert(id, Pending { peer, sent: self.now, asked });
        self.limits.push_back((self.now + self.cfg.timing.request, id));
        self.emit(Output::Request(peer, id, request));
    }

    fn on_disk_full(&mut self) {
        self.disk_full_until = self.now + filch_types::time::Span::secs(10);
    }

    fn on_message(&mut self, from: NodeId, m: Message) {
        match m {
            Message::Facts(facts) => {
                self.on_facts(from, facts);
            }
            Message::Stored { job, store, facts } => self.on_stored(from, job, store, facts),
            Message::Held { job, store, machine: _ } => self.on_held(from, job, store),
            Message::Fetching { .. } => {}
            Message::Gift { job, epoch, runs, bags, manifest } => self.on_gift(from, job, epoch, runs, bags, manifest),
            Message::Announce(list) => {
                for s in list.into_iter().take(256) {
                    self.on_summary(s, Some(from));
                }
            }
        }
    }

    fn on_request(&mut self, from: NodeId, token: Token, r: Request) {
        match r {
            Request::Hello(h) => self.on_hello_request(from, token, h),
            Request::Beat(b) => self.on_beat(from, token, b),
            Request::Claim { job, want, idle, need_manifest } => {
                self.on_claim(from, token, job, want, idle, need_manifest);
            }
            Request::Steal { job, want, idle, wait } => self.on_steal(from, token, job, want, Thief { idle, wait }),
            Request::Replicate(m) => self.on_replicate(from, token, m),
            Request::Manifest(job) => {
                let found = self.jobs.get(&job).map(|j| (*j.signed).clone());
                match found {
                    Some(m) => self.respond(token, Response::Manifest(m)),
                    None => self.refuse(token, Refusal::UnknownJob),
                }
            }
            Request::Digest { job, buckets, from: first, keeps } => {
                self.on_digest(from, token, job, buckets, first, keeps);
            }
            Request::GetFacts { job, facts } => {
                let facts = facts.into_iter().take(4096).collect();
                self.emit(Output::RespondFacts(token, job, facts));
            }
            Request::Revoke { job, delete } => self.on_revoke_request(from, token, job, delete),
        }
    }

    fn on_response(&mut self, id: ReqId, r: Response) {
        let Some(p) = self.close_request(id) else { return };
        self.heard_from(p.peer);
        self.measured(p.peer, self.now.since(p.sent));
        match (p.asked, r) {
            (Asked::Hello, Response::Hello(h)) => {
                self.sought.remove(&p.peer);
                self.on_hello(p.peer, h);
            }
            (Asked::Beat(compared), Response::Beat { jobs, digests }) => {
                self.on_beat_answer(p.peer, p.sent, compared, jobs, digests);
            }
            (Asked::Claim(job), r) => self.on_claim_answer(p.peer, p.sent, job, r),
            (Asked::Steal(job), r) => self.on_steal_answer(p.peer, p.sent, job, r),
            (Asked::Replicate(job), Response::Refused(why)) => self.replicate_refused(p.peer, job, why),
            (Asked::Replicate(job), Response::Replicating) => self.replicating(p.peer, job),
            (Asked::Manifest(job), Response::Manifest(m)) => self.on_manifest(p.peer, job, m),
            (Asked::Digest(c), Response::FactIds { buckets, facts, more }) => {
                self.on_fact_ids(p.peer, c, buckets, facts, more);
            }
            (Asked::GetFacts(pull), Response::Facts(facts)) => self.on_pulled(p.peer, pull, facts),
            (Asked::Digest(c), Response::Refused(Refusal::UnknownJob)) => self.replica_lacks(p.peer, c.job),
            (Asked::Revoke { job, client, delete, left }, r) => self.on_revoke_answer(job, client, delete, left, r),
            (_, Response::Refused(_)) => {}
            (asked, _) => self.reject(p.peer, format!("a wrong kind of answer to {asked:?}")),
        }
    }

    fn on_request_failed(&mut self, id: ReqId) {
        let Some(p) = self.close_request(id) else { return };
        match p.asked {
            Asked::Hello if self.peers.get(&p.peer).is_some_and(|x| x.connected) => self.say_hello(p.peer),
            Asked::Hello => self.not_found(p.peer),
            Asked::Beat(_) => self.beat_failed(p.peer),
            Asked::Claim(job) => self.claim_failed(job),
            Asked::Steal(job) => self.ask_failed(p.peer, job),
            Asked::Revoke { job, client, delete, left } => self.revoke_next(job, client, delete, left),
            Asked::Replicate(_) | Asked::Manifest(_) | Asked::Digest(_) | Asked::GetFacts(_) => {}
        }
    }

    /// A number in `0..n`; 0 for `n = 0`.
    fn below(&mut self, n: usize) -> usize {
        use rand_core::Rng;
        if n == 0 { 0 } else { (self.rng.next_u64() % n as u64) as usize }
    }
}
