//! `search COPIES DEVIATIONS [leases] [MUTANT]`: follows all runs with at most so many deviations, and says what it saw.
//! Two deviations of all kinds take minutes; bound memory and time: `(ulimit -v 6000000; timeout 1200 …)`.
#![allow(clippy::print_stdout)]

use filch_core::Mutant;
use filch_search::{Limits, Setting, search};

const MUTANTS: [Mutant; 4] =
    [Mutant::StealBothKeep, Mutant::StealNeitherKeeps, Mutant::GrantTwice, Mutant::NoLeaseExpiry];
/// States at most: a state takes some 20 kB while it waits, 8 bytes once it was seen.
const MOST: usize = 20_000_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize, or: u8| args.get(n).and_then(|a| a.parse().ok()).unwrap_or(or);
    let limits = Limits { only_leases: args.iter().any(|a| a == "leases"), ..Limits::any(number(1, 1)) };
    let mutant = MUTANTS.into_iter().find(|m| args.contains(&format!("{m:?}")));
    let setting = Setting { copies: number(0, 1), mutant, limits };
    let found = search(setting, MOST);
    println!("{setting:?}");
    println!(
        "{} states, longest run {} steps, {}",
        found.states,
        found.depth,
        if found.whole { "all of them" } else { "not all" }
    );
    found.reached.iter().for_each(|r| println!("  {r}"));
    match found.broken {
        None => println!("every rule held"),
        Some(b) => {
            b.story.iter().for_each(|line| println!("{line}"));
            println!("BROKEN {}\nby {:?}", b.why, b.by);
            std::process::exit(1);
        }
    }
}
