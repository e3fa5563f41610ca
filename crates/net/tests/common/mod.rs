//! Nodes in one process, on loopback.
#![allow(dead_code, missing_docs)]

use std::collections::VecDeque;
use std::time::Duration;

use filch_core::io::{ReqId, Token};
use filch_net::{Command, Net, NetConfig, NetEvent, start};
use filch_types::wire::{Message, Request, Response};
use filch_types::{JobId, NodeId};
use tokio::sync::mpsc::Receiver;

/// Nothing here takes anywhere near as long; only a failing test does.
pub const LIMIT: Duration = Duration::from_secs(60);
pub const KEY: [u8; 32] = [42; 32];

pub struct Node {
    pub net: Net,
    pub id: NodeId,
    events: Receiver<NetEvent>,
    /// Came while something else was awaited.
    earlier: VecDeque<NetEvent>,
}

pub fn secret(n: u16) -> [u8; 32] {
    let mut secret = [7; 32];
    secret[..2].copy_from_slice(&n.to_be_bytes());
    secret
}

pub fn config(n: u16) -> NetConfig {
    NetConfig::new(secret(n), KEY)
}

impl Node {
    pub async fn start(config: NetConfig) -> Self {
        let (net, events) = start(config).await.unwrap();
        Self { id: net.id(), net, events, earlier: VecDeque::new() }
    }

    pub async fn new(n: u16) -> Self {
        Self::start(config(n)).await
    }

    /// A node that was told where the others are.
    pub async fn meeting(n: u16, others: &[&Node]) -> Self {
        let bootstrap = others.iter().map(|o| o.address()).collect();
        Self::start(NetConfig { bootstrap, ..config(n) }).await
    }

    /// With `/p2p/`.
    pub fn address(&self) -> String {
        self.net.addresses().remove(0)
    }

    /// Without.
    pub fn bare_address(&self) -> String {
        self.address().split("/p2p/").next().unwrap().to_owned()
    }

    pub fn command(&self, command: Command) {
        self.net.command(command).unwrap();
    }

    /// The first event, also among those that came earlier, of which `pick` makes something.
    pub async fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&NetEvent) -> Option<T>) -> T {
        if let Some(at) = self.earlier.iter().position(|e| pick(e).is_some()) {
            let event = self.earlier.remove(at).unwrap();
            return pick(&event).unwrap();
        }
        let next = async {
            loop {
                let event = self.events.recv().await.expect("the network ended");
                if let Some(found) = pick(&event) {
                    return found;
                }
                self.earlier.push_back(event);
            }
        };
        match tokio::time::timeout(LIMIT, next).await {
            Ok(found) => found,
            Err(_) => panic!("no {what}; instead: {:?}", self.earlier),
        }
    }

    /// The next event that is kept whole.
    pub async fn take(&mut self, what: &str, wanted: impl Fn(&NetEvent) -> bool) -> NetEvent {
        if let Some(at) = self.earlier.iter().position(&wanted) {
            return self.earlier.remove(at).unwrap();
        }
        let next = async {
            loop {
                let event = self.events.recv().await.expect("the network ended");
                if wanted(&event) {
                    return event;
                }
                self.earlier.push_back(event);
            }
        };
        match tokio::time::timeout(LIMIT, next).await {
            Ok(event) => event,
            Err(_) => panic!("no {what}; instead: {:?}", self.earlier),
        }
    }

    pub async fn events_stream(&mut self) -> NetEvent {
        self.take("Stream", |e| matches!(e, NetEvent::Stream(..))).await
    }

    /// Where another node can be reached, as soon as that is known.
    pub async fn reachable(&mut self, other: NodeId) -> Vec<String> {
        let pick = |e: &NetEvent| match e {
            NetEvent::Reachable(node, addrs) if *node == other => Some(addrs.clone()),
            _ => None,
        };
        self.wait("Reachable", pick).await
    }

    pub async fn up(&mut self, other: NodeId) {
        self.wait("Up", |e| matches!(e, NetEvent::Up(n) if *n == other).then_some(())).await;
    }

    pub async fn down(&mut self, other: NodeId) {
        self.wait("Down", |e| matches!(e, NetEvent::Down(n) if *n == other).then_some(())).await;
    }

    pub async fn request(&mut self) -> (NodeId, Token, Request) {
        let pick = |e: &NetEvent| match e {
            NetEvent::Request(from, token, request) => Some((*from, *token, request.clone())),
            _ => None,
        };
        self.wait("Request", pick).await
    }

    /// The answer to a request, or that there is none.
    pub async fn answer(&mut self, id: ReqId) -> Option<Response> {
        let pick = |e: &NetEvent| match e {
            NetEvent::Response(of, response) if *of == id => Some(Some(response.clone())),
            NetEvent::RequestFailed(of) if *of == id => Some(None),
            _ => None,
        };
        self.wait("Response or RequestFailed", pick).await
    }

    pub async fn message(&mut self) -> (NodeId, Message) {
        let pick = |e: &NetEvent| match e {
            NetEvent::Message(from, message) => Some((*from, message.clone())),
            _ => None,
        };
        self.wait("Message", pick).await
    }

    pub async fn refused(&mut self) -> (String, String) {
        let pick = |e: &NetEvent| match e {
            NetEvent::Refused { who, why } => Some((who.clone(), why.clone())),
            _ => None,
        };
        self.wait("Refused", pick).await
    }

    /// Whether such an event came so far, without waiting.
    pub fn came(&mut self, wanted: impl Fn(&NetEvent) -> bool) -> bool {
        while let Ok(event) = self.events.try_recv() {
            self.earlier.push_back(event);
        }
        self.earlier.iter().any(wanted)
    }

    /// Orderly: the peers know at once.
    pub async fn shutdown(mut self) {
        self.command(Command::Shutdown);
        let end = async { while self.events.recv().await.is_some() {} };
        tokio::time::timeout(LIMIT, end).await.expect("the network did not end");
    }
}

/// Two connected nodes.
pub async fn pair(n: u16) -> (Node, Node) {
    let mut a = Node::new(n).await;
    let mut b = Node::meeting(n + 1, &[&a]).await;
    b.up(a.id).await;
    a.up(b.id).await;
    (a, b)
}

pub fn job(n: u64) -> JobId {
    JobId::of(&n.to_be_bytes())
}

pub fn fetching(n: u64) -> Message {
    Message::Fetching { job: job(n), bytes: n }
}
