//! Many drawn runs, counted: by profile and by class of fault. Whoever runs them brings the threads and the clock.

use std::collections::{BTreeMap, BTreeSet};

use filch_core::Mutant;
use serde::Serialize;

use crate::corpus::{self, Kept};
use crate::fault::Class;
use crate::mutants::stage;
use crate::options::{Options, Profile};
use crate::rng::Dice;
use crate::schedule::{Ended, Schedule};
use crate::sim::Sim;

/// What came of one seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Under which profile.
    pub profile: Profile,
    /// Which.
    pub seed: u64,
    /// The bug that was planted.
    pub mutant: Option<Mutant>,
    /// Faults that were planned; those that found their node gone included.
    pub classes: BTreeSet<Class>,
    /// Virtual time.
    pub us: u64,
    /// Events handled.
    pub events: u64,
    /// Tasks executed.
    pub executions: u64,
    /// Faults that took place.
    pub faults: u64,
    /// Planned faults that could not take place.
    pub skipped: u64,
    /// What went wrong, if something did.
    pub broken: Option<Broken>,
}

/// A run that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// S1 to S14, L1 to L8, or `panic`.
    pub rule: String,
    /// How.
    pub text: String,
}

/// Runs one seed. A panic of the code under test is an outcome like any other.
pub fn run(profile: Profile, seed: u64) -> Outcome {
    run_with(profile, seed, None)
}

/// The same with a planted bug.
pub fn run_with(profile: Profile, seed: u64, mutant: Option<Mutant>) -> Outcome {
    let options = options(profile, seed, mutant);
    let classes = options.faults.iter().map(|p| p.fault.class()).collect();
    let ran = std::panic::catch_unwind(|| {
        let mut sim = Sim::new(options);
        let broken = sim.run().err().map(|f| Broken { rule: f.violation.rule.into(), text: f.violation.to_string() });
        (sim.summary(), broken)
    });
    let mut out = Outcome {
        profile,
        seed,
        mutant,
        classes,
        us: 0,
        events: 0,
        executions: 0,
        faults: 0,
        skipped: 0,
        broken: None,
    };
    match ran {
        Ok((s, broken)) => {
            (out.us, out.events, out.executions) = (s.us, s.stats.events, s.executions);
            (out.faults, out.skipped) = (s.stats.faults, s.skipped);
            out.broken = broken;
        }
        Err(why) => out.broken = Some(Broken { rule: "panic".into(), text: panic_text(&*why) }),
    }
    out
}

fn options(profile: Profile, seed: u64, mutant: Option<Mutant>) -> Options {
    let drawn = Options::draw(profile, seed);
    let staged = mutant.map_or(drawn.clone(), |m| stage(m, drawn));
    Options { mutant, ..staged }
}

fn panic_text(why: &(dyn std::any::Any + Send)) -> String {
    let text = why.downcast_ref::<String>().map(String::as_str).or_else(|| why.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// What a run means, given what is known to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged<'a> {
    /// Every rule held.
    Held,
    /// Every rule held, and the run is known to break one: it can be taken off the list.
    HeldAgain,
    /// It broke a rule, as is known; what is known of it.
    Known(&'a str),
    /// It broke a rule.
    New,
}

impl Outcome {
    /// What the run means, given what is known.
    pub fn judge<'a>(&self, known: &'a [Kept]) -> Judged<'a> {
        match (&self.broken, corpus::about(known, self.profile, self.seed)) {
            (None, None) => Judged::Held,
            (None, Some(_)) => Judged::HeldAgain,
            (Some(_), Some(why)) => Judged::Known(why),
            (Some(_), None) => Judged::New,
        }
    }
    /// The run's name for `filch sim replay`: `swarm:17`.
    pub fn target(&self) -> String {
        format!("{}:{}", self.profile.name(), self.seed)
    }
    /// The run as a file that repeats it.
    pub fn schedule(&self) -> Schedule {
        let broke = self.broken.as_ref().map(|b| b.rule.clone());
        let about = match &self.broken {
            None => format!("{} {}", self.profile.name(), self.seed),
            Some(b) => format!("{} {}: {}", self.profile.name(), self.seed, b.text),
        };
        Schedule::of(&about, options(self.profile, self.seed, self.mutant), Ended { broke, digest: None })
    }
}

