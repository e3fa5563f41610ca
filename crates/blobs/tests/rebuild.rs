//! An index that is damaged or gone is made again from what is in packs and files.

mod common;

use std::path::Path;

use common::{Fixture, bytes, job, open};
use filch_blobs::{BlobStore, PACKED_MAX, Rebuilt};
use filch_types::BlobId;

const LARGE: usize = PACKED_MAX as usize + 7;
const LENGTHS: [usize; 7] = [0, 1, 900, 70_000, PACKED_MAX as usize, LARGE, 2 * LARGE];

/// A closed store of some blobs, one of them dropped again.
fn closed() -> (tempfile::TempDir, Vec<BlobId>) {
    let f = Fixture::new();
    let mut ids: Vec<BlobId> =
        LENGTHS.iter().enumerate().map(|(n, len)| f.store.put_bytes(&bytes(n as u64, *len)).expect("put").0).collect();
    f.store.retain(job(1), &ids[..3]).expect("retain");
    f.store.retain(job(2), &ids[3..]).expect("retain");
    f.store.sync(&ids).expect("sync");
    f.store.release(job(1)).expect("release");
    let Fixture { dir, store } = f;
    drop(store);
    ids.drain(..3);
    (dir, ids)
}

fn index(dir: &Path) -> std::path::PathBuf {
    dir.join("blobs/index.redb")
}

/// All of `ids` are here and whole, and the store takes more.
fn whole(store: &BlobStore, ids: &[BlobId], what: &str) {
    for id in ids {
        let read = store.read(*id, u64::MAX).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(BlobId::of(&read), *id, "{what}");
    }
    let id = store.put_bytes(b"one more").expect("put").0;
    store.sync(&[id]).expect("sync");
    assert_eq!(store.read(id, 100).expect("read"), b"one more", "{what}");
}

fn rebuilt(store: &BlobStore, what: &str) -> Rebuilt {
    store.rebuilt().unwrap_or_else(|| panic!("{what}: not rebuilt")).clone()
}

#[test]
fn every_blob_survives_an_index_that_is_cut_off_overwritten_or_gone() {
    let (dir, ids) = closed();
    let good = std::fs::read(index(dir.path())).expect("index");
    let mut harms: Vec<(String, Option<Vec<u8>>)> = vec![("gone".into(), None), ("junk".into(), Some(vec![7; 9000]))];
    for cut in [0, 1, 100, 4096, good.len() / 2, good.len() - 1] {
        harms.push((format!("cut to {cut}"), Some(good[..cut].to_vec())));
    }
    harms.push(("all zeroes".into(), Some(vec![0; good.len()])));
    for (what, harm) in harms {
        match &harm {
            None => std::fs::remove_file(index(dir.path())).expect("remove"),
            Some(bytes) => std::fs::write(index(dir.path()), bytes).expect("write"),
        }
        let store = open(dir.path());
        let told = rebuilt(&store, &what);
        assert!(told.blobs >= ids.len() as u64 && told.damaged == 0, "{what}: {told:?}");
        assert_eq!((store.usage().blobs, store.usage().bytes), (told.blobs, told.bytes), "{what}");
        whole(&store, &ids, &what);
        drop(store);
        // What was found is in the new index now.
        let again = open(dir.path());
        assert_eq!(again.rebuilt(), None, "{what}");
        whole(&again, &ids, &what);
        assert!(harm.is_none() || dir.path().join("blobs/index.damaged").exists(), "{what}: for whoever looks into it");
    }
}

/// Whether redb notices a flipped byte or not: what the store then claims to have it has.
#[test]
fn an_index_with_a_flipped_byte_never_stops_the_store() {
    let (dir, ids) = closed();
    let good = std::fs::read(index(dir.path())).expect("index");
    let mut noticed = 0;
    for at in (0..good.len()).step_by(good.len() / 97) {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        std::fs::write(index(dir.path()), &bad).expect("write");
        let store = open(dir.path());
        noticed += u32::from(store.rebuilt().is_some());
        for id in ids.iter().filter(|id| store.rebuilt().is_some() || store.has(**id)) {
            assert_eq!(BlobId::of(&store.read(*id, u64::MAX).expect("read")), *id, "byte {at}");
        }
    }
    assert!(noticed > 0, "no harm was noticed");
}

#[test]
fn what_is_damaged_too_is_left_out_and_what_lies_behind_it_is_found() {
    let (dir, ids) = closed();
    let store = open(dir.path());
    // Behind a damaged blob, in the same pack; and a blob that looks like a pack itself.
    let packed = std::fs::read(dir.path().join("blobs/packs/00000001")).expect("pack");
    let mut all = ids.clone();
    all.push(store.put_bytes(&packed[packed.len() - 5000..]).expect("put").0);
    all.push(store.put_bytes(&bytes(50, 5000)).expect("put").0);
    store.retain(job(2), &all).expect("retain");
    store.sync(&all).expect("sync");
    drop(store);
    let pack = dir.path().join("blobs/packs/00000001");
    let mut bad = std::fs::read(&pack).expect("pack");
    let needle = bytes(3, LENGTHS[3]);
    let at = bad.windows(64).position(|w| w == &needle[..64]).expect("blob 3");
    bad[at + 10] ^= 1;
    // The header of the one after it.
    let next = at + LENGTHS[3];
    bad[next + 20] ^= 1;
    std::fs::write(&pack, &bad).expect("write");
    let large = dir.path().join("blobs/files").join(&ids[2].to_string()[..2]).join(ids[2].to_string());
    let mut file = std::fs::read(&large).expect("large");
    file[77] ^= 1;
    std::fs::write(&large, &file).expect("write");
    std::fs::write(index(dir.path()), b"junk").expect("write");

    let store = open(dir.path());
    let told = rebuilt(&store, "damage everywhere");
    assert_eq!(told.damaged, 2, "one in the pack and one large one; the third is not known any more: {told:?}");
    assert!(!store.has(ids[0]) && !store.has(ids[1]) && !store.has(ids[2]));
    assert!(!large.exists(), "a file that is not what it says does not stay");
    whole(&store, &all[3..], "the others");
    // They can come again.
    assert_eq!(store.put_bytes(&needle).expect("put").0, ids[0]);
    store.sync(&ids[..1]).expect("sync");
}

#[test]
fn who_holds_a_blob_has_to_be_said_again() {
    let (dir, ids) = closed();
    std::fs::remove_file(index(dir.path())).expect("remove");
    let store = open(dir.path());
    store.retain(job(2), &ids[..2]).expect("retain");
    store.sync(&ids[..2]).expect("sync");
    store.sweep().expect("sweep");
    assert!(ids.iter().all(|id| store.has(*id)), "nothing goes with the first sweep");
    store.sweep().expect("sweep");
    assert!(store.has(ids[0]) && store.has(ids[1]) && !store.has(ids[2]));
}

#[test]
fn a_rebuild_that_was_interrupted_begins_again() {
    let (dir, ids) = closed();
    std::fs::write(index(dir.path()), b"junk").expect("write");
    std::fs::write(index(dir.path()).with_extension("new"), b"half of a new one").expect("write");
    let store = open(dir.path());
    rebuilt(&store, "interrupted");
    whole(&store, &ids, "interrupted");
}
