//! Runs scenario files and prints what came of each: `scenario FILE…`. Ends with 0 if all went as expected, 1 if not, 2 if a file
//! cannot be read or makes no sense.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use filch_sim::Scenario;
use filch_sim::report::Report;

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

fn run(path: &str) -> Result<bool, String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let started = Scenario::parse(&text).and_then(|s| s.start(None, None));
    let report = started.map_err(|e| format!("{e}; {}", e.hint.as_deref().unwrap_or("")))?.finish();
    print(path, &report);
    Ok(report.held())
}

fn main() -> ExitCode {
    let (mut held, mut usable) = (true, true);
    for path in std::env::args().skip(1) {
        match run(&path) {
            Ok(ok) => held &= ok,
            Err(why) => {
                println!("{path}: {why}");
                usable = false;
            }
        }
    }
    ExitCode::from(if !usable { 2 } else { u8::from(!held) })
}
