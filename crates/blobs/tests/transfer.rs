//! From one store to another over a line that lies.

mod common;

use std::io;

use common::{Fixture, bytes};
use filch_blobs::{PACKED_MAX, PIECE, PutError, ReceiveError};
use filch_types::BlobId;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const PACKED: usize = PACKED_MAX as usize;

fn encoded(f: &Fixture, id: BlobId, from: u64) -> Vec<u8> {
    let mut out = Vec::new();
    f.store.encode(id, from, &mut out).expect("encode");
    out
}

/// Runs `case` with stores that are made once: every case uses content of its own.
fn check<S: Strategy>(cases: u32, strategy: S, case: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&strategy, case).unwrap_or_else(|e| panic!("{e}"));
}

/// Lengths of small, packed and large blobs, of one piece and many.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![1..200usize, 16_000..17_000usize, 1..400_000usize, PACKED + 1..PACKED + 400_000]
}

#[test]
fn a_blob_of_any_length_arrives() {
    let (a, b) = (Fixture::new(), Fixture::new());
    for len in [0, 1, 1024, 16384, 16385, 32768, 100_000, PACKED, PACKED + 1, PACKED + 16384, 5 * PACKED + 3] {
        let data = bytes(len as u64, len);
        let id = a.store.put_bytes(&data).expect("put").0;
        let mut receiver = b.store.receive(id, len as u64).expect("receive");
        assert_eq!(receiver.offset(), 0);
        let wire = encoded(&a, id, 0);
        let mut line = io::Cursor::new([&wire[..], b"next"].concat());
        receiver.feed(&mut line).expect("feed");
        assert_eq!(line.position(), wire.len() as u64, "not a byte more is read");
        assert!(!b.store.has(id), "not there before finish");
        receiver.finish().expect("finish");
        assert_eq!(b.store.read(id, len as u64).expect("read"), data);
        b.store.sync(&[id]).expect("sync");
        assert_eq!(encoded(&b, id, 0), wire, "it can be handed on");
    }
}

#[test]
fn a_wrong_byte_anywhere_stops_the_transfer_and_the_good_part_stays() {
    let (a, b) = (Fixture::new(), Fixture::new());
    check(150, (length(), any::<u64>(), any::<prop::sample::Index>(), 1..=255u8), |(len, seed, at, flip)| {
        let data = bytes(seed, len);
        let id = a.store.put_bytes(&data).expect("put").0;
        let good = encoded(&a, id, 0);
        let mut wire = good.clone();
        let at = at.index(wire.len());
        wire[at] ^= flip;
        let mut receiver = b.store.receive(id, len as u64).expect("receive");
        let start = receiver.offset();
        prop_assert_eq!(start, 0);
        let e = receiver.feed(&mut &wire[..]).expect_err("refused");
        let kept = receiver.offset();
        prop_assert!(matches!(e, ReceiveError::BadPiece { offset, .. } if offset == kept), "{}", e);
        prop_assert!(kept.is_multiple_of(PIECE) && kept < len as u64);
        // Everything in whole pieces before the wrong byte is good; hashes come before the pieces that they prove.
        prop_assert!(kept <= at as u64);
        let e = receiver.finish().expect_err("not complete");
        prop_assert!(matches!(e, ReceiveError::Incomplete { .. }), "{}", e);
        prop_assert!(!b.store.has(id));
        // An honest sender goes on from there.
        let mut receiver = b.store.receive(id, len as u64).expect("receive");
        prop_assert_eq!(receiver.offset(), kept);
        let rest = encoded(&a, id, kept);
        prop_assert!(rest.len() as u64 <= good.len() as u64 - kept + 64 * 40);
        receiver.feed(&mut &rest[..]).expect("feed");
        receiver.finish().expect("finish");
        prop_assert_eq!(b.store.read(id, len as u64).expect("read"), data);
        Ok(())
    });
}

#[test]
fn a_line_that_breaks_goes_on_where_it_broke() {
    let (a, b) = (Fixture::new(), Fixture::new());
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    check(60, (length(), any::<u64>(), cuts), |(len, seed, cuts)| {
        let data = bytes(seed, len);
        let id = a.store.put_bytes(&data).expect("put").0;
        for cut in cuts {
            let mut receiver = b.store.receive(id, len as u64).expect("receive");
            let before = receiver.offset();
            let wire = encoded(&a, id, before);
            let cut = cut.index(wire.len());
            let e = receiver.feed(&mut &wire[..cut]).expect_err("cut off");
            prop_assert!(matches!(e, ReceiveError::Broken { .. }), "{}", e);
            prop_assert!(receiver.offset() >= before);
        }
        let mut receiver = b.store.receive(id, len as u64).expect("receive");
        let wire = encoded(&a, id, receiver.offset());
        receiver.feed(&mut &wire[..]).expect("feed");
        receiver.finish().expect("finish");
        prop_assert_eq!(b.store.read(id, len as u64).expect("read"), data);
        Ok(())
    });
}

