//! Commits and blobs: what becomes durable, when, and what a fetch brings.

use std::collections::BTreeSet;
use std::sync::Arc;

use filch_core::{FetchId, Input, Mutant, Ticket};
use filch_types::record::Record;
use filch_types::{BlobId, JobId, Manifest, NodeId};

use crate::disk::Pending;
use crate::host::{Fetch, FetchFor, Host};
use crate::known::Known;
use crate::oracle::Seen;
use crate::shelf::{Print, Read};
use crate::world::{Ev, World};

/// Tries of a fetch that gets nothing.
const MAX_STEPS: u32 = 10_000;

/// The planted bug: what results name goes, unless a manifest names it, too.
pub(crate) fn free_results(host: &mut Host, known: &Known) {
    for (job, kept) in &host.disk.image.jobs {
        let inputs = known.jobs.get(job).map_or(&[][..], |i| &i.closure);
        let named = kept.facts.keys().filter_map(|f| known.facts.get(f)).flat_map(|i| &i.closure);
        let results = named.filter(|b| !inputs.iter().any(|(input, _)| input == *b));
        results.for_each(|b| host.shelf.free(*b));
    }
}

impl World {
    pub(crate) fn commit(&mut self, h: usize, ticket: Ticket, blobs: Vec<BlobId>, records: Vec<Record>) {
        for r in &records {
            match r {
                Record::Manifest(job, m) => {
                    self.known.job(*job, m);
                }
                Record::Fact(_, id, f) => {
                    self.known.fact(*id, f);
                }
                _ => {}
            }
        }
        self.hosts[h].disk.waiting.push_back(Pending { ticket, blobs, records });
        self.write_on(h);
    }

    fn write_on(&mut self, h: usize) {
        let group = self.options.disk.group;
        if self.hosts[h].disk.begin(group) {
            let delay = self.disks.commit(h) * u64::from(self.hosts[h].disk.slow.max(1));
            let life = self.hosts[h].life;
            self.after(delay, Ev::Committed { host: h, life });
        }
    }

    pub(crate) fn committed(&mut self, h: usize) {
        let group = std::mem::take(&mut self.hosts[h].disk.writing);
        self.stats.commits += 1;
        let full = self.hosts[h].disk.full > 0;
        // What was read meanwhile and found damaged cannot be synced: its group is refused, and no other.
        let gone = |w: &Self, p: &Pending| p.blobs.iter().any(|b| w.hosts[h].shelf.was_dropped(*b));
        let refused: Vec<bool> = group.iter().map(|p| full || gone(self, p)).collect();
        for (pending, _) in group.iter().zip(&refused).filter(|(_, refused)| !**refused) {
            self.make_durable(h, pending);
        }
        for (pending, refused) in group.into_iter().zip(refused) {
            let input = if refused {
                let why = if full { "no room" } else { "a blob is damaged" };
                Input::CommitFailed(pending.ticket, why.into())
            } else {
                Input::Committed(pending.ticket)
            };
            self.feed(h, input);
        }
        self.write_on(h);
    }

    /// Blobs first, then records (P1).
    pub(crate) fn make_durable(&mut self, h: usize, pending: &Pending) {
        for blob in &pending.blobs {
            if !self.hosts[h].shelf.sync(*blob) {
                let text = format!("n{h} commits {:?} with a blob that is not here: {blob:?}", pending.ticket);
                self.violate("S14", text);
            }
        }
        for record in &pending.records {
            self.seen(&Seen::Durable { host: h, record });
            self.hosts[h].disk.image.apply(record);
            if let Record::Fact(job, id, _) = record {
                self.decays(h, *job, id);
            }
        }
    }

    pub(crate) fn fetch_closure(&mut self, h: usize, job: JobId, manifest: Arc<Manifest>, from: Vec<NodeId>) {
        self.known.decoded(job, &manifest);
        let blobs = self.info(job).map(|i| i.closure.clone()).unwrap_or_default();
        for (blob, _) in &blobs {
            self.hosts[h].shelf.retain(job, *blob);
        }
        self.fetch(h, FetchFor::Closure(job), job, blobs, from);
    }

    pub(crate) fn fetch_blobs(
        &mut self,
        h: usize,
        fetch: FetchId,
        job: JobId,
        blobs: Vec<(BlobId, u64)>,
        from: Vec<NodeId>,
    ) {
        self.fetch(h, FetchFor::Blobs(fetch), job, blobs, from);
    }

