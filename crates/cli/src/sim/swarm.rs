//! `filch sim swarm`: many seeds, whatever they draw.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use filch_sim::shrink::{RUNS, shrink};
use filch_sim::swarm::{self, Broken, Judged, Outcome, Sums, Tally};
use filch_sim::{Mutant, Profile, Shrunk, corpus, mutants};
use serde_json::json;

use super::error::{SimError, read, write};
use super::progress::Progress;
use super::quantity::time;
use super::voice::Voice;
use super::{INTERRUPTED, pool, show, stop};
use crate::error::Error;
use crate::render::table::table;
use crate::render::words::{count, tame};

/// Violations that are told one by one; more are only counted.
const TOLD: usize = 200;

/// Run many drawn clusters and check every rule of the protocol in each
///
/// A seed draws everything: nodes, links, disks, jobs, faults; whole classes of faults are left out at random. First faults
/// happen, then they end and everything must come to its end. Of a run that breaks a rule everything that was drawn is printed, and the command that
/// runs it again. Seeds that are known to fail and not fixed yet are named as such and count as passed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch sim swarm --seeds 5000
  filch sim swarm --profile all --seeds 500
  filch sim swarm --from \"$(git rev-parse HEAD)\"           # seeds that nobody has run before
  filch sim swarm --profile crash --shrink --save failures

Profiles: fault-free (exact counts), crash (nodes crash and restart), minimal (two nodes), swarm (everything),
disks (wiped, rotting, cut off in a write), over-budget (more is lost than promised to survive: what still holds),
scale (24 to 48 nodes)

SKIPPED counts faults that were drawn and could not take place: their node was down, or more would have been lost than
the protocol promises to survive.

Exit codes: 0 every rule held, 1 one broke, 2 usage, 4 a file cannot be written, 130 ended by Ctrl-C")]
pub(super) struct SwarmArgs {
    /// Seeds of each profile
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    seeds: u64,
    /// The first seed: a number, or any word for a range of its own
    #[arg(long, value_name = "N|WORD", default_value = "0")]
    from: String,
    /// Which, or `all` [repeatable]
    #[arg(long, value_name = "PROFILE", value_delimiter = ',', default_value = "swarm", value_parser = profiles())]
    profile: Vec<String>,
    /// So many at a time [default: the number of processors]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    jobs: Option<u16>,
    /// Make the first failing run of every rule as small as it can be, and tell its story
    #[arg(long)]
    shrink: bool,
    /// Write failing runs into this directory, for `filch sim replay`
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Runs that are known to break a rule, `PROFILE SEED WHY` a line [default: those of this version of filch]
    #[arg(long, value_name = "FILE")]
    known: Option<PathBuf>,
    /// With this bug planted (`filch sim mutants` lists them)
    #[arg(long, value_name = "BUG", hide_possible_values = true, value_parser = super::replay::planted())]
    mutant: Option<Mutant>,
}

fn profiles() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(Profile::ALL.map(Profile::name).into_iter().chain(["all"]))
}

impl SwarmArgs {
    fn profiles(&self) -> Vec<Profile> {
        let asked = |p: &Profile| self.profile.iter().any(|name| name == "all" || name == p.name());
        Profile::ALL.into_iter().filter(asked).collect()
    }
}

/// A run that broke a rule.
struct Found {
    outcome: Outcome,
    broken: Broken,
    /// What is known of it, if it is.
    open: Option<String>,
    /// What remains of it.
    shrunk: Option<Shrunk>,
}

