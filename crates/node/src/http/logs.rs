//! `GET /v1/jobs/{id}/logs/{task}`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State, rejection::QueryRejection};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use filch_api::{Code, Problem, routes};
use filch_core::view::JobView;
use filch_exec::LiveStream;
use filch_types::ranges::Range;
use filch_types::{Content, JobId, Manifest, NodeId};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::jobs::not_here_yet;
use super::problem::{Fail, internal};
use super::{SharedApp, files, input, ndjson, tallies};

/// Bytes that are read of a running attempt at a time.
const CHUNK: usize = 64 * 1024;
/// Between two looks at what a running attempt has written.
const LOOK: Duration = Duration::from_millis(200);

/// The query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    stream: Option<Which>,
    #[serde(default)]
    follow: bool,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Which {
    Stdout,
    Stderr,
}

impl From<Which> for LiveStream {
    fn from(w: Which) -> Self {
        match w {
            Which::Stdout => LiveStream::Stdout,
            Which::Stderr => LiveStream::Stderr,
        }
    }
}

/// `GET /v1/jobs/{id}/logs/{task}`.
pub async fn logs(
    State(app): State<SharedApp>,
    Path((id, task)): Path<(String, u32)>,
    options: Result<Query<Options>, QueryRejection>,
) -> Result<Response, Fail> {
    let options = input::query(options)?;
    let view = input::current_job(&app, &id).await?;
    let Some(manifest) = view.manifest.clone() else { return Err(not_here_yet(&view)) };
    let which = options.stream.unwrap_or(Which::Stdout);
    if task >= manifest.spec.total() {
        let detail = format!("{task}; the job has {} tasks, from 0", manifest.spec.total());
        return Err(Fail(Problem::new(Code::NoSuchTask).detail(detail)));
    }
    if let Some(content) = kept(&app, (view.job, &manifest), task, which).await? {
        return whole(&app, &view, content).await;
    }
    let running = app.exec.running().into_iter().find(|r| r.job == view.job && r.index == task);
    match running {
        Some(r) => live(&app, manifest, (view.job, task, r.attempt), which, options.follow),
        None => Err(elsewhere(&app, &view, task).await?),
    }
}

/// What is kept of the winning result.
async fn kept(
    app: &SharedApp,
    (job, manifest): (JobId, &Arc<Manifest>),
    task: u32,
    which: Which,
) -> Result<Option<Content>, Fail> {
    let one = Range::new(task, task.saturating_add(1));
    let m = manifest.clone();
    let read = app.driver.read(move |n| tallies::shown(n, job, &m, n.winners(job, one, 1)));
    let (mut winners, tallies) = read.await?;
    let Some(w) = winners.pop() else { return Ok(None) };
    let packs = app.packs.clone();
    let read = tokio::task::spawn_blocking(move || {
        let pack = packs.get(job, w.pack)?;
        let mut run = pack.and_then(|p| p.of(&w).next());
        run.iter_mut().for_each(|run| tallies::put(run, &w, &tallies));
        Ok::<_, filch_ledger::LedgerError>(run)
    });
    let run = read.await.map_err(internal)?.map_err(internal)?;
    Ok(run.map(|run| {
        let output = run.outcome.output();
        match which {
            Which::Stdout => output.stdout.kept.clone(),
            Which::Stderr => output.stderr.kept.clone(),
        }
    }))
}

async fn whole(app: &SharedApp, view: &JobView, content: Content) -> Result<Response, Fail> {
    match content {
        Content::Inline(bytes) => Ok(([(header::CONTENT_TYPE, routes::OCTETS)], bytes).into_response()),
        Content::Blob(id, len) => {
            let me = app.facts.id;
            let from: Vec<NodeId> = view.replicas.iter().copied().filter(|n| *n != me).collect();
            let gone = |e: &dyn std::fmt::Display| Fail(Problem::new(Code::NoSuchBlob).detail(e));
            let mut tries = 0;
            loop {
                app.fetcher.fetch(&[(id, len)], &from, &|_| ()).await.map_err(|e| gone(&e))?;
                if len > filch_blobs::PACKED_MAX {
                    return files::body(app, id, len);
                }
                // Read before the answer begins: what turns out damaged is gone from the store, and fetched once more.
                let store = app.store.clone();
                match tokio::task::spawn_blocking(move || store.read(id, len)).await.map_err(internal)? {
                    Ok(bytes) => return Ok(([(header::CONTENT_TYPE, routes::OCTETS)], bytes).into_response()),
                    Err(e) if tries > 0 => return Err(gone(&e)),
                    Err(_) => tries += 1,
                }
            }
        }
    }
}

