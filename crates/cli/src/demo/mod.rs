//! `filch demo`: three nodes on this machine share a real job over real files, one of them is killed half-way, and every
//! result is compared with a plain run.
//!
//! Everything happens below one new directory. In the end only the results are left of it, and no process.

mod cluster;
mod error;
mod events;
mod files;
mod job;
mod network;
mod stage;
mod story;
mod task;
mod watch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::error::Error;
use cluster::{Cluster, Way};
use error::DemoError;
use events::Streams;
use network::Network;
pub(crate) use network::{PROBE, probe};
use stage::Stage;
use story::{MetBy, NodeRow, Story, Summary};
use watch::Watched;

/// The nodes. The first one takes the job.
const NAMES: [&str; 3] = ["alder", "birch", "cedar"];
/// The whole demo, at most.
const LIMIT: Duration = Duration::from_secs(58);

/// Watch three nodes share a job over your files and lose one of them
///
/// Starts three node processes on this machine, runs a script of sh, awk, sort and gzip over every file of a
/// directory, kills one node half-way with kill -9, and compares all results with a plain run, byte for byte. Takes half a minute. Writes
/// nothing outside a directory of its own, of which only the results stay; no process stays.
///
/// Where Linux allows it the nodes are in a network namespace that only they are in, and find each other there by mDNS; elsewhere they listen on
/// loopback and are given each other's addresses. Nobody else can reach them in either.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  filch demo                             the files of the current directory
  filch demo ~/notes --results out
  filch demo --loopback                  no namespace, no mDNS: addresses on loopback

Exit codes: 0 every result is there and right, 1 not so, 2 usage, 3 interrupted, 4 infrastructure")]
pub(crate) struct DemoArgs {
    /// Directory whose files are worked on, hidden and ignored ones excepted [default: the current directory]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// New or empty directory for the results [default: one in the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// Meet on loopback, by addresses given to one another, also where mDNS in a private network is possible
    #[arg(long)]
    loopback: bool,
    #[arg(skip)]
    network: Network,
}

impl DemoArgs {
    /// Goes into a private network if it can be had. While the process has one thread.
    pub(crate) fn choose_network(&mut self) {
        self.network = network::choose(self.loopback);
    }
}

/// Runs it; the exit code is 0 only if every result is there and right.
pub(crate) async fn run(args: DemoArgs, cx: &mut Context) -> Result<u8, Error> {
    let story = Story::new(cx.quiet);
    let played = tokio::select! {
        played = tokio::time::timeout(LIMIT, play(&args, &story)) => played.unwrap_or(Err(DemoError::Slow)),
        () = interrupted() => Err(DemoError::Interrupted),
    };
    match played {
        Ok(summary) => {
            crate::render::stdout(summary.print(cx.json))?;
            Ok(u8::from(!summary.ok))
        }
        Err(DemoError::Interrupted) => {
            cx.say(DemoError::Interrupted);
            Ok(3)
        }
        Err(e) => Err(e.into()),
    }
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut int), Ok(mut term)) => {
            tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
        }
        _ => std::future::pending().await,
    }
}

async fn play(args: &DemoArgs, story: &Story) -> Result<Summary, DemoError> {
    task::check_programs()?;
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let files = files::choose(&dir)?;
    let stage = Stage::new(args.results.as_deref())?;
    let files = stage.snapshot(files)?;
    let size: u64 = files.iter().map(|f| f.len).sum();
    let dir = std::fs::canonicalize(&dir).unwrap_or(dir);
    story.tell("demo", format_args!("{} files of {}, {}", files.len(), dir.display(), story::bytes(size)));

    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let slots = u16::try_from((cores / NAMES.len()).clamp(2, 8)).unwrap_or(2);
    let lanes = cores.min(usize::from(slots) * NAMES.len());
    let samples = task::measure(&files, &stage.dir("measure")?, lanes).await?;

    let mut cluster = Cluster::new(&stage.dir("nodes")?)?;
    let met_by = meet(story, &mut cluster, slots, &args.network).await?;
    let mut watched = share(story, &mut cluster, &files, samples, &stage).await?;
    cluster.refresh().await;
    for name in cluster.stop().await {
        story.tell(name, "did not end in time and was killed");
    }
    let left_running = cluster.leftovers().await;

    story.tell("plain", format_args!("the same without filch, {lanes} at a time, to compare"));
    let plain_dir = stage.dir("plain")?;
    let plain = task::run_plain(&files, samples, &plain_dir, lanes).await?;
    let same = task::compare(&files, stage.results(), &plain_dir.join("out"));
    watched.problems.extend(left_running.iter().map(|p| format!("process {p} was left running and had to be killed")));
    watched.problems.extend(same.different.iter().map(|f| format!("{f} differs from the plain run")));
    watched.problems.extend(same.missing.iter().map(|f| format!("{f} is missing")));
    let summary = Summary {
        ok: watched.problems.is_empty(),
        met_by,
        directory: dir.display().to_string(),
        files: files.len(),
        bytes: size,
        plain_ms: millis(plain),
        plain_lanes: lanes,
        results: stage.results().display().to_string(),
        temporary: stage.temporary().map(|dir| dir.display().to_string()),
        result_files: same.equal + same.different.len(),
        equal: same.equal,
        different: same.different,
        missing: same.missing,
        left_running,
        ..summary(&cluster, watched)
    };
    drop(cluster);
    if !summary.ok {
        story.tell("demo", format_args!("what the nodes have logged is in {}", stage.nodes().display()));
    }
    stage.finish(summary.ok)?;
    Ok(Summary { total_ms: (story.seconds() * 1000.0) as u64, ..summary })
}