pub(super) fn run(args: &SwarmArgs, voice: Voice) -> Result<u8, Error> {
    let known = known(args)?;
    let begun = Instant::now();
    let (profiles, from) = (args.profiles(), swarm::range(&args.from));
    let until = from.saturating_add(args.seeds);
    let total = args.seeds.saturating_mul(profiles.len() as u64);
    let threads = args.jobs.map_or_else(pool::processors, usize::from);
    let names: Vec<&str> = profiles.iter().map(|p| p.name()).collect();
    if !voice.json {
        let seeds = count(args.seeds, "seed");
        voice.say(format_args!("{seeds} of {} from {from} on, {threads} at a time", names.join(", ")));
    }
    let mut progress = Progress::new(voice, Some(total));
    let (mut tally, mut found) = (Tally::default(), Vec::new());
    let items = profiles.iter().flat_map(|p| (from..until).map(|seed| (*p, seed)));
    pool::work(
        items,
        threads,
        |(p, seed)| swarm::run_with(p, seed, args.mutant),
        |outcome| {
            if let Some(outcome) = outcome {
                tally.add(&outcome);
                found.extend(Found::of(outcome, &known, &progress));
            }
            let broken = found.len();
            progress
                .at(tally.all.seeds, || format!("seeds, {} simulated, {broken} broken", time(tally.all.simulated_us)));
        },
    );
    progress.finish();
    let took = begun.elapsed();
    found.sort_by_key(|f| (f.outcome.profile, f.outcome.seed));
    if args.shrink && !stop::stopped() {
        shrink_all(&mut found, voice)?;
    }
    let known = found.iter().filter(|f| f.open.is_some()).count();
    let new = found.len() - known;
    tell(args, &found, voice)?;
    let interrupted = tally.all.seeds < total;
    if voice.json {
        voice.object(&summary_object(&tally, new, interrupted, took.as_millis() as u64))?;
    } else {
        voice.put(&summary(&tally))?;
        let rate = tally.all.seeds as f64 / took.as_secs_f64().max(1e-9) * 60.0;
        let holds = format!("{} of {} seeds held", tally.all.seeds - tally.all.broken, tally.all.seeds);
        let of_known = if known > 0 { format!(", {known} broke a rule as is known") } else { String::new() };
        let of_new = if new > 0 { show::good(false, &format!(", {new} BROKE A RULE")) } else { String::new() };
        let cut = if interrupted {
            format!("; ended by Ctrl-C before the other {}", total - tally.all.seeds)
        } else {
            String::new()
        };
        voice.put(&format!("\n{holds}{of_known}{of_new} in {} ({rate:.0} a minute){cut}\n", show::wall(took)))?;
    }
    Ok(if new > 0 {
        1
    } else if interrupted {
        INTERRUPTED
    } else {
        0
    })
}

/// What need not be reported as new.
fn known(args: &SwarmArgs) -> Result<Vec<corpus::Kept>, Error> {
    let Some(path) = &args.known else { return Ok(corpus::open()) };
    let parsed = corpus::parse(&read(path)?);
    Ok(parsed.map_err(|source| SimError::Known { path: path.clone(), source })?)
}

impl Found {
    /// Says so at once: the summary may be far away.
    fn of(outcome: Outcome, known: &[corpus::Kept], progress: &Progress) -> Option<Self> {
        let judged = outcome.judge(known);
        let (name, broken) = (outcome.target(), outcome.broken.clone());
        if judged == Judged::HeldAgain {
            progress.say(format_args!("{name} holds again: take it off the list of what is known"));
        }
        let broken = broken?;
        let open = if let Judged::Known(why) = judged { Some(why.to_owned()) } else { None };
        let known = if open.is_some() { " (known)" } else { "" };
        progress.say(format_args!("{name}{known}: {}", tame(&broken.text, 200)));
        Some(Self { outcome, broken, open, shrunk: None })
    }
    /// The file that it goes into.
    fn file(&self, dir: &std::path::Path) -> PathBuf {
        dir.join(format!("{}-{}.json", self.outcome.profile.name(), self.outcome.seed))
    }
    /// The run as a file, as small as it was made.
    fn schedule(&self) -> filch_sim::Schedule {
        let mut schedule = self.outcome.schedule();
        if let Some(small) = &self.shrunk {
            schedule.options = small.options.clone();
            schedule.about = format!("{}, shrunk: {}", self.outcome.target(), small.violation);
        }
        schedule
    }
}

/// The first new one of every rule.
fn shrink_all(found: &mut [Found], voice: Voice) -> Result<(), Error> {
    let mut rules = std::collections::BTreeSet::new();
    let firsts = found.iter_mut().filter(|f| f.open.is_none() && f.broken.rule != "panic");
    for f in firsts {
        if !rules.insert(f.broken.rule.clone()) {
            continue;
        }
        voice.say(format_args!("shrinking {}, at most {RUNS} runs", f.outcome.target()));
        let options = f.outcome.schedule().options;
        match stop::unless(move || shrink(&options, RUNS))? {
            Some(shrunk) => f.shrunk = shrunk,
            None => return Ok(()),
        }
    }
    Ok(())
}

