//! A node among members that say whatever they like, signed with their own valid keys, while its disk and its executor do
//! what they may. Asked of it: no panic, no endless work, no table beyond its cap, nothing told of what is not on disk, and the same
//! jobs with the same facts after a restart.

use std::collections::{BTreeMap, VecDeque};

use filch_core::io::{ClientId, Launch, Token};
use filch_core::view::Role;
use filch_core::{Config, Input, Node, Output, ReqId, Timing};
use filch_types::manifest::{Generator, Group, JobSpec, Program, TaskLimits};
use filch_types::ranges::Range;
use filch_types::record::Record;
use filch_types::sign::Simulated;
use filch_types::time::Span;
use filch_types::wire::{Hello, Message, Request, Response, Summary};
use filch_types::{
    Cause, Fact, FactBody, FactId, JobId, MachineId, Manifest, NodeId, Nonce, Outcome, ResultRun, SignedFact,
    SignedManifest, StoreId, TaskOutput, Timestamp, limits,
};
use serde::{Deserialize, Serialize};

/// Members besides the node under test, which is number 1.
const PEERS: u8 = 3;
/// Steps of one input.
const STEPS: usize = 256;
/// Timeouts in a row that may be due at once.
const DUE: usize = 10_000;
/// Outputs of one step.
const OUTPUTS: usize = 100_000;

/// One thing that happens to the node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Step {
    /// A member says something.
    Message(u8, Message),
    /// It asks.
    Request(u8, Request),
    /// It answers one of the questions that are open.
    Answer(u8, Response),
    /// It does not.
    Silence(u8),
    /// Gossip.
    Gossip(Summary),
    /// A fact, sent by one member and signed by another, of the how many-th job that is known.
    Fact(u8, u8, u8, FactBody),
    /// A job of a member that the node is asked to keep.
    Job(u8, Box<Manifest>),
    /// Milliseconds pass.
    Pass(u32),
    /// A connection comes,
    Up(u8),
    /// or goes.
    Down(u8),
    /// The oldest commit, fetch or closure succeeds,
    Done,
    /// or fails.
    Fails,
    /// A launch ends: well, or not, or bounced.
    Ends(u8, u8),
    /// A person submits.
    Submit(u8, Box<JobSpec>),
    /// Cancels or deletes one of the jobs that are known.
    Revoke(u8, bool),
    /// Reads along.
    Watch(u8),
    /// An executor says something of its own accord.
    Bounce(u8, Range),
    /// An orderly end.
    Drain,
}

fn id(n: u8) -> NodeId {
    NodeId([1 + n % (PEERS + 1); 32])
}

/// Node number `boot` times started, knowing nothing.
pub fn node(boot: u64) -> Node {
    let config = Config {
        store: StoreId([1; 16]),
        machine: MachineId([1; 16]),
        boot,
        name: "under test".into(),
        slots: 2,
        offers: vec!["command".into(), "handler:noop".into()],
        result_copies: 2,
        timing: Timing::default(),
        mutant: None,
    };
    Node::new(config, Box::new(Simulated(id(0))), [7; 32], Timestamp(1_000_000))
}

/// Fires what is due until nothing is, ignoring what the node wants.
pub fn settle(node: &mut Node, now: Timestamp) {
    for _ in 0..DUE {
        while node.poll_output().is_some() {}
        match node.poll_timeout() {
            Some(d) if d.at <= now => node.handle_timeout(now),
            _ => return,
        }
    }
    panic!("it never settles: {:?}", node.poll_timeout());
}

enum Wanted {
    Commit(filch_core::io::Ticket, Vec<Record>),
    Closure(JobId),
    Blobs(filch_core::io::FetchId),
}

struct Talk {
    now: Timestamp,
    node: Node,
    asked: VecDeque<(NodeId, ReqId)>,
    wanted: VecDeque<Wanted>,
    launches: Vec<(Launch, u32)>,
    jobs: Vec<JobId>,
    disk: Vec<Record>,
    /// Facts on disk.
    facts: BTreeMap<(JobId, FactId), SignedFact>,
    next: u64,
}

