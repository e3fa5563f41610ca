//! The protocol rule by rule: exact inputs, exact outputs.

mod common;

use common::alone::{Alone, tickets};
use common::{World, config, id, spec};
use filch_core::io::{ClientId, LaunchId, Reply};
use filch_core::{Event, Input, Node, Output};
use filch_types::fact::{Fact, FactBody};
use filch_types::manifest::{Edge, EdgeKind};
use filch_types::record::Record;
use filch_types::sign::{Keyring, Simulated};
use filch_types::wire::{
    Beat, Given, Hello, JobBeat, JobDigest, JobState, LeaseRun, Message, Request, Response, Summary,
};
use filch_types::{
    Cause, Epoch, JobId, MachineId, Manifest, NodeId, Nonce, Outcome, ResultRun, SignedFact, SignedManifest, StoreId,
    TaskOutput, Timestamp,
};

fn accepted(out: &[Output]) -> bool {
    out.iter().any(|o| matches!(o, Output::Reply(_, Reply::Accepted { .. })))
}

fn stored_to(out: &[Output], n: u8) -> bool {
    out.iter().any(|o| matches!(o, Output::Send(to, Message::Stored { .. }) if *to == id(n)))
}

fn pack(job: JobId, by: NodeId, lo: u32, count: u32, attempt: u64) -> SignedFact {
    let outcome = Outcome::Success(TaskOutput::default());
    let run = ResultRun { lo, count, attempt, wall_us: 1, outcome };
    SignedFact::sign(&Fact { job, by, body: FactBody::Pack(vec![run]) }, &Simulated(by)).unwrap()
}

fn beat(job: JobId, seen_grant: u64, held: Vec<LeaseRun>) -> Request {
    let jobs =
        vec![JobBeat { job, epoch: Epoch::FIRST, seen_grant, held, running: vec![], given: vec![], bags: vec![] }];
    Request::Beat(Beat { jobs, ..Beat::default() })
}

#[test]
fn p3_a_job_is_accepted_only_when_k_stores_hold_it() {
    let mut a = Alone::new(1);
    a.peer(2);
    a.peer(3);
    let (job, out) = a.submit(10, 3);
    assert!(!accepted(&out), "the own copy is one of three");
    let asked: Vec<_> = out.iter().filter(|o| matches!(o, Output::Request(_, _, Request::Replicate(_)))).collect();
    assert_eq!(asked.len(), 2);
    assert!(!accepted(&a.held(2, job)));
    assert!(!accepted(&a.held(2, job)), "the same store counts once");
    assert!(accepted(&a.held(3, job)));
}

#[test]
fn p3_a_repeated_submit_is_the_same_job() {
    let mut a = Alone::new(1);
    let (job, out) = a.submit(10, 1);
    assert!(accepted(&out));
    let again = Input::Submit {
        client: ClientId(2),
        nonce: Nonce([9; 16]),
        now_ms: 77,
        spec: Box::new(spec(10)),
        copies: None,
    };
    let out = a.give(again);
    assert!(out.iter().any(|o| matches!(o, Output::Reply(ClientId(2), Reply::Submitted(j)) if *j == job)));
    assert!(accepted(&out) && tickets(&out).is_empty());
}

#[test]
fn p2_facts_are_acked_only_after_they_are_durable() {
    let mut a = Alone::new(1);
    a.peer(2);
    let (job, _) = a.submit(10, 1);
    let fact = pack(job, id(2), 0, 10, 1);
    let out = a.give(Input::Message(id(2), Message::Facts(vec![fact.clone()])));
    assert!(!stored_to(&out, 2));
    assert!(a.give(Input::Message(id(2), Message::Facts(vec![fact.clone()]))).is_empty(), "on its way already");
    let done = a.commit_all(&out);
    assert!(stored_to(&done, 2));
    let out = a.give(Input::Message(id(2), Message::Facts(vec![fact])));
    assert!(stored_to(&out, 2) && tickets(&out).is_empty(), "known facts are acked at once and not written again");
}

#[test]
fn p2_a_full_disk_refuses_and_goes_on() {
    let mut a = Alone::new(1);
    a.peer(2);
    let (job, _) = a.submit(10, 1);
    let fact = pack(job, id(2), 0, 10, 1);
    let out = a.give(Input::Message(id(2), Message::Facts(vec![fact.clone()])));
    let failed = a.give(Input::CommitFailed(tickets(&out)[0], "full".into()));
    assert!(!stored_to(&failed, 2));
    let out = a.give(Input::Message(id(2), Message::Facts(vec![fact])));
    assert!(stored_to(&a.commit_all(&out), 2), "the resend is stored");
}

