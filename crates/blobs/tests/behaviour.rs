//! What the store promises while nothing goes wrong with the disk.

mod common;

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use common::{Fixture, bytes, job, open};
use filch_blobs::{BlobStore, OpenError, PACKED_MAX, PutError, ReadError, SyncError, Take};
use filch_types::BlobId;

/// Lengths around every boundary: empty, chunk, piece, packed, large.
fn lengths() -> Vec<usize> {
    let packed = PACKED_MAX as usize;
    vec![0, 1, 1023, 1024, 1025, 16383, 16384, 16385, 100_000, packed - 1, packed, packed + 1, 3 * packed + 777]
}

#[test]
fn what_is_put_is_read_before_and_after_a_sync_and_a_restart() {
    let mut f = Fixture::new();
    let blobs: Vec<_> = lengths().into_iter().map(|n| bytes(n as u64, n)).collect();
    let check = |store: &BlobStore| {
        for b in &blobs {
            let id = BlobId::of(b);
            assert_eq!(store.len(id), Some(b.len() as u64));
            assert_eq!(&store.read(id, b.len() as u64).expect("read"), b);
            let mut streamed = Vec::new();
            store.open_read(id).expect("open").read_to_end(&mut streamed).expect("stream");
            assert_eq!(&streamed, b);
        }
    };
    let ids: Vec<_> = blobs.iter().map(|b| f.store.put_bytes(b).expect("put").0).collect();
    assert_eq!(ids, blobs.iter().map(|b| BlobId::of(b)).collect::<Vec<_>>());
    check(&f.store);
    f.store.sync(&ids).expect("sync");
    check(&f.store);
    let usage = f.store.usage();
    assert_eq!((usage.blobs, usage.bytes), (blobs.len() as u64, blobs.iter().map(|b| b.len() as u64).sum()));
    f = f.reopen();
    check(&f.store);
    assert_eq!((f.store.usage().blobs, f.store.usage().bytes), (usage.blobs, usage.bytes));
}

#[test]
fn the_same_content_is_kept_once_however_often_and_whence_it_comes() {
    let f = Fixture::new();
    for n in [500, PACKED_MAX as usize + 5] {
        let b = bytes(1, n);
        let path = f.file("copy", &b);
        let id = f.store.put_bytes(&b).expect("put").0;
        assert_eq!(f.store.put_file(&path, Take::Copy).expect("put"), (id, n as u64));
        f.store.sync(&[id]).expect("sync");
        assert_eq!(f.store.put_file(&path, Take::Move).expect("put"), (id, n as u64));
        assert!(!path.exists(), "a moved file is gone");
        f.store.sync(&[id]).expect("sync");
    }
    assert_eq!(f.store.usage().blobs, 2);
    assert_eq!(f.store.usage().bytes, PACKED_MAX + 505);
}

#[test]
fn files_are_copied_or_moved() {
    let f = Fixture::new();
    for (n, len) in [(1, 10), (2, PACKED_MAX as usize * 2)] {
        let b = bytes(n, len);
        let copied = f.file("a", &b);
        let id = f.store.put_file(&copied, Take::Copy).expect("put").0;
        assert_eq!(std::fs::read(&copied).expect("still there"), b);
        assert_eq!(f.store.read(id, u64::MAX).expect("read"), b);

        let b = bytes(n + 10, len);
        let moved = f.file("b", &b);
        std::fs::set_permissions(&moved, PermissionsExt::from_mode(0o444)).expect("chmod");
        let id = f.store.put_file(&moved, Take::Move).expect("put").0;
        assert!(!moved.exists());
        assert_eq!(f.store.read(id, u64::MAX).expect("read"), b);
    }
}

#[test]
fn a_moved_file_with_a_second_name_is_copied() {
    let f = Fixture::new();
    let b = bytes(1, PACKED_MAX as usize * 2);
    let path = f.file("a", &b);
    let other = f.dir.path().join("other");
    std::fs::hard_link(&path, &other).expect("link");
    let id = f.store.put_file(&path, Take::Move).expect("put").0;
    std::fs::write(&other, b"overwritten").expect("write");
    assert_eq!(f.store.read(id, u64::MAX).expect("read"), b);
    assert!(!path.exists());
}

#[test]
fn what_is_no_file_is_refused() {
    let f = Fixture::new();
    assert!(matches!(f.store.put_file(f.dir.path(), Take::Copy), Err(PutError::NotAFile { .. })));
    let missing = f.dir.path().join("missing");
    let e = f.store.put_file(&missing, Take::Copy).expect_err("refused");
    assert!(e.to_string().contains("missing"), "{e}");
}

