//! A healthy cluster of real processes does what it says.
#![allow(missing_docs)]

mod harness;

use std::collections::{BTreeMap, BTreeSet};

use harness::cluster::job_id;
use harness::{Cluster, Cmd, LONG, Node, NodeOptions, check, each, same_files, tree, until, write_files};

/// Files in `in/` of this node's user.
fn inputs(node: &Node, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|n| format!("in/{n:02}.dat")).collect();
    write_files(&node.work(), names.iter().enumerate().map(|(n, name)| (name.clone(), n * n * 700)));
    names
}

#[test]
fn any_node_submits_and_the_results_are_those_of_a_local_run() {
    let c = Cluster::start(3);
    each(&c.nodes, |n| {
        let names = inputs(n, 24);
        let gzip = r#"gzip -nc "$1" > "$2""#;
        n.filch(["map", "-i", "{}", "-o", "out/{/}.gz", "--", "sh", "-c", gzip, "_", "{in}", "{out}", ":::"])
            .args(&names)
            .run()
            .ok();
        let local: BTreeMap<String, Vec<u8>> = names
            .iter()
            .map(|name| {
                (format!("{}.gz", &name[3..]), Cmd::new("gzip").args(["-nc", name]).dir(n.work()).run().ok().out)
            })
            .collect();
        same_files(&n.work().join("out"), &local);

        let sums = n.filch(["map", "-k", "-i", "{}", "--", "sha256sum", "{in}", ":::"]).args(&names).run().ok();
        let local = Cmd::new("sha256sum").args(&names).dir(n.work()).run().ok();
        assert_eq!(sums.text(), local.text(), "stdout of {}", n.name);
    });
    // Inputs of the tasks are copies: nothing was changed, nothing else was left.
    for n in &c.nodes {
        assert_eq!(tree(&n.work()).len(), 48, "{:?}", tree(&n.work()).keys());
    }
    c.down();
}

#[test]
fn work_spreads_over_the_nodes() {
    let c = Cluster::start(3);
    let script = "sleep 0.2; echo $FILCH_NODE $FILCH_INDEX";
    let out = c.filch(["map", "--array", "1-60", "--", "sh", "-c", script]).run().ok().text();
    let pairs: Vec<(&str, u32)> =
        out.lines().map(|l| l.split_once(' ').map(|(n, i)| (n, i.parse().unwrap())).unwrap()).collect();
    let nodes: BTreeSet<&str> = pairs.iter().map(|p| p.0).collect();
    let indices: BTreeSet<u32> = pairs.iter().map(|p| p.1).collect();
    assert_eq!((pairs.len(), indices.len()), (60, 60));
    assert_eq!(nodes.len(), 3, "everybody had something to do: {out}");
    assert_eq!(c.executions(), (60, 60));
    c.down();
}

#[test]
fn the_new_users_first_lines() {
    let home = tempfile::Builder::new().prefix("filch-t").tempdir().unwrap();
    let filch = |args: &[&str]| Cmd::new(harness::FILCH).args(args).env("HOME", home.path()).dir(home.path());
    filch(&["up", "--detach"]).run().ok();
    let out = filch(&["map", "--array", "1-1000", "--", "sh", "-c", "echo $FILCH_INDEX"]).run().ok().text();
    let distinct: BTreeSet<u32> = out.lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!((out.lines().count(), distinct.len()), (1000, 1000));
    // Nothing is open to other machines or other users until somebody asks for it.
    let this = filch(&["nodes", "--this", "--json"]).run().ok().json();
    let pid = this["pid"].as_u64().and_then(|p| u32::try_from(p).ok()).expect("a pid");
    assert_eq!(harness::procs::exposed(pid), Vec::<String>::new());
    let mode = |key: &str| {
        let path = this[key].as_str().unwrap_or_else(|| panic!("no {key} in {this}"));
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777
    };
    assert_eq!((mode("data_dir"), mode("socket")), (0o700, 0o600));
    // A second one finds the first and says so, whatever it decides to exit with.
    let again = filch(&["up", "--detach"]).run();
    assert!(again.err.contains("already") || again.err.contains("in use"), "{again:?}");
    filch(&["down"]).run().ok();
    until("nothing is left", LONG, || {
        let left = harness::procs::of(home.path());
        check(left.is_empty(), left)
    });
}

