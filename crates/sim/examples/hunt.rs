//! `filch sim` without the rest of filch, for whoever works on the core. `hunt PROFILE FROM COUNT`: which rules break in these seeds.
//! `hunt mutants SEEDS`: after how many runs each planted bug is caught; `hunt mutants SEEDS NAME`: by which rules one of them is, over all
//! these seeds; `hunt mutants SEED NAME trace`: one such run. `hunt PROFILE SEED trace`: everything that happens in one run; `shrink`: the
//! smallest run that breaks the same rule, and its story; `record WHY`: the schedule to keep in `crates/sim/corpus`.
#![allow(clippy::print_stdout)]

mod common;

use std::collections::BTreeMap;

use filch_sim::mutants::{MUTANTS, catch, home, name, named, stage};
use filch_sim::shrink::{RUNS, shrink};
use filch_sim::swarm::{Tally, run};
use filch_sim::{Mutant, Options, Profile, Schedule, Sim};

/// Failing seeds of a rule that are told.
const TOLD: usize = 6;

fn short(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

fn mutants(seeds: u64) {
    for (_, (mutant, caught)) in common::work(MUTANTS.into_iter(), |m| (m, catch(m, seeds))) {
        match caught {
            Some(c) => {
                let (bug, text) = (name(mutant), short(&c.text, 120));
                println!("{bug}: {} after {} runs ({}:{}): {text}", c.rule, c.runs, c.profile.name(), c.seed);
            }
            None => println!("{}: NOT CAUGHT in {seeds} seeds", name(mutant)),
        }
    }
}

/// Which rules notice one planted bug, in which share of its seeds.
fn one_mutant(mutant: Mutant, seeds: u64) {
    let mut rules = BTreeMap::<String, Vec<(u64, String)>>::new();
    let run = |seed| {
        let drawn = stage(mutant, Options::draw(home(mutant), seed));
        Sim::new(Options { mutant: Some(mutant), ..drawn }).run().err().map(|f| f.violation)
    };
    for (_, (seed, broken)) in common::work(0..seeds, |seed| (seed, run(seed))) {
        let (rule, text) = broken.map_or(("none".into(), String::new()), |v| (v.rule.to_owned(), v.text));
        rules.entry(rule).or_default().push((seed, text));
    }
    for (rule, mut list) in rules {
        list.sort();
        println!("{rule}: {} seeds", list.len());
        list.iter().take(TOLD).for_each(|(seed, text)| println!("   seed {seed}: {}", short(text, 200)));
    }
}

fn trace(profile: Profile, seed: u64) {
    println!("{:#?}", Options::draw(profile, seed));
    trace_of(Sim::draw(profile, seed));
}

fn trace_of(mut sim: Sim) {
    sim.world.trace_on();
    let end = sim.run().map_err(|f| f.violation.to_string());
    sim.world.trace().for_each(|l| println!("{l}"));
    println!("{end:?}");
}

fn smallest(profile: Profile, seed: u64) {
    let Some(small) = shrink(&Options::draw(profile, seed), RUNS) else { return println!("no rule breaks") };
    let about = format!("{} {seed}, shrunk", profile.name());
    println!("{}", Schedule::record(&about, small.options).without_digest().to_text());
    small.timeline.iter().for_each(|l| println!("{l}"));
}

fn many(profile: Profile, from: u64, count: u64) {
    let (mut tally, mut broken) = (Tally::default(), BTreeMap::<String, Vec<(u64, String)>>::new());
    for (_, o) in common::work(from..from.saturating_add(count), |seed| run(profile, seed)) {
        tally.add(&o);
        if let Some(b) = o.broken {
            broken.entry(b.rule).or_default().push((o.seed, b.text));
        }
    }
    let all = tally.all;
    let (held, hours) = (all.seeds - all.broken, all.simulated_us / 3_600_000_000);
    println!("{held} seeds held; {hours} virtual hours, {} events, {} executions", all.events, all.executions);
    for (rule, mut list) in broken {
        list.sort();
        println!("{rule}: {} seeds", list.len());
        list.iter().take(TOLD).for_each(|(seed, text)| println!("   seed {seed}: {}", short(text, 400)));
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let word = |n: usize| args.get(n).map(String::as_str);
    let number = |n: usize, default| word(n).and_then(|s| s.parse().ok()).unwrap_or(default);
    let name = word(0).unwrap_or("swarm");
    if name == "mutants" {
        return match word(2).and_then(named) {
            Some(mutant) if word(3) == Some("trace") => {
                let seed = number(1, 0);
                let drawn = stage(mutant, Options::draw(home(mutant), seed));
                trace_of(Sim::new(Options { mutant: Some(mutant), ..drawn }));
            }
            Some(mutant) => one_mutant(mutant, number(1, 200)),
            None => mutants(number(1, 200)),
        };
    }
    let Some(profile) = Profile::named(name) else { return println!("no such profile") };
    let seed = number(1, 0);
    match word(2) {
        Some("trace") => trace(profile, seed),
        Some("shrink") => smallest(profile, seed),
        Some("record") => {
            let about = word(3).map_or_else(|| format!("{name} {seed}"), str::to_owned);
            print!("{}", Schedule::record(&about, Options::draw(profile, seed)).without_digest().to_text());
        }
        _ => many(profile, seed, number(2, 100)),
    }
}
