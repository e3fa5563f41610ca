//! One generator of runs, whoever makes up its bytes: a seed, proptest, or a fuzzer (`tests/fuzz`).

use filch_sim::{Options, Profile, Sim};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The same cases in every run of the tests: what is new is for the fuzzer to find, not for somebody's unrelated change.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
}

fn profile() -> impl Strategy<Value = Profile> {
    prop::sample::select(Profile::ALL.to_vec())
}

proptest! {
    #![proptest_config(cases(2_000))]
    #[test]
    fn whatever_the_bytes_are_a_world_can_be_made(profile in profile(), bytes in vec(any::<u8>(), 0..1500)) {
        let options = Options::from_bytes(profile, &bytes);
        prop_assert_eq!(options.check(), Ok(()));
        prop_assert_eq!(options, Options::from_bytes(profile, &bytes));
    }
}

proptest! {
    #![proptest_config(cases(40))]
    #[test]
    fn what_the_protocol_promises_holds(profile in profile(), bytes in vec(any::<u8>(), 0..1500)) {
        let options = Options::from_bytes(profile, &bytes);
        let end = Sim::new(options).run().map(|s| s.us).map_err(|f| f.to_string());
        prop_assert!(end.is_ok(), "{}", end.unwrap_err());
    }
}

#[test]
fn a_byte_changes_the_run_that_it_spells() {
    let bytes: Vec<u8> = (0..400).map(|n| (n * 37 % 251) as u8).collect();
    let base = Options::from_bytes(Profile::Swarm, &bytes);
    let changes = (8..300).filter(|n| {
        let mut other = bytes.clone();
        other[*n] ^= 0x55;
        Options::from_bytes(Profile::Swarm, &other) != base
    });
    assert!(changes.count() > 150, "most of the bytes that are read matter");
    assert_eq!(Options::from_bytes(Profile::Minimal, &[]), Options::from_bytes(Profile::Minimal, &[0; 2000]));
}
