//! The interface of everything that can run a task.

use std::path::PathBuf;
use std::sync::Arc;

use filch_types::manifest::Program;
use filch_types::{Content, JobId, Outcome};

use crate::config::ExecConfig;
use crate::control::Control;
use crate::dirs::Workspace;
use crate::host::{Host, HostError};
use crate::task::Task;

/// A kind of task that this node can run. Kept in a registry; the first that takes a program runs it.
pub trait Executor: Send + Sync {
    /// What it adds to what the node advertises, e.g. `command`, `handler:noop`.
    fn offers(&self) -> Vec<String>;
    /// Whether it runs programs like this one.
    fn takes(&self, program: &Program) -> bool;
    /// Makes its part of one slot; called on the slot's thread at the first task of this kind.
    fn runner(&self, slot: &SlotInfo) -> Box<dyn Runner>;
}

/// An executor's part of one slot. Lives and is dropped on the slot's thread.
pub trait Runner {
    /// Runs one attempt to its end. Must come back soon after `attempt.control` is stopped.
    fn run(&mut self, attempt: &mut Attempt<'_>) -> Verdict;
}

/// The slot that a runner belongs to.
#[derive(Clone)]
pub struct SlotInfo {
    /// Its number, from 0.
    pub slot: u16,
    /// Its own directory.
    pub dir: PathBuf,
    /// Of the node.
    pub config: Arc<ExecConfig>,
    /// The node.
    pub host: Arc<dyn Host>,
}

/// One try at one task.
pub struct Attempt<'a> {
    /// The job.
    pub job: JobId,
    /// Attempt number.
    pub attempt: u64,
    /// What to do of a divisible task, if not the whole.
    pub part: Option<&'a Content>,
    /// The task.
    pub task: Task<'a>,
    /// Tells when to stop.
    pub control: Control<'a>,
    /// The directory for the attempt, made when asked for.
    pub workspace: &'a mut Workspace,
}

/// How an attempt went.
#[derive(Debug)]
pub enum Verdict {
    /// The task ended; the result counts.
    Done(Outcome),
    /// A divisible task ended, or a part of one: all is processed or given away, or it was told to stop there.
    Counted {
        /// What was counted.
        tally: Vec<u64>,
        /// What is left.
        rest: Option<Content>,
    },
    /// It did not run or does not count.
    Bounced(Fault),
}

/// Something that is not the task's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For people.
    pub why: String,
    /// The following tasks of the batch would meet the same: bounce them too, untried.
    pub lasting: bool,
}

impl Fault {
    /// A fault that may not concern the next task.
    pub fn once(why: impl Into<String>) -> Self {
        Self { why: why.into(), lasting: false }
    }
    /// A fault of the slot.
    pub fn lasting(why: impl Into<String>) -> Self {
        Self { why: why.into(), lasting: true }
    }
}

impl From<HostError> for Fault {
    fn from(e: HostError) -> Self {
        Self { lasting: matches!(e, HostError::Full(_)), why: e.to_string() }
    }
}
