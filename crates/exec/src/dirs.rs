//! Private directories of attempts: made empty, removed off the critical path, used again only when they are provably as new.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

/// Directories that wait for removal; beyond it, the slots remove theirs themselves.
const MAX_TRASH: usize = 256;
/// Files, and bytes in them, that a slot removes itself between two tasks.
const MAX_SWEEP: usize = 64;
const MAX_SWEEP_BYTES: i64 = 4 * 1024 * 1024;

/// A directory that nobody but one attempt has seen.
struct Fresh {
    path: PathBuf,
    fd: OwnedFd,
    /// How it was when it was new.
    state: State,
    /// Time of its last change of any kind (entries, mode, attributes), which only the kernel can set.
    changed: (i64, u64),
}

/// All that an empty directory can differ in, besides times.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    mode: u64,
    owner: (u32, u32),
    links: u64,
    size: i64,
    /// Bytes of the list of extended attributes: access lists and the like.
    attributes: usize,
    /// Flags such as `chattr` sets; zero where there are none.
    flags: u32,
}

impl Fresh {
    fn make(path: PathBuf) -> io::Result<Self> {
        rustix::fs::mkdir(&path, Mode::RWXU)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, &path, flags, Mode::empty())?;
        let (state, changed) = look(fd.as_fd())?;
        Ok(Self { path, fd, state, changed })
    }
    fn untouched(&self) -> bool {
        change_time(self.fd.as_fd()).is_ok_and(|now| now == self.changed)
    }
    /// Whether its path still leads to it.
    fn in_place(&self) -> bool {
        let (Ok(here), Ok(there)) = (rustix::fs::fstat(&self.fd), rustix::fs::lstat(&self.path)) else { return false };
        (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
    }
    /// Makes it as new, if that takes a moment only; far cheaper than to remove and make a directory, which on ext4 waits
    /// for the journal. False if it is not exactly as it was when it was new.
    fn renew(&mut self) -> bool {
        if !self.in_place() || !sweep(self.fd.as_fd()).unwrap_or(false) {
            return false;
        }
        match look(self.fd.as_fd()) {
            Ok((state, changed)) => {
                self.changed = changed;
                state == self.state
            }
            Err(_) => false,
        }
    }
}

#[allow(clippy::useless_conversion, clippy::unnecessary_cast)] // its types differ between systems
fn look(fd: BorrowedFd<'_>) -> io::Result<(State, (i64, u64))> {
    let stat = rustix::fs::fstat(fd)?;
    let state = State {
        mode: stat.st_mode as u64,
        owner: (stat.st_uid, stat.st_gid),
        links: stat.st_nlink as u64,
        size: stat.st_size as i64,
        attributes: attributes(fd),
        flags: flags(fd),
    };
    Ok((state, look_at_time(&stat)))
}

fn attributes(fd: BorrowedFd<'_>) -> usize {
    match rustix::fs::flistxattr(fd, &mut [0u8; 512][..]) {
        Ok(len) => len,
        Err(rustix::io::Errno::RANGE) => usize::MAX,
        Err(_) => 0,
    }
}

#[cfg(target_os = "linux")]
fn flags(fd: BorrowedFd<'_>) -> u32 {
    rustix::fs::ioctl_getflags(fd).map_or(0, |f| f.bits())
}
#[cfg(not(target_os = "linux"))]
fn flags(_: BorrowedFd<'_>) -> u32 {
    0
}

/// Removes the entries if they are few, small and no directories; false if they are not.
fn sweep(dir: BorrowedFd<'_>) -> io::Result<bool> {
    let mut names = Vec::new();
    let mut bytes = 0i64;
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        bytes = bytes.saturating_add(stat.st_size);
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if directory || names.len() >= MAX_SWEEP || bytes > MAX_SWEEP_BYTES {
            return Ok(false);
        }
        names.push(name.to_owned());
    }
    for name in names {
        rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
    }
    Ok(true)
}

fn change_time(fd: BorrowedFd<'_>) -> io::Result<(i64, u64)> {
    Ok(look_at_time(&rustix::fs::fstat(fd)?))
}

#[allow(clippy::useless_conversion, clippy::unnecessary_cast)] // its types differ between systems
fn look_at_time(stat: &rustix::fs::Stat) -> (i64, u64) {
    (stat.st_ctime as i64, stat.st_ctime_nsec as u64)
}

/// Whether every change of a directory shows in its change time here: true of Linux 6.13 and later on its common file
/// systems. Elsewhere the time ticks coarsely, and two changes within a tick cannot be told apart.
pub(crate) fn changes_show(root: &Path) -> bool {
    let probe = || -> io::Result<bool> {
        let dir = Fresh::make(root.join("probe"))?;
        let mut last = dir.changed;
        let mut all = true;
        for mode in [0o755, 0o700].iter().cycle().take(16) {
            fs::set_permissions(&dir.path, fs::Permissions::from_mode(*mode))?;
            let now = change_time(dir.fd.as_fd())?;
            all &= now != last;
            last = now;
        }
        fs::remove_dir(&dir.path)?;
        Ok(all)
    };
    probe().unwrap_or(false)
}

/// The directories of one slot's attempts: one to work in, one for temporary files.
pub struct Workspace {
    root: PathBuf,
    trash: Trash,
    reuse: bool,
    next: u64,
    work: Option<Fresh>,
    temp: Option<Fresh>,
}

impl Workspace {
    pub(crate) fn new(root: PathBuf, trash: Trash, reuse: bool) -> Self {
        Self { root, trash, reuse, next: 0, work: None, temp: None }
    }

