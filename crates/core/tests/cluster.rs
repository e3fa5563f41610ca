//! Small clusters without latency: who does what, and how often.

mod common;

use common::{World, id, spec};
use filch_core::Event;
use filch_types::wire::JobState;
use filch_types::{Cause, Outcome, TaskOutput};

#[test]
fn one_node_runs_a_job_to_the_end() {
    let mut w = World::new(1, 2);
    let job = w.submit(1, spec(10));
    assert_eq!(w.accepted(job), Some(vec![id(1)]));
    w.run_all(1000);
    let v = w.node(1).job(job).unwrap();
    assert_eq!(v.state, JobState::Succeeded);
    assert_eq!((v.counts.succeeded, v.counts.finals), (10, 10));
    assert!(w.executed.values().all(|n| *n == 1) && w.executed.len() == 10);
}

#[test]
fn three_nodes_share_a_job_and_each_task_runs_once() {
    let mut w = World::new(3, 2);
    let job = w.submit(1, spec(3000));
    assert_eq!(w.accepted(job).unwrap().len(), 3);
    w.run_all(2000);
    w.pass_ms(10_000);
    for n in 1..=3 {
        let v = w.node(n).job(job).unwrap();
        assert_eq!((v.state, v.counts.succeeded), (JobState::Succeeded, 3000), "node {n}");
        assert_eq!(v.counts.finals, 3000, "node {n}");
        assert!(w.node(n).counters().finished > 300, "node {n} did its share");
        assert_eq!(w.node(n).fingerprint(job), w.node(1).fingerprint(job));
    }
    assert!(w.executed.values().all(|n| *n == 1) && w.executed.len() == 3000);
}

#[test]
fn an_owner_whose_results_are_all_final_waits_for_no_copies() {
    let mut w = World::new(3, 2);
    let job = w.submit(1, spec(300));
    w.run_all(2000);
    w.pass_ms(10_000);
    assert_eq!(w.node(1).job(job).unwrap().counts.finals, 300);
    // Replicas ack pins, too: an owner that took these for results looked for more copies of them for ever.
    for _ in 0..100 {
        w.pass_ms(100);
        let due = w.node(1).poll_timeout().map(|d| d.reason);
        assert_ne!(due, Some("pin with fewer copies"));
    }
}

#[test]
fn a_million_tasks_cost_a_few_messages() {
    let mut w = World::new(2, 2);
    let before = w.messages;
    let job = w.submit(1, spec(1_000_000));
    w.run_all(1);
    w.pass_ms(10_000);
    assert_eq!(w.node(1).job(job).unwrap().counts.finals, 1_000_000);
    assert!(w.executed.values().all(|n| *n == 1));
    assert!(w.messages - before < 3000, "{} messages", w.messages - before);
}

#[test]
fn a_dead_worker_s_tasks_run_elsewhere() {
    let mut w = World::new(3, 2);
    let job = w.submit(1, spec(200));
    for _ in 0..20 {
        w.finish_one(50_000, Outcome::Success(TaskOutput::default()));
        w.pass_ms(25);
    }
    w.kill(3);
    w.run_all(50_000);
    w.pass_ms(20_000);
    let v = w.node(1).job(job).unwrap();
    assert_eq!((v.state, v.counts.finals), (JobState::Succeeded, 200));
    assert!(w.events.iter().any(|(_, e)| matches!(e, Event::Reclaimed { .. })));
    assert_eq!(w.executed.len(), 200);
}

#[test]
fn the_submitter_dies_and_the_job_ends_without_it_and_is_pinned_when_it_returns() {
    let mut w = World::new(3, 2);
    let job = w.submit(1, spec(100));
    w.finish_one(50_000, Outcome::Success(TaskOutput::default()));
    w.kill(1);
    w.pass_ms(8000);
    w.run_all(50_000);
    w.pass_ms(10_000);
    let v = w.node(2).job(job).unwrap();
    assert_eq!((v.state, v.counts.succeeded), (JobState::Succeeded, 100));
    w.restart(1, 2);
    w.pass_ms(30_000);
    for n in 1..=3 {
        assert_eq!(w.node(n).job(job).unwrap().counts.finals, 100, "node {n}");
    }
}

