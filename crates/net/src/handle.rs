//! What the node holds of the network: commands in, events out.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use filch_core::io::{ReqId, Token};
use filch_types::NodeId;
use filch_types::wire::{Message, Request, Response, Summary};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;

use crate::address;
use crate::behaviour::BLOBS;
use crate::counters::{Counters, NetCounters};
use crate::streams::{BlobStream, Opener, StreamError};

/// What the network is told to do. Nothing here fails by itself except as an event says.
#[derive(Clone, Debug)]
pub enum Command {
    /// One-way, best effort, in order while the connection lasts. Without a connection, or beyond the queue, it is dropped
    /// (the oldest first) and counted.
    Send(NodeId, Message),
    /// Ends with `NetEvent::Response` or `NetEvent::RequestFailed`, within `NetLimits::request`.
    Request(NodeId, ReqId, Request),
    /// The answer to a `NetEvent::Request`. Ignored if its time is over.
    Respond(Token, Response),
    /// Gossip to the cluster.
    Publish(Summary),
    /// Meet whoever is at this address (`address::check`); tried until somebody answers.
    Dial(String),
    /// Close all connections, so that peers see it at once, and end. The event channel ends then.
    Shutdown,
}

/// What the network says.
#[derive(Debug)]
pub enum NetEvent {
    /// The first connection to a member is up, its membership proved in both directions.
    Up(NodeId),
    /// The last connection to it is gone.
    Down(NodeId),
    /// A one-way message.
    Message(NodeId, Message),
    /// A request; answer with `Command::Respond`.
    Request(NodeId, Token, Request),
    /// The answer to a request of this node.
    Response(ReqId, Response),
    /// A request of this node failed: no connection, no answer in time, a malformed one.
    RequestFailed(ReqId),
    /// A gossiped summary. Well-formed, otherwise untrusted.
    Gossip(Summary),
    /// A peer opened a stream.
    Stream(NodeId, BlobStream),
    /// This node listens here, with `/p2p/…`.
    Listening(String),
    /// Where a member can be reached, all that is known: worth remembering for the next start.
    Reachable(NodeId, Vec<String>),
    /// Somebody was turned away, sent something that breaks a rule, or could not be reached at an address that a person gave.
    Refused {
        /// A node's id, or an address.
        who: String,
        /// A clause for people, without a subject: "it does not hold this cluster's key; …".
        why: String,
    },
}

/// The command was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Overflow {
    /// As many as `NetLimits::commands` wait already.
    #[error("the network is busy: its command queue is full")]
    Full(Box<Command>),
    /// The network was shut down.
    #[error("the network is shut down")]
    Stopped(Box<Command>),
}

/// What driver task and handles share.
pub(crate) struct Shared {
    pub own: NodeId,
    pub listening: RwLock<Vec<String>>,
    pub up: RwLock<HashSet<NodeId>>,
    pub counters: Arc<Counters>,
    pub stop: CancellationToken,
}

/// A handle on the running network. The network ends with `Command::Shutdown` or when its last handle is dropped.
#[derive(Clone)]
pub struct Net {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) opener: Opener,
    pub(crate) shared: Arc<Shared>,
}

impl Net {
    /// Never blocks. What is not taken comes back in the error, and is counted. `Shutdown` is always taken.
    pub fn command(&self, command: Command) -> Result<(), Overflow> {
        if matches!(command, Command::Shutdown) {
            self.shared.stop.cancel();
            return Ok(());
        }
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(command) => {
                self.shared.counters.one(&self.shared.counters.overflows);
                Overflow::Full(Box::new(command))
            }
            TrySendError::Closed(command) => Overflow::Stopped(Box::new(command)),
        })
    }

    /// Opens a stream to a connected member; returns when it has taken the stream, at most 10 s later.
    pub async fn open_stream(&self, to: NodeId) -> Result<BlobStream, StreamError> {
        let up = self.shared.up.read().unwrap_or_else(PoisonError::into_inner).contains(&to);
        let peer = address::peer_id(&to).filter(|_| up).ok_or(StreamError::NotConnected(to))?;
        let stream = self.opener.open(peer, to, BLOBS).await?;
        self.shared.counters.one(&self.shared.counters.streams_out);
        Ok(BlobStream::new(stream, None))
    }

    /// This node's id: its public key.
    pub fn id(&self) -> NodeId {
        self.shared.own
    }

    /// Own listen addresses, with `/p2p/…`.
    pub fn addresses(&self) -> Vec<String> {
        self.shared.listening.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What went through so far.
    pub fn counters(&self) -> NetCounters {
        self.shared.counters.snapshot()
    }
}
