//! A disk that is full is a refusal with a reason, not a crash (P2).
#![allow(missing_docs)]

mod harness;

use std::ffi::OsString;

use harness::cluster::job_id;
use harness::{Cluster, LONG, NodeOptions, check, root, tree, until, write_files};

/// A node whose data directory is a file system of so many megabytes, in a mount namespace that ends with it.
fn small(megabytes: u32) -> NodeOptions {
    let script = format!(
        "mkdir -p \"$FILCH_TEST_DATA\" && mount -t tmpfs -o size={megabytes}m,mode=700 none \"$FILCH_TEST_DATA\" && exec \"$@\""
    );
    let wrap = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "_"];
    NodeOptions { slots: Some(1), wrap: wrap.iter().map(OsString::from).collect(), ..NodeOptions::default() }
}

/// Root and mount namespaces, else a skip.
fn possible(test: &str) -> bool {
    if !root(test) {
        return false;
    }
    let works = harness::Cmd::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", "mount -t tmpfs none /mnt"])
        .run();
    if works.code() != 0 {
        harness::skip(test, &format!("no mount namespaces here: {}", works.err.trim()));
    }
    works.code() == 0
}

#[test]
fn an_input_that_does_not_fit_is_refused() {
    if !possible("an_input_that_does_not_fit_is_refused") {
        return;
    }
    let mut c = Cluster::prepare(&[small(48)]);
    c.start_all();
    let n = &c.nodes[0];
    write_files(&n.work(), [("big".to_owned(), 64 << 20), ("small".to_owned(), 1000)]);
    let done = n.filch(["run", "-i", "big", "--", "wc", "-c", "big"]).run();
    assert_eq!(done.code(), 125, "{done:?}");
    assert!(done.err.contains("full"), "{done:?}");
    let done = n.filch(["map", "-i", "{}", "--", "wc", "-c", "{in}", ":::", "big"]).run().expect(4);
    assert!(done.err.contains("full"), "{done:?}");
    assert_eq!(n.jobs(), Ok(vec![]), "nothing was sent");
    // It goes on, and what could not be kept does not stay in the way.
    let done = n.filch(["run", "-i", "small", "--", "cat", "small"]).run().ok();
    assert_eq!(done.out.len(), 1000);
    c.down();
}

#[test]
fn a_replica_whose_disk_is_full_does_not_stop_the_job() {
    if !possible("a_replica_whose_disk_is_full_does_not_stop_the_job") {
        return;
    }
    // The owner hopes for the replica for a multiple of this; the default is 8 s.
    let config = "[timing]\nlonely_pin = \"1s\"\n".to_owned();
    let one = NodeOptions { slots: Some(1), config: config.clone(), ..NodeOptions::default() };
    // It runs nothing, it only keeps: a task that fills the disk by itself would fail by itself.
    let keeper = NodeOptions { slots: Some(0), config, ..small(24) };
    let mut c = Cluster::prepare(&[one, keeper]);
    c.start_all();
    c.meshed();
    // 60 MB of results; the second node has room for a part of them.
    let script = r#"head -c 2000000 /dev/urandom > "$1""#;
    let args = ["submit", "--array", "1-30", "-o", "out/{#}", "--", "sh", "-c", script, "_", "{out}"];
    let id = job_id(&c.filch(args).run().ok());
    until("the owner says whom the results wait for", LONG, || {
        let shown = c.filch(["show", &id]).run().ok().out;
        check(String::from_utf8_lossy(&shown).contains("(its disk is full)"), shown)
    });
    let d = c.nodes[0].succeeded(&id, LONG);
    assert_eq!(d.summary.counts.succeeded, 30);
    let out = c.nodes[0].work().join("out");
    until("all files are there", LONG, || {
        let lens: Vec<usize> = tree(&out).values().map(Vec::len).collect();
        check(lens == [2_000_000; 30], lens)
    });
    c.nodes[1].info().expect("the node with the full disk still answers");
    // Not in an orderly way: the owner would try for a while to hand over what the other one cannot take.
}
