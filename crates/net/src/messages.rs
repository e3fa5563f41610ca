//! One-way messages: one persistent stream of frames per peer and direction. In order while the connection lasts, best effort
//! beyond: the core repeats what matters.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use filch_types::{NodeId, codec, limits};
use futures::{AsyncWrite, AsyncWriteExt};
use libp2p::{PeerId, Stream};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::behaviour::MESSAGES;
use crate::counters::Counters;
use crate::driver::Inbound;
use crate::frame;
use crate::streams::{Opener, Permit};

/// Frames are gathered up to this size before they are flushed.
const BATCH: usize = 128 * 1024;
/// After a stream could not be opened, the next try waits this long.
const REOPEN: Duration = Duration::from_millis(200);

/// What waits to be written to one peer.
pub(crate) struct Queue {
    frames: Mutex<Frames>,
    ready: Notify,
    max_frames: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct Frames {
    list: VecDeque<Vec<u8>>,
    bytes: usize,
    /// A batch was taken and is not written yet.
    writing: bool,
}

impl Queue {
    pub fn new(max_frames: usize, max_bytes: usize) -> Self {
        Self { frames: Mutex::default(), ready: Notify::new(), max_frames, max_bytes }
    }

    /// Adds a frame; how many of the oldest had to go for it.
    pub fn push(&self, frame: Vec<u8>) -> u64 {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames.bytes += frame.len();
        frames.list.push_back(frame);
        let mut dropped = 0;
        while frames.list.len() > self.max_frames || (frames.bytes > self.max_bytes && frames.list.len() > 1) {
            let Some(old) = frames.list.pop_front() else { break };
            frames.bytes -= old.len();
            dropped += 1;
        }
        drop(frames);
        self.ready.notify_one();
        dropped
    }

    fn take(&self) -> Vec<Vec<u8>> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH {
            let Some(frame) = frames.list.pop_front() else { break };
            bytes += frame.len();
            batch.push(frame);
        }
        frames.bytes -= bytes;
        frames.writing = !batch.is_empty();
        batch
    }

    /// Nothing waits and nothing is being written.
    pub fn is_idle(&self) -> bool {
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames.list.is_empty() && !frames.writing
    }

    async fn next(&self) -> Vec<Vec<u8>> {
        loop {
            let batch = self.take();
            if !batch.is_empty() {
                return batch;
            }
            self.ready.notified().await;
        }
    }
}

/// The sending end of one peer; ends its task when dropped.
pub(crate) struct Outbox {
    pub queue: Arc<Queue>,
    stop: CancellationToken,
}

impl Outbox {
    pub fn start(peer: PeerId, node: NodeId, opener: Opener, queue: Queue, counters: Arc<Counters>) -> Self {
        let queue = Arc::new(queue);
        let stop = CancellationToken::new();
        let writer = Writer { peer, node, opener, queue: queue.clone(), counters, stream: None };
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(writer.run()).await });
        Self { queue, stop }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Writer {
    peer: PeerId,
    node: NodeId,
    opener: Opener,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    stream: Option<Stream>,
}

impl Writer {
    async fn run(mut self) {
        loop {
            let batch = self.queue.next().await;
            let count = batch.len() as u64;
            // A second try on a new stream: the first may have died long ago. Messages may be repeated.
            if self.send(&batch).await || self.send(&batch).await {
                self.counters.add(&self.counters.messages_out, count);
            } else {
                self.counters.add(&self.counters.messages_dropped, count);
                tokio::time::sleep(REOPEN).await;
            }
        }
    }

    async fn send(&mut self, batch: &[Vec<u8>]) -> bool {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => match self.opener.open(self.peer, self.node, MESSAGES).await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::debug!(%error, "no stream for messages");
                    return false;
                }
            },
        };
        match write_all(&mut stream, batch).await {
            Ok(()) => {
                self.stream = Some(stream);
                true
            }
            Err(error) => {
                tracing::debug!(node = ?self.node, %error, "the stream for messages broke");
                false
            }
        }
    }
}

async fn write_all<S: AsyncWrite + Unpin>(stream: &mut S, batch: &[Vec<u8>]) -> io::Result<()> {
    for bytes in batch {
        frame::write(stream, bytes).await?;
    }
    stream.flush().await
}

/// Reads messages off one inbound stream until it ends or breaks a rule. A slow driver slows the peer down, not memory.
pub(crate) async fn read(peer: PeerId, mut stream: Stream, _permit: Permit, inbound: mpsc::Sender<Inbound>) {
    loop {
        let message = match frame::read(&mut stream, limits::MAX_FRAME).await {
            Ok(bytes) => codec::decode(&bytes, limits::MAX_FRAME).map_err(frame::invalid),
            Err(error) => Err(error),
        };
        let event = match message {
            Ok(message) => Inbound::Message(peer, message),
            Err(error) => {
                if let Some(why) = frame::broke_rules(&error) {
                    let _ = inbound.send(Inbound::Bad(peer, why)).await;
                }
                return;
            }
        };
        if inbound.send(event).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_drops_the_oldest() {
        let queue = Queue::new(3, 100);
        assert_eq!((0..3).map(|i| queue.push(vec![i; 10])).sum::<u64>(), 0);
        assert_eq!(queue.push(vec![3; 10]), 1);
        // By bytes, too; but the newest stays whatever its size.
        assert_eq!(queue.push(vec![4; 200]), 3);
        assert_eq!(queue.take(), vec![vec![4; 200]]);
        assert_eq!(queue.take(), Vec::<Vec<u8>>::new());
        assert_eq!(queue.frames.lock().unwrap().bytes, 0);
    }
}
