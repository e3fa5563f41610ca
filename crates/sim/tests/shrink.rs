//! Runs that break a rule become small enough for a person.

use filch_core::Mutant;
use filch_sim::shrink::{LINES, RUNS, shrink};
use filch_sim::{Options, Profile, Shrunk, Sim};

/// The first drawn run that a planted bug makes break `rule`, shrunk.
fn planted(mutant: Mutant, profile: Profile, rule: &str) -> Shrunk {
    let breaks = |o: &Options| Sim::new(o.clone()).run().is_err_and(|f| f.violation.rule == rule);
    let seeds = (0..300).map(|seed| Options { mutant: Some(mutant), ..Options::draw(profile, seed) });
    let options = seeds.into_iter().find(breaks).unwrap_or_else(|| panic!("{mutant:?} never breaks {rule}"));
    let small = shrink(&options, RUNS).expect("it breaks");
    assert_eq!(small.violation.rule, rule);
    assert!(small.runs <= RUNS);
    let plain = small.timeline.join("\n");
    assert!(small.timeline.len() <= LINES && plain.contains("VIOLATION"), "{plain}");
    let again = Sim::new(small.options.clone()).run();
    assert_eq!(again.expect_err("it still breaks").violation, small.violation);
    small
}

fn size(small: &Shrunk) -> (usize, usize, usize) {
    (small.options.nodes.len(), small.options.jobs.len(), small.options.faults.len())
}

#[test]
fn an_ack_before_fsync_needs_one_crash() {
    let small = planted(Mutant::AckBeforeFsync, Profile::Swarm, "S3");
    let (nodes, jobs, faults) = size(&small);
    assert!(nodes <= 3 && jobs == 1 && faults <= 2, "{small:#?}");
}

#[test]
fn a_forged_result_needs_one_forger() {
    let small = planted(Mutant::NoSignatureCheck, Profile::Swarm, "S6");
    let (nodes, jobs, faults) = size(&small);
    assert!(nodes <= 2 && jobs == 1 && faults == 1, "{small:#?}");
    assert_eq!(small.options.link, Default::default());
    assert_eq!(small.options.jobs[0].total(), 1, "{small:#?}");
}

#[test]
fn a_steal_that_both_keep_needs_no_fault() {
    let small = planted(Mutant::StealBothKeep, Profile::FaultFree, "S13");
    let (nodes, jobs, faults) = size(&small);
    assert!(nodes <= 3 && jobs == 1 && faults == 0, "{small:#?}");
    assert!(small.timeline.iter().any(|l| l.contains("stole")), "{:#?}", small.timeline);
}

#[test]
fn a_run_that_holds_is_not_shrunk() {
    assert!(shrink(&Options::draw(Profile::FaultFree, 1), RUNS).is_none());
}
