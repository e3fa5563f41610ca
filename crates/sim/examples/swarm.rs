//! Many drawn runs on all processors: `swarm [SEEDS [FROM [PROFILE]]]`. FROM is a number, or anything else, such as the id
//! of a commit, that names a range which nobody has run before. Ends with 1 if a run breaks a rule, unless the seed is listed in
//! `open-seeds.txt` beside this crate as known and still open.
#![allow(clippy::print_stdout)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use filch_sim::rng::Dice;
use filch_sim::{Profile, Sim};

/// Seeds that are known to fail: profile, seed, rule, why.
const OPEN: &str = include_str!("../open-seeds.txt");

#[derive(Default)]
struct Tally {
    held: u64,
    virtual_us: u64,
    events: u64,
    executions: u64,
    faults: u64,
    skipped: u64,
    /// Time of each run, and its seed.
    times: Vec<(Duration, u64)>,
    /// Seed, rule and text.
    broken: Vec<(u64, String, String)>,
}

impl Tally {
    fn run(&mut self, profile: Profile, seed: u64) {
        let start = Instant::now();
        let run = std::panic::catch_unwind(|| Sim::draw(profile, seed).run());
        self.times.push((start.elapsed(), seed));
        match run {
            Ok(Ok(s)) => {
                self.held += 1;
                self.virtual_us += s.us;
                self.events += s.stats.events;
                self.executions += s.executions;
                self.faults += s.stats.faults;
                self.skipped += s.skipped;
            }
            Ok(Err(f)) => self.broken.push((seed, f.violation.rule.to_owned(), f.violation.to_string())),
            Err(_) => self.broken.push((seed, "panic".to_owned(), "panic".to_owned())),
        }
    }

    fn join(&mut self, other: Tally) {
        self.held += other.held;
        self.virtual_us += other.virtual_us;
        self.events += other.events;
        self.executions += other.executions;
        self.faults += other.faults;
        self.skipped += other.skipped;
        self.times.extend(other.times);
        self.broken.extend(other.broken);
    }

    fn print(&mut self, wall: Duration) {
        let (n, s) = (self.times.len(), wall.as_secs_f64());
        println!(
            "{} of {n} held in {s:.1} s: {:.0} seeds/min, {:.0} events/s; {} virtual hours, {} executions, {} faults, {} more could not take place",
            self.held,
            n as f64 / s * 60.0,
            self.events as f64 / s,
            self.virtual_us / 3_600_000_000,
            self.executions,
            self.faults,
            self.skipped
        );
        self.times.sort_unstable();
        let at =
            |share: usize| self.times.get((n * share / 1000).min(n.saturating_sub(1))).copied().unwrap_or_default();
        let (half, most, max) = (at(500), at(990), at(1000));
        println!(
            "a run takes {:.1} ms, 1 in 100 more than {:.1} ms, seed {} took {:.1} ms",
            half.0.as_secs_f64() * 1e3,
            most.0.as_secs_f64() * 1e3,
            max.1,
            max.0.as_secs_f64() * 1e3
        );
        self.broken.sort();
    }
}

fn start(from: Option<&String>) -> u64 {
    let Some(text) = from else { return 0 };
    // Drawn ranges lie beyond those that are counted from 0.
    text.parse().unwrap_or_else(|_| 1 << 32 | Dice::stream(0, text).bits() >> 16)
}

fn is_open(profile: Profile, seed: u64) -> bool {
    let entry = format!("{} {seed} ", profile.name());
    OPEN.lines().any(|l| l.starts_with(&entry))
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let count: u64 = args.first().and_then(|s| s.parse().ok()).unwrap_or(5_000);
    let from = start(args.get(1));
    let name = args.get(2).map_or("swarm", String::as_str);
    let Some(profile) = Profile::ALL.into_iter().find(|p| p.name() == name) else {
        println!("no profile is named {name}");
        std::process::exit(2);
    };
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    println!("{count} seeds of {name} from {from} on {threads} threads");
    let (next, all, begin) = (AtomicU64::new(from), Mutex::new(Tally::default()), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut mine = Tally::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        break;
                    }
                    mine.run(profile, seed);
                }
                if let Ok(mut all) = all.lock() {
                    all.join(mine);
                }
            });
        }
    });
    let mut all = all.into_inner().unwrap_or_default();
    all.print(begin.elapsed());
    let mut new = 0;
    for (seed, rule, text) in &all.broken {
        let open = is_open(profile, *seed);
        new += u64::from(!open);
        println!(
            "{} {seed}: {rule}{}: {text}",
            if open { "known" } else { "BROKEN" },
            if open { ", still open" } else { "" }
        );
        println!("    cargo run --release -p filch-sim --example hunt -- {name} {seed} trace");
    }
    for (_, seed) in &all.times {
        if is_open(profile, *seed) && !all.broken.iter().any(|(s, ..)| s == seed) {
            println!("{name} {seed} holds again: take it off open-seeds.txt");
        }
    }
    std::process::exit(i32::from(new > 0));
}
