//! Where things are in the directory, and how they get there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use filch_types::BlobId;

#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
    next_temp: AtomicU64,
}

impl Layout {
    /// Makes the directories that are missing.
    pub(crate) fn create(root: &Path) -> io::Result<Self> {
        for dir in ["packs", "files", "partial", "tmp"] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root.join(dir))?;
        }
        Ok(Self { root: root.to_owned(), next_temp: AtomicU64::new(0) })
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index.redb")
    }
    pub(crate) fn packs(&self) -> PathBuf {
        self.root.join("packs")
    }
    pub(crate) fn pack(&self, number: u32) -> PathBuf {
        self.packs().join(format!("{number:08}"))
    }
    pub(crate) fn files(&self) -> PathBuf {
        self.root.join("files")
    }
    pub(crate) fn shard(&self, id: BlobId) -> PathBuf {
        let [first, ..] = id.0;
        self.files().join(format!("{first:02x}"))
    }
    pub(crate) fn file(&self, id: BlobId) -> PathBuf {
        self.shard(id).join(id.to_string())
    }
    pub(crate) fn outboard(&self, id: BlobId) -> PathBuf {
        self.shard(id).join(format!("{id}.obao"))
    }
    pub(crate) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }
    pub(crate) fn partial(&self, id: BlobId) -> PathBuf {
        self.partials().join(id.to_string())
    }
    pub(crate) fn partial_outboard(&self, id: BlobId) -> PathBuf {
        self.partials().join(format!("{id}.obao"))
    }
    /// The claimed length that a partial was started with.
    pub(crate) fn partial_len(&self, id: BlobId) -> PathBuf {
        self.partials().join(format!("{id}.len"))
    }
    /// A path in `tmp` that nobody else has.
    pub(crate) fn temp(&self) -> PathBuf {
        self.root.join("tmp").join(self.next_temp.fetch_add(1, Relaxed).to_string())
    }

    /// Removes what an earlier process was writing.
    pub(crate) fn clean_temp(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(self.root.join("tmp"))? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(())
    }
}

/// A file in `tmp` that goes away unless it is kept.
pub(crate) struct Temp {
    pub(crate) path: PathBuf,
}

impl Drop for Temp {
    fn drop(&mut self) {
        // Gone already if it was renamed into place.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// For reading and writing, made if it is not there, private.
pub(crate) fn open_rw(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// A new file for reading and writing, private.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes a file; one that is not there is as good.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Makes a directory; one that is there is as good.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// (free for us, total) bytes of the file system.
pub(crate) fn room(path: &Path) -> Option<(u64, u64)> {
    let fs = rustix::fs::statvfs(path).ok()?;
    Some((fs.f_bavail.saturating_mul(fs.f_frsize), fs.f_blocks.saturating_mul(fs.f_frsize)))
}
