//! The submitter's directory: files appear in it whole or not at all, and never through a symbolic link below it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use filch_blobs::BlobStore;
use filch_types::result::OutFile;
use filch_types::{BlobId, Content, paths};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fchmod, fstat, mkdirat, open, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The directory cannot be opened.
    #[error("{}: {source}", path.display())]
    Dir {
        /// It.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The same file was written by another delivery at the same moment; not an error to anybody outside.
    #[error("another delivery wrote the same file")]
    Twice,
    /// The path leaves the directory.
    #[error(transparent)]
    Path(#[from] paths::PathError),
    /// A part of the path is a symbolic link or no directory.
    #[error("`{path}`: `{part}` is a symbolic link or not a directory")]
    NotADirectory {
        /// The whole path.
        path: String,
        /// The part.
        part: String,
    },
    /// There is a directory where the file should be.
    #[error("`{path}`: there is a directory of this name")]
    IsDirectory {
        /// The path.
        path: String,
    },
    /// The bytes are not here.
    #[error("`{path}`: {why}")]
    Content {
        /// The path.
        path: String,
        /// Why.
        why: String,
    },
    /// The file system said no.
    #[error("`{path}`: {source}")]
    Io {
        /// The path.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was written.
    New,
    /// It was there already, with the same bytes.
    Same,
}

/// An open directory that files are delivered into.
pub struct Target {
    dir: OwnedFd,
    /// The directory used last: most outputs of a job go to few of them.
    last: Option<(String, OwnedFd)>,
    store: BlobStore,
}

const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Target {
    /// Opens an existing directory; the path itself may go through links, as its owner said.
    pub fn open(path: &Path, store: BlobStore) -> Result<Self, DeliverError> {
        let dir = open(path, DIR, Mode::empty())
            .map_err(|e| DeliverError::Dir { path: path.to_owned(), source: e.into() })?;
        Ok(Self { dir, last: None, store })
    }

    /// Whether files can be made here: an answer before a job runs for hours.
    pub fn check_writable(&self) -> Result<(), Errno> {
        rustix::fs::accessat(
            &self.dir,
            ".",
            rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
            AtFlags::EACCESS,
        )
    }

    /// Writes one file: a temporary one first, then a rename.
    pub fn write(&mut self, file: &OutFile) -> Result<Written, DeliverError> {
        let path = paths::normalise(&file.path)?;
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let parent = self.enter(&path, parent)?;
        let io = |e: Errno| DeliverError::Io { path: path.clone(), source: e.into() };
        if same(&parent, name, file) {
            return Ok(Written::Same);
        }
        let temp = temp_name(&path, file);
        // What a crash in the middle of the last try left.
        let _ = unlinkat(&parent, temp.as_str(), AtFlags::empty());
        let made = self.fill(&parent, &temp, &path, file).and_then(|()| {
            renameat(&parent, temp.as_str(), &parent, name).map_err(|e| match e {
                // Another delivery of the very same file was quicker.
                Errno::NOENT if same(&parent, name, file) => DeliverError::Twice,
                Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST => DeliverError::IsDirectory { path: path.clone() },
                e => io(e),
            })
        });
        if matches!(made, Err(DeliverError::Twice)) {
            return Ok(Written::Same);
        }
        if made.is_err() {
            let _ = unlinkat(&parent, temp.as_str(), AtFlags::empty());
        }
        made.map(|()| Written::New)
    }

    /// Makes everything written so far survive a crash of the machine.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.dir)?)
    }

    /// Opens the parent directory step by step, making what is missing; a link in between is refused.
    fn enter(&mut self, path: &str, parent: &str) -> Result<OwnedFd, DeliverError> {
        let io = |source: io::Error| DeliverError::Io { path: path.to_owned(), source };
        if parent.is_empty() {
            return self.dir.try_clone().map_err(io);
        }
        if let Some((last, fd)) = &self.last
            && last == parent
        {
            return fd.try_clone().map_err(io);
        }
        let mut at = self.dir.try_clone().map_err(io)?;
        for part in parent.split('/') {
            match mkdirat(&at, part, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(io(e.into())),
            }
            at = openat(&at, part, DIR | OFlags::NOFOLLOW, Mode::empty()).map_err(|e| match e {
                Errno::LOOP | Errno::NOTDIR => {
                    DeliverError::NotADirectory { path: path.to_owned(), part: part.to_owned() }
                }
                e => io(e.into()),
            })?;
        }
        self.last = Some((parent.to_owned(), at.try_clone().map_err(io)?));
        Ok(at)
    }

    fn fill(&self, parent: &OwnedFd, temp: &str, path: &str, file: &OutFile) -> Result<(), DeliverError> {
        let io = |source: io::Error| DeliverError::Io { path: path.to_owned(), source };
        match &file.content {
            Content::Inline(bytes) => {
                let mode = Mode::from_raw_mode(if file.executable { 0o777 } else { 0o666 });
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = openat(parent, temp, flags, mode).map_err(|e| io(e.into()))?;
                File::from(fd).write_all(bytes).map_err(io)
            }
            Content::Blob(id, _) => {
                // Through the open directory, so that nobody can put a link in between meanwhile.
                let dest = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(temp);
                self.store
                    .place(*id, &dest, file.executable)
                    .map_err(|e| DeliverError::Content { path: path.to_owned(), why: e.to_string() })?;
                let fd = openat(parent, temp, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|e| io(e.into()))?;
                let mode = if file.executable { 0o777 } else { 0o666 };
                fchmod(&fd, Mode::from_raw_mode(mode & !umask())).map_err(|e| io(e.into()))
            }
        }
    }
}

/// The process's umask, read once: there is no way to read it without setting it.
fn umask() -> u32 {
    static UMASK: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *UMASK.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("Umask:"));
        line.and_then(|l| u32::from_str_radix(l.trim(), 8).ok()).unwrap_or(0o022)
    })
}

