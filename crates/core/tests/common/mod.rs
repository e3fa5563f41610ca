//! Nodes wired together without latency or faults: what goes out of one is what goes into the other. The simulator is the place
//! for faults; here single inputs and outputs are looked at.
#![allow(dead_code)]

pub mod alone;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use filch_core::config::Config;
use filch_core::io::{ClientId, Launch, Reply, Ticket, Token};
use filch_core::{Event, Input, Node, Output, Timing};
use filch_types::manifest::{Generator, Group, Program, TaskLimits};
use filch_types::ranges::Range;
use filch_types::record::Record;
use filch_types::sign::Simulated;
use filch_types::time::Span;
use filch_types::wire::{Message, Response};
use filch_types::{
    FactBody, FactId, JobId, JobSpec, MachineId, NodeId, Nonce, Outcome, ResultRun, SignedFact, StoreId, TaskOutput,
    Timestamp,
};

pub fn id(n: u8) -> NodeId {
    NodeId([n; 32])
}

pub fn spec(count: u32) -> JobSpec {
    JobSpec {
        name: "test".into(),
        priority: 0,
        attended: false,
        groups: vec![Group {
            name: "main".into(),
            tasks: Generator::Array { first: 1, step: 1, count },
            program: Program::Handler { name: "noop".into(), args: vec![] },
            env: vec![],
            inputs: vec![],
            outputs: vec![],
            limits: TaskLimits::default(),
            retries: 0,
            needs: vec![],
            resources: vec![],
        }],
        closure_bytes: 0,
        closure_blobs: 0,
    }
}

pub fn config(n: u8, slots: u16) -> Config {
    Config {
        store: StoreId([n; 16]),
        machine: MachineId([n; 16]),
        boot: 1,
        name: format!("n{n}"),
        slots,
        offers: vec!["command".into(), "handler:noop".into()],
        result_copies: 2,
        timing: Timing::default(),
        mutant: None,
    }
}

pub struct World {
    pub now: Timestamp,
    pub nodes: BTreeMap<NodeId, Node>,
    pub disks: BTreeMap<NodeId, Vec<Record>>,
    pub facts: BTreeMap<(NodeId, FactId), SignedFact>,
    pub down: BTreeSet<NodeId>,
    /// Suspended, with what was running there.
    pub asleep: BTreeMap<NodeId, Vec<(NodeId, Launch)>>,
    /// Nodes whose disk is full.
    pub full: BTreeSet<NodeId>,
    /// Launches so far.
    pub launches: u64,
    /// Links that carry nothing.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Inputs that were asked for ahead.
    pub ahead: Vec<(NodeId, Range)>,
    tokens: BTreeMap<u64, (NodeId, filch_core::ReqId)>,
    next: u64,
    pub replies: Vec<(NodeId, Reply)>,
    pub events: Vec<(NodeId, Event)>,
    /// Launched and not yet finished.
    pub launched: VecDeque<(NodeId, Launch)>,
    /// How often each task was executed.
    pub executed: BTreeMap<(JobId, u32), u32>,
    pub messages: u64,
    inbox: VecDeque<(NodeId, Input)>,
}

impl World {
    pub fn new(n: u8, slots: u16) -> Self {
        let mut w = World {
            now: Timestamp(1_000_000),
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
            facts: BTreeMap::new(),
            down: BTreeSet::new(),
            asleep: BTreeMap::new(),
            full: BTreeSet::new(),
            launches: 0,
            cut: BTreeSet::new(),
            ahead: vec![],
            tokens: BTreeMap::new(),
            next: 0,
            replies: vec![],
            events: vec![],
            launched: VecDeque::new(),
            executed: BTreeMap::new(),
            messages: 0,
            inbox: VecDeque::new(),
        };
        for i in 1..=n {
            let node = Node::new(config(i, slots), Box::new(Simulated(id(i))), [i; 32], w.now);
            w.nodes.insert(id(i), node);
            w.disks.insert(id(i), vec![]);
        }
        for a in 1..=n {
            for b in 1..=n {
                if a != b {
                    w.inbox.push_back((id(a), Input::PeerUp(id(b))));
                }
            }
        }
        w.settle();
        w
    }

    pub fn node(&self, n: u8) -> &Node {
        &self.nodes[&id(n)]
    }

    pub fn input(&mut self, n: NodeId, i: Input) {
        self.inbox.push_back((n, i));
        self.settle();
    }

    pub fn submit(&mut self, n: u8, spec: JobSpec) -> JobId {
        self.next += 1;
        let nonce = Nonce([self.next as u8; 16]);
        let client = ClientId(self.next);
        self.input(id(n), Input::Submit { client, nonce, now_ms: 0, spec: Box::new(spec), copies: None });
        let found = self.replies.iter().rev().find_map(|(who, r)| match r {
            Reply::Submitted(j) if *who == id(n) => Some(*j),
            _ => None,
        });
        found.expect("submitted")
    }

