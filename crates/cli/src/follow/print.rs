//! Results on stdout: what the tasks wrote, or JSON.

use std::io::{IsTerminal, Write};

use filch_api::{Counts, Data, Delivery, JobState, Stream, TaskCause, TaskResult, TaskState};
use filch_client::{ClientError, Values};
use filch_types::JobId;
use serde_json::json;

use super::progress::Progress;
use super::tag::Tagger;
use crate::context::{Context, close_line, ended_with, is_open, pass_on};
use crate::error::Error;
use crate::render::words;

/// Bytes that are collected before they are written.
const BATCH: usize = 64 * 1024;
/// Failures that are told one by one.
const TOLD: u64 = 20;

/// What to do about a program that a node does not have.
pub(crate) const INSTALL: &str =
    "a program has to be on every node: install it there, or send it along, as in `-i tool -- ./tool`";

/// Writes results; at most `BATCH` bytes and one chunk wait.
pub(crate) struct Printer<'a> {
    cx: &'a Context,
    job: JobId,
    values: Option<Values>,
    tag: bool,
    out: Vec<u8>,
    err: Vec<u8>,
    failures: u64,
    /// Whether stdout and stderr are both seen by a person: then they share lines.
    one_screen: bool,
    /// The hint about missing programs was given.
    hinted: bool,
}

impl<'a> Printer<'a> {
    pub(crate) fn new(cx: &'a Context, job: JobId, values: Option<Values>, tag: bool) -> Self {
        let one_screen = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        Self { cx, job, values, tag, out: Vec::new(), err: Vec::new(), failures: 0, one_screen, hinted: false }
    }

    /// A task's result.
    pub(crate) async fn result(&mut self, r: &TaskResult, progress: &Progress) -> Result<(), Error> {
        if self.cx.json {
            let mut line = json!({ "result": r });
            if r.count == 1
                && let Some(map) = line.as_object_mut()
            {
                map.insert("values".into(), self.values_of(r.task).await?.into());
            }
            self.out.extend_from_slice(line.to_string().as_bytes());
            self.out.push(b'\n');
        } else {
            self.output(r, progress).await?;
            if r.state == TaskState::Failed {
                self.turn(true, progress)?;
                self.failure(r).await?;
            }
        }
        if self.out.len() + self.err.len() >= BATCH {
            self.flush(progress)?;
        }
        Ok(())
    }

    /// What a task wrote, and nothing else.
    pub(crate) async fn output(&mut self, r: &TaskResult, progress: &Progress) -> Result<(), Error> {
        self.stream(r, false, progress).await?;
        self.stream(r, true, progress).await
    }

    /// The job's end, which only JSON has on stdout.
    pub(crate) fn end(&mut self, counts: &Counts, state: JobState, delivery: Option<&Delivery>) -> Result<(), Error> {
        if self.cx.json {
            let mut end = json!({"job": self.job.to_string(), "state": state, "counts": counts});
            if let (Some(map), Some(delivery)) = (end.as_object_mut(), delivery) {
                map.insert("delivery".into(), serde_json::to_value(delivery).unwrap_or_default());
            }
            self.out.extend_from_slice(format!("{}\n", json!({ "end": end })).as_bytes());
        }
        if self.failures > TOLD && !self.cx.quiet {
            let more = words::count(self.failures - TOLD, "more failure");
            self.line(&more);
        }
        Ok(())
    }

