//! Eight hosts on one LAN, each a network namespace on a bridge, where mDNS is the only way to meet. Needs root.
#![allow(missing_docs)]

mod common;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use common::{Node, config};
use filch_net::{NetConfig, NetEvent};

const HOSTS: u16 = 8;
/// Makes this test binary a node in a namespace instead of a test.
const ROLE: &str = "FILCH_NET_TEST_HOST";

fn ip(args: &str) -> bool {
    let output = Command::new("ip").args(args.split_whitespace()).output();
    output.is_ok_and(|o| o.status.success())
}

/// Namespaces that go away with it.
struct Lan(String);

impl Lan {
    /// None if this machine or user cannot make namespaces.
    fn new() -> Option<Self> {
        let lan = Self(format!("filch{}", std::process::id()));
        let switch = lan.switch();
        if !ip(&format!("netns add {switch}")) {
            return None;
        }
        let mut fine =
            ip(&format!("-n {switch} link add br0 type bridge")) && ip(&format!("-n {switch} link set br0 up"));
        for n in 0..HOSTS {
            let host = lan.host(n);
            for command in [
                format!("netns add {host}"),
                format!("-n {switch} link add v{n} type veth peer name eth0 netns {host}"),
                format!("-n {switch} link set v{n} master br0 up"),
                format!("-n {host} addr add 10.77.0.{}/24 dev eth0", n + 1),
                format!("-n {host} link set lo up"),
                format!("-n {host} link set eth0 up"),
                format!("-n {host} route add default dev eth0"),
            ] {
                fine &= ip(&command);
            }
        }
        fine.then_some(lan)
    }

    fn switch(&self) -> String {
        format!("{}s", self.0)
    }

    fn host(&self, n: u16) -> String {
        format!("{}h{n}", self.0)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for n in 0..HOSTS {
            ip(&format!("netns del {}", self.host(n)));
        }
        ip(&format!("netns del {}", self.switch()));
    }
}

/// Ends its process with it.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn eight_hosts_find_each_other_by_mdns_alone() {
    let Some(lan) = Lan::new() else {
        // There is no other way to tell that a test did not run.
        let _ = writeln!(std::io::stderr(), "SKIP: network namespaces need root and the ip program");
        return;
    };
    let exe = std::env::current_exe().unwrap();
    let start = Instant::now();
    let spawn = |n: u16| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &lan.host(n)]).arg(&exe).args([
            "--exact",
            "host",
            "--nocapture",
            "--test-threads=1",
        ]);
        Host(command.env(ROLE, n.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    };
    let mut hosts: Vec<Host> = (0..HOSTS).map(spawn).collect();
    // Each says so once it is connected to all others; until then all stay.
    let mut last = start.elapsed();
    for host in &mut hosts {
        let lines = BufReader::new(host.0.stdout.take().unwrap()).lines();
        let met = lines.map_while(Result::ok).any(|line| line.contains("met everybody"));
        assert!(met, "a host did not meet all others");
        last = start.elapsed();
    }
    let _ = writeln!(std::io::stderr(), "full mesh of {HOSTS} after {last:?}");
}

/// One of the hosts, when the test above starts it; nothing otherwise.
#[tokio::test]
async fn host() {
    let Ok(n) = std::env::var(ROLE) else { return };
    let listen = vec!["/ip4/0.0.0.0/tcp/4600".to_string()];
    let exchange = std::env::var("FILCH_NET_TEST_NO_EXCHANGE").is_err();
    let config = NetConfig { mdns: true, kademlia: false, exchange, listen, ..config(n.parse().unwrap()) };
    let mut node = Node::start(config).await;
    let mut up = HashSet::new();
    while up.len() + 1 < usize::from(HOSTS) {
        up.insert(node.wait("Up", |e| if let NetEvent::Up(id) = e { Some(*id) } else { None }).await);
    }
    let mut out = std::io::stdout();
    writeln!(out, "met everybody").unwrap();
    out.flush().unwrap();
    // Stays until the parent goes: the others may still need it.
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
}
