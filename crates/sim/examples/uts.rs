//! UTS, the field's benchmark for stealing, as a divisible task on simulated clusters: how close all nodes together come to being busy
//! all the time. `uts [--json] [TREE[,TREE] [NODES[,NODES] [DEATHS_PPM[,…] [UNIT_US [SEED]]]]]`. The counts must be the published ones.
//!
//! Links take 100 us one way, a dial 3.3 ms on average (noise's handshake takes 3 ms), a commit 2 ms; a unit (a node of the tree) takes 10 us. Efficiency is the work of the tree over what
//! all slots could have done from the moment of the submit until its owner has the whole count. Those who die are drawn among all but
//! the submitter, at times drawn over the length of an ideal run, as by `kill -9`; they stay away.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use filch_sim::divide::known_counts;
use filch_sim::options::Checks;
use filch_sim::rng::Dice;
use filch_sim::{DiskAfter, Fault, JobPlan, Options, Sim};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const S: u64 = 1_000_000;
/// Random peers of a node in a cluster that is no full mesh.
const DEGREE: u16 = 16;
/// Largest cluster in which everybody is connected to everybody.
const MESH: usize = 64;
/// When the job is submitted: everybody has met.
const START: u64 = 10 * S;

#[derive(serde::Serialize)]
struct Line {
    /// Of all slots' time: idle before nine in ten of the living worked at once, after they last did, and between.
    start: f64,
    between: f64,
    end: f64,
    tree: String,
    nodes: usize,
    deaths: usize,
    unit_us: u64,
    seed: u64,
    efficiency: f64,
    virtual_ms: f64,
    ideal_ms: f64,
    messages_per_task: f64,
    messages: u64,
    steals: u64,
    gifts: u64,
    parts: u64,
    redone: u64,
    facts: u64,
    wall_s: f64,
    exact: bool,
}

/// The cluster at one moment.
struct Sample {
    busy: usize,
    up: usize,
    /// Parts that the submitter knows that nobody runs.
    pool: usize,
    /// Parts that wait in queues of those that work.
    queued: usize,
    /// Nodes that work and know of somebody who waits, and how many those are.
    givers: usize,
    waiters: usize,
    /// Calls to split that are open.
    splits: usize,
}

impl Sample {
    fn of(sim: &Sim) -> Self {
        let hosts = &sim.world.hosts;
        let works = |h: &&filch_sim::host::Host| h.slots.iter().any(|s| s.now.is_some());
        let jobs = hosts[0].node.as_ref().map(|n| n.jobs()).unwrap_or_default();
        let leases = jobs.first().and_then(|j| hosts[0].node.as_ref()?.leases(j.job));
        let (mut queued, mut givers, mut waiters, mut splits) = (0, 0, 0, 0);
        for host in hosts.iter().filter(works) {
            let sizes: std::collections::BTreeMap<_, _> =
                host.node.iter().flat_map(filch_core::Node::table_sizes).collect();
            let size = |name| sizes.get(name).copied().unwrap_or(0);
            queued += size("bags");
            givers += usize::from(size("waiters") > 0);
            waiters += size("waiters");
            splits += size("splits");
        }
        Self {
            queued,
            givers,
            waiters,
            splits,
            busy: hosts.iter().filter(works).count(),
            up: hosts.iter().filter(|h| h.is_up()).count(),
            pool: leases.map_or(0, |l| l.parts),
        }
    }
    /// Shares of all slots' time that were idle: at the start, in between, at the end.
    fn phases(all: &[Self], nodes: usize) -> (f64, f64, f64) {
        let full = |s: &Self| s.busy * 10 >= s.up * 9;
        let first = all.iter().position(full).unwrap_or(all.len());
        let last = all.iter().rposition(full).map_or(all.len(), |n| n + 1);
        let idle = |part: &[Self]| part.iter().map(|s| nodes - s.busy).sum::<usize>() as f64;
        let of = (nodes * all.len().max(1)) as f64;
        (idle(&all[..first]) / of, idle(&all[first..last.max(first)]) / of, idle(&all[last.max(first)..]) / of)
    }
    fn print(all: &[Self], every: u64) {
        for (n, s) in
            all.iter().enumerate().filter(|(n, _)| n % (all.len() / 100).max(1) == 0 || n + 40 > all.len() || *n < 40)
        {
            println!(
                "  {:>9.1} ms: {} of {} work, {} parts wait, {} in queues, {} givers, {} waiters, {} splits",
                (n as u64 + 1) as f64 * every as f64 / 1e3,
                s.busy,
                s.up,
                s.pool,
                s.queued,
                s.givers,
                s.waiters,
                s.splits
            );
        }
    }
}

fn list(n: usize, default: &str) -> Vec<String> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    args.get(n).map_or(default, String::as_str).split(',').map(str::to_owned).collect()
}

fn numbers(n: usize, default: &str) -> Vec<u64> {
    list(n, default).iter().filter_map(|s| s.parse().ok()).collect()
}

