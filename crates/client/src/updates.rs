//! Results as they come, also when the node goes away and comes back in between.

use std::collections::VecDeque;
use std::time::Duration;

use filch_api::job::*;
use filch_api::{Counts, ResultLine, TaskResult, routes};
use filch_types::JobId;
use filch_types::ranges::{Range, RangeSet};
use hyper::Method;
use tokio::time::{Instant, sleep_until};

use crate::http::{Body, query};
use crate::lines::Lines;
use crate::{Client, ClientError};

/// Between two tries to reach a node that went away.
const RETRY: Duration = Duration::from_millis(250);

/// When a result is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// When it can no longer change.
    #[default]
    Final,
    /// As soon as enough copies of it exist: sooner, and in rare cases not what is final in the end.
    Visible,
}

/// How results are to be followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Follow {
    /// Wait for more until the job is over and its files are delivered.
    pub follow: bool,
    /// By index rather than by completion.
    pub ordered: bool,
    /// When a result is sent.
    pub stage: Stage,
    /// Continue behind this cursor.
    pub from: Option<String>,
    /// How long to wait for a node that went away to come back, each time; then the results go on and none comes twice. With zero, the
    /// default, a lost connection is an error at once. Costs memory for the tasks that came, as ranges.
    pub patience: Duration,
}

/// What a followed job tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// A result; every task comes once.
    Result(Box<TaskResult>),
    /// How far it is.
    Progress {
        /// Its tasks.
        counts: Counts,
        /// Its state.
        state: JobState,
        /// Output files.
        delivery: Option<Delivery>,
        /// What keeps results that are done from becoming final, if anything does.
        delay: Option<Delay>,
    },
    /// The end; nothing follows.
    End {
        /// Its tasks.
        counts: Counts,
        /// Its state.
        state: JobState,
        /// Output files.
        delivery: Option<Delivery>,
    },
    /// The node went away; it is waited for. Only with `Follow::patience`.
    Away {
        /// What happened.
        why: String,
    },
    /// It came back; what was missed comes now.
    Back,
}

/// Results of a job as they come.
#[derive(Debug)]
pub struct Updates {
    client: Client,
    job: JobId,
    how: Follow,
    source: Source,
    /// Tasks whose result came, as long as it may come again.
    seen: RangeSet,
    ready: VecDeque<Update>,
    ended: bool,
}

#[derive(Debug)]
enum Source {
    Here(Box<Lines<ResultLine>>),
    Away {
        /// Not tried again after this.
        until: Instant,
        next: Instant,
    },
}

impl Updates {
    pub(crate) fn new(client: Client, job: JobId, how: Follow, lines: Lines<ResultLine>) -> Self {
        let source = Source::Here(Box::new(lines));
        Self { client, job, how, source, seen: RangeSet::default(), ready: VecDeque::new(), ended: false }
    }

    /// The next update; `None` after `End`. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Update>, ClientError> {
        loop {
            if let Some(update) = self.ready.pop_front() {
                return Ok(Some(update));
            }
            if self.ended {
                return Ok(None);
            }
            match &mut self.source {
                Source::Here(lines) => match lines.next().await {
                    Ok(Some(line)) => self.take(line)?,
                    Ok(None) => self.lost(ClientError::Lost("before the job's end".into()))?,
                    Err(e) => self.lost(e)?,
                },
                Source::Away { until, next } => {
                    let until = *until;
                    sleep_until(*next).await;
                    match self.client.open_results(self.job, &self.how).await {
                        Ok(lines) => {
                            self.source = Source::Here(Box::new(lines));
                            self.ready.push_back(Update::Back);
                        }
                        Err(e) if e.may_pass() && Instant::now() < until => {
                            self.source = Source::Away { until, next: Instant::now() + RETRY };
                        }
                        Err(e) => return Err(e),
                    }
                }
            }
        }
    }

    /// The next update if it is here already.
    pub fn buffered(&mut self) -> Result<Option<Update>, ClientError> {
        loop {
            if let Some(update) = self.ready.pop_front() {
                return Ok(Some(update));
            }
            let Source::Here(lines) = &mut self.source else { return Ok(None) };
            if self.ended {
                return Ok(None);
            }
            match lines.buffered()? {
                Some(line) => self.take(line)?,
                None => return Ok(None),
            }
        }
    }

    fn take(&mut self, line: ResultLine) -> Result<(), ClientError> {
        let update = match line {
            ResultLine::Result(r) => {
                self.result(r);
                return Ok(());
            }
            ResultLine::Progress { counts, state, delivery, delay } => {
                Update::Progress { counts, state, delivery, delay }
            }
            ResultLine::End { counts, state, delivery } => {
                self.ended = true;
                Update::End { counts, state, delivery }
            }
            ResultLine::Problem(p) => return self.lost(p.into()),
        };
        self.ready.push_back(update);
        Ok(())
    }

    /// Hands on what of a result has not come yet: behind a gap the node may begin again, and cut its runs elsewhere.
    fn result(&mut self, r: TaskResult) {
        if self.how.patience.is_zero() {
            return self.ready.push_back(Update::Result(Box::new(r)));
        }
        let all = Range::new(r.task, r.task.saturating_add(r.count));
        for new in self.seen.gaps(all) {
            self.ready.push_back(Update::Result(Box::new(cut(&r, new))));
        }
        self.seen.insert(all);
        if self.how.ordered {
            self.how.from = Some(r.cursor);
        }
    }

    /// The connection is gone: an error, or the beginning of a wait.
    fn lost(&mut self, e: ClientError) -> Result<(), ClientError> {
        if self.how.patience.is_zero() || !e.may_pass() {
            return Err(e);
        }
        let now = Instant::now();
        self.source = Source::Away { until: now + self.how.patience, next: now };
        self.ready.push_back(Update::Away { why: e.to_string() });
        Ok(())
    }
}

fn cut(r: &TaskResult, to: Range) -> TaskResult {
    let skipped = to.lo - r.task;
    let wall = u128::from(r.wall_us) * u128::from(to.len()) / u128::from(r.count.max(1));
    let wall_us = u64::try_from(wall).unwrap_or(u64::MAX);
    TaskResult { task: to.lo, count: to.len(), number: r.number.saturating_add(skipped), wall_us, ..r.clone() }
}

impl Client {
    /// A job's results.
    pub async fn results(&self, job: JobId, how: &Follow) -> Result<Updates, ClientError> {
        let lines = self.open_results(job, how).await?;
        Ok(Updates::new(self.clone(), job, how.clone(), lines))
    }

    async fn open_results(&self, job: JobId, how: &Follow) -> Result<Lines<ResultLine>, ClientError> {
        let yes = |b: bool| b.then(|| "true".to_owned());
        let pairs = [
            ("follow", yes(how.follow)),
            ("ordered", yes(how.ordered)),
            ("stage", (how.stage == Stage::Visible).then(|| "visible".to_owned())),
            ("from", how.from.clone()),
        ];
        let response = self.send(Method::GET, &query(routes::results(job), &pairs), Body::Empty).await?;
        Ok(Lines::new(response.into_body()))
    }
}
