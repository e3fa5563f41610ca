//! Nodes in temporary directories.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use filch_api::MemberList;
use filch_node::{ClusterKey, Config, Down, RunningNode, Settings};
use serde_json::Value;

use crate::api::Api;

/// A node that runs.
pub struct Node {
    pub api: Api,
    pub addresses: Vec<String>,
    down: Down,
    task: tokio::task::JoinHandle<()>,
}

/// One key for all tests: starting it twice costs nothing.
fn key() -> &'static Path {
    static KEY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    &KEY.get_or_init(|| {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, ClusterKey::generate().unwrap().to_text()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        (dir, path)
    })
    .1
}

pub fn config(dir: &Path, name: &str, bootstrap: &[String]) -> Config {
    let settings = Settings {
        data_dir: Some(dir.join(name)),
        socket: Some(dir.join(format!("{name}.sock"))),
        name: Some(name.into()),
        slots: Some(2),
        bootstrap: Some(bootstrap.to_vec()),
        cluster_key: Some(key().into()),
        machine: Some(name.into()),
        grace: Some("5s".into()),
        ..Settings::default()
    };
    let mut config = Config::resolve(settings).unwrap();
    let me = std::env::current_exe().unwrap();
    config.spawner = Some(vec![me.into(), "__spawner".into()]);
    config
}

pub async fn start(config: Config) -> Node {
    let socket = config.socket.clone();
    let node = RunningNode::start(config).await.unwrap();
    let (addresses, down) = (node.ready.addresses.clone(), node.down());
    Node { api: Api(socket), addresses, down, task: tokio::spawn(node.run()) }
}

impl Node {
    /// Ends it in an orderly way.
    pub async fn end(self) {
        self.down.ask(None);
        self.task.await.unwrap();
    }
    /// Waits for it to end by itself.
    pub async fn ended(self) {
        self.task.await.unwrap();
    }
    /// Waits until so many other members are alive, by events.
    pub async fn meets(&self, others: usize) {
        let mut events = self.api.stream(hyper::Method::GET, "/v1/events", &Value::Null).await;
        loop {
            let list: MemberList = self.api.get("/v1/nodes").await;
            if list.nodes.iter().filter(|n| n.alive && !n.this).count() >= others {
                return;
            }
            events.next::<filch_api::Event>().await.expect("the event stream ended");
        }
    }
}

/// Two nodes that know each other.
pub async fn pair(dir: &Path) -> (Node, Node) {
    let a = start(config(dir, "a", &[])).await;
    let b = start(config(dir, "b", &a.addresses)).await;
    a.meets(1).await;
    b.meets(1).await;
    (a, b)
}
