//! What the disk does to bytes behind the store's back is noticed before anybody gets them.

mod common;

use std::io::Read;
use std::path::Path;

use common::{Fixture, bytes};
use filch_blobs::{BlobStore, PACKED_MAX, ReadError};
use filch_types::BlobId;

const LARGE: usize = 3 * PACKED_MAX as usize + 99;

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).expect("write");
}

/// Every way to get at bytes; each must refuse.
type Access = (&'static str, fn(&BlobStore, BlobId, &Path) -> Option<ReadError>);
fn accesses() -> [Access; 4] {
    [
        ("read", |s, id, _| s.read(id, u64::MAX).err()),
        ("place", |s, id, dir| s.place(id, &dir.join("placed"), false).err()),
        ("encode", |s, id, _| s.encode(id, 0, &mut Vec::new()).err()),
        ("open_read", |s, id, _| {
            let mut got = Vec::new();
            match s.open_read(id) {
                Err(e) => Some(e),
                Ok(mut r) => {
                    let e = r.read_to_end(&mut got).expect_err("the stream fails");
                    assert_eq!(e.kind(), std::io::ErrorKind::InvalidData);
                    e.downcast::<ReadError>().ok()
                }
            }
        }),
    ]
}

#[test]
fn a_flipped_byte_is_found_by_every_way_to_read_and_the_blob_can_come_again() {
    for len in [5000, LARGE] {
        for (name, access) in accesses() {
            let mut f = Fixture::new();
            let data = bytes(1, len);
            let id = f.store.put_bytes(&data).expect("put").0;
            f.store.sync(&[id]).expect("sync");
            let path = if len == LARGE { f.large(id) } else { f.packs()[0].clone() };
            flip(&path, len - 7);
            let e = access(&f.store, id, f.dir.path());
            assert!(matches!(e, Some(ReadError::Damaged(d)) if d == id), "{name}: {e:?}");
            assert!(!f.dir.path().join("placed").exists(), "no damaged file is left behind");
            assert!(!f.store.has(id), "{name}: dropped");
            assert_eq!((f.store.usage().blobs, f.store.usage().bytes), (0, 0));
            assert!(matches!(f.store.read(id, u64::MAX), Err(ReadError::Missing(_))));
            assert_eq!(f.store.put_bytes(&data).expect("put").0, id);
            f.store.sync(&[id]).expect("sync");
            assert_eq!(f.store.read(id, u64::MAX).expect("read"), data);
            f = f.reopen();
            assert_eq!(f.store.read(id, u64::MAX).expect("read"), data);
            assert_eq!(f.store.usage().blobs, 1);
        }
    }
}

#[test]
fn what_is_sent_or_streamed_before_the_damage_is_good() {
    let f = Fixture::new();
    let data = bytes(1, LARGE);
    let id = f.store.put_bytes(&data).expect("put").0;
    let mut good = Vec::new();
    f.store.encode(id, 0, &mut good).expect("encode");
    flip(&f.large(id), 2_000_000);
    let mut reader = f.store.open_read(id).expect("open");
    let mut sent = Vec::new();
    assert!(matches!(f.store.encode(id, 0, &mut sent), Err(ReadError::Damaged(_))));
    assert!(sent.len() > 1_900_000 && good.starts_with(&sent));
    let mut got = Vec::new();
    reader.read_to_end(&mut got).expect_err("fails");
    assert!(got.len() > 1_900_000 && data.starts_with(&got));
}

#[test]
fn the_tree_beside_a_blob_is_rebuilt_when_it_is_lost_or_damaged() {
    let f = Fixture::new();
    let data = bytes(1, LARGE);
    let id = f.store.put_bytes(&data).expect("put").0;
    let mut good = Vec::new();
    f.store.encode(id, 0, &mut good).expect("encode");
    let tree = f.large(id).with_extension("obao");
    let nodes = std::fs::read(&tree).expect("tree");
    assert_eq!(nodes.len() % 64, 0);
    for harm in 0..5 {
        match harm {
            0 => std::fs::remove_file(&tree).expect("remove"),
            1 => std::fs::write(&tree, b"").expect("write"),
            2 => flip(&tree, 3),
            3 => flip(&tree, nodes.len() / 2),
            _ => flip(&tree, nodes.len() - 1),
        }
        let mut sent = Vec::new();
        f.store.encode(id, 0, &mut sent).expect("encode");
        assert!(sent == good, "harm {harm}");
        let mut got = Vec::new();
        f.store.open_read(id).expect("open").read_to_end(&mut got).expect("stream");
        assert!(got == data, "harm {harm}");
        assert_eq!(std::fs::read(&tree).expect("tree"), nodes, "it is whole again");
    }
    assert!(f.store.has(id));
}

#[test]
fn files_that_are_cut_off_or_gone_are_damage_too() {
    for len in [5000, LARGE] {
        for gone in [false, true] {
            for (name, access) in accesses() {
                let f = Fixture::new();
                let id = f.store.put_bytes(&bytes(1, len)).expect("put").0;
                f.store.sync(&[id]).expect("sync");
                let path = if len == LARGE { f.large(id) } else { f.packs()[0].clone() };
                if gone {
                    std::fs::remove_file(&path).expect("remove");
                } else {
                    std::fs::OpenOptions::new().write(true).open(&path).expect("open").set_len(100).expect("cut");
                }
                let e = access(&f.store, id, f.dir.path());
                assert!(matches!(e, Some(ReadError::Damaged(_))), "{name}, {len}, gone: {gone}: {e:?}");
                assert!(!f.store.has(id));
            }
        }
    }
}

#[test]
fn a_large_file_that_went_missing_while_the_store_was_closed_is_not_claimed() {
    let mut f = Fixture::new();
    let id = f.store.put_bytes(&bytes(1, LARGE)).expect("put").0;
    f.store.sync(&[id]).expect("sync");
    std::fs::remove_file(f.large(id)).expect("remove");
    f = f.reopen();
    assert!(!f.store.has(id));
    assert_eq!(f.store.usage().blobs, 0);
    f.store.put_bytes(&bytes(1, LARGE)).expect("put");
    f.store.sync(&[id]).expect("sync");
    assert!(f.store.has(id));
}

#[test]
fn a_file_that_vanishes_before_its_sync_is_reported_missing() {
    let f = Fixture::new();
    let id = f.store.put_bytes(&bytes(1, LARGE)).expect("put").0;
    std::fs::remove_file(f.large(id)).expect("remove");
    assert!(matches!(f.store.sync(&[id]), Err(filch_blobs::SyncError::Missing(m)) if m == id));
    let other = f.store.put_bytes(b"the store goes on").expect("put").0;
    f.store.sync(&[other]).expect("sync");
}
