//! A node that stops without dying, as a laptop that sleeps does: SIGSTOP for a minute (`FILCH_TEST_PAUSE` seconds).
#![allow(missing_docs)]

mod harness;

use std::time::{Duration, Instant};

use harness::cluster::job_id;
use harness::{Cluster, LONG, check, files_arrive, numbered, until};
use rustix::process::Signal;

fn pause() -> Duration {
    let seconds = std::env::var("FILCH_TEST_PAUSE").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    Duration::from_secs(seconds)
}

const TASK: &str = r#"echo $FILCH_INDEX >> "$1"; sleep 0.1; echo "result of $FILCH_INDEX" > "$2""#;

/// Stops node `who` in the middle of a job of node 0 and lets it go on after a minute.
fn silence(who: usize) {
    let c = Cluster::start(3);
    let marks = c.path("ran");
    let args = ["submit", "--array", "1-120", "-o", "out/{#}", "--", "sh", "-c", TASK, "_"];
    let id = job_id(&c.filch(args).arg(&marks).arg("{out}").run().ok());
    until("it works", LONG, || {
        let done = c.nodes[who].info()?.counters.finished;
        check(done >= 2, done)
    });
    c.nodes[who].signal(Signal::STOP);
    let stopped = Instant::now();
    let others: Vec<_> = (0..3).filter(|n| *n != who).collect();
    for n in &others {
        // The others finish without it, long before it comes back.
        let d = c.nodes[*n].succeeded(&id, LONG);
        assert_eq!(d.summary.counts.succeeded, 120);
        until("it is given up", LONG, || {
            let seen = c.nodes[*n].sees()?;
            check(seen.len() == 1, seen)
        });
    }
    std::thread::sleep(pause().saturating_sub(stopped.elapsed())); // The silence itself, not a wait for something.
    c.nodes[who].signal(Signal::CONT);
    c.meshed();
    for n in &c.nodes {
        let counts = n.succeeded(&id, LONG).summary.counts;
        assert_eq!((counts.total, counts.succeeded, counts.failed), (120, 120, 0), "{}", n.name);
    }
    let out = c.nodes[0].work().join("out");
    files_arrive(&out, &numbered(120));
    // It is as good as new.
    assert_eq!(c.nodes[who].filch(["run", "--", "echo", "awake"]).run().ok().text(), "awake\n");
    c.down();
}

#[test]
fn a_worker_sleeps() {
    silence(2);
}

#[test]
fn the_submitter_sleeps() {
    silence(0);
}
