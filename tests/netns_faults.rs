//! What networks do to nodes: a partition that heals, packets that get lost.
#![allow(missing_docs)]

mod harness;

use std::time::{Duration, Instant};

use harness::cluster::job_id;
use harness::netns::{Lan, missing_filters};
use harness::{Cluster, LONG, NodeOptions, check, files_arrive, numbered, skip, until};

fn possible(test: &str) -> bool {
    let why = missing_filters();
    if let Some(why) = &why {
        skip(test, why);
    }
    why.is_none()
}

fn hosts(n: usize) -> (Lan, Cluster) {
    let lan = Lan::new(n);
    let options: Vec<NodeOptions> = (0..n)
        .map(|n| NodeOptions { slots: Some(2), wrap: lan.wrap(n), lan: true, ..NodeOptions::default() })
        .collect();
    let mut c = Cluster::prepare(&options);
    c.start_all();
    c.meshed();
    (lan, c)
}

const TASK: &str = r#"echo $FILCH_INDEX >> "$1"; sleep 0.15; echo "result of $FILCH_INDEX" > "$2""#;

fn submit(c: &Cluster, tasks: usize) -> String {
    let array = format!("1-{tasks}");
    let args = ["submit", "--array", &array, "-o", "out/{#}", "--", "sh", "-c", TASK, "_"];
    job_id(&c.filch(args).arg(c.path("ran")).arg("{out}").run().ok())
}

/// Every node agrees that each task succeeded once, and the submitter has the files.
#[track_caller]
fn complete(c: &Cluster, id: &str, tasks: usize) {
    for n in &c.nodes {
        let counts = n.succeeded(id, LONG).summary.counts;
        assert_eq!((counts.total, counts.succeeded), (tasks as u64, tasks as u64), "{}", n.name);
    }
    let out = c.nodes[0].work().join("out");
    files_arrive(&out, &numbered(tasks));
    let results = c.filch(["show", id, "--json"]).run().ok();
    assert!(results.text().contains(id), "{results:?}");
}

#[test]
fn a_partition_of_half_a_minute_heals() {
    if !possible("a_partition_of_half_a_minute_heals") {
        return;
    }
    let (lan, c) = hosts(3);
    let id = submit(&c, 200);
    until("everybody works", LONG, || {
        let done: Vec<u64> = c.nodes.iter().map(|n| n.info().map(|i| i.counters.finished)).collect::<Result<_, _>>()?;
        check(done.iter().all(|d| *d >= 2), done)
    });
    // The submitter, which is also the steward, alone on one side.
    lan.cut(0);
    let cut = Instant::now();
    until("both sides take note", LONG, || {
        let seen: Vec<usize> = c.nodes.iter().map(|n| n.sees().map(|s| s.len())).collect::<Result<_, _>>()?;
        check(seen == [0, 1, 1], seen)
    });
    std::thread::sleep(Duration::from_secs(30).saturating_sub(cut.elapsed())); // The partition itself.
    lan.heal(0);
    c.meshed();
    complete(&c, &id, 200);
    // Twice is the price of a partition: each side may have run everything once.
    let ran = std::fs::read_to_string(c.path("ran")).unwrap().lines().count();
    assert!((200..=400).contains(&ran), "{ran}");
    c.down();
}

#[test]
fn packets_get_lost() {
    if !possible("packets_get_lost") {
        return;
    }
    let (lan, c) = hosts(3);
    for n in 0..3 {
        lan.lossy(n, 10);
    }
    let id = submit(&c, 60);
    complete(&c, &id, 60);
    c.down();
}
