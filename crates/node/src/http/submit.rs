//! `POST /v1/jobs`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use filch_api::{Code, Problem, SubmitLine, SubmitRequest, routes};
use filch_core::Input;
use filch_core::io::Reply;
use filch_core::view::JobView;
use filch_types::{JobId, JobSpec, NodeId, Nonce};

use super::ndjson::{self, Gone, Lines};
use super::problem::{Fail, internal, of_client, of_spec};
use super::{App, SharedApp, divide, input};
use crate::clock::Clock;
use crate::driver::Call;
use crate::events::{Happening, job_of};

/// Between two lines on copies.
const PACE: Duration = Duration::from_millis(100);

/// `POST /v1/jobs`.
pub async fn submit(State(app): State<SharedApp>, body: Body) -> Result<Response, Fail> {
    let request: SubmitRequest = input::json(body).await?;
    if request.copies.is_some_and(|c| c == 0 || usize::from(c) > filch_types::limits::MAX_REPLICAS) {
        return Err(Fail(Problem::new(Code::BadRequest).detail("`copies` must be 1 to 8")));
    }
    let mut wanted = request.spec;
    divide::resolve(&mut wanted, app.registry.kinds())?;
    let mut spec = JobSpec::try_from(wanted).map_err(|e| of_spec(&e))?;
    count_closure(&mut spec);
    let spec = divide::checked(&app, spec).await?;
    let dir = match request.deliver_to {
        Some(dir) => Some(check_dir(&app, dir).await?),
        None => None,
    };
    let nonce = request.nonce;
    if let Some(dir) = &dir {
        app.deliveries.announce(nonce, dir).await.map_err(|why| Fail(Problem::new(Code::DiskFull).detail(why)))?;
    }
    let asked = Asked { nonce, spec, dir, now_ms: Clock.wall_ms() };
    let mut call = begin(&app, &asked, request.copies).await?;
    let (first, view) = match first_line(&app, &asked, &mut call).await {
        Ok(first) => first,
        Err(fail) => {
            if asked.dir.is_some() {
                app.deliveries.withdraw(nonce);
            }
            return Err(fail);
        }
    };
    let watched = app.clone();
    ndjson::stream(&app, move |lines| copies(watched, view, call, first, lines))
}

struct Asked {
    nonce: Nonce,
    spec: JobSpec,
    dir: Option<PathBuf>,
    now_ms: u64,
}

/// The closure decides whether inputs are looked for at all: a client that did not count must not lose its inputs.
fn count_closure(spec: &mut JobSpec) {
    use filch_types::manifest::Generator;
    let mut direct: Vec<(filch_types::BlobId, u64)> = Vec::new();
    for g in &spec.groups {
        direct.extend(g.inputs.iter().map(|f| (f.blob, f.len)));
        if let Generator::Items { list, len, .. } = g.tasks {
            direct.push((list, len));
        }
    }
    direct.sort_unstable();
    direct.dedup();
    let blobs = u32::try_from(direct.len()).unwrap_or(u32::MAX);
    // None counted: items may have inputs of their own, so the lists are to be read.
    let lists = spec.groups.iter().any(|g| matches!(g.tasks, Generator::Items { .. }));
    let least = if spec.closure_blobs == 0 && lists { blobs.saturating_add(1) } else { blobs };
    spec.closure_blobs = spec.closure_blobs.max(least);
    spec.closure_bytes = spec.closure_bytes.max(direct.iter().fold(0, |n, (_, len)| n.saturating_add(*len)));
}

/// A directory that output files can be written into.
pub async fn check_dir(app: &SharedApp, dir: String) -> Result<PathBuf, Fail> {
    let path = PathBuf::from(&dir);
    if !path.is_absolute() {
        return Err(Fail(Problem::new(Code::BadRequest).detail(format_args!("`{dir}` is not an absolute path"))));
    }
    let deliveries = app.deliveries.clone();
    let checked = path.clone();
    let result = tokio::task::spawn_blocking(move || deliveries.check(&checked)).await.map_err(internal)?;
    result.map_err(|e| {
        let p = Problem::new(Code::DirectoryUnusable).detail(e);
        Fail(p.hint("make it, or give the node's user the right to write there"))
    })?;
    Ok(path)
}

