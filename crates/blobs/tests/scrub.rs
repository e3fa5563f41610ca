//! The walk over everything, which finds what nobody reads.

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{Fixture, bytes};
use filch_blobs::{PACKED_MAX, ScrubCursor, Scrubbed};
use filch_types::BlobId;

const LARGE: usize = 3 * PACKED_MAX as usize + 99;

fn filled() -> (Fixture, Vec<BlobId>) {
    let f = Fixture::new();
    let ids: Vec<BlobId> = (0..40).map(|n| f.store.put_bytes(&bytes(n, 10_000)).expect("put").0).collect();
    f.store.sync(&ids).expect("sync");
    (f, ids)
}

/// Flips a byte of this blob, in whatever file it is.
fn rot(path: &Path, content: &[u8], at: usize) {
    let mut all = std::fs::read(path).expect("read");
    let start = all.windows(content.len()).position(|w| w == content).expect("it is there");
    all[start + at] ^= 1;
    std::fs::write(path, all).expect("write");
}

/// The walk in small steps, from the start; what it found in all, and how many steps it took.
fn walk(f: &Fixture, budget: u64) -> (Scrubbed, u32) {
    let (mut sum, mut steps) = (Scrubbed::default(), 0);
    let mut at = Some(ScrubCursor::default());
    while let Some(cursor) = at {
        // As it is kept across a restart.
        let cursor = ScrubCursor::from_bytes(&cursor.to_bytes()).expect("cursor");
        let part = f.store.scrub(cursor, budget).expect("scrub");
        assert!(part.bytes < budget + PACKED_MAX, "the budget is kept");
        assert_ne!(part.next, Some(cursor), "it gets on");
        (sum.bytes, sum.blobs) = (sum.bytes + part.bytes, sum.blobs + part.blobs);
        (sum.damaged, sum.unreadable) = (sum.damaged + part.damaged, sum.unreadable + part.unreadable);
        at = part.next;
        steps += 1;
    }
    (sum, steps)
}

#[test]
fn a_damaged_blob_in_the_middle_of_a_pack_is_found_and_told() {
    let (f, ids) = filled();
    let told: Arc<Mutex<Vec<BlobId>>> = Arc::default();
    let list = told.clone();
    f.store.on_damage(Box::new(move |id| list.lock().expect("list").push(id)));
    assert_eq!(walk(&f, 25_000), (Scrubbed { bytes: 400_000, blobs: 40, ..Scrubbed::default() }, 14));
    rot(&f.packs()[0], &bytes(20, 10_000), 5_000);
    let (found, _) = walk(&f, 25_000);
    assert_eq!((found.blobs, found.damaged), (40, 1));
    assert_eq!(*told.lock().expect("list"), [ids[20]]);
    assert!(!f.store.has(ids[20]) && f.store.has(ids[19]) && f.store.has(ids[21]));
    // Fetched again.
    f.store.put_bytes(&bytes(20, 10_000)).expect("put");
    f.store.sync(&[ids[20]]).expect("sync");
    assert_eq!(walk(&f, 25_000).0.damaged, 0);
}

#[test]
fn a_large_blob_is_looked_at_in_parts() {
    let f = Fixture::new();
    let data = bytes(1, LARGE);
    let id = f.store.put_bytes(&data).expect("put").0;
    f.store.sync(&[id]).expect("sync");
    let (found, steps) = walk(&f, 100_000);
    assert_eq!((found.bytes, found.blobs, found.damaged), (LARGE as u64, 1, 0));
    assert!(steps > 20, "{steps}");
    rot(&f.large(id), &data, LARGE - 7);
    let (found, _) = walk(&f, 100_000);
    assert_eq!((found.blobs, found.damaged), (1, 1));
    assert!(!f.store.has(id));
    assert_eq!(walk(&f, 100_000), (Scrubbed::default(), 1));
}

#[test]
fn a_cursor_of_another_store_is_as_good_as_any() {
    let (f, _) = filled();
    let large = f.store.put_bytes(&bytes(50, LARGE)).expect("put").0;
    f.store.sync(&[large]).expect("sync");
    for offset in [1, 5000, u64::MAX, LARGE as u64] {
        let kept = [&large.0[..], &offset.to_le_bytes()].concat();
        let cursor = ScrubCursor::from_bytes(&kept).expect("cursor");
        let found = f.store.scrub(cursor, u64::MAX / 2).expect("scrub");
        assert_eq!((found.damaged, found.unreadable, found.next), (0, 0, None));
    }
    assert_eq!(ScrubCursor::from_bytes(b"short"), None);
}

#[test]
fn empty_blobs_do_not_make_a_step_endless() {
    let f = Fixture::new();
    let ids: Vec<BlobId> = (0..100).map(|n| f.store.put_bytes(&bytes(n, 1)).expect("put").0).collect();
    f.store.sync(&ids).expect("sync");
    assert!(f.store.scrub(ScrubCursor::default(), 40_960).expect("scrub").blobs <= 10);
}
