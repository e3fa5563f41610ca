//! How fast blobs come and go: `cargo bench -p filch-blobs`. Prints beside the machine's own write, fsync and hash.
#![allow(clippy::print_stdout)]

use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use filch_blobs::{BlobStore, Options, PACKED_MAX, Take};
use filch_types::{BlobId, JobId};

const MIB: f64 = 1024.0 * 1024.0;

fn fill(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

/// Runs and prints one line with what it took and the rate.
fn timed<T>(what: &str, bytes: u64, items: u64, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let out = run();
    let took = start.elapsed().as_secs_f64();
    let rate = bytes as f64 / MIB / took;
    println!("{what:<52} {:>8.1} ms {rate:>8.0} MiB/s {:>10.0} /s", took * 1e3, items as f64 / took);
    out
}

fn open(dir: &Path, name: &str) -> BlobStore {
    BlobStore::open(&dir.join(name), Options::default()).expect("open")
}

fn small(dir: &Path, count: u64, len: usize) {
    let files = dir.join(format!("in-{len}"));
    std::fs::create_dir(&files).expect("dir");
    let paths: Vec<_> = (0..count).map(|n| files.join(n.to_string())).collect();
    for (n, path) in paths.iter().enumerate() {
        std::fs::write(path, fill(n as u64, len)).expect("write");
    }
    let bytes = count * len as u64;
    let store = open(dir, &format!("small-{len}"));
    let ids: Vec<BlobId> = timed(&format!("{count} files of {len} bytes: put_file"), bytes, count, || {
        paths.iter().map(|p| store.put_file(p, Take::Copy).expect("put").0).collect()
    });
    store.retain(JobId([1; 32]), &ids).expect("retain");
    timed(&format!("{count} files of {len} bytes: retain, one sync"), bytes, count, || {
        store.sync(&ids).expect("sync");
    });
    timed(&format!("{count} files of {len} bytes: read"), bytes, count, || {
        ids.iter().for_each(|id| assert_eq!(store.read(*id, u64::MAX).expect("read").len(), len));
    });
    let out = dir.join(format!("out-{len}"));
    std::fs::create_dir(&out).expect("dir");
    timed(&format!("{count} files of {len} bytes: place"), bytes, count, || {
        ids.iter().for_each(|id| store.place(*id, &out.join(id.to_string()), false).expect("place"));
    });
    drop(store);
    let store = timed(&format!("{count} files of {len} bytes: open again"), bytes, count, || {
        open(dir, &format!("small-{len}"))
    });
    timed(&format!("{count} files of {len} bytes: release"), bytes, count, || {
        assert_eq!(store.release(JobId([1; 32])).expect("release"), bytes);
    });
}

fn tiny_syncs(dir: &Path) {
    let store = open(dir, "tiny");
    timed("500 times put 1 KiB and sync, one thread", 500 << 10, 500, || {
        for n in 0..500 {
            let id = store.put_bytes(&fill(n, 1024)).expect("put").0;
            store.sync(&[id]).expect("sync");
        }
    });
    timed("2000 times put 1 KiB and sync, eight threads", 2000 << 10, 2000, || {
        std::thread::scope(|s| {
            for t in 0..8u64 {
                let store = &store;
                s.spawn(move || {
                    for n in 0..250 {
                        let id = store.put_bytes(&fill(1000 * (t + 1) + n, 1024)).expect("put").0;
                        store.sync(&[id]).expect("sync");
                    }
                });
            }
        });
    });
}

fn large(dir: &Path, len: usize) {
    let bytes = len as u64;
    let data = fill(1, len);
    let path = dir.join("large");
    timed("the disk alone: write 512 MiB and fsync", bytes, 1, || {
        let mut file = std::fs::File::create(&path).expect("create");
        file.write_all(&data).and_then(|()| file.sync_all()).expect("write");
    });
    timed("the CPU alone: hash 512 MiB", bytes, 1, || blake3::hash(&data));
    drop(data);
    let (a, b) = (open(dir, "a"), open(dir, "b"));
    let id = timed("512 MiB: put_file, copied", bytes, 1, || a.put_file(&path, Take::Copy).expect("put").0);
    timed("512 MiB: sync", bytes, 1, || a.sync(&[id]).expect("sync"));
    timed("512 MiB: put_file, moved, and sync", bytes, 1, || {
        b.put_file(&path, Take::Move).expect("put");
        b.sync(&[id]).expect("sync");
    });
    timed("512 MiB: place", bytes, 1, || a.place(id, &dir.join("placed"), false).expect("place"));
    timed("512 MiB: open_read to the end", bytes, 1, || {
        let mut reader = a.open_read(id).expect("open");
        let mut buf = vec![0; 1 << 16];
        while reader.read(&mut buf).expect("read") > 0 {}
    });
    timed("512 MiB: encode", bytes, 1, || a.encode(id, 0, &mut std::io::sink()).expect("encode"));
    let c = open(dir, "c");
    timed("512 MiB: encode through a pipe, receive, sync", bytes, 1, || {
        let (mut reader, mut writer) = std::io::pipe().expect("pipe");
        std::thread::scope(|s| {
            s.spawn(|| {
                let mut out = std::io::BufWriter::with_capacity(1 << 18, &mut writer);
                a.encode(id, 0, &mut out).expect("encode");
                out.flush().expect("flush");
            });
            let mut receiver = c.receive(id, bytes).expect("receive");
            let mut line = std::io::BufReader::with_capacity(1 << 18, &mut reader);
            receiver.feed(&mut line).expect("feed");
            receiver.finish().expect("finish");
        });
        c.sync(&[id]).expect("sync");
    });
}

fn main() {
    let here = std::env::var_os("FILCH_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(here).expect("dir");
    small(dir.path(), 10_000, 2_000);
    small(dir.path(), 2_000, 100_000);
    small(dir.path(), 100, PACKED_MAX as usize + 1);
    tiny_syncs(dir.path());
    large(dir.path(), 512 << 20);
}
