//! Bytes into the store and out of it.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path as FsPath;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State, rejection::QueryRejection};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use filch_api::{BlobRef, Code, FileLine, FilesRequest, IngestedFile, Problem, routes};
use filch_blobs::{BlobStore, PutError, ReadError, Take};
use filch_types::{BlobId, NodeId};
use futures::StreamExt;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::ndjson;
use super::problem::{Fail, internal};
use super::{App, SharedApp, input};

/// Bodies up to here are taken in memory.
const SMALL: usize = 1024 * 1024;
/// Bytes of a chunk of a blob on its way out.
const CHUNK: usize = 128 * 1024;
/// Files that are read at the same time; more would only make a disk seek.
const READERS: usize = 2;

fn put_problem(e: &PutError, path: Option<&str>) -> Problem {
    let what = path.map_or_else(|| e.to_string(), |p| format!("{p}: {e}"));
    if e.is_full() {
        return Problem::new(Code::DiskFull).detail(what).hint("free some space on the node's disk");
    }
    match e {
        PutError::NotAFile { .. } | PutError::Changed { .. } | PutError::Io { .. } if path.is_some() => {
            Problem::new(Code::FileUnreadable).detail(e)
        }
        PutError::TooLarge { .. } => Problem::new(Code::TooLarge).detail(what),
        _ => internal(what),
    }
}

/// Takes one file in. Blocks.
fn ingest(store: &BlobStore, index: u32, path: &str) -> Result<IngestedFile, Problem> {
    let unreadable = |why: &dyn std::fmt::Display| {
        Problem::new(Code::FileUnreadable).detail(format_args!("{path}: {why}")).hint("check its permissions")
    };
    let meta = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Problem::new(Code::FileMissing).detail(path).hint("check the path"),
        _ => unreadable(&e),
    })?;
    if !meta.is_file() {
        return Err(Problem::new(Code::FileUnreadable).detail(format_args!("{path}: it is not a plain file")));
    }
    let executable = meta.permissions().mode() & 0o100 != 0;
    let (blob, len) = store.put_file(FsPath::new(path), Take::Copy).map_err(|e| put_problem(&e, Some(path)))?;
    Ok(IngestedFile { index, blob, len, executable })
}

/// `POST /v1/files`.
pub async fn files(State(app): State<SharedApp>, body: Body) -> Result<Response, Fail> {
    let request: FilesRequest = input::json(body).await?;
    if request.paths.len() > routes::MAX_FILES {
        let p = Problem::new(Code::TooLarge).detail(format_args!("{} paths in one request", request.paths.len()));
        return Err(Fail(p.hint(format!("send at most {} at a time", routes::MAX_FILES))));
    }
    if let Some(path) = request.paths.iter().find(|p| !p.starts_with('/')) {
        return Err(Fail(Problem::new(Code::BadRequest).detail(format_args!("`{path}` is not an absolute path"))));
    }
    let store = app.store.clone();
    ndjson::stream(&app, move |mut lines| async move {
        let reads = request.paths.into_iter().enumerate().map(|(n, path)| {
            let store = store.clone();
            let index = u32::try_from(n).unwrap_or(u32::MAX);
            async move {
                let read = tokio::task::spawn_blocking(move || ingest(&store, index, &path)).await;
                (index, read.unwrap_or_else(|e| Err(internal(e))))
            }
        });
        let mut reads = std::pin::pin!(futures::stream::iter(reads).buffered(READERS));
        let quiet = Duration::from_millis(routes::HEARTBEAT_MS);
        let mut index = 0;
        loop {
            match tokio::time::timeout(quiet, reads.next()).await {
                Err(_) => lines.now(&FileLine::Progress { index, bytes: 0 }).await?,
                Ok(None) => return lines.flush().await,
                Ok(Some((n, Ok(file)))) => {
                    index = n.saturating_add(1);
                    lines.line(&FileLine::File(file)).await?;
                }
                Ok(Some((_, Err(problem)))) => return lines.now(&FileLine::Problem(problem)).await,
            }
        }
    })
}

/// `PUT /v1/blobs`.
pub async fn put_blob(State(app): State<SharedApp>, body: Body) -> Result<Json<BlobRef>, Fail> {
    let mut body = body.into_data_stream();
    let mut small: Vec<u8> = Vec::new();
    let broken = |e: axum::Error| Fail(Problem::new(Code::BadRequest).detail(e));
    while let Some(chunk) = body.next().await {
        small.extend_from_slice(&chunk.map_err(broken)?);
        if small.len() > SMALL {
            return put_large(&app, small, body).await;
        }
    }
    let store = app.store.clone();
    let put = tokio::task::spawn_blocking(move || store.put_bytes(&small)).await.map_err(internal)?;
    let (blob, len) = put.map_err(|e| put_problem(&e, None))?;
    Ok(Json(BlobRef { blob, len }))
}