/// See the module. The first byte says what the node knows already.
pub fn talk(bytes: &[u8]) {
    let Some((start, mut rest)) = bytes.split_first() else { return };
    let mut t = Talk::new(*start);
    for _ in 0..STEPS {
        let Ok((step, later)) = postcard::take_from_bytes::<Step>(rest) else { break };
        rest = later;
        t.step(step);
    }
    t.end();
}

/// A plain job.
pub fn spec(tasks: u32) -> JobSpec {
    JobSpec {
        name: "job".into(),
        priority: 0,
        attended: true,
        groups: vec![Group {
            name: "main".into(),
            tasks: Generator::Array { first: 0, step: 1, count: tasks },
            program: Program::Handler { name: "noop".into(), args: vec![] },
            env: vec![],
            inputs: vec![],
            outputs: vec![],
            limits: TaskLimits::default(),
            retries: 1,
            needs: vec![],
            resources: vec![],
        }],
        closure_bytes: 0,
        closure_blobs: 0,
    }
}

/// A job of member `owner`, kept by it and by the node under test.
pub fn manifest(owner: u8, tasks: u32) -> Manifest {
    Manifest {
        owner: id(owner),
        nonce: Nonce([owner; 16]),
        created_ms: 1,
        k: 2,
        r: 1,
        replicas: vec![id(owner), id(0)],
        spec: spec(tasks),
    }
}

