//! Everything is drawn, whole classes of faults are left out at random: what the protocol promises holds all the same.

mod common;

use filch_sim::Profile;

#[test]
fn all_faults() {
    let runs = common::sweep(Profile::Swarm, 0, 200);
    assert!(runs.iter().map(|r| r.stats.faults).sum::<u64>() > 400, "faults really happen");
    assert!(runs.iter().map(|r| r.stats.stolen).sum::<u64>() > 100, "work is really stolen");
}

#[test]
fn two_nodes() {
    common::sweep(Profile::Minimal, 0, 100);
}

#[test]
fn disks_are_wiped_while_copies_are_made() {
    let runs = common::sweep(Profile::Disks, 0, 40);
    assert!(runs.iter().map(|r| r.stats.faults).sum::<u64>() > 200, "disks are really wiped");
}

#[test]
fn more_losses_than_promised_to_survive() {
    common::sweep(Profile::OverBudget, 0, 100);
}
