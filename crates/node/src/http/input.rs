//! What comes in: bodies, queries, ids.

use std::time::Duration;

use axum::body::Body;
use filch_api::{Code, Problem, routes};
use filch_core::Input;
use filch_core::view::{JobView, Role};
use filch_types::JobId;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast::Receiver;
use tokio::time::Instant;

use super::App;
use super::jobs::not_here_yet;
use super::problem::Fail;
use crate::events::{Happening, job_of};

fn bad(why: impl std::fmt::Display) -> Fail {
    Fail(Problem::new(Code::BadRequest).detail(why))
}

/// A JSON body. Errors name line, column and field.
pub async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Fail> {
    let limit = routes::MAX_BODY;
    let bytes = axum::body::to_bytes(body, limit)
        .await
        .map_err(|_| Fail(Problem::new(Code::TooLarge).detail(format_args!("a body has at most {limit} bytes"))))?;
    serde_json::from_slice(&bytes).map_err(bad)
}

/// A query.
pub fn query<T>(q: Result<axum::extract::Query<T>, axum::extract::rejection::QueryRejection>) -> Result<T, Fail> {
    q.map(|q| q.0).map_err(|e| bad(e.body_text()))
}

/// The job that this id or prefix means, as this node sees it.
pub async fn job(app: &App, text: &str) -> Result<JobView, Fail> {
    if let Ok(id) = text.parse::<JobId>() {
        let view = app.driver.read(move |n| n.job(id)).await?;
        return view.ok_or_else(|| no_such(text));
    }
    let hex = text.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex || text.len() < routes::MIN_PREFIX || text.len() > 64 {
        let p = Problem::new(Code::BadId).detail(format_args!("`{}`", text.chars().take(80).collect::<String>()));
        return Err(Fail(p.hint("give at least 4 hex digits, as `filch ls` shows them")));
    }
    let prefix = text.to_ascii_lowercase();
    let mut found = app
        .driver
        .read(move |n| {
            let mut all = n.jobs();
            all.retain(|j| j.job.to_string().starts_with(&prefix));
            all
        })
        .await?;
    match (found.pop(), found.len()) {
        (None, _) => Err(no_such(text)),
        (Some(one), 0) => Ok(one),
        (Some(_), more) => {
            let p = Problem::new(Code::AmbiguousJob).detail(format_args!("`{text}` fits {} jobs", more + 1));
            Err(Fail(p.hint("give more digits")))
        }
    }
}

fn no_such(text: &str) -> Fail {
    Fail(Problem::new(Code::NoSuchJob).detail(format_args!("`{text}`")).hint("`filch ls` shows the jobs known here"))
}

/// A node that is behind waits so long for what others know of a job.
const CATCH_UP: Duration = Duration::from_secs(10);
/// Between two looks whether it has caught up, at most.
const LOOK: Duration = Duration::from_millis(200);

/// The same; a job that is not kept here is read along from now on.
pub async fn watched_job(app: &App, text: &str) -> Result<JobView, Fail> {
    let view = job(app, text).await?;
    if view.role != Role::Replica {
        app.driver.inbox().push(Input::Watch(view.job));
    }
    Ok(view)
}

/// The same, once this node has the manifest and as many results as others told of, or has waited for them long enough.
pub async fn current_job(app: &App, text: &str) -> Result<JobView, Fail> {
    let mut events = app.events.watch();
    let view = watched_job(app, text).await?;
    let mut view = with_manifest(app, view, &mut events).await?;
    let (job, until) = (view.job, Instant::now() + CATCH_UP);
    while view.behind && Instant::now() < until {
        let next = (Instant::now() + LOOK).min(until);
        let _ = tokio::time::timeout_at(next, events.recv()).await;
        let now = app.driver.read(move |n| n.job(job)).await?;
        view = now.ok_or_else(|| no_such(text))?;
    }
    Ok(view)
}

/// Waits for the manifest of a job that is only hearsay.
pub async fn with_manifest(
    app: &App,
    mut view: JobView,
    events: &mut Receiver<(u64, Happening)>,
) -> Result<JobView, Fail> {
    let until = Instant::now() + CATCH_UP;
    let job = view.job;
    while view.manifest.is_none() {
        match tokio::time::timeout_at(until, events.recv()).await {
            Err(_) => return Err(not_here_yet(&view)),
            Ok(Ok((_, Happening::Core(event)))) if job_of(&event) != Some(job) => continue,
            Ok(_) => {}
        }
        if let Some(now) = app.driver.read(move |n| n.job(job)).await? {
            view = now;
        }
        if view.manifest.is_some() {
            app.driver.inbox().push(Input::Watch(job));
        }
    }
    Ok(view)
}
