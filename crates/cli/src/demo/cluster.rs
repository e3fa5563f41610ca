//! The demo's nodes: processes of this very binary, each with a data directory of its own, all in one place that goes away.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use filch_api::NodeInfo;
use filch_client::Client;
use filch_types::NodeId;

use super::DemoError;

/// A node that has not opened its socket after so long will not.
const START: Duration = Duration::from_secs(10);
/// Members that have not met after so long will not.
const MEET: Duration = Duration::from_secs(10);
/// What an orderly end may take before a node is killed.
const STOP: Duration = Duration::from_secs(4);
/// What processes of a dead node may take to go away by themselves.
const LINGER: Duration = Duration::from_secs(5);
/// Between two looks at something that has no event.
const LOOK: Duration = Duration::from_millis(15);
/// In the environment of every process of the demo: names its directory, to find what was left running.
const MARK: &str = "FILCH_DEMO";

/// How the nodes of a demo get to know each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// All interfaces are listened on, which is for a network of the demo's own only.
    Mdns,
    /// Loopback only; each node is told of those before it.
    Addresses,
}

/// A node process.
pub(super) struct DemoNode {
    pub name: &'static str,
    pub id: NodeId,
    pub client: Client,
    pub slots: u16,
    pub addresses: Vec<String>,
    /// The last counters seen: a dead node cannot be asked.
    pub last: NodeInfo,
    child: Child,
    pub alive: bool,
}

/// All of them. Dropping it kills what still runs.
pub(super) struct Cluster {
    dir: PathBuf,
    key: PathBuf,
    pub nodes: Vec<DemoNode>,
}

impl Cluster {
    /// No node yet; `dir` is made and holds everything.
    pub fn new(dir: &Path) -> Result<Self, DemoError> {
        std::fs::create_dir_all(dir).map_err(|e| DemoError::io(dir, e))?;
        let key = dir.join("cluster.key");
        let text = filch_node::ClusterKey::generate().map_err(|e| DemoError::io(&key, e))?.to_text();
        let mut options = File::options();
        let made = options.write(true).create_new(true).mode(0o600).open(&key);
        made.and_then(|mut f| std::io::Write::write_all(&mut f, text.as_bytes()))
            .map_err(|e| DemoError::io(&key, e))?;
        Ok(Self { dir: dir.to_owned(), key, nodes: Vec::new() })
    }

    /// Starts one more node and waits until it answers.
    pub async fn start(&mut self, name: &'static str, slots: u16, way: Way) -> Result<&DemoNode, DemoError> {
        let failed = |why: String| DemoError::Start { name, why };
        let home = self.dir.join(name);
        let socket = home.join("filch.sock");
        let config = self.dir.join(format!("{name}.toml"));
        let bootstrap: Vec<&String> = self.nodes.iter().flat_map(|n| &n.addresses).collect();
        std::fs::write(&config, settings(name, slots, &home, &socket, &self.key, way, &bootstrap))
            .map_err(|e| DemoError::io(&config, e))?;
        let log = self.dir.join(format!("{name}.log"));
        let out = File::create(&log).map_err(|e| DemoError::io(&log, e))?;
        let err = out.try_clone().map_err(|e| DemoError::io(&log, e))?;
        let program = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
        let mut command = Command::new(program);
        command.arg("up").arg("--config").arg(&config);
        for (var, _) in std::env::vars_os().filter(|(k, _)| k.to_string_lossy().starts_with("FILCH_")) {
            command.env_remove(var);
        }
        // A process group of its own: Ctrl-C is for the demo, which then ends its nodes.
        command.env(MARK, &self.dir).process_group(0).stdin(Stdio::null()).stdout(out).stderr(err);
        let mut child = Kill(Some(command.spawn().map_err(|e| failed(e.to_string()))?));
        let client = Client::new(&socket);
        let started = Instant::now();
        let info = loop {
            if let Ok(info) = client.node().await
                && !info.addresses.is_empty()
            {
                break info;
            }
            if let Some(Ok(Some(status))) = child.0.as_mut().map(Child::try_wait) {
                return Err(failed(format!("it ended with {status}; it wrote: {}", tail(&log))));
            }
            if started.elapsed() > START {
                return Err(failed(format!("it does not answer; it wrote: {}", tail(&log))));
            }
            tokio::time::sleep(LOOK).await;
        };
        let node = DemoNode {
            name,
            id: info.id,
            client,
            slots,
            addresses: info.addresses.clone(),
            last: info,
            child: child.keep().ok_or_else(|| failed("it is gone".into()))?,
            alive: true,
        };
        self.nodes.push(node);
        self.nodes.last().ok_or_else(|| failed("it is gone".into()))
    }

