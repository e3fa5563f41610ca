//! Anti-entropy (P10): what a member lacks comes to it, however much it is, and an answer says nothing of what came after the question.

mod common;

use std::collections::BTreeMap;

use common::alone::Alone;
use common::{id, spec};
use filch_core::{Input, Output};
use filch_types::fact::{Fact, FactBody, PinRun};
use filch_types::record::Record;
use filch_types::sign::Simulated;
use filch_types::wire::{Message, Request, Response};
use filch_types::{FactId, JobId, Manifest, NodeId, Nonce, Outcome, ResultRun, SignedFact, SignedManifest, TaskOutput};

/// Facts of one answer, as if the frame were full.
const FRAME: usize = 100;

fn signed(job: JobId, by: NodeId, body: FactBody) -> SignedFact {
    SignedFact::sign(&Fact { job, by, body }, &Simulated(by)).unwrap()
}

fn pack(job: JobId, task: u32) -> SignedFact {
    let outcome = Outcome::Success(TaskOutput::default());
    let run = ResultRun { lo: task, count: 1, attempt: 1, wall_us: 1, outcome };
    signed(job, id(4), FactBody::Pack(vec![run]))
}

/// Node `n` keeps a job of nodes 1 and 2, which belongs to node 1.
fn member(n: u8, tasks: u32) -> (Alone, JobId) {
    let mut a = Alone::new(n);
    let other = 3 - n;
    a.peer(other);
    let replicas = vec![id(1), id(2)];
    let (nonce, spec) = (Nonce([3; 16]), spec(tasks));
    let m = Manifest { owner: id(1), nonce, created_ms: 0, k: 2, r: 2, replicas, spec };
    let signed = SignedManifest::sign(&m, &Simulated(id(1))).unwrap();
    let job = signed.job();
    let (_, out) = a.ask(other, Request::Replicate(signed));
    a.commit_all(&out);
    (a, job)
}

/// The other member: it has these facts and answers as a node would.
struct Other(BTreeMap<FactId, SignedFact>);

impl Other {
    fn digest(&self, buckets: &[u64], from: u16) -> Response {
        let bits = buckets.len().ilog2();
        let place = |f: &FactId| u16::from_be_bytes([f.0[0], f.0[1]]) >> (16 - bits);
        let mut own: BTreeMap<u16, (u64, Vec<FactId>)> = BTreeMap::new();
        for f in self.0.keys() {
            let (word, list) = own.entry(place(f)).or_default();
            *word ^= u64::from_le_bytes(f.0[2..10].try_into().unwrap());
            list.push(*f);
        }
        let (mut covered, mut facts) = (Vec::new(), Vec::new());
        for (b, theirs) in (0u16..).zip(buckets).skip(usize::from(from)) {
            let (word, list) = own.remove(&b).unwrap_or_default();
            if word != *theirs {
                covered.push(b);
                facts.extend(list);
            }
            if facts.len() > 500 {
                return Response::FactIds { buckets: covered, facts, more: true };
            }
        }
        Response::FactIds { buckets: covered, facts, more: false }
    }

    fn serve(&self, a: &mut Alone, mut out: Vec<Output>) {
        while let Some(o) = out.pop() {
            let (req, answer) = match o {
                Output::Request(_, req, Request::Digest { buckets, from, .. }) => (req, self.digest(&buckets, from)),
                Output::Request(_, req, Request::GetFacts { facts, .. }) => {
                    let found = facts.iter().filter_map(|f| self.0.get(f)).take(FRAME).cloned();
                    (req, Response::Facts(found.collect()))
                }
                Output::Commit { ticket, .. } => {
                    out.extend(a.give(Input::Committed(ticket)));
                    continue;
                }
                _ => continue,
            };
            out.extend(a.give(Input::Response(req, answer)));
        }
    }
}

#[test]
fn p10_a_member_that_is_far_behind_gets_everything() {
    let (mut a, job) = member(2, 1200);
    let mut other = Other(BTreeMap::new());
    for task in 0..1200 {
        let pack = pack(job, task);
        let pin = FactBody::Pin(vec![PinRun { lo: task, count: 1, pack: pack.id() }]);
        for f in [pack, signed(job, id(1), pin)] {
            other.0.insert(f.id(), f);
        }
    }
    // Some of the pins are listed long before their packs, and no answer holds all that was asked for.
    let mut rounds = 0;
    while a.node.facts(job).len() < other.0.len() {
        rounds += 1;
        assert!(rounds < 100, "{} of {} facts after {rounds} rounds", a.node.facts(job).len(), other.0.len());
        let out = a.pass(1000);
        other.serve(&mut a, out);
        // It is not silent.
        a.ask(1, Request::Beat(filch_types::wire::Beat::default()));
    }
}

#[test]
fn p6_an_answer_is_no_copy_of_what_came_after_the_question() {
    let (mut a, job) = member(1, 10);
    let none = || Response::FactIds { buckets: vec![], facts: vec![], more: false };
    let pins = |out: &[Output]| {
        let pin =
            |r: &Record| matches!(r, Record::Fact(_, _, f) if matches!(f.decode().unwrap().body, FactBody::Pin(_)));
        out.iter().any(|o| matches!(o, Output::Commit { records, .. } if records.iter().any(pin)))
    };
    let question = |out: &[Output]| out.iter().any(|o| matches!(o, Output::Request(_, _, Request::Digest { .. })));
    let asked = std::iter::repeat_with(|| a.pass(1000)).take(20).find(|out| question(out)).expect("asked");
    let came = a.give(Input::Message(id(4), Message::Facts(vec![pack(job, 0)])));
    a.commit_all(&came);
    let out = a.answer(&asked, |r| matches!(r, Request::Digest { .. }), none());
    assert!(!pins(&out), "node 2 spoke of the facts that node 1 had before");
    a.ask(2, Request::Beat(filch_types::wire::Beat::default()));
    let asked = std::iter::repeat_with(|| a.pass(500)).take(20).find(|out| question(out)).expect("asked");
    assert!(pins(&a.answer(&asked, |r| matches!(r, Request::Digest { .. }), none())), "now there are two copies");
}

/// Lets so much time pass; node 1 answers heartbeats without a word of any job. Whether one of them compared facts.
fn compared(a: &mut Alone, ms: u64) -> bool {
    let mut any = false;
    for _ in 0..ms / 500 {
        for o in a.pass(500) {
            if let Output::Request(to, req, Request::Beat(b)) = o {
                assert_eq!(to, id(1));
                any |= !b.digests.is_empty();
                a.give(Input::Response(req, Response::Beat { jobs: vec![], digests: vec![] }));
            }
        }
    }
    any
}

#[test]
fn p10_who_asks_what_differs_keeps_the_job_again() {
    let (mut a, job) = member(2, 10);
    assert!(compared(&mut a, 3_000), "a member of R is compared with");
    assert!(!compared(&mut a, 15_000), "it lost its disk and keeps nothing: not any more");
    let question = |keeps| Request::Digest { job, buckets: vec![0; 256], from: 0, keeps };
    a.ask(1, question(false));
    assert!(!compared(&mut a, 15_000), "it reads along");
    a.ask(1, question(true));
    assert!(compared(&mut a, 15_000), "it was asked to keep the job and does");
}
