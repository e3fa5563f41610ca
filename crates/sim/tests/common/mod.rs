//! Runs drawn seeds and tells the whole story of one that breaks a rule.

use filch_sim::{Profile, Sim, Summary};

/// Lines of the trace that a failure shows.
const LINES: usize = 60;

/// Runs one seed; panics with its options and its last lines if it breaks a rule.
pub fn check(profile: Profile, seed: u64) -> Summary {
    Sim::draw(profile, seed).run().unwrap_or_else(|failure| {
        let mut again = Sim::draw(profile, seed);
        again.world.trace_on();
        let _ = again.run();
        let lines: Vec<&str> = again.world.trace().collect();
        let tail = lines.len().saturating_sub(LINES);
        panic!("{failure}\nlast lines:\n{}", lines[tail..].join("\n"));
    })
}

/// Runs the seeds from `from` on.
pub fn sweep(profile: Profile, from: u64, count: u64) -> Vec<Summary> {
    (from..from + count).map(|seed| check(profile, seed)).collect()
}
