//! Work goes where its inputs are, or can be in time ("How work moves": victim choice, and that a slot never waits for the network).

mod common;

use common::alone::Alone;
use common::{World, id, spec};
use filch_core::io::Launch;
use filch_core::{Input, Output};
use filch_types::time::Span;
use filch_types::wire::{Request, Response};
use filch_types::{JobId, NodeId, Outcome, ResultRun, TaskOutput};

fn runs(l: &Launch, us: u64) -> Vec<ResultRun> {
    let ok = Outcome::Success(TaskOutput::default());
    (l.tasks.lo..l.tasks.hi).map(|i| ResultRun::one(i, l.attempt, us, ok.clone())).collect()
}

/// The next launch of a node.
fn next(w: &World, n: NodeId) -> Option<Launch> {
    w.launched.iter().find(|(who, _)| *who == n).map(|(_, l)| l.clone())
}

/// Five nodes of one slot, of which `helper` keeps nothing of the job.
fn with_helper(tasks: u32) -> (World, JobId, NodeId) {
    let mut w = World::new(5, 1);
    let job = w.submit(1, spec(tasks));
    let replicas = w.node(1).job(job).expect("known").replicas;
    let helper = (2..=5).map(id).find(|n| !replicas.contains(n)).expect("three of five keep it");
    for _ in 0..20 {
        if next(&w, helper).is_some() {
            break;
        }
        w.pass_ms(100);
    }
    (w, job, helper)
}

/// A launch's inputs take so long, and it runs so long.
fn run(w: &mut World, n: NodeId, l: &Launch, wait_ms: u64, run_ms: u64) {
    if wait_ms > 0 {
        w.input(n, Input::Staging(l.id));
        w.pass_ms(wait_ms);
        w.input(n, Input::Staged(l.id));
    }
    w.pass_ms(run_ms);
    w.launched.retain(|(who, x)| *who != n || x.id != l.id);
    w.input(n, Input::Finished { launch: l.id, runs: runs(l, run_ms * 1000) });
}

#[test]
fn inputs_that_take_time_are_fetched_while_something_else_runs() {
    let (mut w, _, helper) = with_helper(400);
    let first = next(&w, helper).expect("a helper runs tasks");
    run(&mut w, helper, &first, 300, 100);
    let second = next(&w, helper).expect("and goes on");
    let ahead: Vec<_> = w.ahead.iter().filter(|(n, _)| *n == helper).map(|(_, r)| *r).collect();
    assert_eq!(ahead.len(), 1, "one launch ahead per slot: {ahead:?}");
    assert!(ahead[0].lo >= second.tasks.hi, "not those of what has begun");
    run(&mut w, helper, &second, 0, 100);
    let third = next(&w, helper).expect("and on");
    assert_eq!(third.tasks, ahead[0], "it was the next one");
    assert!(w.ahead.iter().all(|(n, _)| *n == helper), "who keeps the job has its inputs: {:?}", w.ahead);
}

#[test]
fn inputs_that_are_here_are_not_asked_for() {
    let (mut w, _, helper) = with_helper(400);
    for _ in 0..5 {
        let l = next(&w, helper).expect("a helper runs tasks");
        run(&mut w, helper, &l, 0, 100);
    }
    assert_eq!(w.ahead, []);
}

#[test]
fn work_is_asked_for_before_long_tasks_end_if_their_inputs_take_long() {
    let (mut w, _, helper) = with_helper(400);
    let first = next(&w, helper).expect("a helper runs tasks");
    // Ten seconds of work are more than a node keeps ahead: it asks for one at a time.
    run(&mut w, helper, &first, 1_000, 10_000);
    let second = next(&w, helper).expect("and goes on");
    w.input(helper, Input::Staging(second.id));
    w.pass_ms(1_000);
    w.input(helper, Input::Staged(second.id));
    w.pass_ms(8_000);
    assert_eq!(w.nodes[&helper].queued(), 0, "too early");
    w.pass_ms(1_500);
    assert_eq!(w.nodes[&helper].queued(), 1, "its inputs come while the last second runs");
    assert_eq!(w.ahead.iter().filter(|(n, _)| *n == helper).count(), 1);
}

/// A node with many tasks of 100 ms queued.
fn victim() -> (Alone, JobId) {
    let mut a = Alone::new(1);
    a.peer(2);
    let (job, out) = a.submit(1000, 1);
    let launch = out.iter().find_map(|o| if let Output::Launch(l) = o { Some(l.clone()) } else { None });
    let launch = launch.expect("begins here");
    a.give(Input::Finished { launch: launch.id, runs: runs(&launch, 100_000) });
    (a, job)
}

#[test]
fn a_thief_gets_only_what_would_wait_for_longer_than_its_inputs_take() {
    let (mut a, job) = victim();
    let steal = |wait| Request::Steal { job, want: 8, idle: 2, wait };
    let (far, _) = a.ask(2, steal(Span::secs(60)));
    assert_eq!(far, Response::Waiting, "all of the queue begins here within a minute");
    let (near, _) = a.ask(2, steal(Span::millis(10)));
    let Response::Stolen { runs, .. } = near else { panic!("{near:?}") };
    assert_eq!(runs.iter().map(|r| r.count).sum::<u32>(), 8);
}