#[test]
fn order_tags_and_several_sources() {
    let c = Cluster::start(2);
    let script = "sleep 0.0$((5 - $1)); echo $1$2";
    let map = |options: &[&str]| {
        let rest = ["--", "sh", "-c", script, "_", "{1}", "{2}", ":::", "1", "2", "3", "4", ":::", "a", "b"];
        c.filch(["map"]).args(options).args(rest).run().ok().text()
    };
    assert_eq!(map(&["-k"]), "1a\n1b\n2a\n2b\n3a\n3b\n4a\n4b\n");
    assert_eq!(map(&["-k", "--tag"]).lines().next(), Some("1 a\t1a"));
    let any_order: BTreeSet<String> = map(&[]).lines().map(str::to_owned).collect();
    assert_eq!(any_order.len(), 8);
    let lines = c.filch(["map", "-k", "--", "echo", "<{}>", "::::", "-"]).input("x y\n\nz").run().ok().text();
    assert_eq!(lines, "<x y>\n<>\n<z>\n");
    let dry = c.filch(["map", "--dry-run", "--", "echo", "{#}", "{}", ":::", "p", "q r"]).run().ok().text();
    assert_eq!(dry, "echo 1 p\necho 2 'q r'\n");
    c.down();
}

#[test]
fn what_a_task_finds() {
    let c = Cluster::start(1);
    let out = c.filch(["run", "--env", "X=a b", "--", "env"]).env("SECRET", "s").run().ok().text();
    let vars: BTreeMap<&str, &str> = out.lines().filter_map(|l| l.split_once('=')).collect();
    assert_eq!(vars.get("X"), Some(&"a b"), "{out}");
    assert_eq!((vars.get("FILCH_INDEX"), vars.contains_key("FILCH_TASK")), (Some(&"0"), true), "{out}");
    for key in ["FILCH_JOB", "FILCH_ATTEMPT", "FILCH_NODE", "FILCH_SLOT", "FILCH_CPUS", "PATH"] {
        assert!(vars.get(key).is_some_and(|v| !v.is_empty()), "{key}: {out}");
    }
    assert!(!vars.contains_key("SECRET") && !out.contains("filch.sock"), "the environment is cleared: {out}");
    c.down();
}

#[test]
fn a_task_starts_in_an_empty_private_directory_whatever_the_last_one_did() {
    let one = NodeOptions { slots: Some(1), ..NodeOptions::default() };
    let mut c = Cluster::prepare(&[one]);
    c.start_all();
    let look = r#"ls -A | wc -l; stat -c '%a %F' . ; wc -c < /dev/stdin"#;
    let looks = || c.filch(["run", "--", "sh", "-c", look]).run().ok().text();
    let fresh = looks();
    assert_eq!(fresh.split_whitespace().collect::<Vec<_>>(), ["0", "700", "directory", "0"]);
    for mess in [
        "mkdir -p a/.b/c; touch x .y a/.b/z; chmod 0 a/.b",
        "chmod 777 .; mkfifo p; ln -s / root",
        r#"rm -rf "$PWD""#,
        r#"d=$PWD; cd ..; rm -rf "$d"; ln -s /etc "$d""#,
        r#"n=0; while test $n -lt 300; do touch f$n; n=$((n+1)); done"#,
        "(trap '' TERM HUP; sleep 1; touch late) & touch early",
    ] {
        c.filch(["run", "--", "sh", "-c", mess]).run();
        assert_eq!(looks(), fresh, "after: {mess}");
    }
    assert!(std::fs::metadata("/etc/passwd").is_ok());
    c.down();
}

