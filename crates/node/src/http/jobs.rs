//! Lists of jobs, one job, its end.

use axum::Json;
use axum::extract::{Path, Query, State, rejection::QueryRejection};
use filch_api::{
    Code, Counts, Delay, JobDetail, JobList, JobState, JobSummary, Missing, MissingCopy, NodeRef, Problem,
    RevokeAnswer, Role,
};
use filch_core::Input;
use filch_core::io::Reply;
use filch_core::view::{self, JobView};
use filch_types::NodeId;
use serde::Deserialize;

use super::problem::{Fail, internal, of_client};
use super::{App, SharedApp, input};

/// The query of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    limit: Option<u32>,
    state: Option<JobState>,
}

/// A job's tasks, as the API shows them.
pub fn counts(c: &view::Counts) -> Counts {
    Counts {
        total: c.total,
        waiting: c.waiting,
        queued: c.queued,
        leased: c.leased,
        succeeded: c.succeeded,
        failed: c.failed,
        cancelled: c.cancelled,
        finals: c.finals,
    }
}

fn role(app: &App, view: &JobView) -> Role {
    match view.role {
        _ if view.owner == app.facts.id => Role::Owner,
        view::Role::Replica => Role::Replica,
        view::Role::Observer => Role::Observer,
        view::Role::Hearsay => Role::Hearsay,
    }
}

fn summary(app: &App, view: &JobView, owner: NodeRef) -> JobSummary {
    JobSummary {
        job: view.job,
        name: view.name.clone(),
        state: view.state.into(),
        owner,
        created_ms: view.created_ms,
        priority: view.manifest.as_ref().map_or(0, |m| m.spec.priority),
        role: role(app, view),
        counts: counts(&view.counts),
        copies: u8::try_from(view.holders.len()).unwrap_or(u8::MAX),
        want_copies: view.k,
    }
}

/// `GET /v1/jobs`.
pub async fn list(
    State(app): State<SharedApp>,
    options: Result<Query<Options>, QueryRejection>,
) -> Result<Json<JobList>, Fail> {
    let options = input::query(options)?;
    let limit = options.limit.unwrap_or(1000).min(10_000) as usize;
    let (views, more) = app
        .driver
        .read(move |n| {
            let mut all = n.jobs();
            all.retain(|j| options.state.is_none_or(|s| JobState::from(j.state) == s));
            let more = all.len() > limit;
            all.reverse();
            all.truncate(limit);
            (all, more)
        })
        .await?;
    let owners: Vec<NodeId> = views.iter().map(|v| v.owner).collect();
    let owners = app.names.of(&owners).await;
    let jobs = views.iter().zip(owners).map(|(v, owner)| summary(&app, v, owner)).collect();
    Ok(Json(JobList { jobs, more }))
}

/// `GET /v1/jobs/{id}`.
pub async fn detail(State(app): State<SharedApp>, Path(id): Path<String>) -> Result<Json<JobDetail>, Fail> {
    let view = input::watched_job(&app, &id).await?;
    let holders: Vec<NodeId> = view.holders.iter().map(|(n, _)| *n).collect();
    let owner = app.names.one(view.owner).await;
    Ok(Json(JobDetail {
        summary: summary(&app, &view, owner),
        spec: view.manifest.as_ref().map(|m| (&m.spec).into()),
        steward: app.names.one(view.steward).await,
        replicas: app.names.of(&view.replicas).await,
        holders: app.names.of(&holders).await,
        running_here: view.running_here,
        delivery: app.deliveries.view(view.job),
        delay: delayed(&app, &view).await,
    }))
}

/// Whom results that are done wait for, by name.
pub async fn delayed(app: &App, view: &JobView) -> Option<Delay> {
    let delay = view.delay.as_ref()?;
    let nodes: Vec<NodeId> = delay.missing.iter().map(|(n, _)| *n).collect();
    let why = delay.missing.iter().map(|(_, why)| match why {
        view::Missing::DiskFull => Missing::DiskFull,
        view::Missing::Unreachable => Missing::Unreachable,
        view::Missing::NoWord => Missing::NoWord,
    });
    let nodes = app.names.of(&nodes).await;
    let missing = nodes.into_iter().zip(why).map(|(node, why)| MissingCopy { node, why }).collect();
    Some(Delay { copies: delay.copies, missing })
}

/// `POST /v1/jobs/{id}/cancel`.
pub async fn cancel(State(app): State<SharedApp>, Path(id): Path<String>) -> Result<Json<RevokeAnswer>, Fail> {
    let view = input::job(&app, &id).await?;
    if JobState::from(view.state).is_over() {
        return Ok(Json(RevokeAnswer { job: view.job, state: view.state.into() }));
    }
    revoke(&app, view, false).await
}

/// `DELETE /v1/jobs/{id}`.
pub async fn delete(State(app): State<SharedApp>, Path(id): Path<String>) -> Result<Json<RevokeAnswer>, Fail> {
    let view = input::job(&app, &id).await?;
    revoke(&app, view, true).await
}

async fn revoke(app: &App, view: JobView, delete: bool) -> Result<Json<RevokeAnswer>, Fail> {
    let job = view.job;
    let mut call = app.driver.call(move |client| Input::Revoke { client, job, delete }).await?;
    match call.next().await? {
        Reply::Revoked(job) => {
            let state = if delete { JobState::Deleted } else { JobState::Cancelled };
            let now = app.driver.read(move |n| n.job(job).map(|j| JobState::from(j.state))).await.ok().flatten();
            Ok(Json(RevokeAnswer { job, state: now.filter(|s| s.is_over()).unwrap_or(state) }))
        }
        Reply::Refused(e) => Err(Fail(of_client(&e))),
        other => Err(Fail(internal(format_args!("an unexpected reply to a revocation: {other:?}")))),
    }
}

/// A job that this node does not know enough of yet.
pub fn not_here_yet(view: &JobView) -> Fail {
    let p = Problem::new(Code::Unreachable).detail(format_args!("job {} is only known by name here", view.job.short()));
    Fail(p.hint("ask again in a moment, or ask a node that keeps it"))
}
