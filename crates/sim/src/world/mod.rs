//! The world: virtual time, one queue of events, and real core nodes in it.

mod checks;
mod events;
mod process;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use filch_core::{FetchId, LaunchId, Output};
use filch_handlers::Kinds;
use filch_types::{BlobId, JobId, MachineId, NodeId, StoreId};

use crate::census::Census;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::digest::Digest;
use crate::disk::Disk;
use crate::divide::Divided;
use crate::history::History;
use crate::host::{Host, Slot};
use crate::known::Known;
use crate::model::{Disks, DrawnDisks, DrawnExecutors, DrawnLinks, Executors, Links};
use crate::net::Net;
use crate::options::{NodeOptions, Options};
use crate::oracle::{self, Oracle, Violation};
use crate::programs::Programs;
use crate::rng::Dice;
use crate::shelf::Shelf;
use crate::timeline::Chronicle;

pub(crate) use events::Ev;

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
    pub rows: Dice,
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
    /// Counts by kind, if wanted.
    pub census: Option<Box<Census>>,
    outputs: Vec<Output>,
}

/// Lines that a trace keeps: the last ones.
pub const TRACE_LINES: usize = 200_000;

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
                rows: stream("rows that rot"),
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
            by_id: BTreeMap::default(),
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
            census: None,
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
            decayed: BTreeSet::new(),
            perished: BTreeSet::new(),
            untold: BTreeMap::new(),
            options,
        });
    }

    /// Keeps compact lines of what happens.
    pub fn trace_on(&mut self) {
        self.trace = Some(VecDeque::new());
    }
    /// Counts events, wake-ups and messages by kind.
    pub fn census_on(&mut self) {
        self.census = Some(Box::default());
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
    pub(crate) fn info(&self, job: JobId) -> Option<Arc<crate::known::JobInfo>> {
        self.known.jobs.get(&job).cloned()
    }
    pub(crate) fn fetch_number(&mut self) -> (u64, FetchId) {
        let n = self.number();
        (n, FetchId(n))
    }
}
