//! Work that splits while it runs: exact inputs, exact outputs.

mod common;

use common::{config, id};
use filch_core::io::{AskId, ClientId, Launch, LaunchId, Reply, Ticket, Token};
use filch_core::{Input, Node, Output};
use filch_types::bag::{BagOutcome, BagResult, Child, TaskRef};
use filch_types::fact::{Fact, FactBody, SignedFact};
use filch_types::manifest::{Program, Reduce};
use filch_types::ranges::Range;
use filch_types::record::Record;
use filch_types::sign::Simulated;
use filch_types::time::Span;
use filch_types::wire::{Beat, GivenBag, HeldBag, Hello, Holding, JobBeat, JobState, Message, Request, Response};
use filch_types::{BagId, Content, Epoch, JobId, JobSpec, MachineId, NodeId, Nonce, StoreId, Timestamp};

const ROOT: TaskRef = TaskRef::Index(0);

/// A job of one divided task.
fn spec() -> JobSpec {
    let mut spec = common::spec(1);
    spec.groups[0].program = Program::Divisible { name: "x".into(), args: vec![], reduce: vec![Reduce::Sum] };
    spec
}

fn bag(byte: u8) -> Content {
    Content::Inline(vec![byte])
}

/// The owner and steward of the job, with imaginary peers.
struct Owner {
    node: Node,
    now: Timestamp,
    token: u64,
    job: JobId,
}

impl Owner {
    /// Has submitted; with a slot, it runs the whole itself, in the launch that is returned.
    fn new(slots: u16, peers: &[u8]) -> (Self, Option<LaunchId>) {
        let mut cfg = config(1, slots);
        cfg.offers.push("divisible:x".into());
        let now = Timestamp(5_000_000);
        let node = Node::new(cfg, Box::new(Simulated(id(1))), [7; 32], now);
        let mut a = Self { node, now, token: 0, job: JobId([0; 32]) };
        peers.iter().for_each(|p| a.peer(*p));
        let spec = Box::new(spec());
        let nonce = Nonce([9; 16]);
        let out = a.give(Input::Submit { client: ClientId(1), nonce, now_ms: 0, spec, copies: Some(1) });
        let named = out.iter().find_map(|o| match o {
            Output::Reply(_, Reply::Submitted(job)) => Some(*job),
            _ => None,
        });
        a.job = named.expect("submitted");
        let out = a.commit(&out);
        let launch = launches(&out).first().map(|l| l.id);
        (a, launch)
    }
    fn peer(&mut self, n: u8) {
        self.give(Input::PeerUp(id(n)));
        let hello = Hello {
            store: StoreId([n; 16]),
            machine: MachineId([n; 16]),
            boot: 1,
            name: format!("n{n}"),
            slots: 1,
            offers: vec!["divisible:x".into()],
            draining: false,
        };
        self.ask(n, Request::Hello(hello));
    }
    fn give(&mut self, i: Input) -> Vec<Output> {
        self.node.handle_input(self.now, i);
        std::iter::from_fn(|| self.node.poll_output()).collect()
    }
    fn pass(&mut self, ms: u64) -> Vec<Output> {
        let until = self.now + Span::millis(ms);
        let mut out = Vec::new();
        while let Some(d) = self.node.poll_timeout().filter(|d| d.at <= until) {
            self.now = self.now.max(d.at);
            self.node.handle_timeout(self.now);
            out.extend(std::iter::from_fn(|| self.node.poll_output()));
        }
        self.now = until;
        out
    }
    fn commit(&mut self, out: &[Output]) -> Vec<Output> {
        let tickets = out.iter().filter_map(|o| match o {
            Output::Commit { ticket, .. } => Some(*ticket),
            _ => None,
        });
        tickets.collect::<Vec<Ticket>>().into_iter().flat_map(|t| self.give(Input::Committed(t))).collect()
    }
    /// A peer's request, and all that comes of it.
    fn ask(&mut self, from: u8, r: Request) -> (Option<Response>, Vec<Output>) {
        self.token += 1;
        let token = Token(self.token);
        let out = self.give(Input::Request(id(from), token, r));
        (answer(&out, token), out)
    }
    fn steal(&mut self, from: u8) -> (Option<Response>, Vec<Output>) {
        let job = self.job;
        self.ask(from, Request::Steal { job, want: 1, idle: 1, wait: Span(0) })
    }
    fn claim(&mut self, from: u8) -> Response {
        let job = self.job;
        self.ask(from, Request::Claim { job, want: 1, idle: 1, need_manifest: false }).0.expect("answered at once")
    }
    /// A result of another worker arrives and becomes durable.
    fn result(&mut self, by: u8, task: TaskRef, attempt: u64, count: u64, children: Vec<Child>) -> Vec<Output> {
        let outcome = BagOutcome::Ended { tally: vec![count], children };
        let body = FactBody::Bags(vec![BagResult { task, attempt, wall_us: 1, outcome }]);
        let fact = SignedFact::sign(&Fact { job: self.job, by: id(by), body }, &Simulated(id(by))).unwrap();
        let out = self.give(Input::Message(id(by), Message::Facts(vec![fact])));
        self.commit(&out)
    }
    fn child(&self, parent: TaskRef, attempt: u64, number: u32, byte: u8) -> TaskRef {
        TaskRef::Bag(BagId::of(self.job, parent, attempt, number, &bag(byte)))
    }
    fn tally(&self) -> Option<Vec<u64>> {
        self.node.tally(self.job, 0)
    }
    fn state(&self) -> JobState {
        self.node.job(self.job).unwrap().state
    }
}

