//! The asking side: gets blobs from whoever has them, several streams at a time, resuming what an earlier try left, on to
//! the next provider at the first bad piece or after silence.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use filch_blobs::{BlobStore, PutError, ReceiveError, Receiver};
use filch_types::ask::Ask;
use filch_types::{BlobId, NodeId};
use futures::StreamExt;
use tokio::sync::Semaphore;

use super::bridge::Bridge;
use super::flights::{Flights, Want};
use super::frame;
use super::patient::Patient;
use super::{Duplex, SharedOpener};
use crate::stats::Stats;

/// Streams of one fetch.
const PER_FETCH: usize = 4;
/// Streams of all fetches.
const STREAMS: usize = 16;
/// Blobs of one ask.
const CHUNK_BLOBS: usize = 128;
/// Bytes of one ask, unless a single blob is longer.
const CHUNK_BYTES: u64 = 8 * 1024 * 1024;
/// A provider that sends nothing for so long is left.
const SILENCE: Duration = Duration::from_secs(10);
/// Blobs whose presence is looked up before the executor of tasks gets its turn again.
const LOOK_UPS: usize = 256;

/// Why blobs could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody who was asked gave them.
    #[error("{missing} blobs are missing, the first is {first:?}; asked {asked} nodes{}", last.as_deref().map(|l| format!(", the last said: {l}")).unwrap_or_default())]
    Missing {
        /// How many.
        missing: usize,
        /// One of them.
        first: BlobId,
        /// Providers there were.
        asked: usize,
        /// What went wrong last.
        last: Option<String>,
    },
    /// The own disk is full.
    #[error("no room for blobs: {0}")]
    Full(String),
    /// The own store failed.
    #[error("the blob store failed: {0}")]
    Store(String),
}

type Stream = Patient<Box<dyn Duplex>>;

/// See the module.
pub struct Fetcher {
    store: BlobStore,
    opener: SharedOpener,
    streams: Semaphore,
    flights: Arc<Flights>,
    stats: Arc<Stats>,
}

/// What a try with one provider came to.
struct Tried {
    /// The stream, if it can be used again.
    stream: Option<Stream>,
    left: Want,
    error: Option<Trouble>,
}

enum Trouble {
    /// Try another provider.
    Provider(String),
    /// No provider can help.
    Own(FetchError),
}

impl Fetcher {
    /// Fetches into `store` over streams of `opener`.
    pub fn new(store: BlobStore, opener: SharedOpener, stats: Arc<Stats>) -> Self {
        Self { store, opener, streams: Semaphore::new(STREAMS), flights: Arc::default(), stats }
    }

    /// Those of `want` that are not here, each once.
    pub async fn missing(&self, want: &[(BlobId, u64)]) -> Want {
        let mut seen = HashSet::new();
        let mut missing = Vec::new();
        for part in want.chunks(LOOK_UPS) {
            missing.extend(part.iter().filter(|(id, _)| seen.insert(*id) && !self.store.has(*id)).copied());
            tokio::task::yield_now().await;
        }
        missing
    }

    /// Returns once all of `want` is in the store; not necessarily durable. `progress` is told the bytes of blobs that arrived.
    pub async fn fetch(
        &self,
        want: &[(BlobId, u64)],
        from: &[NodeId],
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), FetchError> {
        let mut missing = self.missing(want).await;
        let mut last = None;
        // Every round either fetches what nobody else does, or waits for those who do; it ends when nothing came of one.
        while !missing.is_empty() {
            let (flight, mine, theirs) = self.flights.take(missing);
            let left = if mine.is_empty() {
                self.flights.wait(&theirs).await;
                Vec::new()
            } else {
                let (left, why) = self.fetch_mine(mine, from, progress).await?;
                last = why.or(last);
                left
            };
            drop(flight);
            if let Some((first, _)) = left.first() {
                let (missing, first, asked) = (left.len(), *first, from.len());
                return Err(FetchError::Missing { missing, first, asked, last });
            }
            missing = self.missing(&theirs).await;
        }
        Ok(())
    }

