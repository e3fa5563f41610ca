//! The tail: near the end of a job, an attempt that takes far longer than the others gets one copy on another node. Whichever
//! ends first wins, and the other one is told to stop (P9 makes duplicates harmless).
//!
//! A copy is given only when nothing else is left to be had: the pool is empty, nobody has unstarted tasks, and the claimer
//! has an idle slot. It never goes to the node that runs the task already, never moves on, and only ever adds a success: its
//! failure says nothing, so a job ends no worse than without it. Soft state of the steward, like leases: a new one learns from
//! heartbeats which attempts are copies (`COPY`), and how long tasks take from results.

use std::collections::{BTreeMap, BTreeSet};

use filch_types::ranges::{Range, RangeMap, RangeSet};
use filch_types::time::Span;
use filch_types::wire::LeaseRun;
use filch_types::{Epoch, JobId, JobSpec, NodeId, ResultRun, Timestamp, limits};

use super::fold::Fold;
use super::job::{CAREFUL, COPY, Steward, Tag, lease_run};
use super::leases::Leases;
use super::{Node, Timer};
use crate::io::Event;
use filch_types::wire::JobState;

/// An attempt straggles once it takes so many times as long as 95 of 100 of its group did.
const FACTOR: u64 = 3;
/// And so many heartbeats at least: what is over in a moment needs no copy, and heartbeats tell no finer.
const FLOOR_BEATS: u64 = 2;
/// Results of a group before anything is said about how long its tasks take.
const ENOUGH: u64 = 10;
/// The oldest attempts that a claim looks at.
const LOOKED_AT: usize = 64;

/// How long tasks take, by group, in steps of a quarter octave: what results said, in bounded memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    groups: BTreeMap<usize, Steps>,
}

#[derive(Clone, Debug, Default)]
struct Steps {
    counts: BTreeMap<u8, u64>,
    total: u64,
}

/// The step that a duration falls in, and where that step ends.
fn step(us: u64) -> (u8, u64) {
    if us < 4 {
        return (us as u8, us + 1);
    }
    let octave = u64::from(63 - us.leading_zeros());
    let quarter = (us >> (octave - 2)) & 3;
    let end = u64::try_from(u128::from(5 + quarter) << (octave - 2)).unwrap_or(u64::MAX);
    ((octave * 4 + quarter) as u8, end)
}

fn end_of(step_number: u8) -> u64 {
    let (octave, quarter) = (u64::from(step_number / 4), u64::from(step_number % 4));
    if octave < 2 { quarter + 1 } else { u64::try_from(u128::from(5 + quarter) << (octave - 2)).unwrap_or(u64::MAX) }
}

impl Pace {
    /// Takes note of successes; how long a failure took says little.
    pub fn learn(&mut self, spec: &JobSpec, runs: &[ResultRun]) {
        for run in runs.iter().filter(|r| r.count > 0 && r.outcome.is_success()) {
            let Some((group, ..)) = spec.locate(run.lo) else { continue };
            let steps = self.groups.entry(group).or_default();
            *steps.counts.entry(step(run.wall_us / u64::from(run.count)).0).or_default() += u64::from(run.count);
            steps.total += u64::from(run.count);
        }
    }
    /// Microseconds that 95 of 100 tasks of the group stayed under, if enough have ended.
    fn most(&self, group: usize) -> Option<u64> {
        let steps = self.groups.get(&group).filter(|s| s.total >= ENOUGH)?;
        let mut below = 0;
        let at = steps.counts.iter().find(|(_, n)| {
            below += **n;
            below * 100 >= steps.total * 95
        });
        at.map(|(step, _)| end_of(*step))
    }
}

/// A second attempt at what runs elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Copy {
    node: NodeId,
    attempt: u64,
}

/// A launch that executes, as heartbeats tell.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Begun {
    tasks: Range,
    attempt: u64,
    /// When this steward first heard of it with this first task.
    since: Timestamp,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copies {
    given: RangeMap<Copy>,
    /// What has had its copy: there is no second one from this steward.
    spent: RangeSet,
    begun: BTreeMap<NodeId, Vec<Begun>>,
    oldest: BTreeSet<(Timestamp, u32, NodeId)>,
}

