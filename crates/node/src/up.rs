//! A whole node: from a configuration to its orderly end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use filch_blobs::BlobStore;
use filch_core::{Input, Node};
use filch_exec::{Exec, ExecConfig, Handlers, Report};
use filch_ledger::{Ledger, RedbLedger};
use filch_net::{Command, Net, NetConfig, NetEvent};
use filch_types::sign::{Ed25519, Keyring};
use filch_types::{BlobId, NodeId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::damage::Damage;
use crate::datadir::{DataDir, DataDirError};
use crate::delivery::{self, Deliveries};
use crate::disk::Disk;
use crate::down::Down;
use crate::driver::{Driver, DriverHandle, Inbox};
use crate::error::UpError;
use crate::events::{Events, Happening};
use crate::facts::Facts;
use crate::fatal;
use crate::host::StoreHost;
use crate::http::{self, App, socket::Socket};
use crate::members::Remembered;
use crate::names::Names;
use crate::outlet::Dispatch;
use crate::packs::Packs;
use crate::port;
use crate::pump::{Copying, Pump};
use crate::restore;
use crate::scrub::{self, Scrub};
use crate::stats::Stats;
use crate::transfer::closure::Holder;
use crate::transfer::jobs::Jobs;
use crate::transfer::stage::{HeldJobs, Stager};
use crate::transfer::{Duplex, Fetcher, Lists, Opener, Server};

/// Between two sweeps of blobs that no job needs: such a blob stays for one to two of these.
const SWEEP: Duration = Duration::from_secs(3600);
/// After the grace period, killed tasks are handed back within this.
const HAND_BACK: Duration = Duration::from_secs(5);
/// Killed tasks are gone and their slots have ended within this.
const EXECUTOR: Duration = Duration::from_secs(15);
/// Connections of clients may end by themselves within this.
const CLIENTS: Duration = Duration::from_millis(500);

/// What a node says when it is ready.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Its public key.
    pub id: NodeId,
    /// For people.
    pub name: String,
    /// The local API.
    pub socket: PathBuf,
    /// Where everything is.
    pub data_dir: PathBuf,
    /// Addresses that other nodes can give to `--bootstrap`.
    pub addresses: Vec<String>,
    /// Tasks at once.
    pub slots: u16,
    /// How long the start took.
    pub took: Duration,
}

impl std::fmt::Display for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}) is up: {} slots, {}", self.name, self.id.short(), self.slots, self.socket.display())
    }
}

/// Runs a node until it is told to end: by SIGTERM, SIGINT or `POST /v1/down`; a second time hurries it. Blocks. `ready`
/// is called once, when clients can connect.
pub fn up(config: Config, ready: impl FnOnce(&Ready)) -> Result<(), UpError> {
    crate::pages::small();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_keep_alive(Duration::from_secs(5))
        .thread_name("filch")
        .enable_all()
        .build()
        .map_err(UpError::Thread)?;
    let result = runtime.block_on(async {
        let node = RunningNode::start(config).await?;
        signals(node.down.clone()).map_err(UpError::Thread)?;
        ready(&node.ready);
        node.run().await;
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

/// Asks for the end at SIGTERM and SIGINT.
fn signals(down: Down) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                Some(()) = term.recv() => "SIGTERM",
                Some(()) = int.recv() => "SIGINT",
                else => return,
            };
            // First of all: whoever reads the log may be gone.
            down.ask(None);
            tracing::info!(signal = name, "told to end");
        }
    });
    Ok(())
}

/// A node in this process.
pub struct RunningNode {
    /// What it says of itself.
    pub ready: Ready,
    down: Down,
    parts: Parts,
}

/// What has to be ended, in this order.
struct Parts {
    driver: DriverHandle,
    drained: CancellationToken,
    ending: CancellationToken,
    events: Events,
    exec: Arc<Exec>,
    net: Net,
    disk: Disk,
    pump: tokio::task::JoinHandle<()>,
    server: tokio::task::JoinHandle<()>,
    threads: Vec<std::thread::JoinHandle<()>>,
    dir: DataDir,
    socket: Socket,
}

/// The network as transfers see it.
struct NetOpener(Net);

impl Opener for NetOpener {
    fn open(&self, to: NodeId) -> futures::future::BoxFuture<'static, std::io::Result<Box<dyn Duplex>>> {
        let net = self.0.clone();
        Box::pin(async move {
            let stream = net.open_stream(to).await.map_err(std::io::Error::other)?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        })
    }
}