    pub fn accepted(&self, job: JobId) -> Option<Vec<NodeId>> {
        self.replies.iter().find_map(|(_, r)| match r {
            Reply::Accepted { job: j, holders } if *j == job => Some(holders.clone()),
            _ => None,
        })
    }

    /// Handles everything that takes no time.
    pub fn settle(&mut self) {
        let mut budget = 2_000_000;
        loop {
            if let Some((n, i)) = self.inbox.pop_front() {
                budget -= 1;
                assert!(budget > 0, "the cluster never settles");
                if self.gone(n) {
                    continue;
                }
                let now = self.now;
                self.nodes.get_mut(&n).unwrap().handle_input(now, i);
                self.drain(n);
                continue;
            }
            let due: Vec<NodeId> = self
                .nodes
                .iter()
                .filter(|(n, node)| !self.gone(**n) && node.poll_timeout().is_some_and(|d| d.at <= self.now))
                .map(|(n, _)| *n)
                .collect();
            if due.is_empty() {
                return;
            }
            for n in due {
                budget -= 1;
                assert!(budget > 0, "the cluster never settles");
                let now = self.now;
                self.nodes.get_mut(&n).unwrap().handle_timeout(now);
                self.drain(n);
            }
        }
    }

    /// Lets `span` pass, event by event.
    pub fn pass(&mut self, span: Span) {
        let until = self.now + span;
        loop {
            self.settle();
            let next = self
                .nodes
                .iter()
                .filter(|(n, _)| !self.gone(**n))
                .filter_map(|(_, node)| node.poll_timeout())
                .map(|d| d.at)
                .min();
            match next {
                Some(at) if at <= until => self.now = self.now.max(at),
                _ => {
                    self.now = until;
                    self.settle();
                    return;
                }
            }
        }
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.pass(Span::millis(ms));
    }

    /// Ends the oldest launch; each of its tasks took `us`.
    pub fn finish_one(&mut self, us: u64, outcome: Outcome) -> bool {
        let Some((n, l)) = self.launched.pop_front() else { return false };
        if self.down.contains(&n) {
            return true;
        }
        let runs: Vec<ResultRun> = (l.tasks.lo..l.tasks.hi)
            .map(|i| {
                *self.executed.entry((l.job, i)).or_default() += 1;
                ResultRun::one(i, l.attempt, us, outcome.clone())
            })
            .collect();
        self.input(n, Input::Finished { launch: l.id, runs });
        true
    }

    /// Runs everything to the end, a little time between launches.
    pub fn run_all(&mut self, us: u64) {
        for _ in 0..100_000 {
            if self.launched.is_empty() {
                self.pass_ms(300);
                if self.launched.is_empty() {
                    return;
                }
            }
            self.finish_one(us, Outcome::Success(TaskOutput::default()));
            self.pass(Span(us / 2 + 1));
        }
        panic!("work without end");
    }

