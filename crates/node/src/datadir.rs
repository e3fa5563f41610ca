//! The data directory: who the node is and all that it keeps. One node at a time, mode 0700.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use filch_types::{MachineId, StoreId};

use crate::cluster_key::{ClusterKey, KeyError};

/// Version of the directory's layout.
pub const FORMAT: u32 = 1;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another node uses it.
    #[error("the data directory {} is in use by another node{}", path.display(), pid.map(|p| format!(", process {p}")).unwrap_or_default())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process, if it said.
        pid: Option<u32>,
    },
    /// A newer filch wrote it.
    #[error("the data directory {} has format {found}, this build knows up to {FORMAT}", path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A file in it is not what it should be.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Something else is in it.
    #[error("{} is not empty and no data directory of filch: it has `{found}` and no file `format`", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the names in it.
        found: String,
    },
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The cluster key is not usable.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl DataDirError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            DataDirError::InUse { .. } => "end that node with `filch down`, or give this one its own --data-dir".into(),
            DataDirError::Newer { .. } => "use the newer filch that wrote it, or another --data-dir".into(),
            DataDirError::Damaged { path, .. } => {
                format!("restore {} from a backup, or start afresh with another --data-dir", path.display())
            }
            DataDirError::Foreign { .. } => "give --data-dir a new or empty directory".into(),
            DataDirError::Io { .. } => "check that the directory exists, is yours and has room".into(),
            DataDirError::Key(e) => e.hint(),
        }
    }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> DataDirError + '_ {
    move |source| DataDirError::Io { path: path.to_owned(), source }
}

/// An open and locked data directory. The lock lasts as long as this value.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
    /// ed25519 secret of the node.
    pub secret: [u8; 32],
    /// Random, made with the directory.
    pub store: StoreId,
    /// Starts on this directory, this one included.
    pub boot: u64,
}

impl DataDir {
    /// Opens the directory, makes what is missing, counts the start durably.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        check_ours(path)?;
        make_private(path)?;
        let lock = lock(path)?;
        check_format(path)?;
        let secret = fixed(&path.join("identity"), random::<32>)?;
        let store = StoreId(fixed(&path.join("store"), random::<16>)?);
        let boot = count_boot(&path.join("boot"))?;
        let incoming = path.join("incoming");
        match fs::remove_dir_all(&incoming) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_at(&incoming)(e)),
            _ => {}
        }
        for sub in ["blobs", "work", "incoming"] {
            make_private(&path.join(sub))?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock, secret, store, boot })
    }
    /// Another store from now on, durably: what the last one held is not here any more.
    pub fn renew_store(&mut self) -> Result<(), DataDirError> {
        let path = self.path.join("store");
        let store = random::<16>().map_err(io_at(&path))?;
        replace(&path, &store)?;
        self.store = StoreId(store);
        Ok(())
    }
    /// Where the ledger is.
    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger.redb")
    }
    /// Where the blobs are.
    pub fn blobs(&self) -> PathBuf {
        self.path.join("blobs")
    }
    /// Where tasks run.
    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }
    /// Bodies of clients on their way into the store; emptied at the start.
    pub fn incoming(&self) -> PathBuf {
        self.path.join("incoming")
    }
    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The cluster key: of the file given, or the directory's own, made now if there is none.
    pub fn cluster_key(&self, file: Option<&Path>) -> Result<ClusterKey, DataDirError> {
        match file {
            Some(file) => Ok(ClusterKey::read(file)?),
            None => {
                let own = self.path.join("cluster.key");
                if !own.exists() {
                    let key = ClusterKey::generate().map_err(KeyError::Random)?;
                    replace(&own, key.to_text().as_bytes())?;
                }
                Ok(ClusterKey::read(&own)?)
            }
        }
    }
    /// The machine: what `/etc/machine-id` says, hashed so that it stays private; else random, kept here.
    pub fn machine(&self) -> Result<MachineId, DataDirError> {
        match fs::read("/etc/machine-id") {
            Ok(text) if text.trim_ascii().len() >= 16 => Ok(machine_from(text.trim_ascii())),
            _ => Ok(MachineId(fixed(&self.path.join("machine"), random::<16>)?)),
        }
    }
}

/// A machine named by these bytes.
pub fn machine_from(bytes: &[u8]) -> MachineId {
    let hash = blake3::derive_key("filch 2026 machine id", bytes);
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    MachineId(id)
}

/// Random bytes of the system.
pub fn random<const N: usize>() -> Result<[u8; N], io::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// What may be in a data directory before its first start has come to an end: what that start makes first, what a user may
/// put there, and what a file system begins with.
const EARLY: [&str; 6] = ["lock", "format.new", "filch.log", "filch.sock", "cluster.key", "lost+found"];

/// Refuses a directory with somebody else's files: it would be closed to others, and filled. Changes nothing.
///
/// # Errors
/// [`DataDirError::Foreign`], or the directory cannot be read.
pub fn check_ours(path: &Path) -> Result<(), DataDirError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io_at(path)(e)),
    };
    if path.join("format").exists() {
        return Ok(());
    }
    for entry in entries {
        let name = entry.map_err(io_at(path))?.file_name();
        if !EARLY.iter().any(|early| name == *early) {
            let found = name.to_string_lossy().chars().filter(|c| !c.is_control()).take(80).collect();
            return Err(DataDirError::Foreign { path: path.to_owned(), found });
        }
    }
    Ok(())
}