/// What a running attempt has written so far, and goes on to write.
fn live(
    app: &SharedApp,
    manifest: Arc<Manifest>,
    attempt: (JobId, u32, u64),
    which: Which,
    follow: bool,
) -> Result<Response, Fail> {
    let permit = ndjson::permit(app)?;
    let (to, from) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    let app = app.clone();
    tokio::spawn(async move {
        let _permit = permit;
        let mut offset = 0u64;
        loop {
            let exec = app.exec.clone();
            let read = tokio::task::spawn_blocking(move || exec.read_live(attempt, which.into(), offset, CHUNK)).await;
            match read {
                Ok(Some(Ok(bytes))) if !bytes.is_empty() => {
                    offset += bytes.len() as u64;
                    if to.send(Ok(bytes.into())).await.is_err() {
                        return;
                    }
                }
                Ok(Some(Ok(_))) if follow => {
                    tokio::select! {
                        () = tokio::time::sleep(LOOK) => {}
                        () = to.closed() => return,
                        () = app.ending.cancelled() => return,
                    }
                }
                // The attempt is over: what it wrote last is in its kept output.
                Ok(None) if follow => return rest(&app, &manifest, attempt, which, offset, &to).await,
                Ok(_) | Err(_) => return,
            }
        }
    });
    let body = Body::from_stream(ReceiverStream::new(from));
    Ok(([(header::CONTENT_TYPE, routes::OCTETS)], body).into_response())
}

/// The end of what an attempt wrote, once its result is known.
async fn rest(
    app: &SharedApp,
    manifest: &Arc<Manifest>,
    (job, task, _): (JobId, u32, u64),
    which: Which,
    offset: u64,
    to: &mpsc::Sender<Result<Bytes, std::io::Error>>,
) {
    let mut events = app.events.watch();
    let limit = tokio::time::Instant::now() + Duration::from_secs(10);
    let content = loop {
        match kept(app, (job, manifest), task, which).await {
            Ok(Some(content)) => break content,
            Ok(None) => {}
            Err(_) => return,
        }
        if tokio::time::timeout_at(limit, events.recv()).await.is_err() {
            return;
        }
    };
    let bytes = match content {
        Content::Inline(bytes) => bytes,
        Content::Blob(id, len) => {
            let store = app.store.clone();
            match tokio::task::spawn_blocking(move || store.read(id, len)).await {
                Ok(Ok(bytes)) => bytes,
                _ => return,
            }
        }
    };
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let _ = to.send(Ok(Bytes::from(bytes).slice(from..))).await;
}

/// Why there is nothing to show.
async fn elsewhere(app: &SharedApp, view: &JobView, task: u32) -> Result<Fail, Fail> {
    let job = view.job;
    let holder = app
        .driver
        .read(move |n| {
            let leases = n.leases(job)?;
            leases.held.iter().find(|(r, _)| (r.lo..r.hi).contains(&task)).map(|(_, n)| *n)
        })
        .await?;
    Ok(Fail(match holder {
        Some(node) if node != app.facts.id => {
            let node = app.names.one(node).await;
            let who = if node.name.is_empty() { node.id.short() } else { node.name };
            Problem::new(Code::RunsElsewhere).detail(format_args!("it was given to {who}")).hint("ask there")
        }
        _ => Problem::new(Code::NotStarted).detail(format_args!("task {task}")).hint("ask again later"),
    }))
}
