//! A job at the terminal: results to stdout as they come, progress to stderr, Ctrl-C once to leave, twice to cancel.

mod print;
mod progress;
mod rate;
mod tag;
pub(crate) mod takers;

use std::time::Duration;

use filch_api::{Counts, Delivery, JobState, SubmitLine};
use filch_client::{ClientError, Follow, Update, Updates, Values};
use filch_types::JobId;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::context::Context;
use crate::error::Error;
use crate::render::words;
use crate::submit::Pending;

pub(crate) use print::{INSTALL, Printer};
pub(crate) use progress::Progress;

/// How long a second Ctrl-C still cancels.
const SECOND: Duration = Duration::from_secs(2);

/// How a job is followed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// `-k`.
    pub(crate) keep_order: bool,
    /// `--tag`.
    pub(crate) tag: bool,
    /// `--timeout` of the wait.
    pub(crate) timeout: Option<Duration>,
}

/// How following ended, as an exit code.
pub(crate) mod code {
    pub(crate) const FAILED: u8 = 1;
    pub(crate) const CANCELLED: u8 = 3;
    pub(crate) const INFRASTRUCTURE: u8 = 4;
    pub(crate) const TIMEOUT: u8 = 124;
    pub(crate) const DETACHED: u8 = 130;
}

/// After the first Ctrl-C of a job that nothing is shown of: leaves, or cancels it if a second one comes in time.
pub(crate) async fn leave(cx: &Context, job: JobId, interrupt: &mut Signal) -> Result<u8, Error> {
    cx.say(LEAVING);
    match tokio::time::timeout(SECOND, interrupt.recv()).await {
        Ok(_) => {
            cx.say(format_args!("cancelling job {}", job.short()));
            cx.client.cancel(job).await?;
            Ok(code::CANCELLED)
        }
        Err(_) => {
            cx.say(format_args!("detached: {}", way_back(job)));
            Ok(code::DETACHED)
        }
    }
}

/// What is said when the node came back.
pub(crate) const BACK: &str = "the node is back; going on";

/// What is said when it went away.
pub(crate) fn away(cx: &Context, why: &str) -> String {
    format!("{why}; waiting up to {} for it to come back", words::span(cx.patience.as_millis() as u64))
}

const LEAVING: &str = "leaving; press Ctrl-C again to cancel the job";

fn way_back(job: JobId) -> String {
    let job = job.short();
    format!("job {job} goes on. Come back with `filch wait {job}`, cancel with `filch cancel {job}`")
}

/// What happened next.
enum Step {
    Update(Option<Update>),
    Submit(Result<SubmitLine, ClientError>),
    Interrupt,
    Leave,
    TimedOut,
    /// Time to see why nothing has started.
    Look,
}

struct Following<'a> {
    cx: &'a Context,
    job: JobId,
    printer: Printer<'a>,
    progress: Progress,
    /// Not accepted yet.
    pending: Option<Pending>,
    /// Its stream broke; asked for again when the node is back.
    unasked: bool,
    interrupt: Signal,
    /// The first Ctrl-C came: gone at this time, unless a second one comes.
    leaving: Option<Instant>,
    deadline: Option<Instant>,
    /// When to see whether anybody has the job's function.
    look: Option<Instant>,
}

