//! What connected members do with each other.
#![allow(missing_docs)]

mod common;

use std::collections::HashSet;
use std::time::Duration;

use common::{LIMIT, Node, config, fetching, job, pair};
use filch_core::io::{ReqId, Token};
use filch_net::{Command, NetConfig, NetEvent, NetLimits, StreamError};
use filch_types::fact::SignedFact;
use filch_types::sign::Sig;
use filch_types::wire::{JobState, Message, Request, Response, Summary};
use filch_types::{Epoch, NodeId, limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn up_and_down_once_each() {
    let (mut a, b) = pair(0).await;
    let (id_a, id_b) = (a.id, b.id);
    assert_ne!(id_a, id_b);
    b.shutdown().await;
    a.down(id_b).await;
    assert!(!a.came(|e| matches!(e, NetEvent::Up(_) | NetEvent::Down(_))));
}

#[tokio::test]
async fn over_quic_as_well() {
    let listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_string()];
    let mut a = Node::start(NetConfig { listen: listen.clone(), ..config(0) }).await;
    let bootstrap = vec![a.address()];
    let mut b = Node::start(NetConfig { listen, bootstrap, ..config(1) }).await;
    b.up(a.id).await;
    a.up(b.id).await;
    b.command(Command::Request(a.id, ReqId(1), Request::Manifest(job(1))));
    let (_, token, _) = a.request().await;
    a.command(Command::Respond(token, Response::Done));
    assert_eq!(b.answer(ReqId(1)).await, Some(Response::Done));
    transfer(&mut a, &b, 5_000_000).await;
}

#[tokio::test]
async fn requests_are_answered() {
    let (mut a, mut b) = pair(0).await;
    a.command(Command::Request(b.id, ReqId(7), Request::Manifest(job(1))));
    let (from, token, request) = b.request().await;
    assert_eq!((from, request), (a.id, Request::Manifest(job(1))));
    b.command(Command::Respond(token, Response::Done));
    assert_eq!(a.answer(ReqId(7)).await, Some(Response::Done));
    // A second answer, and one to nothing: ignored.
    b.command(Command::Respond(token, Response::Done));
    b.command(Command::Respond(Token(999), Response::Done));
    // Nobody there.
    a.command(Command::Request(NodeId([9; 32]), ReqId(8), Request::Manifest(job(1))));
    assert_eq!(a.answer(ReqId(8)).await, None);
}

#[tokio::test]
async fn a_thousand_requests_at_once_are_all_answered() {
    let (mut a, mut b) = pair(0).await;
    for i in 0..1000 {
        a.command(Command::Request(
            b.id,
            ReqId(i),
            Request::Claim { job: job(i), want: i as u32, idle: 0, need_manifest: false },
        ));
    }
    let (net, answering) = (b.net.clone(), async move {
        for _ in 0..1000 {
            let (_, token, request) = b.request().await;
            let Request::Claim { want: n, .. } = request else { panic!("{request:?}") };
            let grant = Response::Grant {
                epoch: Epoch::FIRST,
                grant: u64::from(n),
                runs: Vec::new(),
                bags: Vec::new(),
                manifest: None,
            };
            b.command(Command::Respond(token, grant));
        }
        b
    });
    let asking = async {
        for i in 0..1000 {
            match a.answer(ReqId(i)).await {
                Some(Response::Grant { grant, .. }) => assert_eq!(grant, i),
                other => panic!("{i}: {other:?}"),
            }
        }
    };
    let (_b, ()) = tokio::join!(answering, asking);
    assert_eq!(net.counters().requests_in, 1000);
}

#[tokio::test]
async fn one_way_messages_arrive_in_order_in_both_directions() {
    let (mut a, mut b) = pair(0).await;
    for n in 0..200 {
        a.command(Command::Send(b.id, fetching(n)));
        b.command(Command::Send(a.id, fetching(1000 + n)));
    }
    for n in 0..200 {
        assert_eq!(b.message().await, (a.id, fetching(n)));
        assert_eq!(a.message().await, (b.id, fetching(1000 + n)));
    }
    // To nobody: dropped and counted.
    a.command(Command::Send(NodeId([9; 32]), fetching(0)));
    a.command(Command::Request(NodeId([9; 32]), ReqId(0), Request::Manifest(job(0))));
    a.answer(ReqId(0)).await;
    assert_eq!(a.net.counters().messages_dropped, 1);
}