/// The same file always has the same temporary name, so that a delivery after a crash finds what the one before it left.
fn temp_name(path: &str, file: &OutFile) -> String {
    let name = format!("{path}\0{:?}", file.content);
    format!(".filch-{}.part", &blake3::hash(name.as_bytes()).to_hex()[..16])
}

/// Whether the file is there already: a plain file, the same bytes, the same owner's right to execute.
fn same(parent: &OwnedFd, name: &str, file: &OutFile) -> bool {
    let Ok(stat) = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
    let plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let executable = stat.st_mode & 0o100 != 0;
    if !plain || executable != file.executable || u64::try_from(stat.st_size) != Ok(file.content.len()) {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(fd) = openat(parent, name, flags, Mode::empty()) else { return false };
    if fstat(fd.as_fd()).is_ok_and(|s| s.st_ino != stat.st_ino) {
        return false;
    }
    let want = match &file.content {
        Content::Inline(bytes) => BlobId::of(bytes),
        Content::Blob(id, _) => *id,
    };
    hash(File::from(fd)).is_ok_and(|got| got == want)
}

fn hash(mut file: File) -> io::Result<BlobId> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(BlobId(*hasher.finalize().as_bytes())),
            n => hasher.update(buffer.get(..n).unwrap_or(&[])),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn setup() -> (tempfile::TempDir, PathBuf, Target, BlobStore) {
        let tmp = tempfile::tempdir().unwrap();
        let store = BlobStore::open(&tmp.path().join("blobs"), filch_blobs::Options::default()).unwrap();
        let out = tmp.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let target = Target::open(&out, store.clone()).unwrap();
        (tmp, out, target, store)
    }

    fn inline(path: &str, bytes: &[u8]) -> OutFile {
        OutFile { path: path.into(), executable: false, content: Content::Inline(bytes.to_vec()) }
    }

    #[test]
    fn files_appear_whole_with_parents_and_mode() {
        let (_tmp, out, mut target, store) = setup();
        let big = vec![7; 100_000];
        let (id, len) = store.put_bytes(&big).unwrap();
        let blob = OutFile { path: "a/b/tool".into(), executable: true, content: Content::Blob(id, len) };
        assert_eq!(target.write(&inline("a/b/c.txt", b"one")).unwrap(), Written::New);
        assert_eq!(target.write(&inline("a/b/c.txt", b"two")).unwrap(), Written::New);
        assert_eq!(target.write(&blob).unwrap(), Written::New);
        assert_eq!(target.write(&blob).unwrap(), Written::Same);
        assert_eq!(std::fs::read(out.join("a/b/c.txt")).unwrap(), b"two");
        assert_eq!(std::fs::read(out.join("a/b/tool")).unwrap(), big);
        assert_ne!(std::fs::metadata(out.join("a/b/tool")).unwrap().permissions().mode() & 0o100, 0);
        assert_ne!(
            std::fs::metadata(out.join("a/b/tool")).unwrap().permissions().mode() & 0o200,
            0,
            "it is the user's now"
        );
        assert_eq!(std::fs::read_dir(out.join("a/b")).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn links_below_the_directory_are_not_followed() {
        let (tmp, out, mut target, _store) = setup();
        let outside = tmp.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("f"), "mine").unwrap();
        std::os::unix::fs::symlink(&outside, out.join("link")).unwrap();
        std::os::unix::fs::symlink(outside.join("f"), out.join("g")).unwrap();
        let e = target.write(&inline("link/f", b"evil")).unwrap_err();
        assert!(matches!(e, DeliverError::NotADirectory { .. }), "{e}");
        assert!(target.write(&inline("../outside/f", b"evil")).is_err());
        assert!(target.write(&inline("/etc/x", b"evil")).is_err());
        target.write(&inline("g", b"new")).unwrap();
        assert_eq!(std::fs::read(outside.join("f")).unwrap(), b"mine");
        assert_eq!(std::fs::read(out.join("g")).unwrap(), b"new", "the link itself is replaced");
        assert!(std::fs::symlink_metadata(out.join("g")).unwrap().is_file());
    }

    #[test]
    fn a_directory_in_the_way_is_said() {
        let (_tmp, out, mut target, _store) = setup();
        std::fs::create_dir(out.join("d")).unwrap();
        assert!(matches!(target.write(&inline("d", b"x")), Err(DeliverError::IsDirectory { .. })));
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
    }
}
