//! A small HTTP client over a Unix socket.

use std::path::PathBuf;

use filch_api::{Problem, ResultLine, SubmitLine, TaskResult};
use filch_types::JobId;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

#[derive(Clone)]
pub struct Api(pub PathBuf);

/// Lines of a stream as they come.
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    pub async fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            match self.body.frame().await? {
                Ok(frame) => self.buffer.extend_from_slice(frame.data_ref().map_or(&[], |d| d)),
                Err(_) => return None,
            }
        }
    }
}

impl Api {
    pub async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Response<Incoming> {
        let stream = tokio::net::UnixStream::connect(&self.0).await.unwrap();
        let (mut to, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "node");
        to.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap()
    }

    pub async fn call(&self, method: Method, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let answer = self.send(method, path, body).await;
        let status = answer.status().as_u16();
        (status, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, body) = self.call(Method::GET, path, Vec::new()).await;
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    pub async fn problem(&self, method: Method, path: &str, body: &str) -> Problem {
        let (status, body) = self.call(method, path, body.as_bytes().to_vec()).await;
        let p: Problem = serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{path}: {status} {e}"));
        assert_eq!(p.status, status);
        p
    }

    pub async fn stream(&self, method: Method, path: &str, body: &Value) -> Lines {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let answer = self.send(method, path, body).await;
        let status = answer.status().as_u16();
        if status != 200 {
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            panic!("{path}: {status} {}", String::from_utf8_lossy(&body));
        }
        Lines { body: answer.into_body(), buffer: Vec::new() }
    }

    /// Submits and waits until the job is accepted.
    pub async fn submit(&self, request: &Value) -> (JobId, usize) {
        let mut lines = self.stream(Method::POST, "/v1/jobs", request).await;
        while let Some(line) = lines.next().await {
            match line {
                SubmitLine::Accepted { job, holders } => return (job, holders.len()),
                SubmitLine::Problem(p) => panic!("{p}"),
                SubmitLine::Submitted { .. } | SubmitLine::Copies { .. } => {}
            }
        }
        panic!("the stream ended early");
    }

    /// All results, by following; and the last line.
    pub async fn results(&self, job: JobId, query: &str) -> (Vec<TaskResult>, ResultLine) {
        let path = format!("/v1/jobs/{job}/results?{query}");
        let mut lines = self.stream(Method::GET, &path, &Value::Null).await;
        let mut results = Vec::new();
        loop {
            match lines.next().await.expect("the stream ended early") {
                ResultLine::Result(r) => results.push(r),
                ResultLine::Progress { .. } => {}
                last => return (results, last),
            }
        }
    }

    /// Puts bytes into the store.
    pub async fn put(&self, bytes: &[u8]) -> filch_api::BlobRef {
        let (status, body) = self.call(Method::PUT, "/v1/blobs", bytes.to_vec()).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }
}

/// A submit of one group.
pub fn job(nonce: u8, group: Value) -> Value {
    json!({ "nonce": format!("{nonce:02x}").repeat(16), "spec": { "name": "test", "attended": true, "groups": [group] } })
}

pub fn array(count: u32) -> Value {
    json!({ "array": { "first": 1, "step": 1, "count": count } })
}

/// Every task exactly once.
pub fn assert_each_once(results: &[TaskResult], total: u32) {
    let mut seen = vec![0u32; total as usize];
    for r in results {
        (r.task..r.task + r.count).for_each(|t| seen[t as usize] += 1);
    }
    assert!(
        seen.iter().all(|n| *n == 1),
        "{:?}",
        seen.iter().enumerate().filter(|(_, n)| **n != 1).collect::<Vec<_>>()
    );
}