    pub fn kill(&mut self, n: u8) {
        self.down.insert(id(n));
        self.launched.retain(|(who, _)| *who != id(n));
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|o| *o != id(n)).collect();
        for o in others {
            self.inbox.push_back((o, Input::PeerDown(id(n))));
        }
        self.settle();
    }

    fn gone(&self, n: NodeId) -> bool {
        self.down.contains(&n) || self.asleep.contains_key(&n)
    }

    /// The machine is suspended: it hears nothing, and what runs there stands still.
    pub fn sleep(&mut self, n: u8) {
        let (there, rest): (Vec<_>, Vec<_>) = self.launched.drain(..).partition(|(who, _)| *who == id(n));
        self.launched = rest.into();
        self.asleep.insert(id(n), there);
    }

    pub fn wake(&mut self, n: u8) {
        self.launched.extend(self.asleep.remove(&id(n)).unwrap_or_default());
        self.settle();
    }

    pub fn restart(&mut self, n: u8, slots: u16) {
        let mut cfg = config(n, slots);
        cfg.boot = 2 + self.now.0;
        let mut node = Node::new(cfg, Box::new(Simulated(id(n))), [n; 32], self.now);
        for r in &self.disks[&id(n)] {
            node.restore(r.clone());
        }
        self.nodes.insert(id(n), node);
        self.down.remove(&id(n));
        let others: Vec<NodeId> =
            self.nodes.keys().copied().filter(|o| *o != id(n) && !self.down.contains(o)).collect();
        for o in others {
            self.inbox.push_back((id(n), Input::PeerUp(o)));
            self.inbox.push_back((o, Input::PeerUp(id(n))));
        }
        self.settle();
    }

    fn carries(&self, a: NodeId, b: NodeId) -> bool {
        !self.gone(b) && !self.cut.contains(&(a, b))
    }

    fn lookup(&self, n: NodeId, facts: &[FactId]) -> Vec<SignedFact> {
        facts.iter().filter_map(|f| self.facts.get(&(n, *f)).cloned()).collect()
    }

    fn drain(&mut self, n: NodeId) {
        while let Some(o) = self.nodes.get_mut(&n).unwrap().poll_output() {
            match o {
                Output::Send(to, m) => {
                    self.messages += 1;
                    if self.carries(n, to) {
                        self.inbox.push_back((to, Input::Message(n, m)));
                    }
                }
                Output::SendFacts(to, _, facts) => {
                    let found = self.lookup(n, &facts);
                    if self.carries(n, to) {
                        self.inbox.push_back((to, Input::Message(n, Message::Facts(found))));
                    }
                }
                Output::Request(to, req, r) => {
                    self.messages += 1;
                    if self.carries(n, to) {
                        self.next += 1;
                        self.tokens.insert(self.next, (n, req));
                        self.inbox.push_back((to, Input::Request(n, Token(self.next), r)));
                    }
                }
                Output::Respond(t, r) => self.answer(n, t, r),
                Output::RespondFacts(t, _, facts) => {
                    let found = self.lookup(n, &facts);
                    self.answer(n, t, Response::Facts(found));
                }
                Output::Publish(_) => {}
                Output::Commit { ticket, records, .. } => self.committed(n, ticket, records),
                Output::FetchClosure { job, .. } => self.inbox.push_back((n, Input::ClosureHeld(job))),
                Output::FetchBlobs { fetch, .. } => self.inbox.push_back((n, Input::Fetched(fetch))),
                Output::Launch(l) => {
                    self.launches += 1;
                    self.launched.push_back((n, l));
                }
                Output::Stop(l) => {
                    if let Some(at) = self.launched.iter().position(|(who, x)| *who == n && x.id == l) {
                        let (who, launch) = self.launched.remove(at).unwrap();
                        let why = "stopped".to_owned();
                        self.inbox.push_back((who, Input::Bounced { launch: l, tasks: launch.tasks, why }));
                    }
                }
                Output::FetchAhead { job, tasks, .. } => {
                    self.ahead.push((n, tasks));
                    self.inbox.push_back((n, Input::FetchedAhead { job, tasks, here: true }));
                }
                Output::Reply(_, r) => self.replies.push((n, r)),
                Output::Event(e) => self.events.push((n, e)),
                Output::ReadFacts(job) => {
                    let here = self.facts_of(n, job);
                    self.inbox.push_back((n, Input::FactsRead(job, here)));
                }
                Output::Release(_) | Output::Drained | Output::Split { .. } | Output::Checkpoint(_) => {}
            }
        }
    }

    /// What the ledger of `n` has of the job.
    pub fn facts_of(&self, n: NodeId, job: JobId) -> Vec<(FactId, SignedFact)> {
        let of = |f: &SignedFact| f.decode().is_ok_and(|f| f.job == job);
        let here = self.facts.iter().filter(|((who, _), f)| *who == n && of(f));
        here.map(|((_, id), f)| (*id, f.clone())).collect()
    }

    /// Rows of this kind rot on the disk of `n`, which is not told yet.
    pub fn rot(&mut self, n: u8, kind: impl Fn(&FactBody) -> bool) -> Vec<FactId> {
        let hit = |f: &SignedFact| f.decode().is_ok_and(|f| kind(&f.body));
        let gone: Vec<FactId> =
            self.facts.iter().filter(|((who, _), f)| *who == id(n) && hit(f)).map(|((_, f), _)| *f).collect();
        self.facts.retain(|(who, f), _| *who != id(n) || !gone.contains(f));
        gone
    }

    fn answer(&mut self, n: NodeId, t: Token, r: Response) {
        if let Some((to, req)) = self.tokens.remove(&t.0)
            && self.carries(n, to)
        {
            self.inbox.push_back((to, Input::Response(req, r)));
        }
    }

    fn committed(&mut self, n: NodeId, ticket: Ticket, records: Vec<Record>) {
        if self.full.contains(&n) {
            return self.inbox.push_back((n, Input::CommitFailed(ticket, "full".into())));
        }
        for r in &records {
            match r {
                Record::Fact(_, f, signed) => drop(self.facts.insert((n, *f), signed.clone())),
                Record::Lost(_, f) => drop(self.facts.remove(&(n, *f))),
                _ => {}
            }
        }
        self.disks.get_mut(&n).unwrap().extend(records);
        self.inbox.push_back((n, Input::Committed(ticket)));
    }
}
