//! What the black-box tests share: real `filch` processes, their command line and their HTTP API.
//!
//! Waiting is always polling of a state with a limit and a reason (`until`); a limit is generous, because it only decides when
//! a broken test gives up. Whatever a test starts ends with it.
#![allow(dead_code, unused_imports, missing_docs, clippy::print_stderr)]

pub mod cluster;
pub mod cmd;
pub mod host;
pub mod http;
pub mod netns;
pub mod procs;

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

pub use cluster::{Cluster, Node, NodeOptions};
pub use cmd::{Cmd, Done};

/// The binary under test.
pub const FILCH: &str = env!("CARGO_BIN_EXE_filch");

/// Long enough for anything that works, on a busy machine of two cores.
pub const LONG: Duration = Duration::from_secs(120);

/// Says that a test did not run and why, past the capture of its output: a skip must not look like a success.
pub fn skip(test: &str, why: &str) {
    let line = format!("SKIP {test}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Skips the calling test without root.
pub fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(test, "needs root");
    }
    root
}

/// Asks again and again until the answer is there. `probe` says what is still missing.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return value,
            Err(why) if start.elapsed() > limit => {
                panic!("{what}: not within {} s; last seen: {why}", limit.as_secs())
            }
            Err(_) => std::thread::sleep(Duration::from_millis(15)),
        }
    }
}

/// `Ok` if it holds, else what is there.
pub fn check(holds: bool, seen: impl std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{seen:?}")) }
}

/// Runs a thread per item and waits for all; the first panic is passed on.
pub fn each<T: Send, R: Send>(items: impl IntoIterator<Item = T>, run: impl Fn(T) -> R + Sync) -> Vec<R> {
    std::thread::scope(|s| {
        let threads: Vec<_> = items.into_iter().map(|item| s.spawn(|| run(item))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    })
}

/// Files with deterministic bytes that do not compress to nothing: name, length.
pub fn write_files(dir: &Path, files: impl IntoIterator<Item = (String, usize)>) {
    for (n, (name, len)) in files.into_iter().enumerate() {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a directory")).unwrap();
        std::fs::write(&path, noise(n as u64 + 1, len)).unwrap();
    }
}

/// Bytes of a small generator: half noise, half repeats.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out.extend_from_slice(&x.to_le_bytes());
        out.extend_from_slice(b"filch...");
    }
    out.truncate(len);
    out
}

/// Asserts that the files below `dir` are these and no others, saying only where they differ.
#[track_caller]
pub fn same_files(dir: &Path, want: &std::collections::BTreeMap<String, Vec<u8>>) {
    let got = tree(dir);
    let extra: Vec<_> = got.keys().filter(|k| !want.contains_key(*k)).collect();
    let missing: Vec<_> = want.keys().filter(|k| !got.contains_key(*k)).collect();
    let other: Vec<_> = want.iter().filter(|(k, v)| got.get(*k).is_some_and(|g| g != *v)).map(|(k, _)| k).collect();
    assert!(
        extra.is_empty() && missing.is_empty() && other.is_empty(),
        "{}: too many {extra:?}, missing {missing:?}, other bytes {other:?}",
        dir.display()
    );
}

/// Waits until as many files are below `dir` as there should be, then asserts that they are these.
#[track_caller]
pub fn files_arrive(dir: &Path, want: &std::collections::BTreeMap<String, Vec<u8>>) {
    until(&format!("{} files in {}", want.len(), dir.display()), LONG, || {
        let got: Vec<String> = tree(dir).into_keys().filter(|name| want.contains_key(name)).collect();
        check(got.len() == want.len(), format!("{} of them", got.len()))
    });
    same_files(dir, want);
}

/// What the tasks of an array `1-COUNT` leave whose file is named by its number.
pub fn numbered(count: usize) -> std::collections::BTreeMap<String, Vec<u8>> {
    (1..=count).map(|n| (n.to_string(), format!("result of {n}\n").into_bytes())).collect()
}

/// Every plain file below, by relative path, with its bytes.
pub fn tree(dir: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, dir: &Path, out: &mut std::collections::BTreeMap<String, Vec<u8>>) {
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(root, &path, out);
            } else {
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                out.insert(name, std::fs::read(&path).unwrap_or_default());
            }
        }
    }
    let mut out = std::collections::BTreeMap::new();
    walk(dir, dir, &mut out);
    out
}
