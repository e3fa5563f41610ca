//! `POST /v1/jobs/{id}/fetch`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use filch_api::{Delivery, FetchLine, FetchRequest, routes};
use filch_core::view::JobView;
use filch_types::NodeId;
use filch_types::ranges::Range;

use super::jobs::not_here_yet;
use super::ndjson::{self, Gone, Lines};
use super::problem::{Fail, internal};
use super::submit::check_dir;
use super::{SharedApp, input};
use crate::delivery::{collect, write_somehow};

/// Between two lines.
const PACE: Duration = Duration::from_millis(100);
/// Packs whose files are in memory at the same time.
const PACKS: usize = 8;
/// Reasons that are told.
const PROBLEMS: usize = 20;

/// `POST /v1/jobs/{id}/fetch`.
pub async fn fetch(State(app): State<SharedApp>, Path(id): Path<String>, body: Body) -> Result<Response, Fail> {
    let request: FetchRequest = input::json(body).await?;
    let view = input::watched_job(&app, &id).await?;
    let dir = check_dir(&app, request.dir).await?;
    let Some(manifest) = view.manifest.clone() else { return Err(not_here_yet(&view)) };
    let total = manifest.spec.total();
    let watched = app.clone();
    ndjson::stream(&app, move |mut lines| async move {
        let last = match write(&watched, view, total, dir, &mut lines).await {
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

async fn write(app: &SharedApp, view: JobView, total: u32, dir: PathBuf, lines: &mut Lines) -> Result<Delivery, Stop> {
    let (job, me) = (view.job, app.facts.id);
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
