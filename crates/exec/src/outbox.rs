//! Results on their way out of a slot: equal ones are joined, and none waits longer than about 10 ms.

use std::time::{Duration, Instant};

use filch_types::ResultRun;
use filch_types::limits;
use filch_types::ranges::Range;

use crate::batch::Report;

/// How long a result may wait for company.
pub(crate) const MAX_WAIT: Duration = Duration::from_millis(10);
/// Runs in one report.
const MAX_RUNS: usize = 64;

/// Who gets the reports.
pub(crate) type Sink = Box<dyn Fn(Report) + Send + Sync>;

/// Unreported results of one slot's batch. Reports leave under its lock, so they keep their order.
#[derive(Default)]
pub(crate) struct Outbox {
    launch: u64,
    runs: Vec<ResultRun>,
    /// Time of the last run in nanoseconds: microseconds of single no-ops would all round to nothing.
    nanos: u128,
    bytes: usize,
    since: Option<Instant>,
}

impl Outbox {
    /// Adds a result. `took` is its time; true if it is the first one waiting, so that somebody must see to it.
    pub(crate) fn push(&mut self, launch: u64, mut run: ResultRun, took: Duration, now: Instant, sink: &Sink) -> bool {
        if launch != self.launch {
            self.flush(sink);
            self.launch = launch;
        }
        match self.runs.last_mut() {
            Some(last) if last.continues(&run) => {
                last.count += 1;
                self.nanos += took.as_nanos();
                last.wall_us = micros(self.nanos);
            }
            _ => {
                self.nanos = took.as_nanos();
                run.wall_us = micros(self.nanos);
                self.bytes += run.outcome.output().inline_len();
                self.runs.push(run);
            }
        }
        let first = self.since.is_none();
        let since = *self.since.get_or_insert(now);
        if self.runs.len() >= MAX_RUNS || self.bytes >= limits::PACK_BYTES || now - since >= MAX_WAIT {
            self.flush(sink);
            return false;
        }
        first
    }

    /// Reports what waits; then that these tasks were not executed.
    pub(crate) fn bounce(&mut self, launch: u64, tasks: Range, why: String, sink: &Sink) {
        self.flush(sink);
        if !tasks.is_empty() {
            sink(Report::Bounced { launch, tasks, why });
        }
    }

    /// Reports what waits.
    pub(crate) fn flush(&mut self, sink: &Sink) {
        self.since = None;
        self.bytes = 0;
        if !self.runs.is_empty() {
            sink(Report::Finished { launch: self.launch, runs: std::mem::take(&mut self.runs) });
        }
    }

    /// Reports what has waited long enough; whether something still waits.
    pub(crate) fn flush_due(&mut self, now: Instant, sink: &Sink) -> bool {
        match self.since {
            Some(since) if now.saturating_duration_since(since) < MAX_WAIT => true,
            Some(_) => {
                self.flush(sink);
                false
            }
            None => false,
        }
    }
}

fn micros(nanos: u128) -> u64 {
    u64::try_from(nanos / 1000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use filch_types::{Cause, Outcome, TaskOutput};

    fn ok(i: u32) -> ResultRun {
        ResultRun::one(i, 1, 0, Outcome::Success(TaskOutput::default()))
    }

    #[test]
    fn joins_equal_neighbours_and_keeps_order() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let to = seen.clone();
        let sink: Sink = Box::new(move |r| to.lock().unwrap().push(r));
        let mut out = Outbox::default();
        let now = Instant::now();
        let took = Duration::from_nanos(400);
        assert!(out.push(7, ok(0), took, now, &sink));
        for i in 1..1000 {
            assert!(!out.push(7, ok(i), took, now, &sink));
        }
        let failed = Outcome::Failed(Cause::Exit(1), TaskOutput::default());
        out.push(7, ResultRun::one(1000, 1, 0, failed), took, now, &sink);
        assert!(seen.lock().unwrap().is_empty());
        assert!(out.flush_due(now, &sink), "still waiting");
        out.bounce(7, Range::new(1001, 1005), "stopped".into(), &sink);
        assert!(!out.flush_due(now + MAX_WAIT, &sink));
        let seen = seen.lock().unwrap();
        let Report::Finished { launch: 7, runs } = &seen[0] else { panic!("{seen:?}") };
        assert_eq!(runs.len(), 2);
        assert_eq!((runs[0].count, runs[0].wall_us), (1000, 400));
        assert!(matches!(&seen[1], Report::Bounced { launch: 7, tasks, .. } if *tasks == Range::new(1001, 1005)));
    }
}