/// A result of task 0 whose output is a blob of 6 bytes.
fn with_blob(job: JobId, by: NodeId) -> (filch_types::BlobId, SignedFact) {
    use filch_types::result::{Content, Stream};
    let blob = filch_types::BlobId::of(b"output");
    let stdout = Stream { kept: Content::Blob(blob, 6), total: 6 };
    let outcome = Outcome::Success(TaskOutput { stdout, ..TaskOutput::default() });
    let body = FactBody::Pack(vec![ResultRun::one(0, 1, 5, outcome)]);
    (blob, SignedFact::sign(&Fact { job, by, body }, &Simulated(by)).unwrap())
}

#[test]
fn p4_blobs_come_before_the_fact_that_names_them() {
    let mut a = Alone::new(1);
    a.peer(2);
    let (job, _) = a.submit(1, 1);
    let (blob, fact) = with_blob(job, id(2));
    let out = a.give(Input::Message(id(2), Message::Facts(vec![fact])));
    assert!(tickets(&out).is_empty());
    let fetch = out.iter().find_map(|o| match o {
        Output::FetchBlobs { fetch, blobs, from, .. } => {
            assert_eq!((blobs.as_slice(), from.first()), ([(blob, 6)].as_slice(), Some(&id(2))));
            Some(*fetch)
        }
        _ => None,
    });
    let out = a.give(Input::Fetched(fetch.expect("fetches")));
    assert!(matches!(&out[0], Output::Commit { blobs, .. } if blobs == &[blob]));
}

/// Found by seed `crash 102`: who reads along has facts without their blobs, and the fact that adds it to R came together with results.
#[test]
fn p4_a_reader_that_hears_that_it_is_in_r_keeps_results_with_their_blobs() {
    let mut a = Alone::new(2);
    let (job, out) = helps(&mut a, Epoch::FIRST, Epoch::FIRST);
    assert!(launched(&out).is_some(), "it knows the job");
    a.give(Input::Watch(job));
    let (blob, result) = with_blob(job, id(1));
    let body = FactBody::AddReplica(id(2));
    let added = SignedFact::sign(&Fact { job, by: id(1), body }, &Simulated(id(1))).unwrap();
    let out = a.give(Input::Message(id(1), Message::Facts(vec![result, added])));
    let got = fetch(&out).expect("fetches what the result names");
    a.commit_all(&out);
    let out = a.give(Input::Fetched(got));
    assert!(out.iter().any(|o| matches!(o, Output::Commit { blobs, .. } if blobs == &[blob])));
}

#[test]
fn forged_and_unauthorised_facts_are_dropped() {
    let mut a = Alone::new(1);
    a.peer(2);
    let (job, _) = a.submit(10, 1);
    let mut forged = pack(job, id(2), 0, 10, 1);
    forged.sig = Simulated(id(3)).sign(&forged.bytes);
    let lost = Fact { job, by: id(2), body: FactBody::Lost(vec![(0, 1)]) };
    let alien = SignedFact::sign(&lost, &Simulated(id(2))).unwrap();
    for fact in [forged, alien] {
        let out = a.give(Input::Message(id(2), Message::Facts(vec![fact])));
        assert!(tickets(&out).is_empty());
        assert!(out.iter().any(|o| matches!(o, Output::Event(Event::Rejected(..)))));
    }
}

#[test]
fn p8_a_grant_in_flight_is_not_taken_for_lost_but_an_unseen_one_comes_back() {
    let mut a = Alone::new(1);
    a.peer(2);
    let (job, _) = a.submit(1000, 1);
    let (r, _) = a.ask(2, Request::Claim { job, want: 10, idle: 0, need_manifest: false });
    let Response::Grant { grant, runs, .. } = r else { panic!("{r:?}") };
    let leased = |a: &Alone| {
        a.node.leases(job).unwrap().held.iter().filter(|(_, n)| *n == id(2)).map(|(r, _)| r.len()).sum::<u32>()
    };
    assert_eq!(leased(&a), 10);
    a.ask(2, beat(job, 0, vec![]));
    assert_eq!(leased(&a), 10, "sent before the grant arrived");
    a.ask(2, beat(job, grant, runs.clone()));
    assert_eq!(leased(&a), 10);
    a.ask(2, beat(job, grant, vec![LeaseRun { count: 4, ..runs[0] }]));
    assert_eq!(leased(&a), 4, "what it no longer lists goes back");
    let (r, _) = a.ask(2, Request::Claim { job, want: 10, idle: 0, need_manifest: false });
    assert!(matches!(r, Response::Grant { grant: next, .. } if next > grant));
    for _ in 0..6 {
        a.pass(1000);
        a.ask(2, beat(job, grant, vec![LeaseRun { count: 4, ..runs[0] }]));
    }
    assert_eq!(leased(&a), 4, "a grant that never arrived comes back after a lease time");
    a.pass(6000);
    assert_eq!(leased(&a), 0, "no heartbeat, no lease");
}

