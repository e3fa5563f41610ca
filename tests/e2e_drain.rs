//! Nodes that are told to end while they are busy, again and again (`FILCH_TEST_DRAINS` times): what runs gets its time, what has not
//! started goes back, nothing is lost and nothing runs twice.
#![allow(missing_docs)]

mod harness;

use harness::cluster::job_id;
use harness::{Cluster, LONG, check, files_arrive, numbered, procs, until};
use rustix::process::Signal;

const TASKS: usize = 60;
const TASK: &str = r#"echo $FILCH_INDEX >> "$1"; sleep 0.05; echo "result of $FILCH_INDEX" > "$2""#;

fn rounds() -> usize {
    std::env::var("FILCH_TEST_DRAINS").ok().and_then(|n| n.parse().ok()).unwrap_or(6)
}

#[test]
fn busy_nodes_end_in_an_orderly_way() {
    let mut c = Cluster::start(3);
    for round in 0..rounds() {
        // Workers mostly; also the submitter, which hands out the work.
        let who = [1, 2, 0][round % 3];
        let marks = c.path(&format!("ran-{round}"));
        let (all, out) = (format!("1-{TASKS}"), format!("out-{round}"));
        let to = format!("{out}/{{#}}");
        let args = ["submit", "--array", &all, "-o", &to, "--", "sh", "-c", TASK, "_"];
        let id = job_id(&c.filch(args).arg(&marks).arg("{out}").run().ok());
        until("it is busy", LONG, || {
            let running = c.nodes[who].info()?.running;
            check(running > 0, running)
        });
        c.nodes[who].signal(Signal::TERM);
        let status = c.nodes[who].ended();
        assert!(status.success(), "round {round}: {} ended with {status}", c.nodes[who].name);
        assert!(!c.nodes[who].socket.exists(), "round {round}: the socket is gone");
        let left = procs::of(&c.nodes[who].dir);
        assert!(left.is_empty(), "round {round}: {left:?}");
        let attempts: Vec<_> = std::fs::read_dir(c.nodes[who].data().join("work"))
            .map(|dir| dir.flatten().map(|e| e.file_name()).filter(|name| name != "lock").collect())
            .unwrap_or_default();
        assert!(attempts.is_empty(), "round {round}: directories of attempts are left: {attempts:?}");
        c.nodes[who].restart();
        c.nodes[0].succeeded(&id, LONG);
        files_arrive(&c.nodes[0].work().join(&out), &numbered(TASKS));
        let ran = std::fs::read_to_string(&marks).expect("marks");
        let mut ran: Vec<usize> = ran.lines().map(|n| n.parse().expect("a number")).collect();
        ran.sort_unstable();
        assert!(ran.iter().copied().eq(1..=TASKS), "round {round}: each task ran once: {ran:?}");
        c.meshed();
    }
    c.down();
}
