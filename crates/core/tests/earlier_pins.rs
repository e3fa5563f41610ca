//! An owner that lost its disk, and what it had pinned before (S5).

mod common;

use common::alone::{Alone, tickets};
use common::{id, spec};
use filch_core::{Event, FetchId, Input, Node, Output, ReqId};
use filch_types::fact::PinRun;
use filch_types::record::Record;
use filch_types::result::{Content, Stream};
use filch_types::sign::Simulated;
use filch_types::wire::{Beat, JobDigest, Message, Request, Response};
use filch_types::{
    BlobId, Fact, FactBody, FactId, JobId, Manifest, NodeId, Nonce, Outcome, ResultRun, SignedFact, SignedManifest,
    TaskOutput,
};

/// Node 1, the owner of a job that members 2 and 3 keep, is asked to keep it again.
fn asked(closure_blobs: u32) -> (Alone, JobId, Vec<Output>) {
    let mut a = Alone::new(1);
    a.peer(2);
    a.peer(3);
    let (owner, nonce, replicas) = (id(1), Nonce([9; 16]), vec![id(1), id(2), id(3)]);
    let mut spec = spec(10);
    spec.closure_blobs = closure_blobs;
    let m = Manifest { owner, nonce, created_ms: 0, k: 3, r: 1, replicas, spec };
    let signed = SignedManifest::sign(&m, &Simulated(owner)).unwrap();
    let job = signed.job();
    let (_, out) = a.ask(2, Request::Replicate(signed));
    (a, job, out)
}

fn fact(job: JobId, by: NodeId, body: FactBody) -> SignedFact {
    SignedFact::sign(&Fact { job, by, body }, &Simulated(by)).unwrap()
}

fn result(job: JobId, by: NodeId, task: u32, stdout: Content) -> SignedFact {
    let total = stdout.len();
    let out = TaskOutput { stdout: Stream { kept: stdout, total }, ..TaskOutput::default() };
    fact(job, by, FactBody::Pack(vec![ResultRun::one(task, 1, 5, Outcome::Success(out))]))
}

fn inline(job: JobId, task: u32) -> SignedFact {
    result(job, id(4), task, Content::Inline(vec![]))
}

fn tell(a: &mut Alone, from: u8, facts: &[SignedFact]) -> Vec<Output> {
    let out = a.give(Input::Message(id(from), Message::Facts(facts.to_vec())));
    let mut more = a.commit_all(&out);
    more.extend(out);
    more
}

/// Time passes in which 2 and 3 live, and say nothing of the job.
fn pass(a: &mut Alone, seconds: u64) -> Vec<Output> {
    let mut out = Vec::new();
    for _ in 0..seconds {
        out.extend(a.pass(1_000));
        for n in [2, 3] {
            out.extend(a.give(Input::Message(id(n), Message::Announce(vec![]))));
        }
    }
    out
}

/// Tasks that are pinned here.
fn pinned(out: &[Output]) -> Vec<u32> {
    let records = out.iter().filter_map(|o| match o {
        Output::Commit { records, .. } => Some(records),
        _ => None,
    });
    let pins = |r: &Record| match r {
        Record::Fact(_, _, f) => match f.decode().unwrap().body {
            FactBody::Pin(runs) => runs,
            _ => vec![],
        },
        _ => vec![],
    };
    records.flatten().flat_map(pins).flat_map(|r| r.lo..r.lo + r.count).collect()
}

fn asked_for_digest(out: &[Output], who: u8) -> Vec<ReqId> {
    let asks = |o: &Output| match o {
        Output::Request(p, req, Request::Digest { .. }) if *p == id(who) => Some(*req),
        _ => None,
    };
    out.iter().filter_map(asks).collect()
}

/// Found by seed `disks 1441`: it looked for the inputs of the job for so long that it had no patience left when it could take facts at last.
#[test]
fn s5_an_owner_without_its_disk_waits_for_the_others_from_when_it_keeps_the_job() {
    let (mut a, job, out) = asked(1);
    assert!(out.iter().any(|o| matches!(o, Output::FetchClosure { .. })));
    pass(&mut a, 40);
    let out = a.give(Input::ClosureHeld(job));
    a.commit_all(&out);
    let mut out = tell(&mut a, 2, &[inline(job, 0)]);
    out.extend(pass(&mut a, 20));
    assert_eq!(pinned(&out), [], "nobody was heard");
    assert!([2, 3].iter().all(|n| asked_for_digest(&out, *n).len() > 1), "though they are asked, and asked again");
    assert_eq!(pinned(&pass(&mut a, 20)), [0], "a member that never answers delays it for a time only");
}

