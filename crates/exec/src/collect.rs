//! Takes declared outputs out of a dead task's directory: plain files only, reached without any symbolic link.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};

use filch_types::limits;
use filch_types::result::OutFile;
use filch_types::{Content, TaskOutput};
use rustix::fs::{FileType, Mode, OFlags};

use crate::dirs::Workspace;
use crate::executor::Fault;
use crate::host::Host;

/// Why outputs were not collected.
#[derive(Debug)]
pub(crate) enum CollectError {
    /// This one is missing or not a plain file inside the directory.
    Missing(String),
    /// This node's fault.
    Fault(Fault),
}

/// Inline bytes that a result may still take.
pub(crate) fn inline_left(output: &TaskOutput) -> usize {
    let left = limits::INLINE_RESULT.saturating_sub(
        [&output.stdout.kept, &output.stderr.kept].into_iter().map(inline_len).sum::<usize>()
            + output.files.iter().map(|f| inline_len(&f.content)).sum::<usize>(),
    );
    left.min(limits::INLINE_OUTPUT)
}

fn inline_len(c: &Content) -> usize {
    match c {
        Content::Inline(b) => b.len(),
        Content::Blob(..) => 0,
    }
}

/// Collects `paths` (normalised) into `output`.
pub(crate) fn collect(
    paths: &[String],
    workspace: &Workspace,
    host: &dyn Host,
    output: &mut TaskOutput,
) -> Result<(), CollectError> {
    if paths.is_empty() {
        return Ok(());
    }
    let missing = |path: &String| CollectError::Missing(path.clone());
    let Some((dir, fd)) = workspace.opened() else {
        return Err(paths.first().map_or(CollectError::Missing(String::new()), missing));
    };
    for path in paths {
        if let Some(again) = output.files.iter().find(|f| f.path == *path).cloned() {
            output.files.push(again);
            continue;
        }
        let (mut file, len, mode, links) = open(fd, path).map_err(|_| missing(path))?;
        let inline = inline_left(output);
        let content = if len <= inline as u64 {
            let mut bytes = Vec::with_capacity(inline.min(len as usize + 1));
            file.read_to_end(&mut bytes).map_err(|_| missing(path))?;
            Content::Inline(bytes)
        } else {
            drop(file);
            let at = dir.join(path);
            if links > 1 {
                // Another name of the file could write to what the store has taken over.
                own_copy(&at).map_err(|e| CollectError::Fault(Fault::once(format!("cannot copy an output: {e}"))))?;
            }
            host.keep(&at, inline).map_err(|e| CollectError::Fault(e.into()))?
        };
        output.files.push(OutFile { path: path.clone(), executable: mode & 0o100 != 0, content });
    }
    Ok(())
}

fn own_copy(at: &std::path::Path) -> io::Result<()> {
    let mut name = at.file_name().unwrap_or_default().to_owned();
    name.push(".own");
    let copy = at.with_file_name(name);
    std::fs::copy(at, &copy)?;
    std::fs::rename(&copy, at)
}

fn open(dir: BorrowedFd<'_>, path: &str) -> io::Result<(File, u64, u32, u64)> {
    let file = File::from(open_beneath(dir, path)?);
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)] // its types differ between systems
    let (links, mode) = (stat.st_nlink as u64, stat.st_mode as u32);
    Ok((file, u64::try_from(stat.st_size).unwrap_or(0), mode, links))
}

// A pipe opened for reading would wait for a writer.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

#[cfg(target_os = "linux")]
fn open_beneath(dir: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(dir, path, FLAGS, Mode::empty(), how) {
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => open_by_steps(dir, path),
        other => Ok(other?),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(dir: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    open_by_steps(dir, path)
}

/// The same by one component after the other, for kernels (and sandboxes) without `openat2`.
fn open_by_steps(dir: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    let mut at = dir.try_clone_to_owned()?;
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    for part in parents.split('/').filter(|p| !p.is_empty()) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = rustix::fs::openat(&at, part, flags, Mode::empty())?;
    }
    Ok(rustix::fs::openat(&at, name, FLAGS, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn both_ways_refuse_links_and_agree() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path();
        std::fs::create_dir(dir.join("d")).unwrap();
        std::fs::write(dir.join("d/f"), "x").unwrap();
        std::os::unix::fs::symlink("f", dir.join("d/link")).unwrap();
        std::os::unix::fs::symlink("d", dir.join("dlink")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, dir.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let at = File::open(dir).unwrap();
        for (path, good) in [("d/f", true), ("d/link", false), ("dlink/f", false), ("d/none", false)] {
            assert_eq!(open_beneath(at.as_fd(), path).is_ok(), good, "{path}");
            assert_eq!(open_by_steps(at.as_fd(), path).is_ok(), good, "{path}");
        }
        assert!(open(at.as_fd(), "d").is_err(), "a directory");
        assert!(open(at.as_fd(), "pipe").is_err(), "a pipe, and without waiting");
    }
}
