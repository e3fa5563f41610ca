//! A disk that is slower than results come in: what waits for it becomes few groups, and a new steward does not wait behind it.

mod common;

use common::alone::{Alone, tickets};
use common::{id, spec};
use filch_core::io::Ticket;
use filch_core::{Input, Output};
use filch_types::record::Record;
use filch_types::sign::Simulated;
use filch_types::wire::{Message, Request};
use filch_types::{
    Fact, FactBody, FactId, JobId, Manifest, Nonce, Outcome, ResultRun, SignedFact, SignedManifest, TaskOutput,
};

const TASKS: u32 = 100;

/// A member of R, and what its disk was told when results of most tasks came one by one and nothing was durable yet.
fn behind() -> (Alone, JobId, Vec<Output>) {
    let mut a = Alone::new(2);
    a.peer(1);
    let (nonce, replicas) = (Nonce([3; 16]), vec![id(1), id(2)]);
    let manifest = Manifest { owner: id(1), nonce, created_ms: 0, k: 2, r: 1, replicas, spec: spec(TASKS) };
    let signed = SignedManifest::sign(&manifest, &Simulated(id(1))).unwrap();
    let job = signed.job();
    let (_, out) = a.ask(1, Request::Replicate(signed));
    a.commit_all(&out);
    let outs = (0..TASKS - 1).map(|i| {
        let runs = vec![ResultRun::one(i, 1, 5, Outcome::Success(TaskOutput::default()))];
        let fact = SignedFact::sign(&Fact { job, by: id(1), body: FactBody::Pack(runs) }, &Simulated(id(1))).unwrap();
        a.give(Input::Message(id(1), Message::Facts(vec![fact])))
    });
    let out = outs.collect::<Vec<_>>().concat();
    (a, job, out)
}

fn stored(out: &[Output]) -> Vec<FactId> {
    let of = |o: &Output| match o {
        Output::Send(_, Message::Stored { facts, .. }) => facts.clone(),
        _ => Vec::new(),
    };
    out.iter().flat_map(of).collect()
}

fn round(out: &[Output]) -> Option<Ticket> {
    out.iter().find_map(|o| match o {
        Output::Commit { ticket, records, .. } if matches!(records[..], [Record::Round(..)]) => Some(*ticket),
        _ => None,
    })
}

#[test]
fn p2_what_waits_for_the_disk_becomes_one_group_and_is_acked_when_it_is_durable() {
    let (mut a, job, out) = behind();
    let first = tickets(&out);
    assert!(first.len() < 20, "{} groups are under way", first.len());
    let out = a.give(Input::Committed(first[0]));
    assert_eq!(stored(&out).len(), 1, "the others are not durable");
    let next = tickets(&out);
    assert_eq!(next.len(), 1, "all that waited");
    let mut acked = stored(&out);
    first[1..].iter().for_each(|t| acked.extend(stored(&a.give(Input::Committed(*t)))));
    acked.extend(stored(&a.give(Input::Committed(next[0]))));
    acked.sort_unstable();
    assert_eq!(acked, a.node.facts(job), "each of them once");
    assert_eq!(acked.len(), TASKS as usize - 1);
}

#[test]
fn p2_a_full_disk_refuses_all_of_a_group() {
    let (mut a, job, out) = behind();
    let first = tickets(&out);
    let out = a.give(Input::Committed(first[0]));
    first[1..].iter().for_each(|t| drop(a.give(Input::Committed(*t))));
    let failed = a.give(Input::CommitFailed(tickets(&out)[0], "full".into()));
    assert_eq!(stored(&failed), []);
    assert_eq!(a.node.facts(job).len(), first.len());
}

/// Found by seed `disks 3130`: results of a minute lay before the record of its round, and nobody granted meanwhile.
#[test]
fn l5_a_new_steward_grants_though_results_wait_for_its_disk() {
    let (mut a, job, _) = behind();
    a.give(Input::PeerDown(id(1)));
    let out = a.pass(2_000);
    let round = round(&out).expect("it takes the office, and says so to the disk at once");
    a.give(Input::Committed(round));
    a.pass(6_000);
    assert!(a.node.leases(job).is_some_and(|l| l.granting));
}
