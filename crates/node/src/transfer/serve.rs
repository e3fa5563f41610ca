//! The serving side: answers the asks of one stream, at most so many streams at work at a time.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use filch_blobs::{BlobStore, ReadError};
use filch_types::BlobId;
use filch_types::ask::Ask;
use tokio::sync::Semaphore;

use super::Duplex;
use super::bridge::Bridge;
use super::frame;
use super::patient::Patient;
use crate::stats::Stats;

/// Streams that are answered at the same time; each takes a thread while it is.
const AT_WORK: usize = 8;
/// Streams that may be open, answered or waiting.
const OPEN: usize = 128;
/// An asker that neither asks nor reads for so long is cut off.
const PATIENCE: Duration = Duration::from_secs(20);

/// Told of a blob that turned out damaged or missing while a peer asked for it.
pub type Lost = Arc<dyn Fn(BlobId) + Send + Sync>;

/// See the module.
#[derive(Clone)]
pub struct Server {
    store: BlobStore,
    stats: Arc<Stats>,
    open: Arc<Semaphore>,
    at_work: Arc<Semaphore>,
    lost: Lost,
}

/// Counts what goes through.
struct Counted<'a, W> {
    to: W,
    stats: &'a Stats,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.to.write(buf)?;
        self.stats.bytes_served.add(n as u64);
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Server {
    /// Serves what is in `store`.
    pub fn new(store: BlobStore, stats: Arc<Stats>, lost: Lost) -> Self {
        let open = Arc::new(Semaphore::new(OPEN));
        Self { store, stats, open, at_work: Arc::new(Semaphore::new(AT_WORK)), lost }
    }

    /// Answers until the asker is done, silent or wrong. Returns why it ended, if not well.
    pub async fn serve<S: Duplex + 'static>(&self, stream: S) -> io::Result<()> {
        let Ok(_open) = self.open.try_acquire() else {
            self.stats.serve_refused.add(1);
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "too many streams are open"));
        };
        let mut stream = Patient::new(stream, PATIENCE);
        while let Some(ask) = frame::read_ask(&mut stream).await? {
            let at_work = self.at_work.acquire().await.map_err(io::Error::other)?;
            let me = self.clone();
            let answered = tokio::task::spawn_blocking(move || {
                let mut bridge = Bridge::new(stream);
                let result = me.answer(&ask, &mut bridge);
                (bridge.into_inner(), result)
            });
            let (back, result) = answered.await.map_err(io::Error::other)?;
            drop(at_work);
            result?;
            stream = back;
        }
        Ok(())
    }

    fn answer(&self, ask: &Ask, to: &mut dyn Write) -> io::Result<()> {
        let mut to = BufWriter::with_capacity(64 * 1024, Counted { to, stats: &self.stats });
        for &(id, from) in &ask.blobs {
            let len = self.store.len(id).filter(|len| from <= *len);
            frame::write_head(&mut to, len)?;
            if len.is_none() {
                continue;
            }
            if let Err(e) = self.store.encode(id, from, &mut to) {
                if matches!(e, ReadError::Damaged(_) | ReadError::Missing(_)) {
                    (self.lost)(id);
                }
                return Err(io::Error::other(e));
            }
        }
        to.flush()
    }
}
