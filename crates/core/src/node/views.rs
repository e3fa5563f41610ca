//! Read-only views: API, metrics, oracles.

use std::collections::BTreeMap;

use filch_types::ranges::Range;
use filch_types::wire::{JobState, LeaseRun, Summary};
use filch_types::{FactId, JobId, NodeId, StoreId};

use super::Node;
use super::job::Job;
use crate::view::{Counters, Counts, Delay, JobView, Leases, Missing, PeerView, Role, Winner};

/// Unfinished packs that a view looks at.
const PACKS_LOOKED_AT: usize = 64;

/// Whether a summary told of more than the facts here.
fn behind(job: &Job) -> bool {
    let told = |h: &Summary| {
        u64::from(h.succeeded) + u64::from(h.failed) > job.fold.done().len()
            || (h.state != JobState::Active && job.state == JobState::Active)
    };
    job.heard.as_ref().map_or(job.role == Role::Observer && job.fold.digest().0 == 0, told)
}

impl Node {
    /// All members known, this node excluded.
    pub fn peers(&self) -> Vec<PeerView> {
        let view = |(id, p): (&NodeId, &super::membership::Peer)| {
            let h = p.hello.as_ref()?;
            Some(PeerView {
                id: *id,
                name: h.name.clone(),
                store: h.store,
                machine: h.machine,
                slots: h.slots,
                alive: p.alive(),
                draining: h.draining,
                queued: p.queued,
                rtt_us: p.rtt.0,
            })
        };
        self.peers.iter().filter_map(view).collect()
    }

    fn counts(&self, job: &Job) -> Counts {
        let total = u64::from(job.fold.total());
        let mut c = Counts {
            total,
            succeeded: job.fold.succeeded(),
            failed: job.fold.failed(),
            finals: job.fold.pins().len(),
            waiting: job.fold.waiting().len(),
            cancelled: job.fold.skipped().len(),
            ..Counts::default()
        };
        // What a steward elsewhere said is newer than what a helper's or observer's own facts say.
        if let Some(h) = job.heard.as_ref().filter(|_| job.role != Role::Replica) {
            c.succeeded = c.succeeded.max(u64::from(h.succeeded));
            c.failed = c.failed.max(u64::from(h.failed));
        }
        let ended = c.succeeded + c.failed + c.cancelled;
        if matches!(job.state, JobState::Cancelled | JobState::Deleted) {
            c.waiting = 0;
            c.cancelled = total.saturating_sub(c.succeeded + c.failed);
        } else {
            let open = total.saturating_sub(ended + c.waiting);
            c.leased = match (&job.steward, &job.heard) {
                (Some(s), _) => (s.leased.len() + job.fold.tree().rooted().len()).min(open),
                (None, Some(h)) => u64::from(h.leased).min(open),
                (None, None) => job.work.running.len().min(open),
            };
            c.queued = open - c.leased;
        }
        c
    }

    fn job_view(&self, job: &Job) -> JobView {
        let heard = job.heard.as_ref().filter(|_| job.role != Role::Replica);
        let state = match heard {
            Some(h) if job.state == JobState::Active && job.role == Role::Hearsay => h.state,
            _ => job.state,
        };
        JobView {
            job: job.id,
            manifest: Some(job.manifest.clone()),
            name: job.manifest.spec.name.clone(),
            owner: job.manifest.owner,
            created_ms: job.manifest.created_ms,
            role: job.role,
            steward: job.steward_id,
            replicas: job.replicas.clone(),
            holders: job.holders.iter().map(|(n, s)| (*n, *s)).collect::<Vec<(NodeId, StoreId)>>(),
            k: job.manifest.k,
            state,
            counts: self.counts(job),
            running_here: job.work.running.len(),
            delay: self.delay(job),
            behind: behind(job),
        }
    }

    /// Whom the owner waits for, once it is more than a matter of moments.
    fn delay(&self, job: &Job) -> Option<Delay> {
        if job.manifest.owner != self.id {
            return None;
        }
        let lacks = |n: &&NodeId, holders: &BTreeMap<NodeId, StoreId>| !holders.contains_key(*n);
        let packs = job.pinnable.iter().filter(|p| job.fold.pack(p).is_some());
        let short = packs.filter_map(|p| job.copies.get(p)).take(PACKS_LOOKED_AT);
        let holders = short.filter(|h| h.len() < job.r() || !h.contains_key(&self.id)).min_by_key(|h| h.len())?;
        let why = |n: &NodeId| match self.peers.get(n) {
            None if *n == self.id && self.now < self.disk_full_until => Missing::DiskFull,
            None if *n == self.id => Missing::NoWord,
            Some(p) if p.alive() && p.disk_full => Missing::DiskFull,
            Some(p) if p.alive() => Missing::NoWord,
            _ => Missing::Unreachable,
        };
        let missing: Vec<_> = job.replicas.iter().filter(|n| lacks(n, holders)).map(|n| (*n, why(n))).collect();
        let known = missing.iter().any(|(_, why)| *why == Missing::DiskFull);
        let late = self.now.since(job.last_copy) >= self.cfg.timing.resend;
        (known || late).then_some(Delay { copies: job.r() as u8, missing })
    }