/// Where a range of seeds begins: a number, or any other word, such as the id of a commit, that names a range which
/// nobody has run before.
pub fn range(from: &str) -> u64 {
    // Named ranges lie beyond those that are counted from 0.
    from.parse().unwrap_or_else(|_| 1 << 32 | Dice::stream(0, from).bits() >> 16)
}

/// Sums over runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Runs.
    pub seeds: u64,
    /// Those of them that broke a rule.
    pub broken: u64,
    /// Virtual time of all of them.
    pub simulated_us: u64,
    /// Events of the simulation.
    pub events: u64,
    /// Tasks executed.
    pub executions: u64,
    /// Faults that took place.
    pub faults: u64,
    /// Planned faults that could not: their node was down, or too much would have been lost.
    pub skipped: u64,
}

impl Sums {
    fn add(&mut self, o: &Outcome) {
        self.seeds += 1;
        self.broken += u64::from(o.broken.is_some());
        self.simulated_us = self.simulated_us.saturating_add(o.us);
        self.events += o.events;
        self.executions += o.executions;
        self.faults += o.faults;
        self.skipped += o.skipped;
    }
}

/// Runs, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub all: Sums,
    /// By profile.
    pub profiles: BTreeMap<Profile, Sums>,
    /// By class of fault: a run counts for each class that was planned in it, and for `None` if none was.
    pub classes: BTreeMap<Option<Class>, Sums>,
}

impl Tally {
    /// Counts a run.
    pub fn add(&mut self, o: &Outcome) {
        self.all.add(o);
        self.profiles.entry(o.profile).or_default().add(o);
        if o.classes.is_empty() {
            self.classes.entry(None).or_default().add(o);
        }
        for class in &o.classes {
            self.classes.entry(Some(*class)).or_default().add(o);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_by_profile_and_by_class() {
        let mut tally = Tally::default();
        let runs = [run(Profile::FaultFree, 1), run(Profile::Crash, 1), run(Profile::Crash, 2)];
        runs.iter().for_each(|o| tally.add(o));
        assert_eq!((tally.all.seeds, tally.all.broken), (3, 0));
        assert_eq!(tally.profiles[&Profile::Crash].seeds, 2);
        assert_eq!(tally.classes[&None].seeds, 1);
        assert_eq!(tally.classes[&Some(Class::Crash)].seeds, 2);
        let planned: usize = runs.iter().map(|o| o.schedule().options.faults.len()).sum();
        assert_eq!(tally.all.faults + tally.all.skipped, planned as u64, "no planned fault is passed over in silence");
        assert!(tally.all.faults > 0 && tally.all.simulated_us > 3 * 60_000_000);
        assert!(runs[1].schedule().replay().as_recorded());
    }

    #[test]
    fn what_is_known_to_break_is_told_from_what_is_new() {
        let known = corpus::parse("crash 1 two stewards").expect("a list");
        let mut one = run(Profile::Crash, 1);
        let mut two = Outcome { seed: 2, ..one.clone() };
        assert_eq!([one.judge(&known), two.judge(&known)], [Judged::HeldAgain, Judged::Held]);
        for o in [&mut one, &mut two] {
            o.broken = Some(Broken { rule: "L1".into(), text: "L1".into() });
        }
        assert_eq!([one.judge(&known), two.judge(&known)], [Judged::Known("two stewards"), Judged::New]);
        assert_eq!(two.target(), "crash:2");
    }

    #[test]
    fn a_word_names_a_range() {
        assert_eq!(range("17"), 17);
        assert!(range("fc7d483") >= 1 << 32 && range("fc7d483") != range("fc7d484"));
    }
}
