//! The one timer table of a node. Setting a timer again moves it.

use std::collections::{BTreeMap, BTreeSet};

use filch_types::{JobId, NodeId, Timestamp};

use crate::io::{Deadline, LaunchId};

/// What may become due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Probe or heartbeat to a peer; to itself where it is its own steward.
    Beat(NodeId),
    /// A peer may have become silent.
    Silence(NodeId),
    /// A worker's lease ends, here at the steward.
    Lease(JobId, NodeId),
    /// A new steward may grant.
    Grace(JobId),
    /// After a restart: time to see who is the steward.
    Elect(JobId),
    /// Summary of an active job.
    Announce(JobId),
    /// A pack has waited long enough.
    Pack(JobId),
    /// Results of parts of divided tasks have waited long enough.
    Bags(JobId),
    /// A part of a divided task has run long enough.
    Bag(LaunchId),
    /// Somebody waits for work.
    Lifeline(JobId),
    /// Unacked packs, unanswered calls to keep a job, missing closures.
    Resend(JobId),
    /// Anti-entropy.
    AntiEntropy(JobId),
    /// Copies are counted.
    Repair(JobId),
    /// Results wait for copies that may never come.
    Lonely(JobId),
    /// A submit ran out of time.
    Submit(JobId),
    /// Somebody who keeps the job may not have heard of its end.
    Tell(JobId),
    /// A tombstone is not on disk yet.
    Bury(JobId),
    /// Look for work.
    Seek,
    /// Finish draining.
    Drain,
}

impl Timer {
    fn reason(&self) -> &'static str {
        match self {
            Timer::Beat(_) => "heartbeat",
            Timer::Silence(_) => "peer may be silent",
            Timer::Lease(..) => "lease end",
            Timer::Grace(_) => "steward may grant",
            Timer::Elect(_) => "see who is the steward",
            Timer::Announce(_) => "announce",
            Timer::Pack(_) => "flush results",
            Timer::Bags(_) => "flush results of parts",
            Timer::Bag(_) => "end a part",
            Timer::Lifeline(_) => "give to those who wait",
            Timer::Resend(_) => "resend",
            Timer::AntiEntropy(_) => "anti-entropy",
            Timer::Repair(_) => "count copies",
            Timer::Lonely(_) => "pin with fewer copies",
            Timer::Submit(_) => "submit time limit",
            Timer::Tell(_) => "tell of a delete",
            Timer::Bury(_) => "write a tombstone",
            Timer::Seek => "look for work",
            Timer::Drain => "drain",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Timestamp, Timer)>,
    at: BTreeMap<Timer, Timestamp>,
}

impl Timers {
    pub fn set(&mut self, timer: Timer, at: Timestamp) {
        if let Some(old) = self.at.insert(timer, at) {
            self.due.remove(&(old, timer));
        }
        self.due.insert((at, timer));
    }
    /// Sets it unless it is due earlier already.
    pub fn sooner(&mut self, timer: Timer, at: Timestamp) {
        if self.at.get(&timer).is_none_or(|old| *old > at) {
            self.set(timer, at);
        }
    }
    /// Sets it unless it is set.
    pub fn ensure(&mut self, timer: Timer, at: Timestamp) {
        if !self.at.contains_key(&timer) {
            self.set(timer, at);
        }
    }
    pub fn cancel(&mut self, timer: Timer) {
        if let Some(old) = self.at.remove(&timer) {
            self.due.remove(&(old, timer));
        }
    }
    pub fn is_set(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }
    /// The next one due at `now`.
    pub fn pop(&mut self, now: Timestamp) -> Option<(Timestamp, Timer)> {
        let first = *self.due.first()?;
        if first.0 > now {
            return None;
        }
        self.due.remove(&first);
        self.at.remove(&first.1);
        Some(first)
    }
    pub fn next(&self) -> Option<Deadline> {
        self.due.first().map(|(at, t)| Deadline { at: *at, reason: t.reason() })
    }
    /// Forgets all timers of a job.
    pub fn drop_job(&mut self, job: JobId) {
        let of = |t: &Timer| match t {
            Timer::Lease(j, _)
            | Timer::Grace(j)
            | Timer::Elect(j)
            | Timer::Announce(j)
            | Timer::Pack(j)
            | Timer::Bags(j)
            | Timer::Lifeline(j)
            | Timer::Resend(j)
            | Timer::AntiEntropy(j)
            | Timer::Repair(j)
            | Timer::Lonely(j)
            | Timer::Submit(j) => *j == job,
            _ => false,
        };
        let gone: Vec<Timer> = self.at.keys().filter(|t| of(t)).copied().collect();
        gone.into_iter().for_each(|t| self.cancel(t));
    }
}
