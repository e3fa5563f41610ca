//! `filch sim mutants`: do the oracles bite?

use std::time::Instant;

use clap::Args;
use clap::builder::PossibleValuesParser;
use filch_sim::Mutant;
use filch_sim::mutants::{Caught, MUTANTS, about, catch_while, name};
use serde_json::json;

use super::progress::Progress;
use super::voice::Voice;
use super::{INTERRUPTED, pool, show, stop};
use crate::error::Error;
use crate::render::table::table;
use crate::render::words::{count, tame};

/// Plant bugs into the protocol one by one, and see whether the rules notice
///
/// Each bug is run with seed after seed of the profile that shows it soonest, until a rule of the protocol breaks that holds without
/// the bug. A bug that is not caught means that the checks prove less than they seem to.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch sim mutants
  filch sim mutants --seeds 50 ack-before-fsync steal-both-keep
  filch sim mutants --json | jq 'select(.caught == null)'

Exit codes: 0 all are caught, 1 one is not, 2 usage, 130 ended by Ctrl-C")]
pub(super) struct MutantsArgs {
    /// Which [default: all]
    #[arg(value_name = "BUG", hide_possible_values = true, value_parser = PossibleValuesParser::new(MUTANTS.map(name)))]
    bugs: Vec<String>,
    /// Seeds until a bug counts as not caught
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seeds: u64,
    /// So many at a time [default: the number of processors]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    jobs: Option<u16>,
}

/// What came of one.
struct Tried {
    mutant: Mutant,
    caught: Option<Caught>,
    /// Ctrl-C came first.
    unfinished: bool,
}

pub(super) fn run(args: &MutantsArgs, voice: Voice) -> Result<u8, Error> {
    let begun = Instant::now();
    let asked = |m: &Mutant| args.bugs.is_empty() || args.bugs.iter().any(|b| b == name(*m));
    let bugs: Vec<Mutant> = MUTANTS.into_iter().filter(asked).collect();
    let threads = args.jobs.map_or_else(pool::processors, usize::from);
    let mut progress = Progress::new(voice, Some(bugs.len() as u64));
    let mut tried: Vec<Tried> = Vec::new();
    let one = |mutant| {
        let caught = catch_while(mutant, args.seeds, || !stop::stopped());
        Tried { mutant, unfinished: caught.is_none() && stop::stopped(), caught }
    };
    pool::work(bugs.iter().copied(), threads, one, |done| {
        tried.extend(done);
        progress.at(tried.len() as u64, || "bugs".into());
    });
    progress.finish();
    tried.sort_by_key(|t| bugs.iter().position(|m| *m == t.mutant));
    let caught = tried.iter().filter(|t| t.caught.is_some()).count();
    let missed = tried.iter().filter(|t| t.caught.is_none() && !t.unfinished).count();
    if voice.json {
        tried.iter().try_for_each(|t| voice.object(&object(t)))?;
    } else {
        voice.put(&text(&tried))?;
        let ended = bugs.len() - caught - missed;
        let missed = if missed > 0 { show::good(false, &format!(", {missed} NOT CAUGHT")) } else { String::new() };
        let ended = if ended > 0 { format!("; ended by Ctrl-C before the other {ended} were") } else { String::new() };
        voice.put(&format!(
            "\n{caught} of {} caught{missed} within {} in {}{ended}\n",
            count(bugs.len() as u64, "bug"),
            count(args.seeds, "run"),
            show::wall(begun.elapsed())
        ))?;
    }
    Ok(if missed > 0 {
        1
    } else if caught < bugs.len() {
        INTERRUPTED
    } else {
        0
    })
}

fn replay(mutant: Mutant, c: &Caught) -> String {
    format!("{}:{} --mutant {}", c.profile.name(), c.seed, name(mutant))
}

fn text(tried: &[Tried]) -> String {
    let heads = ["BUG", "WHAT IT DOES", "GOES AGAINST", "CAUGHT BY", "AFTER RUNS", "filch sim replay"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for t in tried {
        let bug = about(t.mutant);
        let mut row = [bug.name, bug.what, bug.rule].map(str::to_owned).to_vec();
        match &t.caught {
            Some(c) => row.extend([c.rule.to_owned(), c.runs.to_string(), replay(t.mutant, c)]),
            None if t.unfinished => row.push("?".into()),
            None => row.push("NOTHING".into()),
        }
        rows.push(row);
    }
    table(&rows).replace("NOTHING", &show::good(false, "NOTHING"))
}

fn object(t: &Tried) -> serde_json::Value {
    let bug = about(t.mutant);
    let caught = t.caught.as_ref().map(|c| {
        json!({ "rule": c.rule, "profile": c.profile, "seed": c.seed, "runs": c.runs, "text": tame(&c.text, 2_000),
            "replay": format!("filch sim replay {}", replay(t.mutant, c)) })
    });
    json!({ "bug": bug.name, "what": bug.what, "goes_against": bug.rule, "caught": caught, "unfinished": t.unfinished })
}
