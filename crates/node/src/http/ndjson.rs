//! Streams of lines. What is written while a reader pauses waits in a buffer of a few chunks; a reader that takes nothing for
//! ten minutes (a pager may take its time) is cut off, with a note in the log.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use filch_api::{Code, Problem, routes};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::problem::Fail;
use super::{App, SharedApp};

/// Chunks that may wait for a reader.
const CHUNKS: usize = 8;
/// Bytes after which a chunk is sent although more lines are at hand.
const CHUNK: usize = 32 * 1024;
/// A reader that takes nothing for so long is cut off.
const PATIENCE: Duration = Duration::from_secs(600);

/// The reader is gone or too slow: stop.
#[derive(Debug, Clone, Copy)]
pub struct Gone;

/// The writing end of a stream.
pub struct Lines {
    to: mpsc::Sender<Result<Bytes, Infallible>>,
    buffer: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl Lines {
    /// Adds a line; sends when a chunk is full.
    pub async fn line<T: Serialize>(&mut self, line: &T) -> Result<(), Gone> {
        if serde_json::to_writer(&mut self.buffer, line).is_err() {
            return Err(Gone);
        }
        self.buffer.push(b'\n');
        if self.buffer.len() >= CHUNK { self.flush().await } else { Ok(()) }
    }
    /// Sends what there is.
    pub async fn flush(&mut self) -> Result<(), Gone> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        match self.to.send_timeout(Ok(chunk), PATIENCE).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                tracing::warn!("a client that read nothing for {PATIENCE:?} was cut off");
                Err(Gone)
            }
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Gone),
        }
    }
    /// A line at once.
    pub async fn now<T: Serialize>(&mut self, line: &T) -> Result<(), Gone> {
        self.line(line).await?;
        self.flush().await
    }
    /// Resolves when the reader is gone.
    pub async fn gone(&self) {
        self.to.closed().await;
    }
}

/// An answer whose lines `write` makes, in a task of its own.
pub fn stream<F, Fut>(app: &SharedApp, write: F) -> Result<Response, Fail>
where
    F: FnOnce(Lines) -> Fut,
    Fut: Future<Output = Result<(), Gone>> + Send + 'static,
{
    let permit = permit(app)?;
    let (to, from) = mpsc::channel(CHUNKS);
    let work = write(Lines { to, buffer: Vec::new(), _permit: permit });
    let ending = app.ending.clone();
    tokio::spawn(async move {
        // Streams must not hold up the end of the node.
        let _ = ending.run_until_cancelled(work).await;
    });
    let body = Body::from_stream(ReceiverStream::new(from));
    Ok(([(header::CONTENT_TYPE, routes::NDJSON)], body).into_response())
}

/// A place for one more stream.
pub fn permit(app: &App) -> Result<OwnedSemaphorePermit, Fail> {
    app.streams.clone().try_acquire_owned().map_err(|_| {
        let p = Problem::new(Code::Refused).detail("too many streams are open").hint("end some of the clients");
        Fail(p)
    })
}
