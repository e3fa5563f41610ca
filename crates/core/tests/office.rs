//! Who is the steward (P7): wrong beliefs end by asking whoever is believed to be in office.

mod common;

use common::alone::Alone;
use common::{id, spec};
use filch_core::{Input, Output};
use filch_types::sign::Simulated;
use filch_types::wire::{Beat, JobBeatAck, JobState, Office, Request, Response, Summary};
use filch_types::{Epoch, JobId, Manifest, NodeId, Nonce, SignedManifest};

const MS_OF_BEATS: u64 = 2500;

/// Node 2 keeps a job together with nodes 1 and 3, whose owner is gone if `r` begins with node 4, and takes node 1 for the steward in the second round.
fn member(r: &[u8]) -> (Alone, JobId) {
    let mut a = Alone::new(2);
    a.peer(1);
    a.peer(3);
    let replicas: Vec<NodeId> = r.iter().map(|n| id(*n)).collect();
    let owner = replicas[0];
    let manifest =
        Manifest { owner, nonce: Nonce([3; 16]), created_ms: 0, k: 3, r: 2, replicas: replicas.clone(), spec: spec(5) };
    let signed = SignedManifest::sign(&manifest, &Simulated(owner)).unwrap();
    let job = signed.job();
    let (_, out) = a.ask(1, Request::Replicate(signed));
    a.commit_all(&out);
    let summary = Summary {
        job,
        owner,
        name: String::new(),
        replicas,
        steward: id(1),
        epoch: Epoch::new(2, &id(1)),
        seq: 1,
        priority: 0,
        needs: vec![],
        total: 5,
        succeeded: 0,
        failed: 0,
        leased: 0,
        grantable: 0,
        state: JobState::Active,
        created_ms: 0,
    };
    a.give(Input::Gossip(summary));
    assert_eq!(a.node.job(job).map(|v| v.steward), Some(id(1)));
    (a, job)
}

fn third() -> Epoch {
    Epoch::new(3, &id(5))
}

fn takes_office(out: &[Output]) -> bool {
    out.iter().any(|o| matches!(o, Output::Event(filch_core::Event::Steward(..))))
}

fn says(job: JobId, steward: Option<NodeId>, epoch: Epoch) -> JobBeatAck {
    JobBeatAck::new(job, steward, epoch, JobState::Active)
}

/// Answers the next heartbeat to node `n`: whom it takes for the steward.
fn denies(a: &mut Alone, n: u8, ack: JobBeatAck) -> Vec<Output> {
    let out = a.pass(MS_OF_BEATS);
    let asked = |b: &Beat| b.offices.iter().any(|o| o.job == ack.job);
    let req = out.iter().find_map(|o| match o {
        Output::Request(to, req, Request::Beat(b)) if *to == id(n) && asked(b) => Some(*req),
        _ => None,
    });
    let jobs = vec![ack];
    a.give(Input::Response(req.expect("it asks whom it believes in"), Response::Beat { jobs, digests: vec![] }))
}

/// Asks node 2 as if it were the steward, and says what it answers.
fn inquires(a: &mut Alone, from: u8, job: JobId, epoch: Epoch) -> (JobBeatAck, Vec<Output>) {
    let beat = Beat { offices: vec![Office { job, epoch }], ..Beat::default() };
    let (r, out) = a.ask(from, Request::Beat(beat));
    let Response::Beat { mut jobs, .. } = r else { panic!("{r:?}") };
    (jobs.remove(0), out)
}

/// Two members that each take the other for the steward, found by seed `disks 1210`: one of them had lost its disk, so that their epochs differ.
#[test]
fn l1_two_that_believe_in_each_other_do_not_wait_for_ever() {
    let (mut a, job) = member(&[4, 2, 1, 3]);
    let out = denies(&mut a, 1, says(job, Some(id(2)), Epoch::new(1, &id(4))));
    assert!(takes_office(&out), "the first of R that lives");
    let (mut a, job) = member(&[1, 2, 3]);
    let out = denies(&mut a, 1, says(job, Some(id(2)), Epoch::new(1, &id(4))));
    assert!(
        !takes_office(&out),
        "the first of R lives: it is asked again, and hears by that that it is to take the office"
    );
    let out = a.give(Input::PeerDown(id(1)));
    assert!(!takes_office(&out));
    assert!(takes_office(&a.pass(MS_OF_BEATS)));
}

#[test]
fn a_member_that_does_not_know_the_job_is_passed_over() {
    let (mut a, job) = member(&[1, 2, 3]);
    let out = denies(&mut a, 1, says(job, None, Epoch::FIRST));
    assert!(takes_office(&out), "the next of R");
}

#[test]
fn who_is_asked_as_the_steward_says_who_is_or_takes_the_office() {
    let (mut a, job) = member(&[4, 2, 1, 3]);
    let (ack, out) = inquires(&mut a, 3, job, third());
    assert_eq!(
        (ack.steward, takes_office(&out)),
        (Some(id(1)), false),
        "it believes in another one, which has to be asked itself"
    );
    let (ack, out) = inquires(&mut a, 1, job, third());
    assert_eq!(ack.steward, Some(id(2)), "whom it believed in believes in it");
    assert!(takes_office(&out));
    assert!(ack.epoch.round() > 3, "later than any epoch that it heard of: {}", ack.epoch);
}

#[test]
fn a_steward_that_hears_of_a_later_epoch_steps_down_and_of_a_lie_does_not() {
    let (mut a, job) = member(&[4, 2, 1, 3]);
    let (ack, _) = inquires(&mut a, 1, job, third());
    let (lie, _) = inquires(&mut a, 3, job, Epoch::new(5000, &id(3)));
    assert_eq!((lie.steward, lie.epoch), (Some(id(2)), ack.epoch));
    // The number names who is in office: the last of R.
    let later = Epoch::new(ack.epoch.round() + 1, &id(3));
    let (heard, _) = inquires(&mut a, 1, job, later);
    assert_eq!((heard.steward, heard.epoch), (Some(id(3)), later));
    let out = denies(&mut a, 3, says(job, Some(id(1)), later));
    assert!(!takes_office(&out), "it follows whom that one names");
}

#[test]
fn who_goes_down_leaves_its_office_to_the_next_one_at_once() {
    let (mut a, job) = member(&[4, 2, 1, 3]);
    let (_, out) = inquires(&mut a, 1, job, Epoch::FIRST);
    assert!(takes_office(&out));
    a.give(Input::Drain);
    let told = a.beats(10).into_iter().any(|b| b.offices.iter().any(|o| o.job == job));
    assert!(told, "the next one hears that the office is its own");
    let (ack, out) = inquires(&mut a, 3, job, Epoch::FIRST);
    assert_ne!(ack.steward, Some(id(2)));
    assert!(!takes_office(&out));
}
