//! The world: virtual time, one queue of events, and real core nodes in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use filch_core::{AskId, Config, Event, FetchId, Input, LaunchId, Node, Output, ReqId};
use filch_handlers::Kinds;
use filch_types::sign::Simulated;
use filch_types::wire::{JobState, Summary};
use filch_types::{BlobId, JobId, MachineId, NodeId, StoreId};

use crate::clients::Clients;
use crate::clock::Clock;
use crate::digest::Digest;
use crate::disk::Disk;
use crate::divide::Divided;
use crate::history::History;
use crate::host::{Host, Slot};
use crate::known::Known;
use crate::model::{Disks, DrawnDisks, DrawnExecutors, DrawnLinks, Executors, Links};
use crate::net::{Net, Packet};
use crate::options::{NodeOptions, Options};
use crate::oracle::{self, Oracle, Seen, Violation};
use crate::programs::Programs;
use crate::rng::Dice;
use crate::shelf::Shelf;
use crate::timeline::{Chronicle, Mark};

/// Something that will happen.
pub(crate) enum Ev {
    Start { host: usize },
    Timer { host: usize, life: u32 },
    Dial { a: usize, b: usize },
    ConnUp { conn: u64, at_a: bool },
    ConnDown { conn: u64, at_a: bool },
    Packet { conn: u64, from: usize, to: usize, what: Box<Packet> },
    Gossip { host: usize, life: u32, summary: Arc<Summary> },
    RequestFailed { host: usize, life: u32, req: ReqId },
    Committed { host: usize, life: u32 },
    Fetch { host: usize, life: u32, fetch: u64 },
    Exec { host: usize, life: u32, slot: u16, step: u64 },
    Split { host: usize, life: u32, launch: LaunchId, ask: AskId, least_us: u64 },
    Kill { host: usize, life: u32, launch: LaunchId },
    Staging { host: usize, life: u32, launch: LaunchId },
    Scrub { host: usize, life: u32, job: JobId },
    Submit { plan: usize },
    Act { plan: usize, action: usize },
    Fault { fault: usize },
    FaultEnd { fault: usize },
    Image { host: usize },
}

/// Counts of a run, for summaries and for the oracles of quiet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events handled.
    pub events: u64,
    /// One-way messages sent.
    pub messages: u64,
    /// Requests sent.
    pub requests: u64,
    /// Summaries published.
    pub gossips: u64,
    /// Groups of records committed.
    pub commits: u64,
    /// Blobs that moved between nodes.
    pub blobs: u64,
    /// Faults that took place.
    pub faults: u64,
    /// Tasks that thieves got.
    pub stolen: u64,
    /// Tasks that stewards took back.
    pub reclaimed: u64,
    /// Tasks of which stewards had a second attempt made because the first one straggled.
    pub copied: u64,
}

/// The streams that are no model's.
pub(crate) struct Streams {
    pub churn: Dice,
    pub disk: Dice,
    pub blobs: Dice,
    pub exec: Dice,
    pub split: Dice,
    pub net: Dice,
    pub overlay: Dice,
    pub clients: Dice,
}

/// The simulated cluster.
pub struct World {
    /// Virtual microseconds since the start.
    pub now: u64,
    /// What it was made from.
    pub options: Options,
    /// The machines.
    pub hosts: Vec<Host>,
    /// All manifests and facts.
    pub known: Known,
    /// What happened.
    pub history: History,
    /// Counts.
    pub stats: Stats,
    /// Faults have ended; everything that is up must make progress.
    pub settling: bool,
    /// The first rule that was broken.
    pub violation: Option<Violation>,
    /// Its clients.
    pub clients: Clients,
    /// Planned faults that could not take place: their node was down, or more would have been lost than the protocol
    /// promises to survive.
    pub refused: Vec<usize>,
    /// How long a fault waits until it can take place.
    pub(crate) fault_patience_us: u64,
    pub(crate) by_id: BTreeMap<NodeId, usize>,
    pub(crate) queue: crate::queue::Queue<Ev>,
    pub(crate) net: Net,
    pub(crate) links: Box<dyn Links>,
    pub(crate) disks: Box<dyn Disks>,
    pub(crate) executors: Box<dyn Executors>,
    pub(crate) programs: Programs,
    pub(crate) streams: Streams,
    pub(crate) kinds: Kinds,
    pub(crate) divided: BTreeMap<(usize, LaunchId), Divided>,
    pub(crate) ends_early: BTreeSet<(usize, LaunchId)>,
    pub(crate) active: BTreeMap<usize, crate::churn::Undo>,
    pub(crate) next_number: u64,
    oracles: Vec<Box<dyn Oracle>>,
    digest: Digest,
    deep: bool,
    trace: Option<VecDeque<String>>,
    pub(crate) chronicle: Option<Chronicle>,
    outputs: Vec<Output>,
}