impl Copies {
    /// Tasks of which a copy is out, and who has it.
    pub fn iter(&self) -> impl Iterator<Item = (Range, NodeId)> + '_ {
        self.given.iter().map(|(r, c)| (r, c.node))
    }
    /// The copies that `w` has.
    pub fn of(&self, w: NodeId) -> Vec<(Range, u64)> {
        self.given.iter().filter(|(_, c)| c.node == w).map(|(r, c)| (r, c.attempt)).collect()
    }
    /// Whether all of `r` is known to be a copy at `w` at this attempt.
    pub fn has(&self, r: Range, w: NodeId, attempt: u64) -> bool {
        self.given.gaps(r).is_empty() && self.given.overlapping(r).all(|(_, c)| c.node == w && c.attempt == attempt)
    }
    fn free(&self, r: Range) -> bool {
        self.given.overlapping(r).next().is_none()
    }
    /// The copies are no more: their tasks have ended, or their node has lost them.
    pub fn drop(&mut self, r: Range) {
        self.given.remove(r);
    }
    /// Nothing more is known of `w`.
    pub fn forget(&mut self, w: NodeId) {
        for b in self.begun.remove(&w).unwrap_or_default() {
            self.oldest.remove(&(b.since, b.tasks.lo, w));
        }
    }
    /// `w` says what it executes. A launch whose first task ended is another launch: it makes progress.
    pub fn observe(&mut self, w: NodeId, running: Vec<(Range, u64)>, now: Timestamp) {
        let old = self.begun.remove(&w).unwrap_or_default();
        for b in &old {
            self.oldest.remove(&(b.since, b.tasks.lo, w));
        }
        if running.is_empty() {
            return;
        }
        let since = |lo: u32, attempt: u64| {
            old.iter().find(|b| (b.tasks.lo, b.attempt) == (lo, attempt)).map_or(now, |b| b.since)
        };
        let begun =
            running.into_iter().map(|(tasks, attempt)| Begun { tasks, attempt, since: since(tasks.lo, attempt) });
        let begun: Vec<Begun> = begun.collect();
        self.oldest.extend(begun.iter().map(|b| (b.since, b.tasks.lo, w)));
        self.begun.insert(w, begun);
    }
    /// What has run for far too long, the oldest first, on another node than `to`; anybody's if there is no `to`.
    fn straggler(&self, now: Timestamp, to: Option<NodeId>, beat: Span, job: &Known<'_>) -> Option<Range> {
        if self.given.len() >= limits::MAX_COPIES || self.spent.run_count() >= limits::MAX_COPIES_EVER {
            return None;
        }
        for (since, lo, w) in self.oldest.iter().take(LOOKED_AT) {
            let age = now.since(*since).0;
            if age < FLOOR_BEATS * beat.0 {
                return None;
            }
            let b = self.begun.get(w).and_then(|all| all.iter().find(|b| b.tasks.lo == *lo));
            if let Some(b) = b.filter(|_| Some(*w) != to)
                && self.spent.overlapping(b.tasks).next().is_none()
                && job.straggles(b, *w, age)
            {
                return Some(b.tasks);
            }
        }
        None
    }
}

/// What there is to know of the job itself.
struct Known<'a> {
    spec: &'a JobSpec,
    fold: &'a Fold,
    pace: &'a Pace,
    leased: &'a Leases,
}

impl Known<'_> {
    fn straggles(&self, begun: &Begun, w: NodeId, age_us: u64) -> bool {
        let tasks = begun.tasks;
        let Some((n, group, _)) = self.spec.locate(tasks.lo) else { return false };
        // What took a node down is not tried on two at once.
        let may = group.limits.speculate && group.reduce().is_none() && self.fold.first_lost(tasks).is_none();
        let long = |most: u64| age_us >= most.saturating_mul(FACTOR).saturating_mul(u64::from(tasks.len()));
        // A node that reported a failure has nothing more to list: what it said before is about an attempt that is over.
        let same = |(_, (n, tag)): (Range, &(NodeId, Tag))| *n == w && tag.attempt == begun.attempt;
        let runs = |r: Range| self.leased.gaps(r).is_empty() && self.leased.overlapping(r).all(same);
        let open = self.fold.done().gaps(tasks);
        may && !open.is_empty() && open.into_iter().all(runs) && self.pace.most(n).is_some_and(long)
    }
}

