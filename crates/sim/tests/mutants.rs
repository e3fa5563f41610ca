//! The oracles bite: every planted bug is caught by the rule that it breaks, within a stated number of seeds.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use filch_core::Mutant;
use filch_sim::mutants::{Caught, MUTANTS, catch, home};
use filch_sim::{Options, Sim};

/// The rules that a planted bug breaks, and the seeds of its profile within which it must be caught: about twice what it takes today.
fn expected(mutant: Mutant) -> (&'static [&'static str], u64) {
    match mutant {
        Mutant::AckBeforeFsync => (&["S3"], 5),
        Mutant::AckAtOneCopy | Mutant::CountSelfTwice => (&["S1"], 5),
        Mutant::PinBeforeDisk | Mutant::TwoPinsInFlight => (&["S5"], 5),
        Mutant::OrderByArrival => (&["S4"], 10),
        Mutant::NoLeaseExpiry => (&["L1"], 60),
        Mutant::NoAntiEntropy => (&["L1", "L2"], 5),
        Mutant::LastWriterWins | Mutant::DeleteByAbsence => (&["S4", "S5", "L2", "L5"], 240),
        Mutant::ClosureAfterFact => (&["S14"], 5),
        Mutant::OutboxWithoutReplicas => (&["S2", "L2", "L7"], 30),
        Mutant::WipedStoreCounts => (&["S1", "S2"], 60),
        Mutant::StealBothKeep => (&["S13"], 5),
        Mutant::StealNeitherKeeps => (&["S11", "L1"], 10),
        Mutant::BudgetChargesQueued => (&["S12"], 30),
        Mutant::DeadlineIgnoresQueued => (&["L1"], 5),
        Mutant::CancelNotRepeated => (&["S4", "S9", "L2"], 60),
        Mutant::RepairDropsCopy => (&["L3", "L4"], 10),
        Mutant::NoSignatureCheck => (&["S6"], 10),
        Mutant::GrantTwice => (&["S11", "S13"], 5),
        Mutant::BagBothKeep | Mutant::BagNeitherKeeps => (&["S6"], 20),
        Mutant::LeaseAcrossClocks => (&["L1", "L5"], 10),
        Mutant::NoBackOff => (&["L7"], 60),
        Mutant::UncheckedRead => (&["S7"], 60),
        // Nothing but what others know tells an owner that has forgotten.
        Mutant::OwnPinsIgnored => (&["S5"], 5),
        Mutant::RottenRowsListed => (&["S3", "L2"], 60),
        // The facts are all there: only who follows what was visible to the end of the run notices.
        Mutant::ResultsFreed => (&["S2"], 5),
        // What came damaged is not held, whatever was said.
        Mutant::UncheckedTransfer => (&["S1", "S7", "S14"], 60),
    }
}

fn verdict(mutant: Mutant) -> Result<Caught, String> {
    let (rules, seeds) = expected(mutant);
    let caught = catch(mutant, seeds).ok_or(format!("{mutant:?} is not caught in {seeds} seeds"))?;
    if rules.contains(&caught.rule) {
        Ok(caught)
    } else {
        Err(format!("{mutant:?} breaks {}, not {rules:?}: {} {}", caught.rule, caught.seed, caught.text))
    }
}

#[test]
fn every_planted_bug_is_caught_by_the_rule_that_it_breaks() {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, std::num::NonZero::get) {
            scope.spawn(|| {
                while let Some(&mutant) = MUTANTS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(text) = verdict(mutant) {
                        wrong.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_planted_is_what_is_caught() {
    let seed = catch(Mutant::StealBothKeep, 5).unwrap().seed;
    let options = Options::draw(home(Mutant::StealBothKeep), seed);
    assert!(Sim::new(options).run().is_ok(), "the same run without the bug holds");
}
