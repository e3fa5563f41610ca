//! Who is no member reaches nothing.
#![allow(missing_docs)]

mod common;

use std::future::Future;
use std::pin::Pin;

use common::{LIMIT, Node, config};
use filch_net::{NetConfig, NetEvent};
use futures::{AsyncRead, AsyncWrite, StreamExt};
use libp2p::core::UpgradeInfo;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, Version};
use libp2p::identity::Keypair;
use libp2p::swarm::{self, NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, Transport, identify, kad, noise, ping, quic, tcp, yamux};

fn nothing_came(node: &mut Node) -> bool {
    !node.came(|e| !matches!(e, NetEvent::Listening(_) | NetEvent::Refused { .. }))
}

async fn wrong_key_over(listen: &str) {
    let listen = vec![listen.to_string()];
    let mut a = Node::start(NetConfig { listen: listen.clone(), ..config(0) }).await;
    let bootstrap = vec![a.address()];
    let mut b = Node::start(NetConfig { cluster_key: [1; 32], listen, bootstrap, ..config(1) }).await;
    let (who, why) = a.refused().await;
    assert_eq!(who, b.id.to_string());
    assert!(why.contains("cluster key"), "{why}");
    let (who, why) = b.refused().await;
    assert_eq!(who, a.id.to_string());
    assert!(why.contains("cluster key"), "{why}");
    assert!(nothing_came(&mut a) && nothing_came(&mut b));
    assert!(matches!(a.net.open_stream(b.id).await, Err(filch_net::StreamError::NotConnected(_))));
}

#[tokio::test]
async fn another_key_is_refused_on_both_sides() {
    wrong_key_over("/ip4/127.0.0.1/tcp/0").await;
}

#[tokio::test]
async fn another_key_is_refused_on_both_sides_over_quic() {
    wrong_key_over("/ip4/127.0.0.1/udp/0/quic-v1").await;
}

/// Some other libp2p program, with every protocol that a filch node speaks and none of its proofs.
#[derive(NetworkBehaviour)]
struct Stranger {
    streams: libp2p_stream::Behaviour,
    kad: kad::Behaviour<kad::store::MemoryStore>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

fn stranger(keypair: &Keypair, transport: Boxed<(PeerId, StreamMuxerBox)>) -> Swarm<Stranger> {
    let peer = keypair.public().to_peer_id();
    let kad = kad::Config::new(StreamProtocol::new("/filch/1/kad"));
    let behaviour = Stranger {
        streams: libp2p_stream::Behaviour::new(),
        kad: kad::Behaviour::with_config(peer, kad::store::MemoryStore::new(peer), kad),
        identify: identify::Behaviour::new(identify::Config::new("/filch/1/id".into(), keypair.public())),
        ping: ping::Behaviour::default(),
    };
    Swarm::new(transport, behaviour, peer, swarm::Config::with_tokio_executor())
}

/// Noise under filch's name, and nothing after it.
#[derive(Clone)]
struct NoProof(noise::Config);

impl UpgradeInfo for NoProof {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;
    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/filch/1/noise")
    }
}

