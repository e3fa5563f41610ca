//! `seed DIRECTORY`: inputs to begin with, one folder a target: one of each kind of thing that can be said. A fuzzer finds the rest.
#![allow(clippy::print_stdout)]

use std::path::Path;

use filch_fuzz::talk::{Step, manifest, spec};
use filch_handlers::{DivisibleKind, Uts};
use filch_sim::rng::Dice;
use filch_types::ask::Ask;
use filch_types::bag::{BagOutcome, BagResult, Child, TaskRef};
use filch_types::fact::PinRun;
use filch_types::items::{Item, Writer};
use filch_types::manifest::InFile;
use filch_types::members::Known;
use filch_types::ranges::Range;
use filch_types::record::Record;
use filch_types::result::{OutFile, Stream};
use filch_types::sign::{Keyring, Simulated};
use filch_types::time::Span;
use filch_types::wire::{
    Beat, Given, GivenBag, Hello, JobBeat, JobBeatAck, JobDigest, JobState, LeaseRun, Message, Refusal, Request,
    Response, Summary,
};
use filch_types::{
    BlobId, Cause, Content, Epoch, Fact, FactBody, FactId, JobId, MachineId, NodeId, Outcome, ResultRun, SignedFact,
    SignedManifest, StoreId, TaskOutput, codec, limits,
};
use serde::Serialize;

const PEER: NodeId = NodeId([3; 32]);

fn job() -> JobId {
    SignedManifest::sign(&manifest(2, 30), &Simulated(PEER)).expect("signs").job()
}

fn output() -> TaskOutput {
    TaskOutput {
        stdout: Stream { kept: Content::Inline(b"hello".to_vec()), total: 5 },
        stderr: Stream { kept: Content::Blob(BlobId([9; 32]), 9000), total: 9000 },
        files: vec![OutFile { path: "out/a".into(), executable: true, content: Content::Inline(vec![0, 255]) }],
    }
}

fn bodies() -> Vec<FactBody> {
    let plain = ResultRun { lo: 0, count: 3, attempt: 1, wall_us: 3, outcome: Outcome::Success(TaskOutput::default()) };
    let child = Child { bag: Content::Inline(vec![1, 2]), holder: PEER };
    let ended = BagOutcome::Ended { tally: vec![5, 6], children: vec![child] };
    let bag = BagResult { task: TaskRef::Index(4), attempt: 1, wall_us: 9, outcome: ended };
    vec![
        FactBody::Pack(vec![plain.clone(), ResultRun::one(7, 2, 10, Outcome::Success(output()))]),
        FactBody::Pack(vec![ResultRun::one(1, 3, 10, Outcome::Failed(Cause::Exit(3), output()))]),
        FactBody::Pack(vec![plain]),
        FactBody::Pin(vec![PinRun { lo: 0, count: 3, pack: FactId([4; 32]) }]),
        FactBody::Lost(vec![(1, 1), (2, 1 << 20)]),
        FactBody::Cancel,
        FactBody::Delete,
        FactBody::AddReplica(NodeId([4; 32])),
        FactBody::Bags(vec![bag]),
        FactBody::LostBags(vec![(filch_types::BagId([1; 32]), 1)]),
    ]
}

fn sign(body: FactBody) -> SignedFact {
    SignedFact::sign(&Fact { job: job(), by: PEER, body }, &Simulated(PEER)).expect("signs")
}

fn run(lo: u32, count: u32) -> LeaseRun {
    LeaseRun { lo, count, attempt: 1 << 20, hops: 1 }
}

fn summary() -> Summary {
    Summary {
        job: job(),
        owner: PEER,
        name: "job".into(),
        replicas: vec![PEER, NodeId([1; 32])],
        steward: PEER,
        epoch: Epoch::FIRST,
        seq: 3,
        priority: 0,
        needs: vec!["handler:noop".into()],
        total: 30,
        succeeded: 2,
        failed: 0,
        leased: 4,
        grantable: 20,
        state: JobState::Active,
        created_ms: 1,
    }
}

fn hello() -> Hello {
    Hello {
        store: StoreId([3; 16]),
        machine: MachineId([3; 16]),
        boot: 4,
        name: "n".into(),
        slots: 4,
        offers: vec!["handler:noop".into()],
        draining: false,
    }
}

