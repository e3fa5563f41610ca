//! Whole runs of the simulator: the same generator that seeds and proptest drive, and all of its oracles.

use filch_sim::{Options, Profile, Sim};

const PROFILES: [Profile; 5] =
    [Profile::Swarm, Profile::Minimal, Profile::Crash, Profile::FaultFree, Profile::OverBudget];
/// Tasks and faults of one run: larger ones are for seeds, an input should take milliseconds.
const TASKS: u32 = 300;

/// The first byte chooses the profile, the others spell the run. What breaks a rule is a finding, as a panic is.
pub fn run(bytes: &[u8]) {
    let Some((profile, bytes)) = bytes.split_first() else { return };
    let mut options = Options::from_bytes(PROFILES[usize::from(*profile) % PROFILES.len()], bytes);
    assert_eq!(options.check(), Ok(()));
    while options.jobs.len() > 1 && options.jobs.iter().map(|j| j.total()).sum::<u32>() > TASKS {
        options.jobs.pop();
    }
    if let Err(failure) = Sim::new(options).run() {
        panic!("{failure}");
    }
}