/// Lines that a trace keeps: the last ones.
pub const TRACE_LINES: usize = 200_000;
/// Outputs that one input may cause.
const MAX_OUTPUTS: usize = 50_000;
/// Timer calls at one instant before it counts as spinning.
const MAX_SPINS: u32 = 1_000;

fn node_id(seed: u64, n: usize) -> NodeId {
    NodeId(BlobId::of(format!("node {seed} {n}").as_bytes()).0)
}

impl World {
    /// A world before its first event.
    pub fn new(options: Options) -> Self {
        let seed = options.seed;
        let stream = |name| Dice::stream(seed, name);
        let mut world = Self {
            now: 0,
            links: Box::new(DrawnLinks::new(options.link.clone(), seed)),
            disks: Box::new(DrawnDisks::new(options.disk.clone(), seed)),
            executors: Box::new(DrawnExecutors::new(seed)),
            programs: Programs::default(),
            streams: Streams {
                churn: stream("churn"),
                disk: stream("disk"),
                blobs: stream("blobs"),
                exec: stream("exec"),
                split: stream("split"),
                net: stream("net"),
                overlay: stream("overlay"),
                clients: stream("clients"),
            },
            oracles: oracle::all(&options),
            options,
            hosts: Vec::new(),
            known: Known::default(),
            history: History::default(),
            stats: Stats::default(),
            settling: false,
            violation: None,
            clients: Clients::default(),
            refused: Vec::new(),
            fault_patience_us: 0,
            by_id: BTreeMap::new(),
            queue: crate::queue::Queue::default(),
            net: Net::default(),
            kinds: Kinds::builtin(),
            divided: BTreeMap::new(),
            ends_early: BTreeSet::new(),
            active: BTreeMap::new(),
            next_number: 0,
            digest: Digest::default(),
            deep: false,
            trace: None,
            chronicle: None,
            outputs: Vec::new(),
        };
        for n in 0..world.options.nodes.len() {
            world.add_host(n);
        }
        world.draw_overlay();
        for plan in 0..world.options.jobs.len() {
            let at = world.options.jobs[plan].at;
            world.queue.push(at, Ev::Submit { plan });
        }
        for fault in 0..world.options.faults.len() {
            let at = world.options.faults[fault].at;
            world.queue.push(at, Ev::Fault { fault });
        }
        world
    }

    fn add_host(&mut self, n: usize) {
        let options: NodeOptions = self.options.nodes[n].clone();
        let id = node_id(self.options.seed, n);
        let mut machine = [0; 16];
        machine[..4].copy_from_slice(&options.machine.to_le_bytes());
        self.queue.push(options.start_us, Ev::Start { host: n });
        if self.options.disk.image_us > 0 {
            self.queue.push(options.start_us + self.options.disk.image_us, Ev::Image { host: n });
        }
        self.by_id.insert(id, n);
        self.hosts.push(Host {
            id,
            machine: MachineId(machine),
            store: StoreId(self.streams.churn.bytes()),
            boot: 0,
            life: 0,
            node: None,
            paused: None,
            backlog: VecDeque::new(),
            frozen: false,
            draining: false,
            drained: false,
            clock: Clock::new(0, options.clock_us, options.clock_ppm),
            armed: None,
            spins: 0,
            disk: Disk::default(),
            shelf: Shelf::default(),
            slots: vec![Slot::default(); usize::from(options.slots)],
            sick: 0,
            fetches: BTreeMap::new(),
            ends: BTreeMap::new(),
            contacts: BTreeSet::new(),
            rotten: BTreeSet::new(),
            options,
        });
    }