#[test]
fn p14_only_executing_tasks_are_charged_and_only_so_often() {
    let mut a = Alone::new(1);
    a.peer(2);
    let (job, _) = a.submit(1000, 1);
    let (r, _) = a.ask(2, Request::Claim { job, want: 10, idle: 0, need_manifest: false });
    let Response::Grant { grant, runs, .. } = r else { panic!() };
    let jobs = vec![JobBeat {
        job,
        epoch: Epoch::FIRST,
        seen_grant: grant,
        held: runs.clone(),
        running: vec![filch_types::ranges::Range::new(runs[0].lo, runs[0].lo + 2)],
        given: vec![],
        bags: vec![],
    }];
    a.ask(2, Request::Beat(Beat { jobs, ..Beat::default() }));
    a.give(Input::PeerDown(id(2)));
    let out = a.pass(1000);
    let lost = out.iter().find_map(|o| match o {
        Output::Commit { records, .. } => records.iter().find_map(|r| match r {
            Record::Fact(_, _, f) => match f.decode().unwrap().body {
                FactBody::Lost(l) => Some(l),
                _ => None,
            },
            _ => None,
        }),
        _ => None,
    });
    assert_eq!(lost.unwrap().len(), 2);
}

/// Found by seed `fault-free 112`: three hands, and the second is heard before the first.
#[test]
fn s11_what_went_through_several_hands_is_nobody_elses_whatever_order_they_speak_in() {
    let mut a = Alone::new(1);
    (2..=5).for_each(|n| a.peer(n));
    let (job, _) = a.submit(100, 1);
    let (r, _) = a.ask(2, Request::Claim { job, want: 100, idle: 0, need_manifest: false });
    let Response::Grant { runs, .. } = r else { panic!() };
    let own = runs[0];
    let tail = own.count / 2;
    let part = |skip: u32, count: u32, hops: u8| LeaseRun { lo: own.lo + skip, count, attempt: own.attempt, hops };
    let says = |held: Vec<LeaseRun>, to: u8, run: LeaseRun| {
        let given = vec![Given { seq: 1, to: id(to), run }];
        let jobs =
            vec![JobBeat { job, epoch: Epoch::FIRST, seen_grant: 1, held, running: vec![], given, bags: vec![] }];
        Request::Beat(Beat { jobs, ..Beat::default() })
    };
    a.ask(2, beat(job, 1, runs.clone()));
    let kept = part(tail, 2, 1);
    a.ask(3, says(vec![kept], 4, part(tail + 2, 5, 2)));
    let rest = part(tail + 7, own.count - tail - 7, 0);
    a.ask(2, says(vec![part(0, tail, 0), rest], 3, part(tail, 7, 1)));
    a.ask(3, beat(job, 0, vec![kept]));
    let held = a.node.leases(job).unwrap().held;
    let of = |n: u8| held.iter().filter(|(_, w)| *w == id(n)).map(|(r, _)| r.len()).sum::<u32>();
    assert_eq!((of(2), of(3), of(4)), (own.count - 7, 2, 5));
}

