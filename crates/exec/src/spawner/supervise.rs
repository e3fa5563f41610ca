//! One task from its start to the death of its last process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use rustix::time::Timespec;

use super::launch::{Refusal, launch};
use super::logs::{Log, Logs};
use super::proto::{Done, Ended, FromSpawner, Run, Status, ToSpawner};
use super::record::{Recorder, since_boot};
use super::{Link, Next, open_log};
use crate::procs::{self, Proc};

/// What a program leaves running when it ends has so long to end by itself: the last stage of a pipeline may need it.
const LINGER: Duration = Duration::from_secs(1);
/// Processes watched at once while they end by themselves.
const MAX_WATCH: usize = 64;
/// Between looks when nothing can be watched.
const BLIND: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The main process runs.
    Running,
    /// It ended; others are given a moment.
    Lingering(Instant),
    /// All got TERM; KILL follows.
    Terminating(Instant),
    /// KILL until none is left.
    Killing,
}

/// How the main process ended.
#[derive(Clone, Copy)]
struct End {
    status: Status,
    cpu_us: u64,
    max_rss_kib: u64,
}

struct Task<'a> {
    run: &'a Run,
    link: &'a mut Link,
    main: Pid,
    logs: Logs,
    began: Instant,
    deadline: Option<Instant>,
    phase: Phase,
    end: Option<End>,
    ended: Option<Ended>,
    killed: u32,
    /// The main process; once it is dead, what is left of its tree.
    watch: Vec<OwnedFd>,
    node_gone: bool,
}

/// Runs one task.
pub(super) fn run(run: &Run, link: &mut Link, recorder: &mut Recorder) -> io::Result<Next> {
    let serial = run.serial;
    let fault = |message: String| Ok(Next::Go(FromSpawner::Fault { serial, message }));
    let logs = open_log(run.stdout.path()).and_then(|out| Ok((out, open_log(run.stderr.path())?)));
    let (out, err) = match logs.and_then(|(out, err)| Ok((Log::new(out)?, Log::new(err)?))) {
        Ok(logs) => logs,
        Err(e) => return fault(format!("cannot open the files for a task's output: {e}")),
    };
    let (before, began) = (since_boot(), Instant::now());
    let pid = match launch(run, &out.file, &err.file) {
        Ok(pid) => pid,
        Err(Refusal::Fault(message)) => return fault(message),
        Err(Refusal::NotRun(code, message)) => return Ok(Next::Go(FromSpawner::NotRun { serial, code, message })),
    };
    recorder.write(pid, (before, since_boot()));
    let Some(main) = Pid::from_raw(pid) else { return fault("no process id".to_owned()) };
    let mut task = Task {
        run,
        link,
        main,
        logs: Logs::new(out, err),
        began,
        deadline: run.timeout_ms.and_then(|ms| began.checked_add(Duration::from_millis(ms))),
        phase: Phase::Running,
        end: None,
        ended: None,
        killed: 0,
        watch: Vec::new(),
        node_gone: false,
    };
    match pidfd_open(main, PidfdFlags::empty()) {
        Ok(fd) => task.watch.push(fd),
        Err(e) => tracing::debug!(error = %e, "cannot watch a task directly"),
    }
    if let Some(grace) = task.link.stop_for(serial) {
        task.stop(grace);
    }
    let whole = task.supervise()?;
    if task.node_gone {
        return Ok(Next::End(None));
    }
    if !whole {
        let message = "a process of the task runs as another user and cannot be killed".to_owned();
        return Ok(Next::End(Some(FromSpawner::Fault { serial, message })));
    }
    task.done().map(Next::Go)
}

