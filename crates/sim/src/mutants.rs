//! Proof that the oracles bite: every planted bug is run under the profiles until a rule breaks.

use filch_core::Mutant;

use crate::options::{Options, Profile};
use crate::sim::Sim;

/// All planted bugs.
pub const MUTANTS: [Mutant; 23] = [
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
    Mutant::BagBothKeep,
    Mutant::BagNeitherKeeps,
];

/// Profiles that a planted bug is tried under, one seed of each in turn.
const PROFILES: [Profile; 4] = [Profile::FaultFree, Profile::Crash, Profile::Swarm, Profile::Minimal];

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

/// Runs one planted bug until it is caught, at most `seeds` seeds of every profile. A run that also breaks a rule without the
/// bug proves nothing and is passed over.
pub fn catch(mutant: Mutant, seeds: u64) -> Option<Caught> {
    let mut runs = 0;
    for seed in 0..seeds {
        for profile in PROFILES {
            runs += 1;
            let options = Options::draw(profile, seed);
            let planted = Sim::builder().options(options).mutant(mutant).build().run();
            let Err(failure) = planted else { continue };
            if Sim::draw(profile, seed).run().is_ok() {
                let v = failure.violation;
                return Some(Caught { profile, seed, runs, rule: v.rule, text: v.text });
            }
        }
    }
    None
}