#[test]
fn a_steal_moves_the_tail_half_and_the_steward_learns_it_from_either_side() {
    let mut a = Alone::new(1);
    a.peer(2);
    a.peer(3);
    let (job, _) = a.submit(1000, 1);
    let (r, _) = a.ask(2, Request::Claim { job, want: 100, idle: 0, need_manifest: false });
    let Response::Grant { runs, .. } = r else { panic!() };
    let own = runs[0];
    a.ask(2, beat(job, 1, runs.clone()));
    let loot = LeaseRun { lo: own.lo + 60, count: 40, attempt: own.attempt, hops: 1 };
    // The thief speaks first.
    let (r, _) = a.ask(3, beat(job, 0, vec![loot]));
    let Response::Beat { jobs, .. } = r else { panic!() };
    assert!(jobs[0].revoked.is_empty());
    let (r, _) = a.ask(2, beat(job, 1, vec![LeaseRun { count: 60, ..own }]));
    let Response::Beat { jobs, .. } = r else { panic!() };
    assert!(jobs[0].revoked.is_empty());
    let held = a.node.leases(job).unwrap().held;
    let of = |n: u8| held.iter().filter(|(_, w)| *w == id(n)).map(|(r, _)| r.len()).sum::<u32>();
    assert_eq!((of(2), of(3)), (60, 40));
}

#[test]
fn p9_one_pin_in_flight_and_p6_final_only_after_it_is_durable() {
    let mut a = Alone::new(1);
    a.peer(2);
    let (job, _) = a.submit(10, 1);
    let first = a.give(Input::Message(id(2), Message::Facts(vec![pack(job, id(2), 0, 5, 1)])));
    let pin = a.commit_all(&first);
    let is_final = |out: &[Output]| out.iter().any(|o| matches!(o, Output::Event(Event::Final(..))));
    assert!(!is_final(&pin));
    assert_eq!(tickets(&pin).len(), 1);
    let second = a.give(Input::Message(id(2), Message::Facts(vec![pack(job, id(2), 5, 5, 1)])));
    let none = a.commit_all(&second);
    assert!(tickets(&none).is_empty(), "the first pin is still in flight");
    let done = a.commit_all(&pin);
    assert!(is_final(&done));
    assert_eq!(tickets(&done).len(), 1, "then the rest is pinned");
    assert!(is_final(&a.commit_all(&done)));
}

#[test]
fn groups_wait_for_their_edges() {
    let mut w = World::new(2, 2);
    let mut s = spec(4);
    let mut second = s.groups[0].clone();
    second.name = "second".into();
    second.needs = vec![Edge { group: 0, kind: EdgeKind::Elementwise }];
    let mut third = second.clone();
    third.name = "third".into();
    third.tasks = filch_types::manifest::Generator::Once;
    third.needs = vec![Edge { group: 1, kind: EdgeKind::All }];
    s.groups.extend([second, third]);
    let job = w.submit(1, s);
    let mut order = Vec::new();
    for _ in 0..30 {
        if let Some((_, l)) = w.launched.front().cloned() {
            order.extend(l.tasks.lo..l.tasks.hi);
            w.finish_one(2_500_000, Outcome::Success(TaskOutput::default()));
        }
        w.pass_ms(2500);
    }
    assert_eq!(order.len(), 9);
    let at = |i: u32| order.iter().position(|x| *x == i).unwrap();
    assert!((0..4).all(|i| at(i) < at(i + 4) && at(i + 4) < at(8)), "{order:?}");
    assert_eq!(w.node(1).job(job).unwrap().state, JobState::Succeeded);
}

#[test]
fn a_failed_predecessor_skips_what_needs_it() {
    let mut w = World::new(1, 1);
    let mut s = spec(1);
    let mut second = s.groups[0].clone();
    second.name = "second".into();
    second.needs = vec![Edge { group: 0, kind: EdgeKind::All }];
    s.groups.push(second);
    let job = w.submit(1, s);
    w.finish_one(1000, Outcome::Failed(filch_types::Cause::Exit(1), TaskOutput::default()));
    w.pass_ms(5000);
    assert!(w.launched.is_empty());
    let v = w.node(1).job(job).unwrap();
    assert_eq!((v.state, v.counts.failed, v.counts.cancelled), (JobState::Failed, 1, 1));
}

#[test]
fn restored_records_that_are_damaged_are_ignored() {
    let keys = Simulated(id(1));
    let manifest = Manifest {
        owner: id(1),
        nonce: Nonce([1; 16]),
        created_ms: 0,
        k: 1,
        r: 1,
        replicas: vec![id(1)],
        spec: spec(3),
    };
    let signed = SignedManifest::sign(&manifest, &keys).unwrap();
    let job = signed.job();
    let mut broken = signed.clone();
    broken.bytes[10] ^= 1;
    let mut node = Node::new(config(1, 1), Box::new(keys), [0; 32], Timestamp(1));
    node.restore(Record::Manifest(job, broken));
    let fact = pack(job, id(1), 0, 1, 1);
    node.restore(Record::Fact(job, fact.id(), fact.clone()));
    node.restore(Record::Manifest(job, signed));
    node.restore(Record::Fact(job, filch_types::FactId([0; 32]), fact));
    assert_eq!(node.counters().rejected, 3);
    assert_eq!(node.job(job).unwrap().counts.succeeded, 0);
}

