//! Runs many seeds of a profile and says which rules broke: `hunt PROFILE FROM COUNT`, or after how
//! many runs each planted bug is caught: `hunt mutants SEEDS`. With `hunt PROFILE SEED trace`
//! it prints the trace of one seed instead.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use filch_sim::mutants::MUTANTS;
use filch_sim::{Options, Profile, Sim};

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
    let Some(profile) = Profile::ALL.into_iter().find(|p| p.name() == name) else { return println!("no such profile") };
    let from: u64 = args.get(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    if args.get(2).is_some_and(|s| s == "trace") {
        println!("{:#?}", Options::draw(profile, from));
        let mut sim = Sim::draw(profile, from);
        sim.world.trace_on();
        let end = sim.run().map_err(|f| f.violation.to_string());
        sim.world.trace().for_each(|l| println!("{l}"));
        return println!("{end:?}");
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
