//! One place to run one task at a time: its queue, what it runs now, and how that is stopped.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use filch_types::JobId;

use crate::batch::{Batch, LiveStream, Running};
use crate::control::{Interrupt, Live, LiveFile};
use crate::lock::lock;
use crate::outbox::Outbox;

/// Batches that may wait for one slot; the core sends two.
const MAX_QUEUE: usize = 64;
/// Calls to split that may wait for one step's end; the core has one outstanding.
const MAX_ASKS: usize = 16;

/// A call to split a running bag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Its name; chosen by the core.
    pub id: u64,
    /// What is split off must be worth so much time in this slot.
    pub least: Duration,
}

struct Current {
    launch: u64,
    job: JobId,
    index: u32,
    attempt: u64,
    since: Instant,
    live: Option<Live>,
    /// Calls to split; `None` unless it runs and can be split.
    asks: Option<VecDeque<Ask>>,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Queue>,
    current: Option<Current>,
    interrupt: Option<Arc<dyn Interrupt>>,
    /// Grace of the stop in force, if it brought one.
    grace_ms: Option<u32>,
    closing: bool,
}

/// A batch that waits.
struct Queue {
    batch: Batch,
    /// It is to end as soon as it begins.
    checkpoint: bool,
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
    /// Somebody may want to split what runs: a step apart this is looked at, so it must cost nothing.
    asked: AtomicBool,
    checkpoint: AtomicBool,
}

impl Slot {
    pub(crate) fn new(number: u16) -> Self {
        Self {
            number,
            outbox: Mutex::default(),
            inner: Mutex::default(),
            wake: Condvar::new(),
            stopped: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            checkpoint: AtomicBool::new(false),
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
        inner.queue.push_back(Queue { batch, checkpoint: false });
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
            if let Some(Queue { batch, checkpoint }) = inner.queue.pop_front() {
                inner.grace_ms = None;
                self.stopped.store(false, Ordering::Release);
                self.checkpoint.store(checkpoint, Ordering::Release);
                inner.current = Some(Current {
                    launch: batch.launch,
                    job: batch.job,
                    index: batch.tasks.lo,
                    attempt: batch.attempt,
                    since: Instant::now(),
                    live: None,
                    asks: None,
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
        let at = inner.queue.iter().position(|q| q.batch.launch == launch);
        (false, at.and_then(|at| inner.queue.remove(at)).map(|q| q.batch))
    }

    /// Takes nothing more, stops what runs, hands back what waits.
    pub(crate) fn close(&self, grace_ms: u32) -> Vec<Batch> {
        let mut inner = lock(&self.inner);
        inner.closing = true;
        self.stop_current(&mut inner, Some(grace_ms));
        std::mem::take(&mut inner.queue).into_iter().map(|q| q.batch).collect()
    }

    /// From now on what runs can be split.
    pub(crate) fn open_asks(&self) {
        if let Some(c) = &mut lock(&self.inner).current {
            c.asks = Some(VecDeque::new());
        }
    }
    /// From now on it cannot; the calls that nobody answered.
    pub(crate) fn close_asks(&self) -> VecDeque<Ask> {
        self.asked.store(false, Ordering::Release);
        lock(&self.inner).current.as_mut().and_then(|c| c.asks.take()).unwrap_or_default()
    }
    /// Hands in a call; false if the batch does not run here, cannot be split, or too many wait.
    pub(crate) fn split(&self, launch: u64, ask: Ask) -> bool {
        let mut inner = lock(&self.inner);
        let current = inner.current.as_mut().filter(|c| c.launch == launch);
        match current.and_then(|c| c.asks.as_mut()).filter(|a| a.len() < MAX_ASKS) {
            Some(asks) => {
                asks.push_back(ask);
                self.asked.store(true, Ordering::Release);
                true
            }
            None => false,
        }
    }
    /// The oldest call that waits.
    pub(crate) fn ask(&self) -> Option<Ask> {
        if !self.asked.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.inner).current.as_ref()?.asks.as_ref()?.front().copied()
    }
    /// It is answered; false if it was before.
    pub(crate) fn answered(&self, ask: Ask) -> bool {
        let mut inner = lock(&self.inner);
        let Some(asks) = inner.current.as_mut().and_then(|c| c.asks.as_mut()) else { return false };
        let waits = asks.front() == Some(&ask);
        if waits {
            asks.pop_front();
        }
        if asks.is_empty() {
            self.asked.store(false, Ordering::Release);
        }
        waits
    }
    /// Ends a divisible batch where it is, as soon as it runs; false if it is not here.
    pub(crate) fn end_bag(&self, launch: u64) -> bool {
        let mut inner = lock(&self.inner);
        if inner.current.as_ref().is_some_and(|c| c.launch == launch) {
            self.checkpoint.store(true, Ordering::Release);
            return true;
        }
        let waiting = inner.queue.iter_mut().find(|q| q.batch.launch == launch);
        waiting.map(|q| q.checkpoint = true).is_some()
    }
    pub(crate) fn is_checkpoint(&self) -> bool {
        self.checkpoint.load(Ordering::Acquire)
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
    pub(crate) fn live(&self, job: JobId, index: u32, attempt: u64, which: LiveStream) -> Option<LiveFile> {
        let r = self.running().filter(|r| (r.job, r.index, r.attempt) == (job, index, attempt))?;
        match which {
            LiveStream::Stdout => r.live.map(|l| l.stdout),
            LiveStream::Stderr => r.live.map(|l| l.stderr),
        }
    }
}
