//! A disk of a few megabytes that really fills up. Needs a mount namespace of its own; says so where it cannot have one.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{bytes, job, open};
use filch_blobs::{PACKED_MAX, SyncError, Take};
use filch_types::BlobId;

const DIR: &str = "FILCH_TEST_SMALL_DISK";

/// Runs the test `inside` of this binary with a small disk mounted at a directory of its own.
fn on_a_small_disk(inside: &str) {
    let dir = tempfile::tempdir().expect("dir");
    let exe = std::env::current_exe().expect("exe");
    let script = r#"mount -t tmpfs -o size=12m none "$1" || exit 77; shift; exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]).arg(dir.path()).arg(exe);
    command.args([inside, "--exact", "--nocapture"]).env(DIR, dir.path());
    match command.output() {
        Ok(out) if out.status.success() => {}
        Ok(out) if out.status.code() == Some(101) => panic!("{}", String::from_utf8_lossy(&out.stderr)),
        other => {
            let mut err = std::io::stderr();
            writeln!(err, "SKIP: no mount namespace here: {other:?}").expect("say");
        }
    }
}

fn small_disk() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

#[test]
fn it_fills_up_and_is_freed_again() {
    on_a_small_disk("inside_fill_and_free");
}

#[test]
fn inside_fill_and_free() {
    let Some(dir) = small_disk() else { return };
    let lens = [300, 40_000, 5000, PACKED_MAX as usize + 10];
    let mut store = open(&dir);
    let mut kept: Vec<BlobId> = Vec::new();
    let mut refused = 0;
    for round in 0..6u64 {
        let mut full = 0;
        for n in 0.. {
            let data = bytes(round * 100_000 + n, lens[n as usize % 4]);
            match store.put_bytes(&data) {
                Ok((id, _)) => {
                    store.retain(job(round as u8), &[id]).expect("retain");
                    match store.sync(&[id]) {
                        Ok(()) => kept.push(id),
                        Err(SyncError::Full { .. }) => full += 1,
                        Err(e) => panic!("{e}"),
                    }
                }
                Err(e) => {
                    assert!(e.is_full(), "{e}");
                    full += 1;
                }
            }
            if full > 8 {
                break;
            }
        }
        refused += full;
        for id in &kept {
            assert_eq!(BlobId::of(&store.read(*id, u64::MAX).expect("read")), *id);
        }
        if round % 2 == 1 {
            drop(store);
            store = open(&dir);
            for id in &kept {
                assert_eq!(BlobId::of(&store.read(*id, u64::MAX).expect("read")), *id);
            }
        }
        store.release(job(round as u8)).expect("release on a full disk");
        store.sweep().expect("sweep");
        store.sweep().expect("sweep");
        kept.clear();
        assert_eq!(store.usage().blobs, 0, "round {round}");
    }
    assert!(refused > 20);
    let id = store.put_bytes(&bytes(1, 1_000_000)).expect("room again").0;
    store.sync(&[id]).expect("sync");
}

#[test]
fn a_file_that_does_not_fit_leaves_nothing_behind() {
    on_a_small_disk("inside_too_large");
}

#[test]
fn inside_too_large() {
    let Some(dir) = small_disk() else { return };
    let store = open(&dir);
    let outside = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("dir");
    let path = outside.path().join("large");
    let data = bytes(1, 20 << 20);
    std::fs::write(&path, &data).expect("write");
    for take in [Take::Copy, Take::Move] {
        assert!(store.put_file(&path, take).expect_err("too large").is_full());
        assert_eq!(std::fs::read(&path).expect("still there"), data);
    }
    assert!(store.put_bytes(&data).expect_err("too large").is_full());
    assert!(store.receive(BlobId::of(&data), data.len() as u64).expect_err("too large").is_full());
    assert_eq!(count(&dir.join("blobs/tmp")) + count(&dir.join("blobs/files")), 0);
    let id = store.put_bytes(&data[..5_000_000]).expect("fits").0;
    store.sync(&[id]).expect("sync");
    // A transfer runs into the end of the disk, and goes on when there is room.
    let elsewhere = open(outside.path());
    let (want, len) = elsewhere.put_bytes(&data[..4_000_000]).expect("put");
    let mut wire = Vec::new();
    elsewhere.encode(want, 0, &mut wire).expect("encode");
    let mut receiver = store.receive(want, len).expect("receive");
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![0; 4_000_000]).expect("ballast");
    assert!(receiver.feed(&mut &wire[..]).is_err());
    drop(receiver);
    std::fs::remove_file(&ballast).expect("remove");
    let mut receiver = store.receive(want, len).expect("receive");
    wire.clear();
    elsewhere.encode(want, receiver.offset(), &mut wire).expect("encode");
    receiver.feed(&mut &wire[..]).expect("feed");
    receiver.finish().expect("finish");
    assert_eq!(store.read(want, u64::MAX).expect("read"), &data[..4_000_000]);
}

fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).expect("dir").count()
}
