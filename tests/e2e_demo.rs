//! The demo is the product: it must end well on any machine, and leave nothing.
#![allow(missing_docs)]

mod harness;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use harness::{Cmd, Done, FILCH, check, procs, skip, tree, until, write_files};

/// A demo plans for a whole machine: two at a time would each take twice as long as it may.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs it over forty files, asserts that results are all that it leaves, and gives what it says of itself.
fn demo(options: &[&str]) -> (serde_json::Value, Done) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let home = tempfile::Builder::new().prefix("filch-t").tempdir().unwrap();
    let (files, temp, results) = (home.path().join("files"), home.path().join("tmp"), home.path().join("results"));
    std::fs::create_dir(&temp).unwrap();
    write_files(&files, (0..40).map(|n| (format!("d{}/f{n:02}.txt", n % 3), 2_000 * n)));
    let before = tree(&files);
    let done = Cmd::new(FILCH)
        .args(["demo", "--json"])
        .args(options)
        .arg(&files)
        .arg("--results")
        .arg(&results)
        .env("HOME", home.path())
        .env("TMPDIR", &temp)
        .dir(home.path())
        .limit(Duration::from_secs(75))
        .run()
        .ok();
    assert_eq!(tree(&files), before, "the files are only read");
    assert!(tree(&results).len() >= 40, "a result for each: {done:?}");
    let left = tree(&temp);
    assert!(left.is_empty(), "left behind: {:?}", left.keys());
    nothing_runs(home.path());
    (done.json(), done)
}

fn nothing_runs(below: &Path) {
    until("no process is left", Duration::from_secs(20), || {
        let left = procs::of(below);
        check(left.is_empty(), left)
    });
}

#[test]
fn the_nodes_meet_by_mdns_where_a_private_network_is_possible() {
    let (summary, done) = demo(&[]);
    if let Some(line) = done.err.lines().find(|l| l.contains("no private network")) {
        assert_eq!(summary["met_by"], "addresses", "{done:?}");
        return skip("the_nodes_meet_by_mdns_where_a_private_network_is_possible", line);
    }
    assert_eq!(summary["met_by"], "mdns", "{done:?}");
    assert!(done.err.contains("alder, birch, cedar found each other by mDNS"), "{done:?}");
}

#[test]
fn the_nodes_meet_on_loopback_when_asked_to() {
    let (summary, done) = demo(&["--loopback"]);
    assert_eq!(summary["met_by"], "addresses", "{done:?}");
    assert!(done.err.contains("as asked by --loopback") && done.err.contains("/ip4/127.0.0.1/"), "{done:?}");
}
