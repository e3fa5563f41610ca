//! What becomes of launched tasks: results gather in packs, packs go to the replicas (P5, P13).

use filch_types::fact::FactBody;
use filch_types::ranges::Range;
use filch_types::time::Span;
use filch_types::{JobId, ResultRun, limits};

use super::beats::same_tag;
use super::job::COPY;
use super::{Made, Node, Timer};
use crate::io::{Event, LaunchId, Output};

/// Bytes that a run takes in a pack, about.
fn weight(run: &ResultRun) -> usize {
    let out = run.outcome.output();
    64 + out.inline_len() + out.blobs().count() * 48
}

impl Node {
    pub(super) fn on_staging(&mut self, launch: LaunchId, waits: bool) {
        if let Some(l) = self.launches.get_mut(&launch) {
            let began = std::mem::replace(&mut l.staging, waits.then_some(self.now));
            l.fetched = true;
            if let (false, Some(asked)) = (waits, began) {
                l.since = self.now;
                let (id, took) = (l.job, self.now.since(asked));
                self.inputs_took(id, took);
            }
        }
    }

    /// Tasks that a crash could take down (P14): of the first launch of each slot, unless it waits for its inputs or is so young
    /// that it may not have begun. A launch of several is a few milliseconds of work and counts as one.
    pub(super) fn executing(&self, id: JobId) -> Vec<Range> {
        let mut seen = vec![false; self.slots.len()];
        let mut out = filch_types::RangeSet::default();
        for l in self.launches.values() {
            let first = seen.get_mut(usize::from(l.slot)).is_some_and(|s| !std::mem::replace(s, true));
            let begun = l.staging.is_none() && self.now.since(l.since) >= self.cfg.timing.batch;
            // Parts are charged by their own names.
            let begun = begun && l.bag.as_ref().and_then(|run| super::bag_leases::part(run.task)).is_none();
            if first && begun && l.job == id {
                out.insert(l.left);
            }
        }
        out.iter().collect()
    }

    pub(super) fn on_finished(&mut self, launch: LaunchId, runs: Vec<ResultRun>) {
        let Some(l) = self.launches.get_mut(&launch).filter(|l| l.bag.is_none()) else { return };
        let (id, tag) = (l.job, l.tag);
        let mut full = false;
        for run in runs {
            let Some(l) = self.launches.get_mut(&launch) else { break };
            // An executor that reports tasks out of order or of another launch is wrong: what it says is not taken.
            if run.lo != l.left.lo || run.range().hi > l.left.hi || run.attempt != tag.attempt || !run.is_valid() {
                break;
            }
            l.left.lo = run.range().hi;
            self.counters.finished += u64::from(run.count);
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let w = &mut job.work;
            let ns = run.wall_us.saturating_mul(1000) / u64::from(run.count);
            if job.fold.tree().divisible(run.lo) {
                // Its parts say nothing of how long another whole would take.
            } else {
                w.task_ns = Some(match w.task_ns {
                    None => ns.max(1),
                    // A long run of short tasks says more than one task.
                    Some(old) => ((old.saturating_mul(3) + ns) / 4).max(1),
                });
            }
            w.running.remove(run.range());
            (w.hindered, w.hindered_until) = Default::default();
            if tag.hops & COPY != 0 && !run.outcome.is_success() {
                // The attempt that it is a copy of has the say.
                continue;
            }
            w.unacked.insert(run.range(), tag);
            if run.outcome.is_success() {
                w.failed.remove(run.range())
            } else {
                w.failed.insert(run.range())
            }
            match w.pack.last_mut() {
                Some(last) if last.continues(&run) => {
                    last.count += run.count;
                    last.wall_us += run.wall_us;
                }
                _ => {
                    w.pack_bytes += weight(&run);
                    w.pack.push(run);
                }
            }
            full = w.pack.len() >= limits::MAX_PACK_RUNS || w.pack_bytes >= limits::PACK_BYTES;
            if full {
                self.flush_pack(id);
            }
        }
        self.close_launch(launch);
        if tag.hops & COPY != 0 {
            // So that the steward hears at once of a copy that is no more.
            self.report(id);
        }
        let Some(job) = self.jobs.get(&id) else { return };
        if job.work.pack.is_empty() || full {
            return;
        }
        let dry = job.work.queue.is_empty() && job.work.running.is_empty();
        if dry {
            return self.flush_pack(id);
        }
        let t = &self.cfg.timing;
        let wait = if job.manifest.spec.attended { t.pack_flush_attended } else { t.pack_flush };
        self.timers.ensure(Timer::Pack(id), self.now + wait);
    }