    /// Waits until every node sees all others; says how long that took.
    pub async fn meet(&self) -> Result<Duration, DemoError> {
        let started = Instant::now();
        loop {
            let mut met = 0;
            for node in &self.nodes {
                let seen = node.client.nodes().await?.nodes;
                let others = seen.iter().filter(|m| !m.this && m.alive);
                met += usize::from(others.count() + 1 >= self.nodes.len());
            }
            if met == self.nodes.len() {
                return Ok(started.elapsed());
            }
            if started.elapsed() > MEET {
                return Err(DemoError::Meet { met, of: self.nodes.len() });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Which node has this id.
    pub fn find(&self, id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|n| n.id == id)
    }

    /// Asks every living node for its counters; those of a busy one stay as they were.
    pub async fn refresh(&mut self) {
        for node in self.nodes.iter_mut().filter(|n| n.alive) {
            if let Ok(Ok(info)) = tokio::time::timeout(Duration::from_millis(500), node.client.node()).await {
                node.last = info;
            }
        }
    }

    /// SIGKILL, as if the machine had lost its power. Its process id.
    pub fn kill(&mut self, which: usize) -> u32 {
        let Some(node) = self.nodes.get_mut(which) else { return 0 };
        node.alive = false;
        end(&mut node.child);
        node.child.id()
    }

    /// Ends all nodes in an orderly way; kills those that take too long. Says which did.
    pub async fn stop(&mut self) -> Vec<&'static str> {
        for node in self.nodes.iter().filter(|n| n.alive) {
            let _ = tokio::time::timeout(Duration::from_secs(1), node.client.down(Some(500))).await;
        }
        let started = Instant::now();
        let mut killed = Vec::new();
        for node in self.nodes.iter_mut().filter(|n| n.alive) {
            while !matches!(node.child.try_wait(), Ok(Some(_))) {
                if started.elapsed() > STOP {
                    end(&mut node.child);
                    killed.push(node.name);
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
            node.alive = false;
        }
        killed
    }

    /// Ends all nodes and forgets them; their directories stay, for the next start.
    pub async fn clear(&mut self) {
        self.stop().await;
        self.nodes.clear();
    }

    /// Processes of the demo that are still there after all nodes have ended. They are killed.
    pub async fn leftovers(&self) -> Vec<String> {
        let started = Instant::now();
        loop {
            let left = marked(&self.dir);
            if left.is_empty() || started.elapsed() > LINGER {
                for (pid, _) in &left {
                    kill_pid(*pid);
                }
                return left.into_iter().map(|(pid, what)| format!("{pid} ({what})")).collect();
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What a node has logged, for a person who has to find out why.
    pub fn log(&self, which: usize) -> String {
        self.nodes.get(which).map(|n| tail(&self.dir.join(format!("{}.log", n.name)))).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().filter(|n| n.alive) {
            end(&mut node.child);
        }
        // What outlives its node by a moment must not outlive the demo.
        for (pid, _) in marked(&self.dir) {
            kill_pid(pid);
        }
    }
}

/// A child that dies with this value unless it is kept.
struct Kill(Option<Child>);

impl Kill {
    fn keep(mut self) -> Option<Child> {
        self.0.take()
    }
}

impl Drop for Kill {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(end);
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn kill_pid(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Processes other than this one that carry the mark of this directory or work in it: (pid, command).
fn marked(dir: &Path) -> Vec<(i32, String)> {
    let mark = format!("{MARK}={}", dir.display()).into_bytes();
    let me = i32::try_from(std::process::id()).unwrap_or(0);
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let at = entry.path();
        let env = std::fs::read(at.join("environ")).unwrap_or_default();
        let inside = std::fs::read_link(at.join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        if pid != me && (inside || env.split(|b| *b == 0).any(|var| var == mark)) {
            let words = std::fs::read(at.join("cmdline")).unwrap_or_default();
            let words: Vec<_> = words.split(|b| *b == 0).take(3).map(String::from_utf8_lossy).collect();
            // A zombie has no command line and runs nothing.
            if words.iter().any(|w| !w.is_empty()) {
                found.push((pid, words.join(" ").trim().to_owned()));
            }
        }
    }
    found
}

/// A configuration as anybody would write it.
fn settings(name: &str, slots: u16, home: &Path, socket: &Path, key: &Path, way: Way, bootstrap: &[&String]) -> String {
    let text = |s: &str| serde_json::Value::from(s).to_string();
    let path = |p: &Path| text(&p.to_string_lossy());
    let net = match way {
        Way::Mdns => "lan = true\nmdns = true".to_owned(),
        Way::Addresses => {
            let known: Vec<String> = bootstrap.iter().map(|b| text(b)).collect();
            format!("listen = [\"/ip4/127.0.0.1/tcp/0\"]\nbootstrap = [{}]\nmdns = false", known.join(", "))
        }
    };
    format!(
        "name = {}\nmachine = {}\nslots = {slots}\ndata_dir = {}\nsocket = {}\ncluster_key = {}\n\
         {net}\nscrub = \"off\"\n",
        text(name),
        text(&format!("demo-{name}")),
        path(home),
        path(socket),
        path(key)
    )
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(8);
    if lines.is_empty() { "nothing".into() } else { lines.get(from..).unwrap_or_default().join(" | ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn settings_are_what_a_node_reads() {
        let addr = "/ip4/127.0.0.1/tcp/1/p2p/x".to_owned();
        let text =
            settings("a", 2, Path::new("/d/a"), Path::new("/d/a/s"), Path::new("/d/k"), Way::Addresses, &[&addr]);
        let s = filch_node::Settings::parse(Path::new("a.toml"), &text).unwrap();
        assert_eq!((s.name.as_deref(), s.slots, s.mdns), (Some("a"), Some(2), Some(false)));
        let lan = settings("a", 2, Path::new("/d/a"), Path::new("/d/a/s"), Path::new("/d/k"), Way::Mdns, &[&addr]);
        let lan = filch_node::Settings::parse(Path::new("a.toml"), &lan).unwrap();
        assert_eq!((lan.lan, lan.mdns, lan.bootstrap), (Some(true), Some(true), None), "told no addresses");
        assert_eq!(s.bootstrap, Some(vec![addr]));
        assert_eq!(s.scrub.as_deref(), Some("off"));
    }

    /// A process that has said something: before that, `/proc` may not show its words and environment yet, since `spawn`
    /// returns in the middle of `execve`.
    fn started(command: &mut Command) -> Child {
        let command = command.args(["-c", "echo ready; read -r end"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut word = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        child
    }

    #[test]
    fn processes_are_found_by_their_mark_or_place_and_end() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = std::fs::canonicalize(tmp.path()).unwrap();
        let mut by_mark = started(Command::new("sh").env(MARK, &dir));
        let mut by_place = started(Command::new("sh").current_dir(&dir));
        let mut ids: Vec<i32> = marked(&dir).into_iter().map(|(pid, _)| pid).collect();
        ids.sort_unstable();
        let mut want = [by_mark.id() as i32, by_place.id() as i32];
        want.sort_unstable();
        assert_eq!(ids, want);
        ids.into_iter().for_each(kill_pid);
        assert!(!by_mark.wait().unwrap().success() && !by_place.wait().unwrap().success());
        assert!(marked(&dir).is_empty());
    }
}
