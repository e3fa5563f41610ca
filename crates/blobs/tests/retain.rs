//! Blobs stay as long as a job needs them, and no longer.

mod common;

use common::{Fixture, bytes, job};
use filch_blobs::PACKED_MAX;
use filch_types::BlobId;

const LARGE: usize = PACKED_MAX as usize + 1;

fn put(f: &Fixture, seed: u64, len: usize) -> BlobId {
    f.store.put_bytes(&bytes(seed, len)).expect("put").0
}

fn disk(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("dir").map(|e| e.expect("entry").path());
    entries.map(|p| if p.is_dir() { disk(&p) } else { p.metadata().expect("meta").len() }).sum()
}

#[test]
fn release_frees_what_no_other_job_retains_also_after_a_restart() {
    for restart in [false, true] {
        let mut f = Fixture::new();
        let ids: Vec<_> = [(1, 100), (2, LARGE), (3, 300), (4, LARGE + 1)].map(|(s, n)| put(&f, s, n)).to_vec();
        f.store.retain(job(1), &[ids[0], ids[1], ids[2]]).expect("retain");
        f.store.retain(job(2), &[ids[2], ids[3]]).expect("retain");
        f.store.retain(job(2), &[ids[2]]).expect("twice is once");
        if restart {
            f.store.sync(&ids).expect("sync");
            f = f.reopen();
        }
        assert_eq!(f.store.release(job(1)).expect("release"), 100 + LARGE as u64);
        assert_eq!(ids.iter().map(|id| f.store.has(*id)).collect::<Vec<_>>(), [false, false, true, true]);
        assert!(!f.large(ids[1]).exists() && f.large(ids[3]).exists());
        f = f.reopen();
        assert_eq!(ids.iter().map(|id| f.store.has(*id)).collect::<Vec<_>>(), [false, false, true, true]);
        assert_eq!(f.store.release(job(1)).expect("again"), 0);
        assert_eq!(f.store.release(job(2)).expect("release"), 300 + LARGE as u64 + 1);
        let usage = f.store.usage();
        assert_eq!((usage.blobs, usage.bytes), (0, 0));
        assert!(f.packs().is_empty(), "no pack without a blob");
    }
}

#[test]
fn what_is_retained_first_may_come_later() {
    let mut f = Fixture::new();
    let id = BlobId::of(&bytes(1, 100));
    f.store.retain(job(1), &[id]).expect("retain");
    f.store.sync(&[]).expect("sync");
    f = f.reopen();
    assert_eq!(put(&f, 1, 100), id);
    f.store.retain(job(2), &[id]).expect("retain");
    assert_eq!(f.store.release(job(2)).expect("release"), 0);
    assert!(f.store.has(id), "job 1 still has it");
    assert_eq!(f.store.release(job(1)).expect("release"), 100);
    assert!(!f.store.has(id));
}

#[test]
fn a_blob_that_was_put_again_survives_the_release() {
    let f = Fixture::new();
    for len in [100, LARGE] {
        let id = put(&f, 1, len);
        f.store.retain(job(1), &[id]).expect("retain");
        f.store.release(job(1)).expect("release");
        assert!(!f.store.has(id));
        assert_eq!(put(&f, 1, len), id);
        f.store.sync(&[id]).expect("sync");
        assert_eq!(f.store.read(id, u64::MAX).expect("read"), bytes(1, len));
    }
}

#[test]
fn a_wasteful_pack_is_rewritten_and_what_lives_moves() {
    let mut f = Fixture::new();
    let ids: Vec<_> = (0..60).map(|n| put(&f, n, 100_000)).collect();
    let (gone, stay): (Vec<_>, Vec<_>) = ids.iter().enumerate().partition(|(n, _)| n % 3 != 0);
    let only = |v: Vec<(usize, &BlobId)>| v.into_iter().map(|(_, id)| *id).collect::<Vec<_>>();
    let (gone, stay) = (only(gone), only(stay));
    f.store.retain(job(1), &gone).expect("retain");
    f.store.retain(job(2), &stay).expect("retain");
    f.store.sync(&ids).expect("sync");
    let before = f.packs();
    f.store.release(job(1)).expect("release");
    assert_ne!(f.packs(), before);
    let sizes: u64 = f.packs().iter().map(|p| p.metadata().expect("meta").len()).sum();
    assert_eq!(sizes, 2_000_000 + 20 * 48, "only what lives is kept, and its headers");
    for round in 0..2 {
        for id in &stay {
            assert_eq!(BlobId::of(&f.store.read(*id, u64::MAX).expect("read")), *id, "round {round}");
        }
        assert!(gone.iter().all(|id| !f.store.has(*id)));
        f = f.reopen();
    }
    assert_eq!(f.store.usage().bytes, 2_000_000);
}

