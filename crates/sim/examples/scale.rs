//! A large cluster through some virtual minutes of work and death: `scale [NODES [MINUTES [LOAD [SEED [LAN [CENSUS]]]]]]`. Prints what it
//! took: wall time, CPU time, events per second, memory; with `CENSUS` also what it consisted of from that minute on. One node in a
//! hundred dies on the way, for a minute. Loads:
//!
//! - `mixed`: four jobs that come one after another, of tasks of about 5 s, 30 s, 2 min and 5 min, three fifths of the cluster's time in all;
//! - `full`: four jobs at the start, of tasks of about 30 s, enough for everybody for nine tenths of the time.
#![allow(clippy::print_stdout)]

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Instant;

use filch_core::Timing;
use filch_sim::options::{Duration, Work};
use filch_sim::rng::Dice;
use filch_sim::{DiskAfter, Fault, JobPlan, Options, Sim};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const S: u64 = 1_000_000;
/// Of the jobs of a load: seconds of a task, per cent of the cluster's time, when it is submitted in thousandths of the run.
const MIXED: [(u64, u64, u64); 4] = [(300, 20, 20), (5, 5, 100), (120, 20, 200), (30, 15, 500)];
/// As for `MIXED`.
const FULL: [(u64, u64, u64); 4] = [(30, 22, 17), (30, 23, 19), (30, 22, 20), (30, 23, 22)];

fn argument(n: usize, default: u64) -> u64 {
    std::env::args().nth(n).and_then(|s| s.parse().ok()).unwrap_or(default)
}

/// CPU seconds of this process, user and system; clock ticks are 10 ms on every Linux.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Counts per node and virtual minute, the greatest first.
fn table(title: &str, counts: &BTreeMap<&'static str, u64>, node_minutes: f64) {
    let mut rows: Vec<_> = counts.iter().collect();
    rows.sort_by_key(|(_, n)| Reverse(**n));
    println!("{title} per node and minute:");
    rows.iter().for_each(|(kind, n)| println!("  {:10.3} {kind}", **n as f64 / node_minutes));
}

/// A line of `/proc/self/status`, in MB.
fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|l| l.strip_prefix(line));
    found.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// A job of so many seconds a task.
fn job(nodes: usize, minutes: u64, n: usize, (seconds, share, at): (u64, u64, u64)) -> JobPlan {
    let (run, task) = (minutes * 60 * S, seconds * S);
    let tasks = nodes as u64 * run / 100 * share / task;
    let takes = Duration::Uniform(task / 2, task * 3 / 2);
    let work = Work { takes, ..Work::default() };
    JobPlan { at: run / 1_000 * at, node: n * nodes / 4, work, ..JobPlan::array(tasks.max(1) as u32, task) }
}

fn cluster(nodes: usize, minutes: u64, load: &[(u64, u64, u64)], seed: u64, lan: bool) -> Sim {
    let mut options = Options::large(seed, nodes, 1);
    if lan {
        options.timing = Timing::default();
    }
    let mut dice = Dice::stream(seed, "scale");
    for node in &mut options.nodes {
        node.start_us = dice.below(5 * S);
    }
    let mut sim = Sim::new(options);
    for (n, plan) in load.iter().enumerate() {
        sim.submit(job(nodes, minutes, n, *plan));
    }
    for _ in 0..nodes / 100 {
        let node = dice.below(nodes as u64) as usize;
        let at = dice.between(20 * S, minutes * 60 * S);
        sim.inject(at, Fault::Crash { node, down_us: 60 * S, disk: DiskAfter::Kept, power: dice.one_in(2) });
    }
    sim
}

fn main() {
    let (nodes, minutes) = (argument(1, 10_000) as usize, argument(2, 10));
    let full = std::env::args().nth(3).is_some_and(|load| load == "full");
    let (lan, census) = (argument(5, 0) > 0, argument(6, 0));
    let start = Instant::now();
    let mut sim = cluster(nodes, minutes, if full { &FULL } else { &MIXED }, argument(4, 1), lan);
    let tasks: u32 = sim.world.options.jobs.iter().map(JobPlan::total).sum();
    println!("{tasks} tasks, {} nodes die", nodes / 100);
    for minute in 1..=minutes {
        if census == minute {
            sim.world.census_on();
        }
        if let Err(f) = sim.run_until(minute * 60 * S) {
            println!("{}", f.violation);
            std::process::exit(1);
        }
        let (w, s) = (&sim.world, start.elapsed().as_secs_f64());
        println!(
            "minute {minute}: {s:.1} s, {:.1} s CPU, {} events, {} requests, {} messages, {} stolen, {} of {tasks} tasks run, {} MB",
            cpu(),
            w.stats.events,
            w.stats.requests,
            w.stats.messages,
            w.stats.stolen,
            w.history.finished,
            memory("VmRSS:")
        );
    }
    let wall = start.elapsed().as_secs_f64();
    let (s, h) = (sim.world.stats, &sim.world.history);
    println!(
        "{nodes} nodes x {minutes} virtual minutes: {wall:.1} s, {:.1} s CPU, {:.0} node-minutes/s, {:.2} M events/s, at most {} MB",
        cpu(),
        nodes as f64 * minutes as f64 / wall,
        s.events as f64 / wall / 1e6,
        memory("VmHWM:")
    );
    let died = sim.world.hosts.iter().filter(|h| h.life > 1).count();
    println!("{} executions ({} died with their node), {died} nodes died", h.executions, h.lost);
    if let Some(t) = &sim.world.census {
        let node_minutes = nodes as f64 * (minutes + 1 - census) as f64;
        table("events", &t.events, node_minutes);
        table("wake-ups", &t.timers, node_minutes);
        table("requests and messages", &t.sent, node_minutes);
    }
    println!("{:.1} requests and messages per task", (s.requests + s.messages) as f64 / h.executions.max(1) as f64);
}
