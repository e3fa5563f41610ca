//! Oracles that no planted bug shows: the world is made so that they must speak.

use filch_sim::options::{Leaves, Work};
use filch_sim::{Fault, JobPlan, Options, Sim};

const S: u64 = 1_000_000;

/// Two nodes, a job of the first one; the second one keeps it, and its disk has no room from then on. No fault, so that nothing ends it.
fn full_for_ever(tasks: u32, task_us: u64) -> Sim {
    let mut sim = Sim::new(Options::calm(3, 2, 1));
    let mut plan = JobPlan { at: S, copies: Some(2), ..JobPlan::array(tasks, task_us) };
    plan.work = Work { leaves: Leaves::Inline(40), ..plan.work };
    sim.submit(plan);
    sim.run_until(3 * S).unwrap();
    assert_eq!(sim.world.history.accepted.len(), 1, "two copies");
    sim.world.hosts[1].disk.full = 1;
    sim
}

#[test]
fn a_drain_that_never_ends_is_seen() {
    let mut sim = full_for_ever(200, 100_000);
    sim.inject(5 * S, Fault::Drain { node: 0, back_us: Some(S) });
    let broken = sim.run_until(120 * S).unwrap_err().violation;
    assert!(broken.rule == "L4" && broken.text.starts_with("n0 drains and does not end"), "{broken}");
}

#[test]
fn a_drain_that_waits_for_its_tasks_is_none() {
    let mut sim = Sim::new(Options::calm(3, 2, 1));
    sim.submit(JobPlan { at: S, ..JobPlan::array(2, 90 * S) });
    sim.inject(5 * S, Fault::Drain { node: 1, back_us: Some(S) });
    sim.run_until(80 * S).unwrap();
    assert!(sim.world.hosts[1].is_up() && sim.world.hosts[1].draining, "it waits for its task");
    sim.run_until_done(240 * S).unwrap();
    sim.run_until(sim.world.now + 2 * S).unwrap();
    assert_eq!(sim.world.hosts[1].life, 2, "it ended, and came back a second later");
}
