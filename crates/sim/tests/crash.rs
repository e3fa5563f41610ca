//! Nodes crash and come back with their disks: no acked job and no acked result is lost.

mod common;

use filch_sim::{DiskAfter, Fault, JobPlan, Options, Profile, Sim};

#[test]
fn the_submitter_may_leave_after_the_ack() {
    let mut sim = Sim::new(Options::calm(11, 4, 2));
    sim.run_until(2_000_000).unwrap();
    let job = sim.submit(JobPlan { at: 2_000_000, ..JobPlan::array(300, 100_000) });
    sim.run_until(4_000_000).unwrap();
    assert_eq!(sim.world.history.accepted.len(), 1, "accepted within two seconds");
    sim.inject(4_000_000, Fault::kill(0));
    sim.run_until_done(120_000_000).unwrap();
    assert_eq!(sim.job(job).unwrap().counts.succeeded, 300);
    assert!(!sim.world.hosts[0].is_up() && sim.world.refused.is_empty(), "it did leave");
}

#[test]
fn every_node_restarts_in_turn() {
    let mut sim = Sim::new(Options::calm(12, 5, 2));
    let job = sim.submit(JobPlan { at: 1_000_000, ..JobPlan::array(400, 150_000) });
    for node in 0..5 {
        let crash = Fault::Crash { node, down_us: 2_000_000, disk: DiskAfter::Kept, power: node % 2 == 0 };
        sim.inject(3_000_000 + 3_000_000 * node as u64, crash);
    }
    sim.run_until_done(240_000_000).unwrap();
    assert_eq!(sim.job(job).unwrap().counts.finals, 400);
}

#[test]
fn drawn_runs() {
    let runs = common::sweep(Profile::Crash, 0, 150);
    assert!(runs.iter().map(|r| r.stats.faults).sum::<u64>() > 300, "nodes really crash");
}
