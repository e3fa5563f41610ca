//! What is synced, in which order, and what happens when that fails or when others go on meanwhile.

mod common;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use common::{bytes, job};
use filch_blobs::{BlobStore, Fsync, Options, PACKED_MAX, PutError, SyncError};
use filch_types::BlobId;

const LARGE: usize = PACKED_MAX as usize + 1;

type Hook = Box<dyn Fn(&Path) -> io::Result<()> + Send + Sync>;

/// Remembers what was synced and how long it was then; lets a test interfere.
#[derive(Default)]
struct Recorder {
    log: Mutex<Vec<PathBuf>>,
    /// By inode, because a file may be renamed after it was synced.
    lengths: Mutex<HashMap<u64, u64>>,
    hook: OnceLock<Hook>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    fn note(&self, path: &Path) -> io::Result<()> {
        self.log.lock().expect("log").push(path.to_owned());
        self.hook.get().map_or(Ok(()), |hook| hook(path))
    }
    fn take(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.log.lock().expect("log"))
    }
}

impl Fsync for Recorder {
    fn file(&self, path: &Path, file: &File) -> io::Result<()> {
        self.note(path)?;
        let meta = file.metadata()?;
        self.lengths.lock().expect("lengths").insert(meta.ino(), meta.len());
        Ok(())
    }
    fn dir(&self, path: &Path) -> io::Result<()> {
        self.note(path)
    }
}

fn fixture() -> (tempfile::TempDir, Arc<Recorder>, BlobStore) {
    let dir = tempfile::tempdir().expect("dir");
    let recorder = Arc::new(Recorder::default());
    let store = BlobStore::open(dir.path(), Options { reserve: Some(0), fsync: recorder.clone() }).expect("open");
    (dir, recorder, store)
}

fn file_of(dir: &Path, id: BlobId) -> PathBuf {
    dir.join("files").join(&id.to_string()[..2]).join(id.to_string())
}

#[test]
fn every_file_and_every_name_that_a_row_needs_is_synced_before_the_row() {
    let (dir, recorder, store) = fixture();
    let large = store.put_bytes(&bytes(1, LARGE)).expect("put").0;
    let small: Vec<_> = (0..50).map(|n| store.put_bytes(&bytes(n, 1000)).expect("put").0).collect();
    assert!(recorder.take().is_empty(), "a put syncs nothing");
    store.sync(&small).expect("sync");
    let log = recorder.take();
    let at = |path: PathBuf| log.iter().position(|p| *p == path).unwrap_or_else(|| panic!("{path:?} not synced"));
    let file = at(file_of(dir.path(), large));
    let pack = at(dir.path().join("packs/00000001"));
    let (shard, files, packs) = (
        at(dir.path().join("files").join(&large.to_string()[..2])),
        at(dir.path().join("files")),
        at(dir.path().join("packs")),
    );
    assert!(file.max(pack) < shard.min(files).min(packs), "bytes before names");
    assert_eq!(log.len(), 5, "and nothing else: not one per small blob");
    let pack_len = dir.path().join("packs/00000001").metadata().expect("meta").len();
    assert!(recorder.lengths.lock().expect("lengths").values().any(|len| *len == pack_len));

    store.sync(&small).expect("sync");
    store.sync(&[large]).expect("sync");
    assert!(recorder.take().is_empty(), "what is durable costs nothing");
    let more = store.put_bytes(b"more").expect("put").0;
    store.sync(&[more]).expect("sync");
    assert_eq!(recorder.take(), [dir.path().join("packs/00000001")]);
}

#[test]
fn what_is_received_is_synced_like_what_is_put() {
    let (dir, recorder, store) = fixture();
    let (_other_dir, _, other) = fixture();
    let (id, len) = other.put_bytes(&bytes(1, 2 * LARGE)).expect("put");
    let mut wire = Vec::new();
    other.encode(id, 0, &mut wire).expect("encode");
    let mut receiver = store.receive(id, len).expect("receive");
    receiver.feed(&mut &wire[..]).expect("feed");
    receiver.finish().expect("finish");
    store.sync(&[id]).expect("sync");
    let log = recorder.take();
    assert_eq!(log[0], file_of(dir.path(), id));
    assert!(log.contains(&dir.path().join("files")));
}