#[test]
fn run_is_transparent() {
    let c = Cluster::start(2);
    let n = &c.nodes[0];
    let noise = harness::noise(3, 700_000);
    std::fs::write(n.work().join("bytes"), &noise).unwrap();
    let done = n.filch(["run", "-i", "bytes", "--", "cat", "bytes"]).run().ok();
    assert!(done.out == noise, "stdout is passed on byte by byte: {} of {}", done.out.len(), noise.len());
    let both = n.filch(["run", "--", "sh", "-c", "echo out; echo err >&2"]).run().ok();
    assert_eq!(both.text(), "out\n");
    assert!(both.err.contains("err\n"), "{both:?}");
    c.down();
}

#[test]
fn exit_codes_of_run() {
    let c = Cluster::start(1);
    let n = &c.nodes[0];
    let sh = |script: &str| n.filch(["run", "--", "sh", "-c", script]).run().code();
    assert_eq!(sh("exit 0"), 0);
    assert_eq!(sh("exit 1"), 1);
    assert_eq!(sh("exit 77"), 77);
    assert_eq!(sh("kill -9 $$"), 137);
    assert_eq!(sh("kill -15 $$"), 143);
    assert_eq!(n.filch(["run", "--timeout", "1s", "--", "sleep", "60"]).run().code(), 124);
    assert_eq!(n.filch(["run", "--", "/no/such/program"]).run().code(), 127);
    assert_eq!(n.filch(["run", "--", "/etc"]).run().code(), 126);
    // One file named twice is one input, under both placeholders.
    std::fs::write(n.work().join("twice"), "2").unwrap();
    let map = ["map", "-k", "-i", "twice", "-i", "{}", "--", "cat", "{in}", "{in2}", ":::", "twice"];
    assert_eq!(n.filch(map).run().ok().text().trim_end(), "22");
    assert_eq!(n.filch(["run", "-o", "missing", "--", "true"]).run().code(), 1);
    assert_eq!(n.filch(["map", "--", "sh", "-c", "exit {}", ":::", "0", "0"]).run().code(), 0);
    assert_eq!(n.filch(["map", "--", "sh", "-c", "exit {}", ":::", "0", "5"]).run().code(), 1);
    c.down();
}

#[test]
fn a_failed_tasks_output_is_kept() {
    let c = Cluster::start(2);
    let script = "echo out $FILCH_INDEX; echo err $FILCH_INDEX >&2; exit 3";
    let id = job_id(&c.filch(["submit", "--", "sh", "-c", script]).run().ok());
    // From the other node, which must fetch it.
    for n in &c.nodes {
        n.filch(["wait", &id]).run().expect(1);
        assert_eq!(n.filch(["logs", &id, "0"]).run().ok().text(), "out 0\n");
        assert_eq!(n.filch(["logs", "--stderr", &id, "0"]).run().ok().text(), "err 0\n");
        let shown = n.filch(["show", &id]).run().ok().text();
        assert!(shown.contains("exit 3"), "{shown}");
    }
    c.down();
}

#[test]
fn retries_use_a_fresh_directory_and_another_attempt() {
    let c = Cluster::start(1);
    let tries = c.path("tries");
    let script = r#"test -e mark && exit 9; touch mark; echo $FILCH_ATTEMPT >> "$1"; test "$(wc -l < "$1")" -ge 3"#;
    let done = c.filch(["run", "--retries", "5", "--", "sh", "-c", script, "_"]).arg(&tries).run();
    done.ok();
    let attempts = std::fs::read_to_string(&tries).unwrap();
    let distinct: BTreeSet<&str> = attempts.lines().collect();
    assert_eq!((attempts.lines().count(), distinct.len()), (3, 3), "{attempts}");
    // And no more than asked for.
    std::fs::remove_file(&tries).unwrap();
    let script = r#"echo x >> "$1"; exit 4"#;
    c.filch(["run", "--retries", "2", "--", "sh", "-c", script, "_"]).arg(&tries).run().expect(4);
    assert_eq!(std::fs::read_to_string(&tries).unwrap(), "x\nx\nx\n");
    c.down();
}

