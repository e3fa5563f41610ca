//! Nodes that die, in the worst moments: an accepted job is finished, whoever is left, and nothing is lost.
#![allow(missing_docs)]

mod harness;

use std::path::Path;
use std::time::Duration;

use filch_api::JobState;
use harness::cluster::find_id;
use harness::{Cluster, LONG, Node, NodeOptions, check, files_arrive, numbered, tree, until};

/// A task that notes that it ran, takes a moment and leaves a file.
const TASK: &str = r#"echo $FILCH_INDEX >> "$1"; sleep "$2"; echo "result of $FILCH_INDEX" > "$3""#;

/// `submit` of `count` tasks, still running.
fn submit(node: &Node, count: usize, pause: &str, ran: &Path) -> harness::cmd::Running {
    let array = format!("1-{count}");
    node.filch(["submit", "--array", &array, "-o", "out/{#}", "--", "sh", "-c", TASK, "_"])
        .arg(ran)
        .args([pause, "{out}"])
        .start()
}

/// Waits for the id that `submit` prints.
fn id_of(mut submit: harness::cmd::Running) -> String {
    submit.until("the job's id on stdout", |out, _| out.contains('\n').then(|| find_id(out)).flatten())
}

/// The submitter has every file, each with the right bytes, and no other.
#[track_caller]
fn delivered(node: &Node, count: usize) {
    let out = node.work().join("out");
    files_arrive(&out, &numbered(count));
    std::fs::remove_dir_all(&out).unwrap();
}

/// How often each of `count` tasks started: at least once; in all at most `extra` times more.
#[track_caller]
fn ran(path: &Path, count: usize, extra: usize) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut times = vec![0usize; count];
    for line in text.lines() {
        times[line.parse::<usize>().unwrap_or_else(|e| panic!("{line:?}: {e}")) - 1] += 1;
    }
    assert!(times.iter().all(|t| *t > 0), "some never ran: {times:?}");
    let all: usize = times.iter().sum();
    assert!(all <= count + extra, "{} tasks ran again, at most {extra} were lost: {times:?}", all - count);
}

/// Waits until the job is at least so far, as this node sees it.
#[track_caller]
fn progressed(node: &Node, id: &str, done: u64) {
    until(&format!("{done} tasks of {id} are done"), LONG, || {
        let counts = node.job(id)?.summary.counts;
        check(counts.done() >= done, counts)
    });
}

#[test]
fn a_worker_is_killed() {
    let mut c = Cluster::start(3);
    let marks = c.path("ran");
    let id = id_of(submit(&c.nodes[0], 80, "0.1", &marks));
    until("the worker works", LONG, || {
        let done = c.nodes[2].info()?.counters.finished;
        check(done >= 2, done)
    });
    c.nodes[2].kill();
    let d = c.nodes[0].succeeded(&id, LONG);
    assert_eq!(d.summary.counts.succeeded, 80);
    delivered(&c.nodes[0], 80);
    // What it had queued, executing, or finished and not handed over; two slots and two seconds of work ahead.
    ran(&marks, 80, 60);
    // Its own tasks died with it.
    until("no task of the dead node is left", LONG, || {
        let dir = c.nodes[2].dir.clone();
        let left = harness::procs::of(&dir);
        check(left.is_empty(), left)
    });
    c.nodes[2].restart();
    c.meshed();
    c.nodes[2].succeeded(&id, LONG);
    c.down();
}

#[test]
fn one_steward_after_the_other_is_killed() {
    let mut c = Cluster::start(4);
    let marks = c.path("ran");
    let id = id_of(submit(&c.nodes[0], 120, "0.1", &marks));
    let mut left = vec![0, 1, 2, 3];
    for round in 1..=2 {
        let witness = left[left.len() - 1];
        progressed(&c.nodes[witness], &id, round * 10);
        let steward = until("the job has a living steward", LONG, || {
            let name = c.nodes[witness].job(&id)?.steward.name;
            let n = left.iter().copied().find(|n| c.nodes[*n].name == name);
            n.ok_or(name)
        });
        c.nodes[steward].kill();
        left.retain(|n| *n != steward);
    }
    for n in &left {
        c.nodes[*n].succeeded(&id, LONG);
    }
    c.start_all();
    c.meshed();
    delivered(&c.nodes[0], 120);
    ran(&marks, 120, 160);
    c.down();
}

#[test]
fn the_submitter_is_killed_right_after_the_id() {
    let mut c = Cluster::start(3);
    for delay in [0, 10, 100] {
        let marks = c.path(&format!("ran{delay}"));
        let id = id_of(submit(&c.nodes[0], 30, "0.05", &marks));
        std::thread::sleep(Duration::from_millis(delay)); // This is the experiment, not a wait for something.
        c.nodes[0].kill();
        for n in &c.nodes[1..] {
            let d = n.succeeded(&id, LONG);
            assert_eq!(d.summary.counts.succeeded, 30, "{delay} ms");
            n.filch(["wait", &id]).run().ok();
        }
        assert!(!c.nodes[0].work().join("out").exists() || tree(&c.nodes[0].work().join("out")).len() < 30);
        c.nodes[0].restart();
        c.meshed();
        delivered(&c.nodes[0], 30);
        let counts = c.nodes[0].succeeded(&id, LONG).summary.counts;
        assert_eq!((counts.succeeded, counts.failed), (30, 0));
        ran(&marks, 30, 30);
    }
    c.down();
}

