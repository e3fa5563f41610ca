//! A seed and its options determine a run, down to every field of every message.

use filch_sim::{Profile, Sim};

fn deep(profile: Profile, seed: u64) -> (u64, Vec<String>) {
    let mut sim = Sim::draw(profile, seed);
    sim.world.deep_digest();
    sim.world.trace_on();
    let _ = sim.run();
    (sim.world.digest(), sim.world.trace().map(str::to_owned).collect())
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..12 {
        let (a, b) = (deep(Profile::Swarm, seed), deep(Profile::Swarm, seed));
        let differs = a.1.iter().zip(&b.1).find(|(x, y)| x != y);
        assert_eq!(a.0, b.0, "seed {seed}: {differs:?}");
    }
}

#[test]
fn another_seed_is_another_run() {
    assert_ne!(deep(Profile::Swarm, 1).0, deep(Profile::Swarm, 2).0);
}

#[test]
fn looking_does_not_change_a_run() {
    let mut plain = Sim::draw(Profile::Swarm, 5);
    let mut traced = Sim::draw(Profile::Swarm, 5);
    traced.world.trace_on();
    assert_eq!(plain.run().ok(), traced.run().ok());
}