#[test]
fn cancel_ends_what_runs_and_starts_nothing_new() {
    let c = Cluster::start(2);
    let started = c.path("started");
    let script = r#"echo $$ >> "$1"; exec sleep 600"#;
    let id = job_id(&c.filch(["submit", "--array", "1-50", "--", "sh", "-c", script, "_"]).arg(&started).run().ok());
    let count = || std::fs::read_to_string(&started).unwrap_or_default().lines().count();
    until("all slots are busy", LONG, || check(count() == 4, count()));
    c.nodes[1].filch(["cancel", &id]).run().ok();
    for n in &c.nodes {
        n.filch(["wait", &id]).run().expect(3);
    }
    until("every task of it is gone", LONG, || {
        let left: Vec<_> =
            harness::procs::of(c.dir.path()).into_iter().filter(|(_, a)| a.contains("sleep 600")).collect();
        check(left.is_empty(), left)
    });
    let running = || c.nodes.iter().map(|n| n.info().map(|i| i.running)).sum::<Result<u64, _>>();
    until("slots are free again", LONG, || check(running() == Ok(0), running()));
    assert_eq!(c.filch(["run", "--", "echo", "next"]).run().ok().text(), "next\n");
    assert_eq!(count(), 4, "nothing new started");
    c.down();
}

#[test]
fn retry_runs_what_failed() {
    let c = Cluster::start(1);
    let n = &c.nodes[0];
    let flag = c.path("flag");
    let runs = c.path("runs");
    let script = r#"echo {} >> "$2"; test {} = a || test -e "$1""#;
    let cmd = n.filch(["map", "--", "sh", "-c", script, "_"]).arg(&flag).arg(&runs).args([":::", "a", "b", "c"]);
    cmd.run().expect(1);
    let id = n.jobs().unwrap()[0].job.to_string();
    std::fs::write(&flag, "").unwrap();
    n.filch(["retry", &id]).run().ok();
    assert_eq!(n.jobs().unwrap().len(), 2, "a retry is a job of its own");
    let mut runs: Vec<String> = std::fs::read_to_string(&runs).unwrap().lines().map(str::to_owned).collect();
    runs.sort();
    assert_eq!(runs, ["a", "b", "b", "c", "c"], "only what failed runs again");
    c.down();
}

#[test]
fn ctrl_c_once_detaches_and_twice_cancels() {
    let c = Cluster::start(1);
    let n = &c.nodes[0];
    let interrupt = rustix::process::Signal::INT;
    let started = |what: &str| {
        let path = c.path(what);
        let script = format!("echo x > {}; sleep $1; echo done", path.display());
        (path, script)
    };

    let (flag, script) = started("first");
    let running = n.filch(["map", "--", "sh", "-c", &script, "_", "{}", ":::", "3"]).start();
    until("the task runs", LONG, || check(flag.exists(), "no flag"));
    running.signal(interrupt);
    let done = running.wait();
    let id = n.jobs().unwrap()[0].job.to_string();
    assert!(done.err.contains("wait") && done.err.contains(&id[..8]), "it says how to come back: {done:?}");
    n.filch(["wait", &id]).run().ok();

    let (flag, script) = started("second");
    let mut running = n.filch(["map", "--", "sh", "-c", &script, "_", "{}", ":::", "600"]).start();
    until("the task runs", LONG, || check(flag.exists(), "no flag"));
    running.signal(interrupt);
    // Two signals at once are one to the kernel.
    running.until("it takes note", |_, err| err.contains("again to cancel").then_some(()));
    running.signal(interrupt);
    running.wait().expect(3);
    let id = n.jobs().unwrap()[0].job.to_string();
    n.filch(["wait", &id]).run().expect(3);
    c.down();
}

#[test]
fn down_waits_a_little_and_gives_the_rest_back() {
    let mut c = Cluster::start(2);
    let script = "sleep 0.2; echo $FILCH_INDEX";
    let id = job_id(&c.filch(["submit", "--array", "1-60", "--", "sh", "-c", script]).run().ok());
    until("the second node works on it", LONG, || {
        let done = c.nodes[1].info()?.counters.finished;
        check(done > 2, done)
    });
    c.nodes[1].down();
    let done = c.nodes[0].succeeded(&id, LONG);
    assert_eq!(done.summary.counts.succeeded, 60);
    c.down();
}

