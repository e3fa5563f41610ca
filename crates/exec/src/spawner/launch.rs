//! Starts one program, as a shell would find it, without a shell.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::Access;
use rustix::io::Errno;

use super::proto::Run;

/// Why there is no process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The program's fault: 127 or 126, and why.
    NotRun(i32, String),
    /// This machine's, now.
    Fault(String),
}

const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;
/// A placed program that another process still holds open for writing while it starts: goes away at once.
const BUSY_TRIES: u32 = 40;
const BUSY_WAIT: Duration = Duration::from_millis(5);

/// Starts the program in its directory; the process id.
pub(super) fn launch(run: &Run, stdout: &File, stderr: &File) -> Result<i32, Refusal> {
    let fault = |what: &str, e: io::Error| Refusal::Fault(format!("{what}: {e}"));
    // Changed here rather than in the child: tells a missing directory from a missing program.
    std::env::set_current_dir(run.dir.path()).map_err(|e| fault("cannot enter the task's directory", e))?;
    let (name, args) = run.argv.split_first().ok_or_else(|| Refusal::NotRun(NOT_FOUND, "no program".to_owned()))?;
    let path = run.env.iter().rev().find(|(k, _)| k == "PATH").map(|(_, v)| v.os().as_bytes()).unwrap_or_default();
    let program = find(name, path)?;
    // A path without further conditions keeps the standard library on posix_spawn.
    let mut command = Command::new(program);
    command.arg0(name).args(args).process_group(0).env_clear();
    command.envs(run.env.iter().map(|(k, v)| (k, v.os())));
    for tries in 0.. {
        let out = stdout.try_clone().and_then(|out| Ok((out, stderr.try_clone()?)));
        let (out, err) = out.map_err(|e| fault("cannot pass on the output files", e))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        match command.spawn() {
            Ok(child) => return i32::try_from(child.id()).map_err(|_| Refusal::Fault("no process id".to_owned())),
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                std::thread::sleep(BUSY_WAIT);
            }
            Err(e) => return Err(refusal(name, &e)),
        }
    }
    Err(Refusal::Fault("cannot start".to_owned()))
}

fn refusal(name: &str, e: &io::Error) -> Refusal {
    let errno = e.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::IO) => {
            Refusal::Fault(format!("cannot start a process: {e}"))
        }
        Some(Errno::NOENT) => Refusal::NotRun(NOT_FOUND, format!("{name}: its interpreter was not found")),
        Some(Errno::TOOBIG) => Refusal::NotRun(
            NOT_EXECUTABLE,
            format!("{name}: the arguments and environment are too long for this system"),
        ),
        Some(Errno::NOEXEC) => Refusal::NotRun(
            NOT_EXECUTABLE,
            format!("{name}: no program that this system can execute (a script needs #!)"),
        ),
        _ => Refusal::NotRun(NOT_EXECUTABLE, format!("{name}: {e}")),
    }
}

/// The file to execute. A name with a slash is relative to the task's directory; others are looked up in `PATH`, whose
/// empty entries count for nothing, and those that cannot be searched neither.
fn find(name: &str, path: &[u8]) -> Result<PathBuf, Refusal> {
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(Unfit::Unseen(Errno::NOENT | Errno::NOTDIR)) => {
                Err(Refusal::NotRun(NOT_FOUND, format!("{name}: no such file")))
            }
            Err(Unfit::Unseen(e) | Unfit::Seen(e)) => {
                Err(Refusal::NotRun(NOT_EXECUTABLE, format!("{name}: {}", reason(e))))
            }
        };
    }
    let mut found = None;
    for dir in path.split(|b| *b == b':').filter(|d| !d.is_empty() && !name.is_empty()) {
        let candidate = Path::new(std::ffi::OsStr::from_bytes(dir)).join(name);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Unfit::Unseen(_) | Unfit::Seen(Errno::ISDIR)) => {}
            Err(Unfit::Seen(e)) => found = found.or(Some((candidate, e))),
        }
    }
    Err(match found {
        Some((at, e)) => Refusal::NotRun(NOT_EXECUTABLE, format!("{}: {}", at.display(), reason(e))),
        None => Refusal::NotRun(NOT_FOUND, format!("{name}: command not found on this node")),
    })
}

fn reason(e: Errno) -> String {
    match e {
        Errno::ACCESS => "not executable".to_owned(),
        Errno::ISDIR => "is a directory".to_owned(),
        e => io::Error::from(e).to_string(),
    }
}

/// Why a path is no program.
enum Unfit {
    /// Whether there is anything could not be found out.
    Unseen(Errno),
    /// It is there.
    Seen(Errno),
}

fn executable(path: &Path) -> Result<(), Unfit> {
    let stat = rustix::fs::stat(path).map_err(Unfit::Unseen)?;
    match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Directory => Err(Unfit::Seen(Errno::ISDIR)),
        rustix::fs::FileType::RegularFile => rustix::fs::access(path, Access::EXEC_OK).map_err(Unfit::Seen),
        _ => Err(Unfit::Seen(Errno::ACCESS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_programs_up_as_a_shell_does() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("plain"), "").unwrap();
        let path = format!("::{}:/usr/bin:/bin", dir.path().display());
        let code = |name: &str| match find(name, path.as_bytes()) {
            Ok(_) => 0,
            Err(Refusal::NotRun(code, _)) => code,
            Err(e) => panic!("{e:?}"),
        };
        assert_eq!(code("sh"), 0);
        assert_eq!(code("plain"), 126);
        assert_eq!(code("no-such-program"), 127);
        assert_eq!(code(""), 127);
        assert_eq!(code("/bin/sh"), 0);
        assert_eq!(code("/"), 126);
        assert_eq!(code("./none"), 127);
    }

    /// What cannot be searched may hold anything; a shell goes on, and says "not found" in the end. A loop of links fails for root, too.
    #[test]
    fn a_directory_that_cannot_be_searched_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (locked, round) = (dir.path().join("locked"), dir.path().join("round"));
        std::fs::create_dir(&locked).unwrap();
        let mode = |m| std::fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(m)).unwrap();
        mode(0o000);
        std::os::unix::fs::symlink(&round, &round).unwrap();
        let path = format!("{}:{}:/bin", round.display(), locked.display());
        let not_found = find("no-such-program", path.as_bytes());
        let sh = find("sh", path.as_bytes());
        let direct = find(round.join("x").to_str().unwrap(), path.as_bytes());
        mode(0o700);
        assert!(matches!(not_found, Err(Refusal::NotRun(127, _))), "{not_found:?}");
        assert_eq!(sh, Ok(PathBuf::from("/bin/sh")));
        // A path that was given is another matter: it says where, and that it cannot be had.
        assert!(matches!(direct, Err(Refusal::NotRun(126, _))), "{direct:?}");
    }
}
