//! `GET /v1/jobs/{id}/tasks`: where every task stands, as rows of tasks that stand alike.

use axum::Json;
use axum::extract::{Path, Query, State, rejection::QueryRejection};
use filch_api::{JobState, TaskCause, TaskPage, TaskRow, TaskState, routes};
use filch_core::view::{Leases, Winner};
use filch_types::ranges::{Range, RangeSet};
use filch_types::{Manifest, NodeId, Outcome};
use serde::Deserialize;

use super::jobs::not_here_yet;
use super::problem::{Fail, internal};
use super::results::{by_group, place};
use super::{SharedApp, input};
use crate::delivery::collect;

/// Rows of a page by default.
const ROWS: u32 = 1000;

/// The query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    state: Option<TaskState>,
    from: Option<u32>,
    limit: Option<u32>,
}

/// `GET /v1/jobs/{id}/tasks`.
pub async fn tasks(
    State(app): State<SharedApp>,
    Path(id): Path<String>,
    options: Result<Query<Options>, QueryRejection>,
) -> Result<Json<TaskPage>, Fail> {
    let options = input::query(options)?;
    let view = input::current_job(&app, &id).await?;
    let Some(manifest) = view.manifest.clone() else { return Err(not_here_yet(&view)) };
    let limit = options.limit.unwrap_or(ROWS).clamp(1, routes::MAX_PAGE) as usize;
    let total = manifest.spec.total();
    let mut rows: Vec<TaskRow> = Vec::new();
    let mut at = options.from.unwrap_or(0).min(total);
    while at < total && rows.len() < limit {
        let span = Range::new(at, at.saturating_add(collect::SPAN).min(total));
        let part = look(&app, view.job, &manifest, span, JobState::from(view.state).is_over()).await?;
        at = span.hi;
        for row in part.into_iter().filter(|r| options.state.is_none_or(|s| s == r.state)) {
            if rows.len() == limit {
                at = row.task;
                break;
            }
            rows.push(row);
        }
    }
    Ok(Json(TaskPage { tasks: rows, next: (at < total).then_some(at) }))
}

struct Open {
    leases: Option<Leases>,
    waiting: Vec<Range>,
}

async fn look(
    app: &SharedApp,
    job: filch_types::JobId,
    manifest: &std::sync::Arc<Manifest>,
    span: Range,
    over: bool,
) -> Result<Vec<TaskRow>, Fail> {
    let m = manifest.clone();
    let (winners, open) = app
        .driver
        .read(move |n| {
            let winners = n.winners(job, span, usize::MAX);
            // A group waits as long as a group before it has tasks without success; element-wise edges are not told apart.
            let waits = |g: usize| {
                m.spec.groups.get(g).is_some_and(|group| {
                    group.needs.iter().any(|e| {
                        let range = m.spec.group_range(usize::from(e.group));
                        let done: u32 =
                            n.winners(job, range, usize::MAX).iter().filter(|w| w.success).map(|w| w.tasks.len()).sum();
                        done < range.len()
                    })
                })
            };
            let waiting = (0..m.spec.groups.len()).filter(|g| waits(*g)).map(|g| m.spec.group_range(g)).collect();
            (winners, Open { leases: n.leases(job), waiting })
        })
        .await?;
    let mut rows = ended(app, job, manifest, &winners).await?;
    let mut known = RangeSet::default();
    winners.iter().for_each(|w| known.insert(w.tasks));
    for gap in known.gaps(span) {
        rows.extend(not_ended(app, job, manifest, gap, &open, over).await);
    }
    rows.sort_by_key(|r| r.task);
    Ok(merge(rows))
}

