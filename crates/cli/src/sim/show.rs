//! A run as a table for people, and as an object for programs.

use std::time::Duration;

use filch_sim::Report;
use filch_sim::report::Check;
use filch_sim::telling::Line;
use serde_json::{Map, Value};

use super::quantity::time;
use crate::render::table::table;
use crate::render::words::{count, tame};

/// Lines of a timeline.
pub(super) const LINES: usize = 60;
/// Longest line of one.
const WIDTH: usize = 200;

/// `key  value` lines, the keys in bold.
pub(super) fn facts(pairs: &[(&str, String)]) -> String {
    let wide = pairs.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    pairs.iter().map(|(key, value)| format!("  \x1b[1m{key:wide$}\x1b[0m  {value}\n")).collect()
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

pub(super) fn good(ok: bool, text: &str) -> String {
    format!("\x1b[{}m{text}\x1b[0m", if ok { "32" } else { "31;1" })
}

/// `1.3 s`.
pub(super) fn wall(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

/// All about one run.
pub(super) fn report(r: &Report, took: Duration) -> String {
    let mut out = checks(&r.checks);
    let rules = match &r.violation {
        None => format!("{} checked, none broken", r.rules.len()),
        Some(v) => good(false, &format!("BROKEN {v}")),
    };
    let jobs = match r.jobs.as_slice() {
        [one] => one.state.to_owned(),
        many => {
            let ended = many.iter().filter(|j| j.ended_us.is_some()).count();
            format!("{ended} of {} ended", many.len())
        }
    };
    let mut pairs = vec![
        ("rules", rules),
        ("cluster", format!("{}, {}", count(r.nodes as u64, "node"), count(r.slots, "slot"))),
        ("jobs", format!("{jobs}; {}, {} failed", count(r.tasks, "task"), r.failed)),
        ("executions", format!("{}, {} of them again, {} lost with their node", r.executions, r.redone, r.lost)),
        ("moved", format!("{} stolen, {} taken back", count(r.stolen, "task"), r.reclaimed)),
        ("faults", r.faults.to_string()),
        ("messages", format!("{}, {:.2} a task", r.messages, r.messages_per_task)),
        (
            "slots",
            format!("{} of their time went into results, {} into executions", percent(r.efficiency), percent(r.busy)),
        ),
        ("took", format!("{} from the first submit to the end of the last job", time(r.took_us))),
        ("simulated", format!("{} in {}: {}", time(r.simulated_us), wall(took), count(r.events, "event"))),
        ("digest", r.digest.clone()),
    ];
    if let Some(open) = &r.unfinished {
        pairs.insert(0, ("unfinished", good(false, &tame(open, 400))));
    }
    out.push_str(&facts(&pairs));
    out
}

/// What was expected and what came of it.
pub(super) fn checks(checks: &[Check]) -> String {
    if checks.is_empty() {
        return String::new();
    }
    let mut rows = vec![["", "EXPECTED", "", "GOT"].map(str::to_owned).to_vec()];
    for c in checks {
        let mark = if c.held { "  ok" } else { "  NOT" };
        rows.push(vec![mark.into(), c.what.clone(), c.wanted.clone(), c.got.clone()]);
    }
    // Colours would count as width: they come last.
    table(&rows).replace("  NOT", &format!("  {}", good(false, "NOT"))) + "\n"
}

/// Times and what happened then.
pub(super) fn timeline(lines: &[Line]) -> String {
    lines.iter().map(|l| format!("{:>12.3} s  {}\n", l.at_us as f64 / 1e6, tame(&l.what, WIDTH))).collect()
}

/// The report as an object, with more in front of it.
pub(super) fn object(r: &Report, front: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let mut map: Map<String, Value> = front.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    if let Ok(Value::Object(rest)) = serde_json::to_value(r) {
        map.extend(rest);
    }
    Value::Object(map)
}