#[test]
fn readers_go_on_while_packs_are_rewritten() {
    let f = Fixture::new();
    let keep: Vec<_> = (0..40).map(|n| put(&f, n, 60_000)).collect();
    f.store.retain(job(200), &keep).expect("retain");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        let (store, keep) = (&f.store, &keep);
        let done = &done;
        for _ in 0..3 {
            s.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    for id in keep {
                        assert_eq!(store.read(*id, u64::MAX).expect("read").len(), 60_000);
                    }
                }
            });
        }
        for round in 0..8u8 {
            let ids: Vec<_> = (0..60)
                .map(|n| store.put_bytes(&bytes(1000 + 100 * u64::from(round) + n, 100_000)).expect("put").0)
                .collect();
            store.retain(job(round), &ids).expect("retain");
            store.sync(&ids).expect("sync");
            store.release(job(round)).expect("release");
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    assert_eq!(f.store.usage().blobs, 40);
}

#[test]
fn puts_go_on_while_packs_are_rewritten() {
    let f = Fixture::new();
    let done = std::sync::atomic::AtomicBool::new(false);
    let put: Vec<BlobId> = std::thread::scope(|s| {
        let (store, done) = (&f.store, &done);
        let putter = move |t: u64| {
            let ids = (0..).take_while(|_| !done.load(std::sync::atomic::Ordering::SeqCst)).take(6_000);
            ids.map(|n| store.put_bytes(&bytes((t << 40) + n, 700)).expect("put").0).collect::<Vec<_>>()
        };
        let putters: Vec<_> = (1..3).map(|t| s.spawn(move || putter(t))).collect();
        for round in 0..10u8 {
            let ids: Vec<_> = (0..8)
                .map(|n| store.put_bytes(&bytes(100 * u64::from(round) + n, 1_000_000)).expect("put").0)
                .collect();
            store.retain(job(round), &ids).expect("retain");
            store.sync(&ids).expect("sync");
            store.release(job(round)).expect("release");
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        putters.into_iter().flat_map(|p| p.join().expect("putter")).collect()
    });
    f.store.sync(&put).expect("sync");
    let f = f.reopen();
    for id in &put {
        assert_eq!(BlobId::of(&f.store.read(*id, u64::MAX).expect("read")), *id);
    }
}

#[test]
fn storage_returns_to_its_baseline() {
    let f = Fixture::new();
    let cycle = |n: u8| {
        let ids: Vec<_> = (0..50).map(|i| put(&f, 100 * u64::from(n) + i, 20_000 + 60_000 * i as usize)).collect();
        f.store.retain(job(n), &ids).expect("retain");
        f.store.sync(&ids).expect("sync");
        f.store.release(job(n)).expect("release");
        disk(&f.root().join("packs")) + disk(&f.root().join("files"))
    };
    assert_eq!((cycle(1), cycle(2), cycle(3)), (0, 0, 0));
}

#[test]
fn a_sweep_takes_what_nobody_wanted_for_a_whole_interval() {
    let mut f = Fixture::new();
    let (orphan, kept, fresh) = (put(&f, 1, 100), put(&f, 2, LARGE), put(&f, 3, 300));
    f.store.retain(job(1), &[kept]).expect("retain");
    f.store.sync(&[orphan, kept, fresh]).expect("sync");
    assert_eq!(f.store.sweep().expect("sweep"), 0, "it may still be on its way into a job");
    f = f.reopen();
    assert_eq!(put(&f, 3, 300), fresh, "put again");
    assert_eq!(f.store.sweep().expect("sweep"), 100);
    assert_eq!((f.store.has(orphan), f.store.has(kept), f.store.has(fresh)), (false, true, true));
    assert_eq!(f.store.sweep().expect("sweep"), 300);
    f = f.reopen();
    assert_eq!((f.store.has(orphan), f.store.has(kept), f.store.has(fresh)), (false, true, false));
}

#[test]
fn a_sweep_takes_transfers_that_stand_still() {
    let (a, b) = (Fixture::new(), Fixture::new());
    let id = put(&a, 1, 2 * LARGE);
    let mut wire = Vec::new();
    a.store.encode(id, 0, &mut wire).expect("encode");
    let mut receiver = b.store.receive(id, 2 * LARGE as u64).expect("receive");
    receiver.feed(&mut &wire[..LARGE]).expect_err("cut off");
    let partials = || std::fs::read_dir(b.root().join("partial")).expect("dir").count();
    for _ in 0..3 {
        b.store.sweep().expect("sweep");
        assert_eq!(partials(), 3, "somebody receives it");
    }
    drop(receiver);
    b.store.sweep().expect("sweep");
    assert_eq!(partials(), 0);
    let mut receiver = b.store.receive(id, 2 * LARGE as u64).expect("receive");
    assert_eq!(receiver.offset(), 0);
    receiver.feed(&mut &wire[..]).expect("feed");
    receiver.finish().expect("finish");
}

#[test]
fn a_store_knows_for_whom_it_holds_anything() {
    let f = Fixture::new();
    let ids: Vec<_> = (0..20).map(|n| put(&f, n, 50)).collect();
    assert!(f.store.holding().expect("holding").is_empty());
    for n in [0, 7, 255] {
        f.store.retain(job(n), &ids).expect("retain");
    }
    f.store.sync(&ids).expect("sync");
    assert_eq!(f.store.holding().expect("holding"), [job(0), job(7), job(255)]);
    f.store.release(job(7)).expect("release");
    let f = f.reopen();
    assert_eq!(f.store.holding().expect("holding"), [job(0), job(255)]);
}