type Secured<C> = Pin<Box<dyn Future<Output = Result<(PeerId, noise::Output<C>), noise::Error>> + Send>>;

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> InboundConnectionUpgrade<C> for NoProof {
    type Output = (PeerId, noise::Output<C>);
    type Error = noise::Error;
    type Future = Secured<C>;
    fn upgrade_inbound(self, socket: C, info: &'static str) -> Secured<C> {
        self.0.upgrade_inbound(socket, info)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> OutboundConnectionUpgrade<C> for NoProof {
    type Output = (PeerId, noise::Output<C>);
    type Error = noise::Error;
    type Future = Secured<C>;
    fn upgrade_outbound(self, socket: C, info: &'static str) -> Secured<C> {
        self.0.upgrade_outbound(socket, info)
    }
}

fn tcp_without_proof(keypair: &Keypair, version: Version) -> Boxed<(PeerId, StreamMuxerBox)> {
    tcp::tokio::Transport::new(tcp::Config::default())
        .upgrade(version)
        .authenticate(NoProof(noise::Config::new(keypair).unwrap()))
        .multiplex(yamux::Config::default())
        .boxed()
}

/// Dials, and tries every protocol that a filch node has. Ends when the connection failed or was closed; true if any stream
/// was taken.
async fn try_everything(mut swarm: Swarm<Stranger>, address: Multiaddr, node: PeerId) -> bool {
    let control = swarm.behaviour().streams.new_control();
    swarm.dial(address).unwrap();
    let ends = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::OutgoingConnectionError { .. } | SwarmEvent::ConnectionClosed { .. } => break,
                SwarmEvent::ConnectionEstablished { .. } => {}
                SwarmEvent::Behaviour(StrangerEvent::Identify(identify::Event::Received { .. })) => return true,
                SwarmEvent::Behaviour(StrangerEvent::Ping(ping::Event { result: Ok(_), .. })) => return true,
                _ => {}
            }
        }
        false
    };
    let protocols = ["/filch/1/requests", "/filch/1/messages", "/filch/1/blobs", "/filch/1/members", "/filch/1/kad"];
    let opens = protocols.map(|p| {
        let mut control = control.clone();
        async move { control.open_stream(node, StreamProtocol::new(p)).await.is_ok() }
    });
    let tries = async {
        let any = futures::future::join_all(opens).await.contains(&true);
        // Only success ends the test early: without it the connection has to end.
        if any { true } else { std::future::pending().await }
    };
    tokio::time::timeout(LIMIT, async {
        tokio::select! { any = ends => any, any = tries => any }
    })
    .await
    .unwrap()
}

fn dialled(node: &Node) -> (Multiaddr, PeerId) {
    let address: Multiaddr = node.address().parse().unwrap();
    let Some(libp2p::multiaddr::Protocol::P2p(peer)) = address.iter().last() else { panic!("{address}") };
    (address, peer)
}

#[tokio::test]
async fn a_stranger_over_tcp_opens_nothing() {
    for version in [Version::V1, Version::V1Lazy] {
        let mut node = Node::new(0).await;
        let (address, peer) = dialled(&node);
        let keypair = Keypair::generate_ed25519();
        let swarm = stranger(&keypair, tcp_without_proof(&keypair, version));
        assert!(!try_everything(swarm, address, peer).await);
        let (_, why) = node.refused().await;
        assert!(why.contains("no filch node"), "{why}");
        assert!(nothing_came(&mut node));
    }
}

#[tokio::test]
async fn a_stranger_over_quic_opens_nothing() {
    let listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_string()];
    let mut node = Node::start(NetConfig { listen, ..config(0) }).await;
    let (address, peer) = dialled(&node);
    let keypair = Keypair::generate_ed25519();
    let transport = quic::tokio::Transport::new(quic::Config::new(&keypair));
    let transport = transport.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed();
    assert!(!try_everything(stranger(&keypair, transport), address, peer).await);
    let (_, why) = node.refused().await;
    assert!(why.contains("no filch node"), "{why}");
    assert!(nothing_came(&mut node));
}

#[tokio::test]
async fn an_ordinary_libp2p_program_is_gone_after_one_message() {
    let mut node = Node::new(0).await;
    let (address, peer) = dialled(&node);
    let keypair = Keypair::generate_ed25519();
    let transport = tcp::tokio::Transport::new(tcp::Config::default())
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(&keypair).unwrap())
        .multiplex(yamux::Config::default())
        .boxed();
    assert!(!try_everything(stranger(&keypair, transport), address, peer).await);
    assert!(nothing_came(&mut node));
}

#[tokio::test]
async fn the_silent_do_not_keep_members_out() {
    // As many connections that say nothing as may be pending, and then a member.
    let limits = filch_net::NetLimits {
        pending_incoming: 4,
        handshake: std::time::Duration::from_millis(500),
        ..Default::default()
    };
    let mut node = Node::start(NetConfig { limits, ..config(0) }).await;
    let socket = node.bare_address().replace("/ip4/", "").replace("/tcp/", ":");
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(tokio::net::TcpStream::connect(&socket).await.unwrap());
    }
    let mut member = Node::meeting(1, &[&node]).await;
    member.up(node.id).await;
    node.up(member.id).await;
}
