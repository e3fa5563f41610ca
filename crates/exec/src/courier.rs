//! One thread that reports what must not wait for a slot's thread, and must not be reported by the caller's.
//!
//! Callers of `start` and `stop` are the ones who receive reports: a report from inside the call could block them on
//! their own full inbox.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::batch::Report;
use crate::lock::lock;
use crate::outbox::{MAX_WAIT, Sink};
use crate::slot::Slot;

#[derive(Default)]
struct Bag {
    /// Some slot has results that wait.
    armed: bool,
    /// Reports of the callers' threads.
    reports: Vec<Report>,
    closing: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Courier {
    bag: Mutex<Bag>,
    wake: Condvar,
}

impl Courier {
    /// A slot has results that may have to wait for a long task.
    pub(crate) fn arm(&self) {
        let mut bag = lock(&self.bag);
        if !bag.armed {
            bag.armed = true;
            self.wake.notify_one();
        }
    }
    /// Reports this soon, from another thread.
    pub(crate) fn send(&self, report: Report) {
        lock(&self.bag).reports.push(report);
        self.wake.notify_one();
    }
    /// Ends the thread after what is there.
    pub(crate) fn close(&self) {
        lock(&self.bag).closing = true;
        self.wake.notify_one();
    }

    /// The thread's body.
    pub(crate) fn run(&self, slots: &[Arc<Slot>], sink: &Sink) {
        loop {
            let mut bag = lock(&self.bag);
            while !bag.armed && bag.reports.is_empty() && !bag.closing {
                bag = self.wake.wait(bag).unwrap_or_else(PoisonError::into_inner);
            }
            if bag.reports.is_empty() && !bag.closing {
                let waited = self.wake.wait_timeout_while(bag, MAX_WAIT, |b| b.reports.is_empty() && !b.closing);
                bag = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            let reports = std::mem::take(&mut bag.reports);
            let closing = bag.closing;
            bag.armed = false;
            drop(bag);
            reports.into_iter().for_each(sink);
            let now = Instant::now();
            let waiting = slots.iter().filter(|s| lock(&s.outbox).flush_due(now, sink)).count();
            if closing {
                return;
            }
            if waiting > 0 {
                lock(&self.bag).armed = true;
            }
        }
    }
}
