//! Large clusters, where nodes meet on demand: what is asked over a connection that was made for it arrives.

use filch_sim::options::Checks;
use filch_sim::{JobPlan, Options, Sim};

const MS: u64 = 1_000;

/// One tree that splits while it runs, 49 ms of work for each of 96 nodes with six neighbours.
fn cluster(seed: u64) -> Options {
    let mut options = Options::calm(seed, 96, 1);
    options.overlay = Some(6);
    options.checks = Checks::Cheap;
    (options.link.near_us, options.link.far_us, options.link.jitter_us) = (100, 100, 0);
    options
}

/// Requests once were lost if the other end of a new connection was a moment late, and whoever asked was idle for three seconds, until
/// its request had timed out. No such pause fits into these runs.
#[test]
fn nobody_waits_for_an_answer_to_a_request_that_was_lost() {
    for seed in 1..=3 {
        let mut sim = Sim::new(cluster(seed));
        let mut plan = JobPlan::tree("geo:4,9,19", 10);
        (plan.at, plan.attended) = (10_000 * MS, true);
        let job = sim.submit(plan);
        sim.run_until(11_500 * MS).unwrap();
        let id = sim.id(job).expect("accepted");
        assert!(sim.world.history.ended.contains_key(&id), "seed {seed}: {:?}", sim.job(job).map(|j| j.counts));
    }
}