/// Those of `all` that tasks may name.
fn allowed(all: Handlers, wanted: Option<&[String]>) -> Result<Handlers, UpError> {
    let Some(wanted) = wanted else { return Ok(all) };
    let known = all.names().collect::<Vec<_>>().join(", ");
    for name in wanted {
        if !all.names().any(|n| n == name) {
            return Err(UpError::Handler { name: name.clone(), known });
        }
    }
    Ok(all.only(wanted))
}

/// The hidden subcommand of this very program, also when its file was replaced meanwhile.
fn spawner(config: &Config) -> Vec<std::ffi::OsString> {
    config.spawner.clone().unwrap_or_else(|| vec!["/proc/self/exe".into(), "__spawner".into()])
}

fn to_input(report: Report) -> Input {
    match report {
        Report::Finished { launch, runs } => Input::Finished { launch: filch_core::LaunchId(launch), runs },
        Report::Bounced { launch, tasks, why } => Input::Bounced { launch: filch_core::LaunchId(launch), tasks, why },
        Report::EndsSoon { launch } => Input::EndsSoon(filch_core::LaunchId(launch)),
        Report::Split { launch, ask, bag } => {
            Input::Split { launch: filch_core::LaunchId(launch), ask: filch_core::AskId(ask), bag }
        }
        Report::Bag { launch, tally, rest, wall_us } => {
            Input::Bag { launch: filch_core::LaunchId(launch), tally, rest, wall_us }
        }
        Report::BagFailed { launch, cause, text } => {
            Input::BagFailed { launch: filch_core::LaunchId(launch), cause, text }
        }
    }
}

