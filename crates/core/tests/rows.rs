//! Rows of the ledger that rot while the node runs.

mod common;

use common::alone::Alone;
use common::{World, id, spec};
use filch_core::io::ClientId;
use filch_core::{Input, Output};
use filch_types::record::Record;
use filch_types::sign::Simulated;
use filch_types::wire::JobState;
use filch_types::{FactBody, FactId, JobId, Manifest, Nonce, SignedManifest};

fn results(f: &FactBody) -> bool {
    matches!(f, FactBody::Pack(_))
}
fn pins(f: &FactBody) -> bool {
    matches!(f, FactBody::Pin(_))
}

/// A job that ran on these nodes, and all that they told each other after it.
fn done(nodes: u8) -> (World, JobId) {
    let mut w = World::new(nodes, 2);
    let job = w.submit(1, spec(40));
    w.run_all(2000);
    w.pass_ms(20_000);
    assert_eq!(w.node(1).job(job).unwrap().counts.finals, 40);
    (w, job)
}

fn state(w: &World, n: u8, job: JobId) -> (JobState, u64) {
    let v = w.node(n).job(job).unwrap();
    (v.state, v.counts.finals)
}

#[test]
fn a_row_that_rots_comes_back_from_the_others() {
    let (mut w, job) = done(3);
    for n in [1, 2] {
        for kind in [results as fn(&FactBody) -> bool, pins] {
            let gone = w.rot(n, kind);
            assert!(!gone.is_empty());
            w.input(id(n), Input::RowsLost(job));
            assert_eq!(state(&w, n, job), (JobState::Succeeded, 40), "what was final stays so");
            w.pass_ms(20_000);
            assert!(gone.iter().all(|f| w.facts.contains_key(&(id(n), *f))), "node {n}");
            assert_eq!(w.node(n).fingerprint(job), w.node(3).fingerprint(job));
        }
    }
    assert!(w.executed.values().all(|n| *n == 1), "nothing ran again");
}

#[test]
fn a_row_that_is_gone_is_not_listed() {
    let (mut w, job) = done(3);
    (1..=2).for_each(|n| w.kill(n));
    let gone = w.rot(3, results);
    w.input(id(3), Input::RowsLost(job));
    w.pass_ms(60_000);
    let listed = w.node(3).facts(job);
    assert!(!gone.is_empty() && gone.iter().all(|f| !listed.contains(f)), "or others would count on it");
    assert_eq!(state(&w, 3, job), (JobState::Succeeded, 40), "all of it is final");
}

#[test]
fn p4_results_whose_rows_nobody_has_run_again() {
    let mut w = World::new(2, 2);
    let job = w.submit(1, spec(40));
    // The owner is gone before anything is final.
    w.kill(1);
    w.pass_ms(15_000);
    w.run_all(2000);
    assert_eq!(state(&w, 2, job), (JobState::Succeeded, 0));
    let ran: u32 = w.executed.values().sum();
    assert!(!w.rot(2, results).is_empty());
    w.input(id(2), Input::RowsLost(job));
    w.pass_ms(30_000);
    assert_eq!(state(&w, 2, job).0, JobState::Active);
    w.run_all(2000);
    assert_eq!(state(&w, 2, job).0, JobState::Succeeded);
    assert!(w.executed.values().sum::<u32>() > ran);
    // The ledger has what it says it has.
    let kept = w.facts_of(id(2), job);
    assert!(w.node(2).facts(job).iter().all(|f| kept.iter().any(|(k, _)| k == f)));
}

#[test]
fn a_cancel_whose_row_rots_stays_in_force() {
    let mut w = World::new(1, 2);
    let job = w.submit(1, spec(40));
    w.input(id(1), Input::Revoke { client: ClientId(9), job, delete: false });
    w.pass_ms(5_000);
    let launches = w.launches;
    assert_eq!(w.rot(1, |f| matches!(f, FactBody::Cancel)).len(), 1);
    w.input(id(1), Input::RowsLost(job));
    w.pass_ms(60_000);
    assert_eq!((state(&w, 1, job).0, w.launches), (JobState::Cancelled, launches));
}

#[test]
fn damage_that_is_told_again_and_again_costs_one_reading_at_a_time() {
    let (mut w, job) = done(2);
    w.rot(2, results);
    for _ in 0..100 {
        w.input(id(2), Input::RowsLost(job));
    }
    w.pass_ms(20_000);
    assert_eq!(w.facts_of(id(2), job).len(), w.facts_of(id(1), job).len());
    // And none of a job that is not there.
    w.input(id(2), Input::RowsLost(JobId([7; 32])));
}

/// Found by seeds of the `disks` profile: it sent the pack that it had no more for ever, and never forgot the job.
#[test]
fn p5_a_pack_that_the_ledger_lost_before_a_start_is_owed_no_more() {
    for member in [false, true] {
        let mut a = Alone::new(1);
        let replicas = if member { vec![id(2), id(1)] } else { vec![id(2), id(3)] };
        let (owner, nonce) = (id(2), Nonce([9; 16]));
        let m = Manifest { owner, nonce, created_ms: 0, k: 2, r: 2, replicas, spec: spec(10) };
        let signed = SignedManifest::sign(&m, &Simulated(owner)).unwrap();
        let (job, pack) = (signed.job(), FactId([5; 32]));
        a.node.restore(Record::Manifest(job, signed));
        if member {
            a.node.restore(Record::Held(job));
        }
        a.node.restore(Record::Outbox(job, pack));
        let mut out = a.give(Input::PeerUp(id(2)));
        let more = a.commit_all(&out);
        out.extend(more);
        let records = out.iter().filter_map(|o| match o {
            Output::Commit { records, .. } => Some(records),
            _ => None,
        });
        let records: Vec<&Record> = records.flatten().collect();
        assert!(records.iter().any(|r| **r == Record::Lost(job, pack)), "{records:?}");
        assert_eq!(records.iter().any(|r| **r == Record::Drop(job)), !member, "a helper has nothing left of it");
    }
}