#[test]
fn s5_a_job_that_is_on_disk_is_not_forgotten_when_its_input_rots_before_the_ack() {
    let mut a = Alone::new(1);
    a.peer(2);
    let mut spec = spec(10);
    spec.closure_blobs = 1;
    let (client, nonce) = (ClientId(1), Nonce([9; 16]));
    let out = a.give(Input::Submit { client, nonce, now_ms: 0, spec: Box::new(spec), copies: Some(2) });
    let found = out.iter().find_map(|o| match o {
        Output::Reply(_, Reply::Submitted(j)) => Some(*j),
        _ => None,
    });
    let job = found.expect("submitted");
    let out = a.give(Input::ClosureHeld(job));
    a.commit_all(&out);
    a.give(Input::ClosureLost(job));
    let out = a.give(Input::ClosureFailed(job, "no provider".into()));
    assert!(a.node.job(job).is_some(), "it may have results and pins");
    assert!(!out.iter().any(|o| matches!(o, Output::Reply(_, Reply::Refused(_)))));
}

/// A helper that was granted task 0 of a job of node 1, as attempt `attempt` of an epoch; what it did then.
fn helps(a: &mut Alone, epoch: Epoch, granted_in: Epoch) -> (JobId, Vec<Output>) {
    a.peer(1);
    let manifest = Manifest {
        owner: id(1),
        nonce: Nonce([3; 16]),
        created_ms: 0,
        k: 1,
        r: 1,
        replicas: vec![id(1)],
        spec: spec(1),
    };
    let signed = SignedManifest::sign(&manifest, &Simulated(id(1))).unwrap();
    let job = signed.job();
    let summary = Summary {
        job,
        owner: id(1),
        name: String::new(),
        replicas: vec![id(1)],
        steward: id(1),
        epoch,
        seq: 1,
        priority: 0,
        needs: vec!["handler:noop".into()],
        total: 1,
        succeeded: 0,
        failed: 0,
        leased: 0,
        grantable: 1,
        state: JobState::Active,
        created_ms: 0,
    };
    let out = a.give(Input::Gossip(summary));
    let out = a.answer(&out, |r| matches!(r, Request::Manifest(_)), Response::Manifest(signed));
    let out = a.answer(&out, |r| matches!(r, Request::Claim { .. }), grant(granted_in, 1, 1));
    (job, out)
}

fn grant(epoch: Epoch, grant: u64, attempt: u64) -> Response {
    let runs = vec![LeaseRun { lo: 0, count: 1, attempt, hops: 0 }];
    Response::Grant { epoch, grant, runs, manifest: None, bags: vec![] }
}

fn launched(out: &[Output]) -> Option<(LaunchId, u64)> {
    out.iter().find_map(|o| match o {
        Output::Launch(l) => Some((l.id, l.attempt)),
        _ => None,
    })
}

#[test]
fn s11_a_retry_is_taken_though_the_ack_of_the_failure_is_still_on_its_way() {
    let mut a = Alone::new(2);
    let (job, out) = helps(&mut a, Epoch::FIRST, Epoch::FIRST);
    let (launch, attempt) = launched(&out).expect("it runs");
    let outcome = Outcome::Failed(Cause::Exit(1), TaskOutput::default());
    let runs = vec![ResultRun { lo: 0, count: 1, attempt, wall_us: 1, outcome }];
    a.give(Input::Finished { launch, runs });
    // It had asked for its other slot before.
    let out = a.answer(&out, |r| matches!(r, Request::Claim { .. }), grant(Epoch::FIRST, 2, 2));
    assert_eq!(launched(&out).map(|l| l.1), Some(2));
    // The ack of the first attempt says nothing of the second.
    let outcome = Outcome::Success(TaskOutput::default());
    let runs = vec![ResultRun { lo: 0, count: 1, attempt: 2, wall_us: 1, outcome }];
    let (launch, _) = launched(&out).unwrap();
    a.give(Input::Finished { launch, runs });
    let facts = a.node.facts(job);
    a.give(Input::Message(id(1), Message::Stored { job, store: StoreId([1; 16]), facts }));
    let held = a.beats(1000).into_iter().find_map(|b| b.jobs.into_iter().find(|j| j.job == job)).map(|j| j.held);
    assert_eq!(held.map(|h| h[0].attempt), Some(2), "until its own ack it is listed");
}