async fn ended(
    app: &SharedApp,
    job: filch_types::JobId,
    manifest: &Manifest,
    winners: &[Winner],
) -> Result<Vec<TaskRow>, Fail> {
    let (packs, list) = (app.packs.clone(), winners.to_vec());
    let read = tokio::task::spawn_blocking(move || {
        let mut out = Vec::new();
        for w in list {
            let Some(pack) = packs.get(job, w.pack).map_err(|e| Fail(internal(e)))? else { continue };
            for mut run in pack.of(&w) {
                let cause = match &run.outcome {
                    Outcome::Success(_) => None,
                    Outcome::Failed(cause, _) => Some(TaskCause::from(cause)),
                };
                // The output itself is not shown here.
                run.outcome = Outcome::Success(filch_types::TaskOutput::default());
                out.push((pack.by, run, cause));
            }
        }
        Ok::<_, Fail>(out)
    });
    let mut rows = Vec::new();
    for (by, run, cause) in read.await.map_err(internal)?? {
        let node = app.names.one(by).await;
        for piece in by_group(manifest, run) {
            let (group, number) = place(manifest, piece.lo);
            rows.push(TaskRow {
                task: piece.lo,
                count: piece.count,
                group,
                number,
                state: if cause.is_some() { TaskState::Failed } else { TaskState::Succeeded },
                attempt: Some(piece.attempt),
                cause: cause.clone(),
                wall_us: piece.wall_us,
                node: Some(node.clone()),
            });
        }
    }
    Ok(rows)
}

async fn not_ended(
    app: &SharedApp,
    job: filch_types::JobId,
    manifest: &Manifest,
    gap: Range,
    open: &Open,
    over: bool,
) -> Vec<TaskRow> {
    let mut pieces: Vec<(Range, TaskState, Option<u64>, Option<NodeId>)> = Vec::new();
    let mut left = RangeSet::default();
    left.insert(gap);
    if over {
        pieces.push((gap, TaskState::Cancelled, None, None));
        left.remove(gap);
    }
    for r in app.exec.running().into_iter().filter(|r| r.job == job) {
        let one = Range::new(r.index, r.index.saturating_add(1));
        if left.contains(r.index) {
            pieces.push((one, TaskState::Running, Some(r.attempt), Some(app.facts.id)));
            left.remove(one);
        }
    }
    for (range, node) in open.leases.iter().flat_map(|l| &l.held) {
        let parts: Vec<Range> = left.overlapping(*range).collect();
        for part in parts {
            pieces.push((part, TaskState::Leased, None, Some(*node)));
            left.remove(part);
        }
    }
    for range in &open.waiting {
        let parts: Vec<Range> = left.overlapping(*range).collect();
        for part in parts {
            pieces.push((part, TaskState::Waiting, None, None));
            left.remove(part);
        }
    }
    pieces.extend(left.iter().map(|r| (r, TaskState::Queued, None, None)));
    let mut rows = Vec::new();
    for (range, state, attempt, node) in pieces {
        let node = match node {
            Some(id) => Some(app.names.one(id).await),
            None => None,
        };
        let mut at = range.lo;
        while at < range.hi {
            let (group, number) = place(manifest, at);
            let end = manifest.spec.group_range(group as usize).hi.clamp(at + 1, range.hi.max(at + 1));
            let end = end.min(range.hi);
            rows.push(TaskRow {
                task: at,
                count: end - at,
                group,
                number,
                state,
                attempt,
                cause: None,
                wall_us: 0,
                node: node.clone(),
            });
            at = end;
        }
    }
    rows
}

/// Neighbours that stand alike become one row.
fn merge(rows: Vec<TaskRow>) -> Vec<TaskRow> {
    let mut out: Vec<TaskRow> = Vec::new();
    for row in rows {
        match out.last_mut() {
            Some(last)
                if last.task + last.count == row.task
                    && (last.group, last.state, &last.cause) == (row.group, row.state, &row.cause)
                    && (last.attempt, &last.node) == (row.attempt, &row.node) =>
            {
                last.count += row.count;
                last.wall_us = last.wall_us.saturating_add(row.wall_us);
            }
            _ => out.push(row),
        }
    }
    out
}
