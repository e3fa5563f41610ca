//! `GET /v1/jobs/{id}/results`.

use std::time::{Duration, Instant};

use axum::extract::{Path, Query, State, rejection::QueryRejection};
use axum::response::Response;
use filch_api::{Code, JobState, NodeRef, Problem, ResultLine, TaskResult, TaskState, routes};
use filch_core::Event;
use filch_core::view::{JobView, Winner};
use filch_types::ranges::{Range, RangeSet};
use filch_types::{JobId, Manifest, ResultRun};
use serde::Deserialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::jobs::{counts, delayed, not_here_yet};
use super::ndjson::{self, Gone, Lines};
use super::problem::{Fail, internal};
use super::tallies::{self, Tallies};
use super::{SharedApp, input};
use crate::delivery::collect;
use crate::events::{Happening, job_of};

/// Between two lines on progress.
const PACE: Duration = Duration::from_millis(100);
/// Packs whose results are in memory at the same time.
const PACKS: usize = 16;
/// Ranges that are looked up in one visit to the core.
const VISIT: usize = 64;

/// The query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    ordered: bool,
    from: Option<String>,
    stage: Option<Stage>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Stage {
    Final,
    Visible,
}

/// `GET /v1/jobs/{id}/results`.
pub async fn results(
    State(app): State<SharedApp>,
    Path(id): Path<String>,
    options: Result<Query<Options>, QueryRejection>,
) -> Result<Response, Fail> {
    let options = input::query(options)?;
    // Who follows sees what comes; who asks once wants what there is, here or elsewhere.
    let follow = options.follow;
    let view = if follow { input::watched_job(&app, &id).await? } else { input::current_job(&app, &id).await? };
    let watched = app.clone();
    ndjson::stream(&app, move |lines| async move {
        let mut lines = lines;
        match Reader::new(watched, view, &options).await {
            Ok(mut reader) => match reader.run(&mut lines).await {
                Ok(()) => Ok(()),
                Err(Stop::Gone) => Err(Gone),
                Err(Stop::Fail(fail)) => lines.now(&ResultLine::Problem(fail.0)).await,
            },
            Err(fail) => lines.now(&ResultLine::Problem(fail.0)).await,
        }
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

/// One stream of results.
struct Reader {
    app: SharedApp,
    job: JobId,
    manifest: std::sync::Arc<Manifest>,
    all: Range,
    owner: bool,
    stage: Stage,
    follow: bool,
    ordered: bool,
    sent: RangeSet,
    /// Tasks to look at.
    todo: RangeSet,
    events: Receiver<(u64, Happening)>,
    told: Instant,
}

impl Reader {
    async fn new(app: SharedApp, view: JobView, options: &Options) -> Result<Self, Fail> {
        let mut events = app.events.watch();
        let view = input::with_manifest(&app, view, &mut events).await?;
        let Some(manifest) = view.manifest.clone() else { return Err(not_here_yet(&view)) };
        let all = Range::new(0, manifest.spec.total());
        let mut sent = RangeSet::default();
        // In order, the cursor says all; otherwise the stream starts over and the client skips what it has.
        if let (true, Some(next)) = (options.ordered, options.from.as_deref().and_then(|c| c.strip_prefix('o')))
            && let Ok(next) = next.parse::<u32>()
        {
            sent.insert(Range::new(0, next.min(all.hi)));
        }
        let mut todo = RangeSet::default();
        sent.gaps(all).into_iter().for_each(|gap| todo.insert(gap));
        Ok(Self {
            job: view.job,
            owner: view.owner == app.facts.id,
            app,
            manifest,
            all,
            stage: options.stage.unwrap_or(Stage::Final),
            follow: options.follow,
            ordered: options.ordered,
            sent,
            todo,
            events,
            told: Instant::now(),
        })
    }

    async fn run(&mut self, lines: &mut Lines) -> Result<(), Stop> {
        if self.follow {
            let view = self.view().await?;
            lines.now(&self.progress(&view).await).await?;
        }
        loop {
            let view = self.view().await?;
            let over = JobState::from(view.state).is_over();
            self.look(over, lines).await?;
            if !self.follow || self.complete(&view) {
                if over && self.complete_results(&view) {
                    self.never_ran(lines).await?;
                }
                // As it is now: what was looked at above may have become final only after the first view.
                let view = self.view().await?;
                let (counts, state) = (counts(&view.counts), view.state.into());
                let delivery = self.app.deliveries.view(self.job);
                return Ok(lines.now(&ResultLine::End { counts, state, delivery }).await?);
            }
            if self.told.elapsed() >= PACE {
                self.told = Instant::now();
                lines.line(&self.progress(&view).await).await?;
            }
            lines.flush().await?;
            self.wait(over, lines).await?;
        }
    }

    async fn view(&self) -> Result<JobView, Stop> {
        let job = self.job;
        let view = self.app.driver.read(move |n| n.job(job)).await?;
        view.ok_or_else(|| Stop::Fail(Fail(Problem::new(Code::NoSuchJob).detail("it was deleted"))))
    }

    async fn progress(&self, view: &JobView) -> ResultLine {
        let delivery = self.app.deliveries.view(self.job);
        let delay = delayed(&self.app, view).await;
        ResultLine::Progress { counts: counts(&view.counts), state: view.state.into(), delivery, delay }
    }

    /// Every result of a job that is over was sent.
    fn complete_results(&self, view: &JobView) -> bool {
        let ended = view.counts.succeeded.saturating_add(view.counts.failed);
        JobState::from(view.state).is_over() && self.sent.len() >= ended
    }

    fn complete(&self, view: &JobView) -> bool {
        self.complete_results(view) && self.app.deliveries.idle(self.job)
    }

    /// Whether this winner is to be sent now.
    fn due(&self, w: &Winner, over: Over) -> bool {
        w.is_final || self.stage == Stage::Visible || over.visible_is_enough
    }

    /// Looks at what may be new and sends what is.
    async fn look(&mut self, over: bool, lines: &mut Lines) -> Result<(), Stop> {
        let cancelled = over && self.view().await?.state == filch_types::wire::JobState::Cancelled;
        let over = Over { visible_is_enough: over && (!self.owner || cancelled) };
        while !self.todo.is_empty() {
            let mut ranges = Vec::new();
            let mut tasks = 0;
            while ranges.len() < VISIT && tasks < collect::SPAN {
                let Some(r) = self.todo.take_front(collect::SPAN - tasks) else { break };
                tasks += r.len();
                ranges.push(r);
            }
            let (job, manifest, wanted) = (self.job, self.manifest.clone(), ranges.clone());
            let (winners, tallies) = self
                .app
                .driver
                .read(move |n| {
                    let winners = wanted.into_iter().flat_map(|r| n.winners(job, r, usize::MAX)).collect();
                    tallies::shown(n, job, &manifest, winners)
                })
                .await?;
            let mut due = Vec::new();
            for w in winners.into_iter().filter(|w| self.due(w, over)) {
                for tasks in self.sent.gaps(w.tasks) {
                    due.push(Winner { tasks, ..w });
                }
            }
            if !self.ordered {
                self.send(due, &tallies, lines).await?;
            } else if self.send_in_order(due, &tallies, lines).await? {
                // The rest waits for a gap; it is looked at again when the gap closes.
                self.todo = RangeSet::default();
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sends up to the first gap. Whether there is one.
    async fn send_in_order(&mut self, due: Vec<Winner>, tallies: &Tallies, lines: &mut Lines) -> Result<bool, Stop> {
        let mut next = self.sent.gaps(self.all).first().map_or(self.all.hi, |g| g.lo);
        let mut ready = Vec::new();
        for w in due {
            if w.tasks.lo != next {
                break;
            }
            next = w.tasks.hi;
            ready.push(w);
        }
        let looked = self.todo.iter().next().map_or(self.all.hi, |r| r.lo);
        self.send(ready, tallies, lines).await?;
        Ok(next < looked)
    }

    async fn send(&mut self, winners: Vec<Winner>, tallies: &Tallies, lines: &mut Lines) -> Result<(), Stop> {
        for part in winners.chunks(PACKS) {
            for (w, node, mut run) in self.read(part.to_vec()).await? {
                tallies::put(&mut run, &w, tallies);
                for piece in by_group(&self.manifest, run) {
                    let (group, number) = place(&self.manifest, piece.lo);
                    let mut result = TaskResult::of(&piece, group, number, Some(node.clone()));
                    result.is_final = w.is_final;
                    result.cursor = self.cursor(piece.range().hi);
                    lines.line(&ResultLine::Result(result)).await?;
                }
            }
            part.iter().for_each(|w| self.sent.insert(w.tasks));
        }
        Ok(())
    }

    /// Results out of the ledger.
    async fn read(&self, winners: Vec<Winner>) -> Result<Vec<(Winner, NodeRef, ResultRun)>, Stop> {
        let (packs, job) = (self.app.packs.clone(), self.job);
        let read = tokio::task::spawn_blocking(move || {
            let mut out = Vec::new();
            for w in winners {
                let pack = packs.get(job, w.pack).map_err(|e| Fail(internal(e)))?;
                let Some(pack) = pack else {
                    let what = format!("results of tasks {} to {} are damaged here", w.tasks.lo, w.tasks.hi - 1);
                    return Err(Fail(internal(what)));
                };
                out.extend(pack.of(&w).map(|run| (w, pack.by, run)));
            }
            Ok(out)
        });
        let read = read.await.map_err(internal)??;
        let mut out = Vec::with_capacity(read.len());
        let mut last: Option<NodeRef> = None;
        for (w, by, run) in read {
            let node = match &last {
                Some(node) if node.id == by => node.clone(),
                _ => self.app.names.one(by).await,
            };
            last = Some(node.clone());
            out.push((w, node, run));
        }
        Ok(out)
    }

    fn cursor(&self, next: u32) -> String {
        if self.ordered { format!("o{next}") } else { format!("u{next}") }
    }

    /// Tasks of a cancelled job that have no result.
    async fn never_ran(&mut self, lines: &mut Lines) -> Result<(), Stop> {
        for gap in self.sent.gaps(self.all) {
            let run = ResultRun {
                lo: gap.lo,
                count: gap.len(),
                attempt: 0,
                wall_us: 0,
                outcome: filch_types::Outcome::Success(filch_types::TaskOutput::default()),
            };
            for piece in by_group(&self.manifest, run) {
                let (group, number) = place(&self.manifest, piece.lo);
                let mut result = TaskResult::of(&piece, group, number, None);
                result.state = TaskState::Cancelled;
                result.cursor = self.cursor(piece.range().hi);
                lines.line(&ResultLine::Result(result)).await?;
            }
            self.sent.insert(gap);
        }
        Ok(())
    }

    /// Waits for news of the job, at most until the next line on progress is due.
    async fn wait(&mut self, over: bool, lines: &Lines) -> Result<(), Stop> {
        let beat = Duration::from_millis(routes::HEARTBEAT_MS);
        let until = tokio::time::Instant::now() + beat;
        loop {
            let event = tokio::select! {
                event = tokio::time::timeout_at(until, self.events.recv()) => event,
                () = lines.gone() => return Err(Stop::Gone),
            };
            match event {
                Err(_) => {
                    // What came without an event: on a node that only reads along, and on an owner that has pins of its own again from others.
                    if over {
                        self.everything();
                    }
                    self.told = Instant::now().checked_sub(PACE).unwrap_or(self.told);
                    return Ok(());
                }
                Ok(event) => {
                    if !self.news(event) {
                        continue;
                    }
                    while let Ok(more) = self.events.try_recv() {
                        self.news(Ok(more));
                    }
                    return Ok(());
                }
            }
        }
    }

    fn everything(&mut self) {
        self.sent.gaps(self.all).into_iter().for_each(|gap| self.todo.insert(gap));
    }

    /// Whether the event is about the job.
    fn news(&mut self, event: Result<(u64, Happening), RecvError>) -> bool {
        let event = match event {
            Ok((_, Happening::Core(event))) if job_of(&event) == Some(self.job) => event,
            Ok((_, Happening::Node(Some(job), _))) => return job == self.job,
            Ok(_) => return false,
            Err(_) => {
                self.everything();
                return true;
            }
        };
        match event {
            Event::Results(_, ranges) if self.stage == Stage::Visible || !self.owner => self.add(ranges.into_iter()),
            Event::Final(_, runs) => self.add(runs.iter().map(|r| r.range())),
            Event::State(..) => self.everything(),
            _ => return false,
        }
        true
    }

    fn add(&mut self, ranges: impl Iterator<Item = Range>) {
        if self.ordered {
            // Only what continues the sequence matters, and that may have come long ago.
            if let Some(gap) = self.sent.gaps(self.all).first() {
                self.todo.insert(*gap);
            }
            return;
        }
        for r in ranges {
            self.sent.gaps(r).into_iter().for_each(|gap| self.todo.insert(gap));
        }
    }
}

#[derive(Clone, Copy)]
struct Over {
    visible_is_enough: bool,
}

/// Group and number of a task.
pub fn place(manifest: &Manifest, task: u32) -> (u32, u32) {
    manifest.spec.locate(task).map_or((0, task), |(g, _, n)| (u32::try_from(g).unwrap_or(0), n))
}

/// Cuts a run at the borders of groups.
pub fn by_group(manifest: &Manifest, run: ResultRun) -> Vec<ResultRun> {
    let mut out = Vec::new();
    let mut at = run.lo;
    while at < run.range().hi {
        let end = manifest.spec.locate(at).map_or(run.range().hi, |(g, ..)| manifest.spec.group_range(g).hi);
        let cut = run.range().intersect(Range::new(at, end));
        if cut.is_empty() {
            break;
        }
        if cut == run.range() {
            return vec![run];
        }
        let wall = u128::from(run.wall_us) * u128::from(cut.len()) / u128::from(run.count.max(1));
        let wall_us = u64::try_from(wall).unwrap_or(u64::MAX);
        out.push(ResultRun { lo: cut.lo, count: cut.len(), wall_us, ..run.clone() });
        at = cut.hi;
    }
    out
}
