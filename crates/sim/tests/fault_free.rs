//! Nothing goes wrong: every task runs exactly once, and everything ends.

mod common;

use filch_sim::{JobPlan, Options, Profile, Sim, World};

#[test]
fn one_node_runs_one_job() {
    let mut sim = Sim::new(Options::calm(1, 1, 2));
    let job = sim.submit(JobPlan::array(50, 10_000));
    sim.run_until_done(60_000_000).unwrap();
    let view = sim.job(job).unwrap();
    assert_eq!((view.counts.succeeded, view.counts.finals), (50, 50));
    assert_eq!(sim.summary().executions, 50);
}

#[test]
fn work_spreads_over_the_cluster() {
    let mut sim = Sim::new(Options::calm(2, 4, 2));
    sim.run_until(2_000_000).unwrap();
    let job = sim.submit(JobPlan { at: 2_000_000, ..JobPlan::array(800, 50_000) });
    // 800 tasks of 50 ms on 8 slots are 5 s; the lease of the whole must not cost more than a few heartbeats on top.
    sim.run_until(10_000_000).unwrap();
    assert_eq!(sim.job(job).unwrap().counts.finals, 800);
    // The other copies hear of it in the rounds of anti-entropy.
    sim.run_until_done(60_000_000).unwrap();
}

#[test]
fn drawn_runs() {
    let runs = common::sweep(Profile::FaultFree, 0, 150);
    assert!(runs.iter().map(|r| r.jobs).sum::<u64>() > 100, "jobs are really submitted");
}

#[test]
fn a_world_without_jobs_ends_at_once() {
    let mut world = World::new(Options::calm(3, 3, 1));
    assert!(world.run_until(10_000_000));
    assert!(world.outstanding().is_none());
}
