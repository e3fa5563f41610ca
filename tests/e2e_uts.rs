//! Work that splits while it runs, on real nodes: the trees of the UTS benchmark are counted exactly, whoever dies meanwhile.
#![allow(missing_docs)]

mod harness;

use harness::cluster::find_id;
use harness::{Cluster, LONG, Node, NodeOptions, check, until};

/// Nodes, leaves and depth as published.
const T1: &str = "4130071 3305118 10\n";
const T3: &str = "4112897 3599034 1572\n";

fn slots(n: u16) -> NodeOptions {
    NodeOptions { slots: Some(n), ..NodeOptions::default() }
}

/// Three nodes of one slot each, met.
fn three() -> Cluster {
    let mut c = Cluster::prepare(&[slots(1), slots(1), slots(1)]);
    c.start_all();
    c.meshed();
    c
}

fn launched(node: &Node) -> u64 {
    node.info().map_or(0, |i| i.counters.launched)
}

#[test]
fn trees_are_counted_exactly_and_everybody_helps() {
    let c = three();
    assert_eq!(c.filch(["run", "--handler", "uts", "--", "T1"]).run().ok().text(), T1);
    assert_eq!(c.nodes[1].filch(["run", "--handler", "uts", "--", "T3"]).run().ok().text(), T3);
    // One of 102 million nodes lasts long enough for everybody to hear of it.
    assert_eq!(c.filch(["run", "--handler", "uts", "--", "geo:4,12,29"]).run().ok().text().split(' ').count(), 3);
    let by: Vec<u64> = c.nodes.iter().map(launched).collect();
    assert!(by.iter().all(|n| *n > 0), "launches by node: {by:?}");
    c.down();
}

#[test]
fn every_value_is_a_tree_of_its_own_and_any_node_shows_the_results() {
    let c = three();
    let trees = ["geo:4,5,19", "T1", "bin:200,0.1,8,3", "geo:0,3,1"];
    let map = c.filch(["map", "-k", "--tag", "--handler", "uts", ":::"]).args(trees).run().ok();
    let lines: Vec<String> = map.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), trees.len(), "{lines:?}");
    assert_eq!(lines[1], format!("T1\t{}", T1.trim_end()));
    assert_eq!(lines[3], "geo:0,3,1\t1 1 0", "a root without children");
    let id = c.nodes[0].jobs().unwrap()[0].job.to_string();
    for node in &c.nodes {
        node.succeeded(&id, LONG);
        assert_eq!(node.filch(["logs", &id, "1"]).run().ok().text(), T1, "{}", node.name);
        let show = node.filch(["show", &id]).run().ok().text();
        assert!(show.contains("divisible:uts"), "{show}");
    }
    c.down();
}

#[test]
fn a_node_is_killed_while_it_counts() {
    let mut c = three();
    let mut submit = c.filch(["submit", "--handler", "uts", "--", "geo:4,13,29"]).start();
    let id = submit.until("the job's id on stdout", |out, _| out.contains('\n').then(|| find_id(out)).flatten());
    let before = launched(&c.nodes[2]);
    until("the third node counts", LONG, || {
        let now = launched(&c.nodes[2]);
        check(now > before, now)
    });
    c.nodes[2].kill();
    c.nodes[0].succeeded(&id, 3 * LONG);
    // T1L, as published.
    assert_eq!(c.filch(["logs", &id, "0"]).run().ok().text(), "102181082 81746377 13\n");
    c.nodes[2].restart();
    c.meshed();
    c.nodes[2].succeeded(&id, LONG);
    assert_eq!(c.nodes[2].filch(["logs", &id, "0"]).run().ok().text(), "102181082 81746377 13\n");
    c.down();
}

#[test]
fn the_submitter_is_killed_while_it_counts() {
    let mut c = three();
    let mut submit = c.filch(["submit", "--handler", "uts", "--", "geo:4,12,29"]).start();
    let id = submit.until("the job's id on stdout", |out, _| out.contains('\n').then(|| find_id(out)).flatten());
    until("the job is accepted and others count", LONG, || {
        let job = c.nodes[1].job(&id)?;
        let now = launched(&c.nodes[1]);
        check(job.summary.copies >= 2 && now > 0, (job.summary.copies, now))
    });
    drop(submit);
    c.nodes[0].kill();
    let d = c.nodes[1].over(&id, 3 * LONG);
    assert_eq!(d.summary.counts.succeeded, 1, "{d:?}");
    let there = c.nodes[1].filch(["logs", &id, "0"]).run().ok().text();
    c.nodes[0].restart();
    c.nodes[0].succeeded(&id, LONG);
    assert_eq!(c.filch(["logs", &id, "0"]).run().ok().text(), there);
    assert_eq!(
        c.filch(["run", "--handler", "uts", "--", "geo:4,12,29"]).run().ok().text(),
        there,
        "the same, undisturbed"
    );
    c.down();
}

#[test]
fn mistakes_are_found_before_the_job_exists() {
    let c = three();
    for (words, want) in [
        (vec!["run", "--handler", "uts", "--", "T9"], "`T9` is no tree; known are T1, T3, T1L"),
        (vec!["run", "--handler", "uts"], "uts: give one tree"),
        (vec!["run", "--handler", "uts", "--", "geo:4,5000,1"], "DEPTH of a tree must be at most 1000"),
        (vec!["map", "--handler", "uts", ":::", "T1", "T9"], "task 1: uts: `T9` is no tree"),
        (
            vec!["map", "--handler", "uts", "--array", "99-101", "--", "geo:{},3,19"],
            "task 2: uts: B0 of a tree must be 0 to 100",
        ),
        (vec!["run", "--handler", "uts", "-o", "x", "--", "T1"], "a divisible group has no files"),
    ] {
        let done = c.filch(&words).run();
        assert_eq!(done.status.code(), Some(2), "{words:?}: {done:?}");
        assert!(done.err.contains(want), "{words:?}: {}", done.err);
    }
    assert!(c.nodes.iter().all(|n| n.jobs().unwrap().is_empty()), "nothing was submitted");
    // A tree without end fails its task with a reason, not its node.
    let done = c.filch(["run", "--handler", "uts", "--", "bin:2000,1,100,7"]).run();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(done.err.contains("most likely it is infinite"), "{}", done.err);
    c.down();
}