/// Through a file that is then moved into the store.
async fn put_large(app: &App, first: Vec<u8>, mut body: axum::body::BodyDataStream) -> Result<Json<BlobRef>, Fail> {
    let _permit = ndjson::permit(app)?;
    let (to, mut from) = mpsc::channel::<Bytes>(4);
    let (store, dir) = (app.store.clone(), app.facts.incoming.clone());
    let write = tokio::task::spawn_blocking(move || {
        let temp = Temp::new(&dir).map_err(internal)?;
        let mut file = std::fs::File::create(&temp.0).map_err(|e| full_or(&e))?;
        file.write_all(&first).map_err(|e| full_or(&e))?;
        loop {
            match from.blocking_recv() {
                Some(chunk) if chunk.is_empty() => break,
                Some(chunk) => file.write_all(&chunk).map_err(|e| full_or(&e))?,
                None => return Err(Problem::new(Code::BadRequest).detail("the body broke off")),
            }
        }
        drop(file);
        store.put_file(&temp.0, Take::Move).map_err(|e| put_problem(&e, None))
    });
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|e| Fail(Problem::new(Code::BadRequest).detail(e)))?;
        if !chunk.is_empty() && to.send(chunk).await.is_err() {
            break;
        }
    }
    // An empty chunk is the end; a sender that is only dropped is a body that broke off.
    let _ = to.send(Bytes::new()).await;
    drop(to);
    let (blob, len) = write.await.map_err(internal)??;
    Ok(Json(BlobRef { blob, len }))
}

fn full_or(e: &std::io::Error) -> Problem {
    match e.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Problem::new(Code::DiskFull).detail(e).hint("free some space on the node's disk")
        }
        _ => internal(e),
    }
}

/// A file that is gone when nobody needs it any more.
struct Temp(std::path::PathBuf);

impl Temp {
    fn new(dir: &FsPath) -> std::io::Result<Self> {
        let name: [u8; 16] = crate::datadir::random()?;
        Ok(Self(dir.join(filch_types::Nonce(name).to_string())))
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The query of a blob.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    job: Option<String>,
}

/// `GET /v1/blobs/{id}`.
pub async fn get_blob(
    State(app): State<SharedApp>,
    Path(id): Path<String>,
    options: Result<Query<Options>, QueryRejection>,
) -> Result<Response, Fail> {
    let options = input::query(options)?;
    let blob: BlobId =
        id.parse().map_err(|e| Fail(Problem::new(Code::BadId).detail(format_args!("`{id}` is no blob id: {e}"))))?;
    let missing = || Fail(Problem::new(Code::NoSuchBlob).detail(blob));
    if app.store.len(blob).is_none() {
        let Some(job) = options.job else { return Err(missing()) };
        bring(&app, blob, &job).await?;
    }
    let len = app.store.len(blob).ok_or_else(missing)?;
    body(&app, blob, len)
}

/// Has the blob here, from whoever keeps the job. Its length is in the job's results or inputs.
async fn bring(app: &SharedApp, blob: BlobId, job: &str) -> Result<(), Fail> {
    let view = input::job(app, job).await?;
    let me = app.facts.id;
    let from: Vec<NodeId> = view.replicas.iter().copied().filter(|n| *n != me).collect();
    let missing = |why: String| Fail(Problem::new(Code::NoSuchBlob).detail(format_args!("{blob}: {why}")));
    let len = length(app, &view, blob).await?.ok_or_else(|| missing("the job does not name it".into()))?;
    app.fetcher.fetch(&[(blob, len)], &from, &|_| ()).await.map_err(|e| missing(e.to_string()))
}

/// The length of a blob that the job's results name.
async fn length(app: &SharedApp, view: &filch_core::view::JobView, blob: BlobId) -> Result<Option<u64>, Fail> {
    let job = view.job;
    let Some(manifest) = view.manifest.clone() else { return Ok(None) };
    use crate::transfer::closure::{group_inputs, item_lists};
    if let Some((_, len)) = item_lists(&manifest).chain(group_inputs(&manifest)).find(|(id, _)| *id == blob) {
        return Ok(Some(len));
    }
    let total = manifest.spec.total();
    let all = filch_types::ranges::Range::new(0, total);
    for span in crate::delivery::collect::spans(vec![all]) {
        let winners = app.driver.read(move |n| n.winners(job, span, usize::MAX)).await?;
        let packs = app.packs.clone();
        let found = tokio::task::spawn_blocking(move || {
            for w in winners {
                let Some(pack) = packs.get(job, w.pack).map_err(internal)? else { continue };
                let mut blobs = pack.runs.iter().flat_map(|r| r.outcome.output().blobs());
                if let Some((_, len)) = blobs.find(|(id, _)| *id == blob) {
                    return Ok(Some(len));
                }
            }
            Ok::<_, Problem>(None)
        });
        if let Some(len) = found.await.map_err(internal)?? {
            return Ok(Some(len));
        }
    }
    Ok(None)
}

/// The blob as a body of known length.
pub fn body(app: &SharedApp, blob: BlobId, len: u64) -> Result<Response, Fail> {
    let permit = ndjson::permit(app)?;
    let (to, from) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    let store = app.store.clone();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        if let Err(e) = pour(&store, blob, &to) {
            let _ = to.blocking_send(Err(e));
        }
    });
    let head = [(header::CONTENT_TYPE, routes::OCTETS.to_owned()), (header::CONTENT_LENGTH, len.to_string())];
    Ok((head, Body::from_stream(ReceiverStream::new(from))).into_response())
}

fn pour(store: &BlobStore, blob: BlobId, to: &mpsc::Sender<Result<Bytes, std::io::Error>>) -> std::io::Result<()> {
    let mut from = store.open_read(blob).map_err(|e: ReadError| std::io::Error::other(e))?;
    loop {
        let mut chunk = vec![0; CHUNK];
        let n = from.read(&mut chunk)?;
        if n == 0 {
            return Ok(());
        }
        chunk.truncate(n);
        if to.blocking_send(Ok(chunk.into())).is_err() {
            return Ok(());
        }
    }
}