    /// Begins to fetch; what is here already is only made durable.
    pub(crate) fn fetch(&mut self, h: usize, what: FetchFor, job: JobId, blobs: Vec<(BlobId, u64)>, from: Vec<NodeId>) {
        let number = self.fetch_number().0;
        let host = &mut self.hosts[h];
        let missing = blobs.iter().filter(|(b, _)| !host.shelf.has(*b)).copied().collect();
        for (blob, _) in &blobs {
            host.shelf.retain(job, *blob);
        }
        let all = blobs.iter().map(|b| b.0).collect();
        let fetch = Fetch { what, job, all, missing, from, step: None, steps: 0, liars: BTreeSet::new() };
        host.fetches.insert(number, fetch);
        let (life, delay) = (host.life, self.streams.blobs.between(50, 2_000));
        self.after(delay, Ev::Fetch { host: h, life, fetch: number });
    }

    /// Whether a stream between two nodes works now.
    fn stream(&self, h: usize, peer: usize) -> bool {
        let p = &self.hosts[peer];
        p.is_up()
            && p.paused.is_none()
            && self.hosts[h].paused.is_none()
            && self.hosts[h].ends.contains_key(&peer)
            && p.ends.contains_key(&h)
            && !self.net.blocked(h, peer)
            && !self.net.blocked(peer, h)
    }

    pub(crate) fn fetch_step(&mut self, h: usize, number: u64) {
        let Some(mut fetch) = self.hosts[h].fetches.remove(&number) else { return };
        if let Some((peer, blobs)) = fetch.step.take() {
            self.fetch_landed(h, peer, blobs, &mut fetch);
        }
        fetch.steps += 1;
        if fetch.missing.is_empty() {
            return self.fetched(h, fetch);
        }
        let from: Vec<usize> = fetch.from.iter().filter_map(|id| self.host_of(id)).filter(|p| *p != h).collect();
        let full = self.hosts[h].disk.full > 0;
        let sound = |p: &usize| !full && !fetch.liars.contains(p) && self.stream(h, *p);
        let source = from.into_iter().filter(sound).find_map(|p| {
            let has: Vec<_> = fetch.missing.iter().filter(|(b, _)| self.hosts[p].shelf.has(*b)).copied().collect();
            (!has.is_empty()).then_some((p, has))
        });
        let Some((peer, blobs)) = source.filter(|_| fetch.steps < MAX_STEPS) else {
            return self.fetch_failed(h, fetch, if full { "no room" } else { "no provider" });
        };
        let here = |b: &(BlobId, u64)| self.hosts[h].shelf.partial(b.0).map_or(0, |p| p.len.min(b.1));
        let bytes = blobs.iter().map(|b| b.1 - here(b)).sum();
        let clog = self.net.clogs.get(&(peer, h)).copied().unwrap_or(0);
        let delay = self.links.transfer(peer, h, bytes) + clog;
        fetch.step = Some((peer, blobs));
        let life = self.hosts[h].life;
        self.hosts[h].fetches.insert(number, fetch);
        self.after(delay, Ev::Fetch { host: h, life, fetch: number });
    }

    fn fetch_landed(&mut self, h: usize, peer: usize, blobs: Vec<(BlobId, u64)>, fetch: &mut Fetch) {
        if self.hosts[h].disk.full > 0 {
            return;
        }
        if !self.stream(h, peer) {
            return self.broke_off(h, &blobs);
        }
        for (blob, len) in blobs {
            if self.receive(h, peer, fetch, blob, len) {
                self.stats.blobs += 1;
                fetch.missing.retain(|(b, _)| *b != blob);
            }
        }
        if let FetchFor::Closure(job) = fetch.what {
            let total = self.info(job).map_or(0, |i| i.closure.iter().map(|b| b.1).sum());
            let left: u64 = fetch.missing.iter().map(|b| b.1).sum();
            if left > 0 {
                self.feed(h, Input::ClosureProgress(job, total.saturating_sub(left)));
            }
        }
    }

    /// The stream broke while these were on their way: what came of the first of them stays.
    fn broke_off(&mut self, h: usize, blobs: &[(BlobId, u64)]) {
        let Some(&(blob, len)) = blobs.first() else { return };
        let came = self.streams.blobs.below(len.max(1));
        self.hosts[h].shelf.interrupt(blob, came);
    }

    /// A blob arrives whole, as its holder read it; false if it is not what it should be.
    fn receive(&mut self, h: usize, peer: usize, fetch: &mut Fetch, blob: BlobId, len: u64) -> bool {
        let Read::Bytes(sent) = self.read_checked(peer, blob) else { return false };
        self.seen(&Seen::Served { host: peer, to: h, blob, print: sent });
        let checked = self.options.mutant != Some(Mutant::UncheckedTransfer);
        let torn = self.hosts[h].shelf.partial(blob).is_some_and(|p| p.torn);
        if checked && torn {
            // From its beginning again.
            self.hosts[h].shelf.discard(blob);
            return false;
        }
        if checked && sent != Print::of(blob) {
            fetch.liars.insert(peer);
            return false;
        }
        let print = if torn { sent.damaged() } else { sent };
        self.hosts[h].shelf.put_bytes(fetch.job, blob, len, print, false);
        true
    }

