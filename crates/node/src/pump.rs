//! From the network into the driver, in order. When the driver is behind, the pump waits, and the network behind it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use filch_api::EventKind;
use filch_core::Input;
use filch_net::NetEvent;
use filch_types::wire::Message;
use filch_types::{JobId, NodeId};
use tokio::sync::mpsc;

use crate::driver::Inbox;
use crate::events::{Events, Happening};
use crate::members::Remembered;
use crate::transfer::Server;

/// Jobs whose copies somebody watches while they are made, with the bytes that each copy has.
#[derive(Default)]
pub struct Copying(Mutex<HashMap<JobId, HashMap<NodeId, u64>>>);

impl Copying {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, HashMap<NodeId, u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Somebody watches now.
    pub fn begin(&self, job: JobId) {
        self.lock().entry(job).or_default();
    }
    /// Nobody does any more.
    pub fn end(&self, job: JobId) {
        self.lock().remove(&job);
    }
    /// Bytes that each replica said it has.
    pub fn bytes(&self, job: JobId) -> HashMap<NodeId, u64> {
        self.lock().get(&job).cloned().unwrap_or_default()
    }
    fn heard(&self, job: JobId, from: NodeId, bytes: u64) {
        if let Some(nodes) = self.lock().get_mut(&job)
            && (nodes.len() < filch_types::limits::MAX_REPLICAS || nodes.contains_key(&from))
        {
            nodes.insert(from, bytes);
        }
    }
}

/// What the pump feeds.
pub struct Pump {
    /// The driver.
    pub inbox: Arc<Inbox>,
    /// Streams of peers that want blobs.
    pub server: Server,
    /// Who watches.
    pub events: Events,
    /// Addresses for the next start.
    pub remembered: Arc<Remembered>,
    /// Progress of copies.
    pub copying: Arc<Copying>,
}

impl Pump {
    /// Until the network ends.
    pub async fn run(self, mut events: mpsc::Receiver<NetEvent>) {
        while let Some(event) = events.recv().await {
            self.take(event).await;
        }
    }

    async fn take(&self, event: NetEvent) {
        match event {
            NetEvent::Up(peer) => self.inbox.push(Input::PeerUp(peer)),
            NetEvent::Down(peer) => self.inbox.push(Input::PeerDown(peer)),
            NetEvent::Message(from, message) => {
                if let Message::Fetching { job, bytes } = message {
                    self.copying.heard(job, from, bytes);
                }
                self.inbox.push_net(Input::Message(from, message)).await;
            }
            NetEvent::Request(from, token, request) => {
                self.inbox.push_net(Input::Request(from, token, request)).await;
            }
            NetEvent::Response(id, response) => self.inbox.push_net(Input::Response(id, response)).await,
            NetEvent::RequestFailed(id) => self.inbox.push(Input::RequestFailed(id)),
            NetEvent::Gossip(summary) => self.inbox.push_net(Input::Gossip(summary)).await,
            NetEvent::Stream(from, stream) => {
                let server = self.server.clone();
                tokio::spawn(async move {
                    if let Err(e) = server.serve(stream).await {
                        tracing::debug!(peer = ?from, %e, "a stream of a peer ended");
                    }
                });
            }
            NetEvent::Listening(address) => {
                tracing::info!(address, "listening");
                self.events.tell(Happening::Node(None, EventKind::Listening { address }));
            }
            NetEvent::Reachable(peer, addresses) => self.remembered.learn(peer, addresses),
            NetEvent::Refused { who, why } => {
                tracing::warn!(who, why, "refused");
                self.events.tell(Happening::Node(None, EventKind::NodeRefused { who, why }));
            }
        }
    }
}
