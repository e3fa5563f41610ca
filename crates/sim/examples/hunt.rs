//! Runs many seeds of a profile and says which rules broke: `hunt PROFILE FROM COUNT`, or after how
//! many runs each planted bug is caught: `hunt mutants SEEDS`. With `hunt PROFILE SEED trace`
//! it prints the trace of one seed instead, with `hunt PROFILE SEED shrink` the smallest failing run that was found and its
//! story, with `hunt PROFILE SEED record WHY` the schedule to keep in `crates/sim/corpus`.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use filch_sim::mutants::MUTANTS;
use filch_sim::shrink::{RUNS, shrink};
use filch_sim::{Options, Profile, Schedule, Sim};

fn run(profile: Profile, seed: u64) -> Result<filch_sim::Summary, (String, String)> {
    let run = std::panic::catch_unwind(|| Sim::draw(profile, seed).run());
    match run {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err(f)) => Err((f.violation.rule.to_owned(), f.violation.to_string())),
        Err(_) => Err(("panic".to_owned(), "panic".to_owned())),
    }
}

fn mutants(seeds: u64) {
    let next = AtomicU64::new(0);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                while let Some(&m) = MUTANTS.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    match filch_sim::mutants::catch(m, seeds) {
                        Some(c) => println!(
                            "{m:?}: {} after {} runs ({} {}): {}",
                            c.rule,
                            c.runs,
                            c.profile.name(),
                            c.seed,
                            c.text.chars().take(120).collect::<String>()
                        ),
                        None => println!("{m:?}: NOT CAUGHT in {seeds} seeds"),
                    }
                }
            });
        }
    });
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let name = args.first().map_or("swarm", String::as_str);
    if name == "mutants" {
        return mutants(args.get(1).and_then(|s| s.parse().ok()).unwrap_or(200));
    }
    let Some(profile) = Profile::named(name) else { return println!("no such profile") };
    let from: u64 = args.get(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    if args.get(2).is_some_and(|s| s == "trace") {
        println!("{:#?}", Options::draw(profile, from));
        let mut sim = Sim::draw(profile, from);
        sim.world.trace_on();
        let end = sim.run().map_err(|f| f.violation.to_string());
        sim.world.trace().for_each(|l| println!("{l}"));
        return println!("{end:?}");
    }
    if args.get(2).is_some_and(|s| s == "shrink") {
        let Some(small) = shrink(&Options::draw(profile, from), RUNS) else { return println!("no rule breaks") };
        let schedule = Schedule::record(&format!("{name} {from}, shrunk"), small.options).without_digest();
        println!("{}", schedule.to_text());
        return small.timeline.iter().for_each(|l| println!("{l}"));
    }
    if args.get(2).is_some_and(|s| s == "record") {
        let about = args.get(3).map_or_else(|| format!("{name} {from}"), Clone::clone);
        return print!("{}", Schedule::record(&about, Options::draw(profile, from)).without_digest().to_text());
    }
    let count: u64 = args.get(2).and_then(|s| s.parse().ok()).unwrap_or(100);
    let next = AtomicU64::new(from);
    let found: Mutex<BTreeMap<String, Vec<(u64, String)>>> = Mutex::default();
    let totals: Mutex<(u64, u64, u64, u64)> = Mutex::default();
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    match run(profile, seed) {
                        Ok(sum) => {
                            let Ok(mut t) = totals.lock() else { return };
                            t.0 += 1;
                            t.1 += sum.us;
                            t.2 += sum.stats.events;
                            t.3 += sum.executions;
                        }
                        Err((rule, text)) => {
                            if let Ok(mut f) = found.lock() {
                                f.entry(rule).or_default().push((seed, text));
                            }
                        }
                    }
                }
            });
        }
    });
    let t = totals.into_inner().unwrap_or_default();
    println!("{} seeds held; {} virtual hours, {} events, {} executions", t.0, t.1 / 3_600_000_000, t.2, t.3);
    for (rule, mut list) in found.into_inner().unwrap_or_default() {
        list.sort();
        println!("{rule}: {} seeds", list.len());
        for (seed, text) in list.iter().take(6) {
            println!("   seed {seed}: {}", text.chars().take(400).collect::<String>());
        }
    }
}
