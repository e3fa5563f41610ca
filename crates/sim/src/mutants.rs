//! Proof that the oracles bite: every planted bug is run under a profile that shows it until a rule breaks.

use filch_core::Mutant;

use crate::fault::{DiskAfter, Fault, Planned};
use crate::options::{Duration, GroupPlan, JobPlan, Leaves, Options, Profile, Work};
use crate::sim::Sim;

/// All planted bugs.
pub const MUTANTS: [Mutant; 30] = [
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
    Mutant::LeaseAcrossClocks,
    Mutant::NoBackOff,
    Mutant::UncheckedRead,
    Mutant::UncheckedTransfer,
    Mutant::OwnPinsIgnored,
    Mutant::RottenRowsListed,
    Mutant::ResultsFreed,
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
        | Mutant::BagBothKeep
        | Mutant::BagNeitherKeeps
        | Mutant::LeaseAcrossClocks
        | Mutant::NoBackOff => Profile::FaultFree,
        Mutant::LastWriterWins | Mutant::DeleteByAbsence => Profile::Crash,
        Mutant::OrderByArrival | Mutant::NoSignatureCheck => Profile::Minimal,
        Mutant::WipedStoreCounts
        | Mutant::UncheckedRead
        | Mutant::UncheckedTransfer
        | Mutant::OwnPinsIgnored
        | Mutant::RottenRowsListed
        | Mutant::ResultsFreed => Profile::Disks,
        Mutant::NoLeaseExpiry
        | Mutant::OutboxWithoutReplicas
        | Mutant::BudgetChargesQueued
        | Mutant::CancelNotRepeated
        | Mutant::RepairDropsCopy => Profile::Swarm,
    }
}

/// A drawn run, made so that the bug has something to do.
pub fn stage(mutant: Mutant, mut options: Options) -> Options {
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
    if mutant == Mutant::OwnPinsIgnored {
        return forgetful_owner(options.seed);
    }
    if mutant == Mutant::ResultsFreed {
        return restarts(options.seed);
    }
    options
}

/// Two halves do the same tasks, and the owner pins what its own half did. Then it loses its disk, and those who know its pins are within
/// its reach.
fn forgetful_owner(seed: u64) -> Options {
    const SECOND: u64 = 1_000_000;
    let mut o = Options { profile: Profile::Disks, ..Options::calm(seed, 4, 2) };
    o.jobs = vec![JobPlan { at: SECOND, copies: Some(4), ..JobPlan::array(60, SECOND) }];
    let cut = Fault::Cut { side: vec![0, 1], one_way: false, for_us: 36 * SECOND };
    let wipe = Fault::Crash { node: 0, down_us: SECOND, disk: DiskAfter::Wiped, power: false };
    o.faults = vec![Planned { at: 4 * SECOND, fault: cut }, Planned { at: 60 * SECOND, fault: wipe }];
    o.faults_until = 120 * SECOND;
    o
}

/// Everything is done and everywhere; then each node starts again.
fn restarts(seed: u64) -> Options {
    const SECOND: u64 = 1_000_000;
    let mut o = Options { profile: Profile::Disks, ..Options::calm(seed, 3, 2) };
    let work = Work { takes: Duration::Fixed(SECOND), leaves: Leaves::Blob(10_000), ..Work::default() };
    o.jobs = vec![JobPlan { at: SECOND, copies: Some(3), work, ..JobPlan::array(12, SECOND) }];
    let crash = |node| Fault::Crash { node, down_us: SECOND, disk: DiskAfter::Kept, power: false };
    o.faults = (0..3).map(|n| Planned { at: (30 + 5 * n as u64) * SECOND, fault: crash(n) }).collect();
    o.faults_until = 60 * SECOND;
    o
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

/// A planted bug in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name on a command line.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// The rule of the protocol that it goes against: `P1` to `P16`, or what it says.
    pub rule: &'static str,
}