    /// Keeps compact lines of what happens.
    pub fn trace_on(&mut self) {
        self.trace = Some(VecDeque::new());
    }
    /// Lets the digest see every field of everything: slow.
    pub fn deep_digest(&mut self) {
        self.deep = true;
    }
    /// The lines kept so far.
    pub fn trace(&self) -> impl Iterator<Item = &str> {
        self.trace.iter().flatten().map(String::as_str)
    }
    /// The digest of all events so far.
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }
    /// Events waiting.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
    /// The machine of a node, by its id.
    pub fn host_of(&self, id: &NodeId) -> Option<usize> {
        self.by_id.get(id).copied()
    }
    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
    pub(crate) fn after(&mut self, delay: u64, event: Ev) {
        self.queue.push(self.now.saturating_add(delay), event);
    }
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let Some(trace) = &mut self.trace else { return };
        if trace.len() >= TRACE_LINES {
            trace.pop_front();
        }
        let (s, us) = (self.now / 1_000_000, self.now % 1_000_000);
        trace.push_back(format!("{s:4}.{us:06} {}", line()));
    }

    /// Records a broken rule; the first one counts.
    pub fn violate(&mut self, rule: &'static str, text: String) {
        if self.violation.is_none() {
            self.note(|| format!("VIOLATION {rule}: {text}"));
            self.violation = Some(Violation { rule, at: self.now, text });
        }
    }

    /// Shows the oracles what just happened.
    pub(crate) fn seen(&mut self, seen: &Seen<'_>) {
        if self.violation.is_some() {
            return;
        }
        let mut oracles = std::mem::take(&mut self.oracles);
        let verdict = oracles.iter_mut().find_map(|o| o.saw(self, seen).err().map(|text| (o.rule(), text)));
        self.oracles = oracles;
        if let Some((rule, text)) = verdict {
            self.violate(rule, text);
        }
    }
    /// Has the oracles look at the whole world.
    pub(crate) fn look(&mut self, last: bool) {
        if self.violation.is_some() {
            return;
        }
        let mut oracles = std::mem::take(&mut self.oracles);
        let verdict = oracles.iter_mut().find_map(|o| {
            let verdict = if last { o.at_end(self) } else { o.look(self) };
            verdict.err().map(|text| (o.rule(), text))
        });
        self.oracles = oracles;
        if let Some((rule, text)) = verdict {
            self.violate(rule, text);
        }
    }

    /// What is outstanding, and by which rule it must end.
    pub fn outstanding(&self) -> Option<(&'static str, String)> {
        let down = |h: &usize| self.settling && !self.hosts[*h].frozen && !self.hosts[*h].is_up();
        if let Some(h) = (0..self.hosts.len()).find(down) {
            return Some(("L1", format!("n{h} is on its way back")));
        }
        self.oracles.iter().find_map(|o| o.waits(self).map(|text| (o.rule(), text)))
    }
    /// What a run whose faults end by themselves has not finished: faults to come or under way, jobs, and whatever else must
    /// come to its end.
    pub fn unfinished(&self) -> Option<String> {
        let to_come = self.options.faults.iter().filter(|p| p.at >= self.now).count();
        let under_way = self.active.keys().filter(|f| !self.options.faults[**f].fault.is_for_good()).count();
        if to_come + under_way > 0 {
            return Some(format!("{to_come} faults are to come and {under_way} under way"));
        }
        let late = self.options.jobs.iter().position(|j| j.at >= self.now);
        if let Some(plan) = late {
            return Some(format!("job {plan} has not been submitted"));
        }
        self.outstanding().map(|(rule, text)| format!("{rule}: {text}"))
    }
    /// Everything has settled: from now on the cluster should be quiet.
    pub fn begin_quiet(&mut self) {
        let mut oracles = std::mem::take(&mut self.oracles);
        oracles.iter_mut().for_each(|o| o.quiet(self));
        self.oracles = oracles;
    }
    /// Handles the next event if it is not after `until`. False if there was none, or a rule is broken.
    pub fn step(&mut self, until: u64) -> bool {
        if self.violation.is_some() {
            return false;
        }
        let (limit, next) = (self.next_limit(), self.queue.next_at());
        if let Some(at) = limit.filter(|at| *at <= until && next.is_none_or(|next| *at < next)) {
            self.begin_event(at);
            self.limit_passes();
            return true;
        }
        if next.is_none_or(|at| at > until) {
            return false;
        }
        let Some((at, event)) = self.queue.pop() else { return false };
        self.begin_event(at);
        self.handle(event);
        true
    }
    fn begin_event(&mut self, at: u64) {
        self.now = self.now.max(at);
        self.stats.events += 1;
        self.digest.mix(at);
    }
    /// Runs until this time; false if a rule was broken on the way.
    pub fn run_until(&mut self, until: u64) -> bool {
        while self.step(until) {}
        if self.violation.is_none() {
            self.now = self.now.max(until);
        }
        self.violation.is_none()
    }

    fn lives(&self, host: usize, life: u32) -> bool {
        self.hosts[host].life == life && self.hosts[host].is_up()
    }

    fn handle(&mut self, event: Ev) {
        match event {
            Ev::Start { host } => self.start(host),
            Ev::Timer { host, life } => {
                if self.lives(host, life) {
                    self.timer(host);
                }
            }
            Ev::Dial { a, b } => self.dial(a, b),
            Ev::ConnUp { conn, at_a } => self.conn_up(conn, at_a),
            Ev::ConnDown { conn, at_a } => self.conn_down(conn, at_a),
            Ev::Packet { conn, from, to, what } => self.arrive(conn, from, to, what),
            Ev::Gossip { host, life, summary } => {
                if self.lives(host, life) {
                    self.feed(host, Input::Gossip((*summary).clone()));
                }
            }
            Ev::RequestFailed { host, life, req } => {
                if self.lives(host, life) {
                    self.feed(host, Input::RequestFailed(req));
                }
            }
            Ev::Committed { host, life } => {
                if self.lives(host, life) {
                    self.committed(host);
                }
            }
            Ev::Fetch { host, life, fetch } => {
                if self.lives(host, life) {
                    self.fetch_step(host, fetch);
                }
            }
            Ev::Exec { host, life, slot, step } => {
                if self.lives(host, life) {
                    self.exec_step(host, slot, step);
                }
            }
            Ev::Split { host, life, launch, ask, least_us } => {
                if self.lives(host, life) {
                    self.split(host, launch, ask, least_us);
                }
            }
            Ev::Kill { host, life, launch } => {
                if self.lives(host, life) {
                    self.kill(host, launch);
                }
            }
            Ev::Staging { host, life, launch } => {
                if self.lives(host, life) {
                    self.feed(host, Input::Staging(launch));
                }
            }
            Ev::Scrub { host, life, job } => {
                if self.lives(host, life) {
                    self.scrub(host, job);
                }
            }
            Ev::Submit { plan } => self.client_submit(plan),
            Ev::Act { plan, action } => self.client_act(plan, action),
            Ev::Fault { fault } => self.fault(fault),
            Ev::FaultEnd { fault } => self.fault_end(fault),
            Ev::Image { host } => {
                self.hosts[host].disk.remember();
                self.after(self.options.disk.image_us.max(1), Ev::Image { host });
            }
        }
    }

    /// Starts the process on this machine, if it is down and has not left.
    pub(crate) fn start(&mut self, h: usize) {
        if self.hosts[h].is_up() || self.hosts[h].frozen {
            return;
        }
        let now = self.now;
        let host = &mut self.hosts[h];
        host.life += 1;
        host.boot += 1;
        (host.draining, host.drained) = (false, false);
        host.armed = None;
        let config = Config {
            store: host.store,
            machine: host.machine,
            boot: host.boot,
            name: format!("n{h}"),
            slots: host.options.slots,
            offers: if host.options.able {
                let own = [("handler", crate::load::HANDLER), ("divisible", crate::load::DIVISIBLE)];
                let drawn = own.into_iter().map(|(kind, name)| format!("{kind}:{name}"));
                std::iter::once("command".to_owned()).chain(drawn).chain(self.programs.offers(h)).collect()
            } else {
                vec![]
            },
            result_copies: self.options.result_copies,
            timing: self.options.timing.clone(),
            mutant: self.options.mutant,
        };
        let seed = BlobId::of(format!("life {} {h} {}", self.options.seed, host.life).as_bytes()).0;
        let mut node = Node::new(config, Box::new(Simulated(host.id)), seed, host.clock.local(now));
        let records = host.disk.image.replay(&mut self.streams.disk);
        let (life, jobs) = (host.life, host.disk.image.jobs.len());
        for record in records {
            node.restore(record);
        }
        let known: Vec<JobId> = node.jobs().into_iter().map(|j| j.job).collect();
        // What was put aside for jobs that the ledger does not know is left over from a crash.
        for job in host.shelf.jobs() {
            if !known.contains(&job) && !crate::clients::is_pending(job) {
                host.shelf.abandon(job);
            }
        }
        host.node = Some(node);
        self.note(|| format!("n{h} starts, life {life}, {jobs} jobs on disk"));
        self.digest.mix(0x57a7 + h as u64);
        self.chronicle(Mark::Up { host: h });
        self.seen(&Seen::Started { host: h });
        self.pump(h);
        self.scrub_after_start(h);
        self.dial_all(h);
    }

    /// Gives a node an input, at once or when its pause ends.
    pub(crate) fn feed(&mut self, h: usize, input: Input) {
        let host = &mut self.hosts[h];
        if host.node.is_none() {
            return;
        }
        if host.paused.is_some() {
            host.backlog.push_back(input);
            return;
        }
        self.introduce(h, &input);
        self.digest.mix(h as u64);
        if self.deep {
            self.digest.mix_debug(&input);
        }
        if self.trace.is_some() {
            let line = crate::trace::input(self, &input);
            self.note(|| format!("n{h} <- {line}"));
        }
        self.seen(&Seen::Fed { host: h, input: &input });
        let host = &mut self.hosts[h];
        if let Some(node) = &mut host.node {
            node.handle_input(host.clock.local(self.now), input);
        }
        self.pump(h);
    }

    fn timer(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        if host.armed != Some(self.now) || host.paused.is_some() {
            return;
        }
        host.armed = None;
        let local = host.clock.local(self.now);
        let Some(node) = &mut host.node else { return };
        let Some(due) = node.poll_timeout().filter(|d| d.at <= local) else { return self.arm(h) };
        host.spins += 1;
        if host.spins > MAX_SPINS {
            return self.violate("S10", format!("n{h} spins on its timer: {due:?}"));
        }
        node.handle_timeout(local);
        self.digest.mix(0x7173 + h as u64);
        self.note(|| format!("n{h} timer {}", due.reason));
        self.pump(h);
    }

    /// Carries out everything that a node wants done, then sets its timer.
    pub(crate) fn pump(&mut self, h: usize) {
        let mut outputs = std::mem::take(&mut self.outputs);
        let local = self.hosts[h].clock.local(self.now);
        let mut due = None;
        if let Some(node) = &mut self.hosts[h].node {
            due = node.poll_timeout();
            while let Some(output) = node.poll_output() {
                outputs.push(output);
                if outputs.len() > MAX_OUTPUTS {
                    break;
                }
            }
        }
        if !outputs.is_empty() && due.is_none_or(|d| d.at > local) {
            self.violate("L1", format!("n{h} has work queued that its next deadline does not tell: {due:?}"));
        }
        if outputs.len() > MAX_OUTPUTS {
            self.violate("S10", format!("n{h}: one input caused more than {MAX_OUTPUTS} outputs"));
        }
        for output in outputs.drain(..) {
            if !self.hosts[h].is_up() {
                self.violate("S14", format!("n{h} has something to do after it said that it is drained: {output:?}"));
                break;
            }
            if self.trace.is_some() {
                let line = crate::trace::output(self, &output);
                self.note(|| format!("n{h} -> {line}"));
            }
            if self.deep {
                self.digest.mix_debug(&output);
            }
            self.act(h, output);
        }
        self.outputs = outputs;
        self.arm(h);
    }

    pub(crate) fn arm(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        let Some(due) = host.node.as_ref().and_then(Node::poll_timeout) else { return };
        let at = host.clock.world(due.at).max(self.now);
        if at > self.now {
            host.spins = 0;
        }
        if host.armed.is_none_or(|armed| at < armed) {
            host.armed = Some(at);
            let life = host.life;
            self.queue.push(at, Ev::Timer { host: h, life });
        }
    }

    fn act(&mut self, h: usize, output: Output) {
        self.digest.mix(crate::trace::kind(&output));
        self.seen(&Seen::Did { host: h, output: &output });
        match output {
            Output::Send(to, message) => self.send(h, to, message),
            Output::Request(to, req, body) => self.request(h, to, req, body),
            Output::Respond(token, response) => self.respond(h, token, response),
            Output::RespondFacts(token, job, facts) => self.respond_facts(h, token, job, &facts),
            Output::SendFacts(to, job, facts) => self.send_facts(h, to, job, &facts),
            Output::Publish(summary) => self.publish(h, &summary),
            Output::Commit { ticket, blobs, records } => self.commit(h, ticket, blobs, records),
            Output::FetchClosure { job, manifest, from } => self.fetch_closure(h, job, manifest, from),
            Output::FetchBlobs { fetch, job, blobs, from } => self.fetch_blobs(h, fetch, job, blobs, from),
            Output::Release(job) => self.release(h, job),
            Output::Launch(launch) => self.launch(h, launch),
            Output::Stop(launch) => self.stop(h, launch),
            Output::Split { launch, ask, least } => self.ask_split(h, launch, ask, least.0),
            Output::Checkpoint(launch) => self.checkpoint(h, launch),
            Output::Reply(client, reply) => self.client_reply(h, client, reply),
            Output::Event(event) => self.event(h, event),
            Output::Drained => self.drained(h),
        }
    }

    fn event(&mut self, h: usize, event: Event) {
        match event {
            Event::Stole { from, tasks, .. } => {
                self.stats.stolen += u64::from(tasks);
                if let Some(from) = self.host_of(&from) {
                    self.chronicle(Mark::Stole { from, to: h, tasks });
                }
            }
            Event::Copied { job, tasks, attempt, .. } => {
                self.stats.copied += u64::from(tasks.len());
                (tasks.lo..tasks.hi).for_each(|i| self.history.copies.entry((job, i)).or_default().push(attempt));
            }
            Event::Steward(job, epoch) => self.chronicle(Mark::Steward { host: h, job, epoch }),
            Event::State(job, state) if state != JobState::Active => {
                let now = self.now;
                self.history.ended.entry(job).or_insert((now, state));
            }
            Event::Reclaimed { queued, executing, .. } => self.stats.reclaimed += u64::from(queued + executing),
            _ => {}
        }
    }

    /// Whether this node's disk holds the job so that it could carry it on alone: manifest, closure, and knows it.
    pub fn holds_all(&self, h: usize, job: JobId) -> bool {
        let host = &self.hosts[h];
        let kept = host.disk.image.jobs.get(&job);
        kept.is_some_and(|k| k.manifest.is_some() && k.held) && self.closure_durable(h, job)
    }
    /// Whether the job's whole input closure is durable here.
    pub fn closure_durable(&self, h: usize, job: JobId) -> bool {
        self.known.jobs.get(&job).is_some_and(|j| j.closure.iter().all(|(b, _)| self.hosts[h].shelf.durable(*b)))
    }
    /// Whether all that this node lacks of the job's input closure is gone by rot that nobody has noticed.
    pub fn rot_alone(&self, h: usize, job: JobId) -> bool {
        let shelf = &self.hosts[h].shelf;
        let fine = |b| shelf.durable(b) || shelf.rotted(b);
        self.hosts[h].rotten.contains(&job)
            || self.known.jobs.get(&job).is_some_and(|j| j.closure.iter().all(|(b, _)| fine(*b)))
    }
    /// Whether a delete fact of this job is durable anywhere.
    pub fn deleted_anywhere(&self, job: JobId) -> bool {
        self.history.revoke_asked.get(&job) == Some(&true)
    }
    pub(crate) fn info(&self, job: JobId) -> Option<Arc<crate::known::JobInfo>> {
        self.known.jobs.get(&job).cloned()
    }
    pub(crate) fn fetch_number(&mut self) -> (u64, FetchId) {
        let n = self.number();
        (n, FetchId(n))
    }
}
