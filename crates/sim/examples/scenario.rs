//! Runs scenario files and prints what came of each: `scenario [--seeds N] [--nodes N] [--svg DIRECTORY] FILE…`. With seeds: how the
//! figures spread, which is what expectations are set by. Ends with 0 if all went as expected, 1 if not, 2 if a file cannot be read or
//! makes no sense.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use filch_sim::report::Report;
use filch_sim::{Scenario, svg};

fn print(path: &str, r: &Report) {
    println!("{path}: {}", if r.held() { "as expected" } else { "NOT as expected" });
    for c in &r.checks {
        println!("    {} {}: wanted {}, got {}", if c.held { "ok " } else { "NOT" }, c.what, c.wanted, c.got);
    }
    println!(
        "    {:.1} s, {} executions ({} again), {} stolen, {} copied, {:.1} % efficiency, {:.2} messages a task, {} faults, {} events",
        r.took_us as f64 / 1e6,
        r.executions,
        r.redone,
        r.stolen,
        r.copied,
        100.0 * r.efficiency,
        r.messages_per_task,
        r.faults,
        r.events
    );
    r.violation.iter().for_each(|v| println!("    BROKEN {v}"));
    r.unfinished.iter().for_each(|u| println!("    unfinished: {u}"));
}

/// A figure and its name.
type Figure = (&'static str, fn(&Report) -> f64);

/// Least, median and largest of a figure.
fn spread(reports: &[Report], figure: impl Fn(&Report) -> f64) -> String {
    let mut all: Vec<f64> = reports.iter().map(figure).collect();
    all.sort_by(f64::total_cmp);
    let at = |n: usize| all.get(n).copied().unwrap_or(0.0);
    format!("{:>9.2} {:>9.2} {:>9.2}", at(0), at(all.len() / 2), at(all.len().saturating_sub(1)))
}

fn print_spread(path: &str, reports: &[Report]) {
    let held = reports.iter().filter(|r| r.held()).count();
    println!(
        "{path}: {held} of {} seeds as expected\n    {:24}{:>9} {:>9} {:>9}",
        reports.len(),
        "",
        "least",
        "median",
        "most"
    );
    for r in reports.iter().filter(|r| !r.held()) {
        print(&format!("    seed {}", r.seed), r);
    }
    let figures: [Figure; 12] = [
        ("seconds", |r| r.took_us as f64 / 1e6),
        ("executions", |r| r.executions as f64),
        ("again", |r| r.redone as f64),
        ("died with their node", |r| r.lost as f64),
        ("stolen", |r| r.stolen as f64),
        ("taken back", |r| r.reclaimed as f64),
        ("copied", |r| r.copied as f64),
        ("done first by a copy", |r| r.copies_won as f64),
        ("efficiency, %", |r| r.efficiency * 100.0),
        ("busy, %", |r| r.busy * 100.0),
        ("messages a task", |r| r.messages_per_task),
        ("faults", |r| r.faults as f64),
    ];
    for (name, figure) in figures {
        println!("    {name:24}{}", spread(reports, figure));
    }
    let slowdown = |r: &Report| r.checks.iter().find(|c| c.what == "slowdown").and_then(|c| c.got.parse().ok());
    if reports.iter().any(|r| slowdown(r).is_some()) {
        println!("    {:24}{}", "slowdown", spread(reports, |r| slowdown(r).unwrap_or(f64::NAN)));
    }
}

#[derive(Default)]
struct Asked {
    seeds: Option<u64>,
    nodes: Option<usize>,
    svg: Option<PathBuf>,
    files: Vec<String>,
}

fn asked() -> Result<Asked, String> {
    let mut asked = Asked::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
        match arg.as_str() {
            "--seeds" => asked.seeds = Some(number(value()?)?),
            "--nodes" => asked.nodes = Some(number(value()?)? as usize),
            "--svg" => asked.svg = Some(value()?.into()),
            _ => asked.files.push(arg),
        }
    }
    Ok(asked)
}

fn run(path: &str, asked: &Asked) -> Result<bool, String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let explain = |e: filch_sim::scenario::Invalid| format!("{e}; {}", e.hint.as_deref().unwrap_or(""));
    let scenario = Scenario::parse(&text).map_err(explain)?;
    let start = |seed| scenario.start(seed, asked.nodes).map_err(explain);
    if let Some(seeds) = asked.seeds {
        let reports = (1..=seeds).map(|s| Ok(start(Some(s))?.finish())).collect::<Result<Vec<_>, String>>()?;
        print_spread(path, &reports);
        return Ok(reports.iter().all(Report::held));
    }
    let mut running = start(None)?;
    if asked.svg.is_some() {
        running.sim.world.chronicle_on();
    }
    while running.advance() {}
    if let Some(folder) = &asked.svg {
        let name = Path::new(path).file_stem().map_or_else(|| path.into(), |n| n.to_string_lossy());
        let picture = svg::render(&running.sim.world, &name);
        std::fs::write(folder.join(format!("{name}.svg")), picture).map_err(|e| e.to_string())?;
    }
    let report = running.report();
    print(path, &report);
    Ok(report.held())
}

fn main() -> ExitCode {
    let asked = match asked() {
        Ok(asked) => asked,
        Err(why) => {
            println!("{why}");
            return ExitCode::from(2);
        }
    };
    let (mut held, mut usable) = (true, true);
    for path in &asked.files {
        match run(path, &asked) {
            Ok(ok) => held &= ok,
            Err(why) => {
                println!("{path}: {why}");
                usable = false;
            }
        }
    }
    ExitCode::from(if !usable { 2 } else { u8::from(!held) })
}
