//! `filch sim run`: scenario files.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use filch_sim::telling::{Line, tell};
use filch_sim::{Report, Scenario, World, svg};
use serde_json::json;

use super::error::{SimError, read, write};
use super::progress::Progress;
use super::quantity::time;
use super::voice::Voice;
use super::{INTERRUPTED, pool, show, stop};
use crate::error::Error;
use crate::render::table::table;

/// Run scenario files and compare what happens with what they expect
///
/// A scenario is a TOML file: a cluster, its network and disks, a load, faults, and what must be true in the end. `simulations/` has
/// some, and a README with every key. That no rule of the protocol breaks is always expected. The same seed gives the same run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch sim run simulations/steal-storm.toml
  filch sim run simulations/*.toml                         # all, on all processors
  filch sim run simulations/partition-and-heal.toml --svg split.svg --timeline
  filch sim run simulations/stragglers.toml --seed 7 --nodes 30 --json | jq .efficiency

Exit codes: 0 as expected, 1 not so, 2 a file makes no sense, 4 the picture cannot be written,
130 ended by Ctrl-C")]
pub(super) struct RunArgs {
    /// Scenario files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// All randomness [default: the file's, or 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// So many nodes instead of `cluster.nodes`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    nodes: Option<u32>,
    /// Print every input and output of every node: the last 200,000 lines
    #[arg(long)]
    trace: bool,
    /// Draw a picture: nodes as rows, attempts as bars, steals as arrows, faults as marks. With several files a directory
    #[arg(long, value_name = "OUT")]
    svg: Option<PathBuf>,
    /// Tell what happened, in a few lines
    #[arg(long)]
    timeline: bool,
}

/// A run that has ended, or was ended.
struct Ran {
    place: usize,
    report: Report,
    took: Duration,
    interrupted: bool,
    trace: Vec<String>,
    timeline: Vec<Line>,
    svg: Option<String>,
}

pub(super) fn run(args: &RunArgs, voice: Voice) -> Result<u8, Error> {
    let scenarios = parse(args)?;
    let several = scenarios.len() > 1;
    let mut progress = Progress::new(voice, several.then_some(scenarios.len() as u64));
    let mut all: Vec<Ran> = Vec::new();
    if several {
        let items = scenarios.iter().enumerate();
        pool::work(
            items,
            pool::processors(),
            |(n, s)| simulate(args, n, s, |_| ()),
            |done| {
                all.extend(done);
                progress.at(all.len() as u64, || "scenarios".into());
            },
        );
        all.sort_by_key(|r| r.place);
    } else {
        for (n, s) in scenarios.iter().enumerate() {
            all.push(simulate(args, n, s, |w| progress.at(0, || state(w))));
        }
    }
    progress.finish();
    let missing = scenarios.len() - all.len();
    for ran in &all {
        tell_one(args, &scenarios[ran.place], ran, several, voice)?;
    }
    if several && !voice.json {
        voice.put(&overview(args, &all))?;
    }
    if missing > 0 {
        voice.say(format_args!("{missing} of {} files were not run", scenarios.len()));
    }
    let interrupted = missing > 0 || all.iter().any(|r| r.interrupted);
    // What was ended before its time has not failed by itself.
    let failed = all.iter().any(|r| if r.interrupted { r.report.violation.is_some() } else { !r.report.held() });
    Ok(if failed {
        1
    } else if interrupted {
        INTERRUPTED
    } else {
        0
    })
}

/// Reads all of them before any of them runs.
fn parse(args: &RunArgs) -> Result<Vec<Scenario>, SimError> {
    let one = |path: &PathBuf| {
        let invalid = |source| SimError::Scenario { path: path.clone(), source };
        let scenario = Scenario::parse(&read(path)?).map_err(invalid)?;
        scenario.options(args.seed, args.nodes.map(|n| n as usize)).map_err(invalid)?;
        Ok(scenario)
    };
    args.files.iter().map(one).collect()
}

fn simulate(args: &RunArgs, place: usize, scenario: &Scenario, mut look: impl FnMut(&World)) -> Ran {
    let begun = Instant::now();
    let running = scenario.start(args.seed, args.nodes.map(|n| n as usize));
    let Ok(mut running) = running else {
        // These options were checked before.
        unreachable!("options are drawn the same way every time")
    };
    let world = &mut running.sim.world;
    if args.trace {
        world.trace_on();
    }
    if args.svg.is_some() || args.timeline {
        world.chronicle_on();
    }
    let mut interrupted = false;
    while running.advance() {
        look(&running.sim.world);
        interrupted = stop::stopped();
        if interrupted {
            break;
        }
    }
    let mut report = running.report();
    if interrupted {
        report.unfinished = Some(format!("ended by Ctrl-C after {} of virtual time", time(report.simulated_us)));
    }
    let world = &running.sim.world;
    let title = name(&args.files[place]);
    Ran {
        place,
        report,
        took: begun.elapsed(),
        interrupted,
        trace: world.trace().map(str::to_owned).collect(),
        timeline: if args.timeline { tell(world, show::LINES) } else { Vec::new() },
        svg: args.svg.is_some().then(|| svg::render(world, &title)),
    }
}

fn name(path: &Path) -> String {
    path.file_stem().map_or_else(|| path.display().to_string(), |s| s.to_string_lossy().into_owned())
}

/// How far a run is.
fn state(w: &World) -> String {
    let tasks: u64 = w.options.jobs.iter().map(|j| u64::from(j.total())).sum();
    let done = w.history.finished.min(tasks);
    format!(
        "{} of virtual time, {done} of {tasks} tasks, {} of {} faults",
        time(w.now),
        w.stats.faults,
        w.options.faults.len()
    )
}

/// Everything about one file; of several that went well only a row of the overview.
fn tell_one(args: &RunArgs, scenario: &Scenario, ran: &Ran, several: bool, voice: Voice) -> Result<(), Error> {
    let path = &args.files[ran.place];
    let out = args.svg.as_ref().map(|out| if several { out.join(format!("{}.svg", name(path))) } else { out.clone() });
    if let (Some(out), Some(svg)) = (&out, &ran.svg) {
        write(out, svg)?;
        voice.say(format_args!("the picture is in {}", out.display()));
    }
    let r = &ran.report;
    if voice.json {
        ran.trace.iter().try_for_each(|line| voice.object(&json!({ "trace": line })))?;
        let mut front = vec![
            ("file", json!(path.display().to_string())),
            ("as_expected", json!(r.held())),
            ("interrupted", json!(ran.interrupted)),
            ("wall_ms", json!(ran.took.as_millis() as u64)),
        ];
        front.extend(out.map(|out| ("svg", json!(out.display().to_string()))));
        if args.timeline {
            front.push(("timeline", json!(ran.timeline)));
        }
        return Ok(voice.object(&show::object(r, front))?);
    }
    let mut text: String = ran.trace.iter().flat_map(|line| [line, "\n"]).collect();
    if !several || !r.held() || args.timeline {
        text.push_str(&format!("\x1b[1m{}\x1b[0m, seed {}: {}\n", path.display(), r.seed, verdict(ran)));
        if !several {
            text.extend(scenario.about().lines().map(|l| format!("  {l}\n")));
        }
        text.push('\n');
        if args.timeline {
            text.push_str(&show::timeline(&ran.timeline));
            text.push('\n');
        }
        if !several || !r.held() {
            text.push_str(&show::report(r, ran.took));
            text.push_str(if several { "\n" } else { "" });
        }
    }
    Ok(voice.put(&text)?)
}

fn verdict(ran: &Ran) -> String {
    match (ran.report.held(), ran.interrupted) {
        (_, true) => "ended by Ctrl-C".into(),
        (true, _) => show::good(true, "as expected"),
        (false, _) => show::good(false, "NOT as expected"),
    }
}

fn overview(args: &RunArgs, all: &[Ran]) -> String {
    let heads = [
        "SCENARIO",
        "AS EXPECTED",
        "TOOK",
        "TASKS",
        "AGAIN",
        "STOLEN",
        "FAULTS",
        "SLOTS USED",
        "MESSAGES/TASK",
        "REAL TIME",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for ran in all {
        let r = &ran.report;
        let held = r.checks.iter().filter(|c| c.held).count();
        let verdict = match (r.held(), ran.interrupted) {
            (_, true) => "ended".into(),
            (true, _) => format!("yes, {held} of {held}"),
            (false, _) if r.violation.is_some() => "NO, a rule broke".into(),
            (false, _) if r.unfinished.is_some() => "NO, not finished".into(),
            (false, _) => format!("NO, {held} of {}", r.checks.len()),
        };
        rows.push(vec![
            name(&args.files[ran.place]),
            verdict,
            time(r.took_us),
            r.tasks.to_string(),
            r.redone.to_string(),
            r.stolen.to_string(),
            r.faults.to_string(),
            show::percent(r.efficiency),
            format!("{:.2}", r.messages_per_task),
            show::wall(ran.took),
        ]);
    }
    table(&rows)
}