    /// Writes what was collected, around the progress bar.
    pub(crate) fn flush(&mut self, progress: &Progress) -> Result<(), Error> {
        if self.out.is_empty() && self.err.is_empty() {
            return Ok(());
        }
        progress.suspend(|| -> Result<(), Error> {
            if !self.err.is_empty() {
                pass_on(&self.err);
                self.err.clear();
            }
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&self.out).and_then(|()| stdout.flush()).map_err(Error::Stdout)?;
            if self.one_screen {
                ended_with(&self.out);
            }
            self.out.clear();
            if progress.is_drawn() {
                close_line();
            }
            Ok(())
        })
    }

    async fn stream(&mut self, r: &TaskResult, stderr: bool, progress: &Progress) -> Result<(), Error> {
        let from = if stderr { &r.stderr } else { &r.stdout };
        if from.total == 0 {
            return Ok(());
        }
        self.turn(stderr, progress)?;
        let mut tagger = if self.tag { Some(Tagger::new(&self.values_of(r.task).await?.join(" "))) } else { None };
        match &from.kept {
            Data::Blob { id, .. } => {
                let mut chunks = self.cx.client.blob(*id, Some(self.job)).await?;
                while let Some(chunk) = chunks.next().await? {
                    self.put(&chunk, stderr, tagger.as_mut());
                    if self.out.len() + self.err.len() >= BATCH {
                        self.flush(progress)?;
                    }
                }
            }
            inline => match inline.inline() {
                Some(Ok(bytes)) => self.put(&bytes, stderr, tagger.as_mut()),
                _ => return Err(ClientError::Protocol("output that is not base64".into()).into()),
            },
        }
        if let Some(mut tagger) = tagger {
            tagger.finish(if stderr { &mut self.err } else { &mut self.out });
        }
        self.cut(r.task, from, stderr, progress)
    }

    /// What goes to the other stream is written before: on a terminal, order tells what belongs together.
    fn turn(&mut self, stderr: bool, progress: &Progress) -> Result<(), Error> {
        let other = if stderr { &self.out } else { &self.err };
        if other.is_empty() { Ok(()) } else { self.flush(progress) }
    }

    fn put(&mut self, bytes: &[u8], stderr: bool, tagger: Option<&mut Tagger>) {
        let to = if stderr { &mut self.err } else { &mut self.out };
        match tagger {
            Some(tagger) => tagger.push(bytes, to),
            None => to.extend_from_slice(bytes),
        }
    }

    /// Says that something is missing from the middle of a long output.
    fn cut(&mut self, task: u32, stream: &Stream, stderr: bool, progress: &Progress) -> Result<(), Error> {
        let kept = match &stream.kept {
            Data::Blob { len, .. } => *len,
            Data::Text(t) => t.len() as u64,
            Data::Base64(t) => t.len() as u64 / 4 * 3,
        };
        if stream.total > kept.saturating_add(2) && !self.cx.quiet {
            let what = if stderr { "stderr" } else { "stdout" };
            let lost = words::bytes(stream.total - kept);
            self.turn(true, progress)?;
            self.line(&format!("task {task} wrote too much to {what}: {lost} were cut out of the middle"));
        }
        Ok(())
    }

    async fn failure(&mut self, r: &TaskResult) -> Result<(), Error> {
        self.failures += u64::from(r.count);
        if self.failures > TOLD || self.cx.quiet {
            return Ok(());
        }
        let values = words::tame(&self.values_of(r.task).await?.join(" "), 80);
        let values = if values.is_empty() { String::new() } else { format!(" ({values})") };
        let place = r.node.as_ref().map_or(String::new(), |n| format!(", on {}", words::tame(&words::node(n), 30)));
        let cause = r.cause.as_ref().map_or("failed".into(), |c| words::tame(&c.to_string(), 300));
        self.line(&format!("task {}{values} failed: {cause}{place}", r.task));
        if r.cause == Some(TaskCause::Exit(127)) && !std::mem::replace(&mut self.hinted, true) {
            self.line(INSTALL);
        }
        Ok(())
    }

    /// A line of ours among what the tasks wrote.
    fn line(&mut self, text: &str) {
        let open = self.err.last().map_or_else(is_open, |last| *last != b'\n');
        let start = if open { "\n" } else { "" };
        self.err.extend_from_slice(format!("{start}filch: {text}\n").as_bytes());
    }

    /// The values of a task; a job that is not of this process is asked for them once.
    async fn values_of(&mut self, task: u32) -> Result<Vec<String>, Error> {
        if self.values.is_none() {
            let detail = self.cx.client.job(&self.job.to_string()).await?;
            self.values = Some(match &detail.spec {
                Some(spec) => Values::load(&self.cx.client, self.job, spec).await?,
                None => Values::default(),
            });
        }
        Ok(self.values.as_ref().map(|v| v.of(task)).unwrap_or_default())
    }
}
