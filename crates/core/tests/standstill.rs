//! A machine that slept, and a replica without room: what a node does, and says, until it knows more.

mod common;

use common::{World, id, spec};
use filch_core::view::Missing;
use filch_types::wire::JobState;
use filch_types::{Outcome, TaskOutput};

fn ok() -> Outcome {
    Outcome::Success(TaskOutput::default())
}

/// A job of three nodes with two slots each, in the middle of which node 1, its owner and steward, stands still for a minute.
fn slept() -> (World, filch_types::JobId) {
    let mut w = World::new(3, 2);
    let job = w.submit(1, spec(60));
    for _ in 0..20 {
        w.finish_one(100_000, ok());
        w.pass_ms(50);
    }
    assert!(w.node(1).queued() > 0, "something is queued at the one that will sleep");
    w.sleep(1);
    w.pass_ms(20_000);
    for _ in 0..10 {
        // Who found nothing asks again after two seconds at the latest.
        w.run_all(100_000);
        w.pass_ms(3_000);
    }
    (w, job)
}

/// P8: a cut-off worker starts nothing new. What it had queued was done by others while it slept.
#[test]
fn who_slept_starts_nothing_before_it_heard_a_steward() {
    let (mut w, job) = slept();
    assert_eq!(w.node(2).job(job).unwrap().state, JobState::Succeeded, "the others went on");
    let before = w.launches;
    w.wake(1);
    w.pass_ms(20_000);
    assert_eq!(w.launches, before, "the job was over");
    assert_eq!(w.node(1).job(job).unwrap().state, JobState::Succeeded);
    assert_eq!(w.node(1).queued(), 0);
}

/// Alone with its job nobody can have taken over: it goes on at once.
#[test]
fn a_job_of_one_node_goes_on_at_once_after_a_sleep() {
    let mut w = World::new(1, 2);
    let job = w.submit(1, spec(60));
    for _ in 0..10 {
        w.finish_one(100_000, ok());
        w.pass_ms(50);
    }
    w.sleep(1);
    w.pass_ms(60_000);
    w.wake(1);
    w.finish_one(100_000, ok());
    w.finish_one(100_000, ok());
    w.pass_ms(100);
    assert_eq!(w.launched.len(), 2, "both slots go on");
    w.run_all(100_000);
    assert_eq!(w.node(1).job(job).unwrap().counts.finals, 60);
    assert!(w.executed.values().all(|n| *n == 1));
}

#[test]
fn the_owner_says_whose_disk_keeps_results_from_becoming_final() {
    let mut w = World::new(2, 1);
    let job = w.submit(1, spec(2));
    assert_eq!(w.node(1).job(job).unwrap().delay, None);
    w.full.insert(id(2));
    w.finish_one(100_000, ok());
    w.finish_one(100_000, ok());
    w.pass_ms(3_000);
    let view = w.node(1).job(job).unwrap();
    assert_eq!((view.state, view.counts.succeeded, view.counts.finals), (JobState::Succeeded, 2, 0));
    let delay = view.delay.expect("it says why");
    assert_eq!((delay.copies, delay.missing), (2, vec![(id(2), Missing::DiskFull)]));
    assert_eq!(w.node(2).job(job).unwrap().delay, None, "only the owner knows");
    w.full.clear();
    w.pass_ms(20_000);
    let view = w.node(1).job(job).unwrap();
    assert_eq!((view.counts.finals, view.delay), (2, None));
}

#[test]
fn the_owner_says_who_is_gone_while_it_waits_for_them() {
    let mut w = World::new(2, 1);
    let job = w.submit(1, spec(2));
    w.kill(2);
    w.pass_ms(1_000);
    w.finish_one(100_000, ok());
    w.pass_ms(4_000);
    let delay = w.node(1).job(job).unwrap().delay.expect("it says why");
    assert_eq!(delay.missing, vec![(id(2), Missing::Unreachable)]);
}
