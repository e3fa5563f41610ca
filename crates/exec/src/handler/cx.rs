//! What a handler knows and may do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use filch_types::JobId;

use crate::control::Control;
use crate::executor::Attempt;
use crate::task::{Paths, Task};

/// One call of a handler.
pub struct HandlerCx<'a> {
    job: JobId,
    attempt: u64,
    task: &'a Task<'a>,
    control: Control<'a>,
    args: &'a [String],
    paths: &'a Paths,
    dir: Option<&'a Path>,
}

impl<'a> HandlerCx<'a> {
    pub(crate) fn new(attempt: &'a Attempt<'_>, args: &'a [String], paths: &'a Paths, dir: Option<&'a Path>) -> Self {
        Self {
            job: attempt.job,
            attempt: attempt.attempt,
            task: &attempt.task,
            control: attempt.control,
            args,
            paths,
            dir,
        }
    }
    /// The job.
    pub fn job(&self) -> JobId {
        self.job
    }
    /// The task's index in the job, from 0.
    pub fn index(&self) -> u32 {
        self.task.index
    }
    /// Its number in its group, from 0.
    pub fn number(&self) -> u32 {
        self.task.number
    }
    /// Attempt number: unique per attempt at the task.
    pub fn attempt(&self) -> u64 {
        self.attempt
    }
    /// The slot, from 0.
    pub fn slot(&self) -> u16 {
        self.task.slot
    }
    /// The handler's arguments, expanded.
    pub fn args(&self) -> &[String] {
        self.args
    }
    /// The task's values, one per source; the value of an array's task.
    pub fn values(&self) -> &[String] {
        self.task.values()
    }
    /// Private directory of the attempt; `None` for a task without files.
    pub fn dir(&self) -> Option<&Path> {
        self.dir
    }
    /// Input files: declared path, and where it is.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        self.paths.inputs.iter().map(|p| (p.as_str(), self.dir.unwrap_or(Path::new("")).join(p)))
    }
    /// Output files to be written: declared path, and where. Their parent directories exist.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        self.paths.outputs.iter().map(|p| (p.as_str(), self.dir.unwrap_or(Path::new("")).join(p)))
    }
    /// Whether the handler should come back now: it was stopped, or its time limit has passed. Long ones should ask every
    /// few milliseconds.
    pub fn is_cancelled(&self) -> bool {
        self.control.is_stopped() || self.control.is_late()
    }
    /// Waits so long; an error as soon as the handler is cancelled.
    pub fn sleep(&self, time: Duration) -> Result<(), String> {
        if self.control.sleep(time) { Ok(()) } else { Err("cancelled".to_owned()) }
    }
}
