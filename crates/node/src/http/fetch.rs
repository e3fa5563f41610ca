//! `POST /v1/jobs/{id}/fetch`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use filch_api::{Code, Delivery, FetchLine, FetchRequest, JobState, Problem, routes};
use filch_core::Event;
use filch_core::view::JobView;
use filch_types::NodeId;
use filch_types::ranges::Range;
use tokio::sync::broadcast::error::RecvError;

use super::jobs::{counts, not_here_yet};
use super::ndjson::{self, Gone, Lines};
use super::problem::{Fail, internal};
use super::submit::check_dir;
use super::{SharedApp, input};
use crate::delivery::{collect, write_somehow};
use crate::events::Happening;

/// Between two lines.
const PACE: Duration = Duration::from_millis(100);
/// Packs whose files are in memory at the same time.
const PACKS: usize = 8;
/// Reasons that are told.
const PROBLEMS: usize = 20;

/// `POST /v1/jobs/{id}/fetch`.
pub async fn fetch(State(app): State<SharedApp>, Path(id): Path<String>, body: Body) -> Result<Response, Fail> {
    let request: FetchRequest = input::json(body).await?;
    let dir = check_dir(&app, request.dir).await?;
    let view = input::current_job(&app, &id).await?;
    let watched = app.clone();
    ndjson::stream(&app, move |mut lines| async move {
        let ended = async |lines: &mut Lines| {
            let view = if request.now { view } else { at_its_end(&watched, view, lines).await? };
            write(&watched, view, dir, lines).await
        };
        let last = match ended(&mut lines).await {
            Ok(done) => FetchLine::Done(done),
            Err(Stop::Gone) => return Err(Gone),
            Err(Stop::Fail(fail)) => FetchLine::Problem(fail.0),
        };
        lines.now(&last).await
    })
}

enum Stop {
    Gone,
    Fail(Fail),
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Stop::Gone
    }
}
impl<E: Into<Fail>> From<E> for Stop {
    fn from(e: E) -> Self {
        Stop::Fail(e.into())
    }
}

/// Waits until the job is over, as this node knows it.
async fn at_its_end(app: &SharedApp, mut view: JobView, lines: &mut Lines) -> Result<JobView, Stop> {
    let (job, mut events) = (view.job, app.events.watch());
    let beat = Duration::from_millis(routes::HEARTBEAT_MS);
    while !JobState::from(view.state).is_over() {
        lines.now(&FetchLine::Waiting(counts(&view.counts))).await?;
        let until = tokio::time::Instant::now() + beat;
        let ended = async {
            loop {
                match events.recv().await {
                    Ok((_, Happening::Core(Event::State(id, state))))
                        if id == job && JobState::from(state).is_over() =>
                    {
                        return;
                    }
                    Err(RecvError::Closed) => return std::future::pending().await,
                    _ => {}
                }
            }
        };
        tokio::select! {
            _ = tokio::time::timeout_at(until, ended) => {}
            () = lines.gone() => return Err(Stop::Gone),
        }
        let now = app.driver.read(move |n| n.job(job)).await?;
        view = now.ok_or_else(|| Stop::Fail(Fail(Problem::new(Code::NoSuchJob).detail("it was deleted"))))?;
    }
    Ok(view)
}

async fn write(app: &SharedApp, view: JobView, dir: PathBuf, lines: &mut Lines) -> Result<Delivery, Stop> {
    let (job, me) = (view.job, app.facts.id);
    let Some(manifest) = view.manifest.clone() else { return Err(Stop::Fail(not_here_yet(&view))) };
    let total = manifest.spec.total();
    let from: Vec<NodeId> = view.replicas.iter().copied().filter(|n| *n != me).collect();
    let mut done = Delivery { dir: dir.display().to_string(), ..Delivery::default() };
    let mut told = Instant::now();
    for span in collect::spans(vec![Range::new(0, total)]) {
        let winners = app.driver.read(move |n| n.winners(job, span, usize::MAX)).await?;
        for part in winners.chunks(PACKS) {
            let (packs, part) = (app.packs.clone(), part.to_vec());
            let read = tokio::task::spawn_blocking(move || collect::files(&packs, job, &part));
            let files = read.await.map_err(internal)?.map_err(internal)?;
            let beat = Duration::from_millis(routes::HEARTBEAT_MS);
            let mut write = std::pin::pin!(write_somehow(&app.fetcher, &app.store, &dir, files, &from));
            let written = loop {
                match tokio::time::timeout(beat, write.as_mut()).await {
                    Ok(written) => break written,
                    Err(_) => lines.now(&FetchLine::Progress(done.clone())).await?,
                }
            };
            done.files += written.files;
            done.bytes += written.bytes;
            done.failed += written.problems.len() as u64;
            let room = PROBLEMS.saturating_sub(done.problems.len());
            done.problems.extend(written.problems.into_iter().take(room).map(|(_, why)| why));
            if told.elapsed() >= PACE {
                told = Instant::now();
                lines.now(&FetchLine::Progress(done.clone())).await?;
            }
        }
    }
    Ok(done)
}
