//! NDJSON answers, a line at a time.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures::Stream;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::ClientError;

/// Bytes of one line, at most: a result with all the files that it may carry inline, and then some.
const MAX_LINE: usize = 16 * 1024 * 1024;
/// Longest silence. Nodes give a sign of life every second, but may be suspended for a while.
const SILENCE: Duration = Duration::from_secs(150);

/// The lines of an NDJSON answer. Dropping it ends the request.
#[derive(Debug)]
pub struct Lines<T> {
    body: Incoming,
    buf: BytesMut,
    scanned: usize,
    ended: bool,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, buf: BytesMut::new(), scanned: 0, ended: false, kind: PhantomData }
    }

    /// The next line; `None` when the answer has ended. Cancel-safe: nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(line) = self.buffered()? {
                return Ok(Some(line));
            }
            if self.ended {
                return if self.buf.is_empty() { Ok(None) } else { Err(ClientError::Lost("within a line".into())) };
            }
            let frame = tokio::time::timeout(SILENCE, self.body.frame());
            match frame.await.map_err(|_| ClientError::Silent(SILENCE.as_secs()))? {
                None => self.ended = true,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buf.extend_from_slice(&data);
                    }
                }
                Some(Err(e)) => return Err(ClientError::Lost(e.to_string())),
            }
        }
    }

    /// The next line if it is here already.
    pub fn buffered(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            let Some(at) = self.buf[self.scanned..].iter().position(|b| *b == b'\n') else {
                self.scanned = self.buf.len();
                if self.scanned > MAX_LINE {
                    return Err(ClientError::Protocol(format!("a line of more than {MAX_LINE} bytes")));
                }
                return Ok(None);
            };
            let line = self.buf.split_to(self.scanned + at);
            self.buf.advance(1);
            self.scanned = 0;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return serde_json::from_slice(&line).map(Some).map_err(|e| ClientError::Protocol(e.to_string()));
        }
    }

    /// The same as a `futures::Stream`; it ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<T, ClientError>> + Send {
        futures::stream::unfold(Some(self), |lines| async {
            let mut lines = lines?;
            match lines.next().await {
                Ok(Some(line)) => Some((Ok(line), Some(lines))),
                Ok(None) => None,
                Err(e) => Some((Err(e), None)),
            }
        })
    }
}