impl Task<'_> {
    /// Until no process is left; false if one cannot be killed.
    fn supervise(&mut self) -> io::Result<bool> {
        loop {
            if self.phase == Phase::Killing {
                if !self.kill_round() {
                    return Ok(false);
                }
                if !self.reap(true)? {
                    return Ok(true);
                }
            } else {
                self.wait()?;
            }
            if !self.reap(false)? {
                return Ok(true);
            }
            self.advance(Instant::now());
        }
    }

    /// Takes in what has died, at least one if `block`; false once no child is left.
    fn reap(&mut self, mut block: bool) -> io::Result<bool> {
        let mut some = false;
        loop {
            match wait4(block)? {
                Reaped::Child(pid, end) => {
                    if pid == self.main.as_raw_pid() {
                        self.end = Some(end);
                    }
                    some = true;
                    block = false;
                }
                Reaped::NoneYet => {
                    if some && self.end.is_some() {
                        self.remains();
                    }
                    return Ok(true);
                }
                Reaped::NoChildren => return Ok(false),
            }
        }
    }

    /// The main process is dead, others are not.
    fn remains(&mut self) {
        if self.phase == Phase::Running {
            self.phase = Phase::Lingering(Instant::now() + LINGER);
        }
        let open = |p: &Proc| Pid::from_raw(p.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        self.watch = children().iter().filter(|p| !p.zombie).take(MAX_WATCH).filter_map(open).collect();
    }

    /// What time brings.
    fn advance(&mut self, now: Instant) {
        if !self.logs.look(now) {
            self.ended = self.ended.or(Some(Ended::Flooded));
            self.phase = Phase::Killing;
        }
        match self.phase {
            Phase::Running if self.deadline.is_some_and(|d| now >= d) => {
                self.ended = Some(Ended::TimedOut);
                self.terminate(self.run.grace_ms);
            }
            Phase::Lingering(until) | Phase::Terminating(until) if now >= until => self.phase = Phase::Killing,
            _ => {}
        }
    }

    fn stop(&mut self, grace: Option<u32>) {
        match self.phase {
            Phase::Running => {
                self.ended = Some(Ended::Stopped);
                self.terminate(grace.unwrap_or(self.run.grace_ms));
            }
            Phase::Terminating(until) => {
                let sooner = grace.map(|g| Instant::now() + Duration::from_millis(u64::from(g)));
                self.phase = Phase::Terminating(sooner.map_or(until, |s| s.min(until)));
            }
            Phase::Lingering(_) | Phase::Killing => self.phase = Phase::Killing,
        }
    }

    fn terminate(&mut self, grace_ms: u32) {
        if grace_ms == 0 {
            self.phase = Phase::Killing;
            return;
        }
        for signal in [Signal::TERM, Signal::CONT] {
            let _ = kill_process_group(self.main, signal);
            for p in procs::descendants(&procs::all(), std::process::id()) {
                if p.group != self.main.as_raw_pid() {
                    signal_to(p.pid, signal);
                }
            }
        }
        self.phase = Phase::Terminating(Instant::now() + Duration::from_millis(u64::from(grace_ms)));
    }

    /// Kills all children. Theirs become ours as they die, so each round ends with a death that starts the next. False if
    /// children are left and none can be killed.
    fn kill_round(&mut self) -> bool {
        if self.end.is_none() {
            let _ = kill_process_group(self.main, Signal::KILL);
        }
        let children = children();
        let mut killable = children.is_empty();
        for p in &children {
            let alive = signal_to(p.pid, Signal::KILL);
            killable |= alive || p.zombie;
            if alive && !p.zombie && p.pid != self.main.as_raw_pid() {
                self.killed = self.killed.saturating_add(1);
            }
        }
        killable
    }

    fn wait(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let mut until = self.logs.next;
        match self.phase {
            Phase::Running => until = self.deadline.map_or(until, |d| d.min(until)),
            Phase::Lingering(at) | Phase::Terminating(at) => until = until.min(at),
            Phase::Killing => until = now,
        }
        if self.watch.is_empty() {
            until = until.min(now + BLIND);
        }
        let socket = self.link.socket.as_fd();
        let mut fds = vec![PollFd::from_borrowed_fd(socket, PollFlags::IN)];
        fds.extend(self.watch.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let timeout = Timespec::try_from(until.saturating_duration_since(now)).unwrap_or_default();
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let said = fds.first().is_some_and(|f| !f.revents().is_empty());
        drop(fds);
        if said { self.listen() } else { Ok(()) }
    }

    fn listen(&mut self) -> io::Result<()> {
        if !self.link.fill()? {
            self.node_gone = true;
            self.phase = Phase::Killing;
            return Ok(());
        }
        while let Some(frame) = self.link.frames.next::<ToSpawner>()? {
            match frame {
                ToSpawner::Stop { serial, grace_ms } if serial == self.run.serial => self.stop(grace_ms),
                ToSpawner::Stop { .. } => {}
                ToSpawner::Run(_) => return Err(io::Error::other("a second task while one runs")),
            }
        }
        Ok(())
    }

    fn done(self) -> io::Result<FromSpawner> {
        let (out, err) = (self.logs.out.size()?, self.logs.err.size()?);
        let end = self.end.unwrap_or(End { status: Status::Signalled(libc::SIGKILL), cpu_us: 0, max_rss_kib: 0 });
        Ok(FromSpawner::Done(Done {
            serial: self.run.serial,
            status: end.status,
            ended: self.ended,
            wall_us: u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            cpu_us: end.cpu_us,
            max_rss_kib: end.max_rss_kib,
            killed: self.killed,
            stdout: out.written,
            stderr: err.written,
            intact: out.intact && err.intact,
        }))
    }
}

fn children() -> Vec<Proc> {
    let me = std::process::id();
    procs::all().into_iter().filter(|p| u32::try_from(p.parent).is_ok_and(|parent| parent == me)).collect()
}

/// Whether the signal could be sent. Children keep their ids until they are reaped.
fn signal_to(pid: i32, signal: Signal) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

enum Reaped {
    Child(i32, End),
    NoneYet,
    NoChildren,
}

fn wait4(block: bool) -> io::Result<Reaped> {
    let mut status = 0;
    // SAFETY: all zero is a valid value of this plain C struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let flags = if block { 0 } else { libc::WNOHANG };
    // SAFETY: both pointers are to live locals of the right types.
    let pid = unsafe { libc::wait4(-1, &mut status, flags, &mut usage) };
    if pid > 0 {
        let status = if libc::WIFSIGNALED(status) {
            Status::Signalled(libc::WTERMSIG(status))
        } else {
            Status::Exited(libc::WEXITSTATUS(status))
        };
        let micros = |t: libc::timeval| u64::try_from(t.tv_sec * 1_000_000 + t.tv_usec).unwrap_or(0);
        let cpu_us = micros(usage.ru_utime) + micros(usage.ru_stime);
        return Ok(Reaped::Child(
            pid,
            End { status, cpu_us, max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0) },
        ));
    }
    if pid == 0 {
        return Ok(Reaped::NoneYet);
    }
    let e = io::Error::last_os_error();
    match e.raw_os_error() {
        Some(libc::ECHILD) => Ok(Reaped::NoChildren),
        Some(libc::EINTR) => Ok(Reaped::NoneYet),
        _ => Err(e),
    }
}