async fn begin(app: &App, asked: &Asked, copies: Option<u8>) -> Result<Call, Fail> {
    let (nonce, now_ms, spec) = (asked.nonce, asked.now_ms, Box::new(asked.spec.clone()));
    Ok(app.driver.call(move |client| Input::Submit { client, nonce, now_ms, spec, copies }).await?)
}

/// The first reply of the core, and the checks that depend on it.
async fn first_line(app: &SharedApp, asked: &Asked, call: &mut Call) -> Result<(SubmitLine, JobView), Fail> {
    let job = match call.next().await? {
        Reply::Submitted(job) => job,
        Reply::Refused(e) => return Err(Fail(of_client(&e))),
        other => return Err(Fail(internal(format_args!("an unexpected reply to a submit: {other:?}")))),
    };
    let view = app.driver.read(move |n| n.job(job)).await?;
    let Some(view) = view else { return Err(Fail(Problem::new(Code::NoSuchJob).detail(job))) };
    let Some(manifest) = view.manifest.clone() else { return Err(Fail(internal("a submitted job has no manifest"))) };
    if manifest.spec != asked.spec {
        let p = Problem::new(Code::NonceReused).detail(format_args!("it belongs to job {}", job.short()));
        return Err(Fail(p.hint("use a new nonce for a new job")));
    }
    if let Some(dir) = &asked.dir {
        app.deliveries.begin(job, manifest.clone(), dir);
    }
    let known = manifest.created_ms != asked.now_ms;
    Ok((SubmitLine::Submitted { job, known }, view))
}

/// Says how the copies come along until the job is accepted.
async fn copies(
    app: SharedApp,
    view: JobView,
    mut call: Call,
    first: SubmitLine,
    mut lines: Lines,
) -> Result<(), Gone> {
    let job = view.job;
    let mut events = app.events.watch();
    let copying = Watching::begin(&app, job);
    lines.now(&first).await?;
    let started = Instant::now();
    let quiet = Duration::from_millis(routes::HEARTBEAT_MS);
    let mut due = started + PACE;
    let last = loop {
        tokio::select! {
            reply = call.next() => match reply {
                Ok(Reply::Accepted { job, holders }) => {
                    break SubmitLine::Accepted { job, holders: app.names.of(&holders).await };
                }
                Ok(Reply::Refused(e)) => break SubmitLine::Problem(of_client(&e)),
                Ok(_) => {}
                Err(e) => break SubmitLine::Problem(Fail::from(e).0),
            },
            event = events.recv() => {
                let changed = matches!(&event, Ok((_, Happening::Core(e))) if job_of(e) == Some(job));
                if changed && Instant::now() >= due {
                    lines.now(&progress(&app, job, started).await).await?;
                    due = Instant::now() + PACE;
                }
            }
            () = tokio::time::sleep_until((due + quiet).into()) => {
                lines.now(&progress(&app, job, started).await).await?;
                due = Instant::now() + PACE;
            }
        }
    };
    drop(copying);
    lines.now(&last).await
}

/// Progress of copies is only kept while somebody looks.
struct Watching(SharedApp, JobId);

impl Watching {
    fn begin(app: &SharedApp, job: JobId) -> Self {
        app.copying.begin(job);
        Self(app.clone(), job)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.copying.end(self.1);
    }
}

async fn progress(app: &App, job: JobId, started: Instant) -> SubmitLine {
    let view = app.driver.read(move |n| n.job(job)).await.ok().flatten();
    let Some(view) = view else {
        return SubmitLine::Copies { have: 0, want: 0, holders: Vec::new(), missing_bytes: 0, eta_ms: None };
    };
    let total = view.manifest.as_ref().map_or(0, |m| m.spec.closure_bytes);
    let got = app.copying.bytes(job);
    let holders: Vec<NodeId> = view.holders.iter().map(|(n, _)| *n).collect();
    let waiting = view.replicas.iter().filter(|r| !holders.contains(r) && **r != app.facts.id);
    let (mut missing, mut moved) = (0u64, 0u64);
    for r in waiting {
        let has = got.get(r).copied().unwrap_or(0).min(total);
        missing = missing.saturating_add(total - has);
        moved = moved.saturating_add(has);
    }
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let eta_ms = (moved > 0 && ms > 500).then(|| (u128::from(missing) * u128::from(ms) / u128::from(moved)) as u64);
    let have = u8::try_from(holders.len()).unwrap_or(u8::MAX);
    SubmitLine::Copies { have, want: view.k, holders: app.names.of(&holders).await, missing_bytes: missing, eta_ms }
}
