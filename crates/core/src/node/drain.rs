//! An orderly end: nothing new is taken, what has not started goes back, what is owed is delivered.

use filch_types::ranges::Range;
use filch_types::time::Span;
use filch_types::{JobId, NodeId};

use super::beats::remove_counted;
use super::job::{Job, OutPack};
use super::{Node, Timer};
use crate::io::{LaunchId, Output};

impl Node {
    pub(super) fn on_drain(&mut self) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        let peers: Vec<NodeId> = self.peers.iter().filter(|(_, p)| p.connected).map(|(id, _)| *id).collect();
        peers.into_iter().for_each(|p| self.say_hello(p));
        self.leave_offices();
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let all = Range::new(0, job.fold.total());
            let dropped = remove_counted(&mut job.work.queue, all) + job.work.bags.queue.len() as u64;
            self.queued -= dropped - job.work.bags.queue.len() as u64;
            job.work.bags.queue.clear();
            job.work.lines = Default::default();
            let launches: Vec<LaunchId> = job.work.launches.iter().copied().collect();
            launches.into_iter().for_each(|l| self.on_bag_timer(l));
            self.set_runnable(id, false);
            self.flush_pack(id);
            self.flush_bags(id);
            if dropped > 0 {
                self.report(id);
            }
        }
    }

    pub(super) fn check_drained(&mut self) {
        if !self.draining || self.drained {
            return;
        }
        // Members of R that live and have not got what is owed; who is gone is not waited for.
        let lacks = |j: &Job, o: &OutPack| {
            j.replicas.iter().any(|r| *r != self.id && self.alive(*r) && !o.acked.contains_key(r))
        };
        let owed = self.jobs.values().any(|j| j.outbox.values().any(|o| lacks(j, o)));
        if self.launches.is_empty() && self.commits.is_empty() && !owed {
            self.drained = true;
            self.emit(Output::Drained);
        } else {
            self.timers.set(Timer::Drain, self.now + Span::millis(20));
        }
    }
}
