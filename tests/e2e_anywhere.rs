//! A job is asked about where it was not submitted, and a node is told to end by somebody who does not read what it says.
#![allow(missing_docs)]

mod harness;

use std::io::BufRead;
use std::process::{Command, Stdio};

use harness::cluster::job_id;
use harness::{Cluster, FILCH, LONG, check, each, tree, until};
use rustix::process::{Pid, Signal, kill_process};

/// Of five nodes, three keep the job. All of them are asked while it runs, and at its very end.
#[test]
fn whatever_node_is_asked_gives_all_of_a_job() {
    let c = Cluster::start(5);
    let script = r#"sleep 0.1; echo "$1"; echo "$1" > "$2""#;
    let map = ["submit", "--array", "1-30", "-o", "out/{}.txt", "--", "sh", "-c", script, "_", "{}", "{out}"];
    let id = job_id(&c.filch(map).run().ok());
    each(&c.nodes, |n| {
        // It may not have heard of the job yet.
        until("it has heard of the job", LONG, || check(n.jobs()?.iter().any(|j| j.job.to_string() == id), "not yet"));
        n.filch(["fetch", &id, "there"]).run().ok();
        assert_eq!(tree(&n.work().join("there")).len(), 30, "{}", n.name);
        let logs = n.filch(["logs", &id]).run().ok().text();
        assert_eq!(logs.lines().count(), 30, "{}", n.name);
        assert_eq!(n.filch(["logs", &id, "7"]).run().ok().text(), "8\n");
    });
    c.down();
}

#[test]
fn a_node_whose_words_nobody_reads_ends_when_it_is_told_to() {
    let home = tempfile::Builder::new().prefix("filch-t").tempdir().unwrap();
    let mut node = Command::new(FILCH)
        .arg("up")
        .env("HOME", home.path())
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_RUNTIME_DIR")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut words = std::io::BufReader::new(node.stderr.take().unwrap());
    words.read_line(&mut String::new()).unwrap();
    drop(words);
    let pid = Pid::from_raw(i32::try_from(node.id()).unwrap()).unwrap();
    let socket = || Command::new(FILCH).args(["nodes", "--this"]).env("HOME", home.path()).output().unwrap().status;
    until("it goes on", LONG, || check(socket().success(), "no answer"));
    kill_process(pid, Signal::TERM).unwrap();
    let status = until("it ends", LONG, || node.try_wait().unwrap().ok_or_else(|| "it runs".to_owned()));
    assert!(status.success(), "{status}");
}