/// Starts the nodes and waits until all have met: by mDNS in a network of their own, or by addresses that they are given.
async fn meet(story: &Story, cluster: &mut Cluster, slots: u16, network: &Network) -> Result<MetBy, DemoError> {
    match network {
        Network::Private => {
            story.tell("demo", "a network of the nodes' own, which nobody else can reach; they are told no addresses");
            start(story, cluster, slots, Way::Mdns).await?;
            match cluster.meet().await {
                Ok(took) => {
                    story.tell(
                        "all",
                        format_args!("{} found each other by mDNS in {} ms", NAMES.join(", "), took.as_millis()),
                    );
                    return Ok(MetBy::Mdns);
                }
                Err(e @ DemoError::Meet { .. }) => {
                    story.tell("demo", format_args!("by mDNS {e}: starting them again, with addresses"));
                    cluster.clear().await;
                }
                Err(e) => return Err(e),
            }
        }
        Network::Loopback { why } => {
            story.tell("demo", format_args!("loopback, with addresses given to one another ({why})"));
        }
        Network::Unknown => {}
    }
    start(story, cluster, slots, Way::Addresses).await?;
    let took = cluster.meet().await?;
    story.tell("all", format_args!("{} met by their addresses in {} ms", NAMES.join(", "), took.as_millis()));
    Ok(MetBy::Addresses)
}

/// One after another; with addresses, each is told of those before it.
async fn start(story: &Story, cluster: &mut Cluster, slots: u16, way: Way) -> Result<(), DemoError> {
    for name in NAMES {
        let node = cluster.start(name, slots, way).await?;
        let at = node.addresses.first().map_or("", |a| a.split("/p2p/").next().unwrap_or_default());
        story.tell(name, format_args!("started: process {}, {slots} slots, {at}", node.last.pid));
    }
    Ok(())
}

/// Submits, watches to the end, with a death half-way.
async fn share(
    story: &Story,
    cluster: &mut Cluster,
    files: &[files::Pick],
    samples: u32,
    stage: &Stage,
) -> Result<Watched, DemoError> {
    let script = stage.script()?;
    let streams = Streams::open(cluster).await?;
    let owner = cluster.nodes.first().ok_or(DemoError::Slow)?;
    let started = Instant::now();
    let accepted = job::submit(&owner.client, files, &script, samples, stage.results()).await?;
    let n = accepted.holders.len();
    let names: Vec<&str> = accepted.holders.iter().map(|h| h.name.as_str()).collect();
    story.tell(
        owner.name,
        format_args!(
            "took job {}: {} tasks; accepted after {} ms: {n} copies ({}), survives the loss of any {}",
            accepted.job.short(),
            files.len(),
            started.elapsed().as_millis(),
            names.join(", "),
            n.saturating_sub(1)
        ),
    );
    watch::to_the_end(story, cluster, streams, accepted.job, files.len() as u64, started).await
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// What can be said from what was watched and from the nodes' counters.
fn summary(cluster: &Cluster, w: Watched) -> Summary {
    let nodes: Vec<NodeRow> = cluster
        .nodes
        .iter()
        .enumerate()
        .map(|(n, node)| NodeRow {
            name: node.name.into(),
            id: node.id.to_string(),
            slots: node.slots,
            tasks: w.done.get(n).copied().unwrap_or(0),
            steals: w.tally.steals.get(n).copied().unwrap_or(0),
            stolen_tasks: w.tally.stolen.get(n).copied().unwrap_or(0),
            bytes_fetched: node.last.counters.bytes_fetched,
            killed: w.death.is_some_and(|d| d.node == n),
        })
        .collect();
    let launched: u64 = cluster.nodes.iter().map(|n| n.last.counters.launched).sum();
    let after_death = |at: Instant| w.death.map(|d| millis(at.saturating_duration_since(d.at)));
    Summary {
        ok: false,
        met_by: MetBy::Addresses,
        directory: String::new(),
        files: 0,
        bytes: 0,
        job: w.job.to_string(),
        tasks: w.total,
        succeeded: w.succeeded,
        steals: nodes.iter().map(|n| n.steals).sum(),
        stolen_tasks: nodes.iter().map(|n| n.stolen_tasks).sum(),
        bytes_moved: nodes.iter().map(|n| n.bytes_fetched).sum(),
        killed: nodes.iter().find(|n| n.killed).map(|n| n.name.clone()),
        nodes,
        taken_back: w.tally.taken_back,
        were_running: w.tally.were_running,
        re_executions: launched.saturating_sub(w.total).saturating_sub(w.tally.bounced),
        noticed_ms: w.tally.noticed.and_then(after_death),
        freed_ms: w.tally.freed.and_then(after_death),
        job_ms: millis(w.took),
        plain_ms: 0,
        plain_lanes: 0,
        total_ms: 0,
        results: String::new(),
        temporary: None,
        result_files: 0,
        equal: 0,
        different: Vec::new(),
        missing: Vec::new(),
        left_running: Vec::new(),
        problems: w.problems,
    }
}
