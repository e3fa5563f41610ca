//! Node processes under test, on loopback, in a directory that goes away.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use filch_client::{Client, JobHandle};
use filch_types::JobId;

use crate::{Plan, cpus};

const START: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(1);

/// Some nodes of one cluster. Dropping it kills them.
pub(crate) struct Rig {
    dir: tempfile::TempDir,
    filch: PathBuf,
    pub nodes: Vec<Node>,
}

/// One node process.
pub(crate) struct Node {
    pub client: Client,
    pub name: String,
    addresses: Vec<String>,
    child: Child,
}

impl Node {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    /// `kill -SIGNAL`.
    pub fn signal(&self, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).context("kill")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A stopped process dies of KILL, too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Rig {
    /// Nodes with so many slots each, met.
    pub async fn start(plan: &Plan, slots: &[u16]) -> anyhow::Result<Self> {
        let mut rig = Self::empty(plan)?;
        for s in slots {
            rig.add(*s).await?;
        }
        rig.meet().await?;
        Ok(rig)
    }

    /// No node yet.
    pub fn empty(plan: &Plan) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("filch-bench-").tempdir()?;
        let key = File::options().write(true).create_new(true).mode(0o600).open(dir.path().join("key"))?;
        std::io::Write::write_all(&mut { key }, "5a".repeat(32).as_bytes())?;
        Ok(Self { dir, filch: plan.filch.clone(), nodes: Vec::new() })
    }

    /// A directory below the rig's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the process of one more node; does not wait.
    pub fn spawn(&self, name: &str, slots: u16, bootstrap: &[String]) -> anyhow::Result<(Child, PathBuf)> {
        let home = self.path(name);
        let socket = home.join("s");
        let config = self.path(&format!("{name}.toml"));
        let text = |p: &Path| serde_json::Value::from(p.to_string_lossy()).to_string();
        let settings = format!(
            "name = \"{name}\"\nmachine = \"{name}\"\nslots = {slots}\ndata_dir = {}\nsocket = {}\ncluster_key = {}\n\
             listen = [\"/ip4/127.0.0.1/tcp/0\"]\nbootstrap = {}\nmdns = false\n",
            text(&home),
            text(&socket),
            text(&self.path("key")),
            serde_json::to_string(bootstrap)?
        );
        std::fs::write(&config, settings)?;
        let log = File::create(self.path(&format!("{name}.log")))?;
        let mut command = Command::new(&self.filch);
        command.arg("up").arg("--config").arg(&config).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok((command.spawn()?, socket))
    }

    /// Starts one more node and waits until it answers.
    pub async fn add(&mut self, slots: u16) -> anyhow::Result<()> {
        self.add_on(slots, None).await
    }

    /// The same, on one CPU only.
    pub async fn add_on(&mut self, slots: u16, cpu: Option<usize>) -> anyhow::Result<()> {
        let name = format!("n{}", self.nodes.len() + 1);
        let bootstrap: Vec<String> = self.nodes.iter().take(3).flat_map(|n| n.addresses.clone()).collect();
        let (child, socket) = cpus::on(cpu, || self.spawn(&name, slots, &bootstrap))??;
        let mut node = Node { client: Client::new(socket), name, addresses: Vec::new(), child };
        let started = Instant::now();
        loop {
            match node.client.node().await {
                Ok(info) if !info.addresses.is_empty() => {
                    node.addresses = info.addresses;
                    break;
                }
                _ if started.elapsed() > START => bail!("node {} does not start: {}", node.name, self.log(&node.name)),
                _ => tokio::time::sleep(LOOK).await,
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Waits until everybody sees everybody.
    pub async fn meet(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        for node in &self.nodes {
            while node.client.nodes().await?.nodes.iter().filter(|m| m.alive || m.this).count() < self.nodes.len() {
                if started.elapsed() > START {
                    bail!("the nodes do not find each other");
                }
                tokio::time::sleep(10 * LOOK).await;
            }
        }
        Ok(())
    }

    /// The first node's client.
    pub fn client(&self) -> anyhow::Result<&Client> {
        self.nodes.first().map(|n| &n.client).context("no node")
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }
}

/// Waits for a job's end, every result read; fails if a task failed. Then forgets it.
pub(crate) async fn finish(job: &JobHandle, tasks: u64) -> anyhow::Result<()> {
    let (state, counts) = job.wait().await?;
    if counts.succeeded != tasks {
        bail!("job {} ended {} with {} of {tasks} tasks", short(job.id()), state.word(), counts.succeeded);
    }
    Ok(())
}

fn short(id: JobId) -> String {
    id.short()
}
