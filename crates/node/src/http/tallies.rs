//! Results of divided tasks: what their parts counted in all, as one line of numbers on stdout.

use std::collections::BTreeMap;

use filch_core::Node;
use filch_core::view::Winner;
use filch_types::ranges::Range;
use filch_types::result::Stream;
use filch_types::{Content, JobId, Manifest, Outcome, ResultRun};

/// Tallies by task.
pub type Tallies = BTreeMap<u32, Vec<u64>>;

/// Winners as they can be shown: divided tasks that succeeded one by one, and only those whose tally is known here. A node that reads
/// along can know that a task is done before it knows all of its parts.
pub fn shown(node: &Node, job: JobId, manifest: &Manifest, winners: Vec<Winner>) -> (Vec<Winner>, Tallies) {
    let mut tallies = Tallies::new();
    if manifest.spec.groups.iter().all(|g| g.reduce().is_none()) {
        return (winners, tallies);
    }
    let mut out = Vec::with_capacity(winners.len());
    for w in winners {
        for tasks in by_kind(manifest, w.tasks) {
            let divisible = manifest.spec.locate(tasks.lo).is_some_and(|(_, g, _)| g.reduce().is_some());
            if !divisible || !w.success {
                out.push(Winner { tasks, ..w });
                continue;
            }
            for task in tasks.lo..tasks.hi {
                if let Some(tally) = node.tally(job, task) {
                    tallies.insert(task, tally);
                    out.push(Winner { tasks: Range::new(task, task + 1), ..w });
                }
            }
        }
    }
    (out, tallies)
}

/// The range, cut where groups begin.
fn by_kind(manifest: &Manifest, tasks: Range) -> Vec<Range> {
    let mut out = Vec::new();
    let mut at = tasks.lo;
    while at < tasks.hi {
        let group = manifest.spec.locate(at).map_or(tasks.hi, |(g, ..)| manifest.spec.group_range(g).hi);
        let hi = group.clamp(at.saturating_add(1), tasks.hi.max(at.saturating_add(1))).min(tasks.hi);
        out.push(Range::new(at, hi));
        at = hi;
    }
    out
}

/// Puts a task's tally into its result.
pub fn put(run: &mut ResultRun, winner: &Winner, tallies: &Tallies) {
    let Some(tally) = tallies.get(&run.lo) else { return };
    if let Outcome::Success(output) = &mut run.outcome {
        run.attempt = winner.attempt;
        let bytes = line(tally).into_bytes();
        output.stdout = Stream { total: bytes.len() as u64, kept: Content::Inline(bytes) };
    }
}

fn line(tally: &[u64]) -> String {
    let mut text = tally.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use filch_types::TaskOutput;

    #[test]
    fn a_tally_is_a_line_on_stdout() {
        let winner = |lo| Winner {
            tasks: Range::new(lo, lo + 1),
            pack: filch_types::FactId::default(),
            attempt: 9,
            success: true,
            is_final: true,
        };
        let tallies = Tallies::from([(3, vec![4_130_071, 3_305_118, 10])]);
        let mut run = ResultRun::one(3, 7, 1, Outcome::Success(TaskOutput::default()));
        put(&mut run, &winner(3), &tallies);
        let Content::Inline(bytes) = &run.outcome.output().stdout.kept else { panic!() };
        assert_eq!((str::from_utf8(bytes), run.attempt), (Ok("4130071 3305118 10\n"), 9));
        let mut other = ResultRun::one(4, 7, 1, Outcome::Success(TaskOutput::default()));
        put(&mut other, &winner(4), &tallies);
        assert_eq!(other.outcome.output().stdout.total, 0);
    }
}
