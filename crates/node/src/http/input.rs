//! What comes in: bodies, queries, ids.

use axum::body::Body;
use filch_api::{Code, Problem, routes};
use filch_core::Input;
use filch_core::view::{JobView, Role};
use filch_types::JobId;
use serde::de::DeserializeOwned;

use super::App;
use super::problem::Fail;

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

/// The same; a job that is not kept here is read along from now on.
pub async fn watched_job(app: &App, text: &str) -> Result<JobView, Fail> {
    let view = job(app, text).await?;
    if view.role != Role::Replica {
        app.driver.inbox().push(Input::Watch(view.job));
    }
    Ok(view)
}