#[test]
fn a_claimed_length_is_not_believed() {
    let (a, b) = (Fixture::new(), Fixture::new());
    check(100, (length(), any::<u64>(), prop_oneof![-40_000..0i64, 1..40_000i64]), |(len, seed, off)| {
        let data = bytes(seed, len);
        let id = a.store.put_bytes(&data).expect("put").0;
        let claimed = (len as i64 + off).max(0) as u64;
        let mut receiver = b.store.receive(id, claimed).expect("receive");
        let fed = receiver.feed(&mut &encoded(&a, id, 0)[..]);
        prop_assert!(claimed == 0 || fed.is_err());
        prop_assert!(receiver.finish().is_err());
        prop_assert!(!b.store.has(id));
        let mut receiver = b.store.receive(id, len as u64).expect("receive");
        let wire = encoded(&a, id, receiver.offset());
        receiver.feed(&mut &wire[..]).expect("feed");
        receiver.finish().expect("finish");
        prop_assert_eq!(b.store.read(id, u64::MAX).expect("read"), data);
        Ok(())
    });
}

#[test]
fn arbitrary_bytes_are_never_taken_for_a_blob() {
    let b = Fixture::new();
    let line = prop::collection::vec(any::<u8>(), 0..200_000);
    check(60, (any::<[u8; 32]>(), 0..3_000_000u64, line), |(id, len, line)| {
        let mut receiver = b.store.receive(BlobId(id), len).expect("receive");
        let fed = receiver.feed(&mut &line[..]);
        prop_assert!(len == 0 || fed.is_err());
        prop_assert_eq!(receiver.offset(), 0);
        prop_assert!(receiver.finish().is_err());
        Ok(())
    });
    assert_eq!(b.store.usage().blobs, 0);
}

#[test]
fn one_receiver_at_a_time() {
    let f = Fixture::new();
    let id = BlobId::of(b"abc");
    let first = f.store.receive(id, 3).expect("receive");
    assert!(matches!(f.store.receive(id, 3), Err(PutError::Busy(busy)) if busy == id));
    drop(first);
    let mut receiver = f.store.receive(id, 3).expect("receive");
    receiver.feed(&mut &b"abc"[..]).expect("feed");
    receiver.finish().expect("finish");
    assert_eq!(f.store.read(id, 3).expect("read"), b"abc");
}

#[test]
fn what_is_there_already_needs_no_bytes() {
    let f = Fixture::new();
    for len in [10, PACKED + 1] {
        let id = f.store.put_bytes(&bytes(1, len)).expect("put").0;
        let mut receiver = f.store.receive(id, len as u64).expect("receive");
        assert_eq!(receiver.offset(), len as u64);
        receiver.feed(&mut io::empty()).expect("nothing to read");
        receiver.finish().expect("finish");
    }
    assert_eq!(f.store.usage().blobs, 2);
}

#[test]
fn a_large_transfer_goes_on_after_a_restart_from_what_is_proved() {
    let a = Fixture::new();
    let len = 3 * PACKED + 5000;
    let data = bytes(1, len);
    let id = a.store.put_bytes(&data).expect("put").0;
    let wire = encoded(&a, id, 0);
    let partial = |b: &Fixture| b.root().join("partial").join(id.to_string());
    // What happens to the partial file while the process is away, and how much of it is good then.
    type Harm = (&'static str, fn(&std::path::Path), std::ops::RangeInclusive<u64>);
    let half = 1_500_000;
    let harms: [Harm; 5] = [
        ("nothing", |_| {}, half - 2 * PIECE..=half),
        ("a byte flips", |p| flip(p, 500_000), 480_000..=500_000),
        ("its end is lost", |p| truncate(p, 700_000), 680_000..=700_000),
        ("its hashes are lost", |p| truncate(&p.with_extension("obao"), 0), 0..=0),
        ("its length is lost", |p| truncate(&p.with_extension("len"), 3), 0..=0),
    ];
    for (what, harm, good) in harms {
        let mut b = Fixture::new();
        let mut receiver = b.store.receive(id, len as u64).expect("receive");
        receiver.feed(&mut &wire[..half as usize]).expect_err("cut off");
        drop(receiver);
        b = b.reopen();
        harm(&partial(&b));
        let mut receiver = b.store.receive(id, len as u64).expect("receive");
        assert!(good.contains(&receiver.offset()), "{what}: {}", receiver.offset());
        receiver.feed(&mut &encoded(&a, id, receiver.offset())[..]).expect("feed");
        receiver.finish().expect("finish");
        b.store.sync(&[id]).expect("sync");
        assert_eq!(b.store.read(id, u64::MAX).expect("read"), data, "{what}");
        assert_eq!(encoded(&b, id, 0), wire, "{what}");
        assert_eq!(std::fs::read_dir(b.root().join("partial")).expect("dir").count(), 0, "{what}");
    }
}

fn flip(path: &std::path::Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("write");
}

fn truncate(path: &std::path::Path, len: u64) {
    std::fs::OpenOptions::new().write(true).open(path).and_then(|f| f.set_len(len)).expect("truncate");
}