/// Follows a job to its end; the exit code. `pending` is still to be accepted; `values` if they are known already.
pub(crate) async fn follow(
    cx: &Context,
    job: JobId,
    pending: Option<Pending>,
    values: Option<Values>,
    options: Options,
) -> Result<u8, Error> {
    let how = Follow { follow: true, ordered: options.keep_order, patience: cx.patience, ..Follow::default() };
    let mut updates = cx.client.results(job, &how).await?;
    let mut f = Following {
        cx,
        job,
        printer: Printer::new(cx, job, values, options.tag),
        progress: Progress::tasks(cx),
        pending,
        unasked: false,
        interrupt: signal(SignalKind::interrupt())?,
        leaving: None,
        deadline: options.timeout.and_then(|t| Instant::now().checked_add(t)),
        look: (!cx.quiet).then(|| Instant::now() + takers::LOOK),
    };
    let ended = f.run(&mut updates).await;
    f.progress.finish();
    if ended.is_ok() {
        f.answered();
    }
    match ended {
        Err(Error::Stdout(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => {
            cx.say(format_args!("nobody reads the results any more; {}", f.way_back()));
            Err(Error::Stdout(e))
        }
        Err(e @ Error::Stdout(_)) => {
            let job = job.short();
            let back = format!(
                "the job is not affected: `filch wait {job}` prints its results again, `filch cancel {job}` ends it"
            );
            Err(Error::failed(e.to_string(), &back))
        }
        ended => ended,
    }
}

impl Following<'_> {
    async fn run(&mut self, updates: &mut Updates) -> Result<u8, Error> {
        loop {
            match self.step(updates).await? {
                Step::Update(Some(update)) => {
                    if let Some(code) = self.update(update).await? {
                        return Ok(code);
                    }
                    // What has arrived in one piece is written in one piece.
                    while let Some(update) = updates.buffered()? {
                        if let Some(code) = self.update(update).await? {
                            return Ok(code);
                        }
                    }
                    self.printer.flush(&self.progress)?;
                }
                Step::Update(None) => return Err(ClientError::Lost("before the job's end".into()).into()),
                Step::Submit(line) => self.submit(line),
                Step::Interrupt if self.leaving.is_some() => {
                    self.leaving = None;
                    self.note(format_args!("cancelling job {}", self.job.short()));
                    self.cx.client.cancel(self.job).await?;
                }
                Step::Interrupt => {
                    self.note(LEAVING);
                    self.leaving = Some(Instant::now() + SECOND);
                }
                Step::Leave => {
                    self.note(format_args!("detached: {}", self.way_back()));
                    return Ok(code::DETACHED);
                }
                Step::Look => {
                    self.look = None;
                    if let Some(why) = takers::look(self.cx, self.job).await {
                        self.note(format_args!("filch: {why}"));
                    }
                }
                Step::TimedOut => {
                    self.note(format_args!("the time to wait is over; {}", self.way_back()));
                    return Ok(code::TIMEOUT);
                }
            }
        }
    }

    async fn step(&mut self, updates: &mut Updates) -> Result<Step, Error> {
        let (leaving, deadline, look) = (self.leaving, self.deadline, self.look);
        let at = |when: Option<Instant>| async move {
            match when {
                Some(when) => sleep_until(when).await,
                None => std::future::pending().await,
            }
        };
        let pending = self.pending.as_mut().filter(|_| !self.unasked);
        let submit = async {
            match pending {
                Some(p) => p.submission.next().await,
                None => std::future::pending().await,
            }
        };
        Ok(tokio::select! {
            biased;
            _ = self.interrupt.recv() => Step::Interrupt,
            () = at(leaving) => Step::Leave,
            () = at(deadline) => Step::TimedOut,
            () = at(look) => Step::Look,
            line = submit => Step::Submit(line),
            update = updates.next() => Step::Update(update?),
        })
    }

    /// One update; the exit code if it was the last.
    async fn update(&mut self, update: Update) -> Result<Option<u8>, Error> {
        match update {
            Update::Result(result) => {
                self.printer.result(&result, &self.progress).await?;
                Ok(None)
            }
            Update::Progress { counts, state, delivery, delay } => {
                self.progress.counts(&counts, state, delivery.as_ref(), delay.as_ref());
                Ok(None)
            }
            Update::Away { why } => {
                self.printer.flush(&self.progress)?;
                self.note(away(self.cx, &why));
                Ok(None)
            }
            Update::Back => {
                self.note(BACK);
                if let (Some(pending), true) = (&mut self.pending, self.unasked) {
                    pending.again(self.cx).await?;
                    self.unasked = false;
                }
                Ok(None)
            }
            Update::End { counts, state, delivery } => {
                self.printer.end(&counts, state, delivery.as_ref())?;
                self.printer.flush(&self.progress)?;
                self.progress.finish();
                self.summary(&counts, state, delivery.as_ref());
                Ok(Some(exit(state, delivery.as_ref())))
            }
        }
    }

    fn submit(&mut self, line: Result<SubmitLine, ClientError>) {
        match line {
            Ok(SubmitLine::Accepted { holders, .. }) => {
                self.answered();
                let text = format!("job {} accepted: {}", self.job.short(), words::copies(&holders));
                self.note(text);
            }
            Ok(SubmitLine::Copies { have, want, missing_bytes, eta_ms, .. }) => {
                self.progress.copies(have, want, missing_bytes, eta_ms);
            }
            Ok(_) => {}
            // So are the results, then.
            Err(ClientError::Lost(_)) if !self.cx.patience.is_zero() => self.unasked = true,
            Err(error) => {
                // The job runs on this node all the same; what is missing is its safety.
                self.pending = None;
                self.note(format_args!("the job is not safe: {error}"));
            }
        }
    }

    /// The person knows of the job: the same command is another one from now on.
    fn answered(&mut self) {
        if let Some(pending) = self.pending.take() {
            pending.answered();
        }
    }

    fn summary(&self, counts: &Counts, state: JobState, delivery: Option<&Delivery>) {
        if let Some(d) = delivery {
            for problem in &d.problems {
                self.cx.say(format_args!("not written: {problem}"));
            }
            if d.failed > 0 {
                let files = words::count(d.failed, "file");
                self.cx.say(format_args!(
                    "{files} could not be written; try again with `filch fetch {}`",
                    self.job.short()
                ));
            }
        }
        let job = self.job.short();
        match state {
            JobState::Failed => self.cx.say(format_args!(
                "{} of {} failed; look closer with `filch show {job} --tasks failed`, run them again with `filch retry {job}`",
                counts.failed,
                words::count(counts.total, "task")
            )),
            JobState::Cancelled => self.cx.say(format_args!("job {job} is cancelled")),
            JobState::Deleted => self.cx.say(format_args!("job {job} is deleted")),
            JobState::Succeeded | JobState::Active => {}
        }
    }

    fn note(&self, text: impl std::fmt::Display) {
        self.progress.suspend(|| self.cx.say(text));
    }

    fn way_back(&self) -> String {
        let safe = if self.pending.is_some() { ". Keep this node up: the job has not all its copies yet" } else { "" };
        format!("{}{safe}", way_back(self.job))
    }
}

fn exit(state: JobState, delivery: Option<&Delivery>) -> u8 {
    match state {
        JobState::Failed => code::FAILED,
        JobState::Cancelled | JobState::Deleted => code::CANCELLED,
        JobState::Succeeded | JobState::Active => {
            if delivery.is_some_and(|d| d.failed > 0) {
                code::INFRASTRUCTURE
            } else {
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        let lost = Delivery { failed: 1, ..Delivery::default() };
        for (state, delivery, want) in [
            (JobState::Succeeded, None, 0),
            (JobState::Succeeded, Some(&lost), 4),
            (JobState::Failed, Some(&lost), 1),
            (JobState::Cancelled, None, 3),
        ] {
            assert_eq!(exit(state, delivery), want);
        }
    }
}
