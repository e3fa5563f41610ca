//! Nodes: real `filch up` processes with a directory each.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use filch_api::{JobDetail, JobList, JobState, JobSummary, MemberList, NodeInfo, routes};
use rustix::process::{Pid, Signal, kill_process};

use super::{Cmd, Done, FILCH, LONG, check, each, host, http, procs, until};

/// How a node is started.
#[derive(Clone, Default)]
pub struct NodeOptions {
    pub slots: Option<u16>,
    /// Further arguments of `filch up`.
    pub args: Vec<OsString>,
    /// Text of its configuration file.
    pub config: String,
    /// Put in front of the command, e.g. `ip netns exec NAME`.
    pub wrap: Vec<OsString>,
    /// Instead of a loopback address and `--bootstrap`.
    pub lan: bool,
}

/// A node's directory and, while it runs, its process.
pub struct Node {
    pub name: String,
    pub dir: PathBuf,
    pub socket: PathBuf,
    pub log: PathBuf,
    pub address: String,
    pub options: NodeOptions,
    key: PathBuf,
    bootstrap: Vec<String>,
    child: Option<Child>,
}

impl Node {
    /// `--data-dir`.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
    /// A directory for the commands of its user.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    fn command(&self) -> Command {
        let mut argv = self.options.wrap.clone();
        argv.push(FILCH.into());
        let mut cmd = Command::new(&argv[0]);
        cmd.args(&argv[1..]);
        cmd.arg("up").arg("--data-dir").arg(self.data()).arg("--socket").arg(&self.socket);
        cmd.arg("--name").arg(&self.name).arg("--cluster-key").arg(&self.key);
        cmd.arg("--config").arg(self.dir.join("config.toml"));
        if self.options.lan {
            cmd.arg("--lan");
        } else {
            cmd.arg("--listen").arg(&self.address);
            for b in &self.bootstrap {
                cmd.arg("--bootstrap").arg(b);
            }
        }
        if let Some(n) = self.options.slots {
            cmd.arg("--slots").arg(n.to_string());
        }
        cmd.args(&self.options.args);
        cmd
    }

    /// Another cluster key from the next start on.
    pub fn use_key(&mut self, key: &Path) {
        self.key = key.to_owned();
    }

    /// Starts the process; `ready` waits for it.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut cmd = self.command();
        for var in ["FILCH_SOCKET", "FILCH_DATA_DIR", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
            cmd.env_remove(var);
        }
        cmd.env("FILCH_TEST_DATA", self.data()); // For what stands in front of the command.
        cmd.env("HOME", &self.dir).env("NO_COLOR", "1").current_dir(self.work()).process_group(0);
        cmd.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(cmd.spawn().unwrap_or_else(|e| panic!("{FILCH} up: {e}")));
    }

    /// Waits until its API answers.
    pub fn ready(&mut self) -> NodeInfo {
        let (name, log) = (self.name.clone(), self.log.clone());
        until(&format!("{name} answers"), LONG, || {
            let child = self.child.as_mut().expect("started");
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                panic!("{name} ended with {status}:\n{}", tail(&log, 40));
            }
            self.info()
        })
    }
    pub fn restart(&mut self) -> NodeInfo {
        self.start();
        self.ready()
    }
    pub fn is_up(&self) -> bool {
        self.child.is_some()
    }
    pub fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().unwrap_or_else(|| panic!("{} is not running", self.name)))
    }
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap_or_else(|e| panic!("signal to {}: {e}", self.name));
    }
    /// `kill -9` of the node's process, and of nothing else.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.take().expect("running").wait();
    }
    /// Waits for the process to end by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("running");
        until(&format!("{} ends", self.name), LONG, || {
            child.try_wait().expect("a child can be waited for").ok_or_else(|| "it still runs".to_owned())
        })
    }
    /// `filch down`, and the end of the process.
    #[track_caller]
    pub fn down(&mut self) {
        self.filch(["down"]).run().ok();
        let status = self.ended();
        assert!(status.success(), "{} ended with {status}:\n{}", self.name, tail(&self.log, 40));
    }

    /// A line of shell, as the user of this node.
    pub fn shell(&self, line: &str) -> Cmd {
        Cmd::new("sh").args(["-c", line]).env("FILCH_SOCKET", &self.socket).env("HOME", &self.dir).dir(self.work())
    }
    /// The command line, as the user of this node.
    pub fn filch<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        Cmd::new(FILCH).args(args).env("FILCH_SOCKET", &self.socket).env("HOME", &self.dir).dir(self.work())
    }
    pub fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        http::get(&self.socket, path)
    }
    pub fn info(&self) -> Result<NodeInfo, String> {
        self.get(routes::NODE)
    }
    /// Other members believed alive, by name.
    pub fn sees(&self) -> Result<Vec<String>, String> {
        let list: MemberList = self.get(routes::NODES)?;
        Ok(list.nodes.into_iter().filter(|m| m.alive && !m.this).map(|m| m.name).collect())
    }
    pub fn jobs(&self) -> Result<Vec<JobSummary>, String> {
        Ok(self.get::<JobList>(routes::JOBS)?.jobs)
    }
    pub fn job(&self, id: &str) -> Result<JobDetail, String> {
        self.get(&routes::job_prefix(id))
    }
    /// Waits until the job is over as this node sees it.
    #[track_caller]
    pub fn over(&self, id: &str, limit: Duration) -> JobDetail {
        until(&format!("job {id} is over on {}", self.name), limit, || {
            let d = self.job(id)?;
            check(d.summary.state.is_over(), &d.summary).map(|()| d)
        })
    }
    /// Waits until the job has succeeded.
    #[track_caller]
    pub fn succeeded(&self, id: &str, limit: Duration) -> JobDetail {
        let d = self.over(id, limit);
        assert_eq!(d.summary.state, JobState::Succeeded, "{d:?}");
        d
    }
}