fn facts(bytes: usize) -> Vec<SignedFact> {
    vec![SignedFact { bytes: vec![0; bytes], sig: Sig([0; 64]) }]
}

#[tokio::test]
async fn what_is_too_long_is_not_sent_and_the_rest_goes_on() {
    let (mut a, mut b) = pair(0).await;
    let long = facts(limits::MAX_FRAME);
    a.command(Command::Send(b.id, Message::Facts(long.clone())));
    a.command(Command::Send(b.id, fetching(1)));
    assert_eq!(b.message().await.1, fetching(1));
    b.command(Command::Request(a.id, ReqId(1), Request::Manifest(job(1))));
    let (_, token, _) = a.request().await;
    a.command(Command::Respond(token, Response::Facts(long)));
    assert_eq!(b.answer(ReqId(1)).await, None);
    // The largest that a sender makes passes.
    let fits = facts(limits::FRAME_BUDGET);
    a.command(Command::Send(b.id, Message::Facts(fits.clone())));
    assert_eq!(b.message().await.1, Message::Facts(fits));
}

#[tokio::test]
async fn gossip_reaches_those_who_are_not_neighbours() {
    // A line: a - b - c, nobody told of anybody else.
    let quiet = |n| NetConfig { exchange: false, kademlia: false, ..config(n) };
    let mut a = Node::start(quiet(0)).await;
    let mut b = Node::start(NetConfig { bootstrap: vec![a.address()], ..quiet(1) }).await;
    let mut c = Node::start(NetConfig { bootstrap: vec![b.address()], ..quiet(2) }).await;
    a.up(b.id).await;
    c.up(b.id).await;
    b.up(a.id).await;
    b.up(c.id).await;
    let summary = |seq| Summary {
        job: job(1),
        owner: NodeId([1; 32]),
        name: "n".into(),
        replicas: vec![],
        steward: NodeId([1; 32]),
        epoch: Epoch::FIRST,
        seq,
        priority: 0,
        needs: vec![],
        total: 1,
        succeeded: 0,
        failed: 0,
        leased: 0,
        grantable: 1,
        state: JobState::Active,
        created_ms: 0,
    };
    // Gossip promises nothing, least of all before its mesh stands: say it until it is heard.
    let heard = c.wait("Gossip", |e| matches!(e, NetEvent::Gossip(_)).then_some(()));
    let say = async {
        let mut every = tokio::time::interval(Duration::from_millis(200));
        for seq in 0.. {
            every.tick().await;
            a.command(Command::Publish(summary(seq)));
        }
    };
    tokio::select! { () = heard => {}, () = say => {} }
    // Too long a summary goes nowhere.
    a.command(Command::Publish(Summary { name: "x".repeat(2000), ..summary(0) }));
}

/// From `b` to `a`, checked.
async fn transfer(a: &mut Node, b: &Node, bytes: usize) {
    let data: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
    let to = a.id;
    let send = async {
        let mut stream = b.net.open_stream(to).await.unwrap();
        stream.write_all(&data).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let receive = async {
        let event = a.events_stream().await;
        let NetEvent::Stream(from, mut stream) = event else { panic!("{event:?}") };
        assert_eq!(from, b.id);
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        stream.write_all(b"thanks").await.unwrap();
        stream.shutdown().await.unwrap();
        got
    };
    let (answer, got) = tokio::time::timeout(LIMIT, futures::future::join(send, receive)).await.unwrap();
    assert!(got == data, "the bytes differ");
    assert_eq!(answer, b"thanks");
}

#[tokio::test]
async fn fifty_megabytes_over_a_stream() {
    let (mut a, b) = pair(0).await;
    transfer(&mut a, &b, 50_000_000).await;
    assert!(a.net.counters().bytes_in >= 50_000_000);
}

#[tokio::test]
async fn many_streams_at_once_all_arrive_and_one_too_many_is_refused() {
    let (mut a, b) = pair(0).await;
    let most = NetLimits::default().streams_per_peer;
    let opens = (0..most).map(|_| b.net.open_stream(a.id));
    let mut ours = futures::future::try_join_all(opens).await.unwrap();
    let mut theirs = Vec::new();
    for _ in 0..most {
        theirs.push(a.events_stream().await);
    }
    assert!(matches!(b.net.open_stream(a.id).await, Err(StreamError::Busy(n)) if n == a.id));
    // One place is free again.
    drop((ours.pop(), theirs.pop()));
    b.net.open_stream(a.id).await.unwrap();
    let nobody = NodeId([9; 32]);
    assert!(matches!(b.net.open_stream(nobody).await, Err(StreamError::NotConnected(n)) if n == nobody));
}

#[tokio::test]
async fn a_killed_peer_is_down_and_its_requests_fail() {
    let mut a = Node::new(0).await;
    // A runtime of its own: dropping it is as sudden as a kill, sockets are all that closes.
    let address = a.address();
    let (runtime, net) = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let net = NetConfig { bootstrap: vec![address], ..config(1) };
        let started = runtime.block_on(filch_net::start(net)).unwrap();
        (runtime, started)
    })
    .await
    .unwrap();
    let id = net.0.id();
    a.up(id).await;
    for i in 0..100 {
        a.command(Command::Request(id, ReqId(i), Request::Manifest(job(i))));
    }
    runtime.shutdown_background();
    a.down(id).await;
    for i in 0..100 {
        assert_eq!(a.answer(ReqId(i)).await, None);
    }
    drop(net);
}