fn run(tree: &str, nodes: usize, deaths_ppm: u64, unit_us: u64, seed: u64) -> Result<Line, String> {
    let units = known_counts(tree).ok_or_else(|| format!("`{tree}` has no published counts"))?[0];
    let ideal = units * unit_us / nodes as u64;
    let mut options = Options::calm(seed, nodes, 1);
    options.overlay = (nodes > MESH).then_some(DEGREE);
    options.checks = Checks::Cheap;
    (options.link.near_us, options.link.far_us, options.link.jitter_us) = (100, 100, 0);
    options.link.dial_us = 6_000;
    if let Some(n) = std::env::var("UTS_ASKS").ok().and_then(|n| n.parse().ok()) {
        options.timing.asks = n;
    }
    let mut dice = Dice::stream(seed, "uts");
    for node in &mut options.nodes {
        node.start_us = dice.below(S);
    }
    let wall = Instant::now();
    let mut sim = Sim::new(options);
    let mut plan = JobPlan::tree(tree, unit_us);
    (plan.at, plan.attended) = (START, true);
    let job = sim.submit(plan);
    let deaths = (nodes as u64 * deaths_ppm / 1_000_000) as usize;
    let mut who: Vec<usize> = (1..nodes).collect();
    dice.shuffle(&mut who);
    for &node in who.iter().take(deaths) {
        let at = START + dice.below(ideal);
        sim.inject(at, Fault::Crash { node, down_us: 3600 * S, disk: DiskAfter::Kept, power: false });
    }
    // For whoever looks for something: everything until so many microseconds after the submit, the last 200,000 lines of it.
    let stop_at: Option<u64> = std::env::var("UTS_TRACE").ok().and_then(|at| at.parse().ok());
    if stop_at.is_some() {
        sim.world.trace_on();
    }
    let fail = |f: filch_sim::Failure| f.violation.to_string();
    sim.run_until(START).map_err(fail)?;
    let before = sim.world.stats;
    let sample = (ideal / 400).clamp(100, S / 10);
    let mut samples = Vec::new();
    let id = loop {
        let next = sim.world.now + sample;
        sim.run_until(next).map_err(fail)?;
        samples.push(Sample::of(&sim));
        if let Some(at) = stop_at.filter(|at| next >= START + *at) {
            sim.world.trace().for_each(|l| println!("{l}"));
            return Err(format!("stopped after {at} us"));
        }
        let id = sim.id(job);
        if let Some(id) = id.filter(|id| sim.world.history.ended.contains_key(id)) {
            break id;
        }
        if next > START + 40 * ideal + 600 * S {
            return Err(format!("{tree} on {nodes} nodes does not end: {:?}", sim.job(job).map(|j| j.counts)));
        }
    };
    let (at, _) = sim.world.history.ended[&id];
    let tally = sim.world.hosts[0].node.as_ref().and_then(|n| n.tally(id, 0));
    let exact = tally.as_deref() == known_counts(tree).as_ref().map(|c| &c[..]);
    let took = at - START;
    samples.truncate((took / sample) as usize);
    if std::env::var("UTS_PHASES").is_ok() {
        Sample::print(&samples, sample);
    }
    let (start, between, end) = Sample::phases(&samples, nodes);
    let sum = |f: fn(&filch_core::view::Counters) -> u64| {
        sim.world.hosts.iter().filter_map(|h| h.node.as_ref()).map(|n| f(&n.counters())).sum::<u64>()
    };
    let s = sim.world.stats;
    let messages = s.messages + s.requests - before.messages - before.requests;
    Ok(Line {
        start,
        between,
        end,
        tree: tree.to_owned(),
        nodes,
        deaths,
        unit_us,
        seed,
        efficiency: (units * unit_us) as f64 / (nodes as u64 * took) as f64,
        virtual_ms: took as f64 / 1e3,
        ideal_ms: ideal as f64 / 1e3,
        messages_per_task: messages as f64 / units as f64,
        messages,
        steals: sum(|c| c.stolen),
        gifts: sum(|c| c.gifts),
        parts: sim.world.history.splits,
        // The root is counted before the first unit.
        redone: (sim.world.history.units + 1).saturating_sub(units),
        facts: sum(|c| c.packs),
        wall_s: wall.elapsed().as_secs_f64(),
        exact,
    })
}

fn main() {
    let json = std::env::args().any(|a| a == "--json");
    let (trees, nodes, deaths) = (list(0, "T1,T1L"), numbers(1, "64"), numbers(2, "0,10000"));
    let (unit, seed) = (numbers(3, "10")[0], numbers(4, "1")[0]);
    if !json {
        println!(
            "{:5} {:>6} {:>6} {:>10} {:>6} {:>6} {:>6} {:>11} {:>11} {:>9} {:>9} {:>8} {:>8} {:>8} {:>10} {:>7}",
            "tree",
            "nodes",
            "deaths",
            "efficiency",
            "start",
            "betw.",
            "end",
            "took ms",
            "ideal ms",
            "msg/task",
            "messages",
            "steals",
            "gifts",
            "parts",
            "redone",
            "wall s"
        );
    }
    let mut bad = false;
    for tree in &trees {
        for &n in &nodes {
            for &ppm in &deaths {
                match run(tree, n as usize, ppm, unit, seed) {
                    Ok(l) if json => println!("{}", serde_json::to_string(&l).unwrap_or_default()),
                    Ok(l) => {
                        println!(
                            "{:5} {:>6} {:>6} {:>9.2}% {:>5.2}% {:>5.2}% {:>5.2}% {:>11.1} {:>11.1} {:>9.6} {:>9} {:>8} {:>8} {:>8} {:>10} {:>7.1}{}",
                            l.tree,
                            l.nodes,
                            l.deaths,
                            100.0 * l.efficiency,
                            100.0 * l.start,
                            100.0 * l.between,
                            100.0 * l.end,
                            l.virtual_ms,
                            l.ideal_ms,
                            l.messages_per_task,
                            l.messages,
                            l.steals,
                            l.gifts,
                            l.parts,
                            l.redone,
                            l.wall_s,
                            if l.exact { "" } else { "  WRONG COUNT" }
                        );
                        bad |= !l.exact;
                    }
                    Err(e) => {
                        println!("{tree} {n} {ppm}: {e}");
                        bad = true;
                    }
                }
            }
        }
    }
    std::process::exit(i32::from(bad));
}