/// Several nodes that share a key and a directory; all of it goes with this value.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub dir: tempfile::TempDir,
    pub key: PathBuf,
}

impl Cluster {
    /// `n` nodes on loopback that all know each other, with two slots each.
    #[track_caller]
    pub fn start(n: usize) -> Self {
        let two = NodeOptions { slots: Some(2), ..NodeOptions::default() };
        let mut cluster = Self::prepare(&vec![two; n]);
        cluster.start_all();
        cluster.meshed();
        cluster
    }

    /// Directories and addresses, nothing started.
    #[track_caller]
    pub fn prepare(options: &[NodeOptions]) -> Self {
        let dir = tempfile::Builder::new().prefix("filch-t").tempdir().expect("a temporary directory");
        let key = dir.path().join("cluster.key");
        Cmd::new(FILCH).args(["keygen".as_ref(), key.as_os_str()]).env("HOME", dir.path()).run().ok();
        let mut cluster = Self { nodes: Vec::new(), dir, key };
        for o in options {
            cluster.add(o.clone());
        }
        cluster
    }

    /// One more node, not started: it will dial the first one.
    pub fn add(&mut self, options: NodeOptions) -> &mut Node {
        let n = self.nodes.len();
        let dir = self.dir.path().join(format!("n{n}"));
        std::fs::create_dir_all(dir.join("work")).unwrap();
        std::fs::write(dir.join("config.toml"), &options.config).unwrap();
        self.nodes.push(Node {
            name: format!("n{n}"),
            socket: dir.join("s"),
            log: dir.join("log"),
            address: format!("/ip4/127.0.0.1/tcp/{}", host::free_port()),
            key: self.key.clone(),
            bootstrap: self.nodes.first().map(|f| f.address.clone()).into_iter().collect(),
            child: None,
            options,
            dir,
        });
        self.nodes.last_mut().expect("just pushed")
    }

    /// Starts all that do not run and waits until they answer.
    #[track_caller]
    pub fn start_all(&mut self) {
        for node in self.nodes.iter_mut().filter(|n| !n.is_up()) {
            node.start();
        }
        each(self.nodes.iter_mut(), |n| drop(n.ready()));
    }

    /// Waits until every running node sees every other.
    #[track_caller]
    pub fn meshed(&self) {
        let up = self.nodes.iter().filter(|n| n.is_up()).count();
        for node in self.nodes.iter().filter(|n| n.is_up()) {
            until(&format!("{} sees all of {up}", node.name), LONG, || {
                let seen = node.sees()?;
                check(seen.len() == up - 1, &seen)
            });
        }
    }

    /// `filch` as the user of the first node.
    pub fn filch<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        self.nodes[0].filch(args)
    }

    /// Tasks handed to executors by all running nodes since they started, and tasks that came back.
    pub fn executions(&self) -> (u64, u64) {
        let counters = self.nodes.iter().filter(|n| n.is_up()).map(|n| n.info().expect("it answers").counters);
        counters.fold((0, 0), |(l, f), c| (l + c.launched, f + c.finished))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Ends all nodes in an orderly way and asserts that nothing is left of them.
    #[track_caller]
    pub fn down(mut self) {
        for node in self.nodes.iter_mut().filter(|n| n.is_up()) {
            node.down();
        }
        self.nothing_left();
    }

    /// Waits until no process of the cluster is left.
    #[track_caller]
    pub fn nothing_left(&self) {
        until("no process is left", Duration::from_secs(20), || {
            let left = procs::of(self.dir.path());
            check(left.is_empty(), left)
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                eprintln!("--- log of {} ({})\n{}", node.name, node.log.display(), tail(&node.log, 60));
            }
        }
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        procs::kill_all(self.dir.path());
        if std::thread::panicking() && std::env::var_os("FILCH_TEST_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            eprintln!("kept: {}", self.dir.path().display());
        }
    }
}

/// The last lines of a file.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The job's id in what `filch submit` or `--json` printed.
#[track_caller]
pub fn job_id(done: &Done) -> String {
    find_id(&done.text()).unwrap_or_else(|| panic!("no job id: {done:?}"))
}

/// The first word of 64 hex digits.
pub fn find_id(text: &str) -> Option<String> {
    let hex = |w: &&str| w.len() == 64 && w.bytes().all(|b| b.is_ascii_hexdigit());
    text.split(|c: char| !c.is_ascii_alphanumeric()).find(hex).map(str::to_owned)
}
