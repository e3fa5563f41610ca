//! Handler tasks.

use filch_exec::Report;
use filch_types::items::Item;
use filch_types::ranges::Range;
use filch_types::{Cause, Outcome};

use crate::world::{Test, With, World, handler};

pub const TESTS: &[Test] = &[
    ("many_no_ops_are_few_runs", many_no_ops_are_few_runs),
    ("a_panic_fails_the_task_only", a_panic_fails_the_task_only),
    ("fail_says_what_it_was_told", fail_says_what_it_was_told),
    ("hash_hashes_inputs", hash_hashes_inputs),
    ("values_become_stdout_and_files_are_collected", values_and_files),
    ("time_limits_are_seen", time_limits_are_seen),
    ("stop_wakes_a_sleeper", stop_wakes_a_sleeper),
    ("what_is_not_here_bounces", what_is_not_here_bounces),
    ("offers_are_complete", offers_are_complete),
];

fn many_no_ops_are_few_runs() {
    let mut w = World::new();
    let m = handler("noop", &[]).array(0, 1, 10_000).job();
    let launch = w.start(&m, Range::new(0, 10_000));
    let (mut done, mut runs) = (0, 0);
    while done < 10_000 {
        let Report::Finished { launch: l, runs: r } = w.report() else { panic!() };
        assert_eq!(l, launch);
        runs += r.len();
        for run in r {
            assert_eq!(run.lo, done);
            done += run.count;
        }
    }
    // One for every 10 ms at most; a machine that is busy elsewhere may need a few.
    assert!(runs < 1000, "{runs} runs");
    assert!(!w.dir.path().join("work/s0").exists(), "no directories");
}

fn a_panic_fails_the_task_only() {
    let mut w = World::new();
    let all = w.run(&handler("panic", &[]).array(0, 1, 2).job());
    for r in &all {
        assert!(matches!(r, Ok(Outcome::Failed(Cause::Handler(t), _)) if t == "panicked: on purpose"), "{r:?}");
    }
    assert!(w.one(&handler("noop", &[]).job()).is_success());
}

fn fail_says_what_it_was_told() {
    let mut w = World::new();
    let out = w.one(&handler("fail", &["no {}"]).array(4, 1, 1).job());
    assert!(matches!(&out, Outcome::Failed(Cause::Handler(t), _) if t == "no 4"), "{out:?}");
    assert_eq!(w.stderr(&out), "no 4");
    let all = w.run(&handler("fail", &["x", "0.25"]).array(0, 1, 400).job());
    let failed = all.iter().filter(|r| !r.as_ref().unwrap().is_success()).count();
    assert!((50..150).contains(&failed), "{failed}");
}

fn hash_hashes_inputs() {
    let mut w = World::new();
    let input = w.store.input("d/x", b"hello", false);
    let item = Item { values: vec![], inputs: vec![w.store.input("y", b"", false)] };
    let mut g = handler("hash", &[]).items(&w.store, &[item]);
    g.inputs = vec![input];
    let out = w.one(&g.job());
    let want = format!(
        "{}  d/x\n{}  y\n",
        "ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f",
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    );
    assert_eq!(w.stdout(&out), want);
}

fn values_and_files() {
    let mut w = World::new();
    let item = Item { values: vec!["a".into(), "b".into()], inputs: vec![] };
    let out = w.one(&handler("write", &[]).items(&w.store, &[item]).outputs(&["o/{1}", "p"]).job());
    assert_eq!(w.stdout(&out), "a,b");
    let paths: Vec<_> = out.output().files.iter().map(|f| (f.path.as_str(), w.store.get(&f.content))).collect();
    assert_eq!(paths, [("o/a", b"o/a".to_vec()), ("p", b"p".to_vec())]);
    let out = w.one(&handler("big", &[]).job());
    assert_eq!((out.output().stdout.total, out.output().blobs().count()), (100_000, 1));
    let out = w.one(&handler("noop", &[]).outputs(&["none"]).job());
    assert!(matches!(out, Outcome::Failed(Cause::OutputMissing(_), _)));
}

fn time_limits_are_seen() {
    let mut w = World::new();
    for name in ["sleep", "spin"] {
        let out = w.one(&handler(name, &["1h"]).limits(30, 0).job());
        assert!(matches!(out, Outcome::Failed(Cause::TimedOut, _)), "{out:?}");
    }
}

fn stop_wakes_a_sleeper() {
    let mut w = World::new();
    let m = handler("sleep", &["1h"]).array(0, 1, 1000).job();
    let launch = w.start(&m, Range::new(0, 1000));
    crate::world::eventually("it runs", || !w.exec.running().is_empty());
    let running = w.exec.running().remove(0);
    assert_eq!((running.launch, running.index, running.live), (launch, 0, None));
    w.exec.stop(launch);
    let got = w.gather(&[(launch, Range::new(0, 1000))]);
    assert!(got[&launch].iter().all(Result::is_err));
}

fn what_is_not_here_bounces() {
    let mut w = World::new();
    let all = w.run(&handler("unheard-of", &[]).array(0, 1, 5).job());
    assert!(all.iter().all(|r| r.as_ref().is_err_and(|why| why.contains("`unheard-of`"))), "{all:?}");
    let m = handler("noop", &[]).array(0, 1, 5).job();
    let mut b = crate::world::batch(77, &m, Range::new(0, 5));
    b.slot = 9;
    w.exec.start(b);
    assert!(matches!(w.report(), Report::Bounced { launch: 77, tasks, .. } if tasks == Range::new(0, 5)));
    let launch = w.start(&m, Range::new(3, 9));
    assert!(matches!(w.report(), Report::Bounced { launch: l, .. } if l == launch), "beyond the job");
}

fn offers_are_complete() {
    let w = World::new();
    let offers = w.exec.offers();
    for want in ["command", "handler:noop", "handler:sleep", "handler:spin", "handler:fail", "handler:hash"] {
        assert!(offers.iter().any(|o| o == want), "{want}");
    }
}
