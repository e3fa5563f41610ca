//! What the tests share.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use filch_blobs::{BlobStore, Options};
use filch_types::{BlobId, JobId};

pub struct Fixture {
    pub dir: tempfile::TempDir,
    pub store: BlobStore,
}

pub fn options() -> Options {
    Options { reserve: Some(0), ..Options::default() }
}

pub fn open(dir: &Path) -> BlobStore {
    open_at(&dir.join("blobs"))
}

pub fn open_at(dir: &Path) -> BlobStore {
    BlobStore::open(dir, options()).expect("open")
}

impl Fixture {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let store = open(dir.path());
        Self { dir, store }
    }
    /// A file outside the store.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).expect("write");
        path
    }
    pub fn reopen(self) -> Self {
        let Self { dir, store } = self;
        drop(store);
        let store = open(dir.path());
        Self { dir, store }
    }
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("blobs")
    }
    /// The file of a large blob in the store.
    pub fn large(&self, id: BlobId) -> PathBuf {
        self.root().join("files").join(&id.to_string()[..2]).join(id.to_string())
    }
    pub fn packs(&self) -> Vec<PathBuf> {
        let mut packs: Vec<_> =
            std::fs::read_dir(self.root().join("packs")).expect("packs").map(|e| e.expect("entry").path()).collect();
        packs.sort();
        packs
    }
}

/// Bytes that differ everywhere and with the seed.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

pub fn job(n: u8) -> JobId {
    JobId([n; 32])
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("dir");
    for entry in std::fs::read_dir(from).expect("read") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copy");
        }
    }
}