/// Makes the directory, its parents too, and keeps others out.
fn make_private(path: &Path) -> Result<(), DataDirError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_at(path))?;
    let meta = fs::metadata(path).map_err(io_at(path))?;
    if meta.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(io_at(path))?;
    }
    Ok(())
}

/// Takes the lock and writes this process's id into it.
fn lock(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io_at(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = (&file).take(32).read_to_string(&mut text);
            return Err(DataDirError::InUse { path: dir.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(e)) => return Err(io_at(&path)(e)),
    }
    let text = format!("{}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(text.as_bytes()))
        .map_err(io_at(&path))?;
    Ok(file)
}

fn check_format(dir: &Path) -> Result<(), DataDirError> {
    let path = dir.join("format");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(found) if found > FORMAT => Err(DataDirError::Newer { path: dir.to_owned(), found }),
            Ok(_) => Ok(()),
            Err(_) => Err(DataDirError::Damaged { path, what: "expected the number of a format".into() }),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => replace(&path, format!("{FORMAT}\n").as_bytes()),
        Err(e) => Err(io_at(&path)(e)),
    }
}

/// A file of exactly `N` bytes, made once.
fn fixed<const N: usize>(
    path: &Path,
    make: impl FnOnce() -> Result<[u8; N], io::Error>,
) -> Result<[u8; N], DataDirError> {
    match fs::read(path) {
        Ok(bytes) => {
            let got = bytes.len();
            bytes.try_into().map_err(|_| DataDirError::Damaged {
                path: path.to_owned(),
                what: format!("it has {got} bytes instead of {N}"),
            })
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let bytes = make().map_err(io_at(path))?;
            replace(path, &bytes)?;
            Ok(bytes)
        }
        Err(e) => Err(io_at(path)(e)),
    }
}

/// One more start, on disk before anything else happens: peers tell two lives of a node apart by it.
fn count_boot(path: &Path) -> Result<u64, DataDirError> {
    let last = match fs::read_to_string(path) {
        Ok(text) => text.trim().parse::<u64>().map_err(|_| DataDirError::Damaged {
            path: path.to_owned(),
            what: "expected the number of starts".into(),
        })?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
        Err(e) => return Err(io_at(path)(e)),
    };
    let boot = last.saturating_add(1);
    replace(path, format!("{boot}\n").as_bytes())?;
    Ok(boot)
}

/// Writes a file of mode 0600 so that after a crash there is the old one or the new one, whole.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    let temp = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut f = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temp)?;
        f.write_all(bytes)?;
        f.sync_all()?;
        fs::rename(&temp, path)?;
        match path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(io_at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_the_same_node_with_the_next_boot() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("a/b");
        let first = DataDir::open(&dir).unwrap();
        let (secret, store) = (first.secret, first.store);
        let key = first.cluster_key(None).unwrap();
        assert_eq!(first.boot, 1);
        drop(first);
        let second = DataDir::open(&dir).unwrap();
        assert_eq!((second.secret, second.store, second.boot), (secret, store, 2));
        assert_eq!(second.cluster_key(None).unwrap().as_bytes(), key.as_bytes());
        assert_eq!(second.machine().unwrap(), second.machine().unwrap());
        for (name, mode) in [("", 0o700), ("identity", 0o600), ("cluster.key", 0o600), ("blobs", 0o700)] {
            let got = fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!(got, mode, "{name}");
        }
    }

    #[test]
    fn a_second_node_is_refused_and_told_the_first_ones_process() {
        let tmp = tempfile::tempdir().unwrap();
        let _first = DataDir::open(tmp.path()).unwrap();
        let e = DataDir::open(tmp.path()).unwrap_err();
        assert!(matches!(e, DataDirError::InUse { pid: Some(p), .. } if p == std::process::id()), "{e}");
    }

    #[test]
    fn somebody_elses_directory_is_left_as_it_is() {
        let tmp = tempfile::tempdir().unwrap();
        let mode = || fs::metadata(tmp.path()).unwrap().permissions().mode() & 0o777;
        fs::set_permissions(tmp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // What a start that was cut off leaves is no sign of filch.
        fs::write(tmp.path().join("lock"), "").unwrap();
        fs::write(tmp.path().join("thesis.txt"), "").unwrap();
        let e = DataDir::open(tmp.path()).unwrap_err();
        assert!(matches!(&e, DataDirError::Foreign { found, .. } if found == "thesis.txt"), "{e}");
        assert_eq!(mode(), 0o755);
        fs::remove_file(tmp.path().join("thesis.txt")).unwrap();
        drop(DataDir::open(tmp.path()).unwrap());
        fs::write(tmp.path().join("thesis.txt"), "").unwrap();
        DataDir::open(tmp.path()).unwrap();
        assert_eq!(mode(), 0o700);
    }

    #[test]
    fn newer_and_damaged_directories_are_refused() {
        let tmp = tempfile::tempdir().unwrap();
        drop(DataDir::open(tmp.path()).unwrap());
        fs::write(tmp.path().join("format"), "7\n").unwrap();
        assert!(matches!(DataDir::open(tmp.path()), Err(DataDirError::Newer { found: 7, .. })));
        fs::write(tmp.path().join("format"), "1\n").unwrap();
        fs::write(tmp.path().join("identity"), "short").unwrap();
        assert!(matches!(DataDir::open(tmp.path()), Err(DataDirError::Damaged { .. })));
    }
}