/// Members agree on what there is, though what 2 has of task 0 names bytes that nobody gives.
fn shown() -> (Alone, JobId) {
    let (mut a, job, out) = asked(0);
    a.commit_all(&out);
    let blob = BlobId::of(b"output");
    let old = result(job, id(5), 0, Content::Blob(blob, 6));
    let pin = fact(job, id(1), FactBody::Pin(vec![PinRun { lo: 0, count: 1, pack: old.id() }]));
    let out = tell(&mut a, 2, &[old.clone(), pin.clone()]);
    let fetch: Vec<FetchId> = out
        .iter()
        .filter_map(|o| match o {
            Output::FetchBlobs { fetch, .. } => Some(*fetch),
            _ => None,
        })
        .collect();
    a.give(Input::FetchFailed(fetch[0], "no provider".into()));
    let out = tell(&mut a, 2, &[inline(job, 0), inline(job, 1)]);
    assert_eq!(pinned(&out), [], "nobody was heard to the end");
    let own = a.node.facts(job);
    let all = digest(&a.node, job);
    let (_, out) = a.ask(3, all);
    assert_eq!(pinned(&out), []);
    let asked = std::iter::repeat_with(|| asked_for_digest(&pass(&mut a, 1), 2)).take(10).flatten().next();
    let facts = own.into_iter().chain([old.id(), pin.id()]).collect();
    let r = Response::FactIds { buckets: (0..=255).collect(), facts, more: false };
    let out = a.give(Input::Response(asked.expect("2 is asked"), r));
    let ends = pinned(&out);
    assert_eq!(ends, [1], "2 has nothing that is not known, and task 0 is final already");
    a.commit_all(&out);
    (a, job)
}

fn digest(node: &Node, job: JobId) -> Request {
    let own = node.facts(job);
    let xor = own.iter().fold([0; 32], |mut x, f| {
        x.iter_mut().zip(f.0).for_each(|(x, f)| *x ^= f);
        x
    });
    let digests = vec![JobDigest { job, facts: own.len() as u32, xor: FactId(xor), held: true }];
    Request::Beat(Beat { digests, ..Beat::default() })
}

#[test]
fn s5_what_a_member_shows_stays_final_though_nobody_has_its_bytes() {
    let (mut a, _) = shown();
    assert_eq!(pinned(&pass(&mut a, 100)), [], "as long as 2 is there");
}

#[test]
fn l8_nobody_waits_for_a_value_that_went_with_whoever_knew_it() {
    let (mut a, _) = shown();
    a.give(Input::PeerDown(id(2)));
    let mut out = Vec::new();
    for _ in 0..40 {
        out.extend(a.pass(1_000));
        out.extend(a.give(Input::Message(id(3), Message::Announce(vec![]))));
    }
    assert_eq!(pinned(&out), [0]);
    assert!(!tickets(&out).is_empty());
}

fn finals(out: &[Output]) -> Vec<PinRun> {
    let of = |o: &Output| match o {
        Output::Event(Event::Final(_, runs)) => runs.clone(),
        _ => vec![],
    };
    out.iter().flat_map(of).collect()
}

/// P6: whoever delivers files, or streams results, hears of them as of pins that are made here.
#[test]
fn p6_an_owner_that_has_its_pins_again_from_others_says_so_once() {
    let (mut a, job, out) = asked(0);
    a.commit_all(&out);
    let pack = inline(job, 0);
    let run = PinRun { lo: 0, count: 1, pack: pack.id() };
    let pin = |runs: Vec<PinRun>| fact(job, id(1), FactBody::Pin(runs));
    let out = tell(&mut a, 2, &[pack.clone(), pin(vec![run])]);
    assert_eq!(finals(&out), [run]);
    let other = inline(job, 1);
    let next = PinRun { lo: 1, count: 1, pack: other.id() };
    let out = tell(&mut a, 3, &[other, pin(vec![run]), pin(vec![run, next])]);
    assert_eq!(finals(&out), [next], "what is known is no news");
}

/// P9: its own pin is on its way to the disk, and only the disk may say so.
#[test]
fn p9_an_owner_pins_nothing_while_a_pin_of_its_own_comes_back() {
    let (mut a, job, out) = asked(0);
    a.commit_all(&out);
    let pack = inline(job, 0);
    tell(&mut a, 2, std::slice::from_ref(&pack));
    let pin = fact(job, id(1), FactBody::Pin(vec![PinRun { lo: 0, count: 1, pack: pack.id() }]));
    let slow = a.give(Input::Message(id(2), Message::Facts(vec![pin])));
    assert_eq!(pinned(&pass(&mut a, 60)), []);
    assert_eq!(finals(&a.commit_all(&slow)).len(), 1);
}

/// Found by seed `disks 5562`: node 4 had joined R by a fact that went with the owner's disk, and was never asked.
#[test]
fn s5_who_asks_an_owner_to_keep_its_job_again_is_heard_before_it_pins() {
    let (mut a, job, out) = asked(1);
    a.peer(4);
    let (owner, nonce, replicas) = (id(1), Nonce([9; 16]), vec![id(1), id(2), id(3)]);
    let mut spec = spec(10);
    spec.closure_blobs = 1;
    let m = Manifest { owner, nonce, created_ms: 0, k: 3, r: 1, replicas, spec };
    a.ask(4, Request::Replicate(SignedManifest::sign(&m, &Simulated(owner)).unwrap()));
    assert!(out.iter().any(|o| matches!(o, Output::FetchClosure { .. })));
    let out = a.give(Input::ClosureHeld(job));
    a.commit_all(&out);
    let mut out = tell(&mut a, 2, &[inline(job, 0)]);
    for _ in 0..10 {
        out.extend(pass(&mut a, 1));
        out.extend(a.give(Input::Message(id(4), Message::Announce(vec![]))));
    }
    assert!(!asked_for_digest(&out, 4).is_empty());
    assert_eq!(pinned(&out), []);
}