impl Steward {
    /// Nobody holds these any more: a copy that runs takes the place of the attempt that was lost. Returns what has none.
    pub fn promote(&mut self, free: Range) -> Vec<Range> {
        let copies: Vec<(Range, Copy)> = self.copies.given.overlapping(free).map(|(r, c)| (r, c.clone())).collect();
        let rest = self.copies.given.gaps(free);
        for (r, copy) in copies {
            self.copies.drop(r);
            self.leased.insert(r, copy.node, Tag { attempt: copy.attempt, hops: COPY });
        }
        rest
    }
    /// How much `w` executes of its own leases: copies are none.
    pub fn set_running(&mut self, w: NodeId, running: &RangeSet) {
        let copies: u64 = self.copies.of(w).iter().map(|(r, _)| overlap(running, *r)).sum();
        self.leased.set_running(w, running.len() - copies);
    }
    /// `w` lists `r` with this tag. Says whether that is settled: `r` is a copy at `w`, or the attempt that a copy of its was taken
    /// for. One range has one lease and one copy at most.
    pub fn hear_copy(&mut self, w: NodeId, r: Range, tag: Tag, holder: Option<(NodeId, Tag)>) -> bool {
        if self.copies.has(r, w, tag.attempt) {
            return true;
        }
        let Some((n, old)) = holder.filter(|(n, _)| *n != w && self.copies.free(r)) else { return false };
        if tag.hops & COPY != 0 {
            self.copies.given.insert(r, Copy { node: w, attempt: tag.attempt });
            return true;
        }
        if old.hops & COPY != 0 {
            // This steward heard of the copy first, and took it for the only attempt.
            self.leased.insert(r, w, tag);
            self.copies.given.insert(r, Copy { node: n, attempt: old.attempt });
            return true;
        }
        false
    }
    /// `w` listed this much, and grants may be on their way to it: copies that it has not got are no more.
    pub fn prune_copies(&mut self, w: NodeId, listed: &RangeSet, coming: &[Range]) {
        for (range, _) in self.copies.of(w) {
            for gap in listed.gaps(range) {
                let mut gone = RangeSet::from_range(gap);
                coming.iter().for_each(|r| gone.remove(*r));
                gone.iter().for_each(|r| self.copies.drop(r));
            }
        }
    }
    /// What `w` executes, as far as it may get a copy.
    pub fn observe(&mut self, w: NodeId, running: &RangeSet, now: Timestamp) {
        let plain = |(r, (n, tag)): (Range, &(NodeId, Tag))| {
            (*n == w && tag.hops & (CAREFUL | COPY) == 0).then_some((r, tag.attempt))
        };
        let parts = running.iter().flat_map(|r| self.leased.overlapping(r).filter_map(plain).collect::<Vec<_>>());
        let parts = parts.take(limits::MAX_GRANT_RUNS).collect();
        self.copies.observe(w, parts, now);
    }
}

fn overlap(set: &RangeSet, r: Range) -> u64 {
    set.overlapping(r).map(|part| u64::from(part.len())).sum()
}

impl Node {
    /// Whether a claimer with an idle slot would get a copy now.
    pub(super) fn copy_wanted(&self, id: JobId) -> bool {
        let Some(job) = self.jobs.get(&id) else { return false };
        let Some(s) = job.steward.as_ref().filter(|s| s.granting && s.pool.is_empty()) else { return false };
        let known = Known { spec: &job.manifest.spec, fold: &job.fold, pace: &job.pace, leased: &s.leased };
        s.copies.straggler(self.now, None, self.cfg.timing.beat, &known).is_some()
    }

    /// Grants a copy of what straggles. The caller knows that there is nothing else to be had.
    pub(super) fn grant_copy(&mut self, id: JobId, to: NodeId, idle: u16) -> Option<(Epoch, u64, Vec<LeaseRun>)> {
        let (now, t) = (self.now, self.cfg.timing.clone());
        let boot = self.peers.get(&to).and_then(|p| p.hello.as_ref()).map_or(0, |h| h.boot);
        let job = self.jobs.get_mut(&id).filter(|j| j.state == JobState::Active)?;
        let s = job.steward.as_mut().filter(|s| idle > 0 && s.granting && s.pool.is_empty())?;
        let known = Known { spec: &job.manifest.spec, fold: &job.fold, pace: &job.pace, leased: &s.leased };
        let tasks = s.copies.straggler(now, Some(to), t.beat, &known)?;
        let tries = s.tries.overlapping(tasks).map(|(_, n)| *n).max().unwrap_or(0) + 1;
        let tag = Tag { attempt: s.epoch.attempt(tries), hops: COPY };
        let parts: Vec<Range> = job.fold.done().gaps(tasks).into_iter().take(limits::MAX_GRANT_RUNS).collect();
        for r in &parts {
            s.tries.insert(*r, tries);
            s.copies.given.insert(*r, Copy { node: to, attempt: tag.attempt });
        }
        s.copies.spent.insert(tasks);
        s.next_grant += 1;
        let grant = s.next_grant;
        let lease = s.workers.entry(to).or_default();
        lease.boot = boot;
        // What it last said of an earlier attempt says nothing of this one.
        parts.iter().for_each(|r| lease.running.remove(*r));
        lease.pending.insert(grant, (parts.clone(), now + t.lease));
        if lease.expires < now + t.lease {
            lease.expires = now + t.lease;
            self.timers.set(Timer::Lease(id, to), lease.expires);
        }
        let epoch = s.epoch;
        self.counters.copied += parts.iter().map(|r| u64::from(r.len())).sum::<u64>();
        self.event(Event::Copied { job: id, to, tasks, attempt: tag.attempt });
        Some((epoch, grant, parts.into_iter().map(|r| lease_run(r, tag)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_a_quarter_octave() {
        for us in [0, 1, 3, 4, 5, 7, 8, 9, 100, 1_000, 12_345, 1_000_000, u64::MAX / 3, u64::MAX] {
            let (n, end) = step(us);
            assert_eq!(end_of(n), end, "{us}");
            assert!(end > us || end == u64::MAX, "{us} ends at {end}");
            assert!(end - us <= us / 4 + 1, "{us} ends at {end}");
        }
    }
}
