//! The tail: what straggles near the end of a job gets one copy elsewhere.

mod common;

use common::{World, id, spec};
use filch_core::io::Launch;
use filch_core::{Event, Input};
use filch_types::wire::JobState;
use filch_types::{Cause, JobId, NodeId, Outcome, ResultRun, TaskOutput};

fn ok() -> Outcome {
    Outcome::Success(TaskOutput::default())
}

fn failed() -> Outcome {
    Outcome::Failed(Cause::Exit(1), TaskOutput::default())
}

fn copied(w: &World) -> Vec<NodeId> {
    let to = |(_, e): &(NodeId, Event)| if let Event::Copied { to, .. } = e { Some(*to) } else { None };
    w.events.iter().filter_map(to).collect()
}

/// Ends one launch of the list.
fn end(w: &mut World, launch: &(NodeId, Launch), outcome: Outcome, us: u64) {
    let (n, l) = launch;
    w.launched.retain(|(who, x)| who != n || x.id != l.id);
    let runs = (l.tasks.lo..l.tasks.hi).map(|i| ResultRun::one(i, l.attempt, us, outcome.clone())).collect();
    w.input(*n, Input::Finished { launch: l.id, runs });
}

/// Twenty tasks of a tenth of a second on three nodes of one slot; the first that starts at node 2 goes on and on.
fn tail(speculate: bool) -> (World, JobId, (NodeId, Launch)) {
    let mut w = World::new(3, 1);
    let mut s = spec(20);
    s.groups[0].limits.speculate = speculate;
    let job = w.submit(1, s);
    let stuck = w.launched.iter().find(|(n, _)| *n == id(2)).cloned().expect("node 2 has begun");
    for _ in 0..200 {
        let Some(next) = w.launched.iter().find(|(_, l)| l.tasks != stuck.1.tasks).cloned() else { break };
        end(&mut w, &next, ok(), 100_000);
        w.pass_ms(100);
    }
    assert_eq!(w.node(1).job(job).unwrap().counts.succeeded, 19, "all but one");
    (w, job, stuck)
}

#[test]
fn what_straggles_is_copied_once_and_elsewhere() {
    let (mut w, job, stuck) = tail(true);
    assert_eq!(copied(&w), vec![], "not before it has taken far longer than the others");
    w.pass_ms(10_000);
    assert_eq!(w.launched.len(), 2, "one task, two attempts");
    let copy = w.launched.iter().find(|(n, _)| *n != id(2)).cloned().unwrap();
    assert_eq!(copy.1.tasks, stuck.1.tasks);
    assert_ne!(copy.1.attempt, stuck.1.attempt, "an attempt has a number of its own (P13)");
    assert_eq!((copied(&w), w.node(1).counters().copied), (vec![copy.0], 1));
    assert_eq!(w.node(1).leases(job).unwrap().copies, vec![(copy.1.tasks, copy.0)]);
    w.pass_ms(60_000);
    assert_eq!(w.launched.len(), 2, "there is no third");
}

#[test]
fn the_copy_wins_and_the_straggler_is_told_to_end() {
    let (mut w, job, _) = tail(true);
    w.pass_ms(10_000);
    let copy = w.launched.iter().find(|(n, _)| *n != id(2)).cloned().unwrap();
    end(&mut w, &copy, ok(), 100_000);
    w.pass_ms(5_000);
    assert!(w.launched.is_empty(), "the loser was stopped: {:?}", w.launched);
    for n in 1..=3 {
        let v = w.node(n).job(job).unwrap();
        assert_eq!((v.state, v.counts.finals), (JobState::Succeeded, 20), "node {n}");
    }
    assert!(!w.events.iter().any(|(_, e)| matches!(e, Event::Bounced { .. } | Event::Reclaimed { .. })));
}

#[test]
fn the_straggler_wins_and_the_copy_is_told_to_end() {
    let (mut w, job, stuck) = tail(true);
    w.pass_ms(10_000);
    end(&mut w, &stuck, ok(), 9_000_000);
    w.pass_ms(5_000);
    assert!(w.launched.is_empty(), "the loser was stopped: {:?}", w.launched);
    assert_eq!(w.node(1).job(job).unwrap().counts.finals, 20);
}

#[test]
fn a_copy_s_failure_says_nothing() {
    let (mut w, job, stuck) = tail(true);
    w.pass_ms(10_000);
    let copy = w.launched.iter().find(|(n, _)| *n != id(2)).cloned().unwrap();
    end(&mut w, &copy, failed(), 100_000);
    w.pass_ms(10_000);
    assert_eq!(w.node(1).job(job).unwrap().state, JobState::Active, "the first attempt has the say");
    assert_eq!(w.launched.len(), 1, "and is not copied again");
    end(&mut w, &stuck, ok(), 20_000_000);
    w.pass_ms(5_000);
    assert_eq!(w.node(1).job(job).unwrap().state, JobState::Succeeded);
}

#[test]
fn a_copy_takes_the_place_of_an_attempt_that_is_lost() {
    let (mut w, job, _) = tail(true);
    w.pass_ms(10_000);
    w.kill(2);
    w.pass_ms(20_000);
    assert_eq!(w.launched.len(), 1, "the copy goes on, and nothing else was begun");
    let copy = w.launched[0].clone();
    assert_eq!(w.node(1).leases(job).unwrap().held, vec![(copy.1.tasks, copy.0)]);
    end(&mut w, &copy, ok(), 100_000);
    w.pass_ms(5_000);
    assert_eq!(w.node(1).job(job).unwrap().counts.succeeded, 20);
}

#[test]
fn a_lost_copy_leaves_the_first_attempt_alone() {
    let (mut w, job, stuck) = tail(true);
    w.pass_ms(10_000);
    let copy = w.launched.iter().find(|(n, _)| *n != id(2)).cloned().unwrap();
    if copy.0 == id(1) {
        // The steward itself: another test.
        return;
    }
    w.kill(3);
    w.pass_ms(20_000);
    assert_eq!(w.launched.len(), 1);
    end(&mut w, &stuck, ok(), 20_000_000);
    w.pass_ms(5_000);
    assert_eq!(w.node(1).job(job).unwrap().counts.succeeded, 20);
}

/// Copies are soft state: the next steward learns from heartbeats which of two attempts is the copy.
#[test]
fn another_steward_takes_copies_for_what_they_are() {
    let (mut w, job, stuck) = tail(true);
    w.pass_ms(10_000);
    let copy = w.launched.iter().find(|(n, _)| *n != id(2)).cloned().unwrap();
    if copy.0 == id(1) {
        w.kill(1);
        w.pass_ms(20_000);
        assert_eq!(w.launched.len(), 2, "the straggler, and a new copy: the old one died with its node");
        return;
    }
    w.kill(1);
    w.pass_ms(20_000);
    assert_eq!(w.launched.len(), 2, "both go on");
    let steward = (2..=3).find_map(|n| w.node(n).leases(job)).expect("somebody took over");
    assert_eq!(steward.held, vec![(stuck.1.tasks, stuck.0)]);
    assert_eq!(steward.copies, vec![(copy.1.tasks, copy.0)]);
}

#[test]
fn a_job_that_says_no_gets_no_copies() {
    let (mut w, _, _) = tail(false);
    w.pass_ms(60_000);
    assert_eq!((w.launched.len(), copied(&w)), (1, vec![]));
}

#[test]
fn long_tasks_of_which_none_has_ended_are_not_copied() {
    let mut w = World::new(4, 2);
    w.submit(1, spec(4));
    w.pass_ms(600_000);
    assert_eq!((w.launched.len(), copied(&w)), (4, vec![]));
}
