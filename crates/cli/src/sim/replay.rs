//! `filch sim replay`: one run again, of a file or of a seed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use filch_sim::schedule::{Ended, Replay};
use filch_sim::shrink::{RUNS, shrink};
use filch_sim::telling::{Line, tell};
use filch_sim::{Mutant, Options, Profile, Report, Schedule, Sim, mutants, svg};
use serde_json::json;

use super::error::{SimError, read, write};
use super::voice::Voice;
use super::{INTERRUPTED, show, stop};
use crate::error::Error;

/// Run a recorded schedule, or a seed, again
///
/// A schedule is a JSON file: what is needed to repeat a run, and how it ended. It is read only by the version that recorded it, unless it was recorded
/// without the digest of its events (then only how it ends is compared). `crates/sim/corpus` has those that once broke a rule.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch sim replay swarm:602566                            # the run that this profile and seed draw
  filch sim replay swarm:602566 --shrink                   # the smallest run that breaks the same rule, and its story
  filch sim replay crash:7 --timeline --svg crash.svg
  filch sim replay crash:7 --save crash.json --about 'why it is kept'
  filch sim replay crash.json
  filch sim replay swarm:3 --mutant ack-before-fsync       # with a planted bug

Exit codes: 0 it ended as recorded (a seed: every rule held), 1 not so, 2 the file makes no sense or another
version recorded it, 4 a file cannot be written, 130 ended by Ctrl-C")]
pub(super) struct ReplayArgs {
    /// A file, or PROFILE:SEED
    #[arg(value_name = "FILE|PROFILE:SEED")]
    target: String,
    /// Print every input and output of every node: the last 200,000 lines
    #[arg(long)]
    trace: bool,
    /// Draw a picture
    #[arg(long, value_name = "OUT")]
    svg: Option<PathBuf>,
    /// Tell what happened, in a few lines
    #[arg(long)]
    timeline: bool,
    /// If it breaks a rule: find the smallest run that does, and tell its story
    #[arg(long)]
    shrink: bool,
    /// Write it to this file, shrunk if so asked; without its digest, so that it outlives changes
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Why it is saved
    #[arg(long, value_name = "TEXT", requires = "save")]
    about: Option<String>,
    /// Keep the digest of all events in the saved file: then no other version reads it
    #[arg(long, requires = "save")]
    digest: bool,
    /// With this bug planted (`filch sim mutants` lists them)
    #[arg(long, value_name = "BUG", hide_possible_values = true, value_parser = planted())]
    mutant: Option<Mutant>,
}

pub(super) fn planted() -> impl TypedValueParser<Value = Mutant> {
    PossibleValuesParser::new(mutants::MUTANTS.map(mutants::name))
        .try_map(|name| mutants::named(&name).ok_or("no such bug"))
}

/// What is to be run.
struct Target {
    options: Options,
    /// Of a file: how it ended then.
    expected: Option<Ended>,
    about: String,
}

fn target(args: &ReplayArgs) -> Result<Target, SimError> {
    let path = Path::new(&args.target);
    let drawn = || {
        let (name, seed) = args.target.split_once(':')?;
        Some((Profile::named(name)?, seed.parse::<u64>().ok()?))
    };
    let mut target = match drawn() {
        Some((profile, seed)) => {
            let drawn = Options::draw(profile, seed);
            let options = args.mutant.map_or(drawn.clone(), |m| mutants::stage(m, drawn));
            Target { options, expected: None, about: args.target.clone() }
        }
        None if !path.exists() && args.target.contains(':') => return Err(SimError::Target(args.target.clone())),
        None => {
            let schedule =
                Schedule::parse(&read(path)?).map_err(|source| SimError::Schedule { path: path.to_owned(), source })?;
            Target { options: schedule.options, expected: Some(schedule.ended), about: schedule.about }
        }
    };
    if args.mutant.is_some() {
        target.options.mutant = args.mutant;
        target.expected = None;
    }
    Ok(target)
}

pub(super) fn run(args: ReplayArgs, voice: Voice) -> Result<u8, Error> {
    let mut target = target(&args)?;
    let mut story = None;
    if args.shrink {
        voice.say(format_args!("looking for the smallest run that breaks the same rule, at most {RUNS} runs"));
        let options = target.options.clone();
        let Some(small) = stop::unless(move || shrink(&options, RUNS))? else { return interrupted(voice) };
        match small {
            None => voice.say("no rule breaks: there is nothing to shrink"),
            Some(small) => {
                target.about = format!("{}, shrunk", target.about);
                (target.options, story) = (small.options, Some(small.timeline));
                // It is another run now.
                target.expected.iter_mut().for_each(|e| e.digest = None);
            }
        }
    }
    let begun = Instant::now();
    let (options, keep) = (target.options.clone(), Keep::of(&args, &target));
    let Some(done) = stop::unless(move || keep.simulate(options))? else { return interrupted(voice) };
    let took = begun.elapsed();
    if let Some(path) = &args.save {
        save(path, &args, target, &done, voice)?;
    }
    tell_all(&args, done, story, took, voice)
}

