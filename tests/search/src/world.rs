//! Three nodes, the packets between them, and the tasks that run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};

use filch_core::io::{ClientId, Launch, LaunchId, Reply, Token};
use filch_core::{Config, Event, Input, Mutant, Node, Output, ReqId, Timing};
use filch_types::manifest::{Generator, Group, JobSpec, Program, TaskLimits};
use filch_types::ranges::Range;
use filch_types::record::Record;
use filch_types::sign::Simulated;
use filch_types::time::Span;
use filch_types::wire::{Message, Request, Response};
use filch_types::{
    FactId, JobId, MachineId, NodeId, Nonce, Outcome, ResultRun, SignedFact, StoreId, TaskOutput, Timestamp,
};

/// Nodes.
pub const NODES: usize = 3;
/// Tasks.
pub const TASKS: u32 = 3;
/// What a task takes.
const TASK: Span = Span(300_000);
/// A packet that is a little late: others overtake it, tasks end meanwhile.
const LATE: Span = Span(400_000);
/// A packet that comes after every lease and request that it is about has ended.
const OLD: Span = Span(7_000_000);
/// How long a node is cut off: longer than a lease.
const CUT: Span = Span(8_000_000);
/// No run takes longer unless something is lost for good.
const END: Span = Span(90_000_000);
/// A run in which nothing is lost and nobody waits for a lease takes no longer.
const BRISK: Span = Span(4_000_000);
/// One way.
const WIRE: Span = Span(1_000);

/// What is searched.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Replicas of the job: 1, only the owner can be the steward; 3, all can.
    pub copies: u8,
    /// A planted bug.
    pub mutant: Option<Mutant>,
    /// How far from the undisturbed run.
    pub limits: Limits,
}

/// How often what may happen in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Deviations in all.
    pub all: u8,
    /// Packets lost.
    pub lost: u8,
    /// Packets that come twice.
    pub doubled: u8,
    /// Packets that are overtaken or late.
    pub late: u8,
    /// Tasks that end early.
    pub early: u8,
    /// Nodes cut off for longer than a lease.
    pub cut: u8,
    /// Nodes that die for good.
    pub dead: u8,
    /// Only packets that leases depend on are touched: claims, steals, heartbeats, their answers, and results.
    pub only_leases: bool,
}

impl Limits {
    /// Up to `all` deviations of any kind.
    pub const fn any(all: u8) -> Self {
        Self { all, lost: all, doubled: all, late: all, early: all, cut: 1, dead: 1, only_leases: false }
    }
}

/// One departure from the undisturbed run. Packets are meant that would arrive next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deviation {
    /// None: what is due happens.
    Go,
    /// The packet is lost.
    Lose,
    /// It comes, and comes again.
    Double,
    /// It is a little late.
    Late,
    /// It comes when nobody waits for it any more.
    Old,
    /// The task that this node runs ends now.
    Early(u8),
    /// Nothing from or to this node arrives for longer than a lease.
    Cut(u8),
    /// This node is gone for good.
    Die(u8),
}

#[derive(Clone, Debug)]
enum What {
    Message(Message),
    Request(ReqId, Request),
    Response(ReqId, Response),
}

#[derive(Clone, Debug)]
struct Packet {
    from: usize,
    to: usize,
    what: What,
}

#[derive(Clone, Debug)]
struct Running {
    launch: LaunchId,
    tasks: Range,
    attempt: u64,
    ends: Timestamp,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) now: Timestamp,
    start: Timestamp,
    nodes: Vec<Node>,
    facts: Vec<BTreeMap<FactId, SignedFact>>,
    /// By arrival, sender, and how many-th packet of its sender: the same packets are the same map, in whatever order they were sent.
    packets: BTreeMap<(Timestamp, usize, u64), Packet>,
    sent: [u64; NODES],
    running: Vec<Vec<Running>>,
    job: JobId,
    pub(crate) left: Limits,
    /// Deviations after which tasks may run twice: all that could be leased then (S11). A lost, doubled or late packet and a task that
    /// ends early are none.
    rough: u8,
    /// Something was lost: leases and time limits have to end before all goes on.
    slow: bool,
    cut: Option<(usize, Timestamp)>,
    dead: Option<usize>,
    /// Executions: task and attempt.
    ran: Vec<(u32, u64)>,
    finals: BTreeMap<u32, FactId>,
    pub(crate) stolen: u32,
    /// A claim or steal whose answer was lost with tasks in it.
    pub(crate) lost_grant: bool,
    pub(crate) took_over: bool,
    pub(crate) broken: Option<String>,
    pub(crate) ended: bool,
    /// What happened, line by line, if somebody wants to read it.
    story: Option<Vec<String>>,
    digest: u64,
}

