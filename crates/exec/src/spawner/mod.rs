//! The spawner: a small process per slot that starts the slot's command tasks and outlives none of their processes.
//!
//! It is a process of its own because it is small (starting a program from a process with a large heap costs
//! milliseconds), and because it is the subreaper of its tasks: whatever a task leaves behind, however it hid, becomes its
//! child, so that it can kill and count them all. It runs one task at a time, has one thread, and lives until its node's
//! end of the socket closes.

mod launch;
mod logs;
pub(crate) mod proto;
pub(crate) mod record;
mod supervise;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use proto::{Frames, FromSpawner, ToSpawner};
use record::Recorder;
use rustix::fs::Mode;

/// Names the slot's directory, with a slash at its end, to its spawner, and marks it for a later run that looks for leftovers.
pub(crate) const DIR_VAR: &str = "FILCH_SPAWNER";

/// The body of the hidden subcommand that spawns tasks; its standard input is the socket to its node. Call it first thing
/// in `main`, before any thread exists.
pub fn spawner_main() -> ! {
    let code = match serve() {
        Ok(()) => 0,
        Err(e) => {
            tracing::error!(error = %e, "spawner");
            1
        }
    };
    std::process::exit(code)
}

/// The socket to the node and what it has sent.
struct Link {
    socket: UnixStream,
    frames: Frames,
    /// A stop that came for this task or one before it.
    stopped: Option<(u64, Option<u32>)>,
}

impl Link {
    /// One read; false at the end of the node.
    fn fill(&mut self) -> io::Result<bool> {
        let Self { socket, frames, .. } = self;
        match frames.fill(|buf| socket.read(buf)) {
            Ok(n) => Ok(n > 0),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Err(e) => Err(e),
        }
    }
    fn send(&mut self, reply: &FromSpawner) -> io::Result<()> {
        proto::write(&mut &self.socket, reply)
    }
    /// The grace of a stop that concerns task `serial`.
    fn stop_for(&self, serial: u64) -> Option<Option<u32>> {
        self.stopped.filter(|(s, _)| *s == serial).map(|(_, grace)| grace)
    }
}

/// What follows a task.
enum Next {
    /// This answer, then the next task.
    Go(FromSpawner),
    /// The end of this process: the node is gone, or something of the task is left that cannot be killed.
    End(Option<FromSpawner>),
}

fn serve() -> io::Result<()> {
    let dir = std::env::var_os(DIR_VAR).map(PathBuf::from).ok_or(io::ErrorKind::InvalidInput)?;
    settle()?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut link = Link { socket, frames: Frames::default(), stopped: None };
    let mut recorder = Recorder::create(&dir)?;
    loop {
        let run = match link.frames.next::<ToSpawner>()? {
            Some(ToSpawner::Run(run)) => run,
            Some(ToSpawner::Stop { serial, grace_ms }) => {
                link.stopped = Some((serial, grace_ms));
                continue;
            }
            None if link.fill()? => continue,
            None => return Ok(()),
        };
        match supervise::run(&run, &mut link, &mut recorder)? {
            Next::Go(reply) => link.send(&reply)?,
            Next::End(reply) => return reply.map_or(Ok(()), |r| link.send(&r)),
        }
    }
}

/// Makes this process what its tasks should inherit: own session, default signals, no files, plain umask.
fn settle() -> io::Result<()> {
    // Fails only for a process that leads a session already.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    for signal in 1..32 {
        if ![libc::SIGKILL, libc::SIGSTOP, libc::SIGPIPE].contains(&signal) {
            // SAFETY: no handler is installed, only the default restored; there is one thread.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    // What the node itself inherited is not for its tasks.
    // SAFETY: only sets the close-on-exec flag; no descriptor is closed here.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done != 0 {
        close_on_exec_one_by_one()?;
    }
    Ok(())
}

/// For kernels before 5.11.
fn close_on_exec_one_by_one() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        if fd > 2 {
            // SAFETY: only sets a flag; a descriptor that is gone makes it fail harmlessly.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// A log file of the slot, opened for one task.
fn open_log(path: &std::path::Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}
