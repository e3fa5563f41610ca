//! Crashes: what was synced is there and whole; what was not may be gone, but is never half there.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Fixture, bytes, copy_dir, job, open};
use filch_blobs::{BlobStore, PACKED_MAX};
use filch_types::BlobId;

const LARGE: usize = PACKED_MAX as usize + 1;

/// Opens an image and checks it: all of `synced` whole, and whatever else it claims to have whole too.
fn check(image: &Path, synced: &[BlobId], others: &[BlobId], what: &str) -> BlobStore {
    let store = open(image);
    for id in synced {
        let read = store.read(*id, u64::MAX).unwrap_or_else(|e| panic!("{what}: synced, but {e}"));
        assert_eq!(BlobId::of(&read), *id, "{what}");
    }
    for id in others.iter().filter(|id| store.has(**id)) {
        assert_eq!(BlobId::of(&store.read(*id, u64::MAX).expect("claimed")), *id, "{what}: claimed");
    }
    let known = synced.iter().chain(others).filter(|id| store.has(**id)).count() as u64;
    assert_eq!(store.usage().blobs, known, "{what}: usage");
    assert_eq!(std::fs::read_dir(image.join("blobs/tmp")).expect("tmp").count(), 0, "{what}");
    // It goes on.
    let id = store.put_bytes(b"after the crash").expect("put").0;
    store.sync(&[id]).expect("sync");
    store
}

#[test]
fn an_image_taken_between_any_two_operations_is_good() {
    let f = Fixture::new();
    let images = tempfile::tempdir().expect("dir");
    let (mut synced, mut unsynced) = (Vec::new(), Vec::new());
    for n in 0..40u64 {
        let len = [10, 20_000, 300_000, LARGE, 0][n as usize % 5] + n as usize * (n as usize % 5).min(1);
        let id = f.store.put_bytes(&bytes(n, len)).expect("put").0;
        unsynced.push(id);
        if n % 4 == 0 {
            f.store.retain(job(1), &unsynced).expect("retain");
        }
        if n % 7 == 6 {
            f.store.sync(&unsynced).expect("sync");
            synced.append(&mut unsynced);
        }
        synced.sort();
        synced.dedup();
        unsynced.retain(|id| !synced.contains(id));
        let image = images.path().join(n.to_string());
        copy_dir(f.dir.path(), &image);
        check(&image, &synced, &unsynced, &format!("after operation {n}"));
    }
}

#[test]
fn power_loss_takes_any_part_of_what_was_not_synced() {
    let mut seed = 1u64;
    let mut roll = |n: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % n
    };
    for round in 0..25 {
        let f = Fixture::new();
        let images = tempfile::tempdir().expect("dir");
        let synced: Vec<_> = (0..6)
            .map(|n| f.store.put_bytes(&bytes(n, [900, 50_000, LARGE][n as usize % 3])).expect("put").0)
            .collect();
        f.store.retain(job(1), &synced).expect("retain");
        f.store.sync(&synced).expect("sync");
        // The platter has this for certain …
        let image = images.path().join("image");
        copy_dir(f.dir.path(), &image);
        let others: Vec<_> = (10..16)
            .map(|n| f.store.put_bytes(&bytes(n, [900, 50_000, LARGE][n as usize % 3])).expect("put").0)
            .collect();
        // … and of what came later any part, torn: a longer pack, files of any length.
        for pack in f.packs() {
            let durable =
                std::fs::read(image.join("blobs/packs").join(pack.file_name().expect("name"))).unwrap_or_default();
            let mut later = std::fs::read(&pack).expect("read");
            later.truncate(durable.len() + roll(later.len() - durable.len() + 1));
            for _ in 0..roll(4) {
                if later.len() > durable.len() {
                    let at = durable.len() + roll(later.len() - durable.len());
                    later[at] ^= 0xff;
                }
            }
            std::fs::write(image.join("blobs/packs").join(pack.file_name().expect("name")), later).expect("write");
        }
        for id in &others {
            let from = f.large(*id);
            if !from.exists() || roll(3) == 0 {
                continue;
            }
            let mut torn = std::fs::read(&from).expect("read");
            torn.truncate(roll(torn.len()));
            let to = image.join("blobs/files").join(&id.to_string()[..2]);
            std::fs::create_dir_all(&to).expect("dir");
            std::fs::write(to.join(id.to_string()), torn).expect("write");
        }
        std::fs::write(image.join("blobs/tmp/17"), b"half a file").expect("write");
        let store = check(&image, &synced, &others, &format!("round {round}"));
        assert!(others.iter().all(|id| !store.has(*id)), "nothing unsynced is claimed");
        for n in 10..16 {
            let data = bytes(n, [900, 50_000, LARGE][n as usize % 3]);
            let id = store.put_bytes(&data).expect("put").0;
            store.sync(&[id]).expect("sync");
            assert_eq!(store.read(id, u64::MAX).expect("read"), data);
        }
        let sum: u64 = [900u64, 50_000, LARGE as u64].iter().map(|n| n * 2).sum();
        assert_eq!(store.release(job(1)).expect("release"), sum, "holds were durable too");
    }
}