#[test]
fn l1_a_steward_that_lost_its_round_hears_of_the_later_epoch() {
    let mut a = Alone::new(2);
    let later = Epoch::new(2, &id(3));
    let (job, out) = helps(&mut a, later, Epoch::new(1, &id(1)));
    assert_eq!(launched(&out), None, "granted in an epoch that is over");
    let said = a.beats(1000).into_iter().find_map(|b| b.jobs.into_iter().find(|j| j.job == job));
    assert_eq!(said.map(|j| j.epoch), Some(later));
}

/// Who knows of the end of a job may be no member of R: its helpers ask whoever is there, though all of R are gone.
#[test]
fn l6_a_helper_whose_members_of_r_are_gone_hears_of_the_delete_from_others() {
    let mut a = Alone::new(2);
    let (job, out) = helps(&mut a, Epoch::FIRST, Epoch::FIRST);
    let (launch, attempt) = launched(&out).unwrap();
    let runs = vec![ResultRun::one(0, attempt, 5, Outcome::Success(TaskOutput::default()))];
    let mut out = a.give(Input::Finished { launch, runs });
    out.extend(a.pass(3_000));
    a.commit_all(&out);
    a.give(Input::PeerDown(id(1)));
    a.peer(3);
    let asks = |o: &Output| matches!(o, Output::Request(to, _, Request::Digest { .. }) if *to == id(3));
    let mut asked = false;
    for _ in 0..100 {
        asked |= a.pass(3_000).iter().any(asks);
        a.give(Input::Message(id(3), Message::Announce(vec![])));
    }
    assert!(asked, "nobody of R acks its result");
    let tomb = SignedFact::sign(&Fact { job, by: id(1), body: FactBody::Delete }, &Simulated(id(1))).unwrap();
    let out = a.give(Input::Message(id(3), Message::Facts(vec![tomb])));
    a.commit_all(&out);
    assert!(a.node.job(job).is_none(), "nothing of it is left");
}

#[test]
fn p12_nobody_says_that_it_holds_a_job_before_it_knows_that_it_is_in_r() {
    let mut a = Alone::new(4);
    a.peer(1);
    let manifest = Manifest {
        owner: id(1),
        nonce: Nonce([3; 16]),
        created_ms: 0,
        k: 2,
        r: 2,
        replicas: vec![id(1), id(2)],
        spec: spec(5),
    };
    let signed = SignedManifest::sign(&manifest, &Simulated(id(1))).unwrap();
    let job = signed.job();
    let holds = |out: &[Output]| out.iter().any(|o| matches!(o, Output::Send(_, Message::Held { .. })));
    let (r, out) = a.ask(1, Request::Replicate(signed));
    assert!(matches!(r, Response::Replicating));
    assert!(tickets(&out).is_empty() && !holds(&a.commit_all(&out)));
    let fact = Fact { job, by: id(1), body: FactBody::AddReplica(id(4)) };
    let added = SignedFact::sign(&fact, &Simulated(id(1))).unwrap();
    let out = a.give(Input::Message(id(1), Message::Facts(vec![added])));
    let out = a.commit_all(&out);
    assert!(holds(&a.commit_all(&out)), "the fact first, then the job, then the word");
}

/// An owner whose disk was lost is asked to keep its job again. What it pinned before is with the others: it compares with all of them first.
#[test]
fn s5_an_owner_without_its_disk_hears_all_others_before_it_pins() {
    let mut a = Alone::new(1);
    a.peer(2);
    a.peer(3);
    let (owner, nonce, replicas) = (id(1), Nonce([9; 16]), vec![id(1), id(2), id(3)]);
    let m = Manifest { owner, nonce, created_ms: 0, k: 3, r: 1, replicas, spec: spec(10) };
    let signed = SignedManifest::sign(&m, &Simulated(owner)).unwrap();
    let job = signed.job();
    let (_, out) = a.ask(2, Request::Replicate(signed));
    a.commit_all(&out);
    let pins = |out: &[Output]| {
        let records = out.iter().filter_map(|o| match o {
            Output::Commit { records, .. } => Some(records),
            _ => None,
        });
        let pin = |r: &Record| match r {
            Record::Fact(_, _, f) => matches!(f.decode().unwrap().body, FactBody::Pin(_)),
            _ => false,
        };
        records.flatten().any(pin)
    };
    let out = a.give(Input::Message(id(2), Message::Facts(vec![pack(job, id(4), 0, 10, 1)])));
    assert!(!pins(&a.commit_all(&out)), "others may know an earlier pin");
    let digest = |facts, xor| {
        let digests = vec![JobDigest { job, facts, xor, held: true }];
        Request::Beat(Beat { digests, ..Beat::default() })
    };
    let (answer, out) = a.ask(2, digest(2, filch_types::FactId([7; 32])));
    assert!(!pins(&out), "one of them has more facts");
    let Response::Beat { digests, .. } = answer else { panic!("{answer:?}") };
    let own = digests[0];
    assert!(!pins(&a.ask(2, digest(own.facts, own.xor)).1), "and another one was not heard");
    assert!(pins(&a.ask(3, digest(own.facts, own.xor)).1), "all agree");
}

