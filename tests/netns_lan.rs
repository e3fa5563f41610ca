//! Hosts on a LAN where mDNS is the only way to meet.
#![allow(missing_docs)]

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use harness::netns::{Lan, missing};
use harness::{Cluster, Cmd, LONG, NodeOptions, check, same_files, skip, until, write_files};

fn possible(test: &str) -> bool {
    let why = missing();
    if let Some(why) = &why {
        skip(test, why);
    }
    why.is_none()
}

/// One node per host, started at the same moment; how long after the last one answered they all saw each other.
fn meet(n: usize, slots: u16) -> (Lan, Cluster, Duration) {
    let lan = Lan::new(n);
    let options: Vec<NodeOptions> = (0..n)
        .map(|n| NodeOptions { slots: Some(slots), wrap: lan.wrap(n), lan: true, ..NodeOptions::default() })
        .collect();
    let mut c = Cluster::prepare(&options);
    c.start_all();
    let ready = Instant::now();
    c.meshed();
    (lan, c, ready.elapsed())
}

/// The issue's promise: a full mesh within 5 s, every time.
const PROMISE: Duration = Duration::from_secs(5);

#[test]
fn three_hosts_meet_and_share_a_job_over_files() {
    if !possible("three_hosts_meet_and_share_a_job_over_files") {
        return;
    }
    let (_lan, c, took) = meet(3, 2);
    assert!(took < PROMISE, "{took:?}");
    let n = &c.nodes[1];
    let pid = n.pid().as_raw_nonzero().get().cast_unsigned();
    assert!(
        !harness::procs::exposed(pid).is_empty(),
        "--lan opens it to others; else the check of the default is blind"
    );
    let names: Vec<String> = (0..30).map(|i| format!("in/{i:02}")).collect();
    write_files(&n.work(), names.iter().enumerate().map(|(i, name)| (name.clone(), 40_000 * i)));
    let script = r#"sleep 0.1; gzip -nc "$1" > "$2"; echo $FILCH_NODE"#;
    let out = n
        .filch(["map", "-i", "{}", "-o", "out/{/}.gz", "--", "sh", "-c", script, "_", "{in}", "{out}", ":::"])
        .args(&names)
        .run()
        .ok()
        .text();
    let local: BTreeMap<String, Vec<u8>> = names
        .iter()
        .map(|name| (format!("{}.gz", &name[3..]), Cmd::new("gzip").args(["-nc", name]).dir(n.work()).run().ok().out))
        .collect();
    same_files(&n.work().join("out"), &local);
    let hosts: BTreeSet<&str> = out.lines().collect();
    assert_eq!(hosts.len(), 3, "every host had a part in it: {out}");
    c.down();
}

#[test]
fn eight_hosts_started_together_form_a_full_mesh_every_time() {
    if !possible("eight_hosts_started_together_form_a_full_mesh_every_time") {
        return;
    }
    let rounds: Vec<Duration> = (0..3)
        .map(|_| {
            let (_lan, c, took) = meet(8, 1);
            c.down();
            took
        })
        .collect();
    assert!(rounds.iter().all(|took| *took < PROMISE), "{rounds:?}");
}

#[test]
fn a_host_that_comes_later_and_one_that_comes_back() {
    if !possible("a_host_that_comes_later_and_one_that_comes_back") {
        return;
    }
    let lan = Lan::new(3);
    let options: Vec<NodeOptions> = (0..3)
        .map(|n| NodeOptions { slots: Some(1), wrap: lan.wrap(n), lan: true, ..NodeOptions::default() })
        .collect();
    let mut c = Cluster::prepare(&options);
    for n in 0..2 {
        c.nodes[n].restart();
    }
    c.meshed();
    c.nodes[2].restart();
    c.meshed();
    c.nodes[0].kill();
    until("it is missed", LONG, || {
        let seen = c.nodes[1].sees()?;
        check(seen.len() == 1, seen)
    });
    c.nodes[0].restart();
    c.meshed();
    c.down();
}