#[test]
fn a_failed_fsync_is_final_for_files_packs_and_directories() {
    for victim in ["packs/00000001", "files", "packs"] {
        let (dir, recorder, store) = fixture();
        let kept = dir.path().join(victim);
        let hook: Hook =
            Box::new(move |path| if path == kept { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) });
        assert!(recorder.hook.set(hook).is_ok());
        let ids = [store.put_bytes(&bytes(1, LARGE)).expect("put").0, store.put_bytes(b"small").expect("put").0];
        assert!(matches!(store.sync(&ids), Err(SyncError::Fatal(_))), "{victim}");
        assert!(matches!(store.sync(&ids), Err(SyncError::Fatal(_))), "{victim}: never retried");
        let e = store.put_bytes(b"other").expect_err("over");
        assert!(e.is_fatal() && matches!(e, PutError::Sync(_)), "{victim}");
        drop(store);
        let store = common::open_at(dir.path());
        assert!(ids.iter().all(|id| !store.has(*id)), "{victim}: nothing of it is claimed");
    }
}

#[test]
fn what_is_put_or_dropped_during_a_round_belongs_to_the_next() {
    let (dir, recorder, store) = fixture();
    let early = store.put_bytes(&bytes(1, LARGE)).expect("put").0;
    let lost = store.put_bytes(&bytes(2, LARGE)).expect("put").0;
    let late: Vec<Vec<u8>> = vec![bytes(3, LARGE), bytes(4, 100)];
    let (inside, again) = (store.clone(), late.clone());
    let broken = file_of(dir.path(), lost);
    let hook: Hook = Box::new(move |path| {
        // In the middle of the round: others put, retain, and find a damaged blob.
        if path.ends_with("files") && broken.exists() {
            for b in &again {
                inside.put_bytes(b).expect("put");
            }
            inside.retain(job(1), &[BlobId::of(&again[0])]).expect("retain");
            std::fs::write(&broken, b"damage").expect("write");
            inside.read(lost, u64::MAX).expect_err("damaged");
        }
        Ok(())
    });
    assert!(recorder.hook.set(hook).is_ok());
    store.sync(&[early]).expect("sync");
    assert!(!store.has(lost));
    let ids: Vec<_> = late.iter().map(|b| BlobId::of(b)).collect();
    for (id, b) in ids.iter().zip(&late) {
        assert_eq!(&store.read(*id, u64::MAX).expect("read"), b, "still there after the round");
    }
    store.sync(&ids).expect("sync");
    assert_eq!(store.usage().blobs, 3);
    // The hook keeps a handle on the store; a copy of the directory is as good as a restart.
    let image = tempfile::tempdir().expect("dir");
    common::copy_dir(dir.path(), &image.path().join("blobs"));
    let store = common::open(image.path());
    assert!(store.has(early) && !store.has(lost) && ids.iter().all(|id| store.has(*id)));
    assert_eq!(store.usage().blobs, 3);
    assert_eq!(store.release(job(1)).expect("release"), LARGE as u64);
}

#[test]
fn a_retain_that_comes_during_a_release_keeps_the_blob() {
    let (dir, recorder, store) = fixture();
    let ids: Vec<_> = [300, LARGE].map(|n| store.put_bytes(&bytes(1, n)).expect("put").0).to_vec();
    store.retain(job(1), &ids).expect("retain");
    let (inside, again, pack) = (store.clone(), ids.clone(), dir.path().join("packs/00000001"));
    let hook: Hook = Box::new(move |path| {
        if path == pack {
            inside.retain(job(2), &again).expect("retain");
        }
        Ok(())
    });
    assert!(recorder.hook.set(hook).is_ok());
    assert_eq!(store.release(job(1)).expect("release"), 0);
    assert!(ids.iter().all(|id| store.read(*id, u64::MAX).is_ok()));
    assert_eq!(store.release(job(2)).expect("release"), 300 + LARGE as u64);
}