/// A member of R that keeps a result of node 1 with a blob, and found that blob damaged. What it wants then.
fn decayed(pinned: bool) -> (Alone, JobId, filch_types::FactId, Vec<Output>) {
    let mut a = Alone::new(2);
    a.peer(1);
    let (nonce, replicas) = (Nonce([3; 16]), vec![id(1), id(2)]);
    let manifest = Manifest { owner: id(1), nonce, created_ms: 0, k: 2, r: 2, replicas, spec: spec(1) };
    let signed = SignedManifest::sign(&manifest, &Simulated(id(1))).unwrap();
    let job = signed.job();
    let (_, out) = a.ask(1, Request::Replicate(signed));
    a.commit_all(&out);
    let blob = filch_types::BlobId([5; 32]);
    let stdout = filch_types::result::Stream { kept: filch_types::Content::Blob(blob, 9000), total: 9000 };
    let outcome = Outcome::Success(TaskOutput { stdout, ..TaskOutput::default() });
    let run = ResultRun { lo: 0, count: 1, attempt: 1, wall_us: 1, outcome };
    let body = FactBody::Pack(vec![run]);
    let pack = SignedFact::sign(&Fact { job, by: id(1), body }, &Simulated(id(1))).unwrap();
    let fact = pack.id();
    let out = a.give(Input::Message(id(1), Message::Facts(vec![pack])));
    let out = a.give(Input::Fetched(fetch(&out).expect("closure first")));
    a.commit_all(&out);
    if pinned {
        let body = FactBody::Pin(vec![filch_types::fact::PinRun { lo: 0, count: 1, pack: fact }]);
        let pin = SignedFact::sign(&Fact { job, by: id(1), body }, &Simulated(id(1))).unwrap();
        let out = a.give(Input::Message(id(1), Message::Facts(vec![pin])));
        a.commit_all(&out);
    }
    assert_eq!(a.node.job(job).unwrap().state, JobState::Succeeded);
    let out = a.give(Input::ResultsLost(job, vec![(fact, vec![(blob, 9000)])]));
    (a, job, fact, out)
}

fn fetch(out: &[Output]) -> Option<filch_core::FetchId> {
    out.iter().find_map(|o| match o {
        Output::FetchBlobs { fetch, .. } => Some(*fetch),
        _ => None,
    })
}

/// Fails the fetch, and those that follow in the next seconds.
fn nobody_has_it(a: &mut Alone, mut out: Vec<Output>) -> Vec<Output> {
    let mut all = Vec::new();
    for _ in 0..40 {
        if let Some(f) = fetch(&out) {
            all.extend(a.give(Input::FetchFailed(f, "nobody".into())));
        }
        out = a.pass(500);
        all.extend(out.iter().cloned());
    }
    all
}

#[test]
fn p4_a_result_whose_bytes_are_damaged_is_fetched_from_the_others() {
    let (mut a, job, _, out) = decayed(false);
    let f = fetch(&out).expect("asked for at once");
    let out = a.give(Input::Fetched(f));
    assert!(!out.iter().any(|o| matches!(o, Output::Commit { .. })));
    assert_eq!(a.node.job(job).unwrap().state, JobState::Succeeded);
}