impl Talk {
    fn new(start: u8) -> Self {
        let mut t = Self {
            now: Timestamp(1_000_000),
            node: node(1),
            asked: VecDeque::new(),
            wanted: VecDeque::new(),
            launches: Vec::new(),
            jobs: Vec::new(),
            disk: Vec::new(),
            facts: BTreeMap::new(),
            next: 0,
        };
        for p in 1..=PEERS {
            t.input(Input::PeerUp(id(p)));
            if start & 4 == 0 {
                let hello = Hello {
                    store: StoreId([p + 1; 16]),
                    machine: MachineId([p + 1; 16]),
                    boot: 1,
                    name: format!("n{p}"),
                    slots: 2,
                    offers: vec!["handler:noop".into()],
                    draining: false,
                };
                t.request(p, Request::Hello(hello));
            }
        }
        if start & 1 != 0 {
            t.step(Step::Submit(1, Box::new(spec(20))));
            t.all_done();
        }
        if start & 2 != 0 {
            t.step(Step::Job(2, Box::new(manifest(2, 30))));
            t.all_done();
        }
        t
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Message(p, m) => self.peer(p, |from| Input::Message(from, m)),
            Step::Request(p, r) => self.request(p, r),
            Step::Answer(n, r) => {
                if let Some((_, req)) = self.question(n) {
                    self.input(Input::Response(req, r));
                }
            }
            Step::Silence(n) => {
                if let Some((_, req)) = self.question(n) {
                    self.input(Input::RequestFailed(req));
                }
            }
            Step::Gossip(s) => self.input(Input::Gossip(s)),
            Step::Fact(p, by, job, body) => self.fact(p, by, job, body),
            Step::Job(p, m) => {
                if let Ok(signed) = SignedManifest::sign(&m, &Simulated(m.owner)) {
                    self.know(signed.job());
                    self.request(p, Request::Replicate(signed));
                }
            }
            Step::Pass(ms) => self.pass(ms),
            Step::Up(p) => self.peer(p, Input::PeerUp),
            Step::Down(p) => self.peer(p, Input::PeerDown),
            Step::Done => self.done(true),
            Step::Fails => self.done(false),
            Step::Ends(n, how) => self.ends(n, how),
            Step::Submit(n, spec) => {
                self.next += 1;
                let (client, nonce) = (ClientId(self.next), Nonce([n; 16]));
                self.input(Input::Submit { client, nonce, now_ms: 5, spec, copies: (n % 4 > 0).then_some(n % 4) });
            }
            Step::Revoke(n, delete) => {
                self.next += 1;
                if let Some(job) = self.job(n) {
                    self.input(Input::Revoke { client: ClientId(self.next), job, delete });
                }
            }
            Step::Watch(n) => {
                if let Some(job) = self.job(n) {
                    self.input(Input::Watch(job));
                }
            }
            Step::Bounce(n, tasks) => {
                if let Some((l, _)) = self.launches.get(usize::from(n)) {
                    let launch = l.id;
                    self.input(Input::Bounced { launch, tasks, why: "no reason".into() });
                }
            }
            Step::Drain => self.input(Input::Drain),
        }
    }

    fn peer(&mut self, p: u8, input: impl FnOnce(NodeId) -> Input) {
        if id(p) != id(0) {
            self.input(input(id(p)));
        }
    }

    fn request(&mut self, p: u8, r: Request) {
        self.next += 1;
        let token = Token(self.next);
        self.peer(p, |from| Input::Request(from, token, r));
    }

    fn question(&mut self, n: u8) -> Option<(NodeId, ReqId)> {
        let at = usize::from(n).checked_rem(self.asked.len())?;
        self.asked.remove(at)
    }

    fn job(&self, n: u8) -> Option<JobId> {
        self.jobs.get(usize::from(n).checked_rem(self.jobs.len())?).copied()
    }

    fn know(&mut self, job: JobId) {
        if !self.jobs.contains(&job) && self.jobs.len() < 64 {
            self.jobs.push(job);
        }
    }

    fn fact(&mut self, p: u8, by: u8, job: u8, body: FactBody) {
        let Some(job) = self.job(job) else { return };
        // Nobody else has the node's own key.
        let by = if id(by) == id(0) { id(1) } else { id(by) };
        if let Ok(signed) = SignedFact::sign(&Fact { job, by, body }, &Simulated(by)) {
            self.peer(p, |from| Input::Message(from, Message::Facts(vec![signed])));
        }
    }

    fn pass(&mut self, ms: u32) {
        let until = self.now + Span::millis(u64::from(ms % 600_000));
        for _ in 0..DUE {
            match self.node.poll_timeout() {
                Some(d) if d.at <= until => {
                    self.now = self.now.max(d.at);
                    self.node.handle_timeout(self.now);
                    self.drain();
                }
                _ => break,
            }
        }
        // Rather than minutes of heartbeats: the rest as if the machine had slept.
        self.now = until;
        self.node.handle_timeout(self.now);
        self.drain();
    }

    fn all_done(&mut self) {
        for _ in 0..64 {
            self.done(true);
        }
    }

    fn done(&mut self, well: bool) {
        let why = || "no room".to_owned();
        let input = match self.wanted.pop_front() {
            None => return,
            Some(Wanted::Commit(ticket, records)) if well => {
                self.store(records);
                Input::Committed(ticket)
            }
            Some(Wanted::Commit(ticket, _)) => Input::CommitFailed(ticket, why()),
            Some(Wanted::Closure(job)) if well => Input::ClosureHeld(job),
            Some(Wanted::Closure(job)) => Input::ClosureFailed(job, why()),
            Some(Wanted::Blobs(fetch)) if well => Input::Fetched(fetch),
            Some(Wanted::Blobs(fetch)) => Input::FetchFailed(fetch, why()),
        };
        self.input(input);
    }

    fn store(&mut self, records: Vec<Record>) {
        for r in &records {
            match r {
                Record::Fact(job, fact, signed) => {
                    self.facts.insert((*job, *fact), signed.clone());
                }
                Record::Forget(job, _) | Record::Drop(job) => {
                    let gone = *job;
                    self.facts.retain(|(j, _), _| *j != gone);
                    self.disk.retain(|d| d.job() != gone);
                }
                _ => {}
            }
        }
        self.disk.extend(records);
    }

    fn ends(&mut self, n: u8, how: u8) {
        let Some(at) = usize::from(n).checked_rem(self.launches.len()) else { return };
        let (launch, next) = self.launches[at].clone();
        let left = Range::new(next, launch.tasks.hi);
        let (id, attempt) = (launch.id, launch.attempt);
        let outcome = match how % 4 {
            0 | 1 => Outcome::Success(TaskOutput::default()),
            2 => Outcome::Failed(Cause::Exit(1), TaskOutput::default()),
            _ => {
                self.launches.remove(at);
                return self.input(Input::Bounced { launch: id, tasks: left, why: "sick".into() });
            }
        };
        self.launches[at].1 += 1;
        if left.len() <= 1 {
            self.launches.remove(at);
        }
        let runs = vec![ResultRun::one(next, attempt, 1000 * u64::from(how), outcome)];
        self.input(Input::Finished { launch: id, runs });
    }

    fn input(&mut self, input: Input) {
        self.node.handle_input(self.now, input);
        self.drain();
        for _ in 0..DUE {
            match self.node.poll_timeout() {
                Some(d) if d.at <= self.now => {
                    self.node.handle_timeout(self.now);
                    self.drain();
                }
                _ => return self.bounded(),
            }
        }
        panic!("it never settles: {:?}", self.node.poll_timeout());
    }

    fn bounded(&self) {
        for (table, size) in self.node.table_sizes() {
            assert!(size <= 20_000, "{table} has {size} entries after {STEPS} steps");
        }
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS {
            let Some(o) = self.node.poll_output() else { return };
            match o {
                Output::Request(to, req, _) => {
                    assert!(to != id(0), "it asks itself");
                    self.asked.push_back((to, req));
                    if self.asked.len() > 1024 {
                        self.asked.pop_front();
                    }
                }
                Output::Send(to, Message::Stored { job, facts, .. }) => {
                    assert!(to != id(0), "it tells itself");
                    // P2: ack only after fsync. A tombstone is what stays of a job.
                    let gone = self.disk.iter().any(|r| matches!(r, Record::Forget(j, _) if *j == job));
                    assert!(
                        gone || facts.iter().all(|f| self.facts.contains_key(&(job, *f))),
                        "acked before it is on disk"
                    );
                }
                Output::Commit { ticket, records, .. } => self.wanted.push_back(Wanted::Commit(ticket, records)),
                Output::FetchClosure { job, .. } => self.wanted.push_back(Wanted::Closure(job)),
                Output::FetchBlobs { fetch, .. } => self.wanted.push_back(Wanted::Blobs(fetch)),
                Output::Launch(l) => {
                    let lo = l.tasks.lo;
                    assert!(!l.tasks.is_empty() && l.tasks.hi <= l.manifest.spec.total() && l.slot < 2);
                    self.launches.push((l, lo));
                    assert!(self.launches.len() <= 64, "more launches than slots can hold");
                }
                Output::Stop(launch) => {
                    if let Some(at) = self.launches.iter().position(|(l, _)| l.id == launch) {
                        let (l, next) = self.launches.remove(at);
                        let tasks = Range::new(next, l.tasks.hi);
                        let why = "stopped".to_owned();
                        self.node.handle_input(self.now, Input::Bounced { launch, tasks, why });
                    }
                }
                Output::FetchAhead { job, tasks, .. } => {
                    self.node.handle_input(self.now, Input::FetchedAhead { job, tasks, here: false });
                }
                Output::Event(filch_core::Event::JobKnown(job)) => self.know(job),
                _ => {}
            }
        }
        panic!("outputs without end");
    }

    /// A restart from disk: the same jobs, the same facts.
    fn end(mut self) {
        for _ in 0..STEPS {
            if !self.wanted.iter().any(|w| matches!(w, Wanted::Commit(..))) {
                break;
            }
            self.done(true);
        }
        if self.wanted.iter().any(|w| matches!(w, Wanted::Commit(..))) {
            return;
        }
        let mut again = node(2);
        self.disk.iter().for_each(|r| again.restore(r.clone()));
        for job in &self.jobs {
            let kept = self.node.job(*job).is_some_and(|j| j.role == Role::Replica);
            let recorded = self.disk.iter().any(|r| matches!(r, Record::Manifest(j, _) if j == job));
            if kept && recorded {
                assert_eq!(again.facts(*job), self.node.facts(*job), "facts of {job:?} after a restart");
                assert_eq!(again.fingerprint(*job), self.node.fingerprint(*job), "the fold of {job:?} after a restart");
            }
        }
        settle(&mut again, self.now);
        assert!(self.jobs.len() < limits::MAX_JOBS);
    }
}
