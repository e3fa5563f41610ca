//! One place to run one task at a time: its queue, what it runs now, and how that is stopped.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use filch_types::JobId;

use crate::batch::{Batch, LiveStream, Running};
use crate::control::{Interrupt, Live, LiveFile};
use crate::lock::lock;
use crate::outbox::Outbox;

/// Batches that may wait for one slot; the core sends two.
const MAX_QUEUE: usize = 64;

struct Current {
    launch: u64,
    job: JobId,
    index: u32,
    attempt: u32,
    since: Instant,
    live: Option<Live>,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Batch>,
    current: Option<Current>,
    interrupt: Option<Arc<dyn Interrupt>>,
    /// Grace of the stop in force, if it brought one.
    grace_ms: Option<u32>,
    closing: bool,
}

/// What became of a batch that was handed in.
pub(crate) enum Queued {
    /// It waits or runs.
    Yes,
    /// There is no room, or the node shuts down.
    No(Batch, &'static str),
}

/// See the module.
pub(crate) struct Slot {
    pub(crate) number: u16,
    pub(crate) outbox: Mutex<Outbox>,
    inner: Mutex<Inner>,
    wake: Condvar,
    stopped: AtomicBool,
}

impl Slot {
    pub(crate) fn new(number: u16) -> Self {
        Self {
            number,
            outbox: Mutex::default(),
            inner: Mutex::default(),
            wake: Condvar::new(),
            stopped: AtomicBool::new(false),
        }
    }

    pub(crate) fn push(&self, batch: Batch) -> Queued {
        let mut inner = lock(&self.inner);
        if inner.closing {
            return Queued::No(batch, "the node is shutting down");
        }
        if inner.queue.len() >= MAX_QUEUE {
            return Queued::No(batch, "the slot's queue is full");
        }
        inner.queue.push_back(batch);
        self.wake.notify_all();
        Queued::Yes
    }

    /// The next batch; `None` once the slot is closed.
    pub(crate) fn next(&self) -> Option<Batch> {
        let mut inner = lock(&self.inner);
        inner.current = None;
        inner.interrupt = None;
        loop {
            if inner.closing {
                return None;
            }
            if let Some(batch) = inner.queue.pop_front() {
                inner.grace_ms = None;
                self.stopped.store(false, Ordering::Release);
                inner.current = Some(Current {
                    launch: batch.launch,
                    job: batch.job,
                    index: batch.tasks.lo,
                    attempt: batch.attempt,
                    since: Instant::now(),
                    live: None,
                });
                return Some(batch);
            }
            inner = self.wake.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The batch goes on with this task.
    pub(crate) fn begin(&self, index: u32, now: Instant) {
        if let Some(c) = &mut lock(&self.inner).current {
            c.index = index;
            c.since = now;
            c.live = None;
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Stops the batch of this name: true if it is running; if it only waited, it is handed back.
    pub(crate) fn stop(&self, launch: u64) -> (bool, Option<Batch>) {
        let mut inner = lock(&self.inner);
        if inner.current.as_ref().is_some_and(|c| c.launch == launch) {
            self.stop_current(&mut inner, None);
            return (true, None);
        }
        let at = inner.queue.iter().position(|b| b.launch == launch);
        (false, at.and_then(|at| inner.queue.remove(at)))
    }

    /// Takes nothing more, stops what runs, hands back what waits.
    pub(crate) fn close(&self, grace_ms: u32) -> VecDeque<Batch> {
        let mut inner = lock(&self.inner);
        inner.closing = true;
        self.stop_current(&mut inner, Some(grace_ms));
        std::mem::take(&mut inner.queue)
    }

    /// Ends what runs by force.
    pub(crate) fn kill(&self) {
        let interrupt = lock(&self.inner).interrupt.clone();
        if let Some(i) = interrupt {
            i.kill();
        }
    }

    fn stop_current(&self, inner: &mut Inner, grace_ms: Option<u32>) {
        self.stopped.store(true, Ordering::Release);
        inner.grace_ms = grace_ms;
        if let Some(i) = &inner.interrupt {
            i.stop(grace_ms);
        }
        self.wake.notify_all();
    }

    /// False if the task was stopped before it could be interrupted.
    pub(crate) fn set_interrupt(&self, interrupt: Option<Arc<dyn Interrupt>>) -> bool {
        let mut inner = lock(&self.inner);
        inner.interrupt = interrupt;
        !self.is_stopped()
    }

    pub(crate) fn set_live(&self, live: Live) {
        if let Some(c) = &mut lock(&self.inner).current {
            c.live = Some(live);
        }
    }

    /// Waits until then (`None`: for ever) or until the batch is stopped.
    pub(crate) fn sleep_until(&self, until: Option<Instant>) {
        let mut inner = lock(&self.inner);
        while !self.is_stopped() {
            let Some(until) = until else {
                inner = self.wake.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            inner = self.wake.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn running(&self) -> Option<Running> {
        let inner = lock(&self.inner);
        let c = inner.current.as_ref()?;
        Some(Running {
            launch: c.launch,
            job: c.job,
            index: c.index,
            attempt: c.attempt,
            slot: self.number,
            elapsed: c.since.elapsed(),
            live: c.live.clone(),
        })
    }

    /// The live file of this attempt, if it is the one that runs.
    pub(crate) fn live(&self, job: JobId, index: u32, attempt: u32, which: LiveStream) -> Option<LiveFile> {
        let r = self.running().filter(|r| (r.job, r.index, r.attempt) == (job, index, attempt))?;
        match which {
            LiveStream::Stdout => r.live.map(|l| l.stdout),
            LiveStream::Stderr => r.live.map(|l| l.stderr),
        }
    }
}