#[test]
fn all_are_killed_at_once() {
    let mut c = Cluster::start(3);
    let marks = c.path("ran");
    let id = id_of(submit(&c.nodes[0], 60, "0.1", &marks));
    progressed(&c.nodes[0], &id, 15);
    for n in &mut c.nodes {
        n.kill();
    }
    c.nothing_left();
    c.start_all();
    let d = c.nodes[0].succeeded(&id, LONG);
    assert_eq!(d.summary.counts.succeeded, 60);
    delivered(&c.nodes[0], 60);
    ran(&marks, 60, 60);
    c.meshed();
    c.down();
}

#[test]
fn a_lonely_node_is_killed_again_and_again() {
    let mut c = Cluster::start(1);
    let marks = c.path("ran");
    let id = id_of(submit(&c.nodes[0], 40, "0.1", &marks));
    for round in 1..=4 {
        progressed(&c.nodes[0], &id, round * 6);
        c.nodes[0].kill();
        c.nodes[0].restart();
    }
    c.nodes[0].succeeded(&id, LONG);
    delivered(&c.nodes[0], 40);
    c.down();
}

#[test]
fn a_task_longer_than_many_leases_runs_once() {
    // Leases of 1.5 s, so that ten seconds are many; the proportions are those of the defaults.
    let config = "[timing]
beat = \"300ms\"
lease = \"1500ms\"
lease_worker = \"1200ms\"
request = \"900ms\"
dead_after = \"1300ms\"
";
    let options = NodeOptions { slots: Some(1), config: config.into(), ..NodeOptions::default() };
    let mut c = Cluster::prepare(&[options.clone(), options.clone(), options]);
    c.start_all();
    c.meshed();
    let marks = c.path("ran");
    let id = id_of(submit(&c.nodes[0], 3, "12", &marks));
    let d = c.nodes[0].succeeded(&id, LONG);
    assert_eq!(d.summary.state, JobState::Succeeded);
    delivered(&c.nodes[0], 3);
    ran(&marks, 3, 0);
    assert_eq!(c.executions(), (3, 3));
    c.down();
}

#[test]
fn everybody_is_killed_at_some_time_and_every_job_ends() {
    const TASKS: usize = 80;
    let mut c = Cluster::start(4);
    let jobs: Vec<(usize, String)> =
        (0..4).map(|n| (n, id_of(submit(&c.nodes[n], TASKS, "0.15", &c.path(&format!("ran{n}")))))).collect();
    // Two of four are down at any time, and each comes back as another goes.
    let mut down = std::collections::VecDeque::new();
    for (round, victim) in [3, 0, 2, 1, 0, 3, 1, 2, 3, 0].into_iter().enumerate() {
        c.nodes[victim].kill();
        down.push_back(victim);
        if down.len() > 1 {
            let back = down.pop_front().expect("two are down");
            c.nodes[back].restart();
        }
        // A little more is done before the next one goes.
        let up: Vec<&Node> = c.nodes.iter().filter(|n| n.is_up()).collect();
        let finished = || up.iter().map(|n| n.info().map(|i| i.counters.finished)).sum::<Result<u64, String>>();
        let before = finished().expect("those that are up answer");
        until(&format!("something is done in round {round}"), LONG, || {
            let all_over = up[0].jobs()?.iter().all(|j| j.state.is_over());
            let more = finished()? - before;
            check(more >= 4 || all_over, more)
        });
    }
    c.start_all();
    for (owner, id) in &jobs {
        let d = c.nodes[*owner].succeeded(id, LONG);
        assert_eq!(d.summary.counts.succeeded, TASKS as u64);
        delivered(&c.nodes[*owner], TASKS);
    }
    c.meshed();
    c.down();
}

/// Whoever watches a job through a node that dies and comes back sees each result once.
#[test]
fn results_go_on_when_the_node_that_is_asked_is_killed_and_comes_back() {
    let mut c = Cluster::start(1);
    let script = ["--array", "1-40", "--", "sh", "-c", "sleep 0.05; echo $FILCH_INDEX"];
    let done = c.nodes[0].filch(["submit"]).args(script).run().ok();
    let id = harness::cluster::job_id(&done);
    for command in [vec!["wait", id.as_str()], [&["map"][..], &script].concat()] {
        let mut running = c.nodes[0].filch(&command).start();
        running.until("a first result", |out, _| out.contains('\n').then_some(()));
        c.nodes[0].kill();
        if command[0] == "map" {
            // The job of `wait` may be over; this one is not, and says what it waits for.
            running.until("it waits for the node", |_, err| err.contains("for it to come back").then_some(()));
        }
        c.nodes[0].restart();
        let done = running.wait().ok();
        let text = done.text();
        let mut lines: Vec<u32> = text.lines().map(|l| l.parse().unwrap()).collect();
        lines.sort_unstable();
        assert_eq!(lines, (1..=40).collect::<Vec<_>>(), "each once: {done:?}");
    }
    c.down();
}
