//! How a running task learns that it must end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use filch_types::Content;

use crate::batch::Report;
use crate::outbox::Sink;
use crate::slot::{Ask, Slot};

/// How a runner that waits for something can be woken from another thread.
pub trait Interrupt: Send + Sync {
    /// End the task: politely first, by force after `grace_ms` (the task's own grace if absent). Must not block.
    fn stop(&self, grace_ms: Option<u32>);
    /// End it by force, whatever state the runner is in.
    fn kill(&self);
}

/// The slot thread's view of stop and shutdown.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    pub(crate) slot: &'a Slot,
    pub(crate) sink: &'a Sink,
    pub(crate) launch: u64,
    pub(crate) deadline: Option<Instant>,
}

impl Control<'_> {
    /// Whether the batch was stopped or the node shuts down: nothing new may start.
    pub fn is_stopped(&self) -> bool {
        self.slot.is_stopped()
    }
    /// Whether the task's time limit has passed.
    pub fn is_late(&self) -> bool {
        self.deadline.is_some_and(|d| Instant::now() >= d)
    }
    /// Sleeps until the time has passed, the task is stopped, or its time limit passes; true if the whole time passed.
    pub fn sleep(&self, time: Duration) -> bool {
        let now = Instant::now();
        let wanted = now.checked_add(time);
        let until = match (wanted, self.deadline) {
            (Some(w), Some(d)) => Some(w.min(d)),
            (w, d) => w.or(d),
        };
        self.slot.sleep_until(until);
        !self.is_stopped() && wanted.is_some_and(|w| Instant::now() >= w)
    }
    /// Says how to end the task that is about to start. False if it was stopped meanwhile: it must not start.
    pub fn set_interrupt(&self, interrupt: Arc<dyn Interrupt>) -> bool {
        self.slot.set_interrupt(Some(interrupt))
    }
    /// The task cannot be interrupted any more.
    pub fn clear_interrupt(&self) {
        self.slot.set_interrupt(None);
    }
    /// The oldest call to split what runs, if there is one. It stays until it is answered.
    pub fn ask(&self) -> Option<Ask> {
        self.slot.ask()
    }
    /// Answers the oldest call.
    pub fn answer(&self, ask: Ask, bag: Option<Content>) {
        if self.slot.answered(ask) {
            (self.sink)(Report::Split { launch: self.launch, ask: ask.id, bag });
        }
    }
    /// Says that little is left of what runs.
    pub fn ends_soon(&self) {
        (self.sink)(Report::EndsSoon { launch: self.launch });
    }
    /// Whether what runs should end where it is and say what is left.
    pub fn is_checkpoint(&self) -> bool {
        self.slot.is_checkpoint()
    }
    /// Says where its output can be followed.
    pub fn set_live(&self, live: Live) {
        self.slot.set_live(live);
    }
}

/// Where a running task's output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Standard output.
    pub stdout: LiveFile,
    /// Standard error.
    pub stderr: LiveFile,
}

/// A file that the tasks of a slot write to, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveFile {
    /// Its path.
    pub path: Arc<Path>,
    /// Where the output of this task begins, in bytes.
    pub from: u64,
}