#[test]
fn a_hundred_thousand_tasks_run_once_each() {
    let two = NodeOptions { slots: Some(2), ..NodeOptions::default() };
    let mut c = Cluster::prepare(&[two.clone(), two]);
    c.start_all();
    c.meshed();
    let id = job_id(&c.filch(["submit", "--handler", "noop", "--array", "1-100000"]).run().ok());
    let done = c.nodes[0].succeeded(&id, LONG);
    assert_eq!((done.summary.counts.total, done.summary.counts.succeeded), (100_000, 100_000));
    assert_eq!(c.executions(), (100_000, 100_000), "launched, finished");
    // The other one comes to know all of it, too.
    let there = c.nodes[1].succeeded(&id, LONG);
    assert_eq!(there.summary.counts.succeeded, 100_000);
    c.down();
}

#[test]
fn big_files_travel_whole() {
    let c = Cluster::start(3);
    let n = &c.nodes[2];
    write_files(&n.work(), [("big".to_owned(), 20 << 20), ("tool".to_owned(), 10)]);
    std::fs::write(n.work().join("tool"), "#!/bin/sh\nsleep 0.2\nsha256sum < big\nrev=$1\ntac -s . big > \"$rev\"\n")
        .unwrap();
    std::fs::set_permissions(n.work().join("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // A program of the user's own, with a file that all tasks share: both go along.
    let map = ["map", "-i", "big", "-i", "tool", "-o", "out/{}", "--", "./tool", "{out}", ":::"];
    let out = n.filch(map).args((1..=9).map(|n| n.to_string())).run().ok().text();
    let local = Cmd::new("sh").args(["-c", "sha256sum < big; tac -s . big > want"]).dir(n.work()).run().ok().text();
    assert_eq!(out, local.repeat(9));
    let want = std::fs::read(n.work().join("want")).unwrap();
    same_files(&n.work().join("out"), &(1..=9).map(|n| (n.to_string(), want.clone())).collect());
    let fetched: Vec<u64> = c.nodes.iter().map(|n| n.info().unwrap().counters.bytes_fetched).collect();
    assert!(fetched[0] > 20 << 20 && fetched[1] > 20 << 20, "the others ran some of it: {fetched:?}");
    c.down();
}

#[test]
fn the_api_tells_what_happens() {
    let c = Cluster::start(2);
    let n = &c.nodes[0];
    let events = harness::http::request(&n.socket, "GET", filch_api::routes::EVENTS, None).unwrap();
    assert_eq!(events.status, 200);
    let mut events = events.lines().map(|l| serde_json::from_str::<filch_api::Event>(&l).unwrap().event);
    assert!(matches!(events.next(), Some(filch_api::EventKind::Hello { .. })));
    let id = job_id(&n.filch(["submit", "--", "true"]).run().ok());
    let over = filch_api::EventKind::State { state: filch_api::JobState::Succeeded };
    assert!(events.any(|e| e == over), "the end of {id} is told");

    let document: serde_json::Value = n.get(filch_api::routes::OPENAPI).unwrap();
    for route in [filch_api::routes::JOBS, filch_api::routes::RESULTS, filch_api::routes::EVENTS] {
        assert!(document["paths"][route].is_object(), "{route} is not in the OpenAPI document");
    }
    let metrics = harness::http::request(&n.socket, "GET", filch_api::routes::METRICS, None).unwrap().bytes().unwrap();
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(metrics.contains("filch_") && metrics.trim_end().ends_with("# EOF"), "{metrics}");
    let lost = harness::http::request(&n.socket, "GET", "/v1/nothing-here", None).unwrap();
    assert_eq!(lost.status, 404);
    let problem: filch_api::Problem = serde_json::from_slice(&lost.bytes().unwrap()).unwrap();
    assert_eq!(problem.code, filch_api::Code::NoSuchRoute);
    c.down();
}