#[test]
fn a_release_that_was_not_finished_leaves_whole_blobs_or_none() {
    let f = Fixture::new();
    let ids: Vec<_> =
        (0..6).map(|n| f.store.put_bytes(&bytes(n, [900, LARGE][n as usize % 2])).expect("put").0).collect();
    f.store.retain(job(1), &ids).expect("retain");
    f.store.sync(&ids).expect("sync");
    let images = tempfile::tempdir().expect("dir");
    let before = images.path().join("before");
    copy_dir(f.dir.path(), &before);
    // The rows went, the files not yet; and the other way round, as after a full disk.
    f.store.release(job(1)).expect("release");
    let rows_first = images.path().join("rows");
    copy_dir(&before, &rows_first);
    std::fs::copy(f.root().join("index.redb"), rows_first.join("blobs/index.redb")).expect("copy");
    let store = check(&rows_first, &[], &ids, "rows first");
    assert!(ids.iter().all(|id| !store.has(*id)));
    let left = std::fs::read_dir(rows_first.join("blobs/files")).expect("files");
    assert!(left.map(|e| e.expect("entry").path()).all(|d| std::fs::read_dir(d).expect("shard").count() == 0));
    let files_first = images.path().join("files");
    copy_dir(&before, &files_first);
    std::fs::remove_dir_all(files_first.join("blobs/files")).expect("remove");
    let store = check(&files_first, &[], &ids, "files first");
    assert_eq!(ids.iter().filter(|id| store.has(**id)).count(), 3, "the packed ones are still there");
}

const DIR: &str = "FILCH_TEST_BLOBS_DIR";

/// Not a test of its own: the process that gets killed. Says what it has been promised.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = open(Path::new(&dir));
    let seed = store.usage().blobs * 1000;
    let say = |id: BlobId| writeln!(std::io::stdout(), "synced {id}").expect("say");
    std::thread::scope(|s| {
        for thread in 0..3u64 {
            let store = &store;
            s.spawn(move || {
                for n in seed + thread * 1_000_000.. {
                    let lens = [5_000, 100, 700_000, LARGE, 40_000];
                    let put = |i: u64| store.put_bytes(&bytes(n * 10 + i, lens[(n + i) as usize % 5])).expect("put").0;
                    let ids: Vec<_> = (0..4).map(put).collect();
                    store.retain(job(thread as u8), &ids[..2]).expect("retain");
                    store.sync(&ids).expect("sync");
                    ids.into_iter().for_each(say);
                }
            });
        }
    });
}

#[test]
fn everything_synced_survives_kill_9() {
    let dir = tempfile::tempdir().expect("dir");
    let mut promised = Vec::new();
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().expect("exe"))
            .args(["victim", "--exact", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawn");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines().map_while(Result::ok);
        let id = |line: String| line.split("synced ").nth(1).and_then(|id| id.parse::<BlobId>().ok());
        promised.extend(lines.by_ref().filter_map(id).take(20 + 13 * round));
        child.kill().expect("kill");
        // What it still said before it died was promised as well; the last line may be cut off.
        promised.extend(lines.filter_map(id));
        child.wait().expect("wait");
        let store = open(dir.path());
        for id in &promised {
            let read = store.read(*id, u64::MAX).unwrap_or_else(|e| panic!("round {round}: {e}"));
            assert_eq!(BlobId::of(&read), *id);
        }
        assert!(store.usage().blobs >= promised.len() as u64);
    }
}
