//! What the network costs: round trips, messages, bulk over loopback, and an idle mesh.
//! `cargo bench -p filch-net -- [requests|messages|bulk|idle]`. Loopback bulk is bound by encryption on both ends.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use filch_core::io::ReqId;
use filch_net::{Command, Net, NetConfig, NetEvent, start};
use filch_types::wire::{Message, Request, Response};
use filch_types::{JobId, NodeId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::Receiver;

type Node = (Net, Receiver<NetEvent>);

async fn node(n: u8, bootstrap: Vec<String>) -> Node {
    start(NetConfig { bootstrap, ..NetConfig::new([n + 1; 32], [9; 32]) }).await.unwrap()
}

async fn up(node: &mut Node, count: usize) {
    let mut left = count;
    while left > 0 {
        if let Some(NetEvent::Up(_)) = node.1.recv().await {
            left -= 1;
        }
    }
}

async fn pair() -> (Node, Node) {
    let mut a = node(0, vec![]).await;
    let mut b = node(1, a.0.addresses()).await;
    up(&mut a, 1).await;
    up(&mut b, 1).await;
    (a, b)
}

/// Answers every request.
fn answer(mut node: Node) {
    tokio::spawn(async move {
        while let Some(event) = node.1.recv().await {
            if let NetEvent::Request(_, token, _) = event {
                node.0.command(Command::Respond(token, Response::Done)).unwrap();
            }
        }
    });
}

fn ask(net: &Net, to: NodeId, id: u64) {
    net.command(Command::Request(to, ReqId(id), Request::Manifest(JobId([1; 32])))).unwrap();
}

async fn requests() {
    let (mut a, b) = pair().await;
    let to = b.0.id();
    answer(b);
    let mut times = Vec::new();
    for id in 0..2000 {
        let start = Instant::now();
        ask(&a.0, to, id);
        while !matches!(a.1.recv().await.unwrap(), NetEvent::Response(..)) {}
        times.push(start.elapsed());
    }
    times.sort();
    println!("request: p50 {:?}, p99 {:?} a round trip", times[1000], times[1980]);
    let (start, total) = (Instant::now(), 20_000);
    (0..64).for_each(|id| ask(&a.0, to, id));
    let (mut asked, mut answered) = (64, 0);
    while answered < total {
        if let NetEvent::Response(..) = a.1.recv().await.unwrap() {
            answered += 1;
            if asked < total {
                ask(&a.0, to, asked);
                asked += 1;
            }
        }
    }
    println!("requests, 64 in flight: {:.0}/s", total as f64 / start.elapsed().as_secs_f64());
}

async fn messages() {
    let (mut a, b) = pair().await;
    let (total, to) = (200_000u64, b.0.id());
    let start = Instant::now();
    tokio::spawn(async move {
        let mut b = b;
        let mut got = 0;
        while let Some(event) = b.1.recv().await {
            if let NetEvent::Message(from, Message::Fetching { .. }) = event {
                got += 1;
                if got % 200 == 0 {
                    b.0.command(Command::Send(from, Message::Fetching { job: JobId([0; 32]), bytes: got })).unwrap();
                }
            }
        }
    });
    let mut sent = 0;
    let mut seen = 0;
    while seen < total {
        while sent < total && sent < seen + 400 {
            a.0.command(Command::Send(to, Message::Fetching { job: JobId([0; 32]), bytes: sent })).unwrap();
            sent += 1;
        }
        if let NetEvent::Message(_, Message::Fetching { bytes, .. }) = a.1.recv().await.unwrap() {
            seen = bytes;
        }
    }
    println!("one-way messages, at most 400 ahead: {:.0}/s", total as f64 / start.elapsed().as_secs_f64());
}

async fn bulk() {
    let (a, mut b) = pair().await;
    let (to, total) = (b.0.id(), 1u64 << 30);
    let start = Instant::now();
    tokio::spawn(async move {
        let mut stream = a.0.open_stream(to).await.unwrap();
        let piece = vec![7u8; 256 * 1024];
        for _ in 0..total / piece.len() as u64 {
            stream.write_all(&piece).await.unwrap();
        }
        stream.shutdown().await.unwrap();
        std::future::pending::<()>().await;
        drop(a);
    });
    let mut stream = loop {
        if let NetEvent::Stream(_, stream) = b.1.recv().await.unwrap() {
            break stream;
        }
    };
    let mut buffer = vec![0; 256 * 1024];
    let mut got = 0;
    while got < total {
        got += stream.read(&mut buffer).await.unwrap() as u64;
    }
    println!("1 GiB over a stream: {:.2} Gbit/s", got as f64 * 8e-9 / start.elapsed().as_secs_f64());
}

/// CPU time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Bytes that went over the loopback device; of this benchmark only, if it has a network namespace to itself.
fn wire() -> u64 {
    let table = std::fs::read_to_string("/proc/net/dev").unwrap();
    let lo = table.lines().find(|l| l.trim_start().starts_with("lo:")).unwrap();
    lo.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn idle() {
    const NODES: u8 = 32;
    let first = node(0, vec![]).await;
    let addresses = first.0.addresses();
    let mut nodes = vec![first];
    for n in 1..NODES {
        nodes.push(node(n, addresses.clone()).await);
    }
    let start = Instant::now();
    for node in &mut nodes {
        up(node, usize::from(NODES) - 1).await;
    }
    println!("full mesh of {NODES}: {:?}", start.elapsed());
    tokio::time::sleep(Duration::from_secs(30)).await;
    let (cpu_before, wire_before, window) = (cpu(), wire(), Duration::from_secs(90));
    tokio::time::sleep(window).await;
    let share = (cpu() - cpu_before).as_secs_f64() / window.as_secs_f64() / f64::from(NODES);
    // Every byte over loopback is sent by one node and received by another: so many in each direction.
    let bytes = (wire() - wire_before) as f64 / window.as_secs_f64() / f64::from(NODES);
    let memory = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!(
        "idle in a mesh of {NODES}: {:.3} % CPU, {bytes:.0} B/s each way with TCP's own, {} KiB resident (a share of one process)",
        share * 100.0,
        pages * 4 / u64::from(NODES)
    );
}

#[tokio::main]
async fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    if wants("requests") {
        requests().await;
    }
    if wants("messages") {
        messages().await;
    }
    if wants("bulk") {
        bulk().await;
    }
    if wants("idle") {
        idle().await;
    }
}