fn interrupted(voice: Voice) -> Result<u8, Error> {
    voice.say("ended by Ctrl-C");
    Ok(INTERRUPTED)
}

/// What is to be kept of a run besides its report.
struct Keep {
    trace: bool,
    timeline: bool,
    /// The picture's title.
    svg: Option<String>,
    expected: Option<Ended>,
}

/// A run that has ended. A world cannot leave its thread.
struct Done {
    report: Report,
    /// Somebody said before how it would end.
    recorded: bool,
    replay: Replay,
    trace: Vec<String>,
    timeline: Vec<Line>,
    svg: Option<String>,
}

impl Keep {
    fn of(args: &ReplayArgs, target: &Target) -> Self {
        let title = target.about.chars().take(100).collect();
        Self {
            trace: args.trace,
            timeline: args.timeline,
            svg: args.svg.is_some().then_some(title),
            expected: target.expected.clone(),
        }
    }

    fn simulate(self, options: Options) -> Done {
        let mut sim = Sim::new(options);
        if self.trace {
            sim.world.trace_on();
        }
        if self.timeline || self.svg.is_some() {
            sim.world.chronicle_on();
        }
        // The world keeps what it broke.
        let _ = sim.run();
        let world = &sim.world;
        Done {
            report: Report::of(world),
            recorded: self.expected.is_some(),
            replay: Replay::of(self.expected.unwrap_or_default(), &sim),
            trace: world.trace().map(str::to_owned).collect(),
            timeline: if self.timeline { tell(world, show::LINES) } else { Vec::new() },
            svg: self.svg.map(|title| svg::render(world, &title)),
        }
    }
}

fn save(path: &Path, args: &ReplayArgs, target: Target, done: &Done, voice: Voice) -> Result<(), SimError> {
    let about = args.about.as_ref().unwrap_or(&target.about);
    let mut schedule = Schedule::of(about, target.options, done.replay.ended.clone());
    if !args.digest {
        schedule = schedule.without_digest();
    }
    write(path, &schedule.to_text())?;
    voice.say(format_args!("the run is in {}", path.display()));
    Ok(())
}

fn tell_all(
    args: &ReplayArgs,
    done: Done,
    story: Option<Vec<String>>,
    took: Duration,
    voice: Voice,
) -> Result<u8, Error> {
    if let (Some(out), Some(svg)) = (&args.svg, &done.svg) {
        write(out, svg)?;
        voice.say(format_args!("the picture is in {}", out.display()));
    }
    let held = done.replay.as_recorded();
    if voice.json {
        done.trace.iter().try_for_each(|line| voice.object(&json!({ "trace": line })))?;
        let mut front = vec![
            ("run", json!(args.target)),
            ("as_expected", json!(held)),
            ("recorded", json!(done.recorded.then_some(&done.replay.expected))),
            ("wall_ms", json!(took.as_millis() as u64)),
        ];
        if args.timeline {
            front.push(("timeline", json!(done.timeline)));
        }
        front.extend(story.map(|s| ("story", json!(s))));
        voice.object(&show::object(&done.report, front))?;
    } else {
        let mut text: String = done.trace.iter().flat_map(|line| [line, "\n"]).collect();
        let verdict = match (&done.replay.ended.broke, done.recorded) {
            (None, false) => "every rule held".to_owned(),
            (Some(rule), false) => format!("{rule} broke"),
            (_, true) => done.replay.to_string().lines().next().unwrap_or_default().to_owned(),
        };
        text.push_str(&format!("\x1b[1m{}\x1b[0m: {}\n\n", args.target, show::good(held, &verdict)));
        if args.timeline {
            text.push_str(&show::timeline(&done.timeline));
            text.push('\n');
        }
        if let Some(story) = story {
            text.extend(story.iter().map(|l| format!("{l}\n")));
            text.push('\n');
        }
        text.push_str(&show::report(&done.report, took));
        voice.put(&text)?;
    }
    Ok(u8::from(!held))
}