fn beat() -> Beat {
    let given = Given { seq: 1, to: NodeId([4; 32]), run: run(8, 2) };
    let held = JobBeat {
        job: job(),
        epoch: Epoch::FIRST,
        seen_grant: 1,
        held: vec![run(0, 4), run(6, 2)],
        running: vec![Range::new(0, 1)],
        given: vec![given],
        bags: vec![],
    };
    let digest = JobDigest { job: job(), facts: 1, xor: FactId([5; 32]), held: true };
    Beat { jobs: vec![held], offices: vec![], digests: vec![digest], queued: 5, idle: 1, full: false }
}

fn requests() -> Vec<Request> {
    let job = job();
    vec![
        Request::Hello(hello()),
        Request::Beat(beat()),
        Request::Claim { job, want: 5, idle: 1, need_manifest: true },
        Request::Steal { job, want: 5, idle: 2, wait: Span::millis(3) },
        Request::Replicate(SignedManifest::sign(&manifest(2, 30), &Simulated(PEER)).expect("signs")),
        Request::Manifest(job),
        Request::Digest { job, buckets: (0..256).map(|n| n % 3).collect(), from: 7, keeps: true },
        Request::GetFacts { job, facts: vec![FactId([4; 32])] },
        Request::Revoke { job, delete: false },
        Request::Revoke { job, delete: true },
    ]
}

fn responses() -> Vec<Response> {
    let (job, epoch) = (job(), Epoch::new(3, &PEER));
    let ack = JobBeatAck {
        job,
        steward: Some(PEER),
        epoch,
        given_upto: 1,
        revoked: vec![run(0, 2)],
        revoked_bags: vec![(1, 1)],
        ended: vec![Range::new(1, 2)],
        state: JobState::Active,
    };
    let bag = GivenBag {
        root: 1,
        parent: TaskRef::Index(1),
        parent_attempt: 1,
        number: 0,
        attempt: 2,
        hops: 0,
        bag: Content::Inline(vec![1]),
    };
    let signed = SignedManifest::sign(&manifest(2, 30), &Simulated(PEER)).expect("signs");
    vec![
        Response::Hello(hello()),
        Response::Beat { jobs: vec![ack], digests: beat().digests },
        Response::Grant { epoch, grant: 1, runs: vec![run(0, 5)], bags: vec![bag], manifest: Some(signed.clone()) },
        Response::Nothing { steward: PEER, victims: vec![(NodeId([4; 32]), 5)], state: JobState::Active },
        Response::Nothing { steward: NodeId([1; 32]), victims: vec![], state: JobState::Deleted },
        Response::Stolen { epoch, runs: vec![run(9, 2)], bags: vec![], manifest: None },
        Response::Waiting,
        Response::Replicating,
        Response::Manifest(signed),
        Response::FactIds { buckets: vec![1, 2], facts: vec![FactId([4; 32])], more: true },
        Response::Facts(vec![sign(FactBody::Cancel)]),
        Response::Done,
        Response::Refused(Refusal::UnknownJob),
        Response::Refused(Refusal::Full("disk".into())),
    ]
}

fn messages() -> Vec<Message> {
    let (job, store) = (job(), StoreId([3; 16]));
    let mut all: Vec<Message> = bodies().into_iter().map(|b| Message::Facts(vec![sign(b)])).collect();
    all.extend([
        Message::Stored { job, store, facts: vec![FactId([4; 32])] },
        Message::Held { job, store, machine: MachineId([3; 16]) },
        Message::Fetching { job, bytes: 5 },
        Message::Announce(vec![summary()]),
        Message::Gift { job, epoch: Epoch::FIRST, runs: vec![run(1, 2)], bags: vec![], manifest: None },
    ]);
    all
}

fn kind<T: Serialize>(kind: u8, value: &T) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(codec::encode(value, limits::MAX_FRAME).expect("encodes"));
    out
}

fn talks() -> Vec<Vec<u8>> {
    let speak = |start: u8, steps: &[Step]| {
        let mut out = vec![start];
        for s in steps {
            out = postcard::to_extend(s, out).expect("encodes");
        }
        out
    };
    let mut all = Vec::new();
    for (n, r) in requests().into_iter().enumerate() {
        all.push(speak(n as u8 % 8, &[Step::Request(2, r), Step::Done, Step::Done, Step::Pass(3000)]));
    }
    for (n, m) in messages().into_iter().enumerate() {
        all.push(speak(2 + n as u8 % 2, &[Step::Message(2, m), Step::Done, Step::Pass(100), Step::Done]));
    }
    for (n, r) in responses().into_iter().enumerate() {
        let pass = |ms| Step::Pass(ms);
        all.push(speak(3, &[pass(1200), Step::Answer(0, r.clone()), Step::Answer(n as u8, r), pass(50), Step::Done]));
    }
    for (n, b) in bodies().into_iter().enumerate() {
        all.push(speak(3, &[Step::Fact(2, 2, n as u8 % 2, b), Step::Done, Step::Done, Step::Pass(10_000), Step::Done]));
    }
    let work = [
        Step::Pass(100),
        Step::Ends(0, 0),
        Step::Ends(1, 2),
        Step::Ends(0, 3),
        Step::Pass(150),
        Step::Done,
        Step::Fails,
        Step::Pass(20_000),
        Step::Done,
        Step::Revoke(0, true),
        Step::Done,
        Step::Pass(40_000),
    ];
    all.push(speak(1, &work));
    all.push(speak(
        3,
        &[Step::Gossip(summary()), Step::Watch(0), Step::Down(2), Step::Pass(9000), Step::Up(2), Step::Done],
    ));
    let sent =
        [Step::Submit(3, Box::new(spec(4))), Step::Done, Step::Fails, Step::Silence(0), Step::Drain, Step::Pass(5000)];
    all.push(speak(4, &sent));
    all
}