    /// All jobs known, oldest first.
    pub fn jobs(&self) -> Vec<JobView> {
        let mut out: Vec<JobView> = self.jobs.values().map(|j| self.job_view(j)).collect();
        out.extend(self.hearsay.keys().filter_map(|id| self.heard_view(*id)));
        out.sort_by_key(|j| (j.created_ms, j.job));
        out
    }

    fn heard_view(&self, id: JobId) -> Option<JobView> {
        let s = self.hearsay.get(&id)?;
        let (total, succeeded, failed) = (u64::from(s.total), u64::from(s.succeeded), u64::from(s.failed));
        let open = total.saturating_sub(succeeded + failed);
        let active = s.state == JobState::Active;
        let leased = u64::from(s.leased).min(open);
        let counts = Counts {
            total,
            succeeded,
            failed,
            leased: if active { leased } else { 0 },
            queued: if active { open - leased } else { 0 },
            cancelled: if active { 0 } else { open },
            ..Counts::default()
        };
        Some(JobView {
            job: id,
            manifest: None,
            name: s.name.clone(),
            owner: s.owner,
            created_ms: s.created_ms,
            role: Role::Hearsay,
            steward: s.steward,
            replicas: s.replicas.clone(),
            holders: Vec::new(),
            k: 0,
            state: s.state,
            counts,
            running_here: 0,
            delay: None,
            behind: true,
        })
    }

    /// One job.
    pub fn job(&self, id: JobId) -> Option<JobView> {
        self.jobs.get(&id).map(|j| self.job_view(j)).or_else(|| self.heard_view(id))
    }

    /// Winners of tasks in `range` that are in this store, in order, at most `max` runs.
    pub fn winners(&self, id: JobId, range: Range, max: usize) -> Vec<Winner> {
        let Some(job) = self.jobs.get(&id) else { return Vec::new() };
        let range = range.intersect(Range::new(0, job.fold.total()));
        let to = |(tasks, best, is_final): (Range, super::fold::Best, bool)| Winner {
            tasks,
            pack: best.pack,
            attempt: best.attempt,
            success: !best.failed,
            is_final,
        };
        job.fold.winners(range).into_iter().take(max).map(to).collect()
    }

    /// What a divided task comes to, component by component as its group's `reduce` says; `None` until its whole tree of parts is in
    /// this store.
    pub fn tally(&self, id: JobId, index: u32) -> Option<Vec<u64>> {
        self.jobs.get(&id)?.fold.tally(index)
    }

    /// Ids of all facts of a job that are folded here: for oracles.
    pub fn facts(&self, id: JobId) -> Vec<FactId> {
        self.jobs.get(&id).map(|j| j.fold.ids().copied().collect()).unwrap_or_default()
    }

    /// Hash of the fold of a job: equal fact sets fold to equal bytes (S4).
    pub fn fingerprint(&self, id: JobId) -> Option<[u8; 32]> {
        self.jobs.get(&id).map(|j| j.fold.fingerprint())
    }

    /// Leases that this steward has given, if it is one. For oracles (S13).
    pub fn leases(&self, id: JobId) -> Option<Leases> {
        let s = self.jobs.get(&id)?.steward.as_ref()?;
        let held = s.leased.iter().map(|(r, (n, _))| (r, *n)).collect();
        Some(Leases {
            epoch: s.epoch,
            granting: s.granting,
            held,
            copies: s.copies.iter().collect(),
            parts: s.bags.pool().len(),
        })
    }

    /// What this node holds of a job as a worker: queued, executing, or executed and not acked by the steward. For oracles (S11).
    pub fn holding(&self, id: JobId) -> Vec<Range> {
        self.jobs.get(&id).map(|j| j.work.held().iter().map(LeaseRun::range).collect()).unwrap_or_default()
    }

    /// Sizes of all tables, by name: for metrics and the oracle that everything has a bound (S10).
    pub fn table_sizes(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("peers", self.peers.len()),
            ("jobs", self.jobs.len()),
            ("hearsay", self.hearsay.len()),
            ("tombstones", self.tombstones.len()),
            ("requests", self.pending.len()),
            ("commits", self.commits.len()),
            ("fetches", self.fetches.len()),
            ("launches", self.launches.len()),
            ("splits", self.asks.len()),
            ("sought", self.sought.len()),
            ("bags", self.jobs.values().map(|j| j.work.bags.queue.len()).sum()),
            ("bags passed on", self.jobs.values().map(|j| j.work.bags.moved.len()).sum()),
            ("bags lent", self.jobs.values().filter_map(|j| j.steward.as_ref()).map(|s| s.bags.lent()).sum()),
            ("waiters", self.jobs.values().map(|j| j.work.lines.waiters.len()).sum()),
            ("outbox", self.jobs.values().map(|j| j.outbox.len()).sum()),
            ("queued runs", self.jobs.values().map(|j| j.work.held_runs()).sum()),
        ]
    }

    /// Tasks of all jobs that are queued here and not started.
    pub fn queued(&self) -> u64 {
        self.queued
    }

    /// Counters since start.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}