fn answer(out: &[Output], token: Token) -> Option<Response> {
    out.iter().find_map(|o| match o {
        Output::Respond(t, r) if *t == token => Some(r.clone()),
        _ => None,
    })
}

fn launches(out: &[Output]) -> Vec<Launch> {
    let launched = out.iter().filter_map(|o| match o {
        Output::Launch(l) => Some(l.clone()),
        _ => None,
    });
    launched.collect()
}

fn split(out: &[Output]) -> Option<(LaunchId, AskId, Span)> {
    out.iter().find_map(|o| match o {
        Output::Split { launch, ask, least } => Some((*launch, *ask, *least)),
        _ => None,
    })
}

fn gift(out: &[Output], to: u8) -> Option<GivenBag> {
    out.iter().find_map(|o| match o {
        Output::Send(p, Message::Gift { bags, .. }) if *p == id(to) => bags.first().cloned(),
        _ => None,
    })
}

fn results(out: &[Output]) -> Vec<BagResult> {
    let records = out.iter().filter_map(|o| match o {
        Output::Commit { records, .. } => Some(records),
        _ => None,
    });
    let facts = records.flatten().filter_map(|r| match r {
        Record::Fact(_, _, signed) => signed.decode().ok(),
        _ => None,
    });
    facts.filter_map(|f| if let FactBody::Bags(list) = f.body { Some(list) } else { None }).flatten().collect()
}