    pub(super) fn on_bounced(&mut self, launch: LaunchId, tasks: Range, why: String) {
        let Some(l) = self.launches.get_mut(&launch) else { return };
        let (id, unwanted, tag) = (l.job, l.unwanted, l.tag);
        let back = tasks.intersect(l.left);
        l.left.lo = l.left.lo.max(back.hi);
        let run = l.bag.as_ref();
        let (bag, revoked) = (run.and_then(|r| super::bag_leases::part(r.task)), run.is_some_and(|r| r.revoked));
        if let Some(job) = self.jobs.get_mut(&id).filter(|_| bag.is_none()) {
            // A divided task that was stopped may run here again meanwhile, as another attempt.
            let ended = if revoked { same_tag(&job.work.running, back, tag) } else { vec![back] };
            ended.into_iter().for_each(|r| job.work.running.remove(r));
        }
        if let Some(job) = self.jobs.get_mut(&id).filter(|_| !unwanted && !revoked) {
            // Dropped from what is held, so that the steward gives it to somebody; this node waits before it asks again.
            job.work.hindered = (job.work.hindered * 2).clamp(Span::millis(500).0, Span::secs(10).0);
            job.work.hindered_until = self.now + Span(job.work.hindered);
            let at = job.work.hindered_until;
            self.timers.sooner(Timer::Seek, at);
        }
        if self.launches.get(&launch).is_some_and(|l| l.bag.is_some()) {
            self.part_ends(launch);
        } else {
            self.close_launch(launch);
        }
        if !unwanted {
            self.event(Event::Bounced { job: id, tasks: back, why });
        }
        if self.jobs.get(&id).is_some_and(|j| j.work.queue.is_empty() && j.work.running.is_empty()) {
            self.flush_pack(id);
        }
        self.report(id);
    }

    /// Ends a launch all of whose tasks were reported.
    pub(super) fn close_launch(&mut self, launch: LaunchId) {
        let Some(l) = self.launches.get(&launch) else { return };
        if !l.left.is_empty() {
            return;
        }
        let (id, slot, weight, fetched) = (l.job, usize::from(l.slot), l.weight, l.fetched);
        self.launches.remove(&launch);
        if !fetched {
            self.inputs_took(id, Span(0));
        }
        // The next one of the slot begins only now.
        let now = self.now;
        if let Some(next) = self.launches.values_mut().find(|l| usize::from(l.slot) == slot) {
            next.since = now;
        }
        if let Some(n) = self.slots.get_mut(slot) {
            *n = n.saturating_sub(weight);
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.work.launches.remove(&launch);
        } else if !self.launches.values().any(|l| l.job == id) && !self.burying(id) {
            // The job went while its last tasks ended: what they left goes, too.
            self.emit(Output::Release(id));
        }
        if self.draining {
            self.flush_pack(id);
            self.flush_bags(id);
        }
        self.maybe_drop(id);
    }

    /// Signs what has gathered and sends it on its way.
    pub(super) fn flush_pack(&mut self, id: JobId) {
        self.timers.cancel(Timer::Pack(id));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let mut runs = std::mem::take(&mut job.work.pack);
        job.work.pack_bytes = 0;
        if runs.is_empty() || job.fold.cancelled() || job.fold.deleted() {
            return;
        }
        runs.sort_by_key(|r| r.lo);
        // Two attempts at one task cannot share a pack: its runs are disjoint.
        let mut later = Vec::new();
        let mut hi = 0;
        runs.retain(|r| {
            let fits = r.lo >= hi;
            if fits {
                hi = r.range().hi;
            } else {
                later.push(r.clone());
            }
            fits
        });
        let mut merged: Vec<ResultRun> = Vec::with_capacity(runs.len());
        for run in runs {
            match merged.last_mut() {
                Some(last) if last.continues(&run) => {
                    last.count += run.count;
                    last.wall_us += run.wall_us;
                }
                _ => merged.push(run),
            }
        }
        job.work.pack = later;
        self.counters.packs += 1;
        self.make_fact(id, FactBody::Pack(merged), Made::Pack);
        if self.jobs.get(&id).is_some_and(|j| !j.work.pack.is_empty()) {
            self.timers.set(Timer::Pack(id), self.now);
        }
    }
}
