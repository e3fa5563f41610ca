//! A seed and its options determine a run, down to every field of every message.

use filch_core::Mutant;
use filch_sim::{Options, Profile, Sim};

fn deep(profile: Profile, seed: u64) -> (u64, Vec<String>) {
    let mut sim = Sim::draw(profile, seed);
    sim.world.deep_digest();
    sim.world.trace_on();
    let _ = sim.run();
    (sim.world.digest(), sim.world.trace().map(str::to_owned).collect())
}

#[test]
fn the_same_seed_is_the_same_run() {
    let of = |profile| if profile == Profile::Scale { 0..1 } else { 0..6 };
    for (profile, seed) in Profile::ALL.into_iter().flat_map(|p| of(p).map(move |seed| (p, seed))) {
        let (a, b) = (deep(profile, seed), deep(profile, seed));
        let differs = a.1.iter().zip(&b.1).find(|(x, y)| x != y);
        assert_eq!(a.0, b.0, "{} {seed}: {differs:?}", profile.name());
    }
}

#[test]
fn a_broken_rule_says_how_to_break_it_again() {
    let options = |seed| Options { mutant: Some(Mutant::NoSignatureCheck), ..Options::draw(Profile::Swarm, seed) };
    let broken = (0..200).find_map(|seed| Sim::new(options(seed)).run().err());
    let mut failure = broken.expect("a planted bug is found");
    let told = failure.to_string();
    assert!(
        told.contains("replay: filch sim replay swarm:") && told.contains("--mutant no-signature-check\n"),
        "{told}"
    );
    failure.options.mutant = None;
    let command = format!("replay: filch sim replay swarm:{}\n", failure.options.seed);
    assert!(failure.to_string().contains(&command), "{failure}");
    failure.options.faults.clear();
    assert!(failure.to_string().contains("replay: filch sim replay FILE"), "it is no longer what its seed draws");
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
