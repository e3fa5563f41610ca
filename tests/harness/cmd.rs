//! Runs of a command: bounded in time, with everything that it wrote.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::LONG;

/// A command to be run.
pub struct Cmd {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    input: Vec<u8>,
    limit: Duration,
}

/// A command that has ended.
#[derive(Clone)]
pub struct Done {
    pub argv: String,
    pub status: ExitStatus,
    pub out: Vec<u8>,
    pub err: String,
}

/// A command that runs. Killed, with its process group, when dropped.
pub struct Running {
    argv: String,
    child: Child,
    out: Arc<Mutex<Vec<u8>>>,
    err: Arc<Mutex<Vec<u8>>>,
    readers: Vec<std::thread::JoinHandle<()>>,
    limit: Duration,
    reaped: bool,
}

impl Cmd {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self { argv: vec![program.as_ref().to_owned()], env: vec![], dir: None, input: vec![], limit: LONG }
    }
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.argv.push(arg.as_ref().to_owned());
        self
    }
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.argv.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it in a process group of its own, with nothing of the surroundings that could lead it to another node.
    #[track_caller]
    pub fn start(self) -> Running {
        let mut cmd = Command::new(&self.argv[0]);
        cmd.args(&self.argv[1..]).process_group(0);
        for var in
            ["FILCH_SOCKET", "FILCH_DATA_DIR", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"]
        {
            cmd.env_remove(var);
        }
        cmd.envs(self.env);
        if let Some(dir) = &self.dir {
            cmd.current_dir(dir);
        }
        cmd.stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() });
        cmd.stdout(Stdio::piped()).stderr(Stdio::piped());
        let argv = self.argv.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let mut child = cmd.spawn().unwrap_or_else(|e| panic!("{argv}: {e}"));
        let mut readers = Vec::new();
        if let Some(mut stdin) = child.stdin.take() {
            // A command that ends early closes its end; that is its business.
            readers.push(std::thread::spawn(move || drop(stdin.write_all(&self.input))));
        }
        let (out, read_out) = collect(child.stdout.take().expect("piped"));
        let (err, read_err) = collect(child.stderr.take().expect("piped"));
        readers.extend([read_out, read_err]);
        Running { argv, child, out, err, readers, limit: self.limit, reaped: false }
    }

    /// Runs it to its end; a run that takes too long is killed and fails the test.
    #[track_caller]
    pub fn run(self) -> Done {
        self.start().wait()
    }
}

fn collect(mut from: impl Read + Send + 'static) -> (Arc<Mutex<Vec<u8>>>, std::thread::JoinHandle<()>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let into = kept.clone();
    let reader = std::thread::spawn(move || {
        let mut buf = [0; 16 * 1024];
        while let Ok(n @ 1..) = from.read(&mut buf) {
            into.lock().unwrap().extend_from_slice(&buf[..n]);
        }
    });
    (kept, reader)
}

impl Running {
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid(), signal);
    }
    /// What it has written to stdout so far.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.out.lock().unwrap()).into_owned()
    }
    /// What it has written to stderr so far.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.err.lock().unwrap()).into_owned()
    }
    /// Waits until `probe` finds what it looks for in (stdout, stderr).
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, probe: impl Fn(&str, &str) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            let ended = self.child.try_wait().expect("a child can be waited for");
            let (out, err) = (self.out(), self.err());
            if let Some(found) = probe(&out, &err) {
                return found;
            }
            let told = format!("`{}`: {what}\nstdout: {out}\nstderr: {err}", self.argv);
            if let Some(status) = ended {
                // Its last words may still be in the pipe.
                while let Some(r) = self.readers.pop() {
                    let _ = r.join();
                }
                return probe(&self.out(), &self.err()).unwrap_or_else(|| panic!("ended with {status} before: {told}"));
            }
            assert!(start.elapsed() < self.limit, "not within {} s: {told}", self.limit.as_secs());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    #[track_caller]
    pub fn wait(mut self) -> Done {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if start.elapsed() > self.limit {
                panic!(
                    "`{}` still runs after {} s\nstdout: {}\nstderr: {}",
                    self.argv,
                    self.limit.as_secs(),
                    self.out(),
                    self.err()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        self.reaped = true;
        for r in self.readers.drain(..) {
            let _ = r.join();
        }
        let out = std::mem::take(&mut *self.out.lock().unwrap());
        Done { argv: self.argv.clone(), status, out, err: self.err() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let out = String::from_utf8_lossy(&self.out);
        let head: String = out.chars().take(4000).collect();
        write!(f, "`{}` ended with {}\n--- stdout\n{head}\n--- stderr\n{}", self.argv, self.status, self.err)
    }
}

impl Done {
    /// The exit code; 128+n for a signal, as a shell says it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self:?}");
        self
    }
    #[track_caller]
    pub fn ok(self) -> Self {
        self.expect(0)
    }
    /// stdout as one JSON value.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.out).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }
}
