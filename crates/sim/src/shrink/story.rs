//! What happens in a run, in the few lines that a person can take in.

use crate::options::Options;
use crate::sim::Sim;

/// Most lines of a story.
pub const LINES: usize = 60;
/// Longest line, in characters.
const WIDTH: usize = 160;

/// The story of a run up to the rule that it breaks.
pub(super) fn tell(options: &Options) -> Vec<String> {
    let mut sim = Sim::new(options.clone());
    sim.world.trace_on();
    let _ = sim.run();
    let names: Vec<(String, String)> = sim
        .world
        .known
        .jobs
        .iter()
        .map(|(id, info)| {
            let name = info.plan.map_or("a job of nobody".to_owned(), |n| format!("job {n}"));
            (format!("{id:?}"), name)
        })
        .collect();
    let lines: Vec<&str> = sim.world.trace().collect();
    chosen(&lines).into_iter().map(|line| readable(line, &names)).collect()
}

/// The most important lines, in order; of lines as important as each other, the last ones.
fn chosen<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut keep: Vec<usize> = Vec::new();
    for weight in 0..=WEIGHTS {
        let room = LINES.saturating_sub(keep.len());
        let mut these: Vec<usize> = (0..lines.len()).filter(|n| weigh(lines[*n]) == Some(weight)).collect();
        keep.extend(these.split_off(these.len().saturating_sub(room)));
    }
    keep.sort_unstable();
    keep.into_iter().map(|n| lines[n]).collect()
}

const WEIGHTS: u8 = 3;

/// How much a line matters: 0 the most, `None` not at all.
fn weigh(line: &str) -> Option<u8> {
    let says = |words: &[&str]| words.iter().any(|w| line.contains(w));
    if says(&[
        "VIOLATION",
        " fault ",
        "faults end",
        " crashes",
        " starts, life",
        "resumes",
        "leaves for good",
        "loses blob",
        " submit ",
        " accepted ",
    ]) {
        return Some(0);
    }
    if says(&["steward of", "took back", " Revoke {", "is drained", "-> stole", "believed dead", " is now "]) {
        return Some(1);
    }
    if says(&["-> granted", "-> commit", "results of", "final:"]) {
        return Some(2);
    }
    says(&["-> launch", "<- finished", " runs "]).then_some(3)
}

fn readable(line: &str, names: &[(String, String)]) -> String {
    let mut line = line.to_owned();
    for (id, name) in names {
        line = line.replace(id, name);
    }
    match line.char_indices().nth(WIDTH) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}
