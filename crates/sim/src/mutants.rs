//! Proof that the oracles bite: every planted bug is run under a profile that shows it until a rule breaks.

use filch_core::Mutant;

use crate::options::{Duration, GroupPlan, Options, Profile, Work};
use crate::sim::Sim;

/// All planted bugs.
pub const MUTANTS: [Mutant; 25] = [
    Mutant::AckBeforeFsync,
    Mutant::AckAtOneCopy,
    Mutant::CountSelfTwice,
    Mutant::PinBeforeDisk,
    Mutant::TwoPinsInFlight,
    Mutant::OrderByArrival,
    Mutant::NoLeaseExpiry,
    Mutant::NoAntiEntropy,
    Mutant::LastWriterWins,
    Mutant::ClosureAfterFact,
    Mutant::OutboxWithoutReplicas,
    Mutant::WipedStoreCounts,
    Mutant::DeleteByAbsence,
    Mutant::StealBothKeep,
    Mutant::StealNeitherKeeps,
    Mutant::BudgetChargesQueued,
    Mutant::DeadlineIgnoresQueued,
    Mutant::CancelNotRepeated,
    Mutant::RepairDropsCopy,
    Mutant::NoSignatureCheck,
    Mutant::GrantTwice,
    Mutant::LeaseAcrossClocks,
    Mutant::NoBackOff,
    Mutant::UncheckedRead,
    Mutant::UncheckedTransfer,
];

/// The profile that shows a planted bug soonest.
pub fn home(mutant: Mutant) -> Profile {
    match mutant {
        Mutant::AckBeforeFsync
        | Mutant::AckAtOneCopy
        | Mutant::CountSelfTwice
        | Mutant::PinBeforeDisk
        | Mutant::TwoPinsInFlight
        | Mutant::NoAntiEntropy
        | Mutant::ClosureAfterFact
        | Mutant::StealBothKeep
        | Mutant::StealNeitherKeeps
        | Mutant::DeadlineIgnoresQueued
        | Mutant::GrantTwice
        | Mutant::LeaseAcrossClocks
        | Mutant::NoBackOff => Profile::FaultFree,
        Mutant::LastWriterWins | Mutant::DeleteByAbsence => Profile::Crash,
        Mutant::OrderByArrival | Mutant::NoSignatureCheck => Profile::Minimal,
        Mutant::WipedStoreCounts | Mutant::UncheckedRead | Mutant::UncheckedTransfer => Profile::Disks,
        Mutant::NoLeaseExpiry
        | Mutant::OutboxWithoutReplicas
        | Mutant::BudgetChargesQueued
        | Mutant::CancelNotRepeated
        | Mutant::RepairDropsCopy => Profile::Swarm,
    }
}

/// A run of that profile, made so that the bug has something to do.
fn stage(mutant: Mutant, seed: u64) -> Options {
    let mut options = Options::draw(home(mutant), seed);
    if mutant == Mutant::NoBackOff {
        // Some long tasks, and others that wait for them with nothing to do.
        options.jobs.truncate(1);
        for job in &mut options.jobs {
            job.groups = vec![GroupPlan { tasks: 2, ..GroupPlan::default() }];
            job.work = Work { takes: Duration::Uniform(30_000_000, 90_000_000), ..Work::default() };
            job.then.clear();
        }
        options.settle_us = 900_000_000;
    }
    options
}

/// How a planted bug was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caught {
    /// Under which profile.
    pub profile: Profile,
    /// With which seed.
    pub seed: u64,
    /// Runs until then, that one included.
    pub runs: u64,
    /// Which rule broke.
    pub rule: &'static str,
    /// How.
    pub text: String,
}

/// Runs one planted bug under its profile until it is caught, at most `seeds` seeds.
/// A run that also breaks a rule without the bug proves nothing and is passed over.
pub fn catch(mutant: Mutant, seeds: u64) -> Option<Caught> {
    let run = |planted, seed| {
        let options = Options { mutant: planted, ..stage(mutant, seed) };
        Sim::builder().options(options).build().run()
    };
    (0..seeds).find_map(|seed| {
        let v = run(Some(mutant), seed).err()?.violation;
        let sound = run(None, seed).is_ok();
        sound.then(|| Caught { profile: home(mutant), seed, runs: seed + 1, rule: v.rule, text: v.text })
    })
}
