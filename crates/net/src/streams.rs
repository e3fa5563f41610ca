//! Streams between two nodes, for bulk and for one-way messages. The only module that knows how libp2p opens them.
//!
//! `libp2p-stream` drops an inbound stream silently when it cannot be taken at once, and a peer may be at its limit of streams.
//! So the accepting side says with one byte that it took the stream, and opening one waits for that byte and tries again.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use filch_types::NodeId;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{PeerId, Stream, StreamProtocol};
use libp2p_stream::{Control, IncomingStreams, OpenStreamError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};
use tokio_util::sync::CancellationToken;

const TAKEN: u8 = 1;
const BUSY: u8 = 2;
/// Opening takes at most this long, all tries together.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
const TRIES: u32 = 8;
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// No connection to that node.
    #[error("node {0} is not connected")]
    NotConnected(NodeId),
    /// The peer has as many streams of this node, or in all, as it allows; try again later or elsewhere.
    #[error("node {0} takes no more streams now")]
    Busy(NodeId),
    /// The peer runs something else or something older.
    #[error("node {0} does not take blob streams; upgrade filch there")]
    Unsupported(NodeId),
    /// No answer.
    #[error("node {0} did not take the stream within {OPEN_LIMIT:?}")]
    TimedOut(NodeId),
    /// The connection broke.
    #[error("the stream to node {node} broke: {source}")]
    Io {
        /// The peer.
        node: NodeId,
        /// How.
        source: io::Error,
    },
}

/// A byte stream to or from a peer. To end it well, `shutdown` it; a dropped one may be reset.
pub struct BlobStream {
    inner: Compat<Stream>,
    _permit: Option<Permit>,
}

impl BlobStream {
    pub(crate) fn new(stream: Stream, permit: Option<Permit>) -> Self {
        Self { inner: stream.compat(), _permit: permit }
    }
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlobStream")
    }
}

impl AsyncRead for BlobStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for BlobStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Opens streams to connected peers.
#[derive(Clone)]
pub(crate) struct Opener {
    control: Control,
}

impl Opener {
    pub fn new(control: Control) -> Self {
        Self { control }
    }

    /// Returns once the peer has taken the stream.
    pub async fn open(&self, peer: PeerId, node: NodeId, protocol: StreamProtocol) -> Result<Stream, StreamError> {
        let tries = self.tries(peer, node, protocol);
        tokio::time::timeout(OPEN_LIMIT, tries).await.unwrap_or(Err(StreamError::TimedOut(node)))
    }

    async fn tries(&self, peer: PeerId, node: NodeId, protocol: StreamProtocol) -> Result<Stream, StreamError> {
        let mut wait = FIRST_WAIT;
        let mut tried = 1;
        loop {
            match self.once(peer, node, protocol.clone()).await {
                Err(StreamError::Io { .. }) if tried < TRIES => {}
                result => return result,
            }
            tried += 1;
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    async fn once(&self, peer: PeerId, node: NodeId, protocol: StreamProtocol) -> Result<Stream, StreamError> {
        let broke = |source| StreamError::Io { node, source };
        let mut stream = self.control.clone().open_stream(peer, protocol).await.map_err(|e| match e {
            OpenStreamError::Io(e) if e.kind() == io::ErrorKind::NotConnected => StreamError::NotConnected(node),
            OpenStreamError::Io(e) => broke(e),
            _ => StreamError::Unsupported(node),
        })?;
        let mut answer = [0];
        stream.read_exact(&mut answer).await.map_err(broke)?;
        match answer[0] {
            TAKEN => Ok(stream),
            BUSY => Err(StreamError::Busy(node)),
            other => Err(broke(io::Error::new(io::ErrorKind::InvalidData, format!("answer {other}")))),
        }
    }
}

/// Takes inbound streams of one protocol until told to stop, each with a permit. `each` gets what was taken and must not wait long.
pub(crate) async fn take<F, Fut>(mut incoming: IncomingStreams, permits: Permits, stop: CancellationToken, each: F)
where
    F: Fn(PeerId, Stream, Permit) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    while let Some(Some((peer, mut stream))) = stop.run_until_cancelled(incoming.next()).await {
        let permit = permits.get(peer);
        let each = each.clone();
        let work = async move {
            let answer = if permit.is_some() { TAKEN } else { BUSY };
            let said = async {
                stream.write_all(&[answer]).await?;
                stream.flush().await
            };
            let said = tokio::time::timeout(OPEN_LIMIT, said).await;
            if let (Ok(Ok(())), Some(permit)) = (said, permit) {
                each(peer, stream, permit).await;
            }
        };
        let stop = stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(work).await });
    }
}

/// Counts streams per peer and in all.
#[derive(Clone)]
pub(crate) struct Permits {
    held: Arc<Mutex<HashMap<PeerId, usize>>>,
    per_peer: usize,
    total: usize,
}

/// Gives its place back when dropped.
pub(crate) struct Permit {
    held: Arc<Mutex<HashMap<PeerId, usize>>>,
    peer: PeerId,
}

impl Permits {
    pub fn new(per_peer: usize, total: usize) -> Self {
        Self { held: Arc::default(), per_peer, total }
    }

    fn get(&self, peer: PeerId) -> Option<Permit> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = held.values().sum();
        let own = held.get(&peer).copied().unwrap_or(0);
        if total >= self.total || own >= self.per_peer {
            return None;
        }
        held.insert(peer, own + 1);
        Some(Permit { held: self.held.clone(), peer })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_bounded_and_come_back() {
        let permits = Permits::new(2, 3);
        let (a, b) = (PeerId::random(), PeerId::random());
        let held: Vec<_> = [a, a, b].into_iter().map(|p| permits.get(p).unwrap()).collect();
        assert!(permits.get(a).is_none());
        assert!(permits.get(b).is_none(), "three in all");
        drop(held);
        assert!(permits.get(a).is_some());
        assert!(permits.held.lock().unwrap().is_empty());
    }
}
