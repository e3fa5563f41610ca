//! A large cluster through some virtual minutes of work and death: `scale [NODES [MINUTES [TASKS [TASK_MS [SEED
//! [LAN]]]]]]`. Prints what it
//! took: wall time, events per second, memory. One node in a hundred dies on the way.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use filch_core::Timing;
use filch_sim::options::{Duration, Work};
use filch_sim::rng::Dice;
use filch_sim::{DiskAfter, Fault, JobPlan, Options, Sim};

const S: u64 = 1_000_000;
/// Jobs that the tasks are divided among.
const JOBS: u32 = 4;

fn argument(n: usize, default: u64) -> u64 {
    std::env::args().nth(n).and_then(|s| s.parse().ok()).unwrap_or(default)
}

/// A line of `/proc/self/status`, in MB.
fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|l| l.strip_prefix(line));
    found.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn cluster(nodes: usize, minutes: u64, tasks: u32, task_us: u64, seed: u64, lan: bool) -> Sim {
    let mut options = Options::large(seed, nodes, 1);
    if lan {
        options.timing = Timing::default();
    }
    let mut dice = Dice::stream(seed, "scale");
    for node in &mut options.nodes {
        node.start_us = dice.below(5 * S);
    }
    let mut sim = Sim::new(options);
    for job in 0..JOBS {
        let mut plan = JobPlan::array(tasks / JOBS, task_us);
        plan.at = 10 * S + u64::from(job) * S;
        plan.node = job as usize * nodes / JOBS as usize;
        plan.work = Work { takes: Duration::Uniform(task_us / 2, task_us * 3 / 2), ..Work::default() };
        sim.submit(plan);
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
    let task_us = argument(4, 30_000) * 1_000;
    // Enough for everybody for nine tenths of the time.
    let enough = nodes as u64 * minutes * 54 * S / task_us;
    let tasks = argument(3, enough) as u32;
    let start = Instant::now();
    let lan = argument(6, 0) > 0;
    println!("{JOBS} jobs, {tasks} tasks of about {} ms, {} nodes die", task_us / 1_000, nodes / 100);
    let mut sim = cluster(nodes, minutes, tasks, task_us, argument(5, 1), lan);
    for minute in 1..=minutes {
        if let Err(f) = sim.run_until(minute * 60 * S) {
            println!("{}", f.violation);
            std::process::exit(1);
        }
        let (w, s) = (&sim.world, start.elapsed().as_secs_f64());
        println!(
            "minute {minute}: {s:.1} s, {} events, {} requests, {} messages, {} stolen, {} of {tasks} tasks run, {} MB",
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
        "{nodes} nodes x {minutes} virtual minutes: {wall:.1} s, {:.0} node-minutes/s, {:.2} M events/s, at most {} MB",
        nodes as f64 * minutes as f64 / wall,
        s.events as f64 / wall / 1e6,
        memory("VmHWM:")
    );
    let died = sim.world.hosts.iter().filter(|h| h.life > 1).count();
    println!("{} executions ({} died with their node), {died} nodes died", h.executions, h.lost);
    println!("{:.1} requests and messages per task", (s.requests + s.messages) as f64 / h.executions.max(1) as f64);
}
