//! Ends: of trees, by time limits, stops and shutdowns.

use std::fs;
use std::time::Duration;

use filch_exec::Report;
use filch_types::ranges::Range;
use filch_types::{Cause, Outcome};

use crate::world::{Test, With, World, alive, command, eventually, handler, shell};

pub const TESTS: &[Test] = &[
    ("daemons_are_dead_before_outputs_are_collected", daemons_are_dead_before_outputs_are_collected),
    ("last_words_of_a_pipeline_are_waited_for", last_words_of_a_pipeline_are_waited_for),
    ("time_limit_lets_a_program_clean_up", time_limit_lets_a_program_clean_up),
    ("time_limit_kills_what_ignores_it", time_limit_kills_what_ignores_it),
    ("fork_storms_end", fork_storms_end),
    ("stop_ends_what_runs_and_what_waits", stop_ends_what_runs_and_what_waits),
    ("killed_spawner_costs_one_attempt", killed_spawner_costs_one_attempt),
    ("shutdown_leaves_nothing", shutdown_leaves_nothing),
    ("results_do_not_wait_for_the_next_task", results_do_not_wait_for_the_next_task),
    ("orphans_are_reaped_while_the_task_runs", orphans_are_reaped_while_the_task_runs),
];

const DAEMON: &str = "setsid sh -c 'trap \"\" TERM HUP; echo $$ >$PIDFILE; (setsid sleep 1000 & echo $! >$PIDFILE.2); sleep 1000' >/dev/null 2>&1 &
    while [ ! -s $PIDFILE ] || [ ! -s $PIDFILE.2 ]; do sleep 0.01; done;";

fn with_pidfile(w: &World, script: &str) -> (String, std::path::PathBuf) {
    let file = w.dir.path().join("pid");
    (format!("PIDFILE={}; export PIDFILE; {script}", file.display()), file)
}

fn pids(file: &std::path::Path) -> Vec<i32> {
    [file.to_owned(), file.with_extension("2")]
        .iter()
        .filter_map(|f| fs::read_to_string(f).ok()?.trim().parse().ok())
        .collect()
}

fn daemons_are_dead_before_outputs_are_collected() {
    let mut w = World::new();
    let (script, file) = with_pidfile(&w, &format!("{DAEMON} head -c 9000 /dev/zero >out"));
    let from_hook = file.clone();
    *w.store.on_keep.lock().unwrap() = Some(Box::new(move |_| {
        let pids = pids(&from_hook);
        assert!(pids.len() == 2 && pids.iter().all(|p| !alive(*p)), "{pids:?}");
        Ok(())
    }));
    let out = w.one(&shell(&script).outputs(&["out"]).job());
    assert!(out.is_success(), "{out:?}");
    assert_eq!(pids(&file).len(), 2);
}

fn last_words_of_a_pipeline_are_waited_for() {
    let mut w = World::new();
    let out =
        w.one(&shell("(while kill -0 $$ 2>/dev/null; do :; done; echo words >out) & exit 0").outputs(&["out"]).job());
    assert!(out.is_success(), "{out:?}");
}

fn time_limit_lets_a_program_clean_up() {
    let mut w = World::new();
    let script = "trap 'echo bye; exit 0' TERM; echo hello; while :; do sleep 0.02; done";
    let out = w.one(&shell(script).limits(300, 60_000).job());
    assert!(matches!(out, Outcome::Failed(Cause::TimedOut, _)), "{out:?}");
    assert_eq!(w.stdout(&out), "hello\nbye\n");
}

fn time_limit_kills_what_ignores_it() {
    let mut w = World::new();
    let (script, file) = with_pidfile(&w, &format!("trap '' TERM; {DAEMON} echo up; while :; do sleep 0.02; done"));
    let out = w.one(&shell(&script).limits(700, 150).job());
    assert!(matches!(out, Outcome::Failed(Cause::TimedOut, _)), "{out:?}");
    assert_eq!(w.stdout(&out), "up\n");
    assert!(pids(&file).iter().all(|p| !alive(*p)));
}

