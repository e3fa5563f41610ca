//! How members find each other.
#![allow(missing_docs)]

mod common;

use common::{Node, config, pair};
use filch_net::{Command, NetConfig, NetError, NetEvent};

/// Without Kademlia, which dials as well.
fn book_only(n: u16) -> NetConfig {
    NetConfig { kademlia: false, ..config(n) }
}

async fn book_only_pair() -> (Node, Node) {
    let mut a = Node::start(book_only(0)).await;
    let mut b = Node::start(NetConfig { bootstrap: vec![a.address()], ..book_only(1) }).await;
    b.up(a.id).await;
    a.up(b.id).await;
    (a, b)
}

#[tokio::test]
async fn a_third_node_is_learned_from_a_common_acquaintance() {
    let (mut a, mut b) = book_only_pair().await;
    let mut c = Node::start(NetConfig { bootstrap: vec![b.address()], ..book_only(2) }).await;
    a.up(c.id).await;
    b.up(c.id).await;
    c.up(a.id).await;
}

#[tokio::test]
async fn a_third_node_is_found_by_kademlia_alone() {
    let silent = |n, bootstrap| NetConfig { exchange: false, bootstrap, ..config(n) };
    let a = Node::start(silent(0, vec![])).await;
    let mut b = Node::start(silent(1, vec![a.address()])).await;
    b.up(a.id).await;
    let mut c = Node::start(silent(2, vec![a.address()])).await;
    c.up(b.id).await;
    b.up(c.id).await;
}

#[tokio::test]
async fn a_restarted_node_is_met_again_at_the_same_address() {
    let (mut a, b) = book_only_pair().await;
    let (id, address) = (b.id, b.bare_address());
    a.reachable(id).await;
    b.shutdown().await;
    a.down(id).await;
    // It is told of nobody: the other one has to dial.
    let mut b = Node::start(NetConfig { listen: vec![address], ..book_only(1) }).await;
    a.up(id).await;
    b.up(a.id).await;
}

#[tokio::test]
async fn another_node_at_a_known_address_is_met() {
    let (mut a, b) = book_only_pair().await;
    let (id, address) = (b.id, b.bare_address());
    a.reachable(id).await;
    b.shutdown().await;
    a.down(id).await;
    let b = Node::start(NetConfig { listen: vec![address], ..book_only(5) }).await;
    a.up(b.id).await;
}

#[tokio::test]
async fn remembered_nodes_are_dialled() {
    let (mut a, mut b) = pair(0).await;
    // Whoever was dialled learns where the dialler listens, and the other way round.
    let where_a = b.reachable(a.id).await;
    let where_b = a.reachable(b.id).await;
    assert_eq!((&where_a[0], &where_b[0]), (&a.address(), &b.address()));
    let (id, address) = (b.id, b.bare_address());
    b.shutdown().await;
    a.down(id).await;
    let mut b = Node::start(NetConfig { listen: vec![address], remembered: vec![(a.id, where_a)], ..config(1) }).await;
    b.up(a.id).await;
}

#[tokio::test]
async fn a_name_and_a_port_are_enough() {
    let mut a = Node::new(0).await;
    let port = a.bare_address().rsplit('/').next().unwrap().to_owned();
    let mut b = Node::new(1).await;
    b.command(Command::Dial(format!("localhost:{port}")));
    b.up(a.id).await;
    a.up(b.id).await;
}

#[tokio::test]
async fn what_cannot_be_reached_or_read_is_told() {
    let mut a = Node::new(0).await;
    a.command(Command::Dial("nonsense".into()));
    let (who, why) = a.refused().await;
    assert_eq!(who, "nonsense");
    assert!(why.contains("HOST:PORT"), "{why}");
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    a.command(Command::Dial(free.to_string()));
    let (who, why) = a.refused().await;
    assert_eq!(who, format!("/ip4/127.0.0.1/tcp/{}", free.port()));
    assert!(why.contains("Connection refused"), "{why}");
    // It goes on trying: somebody starts there.
    let b = Node::start(NetConfig { listen: vec![free.to_string()], ..config(1) }).await;
    a.up(b.id).await;
}

#[tokio::test]
async fn this_node_itself_is_no_member_to_meet() {
    let mut a = Node::new(0).await;
    a.command(Command::Dial(a.bare_address()));
    let mut b = Node::meeting(1, &[&a]).await;
    b.up(a.id).await;
    a.up(b.id).await;
    assert!(!a.came(|e| matches!(e, NetEvent::Up(_) | NetEvent::Refused { .. })));
}

#[tokio::test]
async fn nothing_but_loopback_is_listened_on_unasked() {
    let a = Node::new(0).await;
    let addresses = a.net.addresses();
    assert_eq!(addresses.len(), 1);
    assert!(addresses[0].starts_with("/ip4/127.0.0.1/tcp/"), "{addresses:?}");
}

#[tokio::test]
async fn a_bad_start_says_why() {
    let a = Node::new(0).await;
    let taken = NetConfig { listen: vec![a.bare_address()], ..config(1) };
    let error = filch_net::start(taken).await.err().unwrap();
    assert!(matches!(&error, NetError::Listen { address, .. } if *address == a.bare_address()), "{error}");
    let nonsense = NetConfig { bootstrap: vec!["nowhere".into()], ..config(1) };
    let error = filch_net::start(nonsense).await.err().unwrap();
    assert!(matches!(&error, NetError::Address { address, .. } if address == "nowhere"), "{error}");
    let name = NetConfig { listen: vec!["example:1".into()], ..config(1) };
    assert!(matches!(filch_net::start(name).await.err().unwrap(), NetError::Listen { .. }));
}