#[test]
fn all_nodes_die_at_once_and_the_job_ends_after_their_return() {
    let mut w = World::new(3, 2);
    let job = w.submit(2, spec(60));
    for _ in 0..10 {
        w.finish_one(50_000, Outcome::Success(TaskOutput::default()));
    }
    (1..=3).for_each(|n| w.kill(n));
    (1..=3).for_each(|n| w.restart(n, 2));
    w.pass_ms(15_000);
    w.run_all(50_000);
    w.pass_ms(20_000);
    assert_eq!(w.node(2).job(job).unwrap().counts.finals, 60);
}

#[test]
fn failures_are_retried_as_often_as_asked_and_then_final() {
    let mut w = World::new(2, 1);
    let mut s = spec(1);
    s.groups[0].retries = 2;
    let job = w.submit(1, s);
    for _ in 0..10 {
        w.finish_one(1000, Outcome::Failed(Cause::Exit(3), TaskOutput::default()));
        w.pass_ms(3000);
    }
    assert_eq!(w.executed[&(job, 0)], 3);
    let v = w.node(1).job(job).unwrap();
    assert_eq!((v.state, v.counts.failed, v.counts.finals), (JobState::Failed, 1, 1));
}

#[test]
fn cancel_reaches_everyone_and_starts_nothing_more() {
    use filch_core::Input;
    use filch_core::io::ClientId;
    let mut w = World::new(3, 1);
    let job = w.submit(1, spec(100));
    w.finish_one(500_000, Outcome::Success(TaskOutput::default()));
    w.input(id(2), Input::Revoke { client: ClientId(99), job, delete: false });
    w.pass_ms(3000);
    assert!(w.launched.is_empty(), "running tasks were stopped");
    let before: u32 = w.executed.values().sum();
    w.run_all(1000);
    assert_eq!(w.executed.values().sum::<u32>(), before);
    for n in 1..=3 {
        assert_eq!(w.node(n).job(job).unwrap().state, JobState::Cancelled, "node {n}");
    }
    w.input(id(3), Input::Revoke { client: ClientId(100), job, delete: true });
    w.pass_ms(20_000);
    for n in 1..=3 {
        assert!(w.node(n).job(job).is_none(), "node {n}");
    }
}

#[test]
fn a_quiet_cluster_is_quiet() {
    let mut w = World::new(8, 2);
    let job = w.submit(1, spec(50));
    w.run_all(1000);
    w.pass_ms(60_000);
    assert_eq!(w.node(1).job(job).unwrap().counts.finals, 50);
    let before = w.messages;
    w.pass_ms(100_000);
    // One probe per pair and idle period, in one direction.
    assert!(w.messages - before <= 8 * 7 / 2 * 10 + 28, "{} messages", w.messages - before);
}

#[test]
fn long_tasks_spread_over_all_slots_and_run_once() {
    let mut w = World::new(4, 2);
    w.submit(1, spec(8));
    w.pass_ms(5000);
    assert_eq!(w.launched.len(), 8, "eight slots, eight tasks");
    w.pass_ms(120_000);
    assert_eq!(w.launched.len(), 8, "a task longer than many leases runs once");
}

#[test]
fn a_replica_that_runs_nothing_notices_a_silent_steward_as_soon_as_a_worker() {
    let mut w = World::new(3, 0);
    w.pass_ms(12_000);
    w.submit(1, spec(10));
    for n in 2..=3 {
        w.cut.extend([(id(1), id(n)), (id(n), id(1))]);
    }
    // A heartbeat, then the patience with silence: not the pause between probes of members that share nothing.
    w.pass_ms(6_000);
    assert!(w.events.iter().any(|(n, e)| *n != id(1) && matches!(e, Event::Steward(..))));
}
