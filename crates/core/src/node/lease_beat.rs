//! A worker says what it holds of a job, and its steward's table follows it (P8).

use filch_types::ranges::{Range, RangeSet};
use filch_types::wire::{Given, JobBeat, JobBeatAck, JobState, LeaseRun};
use filch_types::{JobId, NodeId, Timestamp, limits};

use super::fold::Fold;
use super::job::{Steward, Tag, WorkerLease, lease_run};
use super::{Node, Timer};

/// Runs of an answer at most: the rest is said the next time.
const MAX_REVOKED: usize = 4096;

/// What a worker listed that it may not go on with.
#[derive(Default)]
struct Heard {
    listed: RangeSet,
    revoked: Vec<LeaseRun>,
    /// Done elsewhere.
    ended: Vec<Range>,
}

fn valid(run: &LeaseRun, total: u32) -> bool {
    run.count > 0 && run.range().hi <= total
}

impl Steward {
    pub(super) fn parts_of(&self, range: Range) -> Vec<(Range, Option<(NodeId, Tag)>)> {
        let mut out: Vec<(Range, Option<(NodeId, Tag)>)> =
            self.leased.overlapping(range).map(|(r, v)| (r, Some(*v))).collect();
        out.extend(self.leased.gaps(range).into_iter().map(|r| (r, None)));
        out
    }

    /// `w` gave something of what it held to a thief. Returns whose lease goes on by that.
    fn gave(&mut self, w: NodeId, g: &Given, until: Timestamp) -> Vec<(NodeId, Timestamp)> {
        let mut thieves = Vec::new();
        for (r, holder) in self.parts_of(g.run.range()) {
            let Some((n, old)) = holder.filter(|_| g.to != w) else { continue };
            // A thief that gave its loot on may have been heard first, and so may the victim of a thief before its own victim.
            let fresh = old.attempt != g.run.attempt || old.hops < g.run.hops;
            let ahead = old.attempt == g.run.attempt && old.hops + 1 < g.run.hops;
            if !(if n == w { fresh } else { ahead }) {
                continue;
            }
            self.leased.insert(r, g.to, Tag { attempt: g.run.attempt, hops: g.run.hops });
            let thief = self.workers.entry(g.to).or_default();
            // What it last said of an earlier attempt says nothing of this one.
            thief.running.remove(r);
            let running = thief.running.clone();
            thief.incoming.push((r, until));
            thief.expires = thief.expires.max(until);
            thieves.push((g.to, thief.expires));
            self.set_running(g.to, &running);
        }
        thieves
    }

    /// `w` lists a run: it is its own, or was, or is somebody else's.
    fn lists(&mut self, fold: &Fold, w: NodeId, run: &LeaseRun, heard: &mut Heard) {
        heard.listed.insert(run.range());
        let tag = Tag { attempt: run.attempt, hops: run.hops };
        for (r, holder) in self.parts_of(run.range()) {
            if self.hear_copy(w, r, tag, holder) {
                continue;
            }
            match holder {
                // Said before it gave the tasks away and got them back, or before another attempt was granted to it.
                Some((n, old)) if n == w && (old.attempt, old.hops) > (tag.attempt, tag.hops) => {}
                Some((n, _)) if n == w => self.leased.insert(r, w, tag),
                // A thief that lists its loot before its victim reported it.
                Some((_, old)) if old.attempt == tag.attempt && tag.hops > old.hops => self.leased.insert(r, w, tag),
                Some(_) => heard.revoked.push(lease_run(r, tag)),
                None => self.lists_unleased(fold, w, r, tag, heard),
            }
        }
    }

    /// What nobody has a lease of, by this table: it is the worker's if it is still to be done.
    fn lists_unleased(&mut self, fold: &Fold, w: NodeId, r: Range, tag: Tag, heard: &mut Heard) {
        let mut back: RangeSet = self.pool.overlapping(r).collect();
        for failed in fold.failed_at(r, tag.attempt) {
            back.remove(failed);
            heard.revoked.push(lease_run(failed, tag));
        }
        for free in back.iter() {
            self.pool.remove(free);
            self.leased.insert(free, w, tag);
        }
        let begun = fold.tree().rooted().overlapping(r);
        heard.revoked.extend(begun.map(|begun| lease_run(begun, tag)));
        for done in fold.done().overlapping(r) {
            heard.revoked.push(lease_run(done, tag));
            heard.ended.push(done);
        }
    }