impl RunningNode {
    /// Starts a node. Returns when clients can connect. Needs a multi-threaded tokio runtime.
    pub async fn start(config: Config) -> Result<Self, UpError> {
        let started = Instant::now();
        let runtime = tokio::runtime::Handle::current();
        let mut dir = DataDir::open(&config.data_dir)?;
        let key = dir.cluster_key(config.cluster_key.as_deref())?;
        let machine = config.machine.map_or_else(|| dir.machine(), Ok)?;
        let keys = Ed25519::from_secret(&dir.secret);
        let me = keys.id();
        // Before anything long: clients learn at once that this name is taken.
        let (socket, listener) = Socket::bind(&config.socket)?;

        let inbox = Arc::new(Inbox::default());
        let stats = Arc::new(Stats::default());
        let events = Events::default();
        let store = BlobStore::open(&dir.blobs(), filch_blobs::Options::default())?;
        let lists = Arc::new(Lists::new(store.clone()));
        let held = Arc::new(HeldJobs::default());
        let mut ledger = RedbLedger::open(&dir.ledger())?;
        let damage = Damage::new(inbox.clone(), held.clone(), ledger.reader(), runtime.clone());
        let told = damage.clone();
        store.on_damage(Box::new(move |blob| told.blob(blob)));
        let told = damage.clone();
        let lost: Arc<dyn Fn(BlobId) + Send + Sync> = Arc::new(move |blob| told.blob(blob));
        let host = Arc::new(StoreHost::new(store.clone(), lists.clone(), lost.clone()));
        let exec = start_exec(&config, &dir, me, host, &inbox)?;

        restore::settle_store(&mut dir, &mut ledger)?;
        let node = new_node(&config, &dir, machine, keys, &exec)?;
        let (node, restored) = restore::restore(node, &mut ledger, &store)?;
        restored.held.iter().for_each(|job| held.add(*job));
        let told = inbox.clone();
        ledger.on_damage(Box::new(move |job| told.push(Input::RowsLost(job))));
        let reader = ledger.reader();
        let (disk, ledger_thread) = start_disk(ledger, &store, &inbox, &stats)?;

        let remembered = Remembered::new(disk.clone(), reader.meta(Remembered::key())?);
        let last = reader.meta(port::KEY)?;
        let scrubbed = reader.meta(scrub::KEY)?;
        let (net, net_events) = start_net(&config, &dir, key.as_bytes(), &remembered, last.as_deref()).await?;
        port::remember(&disk, last.as_deref(), &net.addresses());
        let driver = DriverHandle::new(inbox.clone());
        let names = Arc::new(Names::new(driver.clone(), me, &config.name));
        let fetcher = Arc::new(Fetcher::new(store.clone(), Arc::new(NetOpener(net.clone())), stats.clone()));
        let packs = Arc::new(Packs::new(reader.clone()));
        let holder = Holder { store: store.clone(), fetcher: fetcher.clone(), lists: lists.clone() };
        if store.rebuilt().is_some() {
            // Nobody holds the blobs of closures any more either, and some may be gone.
            held.take_all().into_iter().for_each(|job| inbox.push(Input::ClosureLost(job)));
            restored.lost.into_iter().for_each(|(job, lost)| inbox.push(Input::ResultsLost(job, lost)));
        }
        let deliveries = Deliveries::new(
            delivery::Tools {
                store: store.clone(),
                fetcher: fetcher.clone(),
                packs: packs.clone(),
                driver: driver.clone(),
                disk: disk.clone(),
                events: events.clone(),
                stats: stats.clone(),
            },
            runtime.clone(),
        );
        let drained = CancellationToken::new();
        let dispatch = Dispatch {
            inbox: inbox.clone(),
            net: net.clone(),
            disk: disk.clone(),
            facts: Facts::new(reader.clone(), net.clone(), runtime.clone(), stats.clone()),
            jobs: Jobs::new(holder.clone(), held.clone(), inbox.clone(), runtime.clone()),
            damage,
            stager: Stager::new(holder, exec.clone(), inbox.clone(), held, runtime.clone()),
            deliveries: deliveries.clone(),
            events: events.clone(),
            names: names.clone(),
            drained: drained.clone(),
            stats: stats.clone(),
            complaints: crate::outlet::Complaints::default(),
        };
        let offers = exec.offers();
        let loop_ = Driver::new(node, inbox.clone(), Clock, dispatch);
        let driver_thread = fatal::vital("driver", move || loop_.run()).map_err(UpError::Thread)?;
        deliveries.resume(restored.notes, restored.jobs);

        let copying = Arc::new(Copying::default());
        let pump = Pump {
            inbox,
            server: Server::new(store.clone(), stats.clone(), lost),
            events: events.clone(),
            remembered,
            copying: copying.clone(),
        };
        let pump = tokio::spawn(pump.run(net_events));
        let down = Down::new(config.grace);
        let ending = CancellationToken::new();
        let swept = store.clone();
        if let Some(period) = config.scrub {
            let (store, driver, stats) = (store.clone(), driver.clone(), stats.clone());
            let scrub = Scrub { store, reader, driver, disk: disk.clone(), stats, period, ending: ending.clone() };
            tokio::spawn(scrub.run(scrubbed));
        }
        let app = Arc::new(App {
            facts: http::Facts {
                id: me,
                name: config.name.clone(),
                store: dir.store,
                machine,
                data_dir: config.data_dir.clone(),
                incoming: dir.incoming(),
                socket: config.socket.clone(),
                mdns: config.mdns,
                slots: config.slots,
                offers,
                started,
            },
            driver: driver.clone(),
            events: events.clone(),
            names,
            packs,
            store,
            fetcher,
            deliveries,
            exec: exec.clone(),
            registry: config.registry,
            lists: lists.clone(),
            net: net.clone(),
            copying,
            stats,
            down: down.clone(),
            ending: ending.clone(),
            streams: Arc::new(tokio::sync::Semaphore::new(http::STREAMS)),
        });
        let server = serve(app, listener, ending.clone());
        sweep(swept, ending.clone());
        let ready = Ready {
            id: me,
            name: config.name,
            socket: config.socket,
            data_dir: config.data_dir,
            addresses: net.addresses(),
            slots: config.slots,
            took: started.elapsed(),
        };
        tracing::info!(node = %ready.id, took = ?ready.took, "ready");
        let threads = vec![driver_thread, ledger_thread];
        let parts = Parts { driver, drained, ending, events, exec, net, disk, pump, server, threads, dir, socket };
        Ok(Self { ready, down, parts })
    }

    /// The way to end it.
    pub fn down(&self) -> Down {
        self.down.clone()
    }

    /// Runs until it was told to end, and ends in an orderly way.
    pub async fn run(self) {
        self.down.wait().await;
        let Self { down, parts, .. } = self;
        parts.events.tell(Happening::Node(None, filch_api::EventKind::Draining));
        parts.driver.inbox().push(Input::Drain);
        tokio::select! {
            () = parts.drained.cancelled() => {}
            () = tokio::time::sleep(down.grace()) => tracing::info!("the grace period is over"),
            () = down.hurry() => tracing::info!("asked again: running tasks are ended now"),
        }
        parts.end().await;
    }
}