/// A planted bug in words.
pub fn about(mutant: Mutant) -> About {
    let say = |name, what, rule| About { name, what, rule };
    match mutant {
        Mutant::AckBeforeFsync => say("ack-before-fsync", "acks before the disk has it", "P2"),
        Mutant::AckAtOneCopy => say("ack-at-one-copy", "accepts a job at one copy", "P3"),
        Mutant::CountSelfTwice => say("count-self-twice", "counts its own copy twice", "P3"),
        Mutant::PinBeforeDisk => say("pin-before-disk", "shows a pin before it is on disk", "P6"),
        Mutant::TwoPinsInFlight => say("two-pins-in-flight", "pins a task again before the first pin is done", "P9"),
        Mutant::OrderByArrival => say("order-by-arrival", "the result that came first wins", "the fold"),
        Mutant::NoLeaseExpiry => say("no-lease-expiry", "leases of silent workers never end", "P8"),
        Mutant::NoAntiEntropy => say("no-anti-entropy", "replicas do not compare what they hold", "P10"),
        Mutant::LastWriterWins => say("last-writer-wins", "the newest whole state replaces the others", "P10"),
        Mutant::ClosureAfterFact => say("closure-after-fact", "stores a result before the blobs that it names", "P4"),
        Mutant::OutboxWithoutReplicas => {
            say("outbox-without-replicas", "forgets over a restart whom it owes results", "P5")
        }
        Mutant::WipedStoreCounts => say("wiped-store-counts", "a wiped node still counts as a holder", "store ids"),
        Mutant::DeleteByAbsence => say("delete-by-absence", "deletes what others do not have", "P11"),
        Mutant::StealBothKeep => say("steal-both-keep", "victim and thief both keep the tasks", "stealing"),
        Mutant::StealNeitherKeeps => say("steal-neither-keeps", "neither victim nor thief keeps the tasks", "stealing"),
        Mutant::BudgetChargesQueued => say("budget-charges-queued", "queued tasks pay for their node's death", "P14"),
        Mutant::DeadlineIgnoresQueued => {
            say("deadline-ignores-queued", "the next deadline does not count queued work", "the core's contract")
        }
        Mutant::CancelNotRepeated => say("cancel-not-repeated", "a cancel is sent once", "P10"),
        Mutant::RepairDropsCopy => say("repair-drops-copy", "repair takes a member out of R", "P12"),
        Mutant::NoSignatureCheck => {
            say("no-signature-check", "takes results without looking at the signature", "signed facts")
        }
        Mutant::GrantTwice => say("grant-twice", "grants a task to two nodes", "P7"),
        Mutant::BagBothKeep => say("bag-both-keep", "victim and thief both keep a part", "splitting"),
        Mutant::BagNeitherKeeps => say("bag-neither-keeps", "neither victim nor thief keeps a part", "splitting"),
        Mutant::LeaseAcrossClocks => {
            say("lease-across-clocks", "a lease ends by the steward's clock, read as the worker's own", "P8")
        }
        Mutant::NoBackOff => say("no-back-off", "an idle node asks for work at one pace", "quiet clusters"),
        Mutant::UncheckedRead => {
            say("unchecked-read", "a store gives out bytes without a look at their hash", "verified blobs")
        }
        Mutant::UncheckedTransfer => {
            say("unchecked-transfer", "a store takes what arrives, and what a crash left of it", "verified blobs")
        }
        Mutant::OwnPinsIgnored => {
            say("own-pins-ignored", "an owner that lost its disk does not take its own pins back from others", "P9")
        }
        Mutant::RottenRowsListed => {
            say("rotten-rows-listed", "lists facts whose rows rotted as if they were there", "P10")
        }
        Mutant::ResultsFreed => say("results-freed", "a store frees at a start what results name", "P4"),
    }
}

/// Its name on a command line: `ack-before-fsync`.
pub fn name(mutant: Mutant) -> &'static str {
    about(mutant).name
}

/// The one of this name.
pub fn named(text: &str) -> Option<Mutant> {
    MUTANTS.into_iter().find(|m| name(*m) == text)
}

/// Runs one planted bug under its profile until it is caught, at most `seeds` seeds.
pub fn catch(mutant: Mutant, seeds: u64) -> Option<Caught> {
    catch_while(mutant, seeds, || true)
}

/// The same while `go_on`. A run that also breaks a rule without the bug proves nothing and is passed over.
pub fn catch_while(mutant: Mutant, seeds: u64, go_on: impl Fn() -> bool) -> Option<Caught> {
    let run = |planted, seed| {
        let options = Options { mutant: planted, ..stage(mutant, Options::draw(home(mutant), seed)) };
        Sim::new(options).run()
    };
    (0..seeds).take_while(|_| go_on()).find_map(|seed| {
        let v = run(Some(mutant), seed).err()?.violation;
        let sound = run(None, seed).is_ok();
        sound.then(|| Caught { profile: home(mutant), seed, runs: seed + 1, rule: v.rule, text: v.text })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_one_has_its_name() {
        for mutant in MUTANTS {
            assert_eq!(named(name(mutant)), Some(mutant));
            let kebab = format!("{mutant:?}").chars().fold(String::new(), |s, c| match c.is_ascii_uppercase() {
                true if !s.is_empty() => s + "-" + &c.to_ascii_lowercase().to_string(),
                _ => s + &c.to_ascii_lowercase().to_string(),
            });
            assert_eq!(name(mutant), kebab);
        }
        assert_eq!(name(Mutant::AckBeforeFsync), "ack-before-fsync");
        assert_eq!(named("nothing"), None);
    }
}
