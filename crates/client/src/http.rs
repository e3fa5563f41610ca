//! HTTP/1.1 over the Unix socket: one connection a request.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use filch_api::{Problem, routes};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::{Client, ClientError};

/// Longest wait for the head of an answer.
const HEAD: Duration = Duration::from_secs(60);
/// The same where the node has to read or fetch a lot first.
const HEAD_DATA: Duration = Duration::from_secs(900);
/// Bytes of a JSON answer, at most.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

pub(crate) enum Body {
    Empty,
    Json(Vec<u8>),
    Octets(Bytes),
}

impl Body {
    pub(crate) fn json<T: Serialize>(value: &T) -> Result<Self, ClientError> {
        serde_json::to_vec(value).map(Body::Json).map_err(|e| ClientError::Protocol(e.to_string()))
    }
}

fn lost(error: impl std::fmt::Display) -> ClientError {
    ClientError::Lost(error.to_string())
}

impl Client {
    async fn connect(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.socket).await.map_err(|e| match e.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory => {
                ClientError::NoNode { socket: self.socket.to_path_buf() }
            }
            ErrorKind::PermissionDenied => ClientError::Forbidden { socket: self.socket.to_path_buf() },
            _ => ClientError::Io(e),
        })
    }

    /// Sends, and waits for the head of an answer that is no problem.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Body) -> Result<Response<Incoming>, ClientError> {
        let limit = if matches!(body, Body::Octets(_)) || path.starts_with(routes::BLOBS) { HEAD_DATA } else { HEAD };
        let work = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(self.connect().await?)).await.map_err(lost)?;
            // It ends when the answer was read or dropped.
            tokio::spawn(connection);
            let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
            let bytes = match body {
                Body::Empty => Bytes::new(),
                Body::Json(json) => {
                    request = request.header(CONTENT_TYPE, "application/json");
                    json.into()
                }
                Body::Octets(bytes) => {
                    request = request.header(CONTENT_TYPE, routes::OCTETS);
                    bytes
                }
            };
            let request = request.body(Full::new(bytes)).map_err(|e| ClientError::Protocol(e.to_string()))?;
            sender.send_request(request).await.map_err(lost)
        };
        let response = tokio::time::timeout(limit, work).await.map_err(|_| ClientError::Silent(limit.as_secs()))??;
        if response.status().is_success() { Ok(response) } else { Err(problem(response).await) }
    }

    /// A request with a JSON answer.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, ClientError> {
        let bytes = collect(self.send(method, path, body).await?, MAX_ANSWER).await?;
        serde_json::from_slice(&bytes).map_err(|e| ClientError::Protocol(e.to_string()))
    }
}

/// The whole body, at most `max` bytes.
pub(crate) async fn collect(response: Response<Incoming>, max: usize) -> Result<Bytes, ClientError> {
    let all = tokio::time::timeout(HEAD_DATA, Limited::new(response.into_body(), max).collect());
    let all = all.await.map_err(|_| ClientError::Silent(HEAD_DATA.as_secs()))?;
    Ok(all.map_err(lost)?.to_bytes())
}

async fn problem(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    match collect(response, MAX_ANSWER).await {
        Ok(bytes) => match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => problem.into(),
            Err(_) => {
                let text: String = String::from_utf8_lossy(&bytes).chars().take(200).collect();
                ClientError::Protocol(format!("HTTP status {status}: {text}"))
            }
        },
        Err(error) => error,
    }
}

/// A query string of the pairs that have a value.
pub(crate) fn query(path: String, pairs: &[(&str, Option<String>)]) -> String {
    let mut out = path;
    let mut first = true;
    for (key, value) in pairs {
        let Some(value) = value else { continue };
        out.push(if std::mem::take(&mut first) { '?' } else { '&' });
        out.push_str(key);
        out.push('=');
        for b in value.bytes() {
            if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
                out.push(char::from(b));
            } else {
                out.push_str(&format!("%{b:02X}"));
            }
        }
    }
    out
}
