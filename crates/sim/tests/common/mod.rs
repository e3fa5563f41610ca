//! Runs drawn seeds and tells the story of one that breaks a rule, made as small as can be.
#![allow(dead_code)]

use filch_sim::shrink::{RUNS, shrink};
use filch_sim::{Profile, Schedule, Sim, Summary};

/// Runs one seed; panics with its options and what remains of them if it breaks a rule.
pub fn check(profile: Profile, seed: u64) -> Summary {
    Sim::draw(profile, seed).run().unwrap_or_else(|failure| {
        let Some(small) = shrink(&failure.options, RUNS) else { panic!("{failure}\nand not a second time") };
        let kept = Schedule::record("shrunk", small.options).to_text();
        panic!("{failure}\nthe same rule breaks in:\n{kept}\n{}", small.timeline.join("\n"));
    })
}

/// Runs the seeds from `from` on.
pub fn sweep(profile: Profile, from: u64, count: u64) -> Vec<Summary> {
    (from..from + count).map(|seed| check(profile, seed)).collect()
}
