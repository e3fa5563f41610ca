//! What happens on this node, as a stream.

use std::time::Duration;

use axum::extract::{Query, State, rejection::QueryRejection};
use axum::response::Response;
use filch_api::{Event, EventKind, routes};
use filch_core::Event as Core;
use filch_types::JobId;
use filch_types::ranges::Range;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;

use super::ndjson::{self, Gone, Lines};
use super::problem::Fail;
use super::{App, SharedApp, input};
use crate::clock::Clock;
use crate::events::{Happening, job_of};

/// The query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    job: Option<String>,
}

/// `GET /v1/events`.
pub async fn events(
    State(app): State<SharedApp>,
    options: Result<Query<Options>, QueryRejection>,
) -> Result<Response, Fail> {
    let only = match input::query(options)?.job {
        Some(text) => Some(input::job(&app, &text).await?.job),
        None => None,
    };
    let watched = app.clone();
    ndjson::stream(&app, move |lines| watch(watched, only, lines))
}

async fn watch(app: SharedApp, only: Option<JobId>, mut lines: Lines) -> Result<(), Gone> {
    let mut from = app.events.watch();
    let line = |at_ms, job, event| Event { at_ms, job, event };
    let node = app.names.one(app.facts.id).await;
    lines.now(&line(Clock.wall_ms(), None, EventKind::Hello { node })).await?;
    let quiet = Duration::from_millis(routes::HEARTBEAT_MS);
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(quiet, from.recv()) => next,
            () = lines.gone() => return Err(Gone),
        };
        match next {
            Err(_) => lines.now(&line(Clock.wall_ms(), None, EventKind::Quiet)).await?,
            Ok(Err(RecvError::Closed)) => return Ok(()),
            Ok(Err(RecvError::Lagged(missed))) => {
                lines.now(&line(Clock.wall_ms(), None, EventKind::Lagged { missed })).await?;
            }
            Ok(Ok((at_ms, happening))) => {
                let (job, event) = match happening {
                    Happening::Node(job, event) => (job, Some(event)),
                    Happening::Core(event) => {
                        let job = job_of(&event);
                        if only.is_some() && job != only {
                            continue;
                        }
                        (job, kind(&app, event).await)
                    }
                };
                if let Some(event) = event
                    && (only.is_none() || only == job)
                {
                    lines.line(&line(at_ms, job, event)).await?;
                }
                if from.is_empty() {
                    lines.flush().await?;
                }
            }
        }
    }
}

fn sum(ranges: impl Iterator<Item = Range>) -> u64 {
    ranges.map(|r| u64::from(r.len())).sum()
}

async fn kind(app: &App, event: Core) -> Option<EventKind> {
    Some(match event {
        Core::PeerJoined(id) => EventKind::NodeJoined { node: app.names.one(id).await },
        Core::PeerLost(id) => EventKind::NodeLost { node: app.names.one(id).await },
        Core::JobKnown(id) => {
            let name = app.driver.read(move |n| n.job(id).map(|j| j.name)).await.ok().flatten();
            EventKind::JobKnown { name: name.unwrap_or_default() }
        }
        Core::Copies(id, holders) => {
            let want = app.driver.read(move |n| n.job(id).map(|j| j.k)).await.ok().flatten();
            let ids: Vec<_> = holders.into_iter().map(|(n, _)| n).collect();
            EventKind::Copies { holders: app.names.of(&ids).await, want: want.unwrap_or(0) }
        }
        Core::Steward(_, epoch) => EventKind::Steward { epoch: epoch.round() },
        Core::Granted { to, tasks, .. } => EventKind::Granted { to: app.names.one(to).await, tasks },
        Core::Copied { to, tasks, .. } => {
            EventKind::Copied { to: app.names.one(to).await, task: tasks.lo, tasks: tasks.len() }
        }
        Core::Stole { from, tasks, .. } => EventKind::Stole { from: app.names.one(from).await, tasks },
        Core::Reclaimed { from, queued, executing, .. } => {
            EventKind::Reclaimed { from: app.names.one(from).await, queued, executing }
        }
        Core::Results(_, ranges) => EventKind::Results { tasks: sum(ranges.into_iter()) },
        Core::Final(_, runs) => EventKind::Final { tasks: sum(runs.iter().map(|r| r.range())) },
        Core::State(_, state) => EventKind::State { state: state.into() },
        Core::Bounced { tasks, why, .. } => EventKind::Bounced { task: tasks.lo, tasks: tasks.len(), why },
        Core::ResultsLost { packs, .. } => EventKind::ResultsLost { packs },
        Core::Rejected(who, why) => EventKind::NodeRefused { who: who.to_string(), why },
    })
}