fn records() -> Vec<Vec<u8>> {
    let (job, fact) = (job(), sign(FactBody::Delete));
    let signed = SignedManifest::sign(&manifest(2, 30), &Simulated(PEER)).expect("signs");
    let all = [
        Record::Manifest(job, signed),
        Record::Held(job),
        Record::Fact(job, fact.id(), fact.clone()),
        Record::Outbox(job, fact.id()),
        Record::OutboxDone(job, fact.id()),
        Record::Round(job, 7),
        Record::Drop(job),
        Record::Forget(job, fact),
    ];
    all.iter().map(|r| codec::encode(r, limits::MAX_FRAME).expect("encodes")).collect()
}

fn facts() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> =
        bodies().into_iter().map(|body| kind(0, &Fact { job: job(), by: PEER, body })).collect();
    all.push(kind(1, &manifest(2, 30)));
    all
}

fn frames() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = messages().iter().map(|m| kind(0, m)).collect();
    all.extend(requests().iter().map(|m| kind(1, m)));
    all.extend(responses().iter().map(|m| kind(2, m)));
    all.push(kind(3, &summary()));
    all
}

fn asks() -> Vec<Vec<u8>> {
    let ask = |count: u8| Ask { blobs: (0..count).map(|n| (BlobId([n; 32]), u64::from(n) << 14)).collect() };
    let frame = |count| ask(count).frame().expect("fits");
    let far = Ask { blobs: vec![(BlobId([7; 32]), u64::MAX)] }.frame().expect("fits");
    vec![frame(0), frame(1), frame(20), [frame(2), far, frame(3)].concat()]
}

fn members() -> Vec<Vec<u8>> {
    let texts = |all: &[&str]| all.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let own = || texts(&["/ip4/10.0.0.1/tcp/4600", "/ip6/fe80::1/udp/4600/quic-v1", "host.lan:4600"]);
    let others = |count: u8| (0..count).map(move |n| (NodeId([n; 32]), texts(&["/dns/a/tcp/1", "10.0.0.2:1"])));
    let all =
        [Known::default(), Known::new(own(), others(0)), Known::new(own(), others(5)), Known::new(own(), others(64))];
    all.iter().map(|k| codec::encode(k, filch_types::members::MAX_BYTES).expect("fits")).collect()
}

/// Scripts: the kind of blob, then what its senders do.
fn pieces() -> Vec<Vec<u8>> {
    let (cut, flip, raw, length, early, twice, restart) = (0u8, 1u8, 2u8, 3u8, 4u8, 5u8, 6u8);
    let mut all: Vec<Vec<u8>> = (0..16)
        .map(|len| {
            let mut script = vec![len, cut, 0, 90, 17, early, flip, 0, 120, 5, 9, length, 0, 200, 7, raw];
            script.extend([3; 64]);
            script.extend([twice, cut, 1, 80, 1, early, flip, 3, 0, 0, 1]);
            script
        })
        .collect();
    // Of files: half of it comes, the process ends, and one of its unfinished files is cut or written to, or is left alone.
    for file in 0..3u8 {
        for harm in 0..3u8 {
            let mut script = vec![15, cut, 15, 0, 0, restart, 0, 0, file, 3, 0, 200, harm];
            script.extend([8; 40]);
            script.extend([cut, 2, 0, 0, restart, 0, 0, file, 0, 0, 10, harm]);
            all.push(script);
        }
    }
    // A name that is that of what comes, with its length and with others; a name of nothing.
    for (by_name, claimed, shift) in [(0, 5, 0), (0, 6, 0), (0, 0, 0), (1, 5, 0), (1, 0, 0), (1, 200, 39), (0, 5, 20)] {
        all.push([&[0xf0, by_name, 0, 0, claimed, shift][..], b"hello"].concat());
    }
    all
}