    /// What is `w`'s by this table, it does not list, and is not on its way to it, comes back.
    fn misses(&mut self, fold: &Fold, w: NodeId, lease: &WorkerLease, listed: &RangeSet) {
        for (range, _) in self.leased.held_by(w) {
            for gap in listed.gaps(range) {
                let mut missing = RangeSet::from_range(gap);
                lease.pending.values().flat_map(|(rs, _)| rs).for_each(|r| missing.remove(*r));
                lease.incoming.iter().for_each(|(r, _)| missing.remove(*r));
                for r in missing.iter().collect::<Vec<_>>() {
                    self.leased.remove(r);
                    self.repool(fold, r);
                }
            }
        }
    }

    /// What `w` executes of what it holds here. A heartbeat that was under way for long speaks of attempts that are over: it says
    /// nothing of the ones that came after them, and P14 would charge those.
    fn executing(&self, w: NodeId, jb: &JobBeat) -> RangeSet {
        let mut own = RangeSet::default();
        for run in &jb.held {
            let mine = |(r, (n, tag)): (Range, &(NodeId, Tag))| (*n == w && tag.attempt == run.attempt).then_some(r);
            self.leased.overlapping(run.range()).filter_map(mine).for_each(|r| own.insert(r));
            if run.count > 0 && self.copies.has(run.range(), w, run.attempt) {
                own.insert(run.range());
            }
        }
        jb.running.iter().flat_map(|r| own.overlapping(*r).collect::<Vec<_>>()).collect()
    }
}

impl Node {
    /// A heartbeat of `w` to this node as the steward of a job.
    pub(super) fn steward_beat(&mut self, w: NodeId, jb: JobBeat) -> JobBeatAck {
        let (me, now, until) = (self.id, self.now, self.now + self.cfg.timing.lease);
        let says = |steward, epoch, state| JobBeatAck::new(jb.job, steward, epoch, state);
        if self.tombstones.contains_key(&jb.job) {
            return JobBeatAck { revoked: jb.held, ..says(Some(me), jb.epoch, JobState::Deleted) };
        }
        self.asked_as_steward(jb.job, w, jb.epoch);
        let Some(job) = self.jobs.get_mut(&jb.job) else { return says(None, jb.epoch, JobState::Active) };
        let state = job.state;
        let Some(s) = job.steward.as_mut() else { return says(Some(job.steward_id), job.epoch, state) };
        if !s.workers.contains_key(&w) && s.workers.len() >= limits::MAX_PEERS {
            return says(Some(me), s.epoch, state);
        }
        let (fold, total) = (&job.fold, job.fold.total());
        let mut lease = s.workers.remove(&w).unwrap_or_default();
        lease.expires = until;
        let mut renewed = vec![(w, until)];
        for g in jb.given.iter().filter(|g| valid(&g.run, total)) {
            if g.seq > lease.given_seen {
                lease.given_seen = g.seq;
                renewed.extend(s.gave(w, g, until));
            }
        }
        if jb.epoch == s.epoch {
            lease.pending.retain(|grant, _| *grant > jb.seen_grant);
        }
        lease.pending.retain(|_, (_, until)| *until > now);
        let mut heard = Heard::default();
        jb.held.iter().filter(|r| valid(r, total)).for_each(|run| s.lists(fold, w, run, &mut heard));
        for r in heard.listed.iter() {
            lease.incoming.retain(|(i, _)| i.intersect(r).is_empty());
        }
        lease.incoming.retain(|(_, until)| *until > now);
        s.misses(fold, w, &lease, &heard.listed);
        let coming: Vec<Range> = lease.pending.values().flat_map(|(rs, _)| rs).copied().collect();
        s.prune_copies(w, &heard.listed, &coming);
        lease.running = s.executing(w, &jb);
        s.set_running(w, &lease.running);
        s.observe(w, &lease.running, now);
        let revoked_bags = s.bags.listed(fold.tree(), w, &jb.bags, now);
        let (given_upto, epoch) = (lease.given_seen, s.epoch);
        s.workers.insert(w, lease);
        let mut revoked = if state == JobState::Active { heard.revoked } else { jb.held };
        revoked.truncate(MAX_REVOKED);
        heard.ended.truncate(MAX_REVOKED);
        self.renew_leases(jb.job, renewed);
        self.offer_bags(jb.job);
        let says = says(Some(me), epoch, state);
        JobBeatAck { given_upto, revoked, revoked_bags, ended: heard.ended, ..says }
    }

    fn renew_leases(&mut self, id: JobId, leases: Vec<(NodeId, Timestamp)>) {
        leases.into_iter().for_each(|(n, until)| self.timers.set(Timer::Lease(id, n), until));
    }
}