fn fork_storms_end() {
    let mut w = World::new();
    // Every process starts another in a session of its own and ends.
    let script = "cat >hop <<'E'\n#!/bin/sh\nsetsid ./hop >/dev/null 2>&1 &\nE\nchmod 755 hop; ./hop; ./hop; exit 0";
    assert!(w.one(&shell(script).job()).is_success());
    let left = || {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let work = w.dir.path().canonicalize().unwrap();
        let dirs = all.filter_map(|e| fs::read_link(e.path().join("cwd")).ok());
        dirs.filter(|d| d.starts_with(work.join("work/s0")) && !d.ends_with("s0")).count()
    };
    // The spawner itself stays in the directory of the last task until the next.
    assert!(left() <= 1, "{}", left());
}

fn stop_ends_what_runs_and_what_waits() {
    let mut w = World::new();
    let m = shell("echo $$; trap 'exit 0' TERM; while :; do sleep 0.02; done").array(0, 1, 3).job();
    let first = w.start(&m, Range::new(0, 2));
    let second = w.start(&m, Range::new(2, 3));
    eventually("the first runs", || {
        w.exec
            .running()
            .iter()
            .any(|r| r.live.as_ref().is_some_and(|l| fs::metadata(&l.stdout.path).is_ok_and(|m| m.len() > 0)))
    });
    let stdout = w.exec.running().remove(0).live.unwrap().stdout.path;
    let pid: i32 = fs::read_to_string(stdout).unwrap().trim().parse().unwrap();
    w.exec.stop(second);
    assert!(
        matches!(w.report(), Report::Bounced { launch, tasks, .. } if launch == second && tasks == Range::new(2, 3))
    );
    assert!(alive(pid), "the other goes on");
    w.exec.stop(999);
    w.exec.stop(first);
    let got = w.gather(&[(first, Range::new(0, 2))]);
    assert!(got[&first].iter().all(|r| r.as_ref().is_err_and(|why| why == "stopped")), "{got:?}");
    assert!(!alive(pid));
    assert!(w.one(&command(&["true"]).job()).is_success(), "the slot goes on");
}

fn killed_spawner_costs_one_attempt() {
    let mut w = World::new();
    let (script, file) =
        with_pidfile(&w, &format!("{DAEMON} [ $FILCH_TASK = 1 ] && kill -9 $PPID; sleep 0.1; echo fine"));
    let m = shell(&script).array(0, 1, 3).job();
    let all = w.run(&m);
    assert!(all[0].as_ref().is_ok_and(Outcome::is_success));
    assert!(all[1].as_ref().is_err_and(|why| why.contains("supervised")), "{all:?}");
    assert!(all[2].as_ref().is_ok_and(Outcome::is_success));
    assert_eq!(w.stdout(all[2].as_ref().unwrap()), "fine\n");
    assert!(pids(&file).iter().all(|p| !alive(*p)));
}

fn shutdown_leaves_nothing() {
    let mut w = World::new();
    let (script, file) = with_pidfile(&w, &format!("trap '' TERM; {DAEMON} sleep 1000"));
    let m = shell(&script).array(0, 1, 2).job();
    let first = w.start(&m, Range::new(0, 1));
    let second = w.start(&m, Range::new(1, 2));
    eventually("it runs", || pids(&file).len() == 2);
    w.exec.shutdown(Duration::from_millis(100));
    let got = w.gather(&[(first, Range::new(0, 1)), (second, Range::new(1, 2))]);
    assert!(got.values().flatten().all(Result::is_err), "{got:?}");
    assert!(pids(&file).iter().all(|p| !alive(*p)));
    w.start(&m, Range::new(0, 1));
    w.exec.shutdown(Duration::ZERO);
}

fn results_do_not_wait_for_the_next_task() {
    let mut w = World::new();
    // The first ends at once, the second never does.
    let m = handler("sleep", &["{}"]).array(0, 10_000, 2).job();
    let launch = w.start(&m, Range::new(0, 2));
    let Report::Finished { runs, .. } = w.report() else { panic!() };
    assert_eq!((runs.len(), runs[0].count), (1, 1));
    w.exec.stop(launch);
    assert!(matches!(w.report(), Report::Bounced { tasks, .. } if tasks == Range::new(1, 2)));
}

fn orphans_are_reaped_while_the_task_runs() {
    let mut w = World::new();
    let script = "for i in 1 2 3; do (setsid true & echo $! >>pids); done
        for p in $(cat pids); do while [ -e /proc/$p ]; do sleep 0.02; done; done";
    assert!(w.one(&shell(script).job()).is_success());
}