fn items() -> Vec<Vec<u8>> {
    let list = |count: u32| {
        let mut w = Writer::default();
        for n in 0..count {
            let file = InFile { path: format!("in/{n}"), blob: BlobId([n as u8; 32]), len: 5, executable: false };
            w.push(&Item { values: vec![format!("v{n}")], inputs: vec![file] }).expect("fits");
        }
        w.finish()
    };
    vec![list(0), list(1), list(70)]
}

fn bags() -> Vec<Vec<u8>> {
    let trees = ["geo:4,6,19", "bin:50,0.12,8,42", "T1", "T3"];
    let mut all = Vec::new();
    for args in trees {
        let args: Vec<String> = args.split(' ').map(str::to_owned).collect();
        if let Ok(mut work) = Uts.start(&args) {
            all.push(work.pack());
            if work.process(300).is_ok() {
                all.push(work.pack());
            }
        }
    }
    all
}

fn lines(kinds: &[(u8, &str)]) -> Vec<Vec<u8>> {
    kinds.iter().map(|(k, text)| [&[*k], text.as_bytes()].concat()).collect()
}

const SPEC: &str = r#"{"name":"demo","groups":[
{"name":"a","tasks":{"array":{"first":1,"step":2,"count":3}},"program":{"command":["echo","{}","{{x}"]},"outputs":["{}.txt"]},
{"name":"b","program":{"handler":{"name":"noop"}},"needs":[{"group":0}],"timeout_ms":50}]}"#;

fn api() -> Vec<Vec<u8>> {
    lines(&[
        (1, SPEC),
        (0, &format!(r#"{{"spec":{SPEC},"nonce":"00112233445566778899aabbccddeeff"}}"#)),
        (2, r#"{"paths":["/a/b","/c"]}"#),
        (3, r#"{"directory":"/tmp/x"}"#),
        (4, r#"{"grace_ms":500}"#),
        (5, r#"{"submitted":{"job":"00"}}"#),
        (6, r#"{"result":{"task":1}}"#),
        (7, r#"{"at_ms":1,"kind":"peer_joined"}"#),
        (8, r#"{"id":"00","name":"x"}"#),
    ])
}

fn texts(folder: &Path, ext: &str, most: u64) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("the folder is there").map(|e| e.expect("readable"));
    let fits = |e: &std::fs::DirEntry| {
        e.path().extension().is_some_and(|x| x == ext) && e.metadata().is_ok_and(|m| m.len() <= most)
    };
    entries.filter(fits).map(|e| std::fs::read(e.path()).expect("readable")).collect()
}

fn runs() -> Vec<Vec<u8>> {
    let spell = |seed: u64| {
        let mut dice = Dice::stream(seed, "fuzz");
        let len = dice.between(200, 700);
        let mut bytes = vec![seed as u8];
        bytes.extend((0..len).map(|_| dice.below(256) as u8));
        bytes
    };
    (0..20).map(spell).collect()
}

fn templates() -> Vec<Vec<u8>> {
    let all = [
        "",
        "plain",
        "a {} b",
        "{.}{/}{//}{/.}{#}{%}",
        "{2/.} {in} {in3} {out} {out2}",
        "awk '{print $1}'",
        "{{}",
        "x{",
    ];
    all.iter().map(|t| t.as_bytes().to_vec()).collect()
}

fn main() {
    let to = std::env::args().nth(1).unwrap_or_else(|| "corpus".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let key = Simulated(PEER);
    assert!(key.verify(PEER, b"x", &key.sign(b"x")));
    let all = [
        ("api", api()),
        ("asks", asks()),
        ("bags", bags()),
        ("facts", facts()),
        ("frames", frames()),
        ("items", items()),
        ("members", members()),
        ("pieces", pieces()),
        ("records", records()),
        ("run", runs()),
        ("scenarios", texts(&root.join("simulations"), "toml", 4096)),
        ("schedules", texts(&root.join("crates/sim/corpus/schedules"), "json", 4096)),
        ("talk", talks()),
        ("templates", templates()),
    ];
    for (name, inputs) in all {
        let folder = Path::new(&to).join(name);
        std::fs::create_dir_all(&folder).expect("a directory can be made");
        for bytes in &inputs {
            let file = folder.join(BlobId::of(bytes).short());
            std::fs::write(file, bytes).expect("a file can be written");
        }
        println!("{name}: {}", inputs.len());
    }
}