impl Parts {
    async fn end(self) {
        let Parts { driver, drained, ending, exec, net, disk, pump, server, threads, dir, socket, .. } = self;
        // What still runs is ended, and what comes of it handed back to the stewards.
        let shut = exec.clone();
        within(EXECUTOR, "the executor", move || shut.shutdown(Duration::from_secs(1))).await;
        if tokio::time::timeout(HAND_BACK, drained.cancelled()).await.is_err() {
            tracing::warn!("not everything could be handed over; it will be after the next start");
        }
        ending.cancel();
        if tokio::time::timeout(CLIENTS, server).await.is_err() {
            tracing::debug!("clients were cut off");
        }
        let _ = net.command(Command::Shutdown);
        if tokio::time::timeout(HAND_BACK, pump).await.is_err() {
            tracing::warn!("the network did not end in time");
        }
        driver.inbox().stop();
        disk.stop();
        within(HAND_BACK, "a thread", move || threads.into_iter().for_each(|t| drop(t.join()))).await;
        // The lock goes before the socket: whoever sees the socket gone can start the next life.
        drop(dir);
        drop(socket);
    }
}

/// Runs what blocks, but does not wait for it for ever: a node that was told to end ends.
async fn within(limit: Duration, what: &str, work: impl FnOnce() + Send + 'static) {
    if tokio::time::timeout(limit, tokio::task::spawn_blocking(work)).await.is_err() {
        tracing::warn!("{what} did not end within {limit:?}; it ends with the process");
    }
}

fn start_exec(
    config: &Config,
    dir: &DataDir,
    me: NodeId,
    host: Arc<StoreHost>,
    inbox: &Arc<Inbox>,
) -> Result<Arc<Exec>, UpError> {
    let mut exec = ExecConfig::new(dir.work(), me, config.name.clone(), config.slots);
    exec.spawner = spawner(config);
    let handlers = allowed(config.registry.clone(), config.handlers.as_deref())?;
    let reports = inbox.clone();
    let report = Box::new(move |report| reports.push(to_input(report)));
    Ok(Arc::new(Exec::new(exec, host, handlers, report)?))
}

fn new_node(
    config: &Config,
    dir: &DataDir,
    machine: filch_types::MachineId,
    keys: Ed25519,
    exec: &Exec,
) -> Result<Node, UpError> {
    let core = filch_core::Config {
        store: dir.store,
        machine,
        boot: dir.boot,
        name: config.name.clone(),
        slots: config.slots,
        offers: exec.offers(),
        result_copies: config.result_copies,
        timing: config.timing.clone(),
        mutant: None,
    };
    let seed = crate::datadir::random().map_err(|source| DataDirError::Io { path: "randomness".into(), source })?;
    Ok(Node::new(core, Box::new(keys), seed, Clock.now()))
}

fn start_disk(
    ledger: RedbLedger,
    store: &BlobStore,
    inbox: &Arc<Inbox>,
    stats: &Arc<Stats>,
) -> Result<(Disk, std::thread::JoinHandle<()>), UpError> {
    let (disk, body) = Disk::new(Box::new(ledger), store.clone(), inbox.clone(), stats.clone(), Box::new(fatal::disk));
    let thread = fatal::vital("ledger", body).map_err(UpError::Thread)?;
    Ok((disk, thread))
}

async fn start_net(
    config: &Config,
    dir: &DataDir,
    key: &[u8; 32],
    remembered: &Remembered,
    last_port: Option<&[u8]>,
) -> Result<(Net, mpsc::Receiver<NetEvent>), UpError> {
    let mut net = NetConfig::new(dir.secret, *key);
    net.mdns = config.mdns;
    net.bootstrap = config.bootstrap.clone();
    net.remembered = remembered.all();
    if let Some(listen) = last_port.and_then(|note| port::again(&config.listen, note)) {
        net.listen = listen;
        match filch_net::start(net.clone()).await {
            Err(filch_net::NetError::Listen { why, .. }) => {
                tracing::info!(why, "the last port is taken; any other will do")
            }
            result => return Ok(result?),
        }
    }
    net.listen = config.listen.clone();
    Ok(filch_net::start(net).await?)
}

/// Frees what no job needs, now and then.
fn sweep(store: BlobStore, ending: CancellationToken) {
    tokio::spawn(async move {
        while tokio::time::timeout(SWEEP, ending.cancelled()).await.is_err() {
            let store = store.clone();
            match tokio::task::spawn_blocking(move || store.sweep()).await {
                Ok(Ok(bytes)) => tracing::info!(bytes, "swept blobs that no job needs"),
                Ok(Err(e)) => tracing::warn!(%e, "blobs that no job needs cannot be swept"),
                Err(_) => return,
            }
        }
    });
}

fn serve(app: Arc<App>, listener: tokio::net::UnixListener, ending: CancellationToken) -> tokio::task::JoinHandle<()> {
    let router = http::router(app);
    tokio::spawn(async move {
        let stop = async move { ending.cancelled().await };
        if let Err(e) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
            tracing::error!(%e, "the local API failed");
        }
    })
}