fn id(n: usize) -> NodeId {
    NodeId([n as u8 + 1; 32])
}

fn index(n: NodeId) -> usize {
    usize::from(n.0[0]) - 1
}

fn timing() -> Timing {
    // Nothing that only fills the time between leases: fewer events, the same protocol.
    Timing {
        idle_beat: Span::secs(60),
        announce: Span::secs(20),
        quiet_min: Span::millis(500),
        repair: Span::secs(600),
        pack_flush: Span::millis(10),
        ..Timing::default()
    }
}

fn config(n: usize, setting: Setting) -> Config {
    Config {
        store: StoreId([n as u8 + 1; 16]),
        machine: MachineId([n as u8 + 1; 16]),
        boot: 1,
        name: format!("n{n}"),
        slots: 1,
        offers: vec!["handler:noop".into()],
        result_copies: 1,
        timing: timing(),
        mutant: setting.mutant,
    }
}

fn spec() -> JobSpec {
    JobSpec {
        name: "three".into(),
        priority: 0,
        attended: false,
        groups: vec![Group {
            name: "main".into(),
            tasks: Generator::Array { first: 0, step: 1, count: TASKS },
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

impl World {
    /// Three nodes that know each other, a job of three tasks just submitted at the first one.
    pub fn new(setting: Setting) -> Self {
        let now = Timestamp(1_000_000);
        let node = |n| Node::new(config(n, setting), Box::new(Simulated(id(n))), [n as u8; 32], now);
        let mut w = Self {
            now,
            start: now,
            nodes: (0..NODES).map(node).collect(),
            facts: vec![BTreeMap::new(); NODES],
            packets: BTreeMap::new(),
            sent: [0; NODES],
            running: vec![Vec::new(); NODES],
            job: JobId::default(),
            left: setting.limits,
            rough: 0,
            slow: false,
            cut: None,
            dead: None,
            ran: Vec::new(),
            finals: BTreeMap::new(),
            stolen: 0,
            lost_grant: false,
            took_over: false,
            broken: None,
            ended: false,
            story: None,
            digest: 0,
        };
        for a in 0..NODES {
            for b in (0..NODES).filter(|b| *b != a) {
                w.input(a, Input::PeerUp(id(b)));
            }
        }
        while w.packets.keys().next().is_some_and(|(at, ..)| *at < now + Span::millis(50)) {
            w.go();
        }
        let copies = Some(setting.copies);
        let spec = Box::new(spec());
        w.input(0, Input::Submit { client: ClientId(1), nonce: Nonce([1; 16]), now_ms: 0, spec, copies });
        w.start = w.now;
        w.seal();
        w
    }

    /// What may happen next.
    pub(crate) fn choices(&self, out: &mut Vec<Deviation>) {
        if self.ended || self.broken.is_some() {
            return;
        }
        out.push(Deviation::Go);
        let l = self.left;
        if l.all == 0 {
            return;
        }
        if let Some(p) = self.next_packet().filter(|p| !l.only_leases || about_leases(&p.what)) {
            let request = !matches!(p.what, What::Response(..));
            let packet = [
                (l.lost, Deviation::Lose),
                (l.late, Deviation::Late),
                (l.late, Deviation::Old),
                (l.doubled * u8::from(request), Deviation::Double),
            ];
            out.extend(packet.into_iter().filter(|(left, _)| *left > 0).map(|(_, d)| d));
        }
        for n in 0..NODES as u8 {
            let alive = self.dead != Some(usize::from(n));
            if l.early > 0 && alive && !self.running[usize::from(n)].is_empty() {
                out.push(Deviation::Early(n));
            }
            // Between packets nothing changes by it.
            let moment = self.next_packet().is_some_and(|p| p.from == usize::from(n) || p.to == usize::from(n));
            if l.cut > 0 && self.cut.is_none() && alive && moment {
                out.push(Deviation::Cut(n));
            }
            // The owner may only die where others keep the job.
            if l.dead > 0 && self.dead.is_none() && moment && (n > 0 || self.replicated()) {
                out.push(Deviation::Die(n));
            }
        }
    }

    /// Does it, and whatever follows by itself: to the next choice, or to the end if no deviation is left.
    pub(crate) fn step(&mut self, what: Deviation) {
        self.tell(|_| if what == Deviation::Go { String::new() } else { format!("*** {what:?}") });
        let now = self.now;
        if what != Deviation::Go {
            self.left.all -= 1;
            let rough = matches!(what, Deviation::Old | Deviation::Cut(_) | Deviation::Die(_));
            self.rough += u8::from(rough);
            self.slow |= rough || matches!(what, Deviation::Lose | Deviation::Double);
        }
        match what {
            Deviation::Go => self.go(),
            Deviation::Lose => {
                self.left.lost -= 1;
                // Whoever asked finds out by the core's own time limit.
                let lost = self.packets.pop_first();
                self.lost_grant |= lost.is_some_and(|(_, p)| carries_tasks(&p.what));
            }
            Deviation::Double => {
                self.left.doubled -= 1;
                if let Some((at, p)) = self.packets.first_key_value().map(|(k, p)| (k.0, p.clone())) {
                    self.post(at + Span(2 * WIRE.0), p);
                    self.go();
                }
            }
            Deviation::Late | Deviation::Old => {
                self.left.late -= 1;
                let by = if what == Deviation::Late { LATE } else { OLD };
                if let Some(((at, from, n), p)) = self.packets.pop_first() {
                    self.packets.insert((at + by, from, n), p);
                }
            }
            Deviation::Early(n) => {
                self.left.early -= 1;
                if let Some(r) = self.running[usize::from(n)].first_mut() {
                    r.ends = now;
                }
            }
            Deviation::Cut(n) => {
                self.left.cut -= 1;
                self.cut = Some((usize::from(n), now + CUT));
            }
            Deviation::Die(n) => {
                self.left.dead -= 1;
                let n = usize::from(n);
                self.dead = Some(n);
                self.running[n].clear();
                self.packets.retain(|_, p| p.to != n);
            }
        }
        while self.left.all == 0 && !self.ended && self.broken.is_none() {
            self.go();
        }
        self.seal();
    }

    /// A run from its start, told.
    pub(crate) fn story(setting: Setting, steps: &[Deviation]) -> Vec<String> {
        let mut w = Self::new(setting);
        w.story = Some(Vec::new());
        steps.iter().for_each(|s| w.step(*s));
        w.story.unwrap_or_default()
    }

    fn tell(&mut self, what: impl FnOnce(&Self) -> String) {
        if self.story.is_some() {
            let line = what(self);
            let at = self.now.since(self.start).0 / 1000;
            if let Some(story) = self.story.as_mut().filter(|_| !line.is_empty()) {
                story.push(format!("{at:>6} ms  {line}"));
            }
        }
    }

    fn replicated(&self) -> bool {
        self.nodes[1].job(self.job).is_some_and(|j| j.role == filch_core::view::Role::Replica)
    }

    fn next_packet(&self) -> Option<&Packet> {
        let (key, packet) = self.packets.first_key_value()?;
        let due = self.next_due().is_none_or(|(at, _)| key.0 <= at);
        due.then_some(packet)
    }

    /// The next end of a task or timer: at what time, of which node.
    fn next_due(&self) -> Option<(Timestamp, usize)> {
        let alive = (0..NODES).filter(|n| self.dead != Some(*n));
        let of = |n: usize| {
            let timer = self.nodes[n].poll_timeout().map(|d| d.at);
            let task = self.running[n].first().map(|r| r.ends);
            Some((timer.into_iter().chain(task).min()?, n))
        };
        alive.filter_map(of).min()
    }

    /// The next thing that is due happens.
    fn go(&mut self) {
        if self.next_packet().is_some() {
            if let Some(((at, ..), p)) = self.packets.pop_first() {
                self.now = self.now.max(at);
                self.tell(|w| {
                    format!("n{} -> n{}{} {:?}", p.from, p.to, if w.severed(&p) { " (lost)" } else { "" }, p.what)
                });
                self.deliver(p);
            }
        } else if let Some((at, n)) = self.next_due() {
            self.now = self.now.max(at);
            match self.running[n].first() {
                Some(r) if r.ends <= self.now => {
                    let r = self.running[n].remove(0);
                    self.finish(n, r);
                }
                _ => {
                    self.tell(|w| format!("n{n} {}", w.nodes[n].poll_timeout().map_or("", |d| d.reason)));
                    self.nodes[n].handle_timeout(self.now);
                    self.drain(n);
                }
            }
        }
        self.judge();
    }

    fn finish(&mut self, n: usize, r: Running) {
        self.tell(|_| format!("n{n} ends {:?}", r.tasks));
        let one = |i| ResultRun::one(i, r.attempt, TASK.0, Outcome::Success(TaskOutput::default()));
        let runs = (r.tasks.lo..r.tasks.hi).map(one).collect();
        self.input(n, Input::Finished { launch: r.launch, runs });
    }

    fn severed(&self, p: &Packet) -> bool {
        let touches = |n: usize| p.from == n || p.to == n;
        self.dead.is_some_and(touches) || self.cut.is_some_and(|(n, until)| self.now < until && touches(n))
    }

    fn deliver(&mut self, p: Packet) {
        if self.severed(&p) {
            self.lost_grant |= carries_tasks(&p.what);
            return;
        }
        let (from, to) = (id(p.from), p.to);
        let input = match p.what {
            What::Message(m) => Input::Message(from, m),
            // Who asked, and which of its requests it is: enough to answer, and the same in every order of events.
            What::Request(req, r) => Input::Request(from, Token(req.0 << 8 | p.from as u64), r),
            What::Response(req, r) => Input::Response(req, r),
        };
        self.input(to, input);
    }

    fn input(&mut self, n: usize, input: Input) {
        self.nodes[n].handle_input(self.now, input);
        self.drain(n);
    }

    fn post(&mut self, at: Timestamp, p: Packet) {
        self.sent[p.from] += 1;
        self.packets.insert((at, p.from, self.sent[p.from]), p);
    }

    fn send(&mut self, from: usize, to: NodeId, what: What) {
        self.post(self.now + WIRE, Packet { from, to: index(to), what });
    }

    fn answer(&mut self, from: usize, token: Token, r: Response) {
        let (asker, req) = ((token.0 & 0xff) as usize, ReqId(token.0 >> 8));
        self.send(from, id(asker), What::Response(req, r));
    }

    fn lookup(&self, n: usize, facts: &[FactId]) -> Vec<SignedFact> {
        facts.iter().filter_map(|f| self.facts[n].get(f).cloned()).collect()
    }

    fn drain(&mut self, n: usize) {
        // The disk is quick and never fails here: what is committed is durable before anything else happens.
        let mut durable = Vec::new();
        loop {
            while let Some(o) = self.nodes[n].poll_output() {
                if let Some(input) = self.output(n, o) {
                    durable.push(input);
                }
            }
            if durable.is_empty() {
                return;
            }
            for input in std::mem::take(&mut durable) {
                self.nodes[n].handle_input(self.now, input);
            }
        }
    }

    fn output(&mut self, n: usize, o: Output) -> Option<Input> {
        match o {
            Output::Send(to, m) => self.send(n, to, What::Message(m)),
            Output::SendFacts(to, _, facts) => {
                let facts = self.lookup(n, &facts);
                self.send(n, to, What::Message(Message::Facts(facts)));
            }
            Output::Request(to, req, r) => self.send(n, to, What::Request(req, r)),
            Output::Respond(token, r) => self.answer(n, token, r),
            Output::RespondFacts(token, _, facts) => {
                let facts = self.lookup(n, &facts);
                self.answer(n, token, Response::Facts(facts));
            }
            Output::Commit { ticket, records, .. } => {
                for r in records {
                    if let Record::Fact(_, f, signed) = r {
                        self.facts[n].insert(f, signed);
                    }
                }
                return Some(Input::Committed(ticket));
            }
            Output::FetchClosure { job, .. } => return Some(Input::ClosureHeld(job)),
            Output::FetchBlobs { fetch, .. } => return Some(Input::Fetched(fetch)),
            Output::Launch(l) => self.launched(n, &l),
            Output::Stop(launch) => {
                let at = self.running[n].iter().position(|r| r.launch == launch)?;
                let tasks = self.running[n].remove(at).tasks;
                return Some(Input::Bounced { launch, tasks, why: "stopped".into() });
            }
            Output::FetchAhead { job, tasks, .. } => return Some(Input::FetchedAhead { job, tasks, here: true }),
            Output::Reply(_, Reply::Submitted(job)) => self.job = job,
            Output::Event(e) => self.event(n, e),
            Output::Publish(_)
            | Output::Reply(..)
            | Output::Release(_)
            | Output::ReadFacts(_)
            | Output::Drained
            | Output::Split { .. }
            | Output::Checkpoint(_) => {}
        }
        None
    }

    fn launched(&mut self, n: usize, l: &Launch) {
        self.tell(|_| format!("n{n} runs {:?} as {:#x}", l.tasks, l.attempt));
        for i in l.tasks.lo..l.tasks.hi {
            if self.ran.contains(&(i, l.attempt)) {
                self.broken = Some(format!("S13: task {i} runs twice as attempt {:#x}, now at n{n}", l.attempt));
            }
            self.ran.push((i, l.attempt));
        }
        self.ran.sort_unstable();
        let after = self.running[n].last().map_or(self.now, |r| r.ends);
        self.running[n].push(Running { launch: l.id, tasks: l.tasks, attempt: l.attempt, ends: after + TASK });
    }

    fn event(&mut self, n: usize, e: Event) {
        match e {
            Event::Stole { tasks, .. } => self.stolen += tasks,
            Event::Steward(..) => self.took_over |= n != 0,
            Event::Final(_, pins) if n == 0 => {
                for (i, pack) in pins.iter().flat_map(|p| (p.lo..p.lo + p.count).map(|i| (i, p.pack))) {
                    if self.finals.insert(i, pack).is_some_and(|old| old != pack) {
                        self.broken = Some(format!("S5: task {i} has two final values"));
                    }
                }
            }
            _ => {}
        }
    }

    /// What must hold after every event, and whether the run is over.
    fn judge(&mut self) {
        if self.broken.is_some() || self.ended {
            return;
        }
        for n in (0..NODES).filter(|n| self.dead != Some(*n)) {
            let Some(l) = self.nodes[n].leases(self.job) else { continue };
            let mut seen = BTreeSet::new();
            if !l.held.iter().flat_map(|(r, _)| r.lo..r.hi).all(|i| seen.insert(i)) {
                self.broken = Some(format!("S13: n{n} leases a task twice: {:?}", l.held));
                return;
            }
        }
        if self.done() {
            self.ended = true;
            let (again, bound) = (self.repeated(), TASKS * u32::from(self.rough));
            if again > bound {
                self.broken =
                    Some(format!("S11: {again} executions too many, {bound} are accounted for: {:x?}", self.ran));
            }
        } else if !self.slow && (self.finals.len() as u32) < TASKS && self.now.since(self.start) > BRISK {
            self.broken = Some(format!("S11: a task is missing, nothing was lost: {:?}", self.finals.keys()));
        } else if self.now.since(self.start) > END {
            let view = |n: &Node| {
                let j = n.job(self.job)?;
                Some(format!(
                    "{:?} of {:?}, steward {:?}, {:?}, leases {:?}, holders {:?}",
                    j.role,
                    j.replicas,
                    j.steward,
                    j.counts,
                    n.leases(self.job),
                    j.holders
                ))
            };
            let views: Vec<String> = self.nodes.iter().filter_map(view).collect();
            self.broken = Some(format!("L1: not done after {} s: {views:#?}", END.0 / 1_000_000));
        }
    }

    /// Tasks executed more than once.
    pub(crate) fn repeated(&self) -> u32 {
        (self.ran.len() as u32).saturating_sub(TASKS)
    }

    fn done(&self) -> bool {
        let quiet = (0..NODES).all(|n| self.dead == Some(n) || self.running[n].is_empty());
        let owner = self.dead == Some(0) || self.finals.len() as u32 == TASKS;
        let kept = |n: usize| {
            self.dead == Some(n)
                || self.nodes[n]
                    .job(self.job)
                    .is_none_or(|j| j.role != filch_core::view::Role::Replica || j.counts.succeeded == u64::from(TASKS))
        };
        quiet && owner && (0..NODES).all(kept)
    }

    fn seal(&mut self) {
        // Everything but the counters of what was seen. The state of a node's dice is not in it: they choose only whom to tell first.
        let mut h = Text(blake3::Hasher::new());
        let whole = (
            &self.nodes,
            &self.packets,
            &self.running,
            &self.ran,
            &self.finals,
            self.cut,
            self.dead,
            (self.left, self.rough, self.slow),
        );
        // Writing to a hasher does not fail.
        let _ = write!(h, "{:?} {whole:?} {:?} {}", self.now, self.broken, self.ended);
        let first = *h.0.finalize().as_bytes();
        self.digest =
            u64::from_le_bytes([first[0], first[1], first[2], first[3], first[4], first[5], first[6], first[7]]);
    }
}

struct Text(blake3::Hasher);

impl std::fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        self.0.update(s.as_bytes());
        Ok(())
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, to: &mut H) {
        to.write_u64(self.digest);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

fn carries_tasks(w: &What) -> bool {
    match w {
        What::Response(_, Response::Grant { runs, .. } | Response::Stolen { runs, .. }) => !runs.is_empty(),
        _ => false,
    }
}

fn about_leases(w: &What) -> bool {
    match w {
        What::Message(m) => matches!(m, Message::Facts(_)),
        What::Request(_, r) => matches!(r, Request::Claim { .. } | Request::Steal { .. } | Request::Beat(_)),
        What::Response(_, r) => matches!(
            r,
            Response::Grant { .. } | Response::Stolen { .. } | Response::Nothing { .. } | Response::Beat { .. }
        ),
    }
}
