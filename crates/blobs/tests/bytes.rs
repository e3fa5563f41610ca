//! Directories that hold anything at all: an answer, never a panic, and never a wrong byte.

mod common;

use std::path::Path;
use std::sync::OnceLock;

use common::{Fixture, bytes, copy_dir, job, options};
use filch_blobs::{BlobStore, OpenError, PACKED_MAX};
use filch_types::BlobId;
use proptest::prelude::*;

const LENGTHS: [usize; 6] = [0, 10, 5000, 70_000, PACKED_MAX as usize, PACKED_MAX as usize + 70_000];

/// A store with a blob of each length. Only ever copied.
fn sample() -> &'static Fixture {
    static SAMPLE: OnceLock<Fixture> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let f = Fixture::new();
        let ids: Vec<_> = LENGTHS.iter().map(|n| f.store.put_bytes(&bytes(*n as u64, *n)).expect("put").0).collect();
        f.store.retain(job(1), &ids).expect("retain");
        f.store.sync(&ids).expect("sync");
        f
    })
}

/// Uses everything of a store that may hold anything.
fn exercise(dir: &Path) -> Result<(), OpenError> {
    let store = BlobStore::open(&dir.join("blobs"), options())?;
    for n in LENGTHS {
        let data = bytes(n as u64, n);
        let id = BlobId::of(&data);
        if let Ok(read) = store.read(id, u64::MAX) {
            assert!(read == data, "wrong bytes");
        }
        let mut sent = Vec::new();
        let _ = store.encode(id, 0, &mut sent);
        let _ = store.place(id, &dir.join(format!("placed-{n}")), false);
        if let Ok(mut receiver) = store.receive(id, n as u64) {
            let _ = receiver.feed(&mut &sent[..]);
            let _ = receiver.finish();
        }
        if let Ok((put, _)) = store.put_bytes(&data) {
            assert_eq!(put, id);
            assert!(store.read(id, u64::MAX).is_ok_and(|read| read == data), "what was just put is there");
        }
    }
    let _ = store.sync(&[]);
    let _ = store.release(job(1));
    let _ = store.sweep();
    Ok(())
}

fn overwrite(path: &Path, junk: &[u8], at: usize) {
    let mut file = std::fs::read(path).expect("read");
    let at = at % (file.len() + 1);
    let end = (at + junk.len()).min(file.len());
    file[at..end].copy_from_slice(&junk[..end - at]);
    std::fs::write(path, file).expect("write");
}

fn image() -> tempfile::TempDir {
    let image = tempfile::tempdir().expect("dir");
    copy_dir(sample().dir.path(), image.path());
    image
}

fn quiet() {
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.location().is_some_and(|l| l.file().contains("redb-")) {
                usual(info);
            }
        }));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packs_of_arbitrary_bytes(junk in prop::collection::vec(any::<u8>(), 0..100_000)) {
        let image = image();
        std::fs::write(image.path().join("blobs/packs/00000001"), &junk).expect("write");
        std::fs::write(image.path().join("blobs/packs/00000002"), &junk).expect("write");
        std::fs::write(image.path().join("blobs/packs/what is this"), &junk).expect("write");
        let opened = exercise(image.path());
        prop_assert!(opened.is_ok(), "{:?}", opened);
    }

    #[test]
    fn packs_and_files_with_junk_somewhere(
        junk in prop::collection::vec(any::<u8>(), 1..3000), at in any::<u32>(), which in 0..3
    ) {
        let image = image();
        let large = BlobId::of(&bytes(LENGTHS[5] as u64, LENGTHS[5])).to_string();
        let file = image.path().join("blobs/files").join(&large[..2]).join(&large);
        let path = match which {
            0 => image.path().join("blobs/packs/00000001"),
            1 => file,
            _ => file.with_extension("obao"),
        };
        overwrite(&path, &junk, at as usize);
        let opened = exercise(image.path());
        prop_assert!(opened.is_ok(), "{:?}", opened);
    }

    #[test]
    fn an_index_of_arbitrary_bytes(junk in prop::collection::vec(any::<u8>(), 0..20_000)) {
        quiet();
        let image = image();
        std::fs::write(image.path().join("blobs/index.redb"), &junk).expect("write");
        let opened = exercise(image.path());
        prop_assert!(opened.is_ok(), "{:?}", opened);
    }

    #[test]
    fn an_index_with_junk_somewhere(junk in prop::collection::vec(any::<u8>(), 1..100), at in any::<u32>()) {
        quiet();
        let image = image();
        overwrite(&image.path().join("blobs/index.redb"), &junk, at as usize);
        let _ = exercise(image.path());
    }

    #[test]
    fn partial_transfers_of_arbitrary_bytes(junk in prop::collection::vec(any::<u8>(), 0..100_000)) {
        let image = image();
        let data = bytes(99, 2 * PACKED_MAX as usize);
        let id = BlobId::of(&data);
        let partial = image.path().join("blobs/partial");
        std::fs::write(partial.join(id.to_string()), &junk).expect("write");
        std::fs::write(partial.join(format!("{id}.obao")), &junk).expect("write");
        std::fs::write(partial.join(format!("{id}.len")), (data.len() as u64).to_le_bytes()).expect("write");
        std::fs::write(partial.join("what is this"), &junk).expect("write");
        let other = Fixture::new();
        other.store.put_bytes(&data).expect("put");
        let store = BlobStore::open(&image.path().join("blobs"), options()).expect("open");
        let mut receiver = store.receive(id, data.len() as u64).expect("receive");
        let mut wire = Vec::new();
        other.store.encode(id, receiver.offset(), &mut wire).expect("encode");
        receiver.feed(&mut &wire[..]).expect("feed");
        receiver.finish().expect("finish");
        prop_assert!(store.read(id, u64::MAX).expect("read") == data);
    }
}

#[test]
fn a_directory_from_a_newer_version_is_refused_by_name() {
    let image = image();
    let db = redb::Database::open(image.path().join("blobs/index.redb")).expect("open");
    let txn = db.begin_write().expect("write");
    let meta: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("meta");
    txn.open_table(meta).expect("table").insert("version", 7).expect("insert");
    txn.commit().expect("commit");
    drop(db);
    let e = exercise(image.path()).expect_err("refused");
    assert!(matches!(e, OpenError::NewerVersion { found: 7, known: 1, .. }), "{e}");
}