    async fn fetch_mine(
        &self,
        mine: Want,
        from: &[NodeId],
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(Want, Option<String>), FetchError> {
        let idle: Mutex<Vec<(NodeId, Stream)>> = Mutex::default();
        let tries = chunks(mine).into_iter().enumerate().map(|(n, chunk)| {
            // Neighbouring chunks begin with different providers.
            let mut order: Vec<NodeId> = from.to_vec();
            if !order.is_empty() {
                let by = n % order.len();
                order.rotate_left(by);
            }
            self.fetch_chunk(chunk, order, &idle, progress)
        });
        let mut results = futures::stream::iter(tries).buffer_unordered(PER_FETCH);
        let (mut left, mut last) = (Vec::new(), None);
        while let Some(result) = results.next().await {
            let (rest, why) = result?;
            left.extend(rest);
            last = why.or(last);
        }
        Ok((left, last))
    }

    /// One chunk, provider after provider. Gives back what nobody had.
    async fn fetch_chunk(
        &self,
        mut chunk: Want,
        order: Vec<NodeId>,
        idle: &Mutex<Vec<(NodeId, Stream)>>,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(Want, Option<String>), FetchError> {
        let mut last = None;
        for provider in order {
            if chunk.is_empty() {
                break;
            }
            let Ok(_permit) = self.streams.acquire().await else { break };
            let stream = match take_idle(idle, provider) {
                Some(stream) => stream,
                None => match self.opener.open(provider).await {
                    Ok(stream) => Patient::new(stream, SILENCE),
                    Err(e) => {
                        self.stats.fetch_errors.add(1);
                        last = Some(e.to_string());
                        continue;
                    }
                },
            };
            let before: u64 = chunk.iter().map(|(_, len)| len).sum();
            let tried = self.ask(stream, chunk).await?;
            if let Some(stream) = tried.stream {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push((provider, stream));
            }
            chunk = tried.left;
            progress(before.saturating_sub(chunk.iter().map(|(_, len)| len).sum()));
            match tried.error {
                Some(Trouble::Own(e)) => return Err(e),
                Some(Trouble::Provider(why)) => {
                    self.stats.fetch_errors.add(1);
                    last = Some(format!("{provider:?}: {why}"));
                }
                None if !chunk.is_empty() => last = Some(format!("{provider:?}: it does not have them")),
                None => {}
            }
        }
        Ok((chunk, last))
    }

    async fn ask(&self, stream: Stream, chunk: Want) -> Result<Tried, FetchError> {
        let (store, stats) = (self.store.clone(), self.stats.clone());
        tokio::task::spawn_blocking(move || ask_blocking(&store, &stats, stream, chunk))
            .await
            .map_err(|e| FetchError::Store(e.to_string()))
    }
}

fn take_idle(idle: &Mutex<Vec<(NodeId, Stream)>>, provider: NodeId) -> Option<Stream> {
    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
    let at = idle.iter().position(|(n, _)| *n == provider)?;
    Some(idle.swap_remove(at).1)
}

fn chunks(want: Want) -> Vec<Want> {
    let mut out: Vec<Want> = Vec::new();
    let mut bytes = 0u64;
    for (id, len) in want {
        match out.last_mut() {
            Some(chunk) if chunk.len() < CHUNK_BLOBS && bytes.saturating_add(len) <= CHUNK_BYTES => {
                chunk.push((id, len));
                bytes = bytes.saturating_add(len);
            }
            _ => {
                out.push(vec![(id, len)]);
                bytes = len;
            }
        }
    }
    out
}

struct Counted<'a, R> {
    from: R,
    stats: &'a Stats,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        self.stats.bytes_fetched.add(n as u64);
        Ok(n)
    }
}

fn ask_blocking(store: &BlobStore, stats: &Stats, stream: Stream, chunk: Want) -> Tried {
    let mut bridge = Bridge::new(stream);
    let mut queue = VecDeque::new();
    let mut left = Vec::new();
    for (id, len) in chunk {
        match store.receive(id, len) {
            Ok(receiver) => queue.push_back((id, len, receiver)),
            Err(PutError::Busy(_)) => left.push((id, len)),
            Err(_) if store.has(id) => {}
            Err(e) => {
                left.push((id, len));
                left.extend(queue.into_iter().map(|(id, len, _)| (id, len)));
                return Tried { stream: None, left, error: Some(Trouble::Own(own(&e))) };
            }
        }
    }
    let ask = Ask { blobs: queue.iter().map(|(id, _, r)| (*id, r.offset())).collect() };
    let error = match frame::write_ask(&mut bridge, &ask) {
        Ok(()) => take_answers(stats, &mut bridge, &mut queue, &mut left),
        Err(e) => Some(Trouble::Provider(e.to_string())),
    };
    left.extend(queue.into_iter().map(|(id, len, _)| (id, len)));
    let stream = if error.is_none() { Some(bridge.into_inner()) } else { None };
    Tried { stream, left, error }
}

/// Takes answers off `queue` one by one; what the provider does not have goes to `left`.
fn take_answers(
    stats: &Stats,
    bridge: &mut Bridge<Stream>,
    queue: &mut VecDeque<(BlobId, u64, Receiver)>,
    left: &mut Want,
) -> Option<Trouble> {
    let mut from = io::BufReader::with_capacity(64 * 1024, Counted { from: bridge, stats });
    while let Some((id, len, mut receiver)) = queue.pop_front() {
        let taken = match frame::read_head(&mut from) {
            Ok(None) => {
                left.push((id, len));
                continue;
            }
            Ok(Some(found)) if found == len => receiver.feed(&mut from).and_then(|()| receiver.finish()),
            Ok(Some(found)) => {
                left.push((id, len));
                return Some(Trouble::Provider(format!("blob {id:?} has {found} bytes there, {len} were expected")));
            }
            Err(e) => {
                left.push((id, len));
                return Some(Trouble::Provider(e.to_string()));
            }
        };
        if let Err(e) = taken {
            left.push((id, len));
            return Some(match e {
                ReceiveError::Put(e) => Trouble::Own(own(&e)),
                e => Trouble::Provider(e.to_string()),
            });
        }
        stats.blobs_fetched.add(1);
    }
    None
}

fn own(e: &PutError) -> FetchError {
    if e.is_full() { FetchError::Full(e.to_string()) } else { FetchError::Store(e.to_string()) }
}