#[test]
fn placed_files_are_private_copies_with_the_right_mode() {
    let f = Fixture::new();
    for (n, len) in [(1, 0), (2, 10), (3, PACKED_MAX as usize * 2)] {
        let b = bytes(n, len);
        let id = f.store.put_bytes(&b).expect("put").0;
        let (plain, run) = (f.dir.path().join(format!("p{n}")), f.dir.path().join(format!("x{n}")));
        f.store.place(id, &plain, false).expect("place");
        f.store.place(id, &run, true).expect("place");
        assert_eq!(std::fs::read(&plain).expect("read"), b);
        let (plain_meta, run_meta) = (plain.metadata().expect("meta"), run.metadata().expect("meta"));
        assert_eq!(plain_meta.mode() & 0o111, 0);
        assert_eq!(run_meta.mode() & 0o100, 0o100);
        assert_eq!((plain_meta.nlink(), run_meta.nlink()), (1, 1), "never a link");
        std::fs::write(&plain, b"scribble").expect("write");
        assert_eq!(f.store.read(id, u64::MAX).expect("read"), b, "no writing through");
        assert!(matches!(f.store.place(id, &run, true), Err(ReadError::Io { .. })), "nothing is overwritten");
        assert_eq!(std::fs::read(&run).expect("read"), b);
    }
}

#[test]
fn limits_and_absence_are_typed() {
    let f = Fixture::new();
    let nobody = BlobId([9; 32]);
    assert!(!f.store.has(nobody));
    assert!(matches!(f.store.read(nobody, 1), Err(ReadError::Missing(id)) if id == nobody));
    assert!(matches!(f.store.open_read(nobody).err(), Some(ReadError::Missing(_))));
    assert!(matches!(f.store.encode(nobody, 0, &mut Vec::new()), Err(ReadError::Missing(_))));
    assert!(matches!(f.store.sync(&[nobody]), Err(SyncError::Missing(id)) if id == nobody));
    let id = f.store.put_bytes(&bytes(1, 100)).expect("put").0;
    assert!(matches!(f.store.read(id, 99), Err(ReadError::TooLong { len: 100, max: 99 })));
    assert!(matches!(f.store.encode(id, 1, &mut Vec::new()), Err(ReadError::Offset { from: 1, len: 100 })));
    assert!(matches!(f.store.encode(id, 16384, &mut Vec::new()), Err(ReadError::Offset { .. })));
    assert!(matches!(f.store.receive(nobody, u64::MAX), Err(PutError::TooLarge { .. })));
}

#[test]
fn a_reserve_that_cannot_be_kept_refuses_puts_and_nothing_else() {
    let f = Fixture::new();
    let small = f.store.put_bytes(&bytes(1, 100)).expect("put").0;
    f.store.sync(&[small]).expect("sync");
    let dir = f.root();
    drop(f.store);
    let store = BlobStore::open(&dir, filch_blobs::Options { reserve: Some(u64::MAX / 2), ..Default::default() })
        .expect("open");
    for n in [10, PACKED_MAX as usize * 2] {
        let e = store.put_bytes(&bytes(2, n)).expect_err("full");
        assert!(matches!(e, PutError::Full { need, .. } if need == n as u64), "{e}");
        assert!(e.is_full() && !e.is_fatal());
        assert!(matches!(store.receive(BlobId([1; 32]), n as u64), Err(PutError::Full { .. })));
    }
    assert_eq!(store.put_bytes(&bytes(1, 100)).expect("there already").0, small);
    assert_eq!(store.read(small, 100).expect("read"), bytes(1, 100));
    store.retain(job(1), &[small]).expect("retain");
    store.sync(&[small]).expect("sync");
    assert_eq!(store.release(job(1)).expect("release"), 100);
    assert!(!store.has(small));
}

#[test]
fn everything_can_go_to_another_thread() {
    fn shared<T: Send + Sync + Clone>() {}
    fn sent<T: Send>() {}
    shared::<BlobStore>();
    sent::<filch_blobs::Receiver>();
    sent::<filch_blobs::BlobReader>();
}

#[test]
fn a_second_store_on_the_directory_is_refused() {
    let f = Fixture::new();
    let e = BlobStore::open(&f.root(), common::options()).expect_err("locked");
    assert!(matches!(e, OpenError::Locked { .. }), "{e}");
    let clone = f.store.clone();
    drop(f.store);
    assert!(BlobStore::open(&f.dir.path().join("blobs"), common::options()).is_err(), "a clone still has it");
    drop(clone);
    open(f.dir.path());
}

#[test]
fn many_threads_put_sync_and_read_at_once() {
    let f = Fixture::new();
    std::thread::scope(|s| {
        for t in 0..8u64 {
            let store = &f.store;
            s.spawn(move || {
                for n in 0..60u64 {
                    // Half of the content is the same in all threads.
                    let b = bytes(if n % 2 == 0 { n } else { n + 1000 * t }, 2000 + n as usize);
                    let id = store.put_bytes(&b).expect("put").0;
                    if n % 10 == 0 {
                        store.sync(&[id]).expect("sync");
                    }
                    assert_eq!(store.read(id, u64::MAX).expect("read"), b);
                }
                let large = bytes(77, PACKED_MAX as usize + 100);
                let id = store.put_bytes(&large).expect("put").0;
                store.sync(&[id]).expect("sync");
            });
        }
    });
    assert_eq!(f.store.usage().blobs, 30 + 8 * 30 + 1);
    let f = f.reopen();
    for n in (0..60).step_by(10) {
        let b = bytes(n, 2000 + n as usize);
        assert_eq!(f.store.read(BlobId::of(&b), u64::MAX).expect("read"), b);
    }
}