#[tokio::test]
async fn a_peer_that_hangs_is_given_up_after_one_silent_request() {
    let limits = NetLimits { request: Duration::from_millis(300), ..Default::default() };
    let mut a = Node::start(NetConfig { limits, ..config(0) }).await;
    let (address, own) = (a.address(), a.id);
    let (hang_on, hung) = std::sync::mpsc::channel::<()>();
    let hanging = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let node = runtime.block_on(async {
            let mut node = Node::start(NetConfig { bootstrap: vec![address], ..config(1) }).await;
            node.up(own).await;
            node
        });
        // Its sockets stay open, and nobody serves them.
        let _ = hung.recv();
        drop((runtime, node));
    });
    let id = a.wait("Up", |e| if let NetEvent::Up(id) = e { Some(*id) } else { None }).await;
    a.command(Command::Request(id, ReqId(1), Request::Manifest(job(1))));
    assert_eq!(a.answer(ReqId(1)).await, None);
    a.down(id).await;
    drop(hang_on);
    hanging.join().unwrap();
}

#[tokio::test]
async fn what_was_said_before_the_end_goes_out() {
    let (mut a, mut b) = pair(0).await;
    a.command(Command::Request(b.id, ReqId(1), Request::Manifest(job(1))));
    let (_, token, _) = b.request().await;
    let id = b.id;
    for n in 0..100 {
        b.command(Command::Send(a.id, fetching(n)));
    }
    b.command(Command::Respond(token, Response::Done));
    let net = b.net.clone();
    b.shutdown().await;
    assert_eq!(a.answer(ReqId(1)).await, Some(Response::Done));
    a.down(id).await;
    // Messages promise nothing once the connection closes, but they did go out.
    assert_eq!(net.counters().messages_out, 100);
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_network() {
    let (mut a, b) = pair(0).await;
    let id = b.id;
    drop(b);
    a.down(id).await;
}

#[tokio::test]
async fn a_full_command_queue_gives_the_command_back() {
    let limits = NetLimits { commands: 1, ..Default::default() };
    let a = Node::start(NetConfig { limits, ..config(0) }).await;
    // No await in between: the driver cannot take any on this one-threaded runtime.
    let full = (0..2).filter_map(|n| a.net.command(Command::Send(a.id, fetching(n))).err()).collect::<Vec<_>>();
    assert!(matches!(full.as_slice(), [filch_net::Overflow::Full(c)] if matches!(**c, Command::Send(..))));
    assert_eq!(a.net.counters().overflows, 1);
    let net = a.net.clone();
    a.shutdown().await;
    assert!(matches!(net.command(Command::Dial("127.0.0.1:1".into())), Err(filch_net::Overflow::Stopped(_))));
}

#[tokio::test]
async fn twenty_nodes_that_know_one_of_them_form_a_full_mesh() {
    const N: u16 = 20;
    let first = Node::new(0).await;
    let mut nodes = Vec::new();
    for n in 1..N {
        nodes.push(Node::meeting(n, &[&first]).await);
    }
    nodes.push(first);
    let ids: HashSet<NodeId> = nodes.iter().map(|n| n.id).collect();
    for node in &mut nodes {
        let own = node.id;
        for other in ids.iter().filter(|id| **id != own) {
            node.up(*other).await;
        }
    }
}