fn tell(args: &SwarmArgs, found: &[Found], voice: Voice) -> Result<(), Error> {
    let planted = args.mutant.map_or(String::new(), |m| format!(" --mutant {}", mutants::name(m)));
    let mut told = std::collections::BTreeSet::new();
    for (n, f) in found.iter().enumerate() {
        let saved = match (&args.save, &f.open) {
            (Some(dir), None) => Some(f.file(dir)),
            _ => None,
        };
        let schedule = f.schedule();
        if let Some(path) = &saved {
            write(path, &schedule.to_text())?;
        }
        let replay = match &saved {
            Some(path) => format!("filch sim replay {}", path.display()),
            None => format!("filch sim replay {}{planted}", f.outcome.target()),
        };
        if voice.json {
            voice.object(&json!({ "violation": {
                "profile": f.outcome.profile, "seed": f.outcome.seed, "rule": f.broken.rule, "text": f.broken.text,
                "known": f.open, "replay": replay, "options": schedule.options,
                "story": f.shrunk.as_ref().map(|s| &s.timeline),
            }}))?;
            continue;
        }
        if n >= TOLD {
            voice.put(&format!("and {} more\n\n", found.len() - n))?;
            break;
        }
        if let Some(why) = &f.open {
            voice.put(&format!("known, still open: {}: {why}\n  {replay}\n\n", f.outcome.target()))?;
            continue;
        }
        let mut text = format!(
            "{} {}: {}\n  {replay}\n",
            show::good(false, "BROKEN"),
            f.outcome.target(),
            tame(&f.broken.text, 2_000)
        );
        // Everything that was drawn, once per rule: the others are only more of it.
        if told.insert(&f.broken.rule) {
            let small = if f.shrunk.is_some() { "what remains of it" } else { "what was drawn" };
            text.push_str(&format!("  {small}, where it differs from a calm LAN:\n"));
            text.extend(schedule.to_text().lines().map(|l| format!("    {l}\n")));
            text.extend(f.shrunk.iter().flat_map(|s| &s.timeline).map(|l| format!("  {l}\n")));
        }
        text.push('\n');
        voice.put(&text)?;
    }
    Ok(())
}

fn summary(tally: &Tally) -> String {
    let row = |name: &str, s: &Sums| {
        let hours = format!("{:.1}", s.simulated_us as f64 / 3.6e9);
        let counts = [s.events, s.executions, s.faults, s.skipped, s.broken].map(|n| n.to_string());
        [vec![name.to_owned(), s.seeds.to_string(), hours], counts.to_vec()].concat()
    };
    let heads = |first: &str| {
        let rest = ["SEEDS", "SIMULATED HOURS", "EVENTS", "EXECUTIONS", "FAULTS", "SKIPPED", "BROKEN"];
        let rest = rest.map(str::to_owned);
        [vec![first.to_owned()], rest.to_vec()].concat()
    };
    let mut rows = vec![heads("PROFILE")];
    rows.extend(tally.profiles.iter().map(|(p, s)| row(p.name(), s)));
    let mut text = table(&rows);
    let mut rows = vec![heads("FAULT CLASS")];
    rows.extend(tally.classes.iter().map(|(c, s)| row(c.map_or("none at all", |c| c.name()), s)));
    text.push('\n');
    text.push_str(&table(&rows));
    text
}

fn summary_object(tally: &Tally, new: usize, interrupted: bool, wall_ms: u64) -> serde_json::Value {
    let profiles: serde_json::Map<_, _> = tally.profiles.iter().map(|(p, s)| (p.name().to_owned(), json!(s))).collect();
    let classes: serde_json::Map<_, _> =
        tally.classes.iter().map(|(c, s)| (c.map_or("none", |c| c.name()).to_owned(), json!(s))).collect();
    json!({ "summary": {
        "seeds": tally.all.seeds, "broken": tally.all.broken, "new": new, "interrupted": interrupted, "wall_ms": wall_ms,
        "simulated_us": tally.all.simulated_us, "events": tally.all.events, "executions": tally.all.executions,
        "faults": tally.all.faults, "skipped": tally.all.skipped, "profiles": profiles, "classes": classes,
    }})
}
