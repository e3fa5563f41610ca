//! The node's end of a spawner.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::Timespec;

use crate::config::ExecConfig;
use crate::control::Interrupt;
use crate::lock::lock;
use crate::spawner::DIR_VAR;
use crate::spawner::proto::{self, Frames, FromSpawner, Run, ToSpawner};

/// A spawner that takes so long to read a few kilobytes, or to end, is killed.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
const END_LIMIT: Duration = Duration::from_secs(2);

/// A running spawner.
pub(super) struct Link {
    child: Child,
    pidfd: Arc<OwnedFd>,
    reader: UnixStream,
    writer: Arc<Mutex<UnixStream>>,
    frames: Frames,
}

/// Why a task could not be handed to a spawner or got no answer.
#[derive(Debug)]
pub(super) enum LinkError {
    /// The command line is longer than any system takes.
    TooLong,
    /// The spawner is dead or does not answer as it should.
    Dead(io::Error),
}

impl Link {
    /// Starts one for the slot of this directory.
    pub(super) fn start(config: &ExecConfig, slot: &Path) -> io::Result<Self> {
        let (program, args) = config.spawner.split_first().ok_or(io::ErrorKind::NotFound)?;
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_write_timeout(Some(WRITE_LIMIT))?;
        let writer = Arc::new(Mutex::new(ours.try_clone()?));
        let mut command = Command::new(program);
        command.args(args).env_clear().env(DIR_VAR, slot.join("")).current_dir("/");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::inherit());
        let child = command.spawn()?;
        drop(command);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        let pidfd = Arc::new(pidfd_open(pid, PidfdFlags::empty())?);
        tracing::debug!(pid = child.id(), fd = ours.as_raw_fd(), "spawner started");
        Ok(Self { child, pidfd, reader: ours, writer, frames: Frames::default() })
    }

    /// How to end the task of this serial number.
    pub(super) fn interrupt(&self, serial: u64) -> Arc<dyn Interrupt> {
        Arc::new(Stopper { serial, writer: self.writer.clone(), pidfd: self.pidfd.clone() })
    }

    /// Runs a task and waits for its end.
    pub(super) fn run(&mut self, run: Run) -> Result<FromSpawner, LinkError> {
        let serial = run.serial;
        match proto::write(&mut &*lock(&self.writer), &ToSpawner::Run(run)) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Err(LinkError::TooLong),
            Err(e) => return Err(LinkError::Dead(e)),
        }
        loop {
            match self.frames.next::<FromSpawner>().map_err(LinkError::Dead)? {
                Some(reply) if serial_of(&reply) == serial => return Ok(reply),
                Some(_) => return Err(LinkError::Dead(io::Error::other("an answer to another task"))),
                None => {}
            }
            let Self { frames, reader, .. } = self;
            match frames.fill(|buf| reader.read(buf)) {
                Ok(0) => return Err(LinkError::Dead(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(LinkError::Dead(e)),
            }
        }
    }
}

impl Drop for Link {
    /// The spawner ends when its socket closes, and takes what still runs with it.
    fn drop(&mut self) {
        let _ = self.reader.shutdown(std::net::Shutdown::Both);
        let timeout = Timespec::try_from(END_LIMIT).unwrap_or_default();
        let ended = poll(&mut [PollFd::new(&*self.pidfd, PollFlags::IN)], Some(&timeout));
        if !matches!(ended, Ok(1..)) {
            let _ = self.child.kill();
        }
        if let Err(e) = self.child.wait() {
            tracing::debug!(error = %e, "spawner not waited for");
        }
    }
}

fn serial_of(reply: &FromSpawner) -> u64 {
    match reply {
        FromSpawner::Done(d) => d.serial,
        FromSpawner::NotRun { serial, .. } | FromSpawner::Fault { serial, .. } => *serial,
    }
}

struct Stopper {
    serial: u64,
    writer: Arc<Mutex<UnixStream>>,
    pidfd: Arc<OwnedFd>,
}

impl Interrupt for Stopper {
    fn stop(&self, grace_ms: Option<u32>) {
        let frame = ToSpawner::Stop { serial: self.serial, grace_ms };
        if let Err(e) = proto::write(&mut &*lock(&self.writer), &frame) {
            tracing::debug!(error = %e, "the spawner to be stopped is gone");
        }
    }
    fn kill(&self) {
        let _ = pidfd_send_signal(&*self.pidfd, Signal::KILL);
    }
}
