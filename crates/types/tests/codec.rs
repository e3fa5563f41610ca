//! Every decoder on arbitrary and on damaged bytes: no panic, no unbounded memory, nothing accepted that was not said.

use filch_types::codec::{self, CodecError};
use filch_types::fact::{Fact, FactBody, PinRun, SignedFact};
use filch_types::manifest::{Generator, Group, JobSpec, Manifest, Program, SignedManifest, TaskLimits};
use filch_types::record::Record;
use filch_types::result::{Content, OutFile, Stream};
use filch_types::sign::{Ed25519, Keyring};
use filch_types::template::Template;
use filch_types::wire::{Message, Request, Response, Summary};
use filch_types::{BlobId, JobId, Nonce, Outcome, ResultRun, TaskOutput, limits};
use proptest::prelude::*;

fn keys() -> Ed25519 {
    Ed25519::from_secret(&[3; 32])
}

fn manifest() -> Manifest {
    Manifest {
        owner: keys().id(),
        nonce: Nonce([1; 16]),
        created_ms: 1,
        k: 1,
        r: 1,
        replicas: vec![keys().id()],
        spec: JobSpec {
            name: "resize".into(),
            priority: 0,
            attended: true,
            groups: vec![Group {
                name: "main".into(),
                tasks: Generator::Array { first: 1, step: 2, count: 50 },
                program: Program::Command { argv: vec![Template::parse("echo {} {#}").unwrap()] },
                env: vec![("A".into(), "b".into())],
                inputs: vec![],
                outputs: vec![Template::parse("out/{/}.gz").unwrap()],
                limits: TaskLimits::default(),
                retries: 2,
                needs: vec![],
                resources: vec![],
            }],
            closure_bytes: 0,
            closure_blobs: 0,
        },
    }
}

fn pack(job: JobId) -> Fact {
    let output = TaskOutput {
        stdout: Stream { kept: Content::Inline(b"hello".to_vec()), total: 5 },
        stderr: Stream { kept: Content::Blob(BlobId::of(b"x"), 9000), total: 9000 },
        files: vec![OutFile { path: "out/a".into(), executable: false, content: Content::Inline(vec![0, 255]) }],
    };
    let runs = vec![
        ResultRun { lo: 0, count: 3, attempt: 1, wall_us: 3, outcome: Outcome::Success(TaskOutput::default()) },
        ResultRun::one(7, 2, 10, Outcome::Success(output)),
    ];
    Fact { job, by: keys().id(), body: FactBody::Pack(runs) }
}

#[test]
fn signed_things_open_and_any_flipped_bit_closes_them() {
    let signed = SignedManifest::sign(&manifest(), &keys()).unwrap();
    assert_eq!(signed.open(&keys()).unwrap(), manifest());
    let fact = SignedFact::sign(&pack(signed.job()), &keys()).unwrap();
    assert_eq!(fact.open(&keys()).unwrap(), pack(signed.job()));
    for at in 0..signed.bytes.len() {
        let mut bad = signed.clone();
        bad.bytes[at] ^= 4;
        assert!(bad.open(&keys()).is_err(), "byte {at}");
    }
    for at in 0..fact.bytes.len() {
        let mut bad = fact.clone();
        bad.bytes[at] ^= 4;
        assert!(bad.open(&keys()).is_err(), "byte {at}");
    }
}

#[test]
fn a_job_s_manifest_does_not_grow_with_its_tasks() {
    let size = |count| {
        let mut m = manifest();
        m.spec.groups[0].tasks = Generator::Array { first: 1, step: 2, count };
        SignedManifest::sign(&m, &keys()).unwrap().bytes.len()
    };
    assert!(size(limits::MAX_TASKS) <= size(1) + 4);
}

#[test]
fn rules_that_types_cannot_say_are_checked() {
    let refused = |change: &dyn Fn(&mut Manifest)| {
        let mut m = manifest();
        change(&mut m);
        SignedManifest::sign(&m, &keys()).unwrap().open(&keys()).is_err()
    };
    assert!(refused(&|m| m.k = 2));
    assert!(refused(&|m| m.r = 0));
    assert!(refused(&|m| m.replicas.clear()));
    assert!(refused(&|m| m.replicas.push(m.owner)));
    assert!(refused(&|m| m.spec.groups.clear()));
    assert!(refused(&|m| m.spec.groups[0].tasks = Generator::Array { first: i64::MAX, step: 1, count: 2 }));
    assert!(
        refused(&|m| m.spec.groups[0].tasks = Generator::Array { first: 0, step: 0, count: limits::MAX_TASKS + 1 })
    );
    assert!(refused(&|m| m.spec.groups[0].needs =
        vec![filch_types::manifest::Edge { group: 0, kind: filch_types::manifest::EdgeKind::All }]));
    let job = JobId([0; 32]);
    let sign = |body| SignedFact::sign(&Fact { job, by: keys().id(), body }, &keys());
    let run =
        |lo, count| ResultRun { lo, count, attempt: 1, wall_us: 0, outcome: Outcome::Success(TaskOutput::default()) };
    assert!(sign(FactBody::Pack(vec![])).is_err());
    assert!(sign(FactBody::Pack(vec![run(5, 2), run(6, 1)])).is_err(), "overlap");
    assert!(sign(FactBody::Pack(vec![run(u32::MAX, 2)])).is_err(), "overflow");
    assert!(sign(FactBody::Pin(vec![PinRun { lo: 0, count: 0, pack: Default::default() }])).is_err());
    let escape = TaskOutput {
        files: vec![OutFile { path: "../x".into(), executable: false, content: Content::default() }],
        ..TaskOutput::default()
    };
    assert!(sign(FactBody::Pack(vec![ResultRun::one(0, 1, 0, Outcome::Success(escape))])).is_err());
}

#[test]
fn other_versions_and_leftovers_are_named() {
    let mut bytes = codec::encode(&7u32, 100).unwrap();
    bytes.push(0);
    assert_eq!(codec::decode::<u32>(&bytes, 100), Err(CodecError::Trailing(1)));
    bytes[0] = 9;
    assert_eq!(codec::decode::<u32>(&bytes, 100), Err(CodecError::Version { got: 9 }));
    assert_eq!(codec::decode::<u32>(&[], 100), Err(CodecError::Empty));
    assert!(matches!(codec::decode::<u32>(&[1; 101], 100), Err(CodecError::TooLong { got: 101, max: 100 })));
}

#[test]
fn a_length_that_lies_reserves_nothing() {
    // A vector that says it has 2^32 - 1 elements, in a frame of a few bytes.
    let lie = [1u8, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(codec::decode::<Vec<u64>>(&lie, 100).is_err());
    assert!(codec::decode::<Vec<Summary>>(&lie, 100).is_err());
    assert!(codec::decode::<String>(&lie, 100).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), versioned in any::<bool>()) {
        if versioned && !bytes.is_empty() { bytes[0] = codec::VERSION; }
        let max = limits::MAX_FRAME;
        let _ = codec::decode::<Message>(&bytes, max);
        let _ = codec::decode::<Request>(&bytes, max);
        let _ = codec::decode::<Response>(&bytes, max);
        let _ = codec::decode::<Record>(&bytes, max);
        let _ = codec::decode::<Summary>(&bytes, limits::MAX_SUMMARY);
        let sig = keys().sign(b"");
        let _ = SignedFact { bytes: bytes.clone(), sig: sig.clone() }.open(&keys());
        let _ = SignedManifest { bytes, sig }.open(&keys());
    }
}