#[test]
fn p4_losing_the_bytes_everywhere_loses_done() {
    let (mut a, job, fact, out) = decayed(false);
    let all = nobody_has_it(&mut a, out);
    let lost = all.iter().find_map(|o| match o {
        Output::Commit { ticket, records, .. } if records.contains(&Record::Lost(job, fact)) => Some(*ticket),
        _ => None,
    });
    let out = a.give(Input::Committed(lost.expect("the ledger is told first")));
    assert!(out.iter().any(|o| matches!(o, Output::ReadFacts(j) if *j == job)));
    a.give(Input::FactsRead(job, vec![]));
    assert_eq!(a.node.job(job).unwrap().state, JobState::Active, "the task runs again");
}

#[test]
fn s5_what_is_final_stays_though_nobody_has_its_bytes() {
    let (mut a, job, fact, out) = decayed(true);
    let all = nobody_has_it(&mut a, out);
    let drops = |o: &Output| matches!(o, Output::Commit { records, .. } if records.contains(&Record::Lost(job, fact)));
    assert!(!all.iter().any(drops));
    assert!(fetch(&all).is_some(), "and is looked for, ever more rarely");
    assert_eq!(a.node.job(job).unwrap().state, JobState::Succeeded);
}

/// Found by seed `disks 1443`: the answer of a process that was gone came after the first word of its successor with another disk.
#[test]
fn p5_a_late_word_of_a_process_that_is_gone_does_not_stay_in_force() {
    let mut a = Alone::new(1);
    let hello = |store: u8, boot: u64| Hello {
        store: StoreId([store; 16]),
        machine: MachineId([2; 16]),
        boot,
        name: "n2".into(),
        slots: 1,
        offers: vec!["handler:noop".into()],
        draining: false,
    };
    let asked = |out: &[Output]| {
        out.iter().find_map(|o| match o {
            Output::Request(_, req, Request::Hello(_)) => Some(*req),
            _ => None,
        })
    };
    let before = asked(&a.give(Input::PeerUp(id(2)))).expect("asks who it is");
    let (_, out) = a.ask(2, Request::Hello(hello(8, 1)));
    assert_eq!(asked(&out), None, "the first word is believed");
    let again = asked(&a.give(Input::Response(before, Response::Hello(hello(7, 2))))).expect("asks again");
    a.give(Input::Response(again, Response::Hello(hello(8, 1))));
    let (job, _) = a.submit(1, 2);
    let (store, machine) = (StoreId([8; 16]), MachineId([2; 16]));
    let out = a.give(Input::Message(id(2), Message::Held { job, store, machine }));
    assert!(accepted(&out), "its present store counts");
}

/// Found by seed `disks 7000032`: a heartbeat of the life before came after the hello of the new store, and counted for it.
#[test]
fn s1_a_late_digest_of_a_lost_store_is_no_copy_in_the_new_one() {
    let mut a = Alone::new(1);
    a.peer(2);
    let (job, _) = a.submit(1, 2);
    let accepted = |out: &[Output]| out.iter().any(|o| matches!(o, Output::Reply(_, Reply::Accepted { .. })));
    let hello = Hello {
        store: StoreId([8; 16]),
        machine: MachineId([2; 16]),
        boot: 1,
        name: "n2".into(),
        slots: 2,
        offers: vec![],
        draining: false,
    };
    a.ask(2, Request::Hello(hello));
    let digests = vec![JobDigest { job, facts: 0, xor: filch_types::FactId::default(), held: true }];
    let beat = Request::Beat(Beat { digests, ..Beat::default() });
    assert!(!accepted(&a.ask(2, beat).1));
    let (store, machine) = (StoreId([8; 16]), MachineId([2; 16]));
    let out = a.give(Input::Message(id(2), Message::Held { job, store, machine }));
    assert!(accepted(&out), "what names the new store counts at once");
}

#[test]
fn a_cancel_after_the_end_changes_nothing() {
    let mut a = Alone::new(1);
    let (job, _) = a.submit(1, 1);
    let outcome = Outcome::Failed(Cause::Exit(1), TaskOutput::default());
    let run = ResultRun { lo: 0, count: 1, attempt: 1, wall_us: 1, outcome };
    let body = FactBody::Pack(vec![run]);
    let failed = SignedFact::sign(&Fact { job, by: id(4), body }, &Simulated(id(4))).unwrap();
    let out = a.give(Input::Message(id(4), Message::Facts(vec![failed])));
    a.commit_all(&out);
    let out = a.give(Input::Revoke { client: ClientId(2), job, delete: false });
    a.commit_all(&out);
    assert_eq!(a.node.job(job).map(|v| v.state), Some(JobState::Failed));
}