    /// Every read is checked. What does not match is dropped, and the core hears of it.
    pub(crate) fn read_checked(&mut self, h: usize, blob: BlobId) -> Read {
        let checked = self.options.mutant != Some(Mutant::UncheckedRead);
        let read = self.hosts[h].shelf.read(blob, checked);
        if read == Read::Damaged {
            let named = |k: &crate::disk::Kept| {
                k.facts.keys().any(|f| self.known.facts.get(f).is_some_and(|i| i.closure.contains(&blob)))
            };
            let jobs = self.hosts[h].disk.image.jobs.iter().filter(|(_, k)| named(k));
            let results: Vec<JobId> = jobs.map(|(j, _)| *j).collect();
            for job in results {
                let life = self.hosts[h].life;
                self.after(0, Ev::Scrub { host: h, life, job });
            }
            let needs = |j: &JobId| self.info(*j).is_some_and(|i| i.closure.iter().any(|(b, _)| *b == blob));
            let jobs: Vec<JobId> = self.hosts[h].disk.image.jobs.keys().copied().filter(needs).collect();
            for job in jobs {
                self.hosts[h].rotten.insert(job);
                let life = self.hosts[h].life;
                self.after(0, Ev::Scrub { host: h, life, job });
            }
        }
        read
    }

    fn fetched(&mut self, h: usize, fetch: Fetch) {
        let job = fetch.job;
        match fetch.what {
            FetchFor::Closure(_) => {
                let blobs = self.info(job).map(|i| i.closure.clone()).unwrap_or_default();
                // A blob may have gone meanwhile: released, or rotten.
                if !blobs.iter().all(|(b, _)| self.hosts[h].shelf.sync(*b)) {
                    return self.feed(h, Input::ClosureFailed(job, "a blob went away".into()));
                }
                if self.closure_durable(h, job) {
                    self.hosts[h].rotten.remove(&job);
                } else if self.rot_alone(h, job) {
                    // What was here already has rotted; it shows at the next scrub.
                    self.hosts[h].rotten.insert(job);
                    let (life, delay) = (self.hosts[h].life, self.streams.blobs.between(1_000, 10_000_000));
                    self.after(delay, Ev::Scrub { host: h, life, job });
                }
                self.feed(h, Input::ClosureHeld(job));
            }
            FetchFor::Blobs(id) => {
                if !fetch.all.iter().all(|b| self.hosts[h].shelf.sync(*b)) {
                    return self.feed(h, Input::FetchFailed(id, "a blob went away".into()));
                }
                self.feed(h, Input::Fetched(id));
            }
            FetchFor::Launch(slot, launch) => self.staged(h, slot, launch, true),
            FetchFor::Ahead(tasks) => self.feed(h, Input::FetchedAhead { job, tasks, here: true }),
        }
    }

    fn fetch_failed(&mut self, h: usize, fetch: Fetch, why: &str) {
        match fetch.what {
            FetchFor::Closure(job) => self.feed(h, Input::ClosureFailed(job, why.into())),
            FetchFor::Blobs(id) => self.feed(h, Input::FetchFailed(id, why.into())),
            FetchFor::Launch(slot, launch) => self.staged(h, slot, launch, false),
            FetchFor::Ahead(tasks) => self.feed(h, Input::FetchedAhead { job: fetch.job, tasks, here: false }),
        }
    }

    /// A job's blobs may go; what was still being fetched for it is called off.
    pub(crate) fn release(&mut self, h: usize, job: JobId) {
        self.hosts[h].shelf.release(job);
        let open: Vec<u64> = self.hosts[h].fetches.iter().filter(|(_, f)| f.job == job).map(|(n, _)| *n).collect();
        for n in open {
            if let Some(fetch) = self.hosts[h].fetches.remove(&n) {
                self.called_off(h, fetch);
            }
        }
    }

    /// Outputs are being carried out: what comes of it must wait for its turn.
    fn called_off(&mut self, h: usize, mut fetch: Fetch) {
        fetch.all.clear();
        fetch.missing = vec![(BlobId::default(), 0)];
        fetch.from.clear();
        fetch.step = None;
        let number = self.number();
        let life = self.hosts[h].life;
        self.hosts[h].fetches.insert(number, fetch);
        self.after(0, Ev::Fetch { host: h, life, fetch: number });
    }
}
