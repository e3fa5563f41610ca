//! A member that breaks the rules: it has the key, and speaks the protocols wrongly.

use std::sync::Arc;
use std::time::Duration;

use filch_core::io::ReqId;
use filch_types::wire::{Request, Response};
use filch_types::{JobId, NodeId, codec, limits};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;
use libp2p::swarm::{self, SwarmEvent};
use libp2p::{Multiaddr, Stream, StreamProtocol, Swarm};
use tokio::sync::mpsc::Receiver;

use crate::behaviour::{MESSAGES, REQUESTS};
use crate::counters::Counters;
use crate::membership::{ClusterKey, Gate};
use crate::{Command, Net, NetConfig, NetEvent, NetLimits, address, start, transport};

const KEY: [u8; 32] = [3; 32];
const LIMIT: Duration = Duration::from_secs(60);

struct Rogue {
    id: NodeId,
    control: libp2p_stream::Control,
    node: libp2p::PeerId,
}

impl Rogue {
    /// Connected to the node. Its swarm runs on its own.
    async fn meet(net: &Net) -> Self {
        let keypair = Keypair::generate_ed25519();
        let own = keypair.public().to_peer_id();
        let id = address::node_id(&own).unwrap();
        let gate = Gate { own: id, membership: Arc::new(ClusterKey::new(&KEY)), limit: LIMIT };
        let limits = NetLimits::default();
        let transport = transport::build(&keypair, gate, &limits, Arc::new(Counters::default())).unwrap();
        let config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(LIMIT);
        let mut swarm = Swarm::new(transport, libp2p_stream::Behaviour::new(), own, config);
        let control = swarm.behaviour().new_control();
        swarm.dial(net.addresses()[0].parse::<Multiaddr>().unwrap()).unwrap();
        let connected = async {
            loop {
                if let SwarmEvent::ConnectionEstablished { .. } = swarm.select_next_some().await {
                    break;
                }
            }
        };
        tokio::time::timeout(LIMIT, connected).await.unwrap();
        tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        Self { id, control, node: address::peer_id(&net.id()).unwrap() }
    }

    async fn stream(&mut self, protocol: StreamProtocol) -> Stream {
        self.control.open_stream(self.node, protocol).await.unwrap()
    }
}

async fn node() -> (Net, Receiver<NetEvent>) {
    start(NetConfig { exchange: false, kademlia: false, ..NetConfig::new([1; 32], KEY) }).await.unwrap()
}

async fn next(events: &mut Receiver<NetEvent>, wanted: impl Fn(&NetEvent) -> bool) -> NetEvent {
    let found = async {
        loop {
            let event = events.recv().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(LIMIT, found).await.unwrap()
}

async fn refused(events: &mut Receiver<NetEvent>, by: NodeId, with: &str) {
    let event = next(events, |e| matches!(e, NetEvent::Refused { .. })).await;
    let NetEvent::Refused { who, why } = event else { unreachable!() };
    assert_eq!(who, by.to_string());
    assert!(why.contains(with), "{why}");
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

#[tokio::test]
async fn bad_requests_are_refused_and_good_ones_still_answered() {
    let (net, mut events) = node().await;
    let mut rogue = Rogue::meet(&net).await;
    let newer = [codec::VERSION + 1, 0];
    let trailing = [codec::encode(&Request::Manifest(JobId([0; 32])), 100).unwrap(), vec![0]].concat();
    for (bytes, why) in [
        ((limits::MAX_FRAME as u32 + 1).to_be_bytes().to_vec(), "at most"),
        (framed(&[codec::VERSION, 0xff]), "malformed"),
        (framed(&newer), "version"),
        (framed(&trailing), "left over"),
        (framed(&[]), "empty"),
    ] {
        let mut stream = rogue.stream(REQUESTS).await;
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
        refused(&mut events, rogue.id, why).await;
    }
    let mut stream = rogue.stream(REQUESTS).await;
    let good = Request::Manifest(JobId([5; 32]));
    stream.write_all(&framed(&codec::encode(&good, 100).unwrap())).await.unwrap();
    stream.flush().await.unwrap();
    let event = next(&mut events, |e| matches!(e, NetEvent::Request(..))).await;
    let NetEvent::Request(from, token, request) = event else { unreachable!() };
    assert_eq!((from, request), (rogue.id, good));
    net.command(Command::Respond(token, Response::Done)).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, framed(&codec::encode(&Response::Done, 100).unwrap()));
}

#[tokio::test]
async fn bad_messages_are_refused() {
    let (net, mut events) = node().await;
    let mut rogue = Rogue::meet(&net).await;
    for (bytes, why) in [(u32::MAX.to_be_bytes().to_vec(), "at most"), (framed(&[codec::VERSION, 0xff]), "malformed")] {
        let mut stream = rogue.stream(MESSAGES).await;
        let mut taken = [0];
        stream.read_exact(&mut taken).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
        refused(&mut events, rogue.id, why).await;
    }
}

#[tokio::test]
async fn a_bad_answer_is_a_failed_request() {
    let (net, mut events) = node().await;
    let mut rogue = Rogue::meet(&net).await;
    next(&mut events, |e| matches!(e, NetEvent::Up(_))).await;
    let mut incoming = rogue.control.accept(REQUESTS).unwrap();
    let (id, other) = (rogue.id, ReqId(2));
    let answer = async {
        for answer in [framed(&[codec::VERSION, 0xff]), (u32::MAX).to_be_bytes().to_vec()] {
            let (_, mut stream) = incoming.next().await.unwrap();
            let mut request = Vec::new();
            stream.read_to_end(&mut request).await.unwrap();
            stream.write_all(&answer).await.unwrap();
            stream.close().await.unwrap();
        }
    };
    let ask = async {
        for req in [ReqId(1), other] {
            net.command(Command::Request(id, req, Request::Manifest(JobId([5; 32])))).unwrap();
            next(&mut events, |e| matches!(e, NetEvent::RequestFailed(r) if *r == req)).await;
            refused(&mut events, id, "bad frame").await;
        }
    };
    tokio::time::timeout(LIMIT, async { tokio::join!(answer, ask) }).await.unwrap();
}