    /// The attempt's own working directory: empty, mode 0700.
    pub fn work(&mut self) -> io::Result<&Path> {
        if self.work.is_none() {
            self.work = Some(self.make('w')?);
        }
        self.work.as_ref().map(|f| f.path.as_path()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Its directory for temporary files: empty, mode 0700.
    pub fn temp(&mut self) -> io::Result<&Path> {
        if self.temp.is_none() {
            self.temp = Some(self.make('t')?);
        }
        self.temp.as_ref().map(|f| f.path.as_path()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn make(&mut self, kind: char) -> io::Result<Fresh> {
        fs::create_dir_all(&self.root)?;
        self.next += 1;
        Fresh::make(self.root.join(format!("{kind}{}", self.next)))
    }

    /// The working directory, as path and as what it really is; `None` if the task has moved or replaced it.
    pub(crate) fn opened(&self) -> Option<(&Path, BorrowedFd<'_>)> {
        self.work.as_ref().filter(|f| f.in_place()).map(|f| (f.path.as_path(), f.fd.as_fd()))
    }

    /// The attempt is over, its last process dead: what it touched goes away.
    pub fn clean(&mut self) {
        for kept in [&mut self.work, &mut self.temp] {
            if let Some(mut f) = kept.take() {
                if (self.reuse && f.untouched()) || f.renew() {
                    *kept = Some(f);
                } else {
                    drop(f.fd);
                    self.trash.throw(f.path);
                }
            }
        }
    }
}

/// Removes directories on a thread of its own. Ends when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct Trash(SyncSender<PathBuf>);

impl Trash {
    pub(crate) fn new() -> (Self, Receiver<PathBuf>) {
        let (tx, rx) = sync_channel(MAX_TRASH);
        (Self(tx), rx)
    }
    fn throw(&self, path: PathBuf) {
        if let Err(e) = self.0.try_send(path) {
            let (std::sync::mpsc::TrySendError::Full(path) | std::sync::mpsc::TrySendError::Disconnected(path)) = e;
            remove(&path);
        }
    }
}

/// The thread's body.
pub(crate) fn empty(trash: &Receiver<PathBuf>) {
    trash.iter().for_each(|path| remove(&path));
}

fn remove(path: &Path) {
    if let Err(e) = remove_tree(path) {
        tracing::warn!(path = %path.display(), error = %e, "cannot remove a task's directory");
    }
}

/// Removes a file or a whole tree, also one whose directories were made unreadable. Follows no link.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let first = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
        Ok(m) if !m.is_dir() => return fs::remove_file(path),
        Ok(_) => fs::remove_dir_all(path),
    };
    match first {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            unlock(path);
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

/// Gives the owner every right on a tree's directories. Depth is kept on the heap: a task chooses it.
fn unlock(path: &Path) {
    let mut todo = vec![path.to_owned()];
    while let Some(dir) = todo.pop() {
        if fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).is_err() {
            continue;
        }
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        todo.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
    }
}

/// Makes the work directory this process's own and empties it but for the lock.
pub(crate) fn claim(dir: &Path) -> io::Result<Option<(PathBuf, File)>> {
    fs::create_dir_all(dir)?;
    let dir = fs::canonicalize(dir)?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
    let lock = File::options().create(true).truncate(false).write(true).open(dir.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some((dir, lock))),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(e)) => Err(e),
    }
}

/// Empties a claimed work directory.
pub(crate) fn clear(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() != "lock" {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touched_directories_are_replaced() {
        let base = tempfile::tempdir().unwrap();
        let (trash, rx) = Trash::new();
        let reuse = changes_show(base.path());
        let mut ws = Workspace::new(base.path().join("s0"), trash, reuse);
        type Touch = fn(&Path);
        let touches: [(bool, Touch); 7] = [
            (true, |_| ()),
            (true, |p| fs::write(p.join("x"), "x").unwrap()),
            (true, |p| std::os::unix::fs::symlink("/etc/passwd", p.join("x")).unwrap()),
            (false, |p| fs::set_permissions(p, fs::Permissions::from_mode(0o755)).unwrap()),
            (false, |p| fs::create_dir(p.join("d")).unwrap()),
            (false, |p| fs::rename(p, p.with_extension("moved")).unwrap()),
            (false, |p| (0..100).for_each(|n| fs::write(p.join(n.to_string()), "").unwrap())),
        ];
        for (n, (kept, touch)) in touches.into_iter().enumerate() {
            let first = ws.work().unwrap().to_owned();
            touch(&first);
            ws.clean();
            assert_eq!(rx.try_recv().ok(), (!kept).then(|| first.clone()), "{n}");
            let second = ws.work().unwrap().to_owned();
            assert_eq!(first == second, kept, "{n}");
            assert_eq!(fs::read_dir(&second).unwrap().count(), 0);
            assert_eq!(fs::metadata(&second).unwrap().permissions().mode() & 0o7777, 0o700);
        }
    }

    #[test]
    fn attributes_do_not_survive() {
        let base = tempfile::tempdir().unwrap();
        let (trash, rx) = Trash::new();
        let mut ws = Workspace::new(base.path().join("s0"), trash, false);
        let first = ws.work().unwrap().to_owned();
        let set = rustix::fs::setxattr(&first, "user.filch", b"x", rustix::fs::XattrFlags::CREATE);
        ws.clean();
        // Some file systems have none.
        assert_eq!(rx.try_recv().is_ok(), set.is_ok());
    }

    #[test]
    fn removes_trees_without_rights() {
        let base = tempfile::tempdir().unwrap();
        let top = base.path().join("top");
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(top.join("a/b/f"), "").unwrap();
        fs::set_permissions(top.join("a/b"), fs::Permissions::from_mode(0o0)).unwrap();
        fs::set_permissions(top.join("a"), fs::Permissions::from_mode(0o0)).unwrap();
        remove_tree(&top).unwrap();
        assert!(!top.exists());
    }
}