fn checkpoints(out: &[Output]) -> Vec<LaunchId> {
    let told = out.iter().filter_map(|o| match o {
        Output::Checkpoint(l) => Some(*l),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_thief_gets_a_part_and_the_result_names_exactly_what_was_given() {
    let (mut a, launch) = Owner::new(1, &[2]);
    let launch = launch.expect("runs the whole");
    let (at_once, out) = a.steal(2);
    assert_eq!(at_once, None, "the executor is asked first");
    let (asked, ask, least) = split(&out).expect("asks for a part");
    assert_eq!(asked, launch);
    assert!(least >= Span(400), "a gift is worth two round trips: {least:?}");
    let token = Token(a.token);
    let out = a.give(Input::Split { launch, ask, bag: Some(bag(7)) });
    let Some(Response::Stolen { bags, runs, .. }) = answer(&out, token) else { panic!("{out:?}") };
    assert_eq!((runs.len(), bags.len(), bags[0].number, bags[0].parent), (0, 1, 0, ROOT));
    let part = a.child(ROOT, 1, 0, 7);
    assert_eq!(TaskRef::Bag(bags[0].id(a.job)), part);

    // What a death undoes stays small: it ends itself soon after it gave something away.
    assert_eq!(checkpoints(&a.pass(60)), [launch]);
    let out = a.give(Input::Bag { launch, tally: vec![10], rest: Some(bag(9)), wall_us: 5 });
    let rest = launches(&out).pop().expect("goes on with its rest at once");
    assert_eq!(rest.bag.as_ref().map(|p| p.bag.clone()), Some(bag(9)));
    let out = a.pass(5);
    let named: Vec<(Content, NodeId)> = results(&out)[0].children().iter().map(|c| (c.bag.clone(), c.holder)).collect();
    assert_eq!(named, [(bag(7), id(2)), (bag(9), id(1))]);
    a.commit(&out);
    let out = a.give(Input::Bag { launch: rest.id, tally: vec![3], rest: None, wall_us: 5 });
    a.commit(&out);
    assert_eq!((a.tally(), a.state()), (None, JobState::Active), "the thief's part is missing");
    a.result(2, part, bags[0].attempt, 5, vec![]);
    assert_eq!((a.tally(), a.state()), (Some(vec![18]), JobState::Succeeded));
}

#[test]
fn who_got_nothing_is_given_a_part_as_soon_as_there_is_one() {
    let (mut a, launch) = Owner::new(1, &[2]);
    let launch = launch.expect("runs the whole");
    let (_, out) = a.steal(2);
    let (_, ask, _) = split(&out).expect("asks for a part");
    let token = Token(a.token);
    let out = a.give(Input::Split { launch, ask, bag: None });
    assert_eq!(answer(&out, token), Some(Response::Waiting), "nothing is worth splitting, so it is remembered");
    let (_, ask, _) = split(&a.pass(10)).expect("looks again");
    let out = a.give(Input::Split { launch, ask, bag: Some(bag(7)) });
    assert_eq!(gift(&out, 2).map(|g| g.bag), Some(bag(7)));
    assert_eq!(split(&a.pass(20)), None, "one gift for one lifeline");
}

/// Whom a node asks for a part.
fn steals(out: &[Output]) -> Vec<(NodeId, filch_core::ReqId)> {
    let asked = out.iter().filter_map(|o| match o {
        Output::Request(to, req, Request::Steal { .. }) => Some((*to, *req)),
        _ => None,
    });
    asked.collect()
}

#[test]
fn who_got_a_part_does_not_pause_because_somebody_else_had_none() {
    // One slot runs the whole, the other one is idle.
    let (mut a, _) = Owner::new(2, &[]);
    (2..=5).for_each(|p| a.peer(p));
    let out = a.pass(50);
    let asked = steals(&out);
    assert_eq!(asked.len(), 3, "three at a time: {asked:?}");
    let none = || Response::Stolen { epoch: Epoch::FIRST, runs: vec![], bags: vec![], manifest: None };
    let out = a.give(Input::Response(asked[0].1, none()));
    let next = steals(&out);
    assert_eq!(next.len(), 1, "one that is slow to answer does not keep the others from being asked");
    let given = GivenBag { root: 0, parent: ROOT, parent_attempt: 1, number: 0, attempt: 1, hops: 0, bag: bag(7) };
    let out = a.give(Input::Response(
        asked[1].1,
        Response::Stolen { epoch: Epoch::FIRST, runs: vec![], bags: vec![given], manifest: None },
    ));
    let part = launches(&out).pop().expect("begins");
    assert_eq!(steals(&out), [], "no slot is idle");
    for req in [asked[2].1, next[0].1] {
        assert_eq!(steals(&a.give(Input::Response(req, none()))), []);
    }
    let out = a.give(Input::Bag { launch: part.id, tally: vec![1], rest: None, wall_us: 5 });
    assert!(!steals(&out).is_empty(), "asks again at once");
}

/// Found by seed `minimal 8001204`: a helper whose whole task was stopped listed it in every heartbeat, for ever.
#[test]
fn l7_a_whole_task_that_was_stopped_is_held_no_more() {
    let (mut a, launch) = Owner::new(1, &[]);
    let (launch, job) = (launch.expect("runs"), a.job);
    assert_eq!(a.node.holding(job).len(), 1);
    let out = a.give(Input::Revoke { client: ClientId(2), job, delete: false });
    let mut all = a.commit(&out);
    all.extend(out);
    assert!(all.iter().any(|o| matches!(o, Output::Stop(l) if *l == launch)));
    a.give(Input::Bounced { launch, tasks: Range::new(0, 1), why: "stopped".into() });
    assert!(a.node.holding(job).is_empty());
}

#[test]
fn the_next_part_is_asked_for_before_this_one_ends() {
    let (mut a, launch) = Owner::new(1, &[]);
    let launch = launch.expect("runs the whole");
    (2..=5).for_each(|p| a.peer(p));
    assert_eq!(steals(&a.pass(500)), [], "the slot is busy");
    let out = a.give(Input::EndsSoon(launch));
    let asked = steals(&out);
    assert_eq!(asked.len(), 3);
    assert!(matches!(
        out.iter().find_map(|o| if let Output::Request(_, _, r) = o { Some(r) } else { None }),
        Some(Request::Steal { idle: 1, .. })
    ));
    let given = GivenBag { root: 0, parent: ROOT, parent_attempt: 1, number: 0, attempt: 1, hops: 0, bag: bag(7) };
    let bags = vec![given];
    let out = a.give(Input::Response(
        asked[0].1,
        Response::Stolen { epoch: Epoch::FIRST, runs: vec![], bags, manifest: None },
    ));
    assert_eq!((launches(&out).len(), steals(&out).len()), (0, 0), "it waits for the slot");
    let none = Response::Stolen { epoch: Epoch::FIRST, runs: vec![], bags: vec![], manifest: None };
    assert_eq!(steals(&a.give(Input::Response(asked[1].1, none))), [], "one is enough");
    let out = a.give(Input::Bag { launch, tally: vec![1], rest: None, wall_us: 5 });
    assert_eq!(launches(&out).len(), 1, "no gap");
}

#[test]
fn a_part_runs_no_longer_than_its_time() {
    let (mut a, launch) = Owner::new(1, &[]);
    assert_eq!(checkpoints(&a.pass(1_900)), []);
    assert_eq!(checkpoints(&a.pass(5_000)), [launch.unwrap()], "told once");
}

#[test]
fn the_part_of_a_lost_thief_is_given_to_somebody_else() {
    let (mut a, _) = Owner::new(0, &[2, 3, 4]);
    assert!(matches!(a.claim(2), Response::Grant { runs, .. } if runs.len() == 1));
    let given = Child { bag: bag(7), holder: id(3) };
    a.result(2, ROOT, 1, 10, vec![given]);
    assert!(matches!(a.claim(4), Response::Nothing { .. }), "the thief has it");
    // Whoever waits gets it as soon as the thief is out of reach; nobody has to wait until it is believed dead.
    let out = a.give(Input::PeerDown(id(3)));
    let again = gift(&out, 4).expect("a gift");
    let part = a.child(ROOT, 1, 0, 7);
    assert_eq!((TaskRef::Bag(again.id(a.job)), again.bag.clone()), (part, bag(7)));
    assert!(again.attempt > 1, "attempt numbers are unique");
    a.result(4, part, again.attempt, 5, vec![]);
    assert_eq!(a.tally(), Some(vec![15]));
    // The thief comes back with its own result: equal work, counted once.
    a.result(3, part, 1, 5, vec![]);
    assert_eq!((a.tally(), a.state()), (Some(vec![15]), JobState::Succeeded));
}

#[test]
fn a_thief_whom_the_steward_never_met_is_asked_whether_it_is_there() {
    let (mut a, _) = Owner::new(0, &[2, 4]);
    assert!(matches!(a.claim(2), Response::Grant { runs, .. } if runs.len() == 1));
    let out = a.result(2, ROOT, 1, 10, vec![Child { bag: bag(7), holder: id(3) }]);
    let asked = out.iter().find_map(|o| match o {
        Output::Request(p, req, Request::Hello(_)) if *p == id(3) => Some(*req),
        _ => None,
    });
    assert!(matches!(a.claim(4), Response::Nothing { .. }), "the thief has it");
    // No connection breaks where there was none: without the question, a lease would have to end.
    let out = a.give(Input::RequestFailed(asked.expect("it is asked")));
    assert_eq!(gift(&out, 4).map(|g| g.bag), Some(bag(7)));
}

#[test]
fn a_part_that_was_passed_on_to_somebody_who_is_gone_is_missed_once_it_is_known() {
    let (mut a, launch) = Owner::new(1, &[2, 3, 4]);
    let launch = launch.expect("runs the whole");
    let (_, out) = a.steal(2);
    let (_, ask, _) = split(&out).expect("asks for a part");
    a.give(Input::Split { launch, ask, bag: Some(bag(7)) });
    let out = a.give(Input::Bag { launch, tally: vec![10], rest: Some(bag(9)), wall_us: 5 });
    let rest = launches(&out).pop().expect("its rest").id;
    let out = a.pass(5);
    a.commit(&out);
    // Somebody waits here; then comes a part of the thief's, and goes on to whoever waits.
    let (_, out) = a.steal(3);
    let (_, ask, _) = split(&out).expect("asks for a part");
    a.give(Input::Split { launch: rest, ask, bag: None });
    let TaskRef::Bag(parent) = a.child(ROOT, 1, 0, 7) else { panic!("a part") };
    let parent = TaskRef::Bag(parent);
    let given = GivenBag { root: 0, parent, parent_attempt: 1, number: 0, attempt: 1, hops: 0, bag: bag(5) };
    let gift_of = Message::Gift { job: a.job, epoch: Epoch::FIRST, runs: vec![], bags: vec![given], manifest: None };
    let out = a.give(Input::Message(id(2), gift_of));
    assert_eq!(gift(&out, 3).map(|g| (g.bag, g.hops)), Some((bag(5), 1)));
    // Who got it is gone before any steward has heard that there is such a part.
    a.give(Input::PeerDown(id(3)));
    a.pass(5);
    a.result(2, parent, 1, 5, vec![Child { bag: bag(5), holder: id(1) }]);
    let Response::Grant { bags, .. } = a.claim(4) else { panic!("it is to be had at once") };
    assert_eq!((bags[0].bag.clone(), bags[0].attempt > 1), (bag(5), true));
}

/// A beat of `from`, which says what became of a part.
fn says(a: &mut Owner, from: u8, part: TaskRef, hops: u8, how: Holding) -> Vec<Output> {
    let TaskRef::Bag(id) = part else { panic!("a part") };
    let bags = vec![HeldBag { prefix: id.prefix(), attempt: 1, hops, how }];
    let (held, running, given) = (vec![], vec![], vec![]);
    let beat = JobBeat { job: a.job, epoch: Epoch::FIRST, seen_grant: 0, held, running, given, bags };
    a.ask(from, Request::Beat(Beat { jobs: vec![beat], ..Beat::default() })).1
}

#[test]
fn a_part_that_went_through_several_hands_is_missed_when_the_last_of_them_is_gone() {
    // The parent's result names the first who got it, whether it comes before or after what the last but one says.
    for known in [true, false] {
        let (mut a, _) = Owner::new(0, &[2, 3, 4, 5]);
        assert!(matches!(a.claim(2), Response::Grant { runs, .. } if runs.len() == 1));
        let (part, named) = (a.child(ROOT, 1, 0, 7), vec![Child { bag: bag(7), holder: id(3) }]);
        if known {
            a.result(2, ROOT, 1, 10, named);
            assert!(matches!(a.claim(5), Response::Nothing { .. }), "the first has it");
            let out = says(&mut a, 4, part, 1, Holding::Gone);
            assert_eq!(gift(&out, 5).map(|g| g.bag), Some(bag(7)), "{out:?}");
        } else {
            says(&mut a, 4, part, 1, Holding::Gone);
            a.result(2, ROOT, 1, 10, named);
            assert!(matches!(a.claim(5), Response::Grant { bags, .. } if bags.len() == 1));
        }
    }
}

#[test]
fn who_passed_a_part_on_long_ago_does_not_take_it_from_who_has_it() {
    let (mut a, _) = Owner::new(0, &[2, 3, 4, 5]);
    assert!(matches!(a.claim(2), Response::Grant { runs, .. } if runs.len() == 1));
    let part = a.child(ROOT, 1, 0, 7);
    a.result(2, ROOT, 1, 10, vec![Child { bag: bag(7), holder: id(3) }]);
    says(&mut a, 5, part, 3, Holding::Waits);
    says(&mut a, 4, part, 1, Holding::Gone);
    assert!(matches!(a.claim(4), Response::Nothing { .. }), "it went on from there before");
}

#[test]
fn when_victim_and_thief_are_both_lost_the_parent_begins_again() {
    let (mut a, _) = Owner::new(0, &[2, 3, 4]);
    assert!(matches!(a.claim(2), Response::Grant { runs, .. } if runs.len() == 1));
    // The victim gave something away that no result names yet; the thief's result is here, then both are gone.
    let orphan = a.child(ROOT, 1, 0, 7);
    a.result(3, orphan, 1, 5, vec![]);
    a.give(Input::PeerDown(id(2)));
    a.give(Input::PeerDown(id(3)));
    a.pass(1_000);
    let Response::Grant { runs, .. } = a.claim(4) else { panic!("the whole is to be had") };
    assert_eq!((runs[0].lo, runs[0].attempt), (0, 2));
    a.result(4, ROOT, 2, 20, vec![]);
    assert_eq!((a.tally(), a.state()), (Some(vec![20]), JobState::Succeeded), "orphans do not count");
}

#[test]
fn a_second_copy_of_a_gift_is_dropped() {
    let (mut a, launch) = Owner::new(1, &[2]);
    let given = GivenBag { root: 0, parent: ROOT, parent_attempt: 9, number: 0, attempt: 1, hops: 0, bag: bag(7) };
    let gift = Message::Gift { job: a.job, epoch: Epoch::FIRST, runs: vec![], bags: vec![given], manifest: None };
    a.give(Input::Message(id(2), gift.clone()));
    let out = a.give(Input::Bag { launch: launch.unwrap(), tally: vec![1], rest: None, wall_us: 1 });
    let part = launches(&out).pop().expect("the gift is next");
    a.give(Input::Message(id(2), gift.clone()));
    let out = a.give(Input::Bag { launch: part.id, tally: vec![1], rest: None, wall_us: 1 });
    assert!(launches(&out).is_empty());
    assert!(launches(&a.give(Input::Message(id(2), gift))).is_empty());
}

#[test]
fn a_failed_part_fails_the_attempt_at_the_whole() {
    let (mut a, launch) = Owner::new(1, &[]);
    let out = a.give(Input::Bag { launch: launch.unwrap(), tally: vec![1], rest: Some(bag(7)), wall_us: 1 });
    let part = launches(&out).pop().expect("its rest");
    let out = a.pass(5);
    a.commit(&out);
    let cause = filch_types::Cause::Handler("no".into());
    let out = a.give(Input::BagFailed { launch: part.id, cause, text: "no".into() });
    let out = a.commit(&out);
    a.commit(&out);
    assert_eq!((a.state(), a.node.job(a.job).unwrap().counts.failed), (JobState::Failed, 1));
}
