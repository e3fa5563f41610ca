//! Bit rot: bytes change on a disk, and nobody is told until somebody reads them.

use filch_core::Input;
use filch_types::{BlobId, FactBody, FactId, JobId};

use crate::shelf::{Print, Read, Shelf};
use crate::world::{Ev, World};

impl World {
    /// Damages a blob: an input of a job, or what a result names.
    pub(crate) fn rot(&mut self, h: usize) -> bool {
        if self.streams.churn.chance(500_000) && self.rot_result(h) {
            return true;
        }
        self.rot_input(h)
    }

    /// Damages an input blob of a job that another node holds too.
    fn rot_input(&mut self, h: usize) -> bool {
        let other = |w: &World, job| {
            (0..w.hosts.len())
                .any(|o| o != h && !w.hosts[o].frozen && w.holds_all(o, job) && !w.hosts[o].rotten.contains(&job))
        };
        let jobs: Vec<JobId> = self.hosts[h].disk.image.jobs.keys().copied().filter(|j| other(self, *j)).collect();
        let Some(job) = self.streams.churn.pick(&jobs) else { return false };
        let blobs: Vec<_> = self.info(job).map(|i| i.closure.iter().map(|b| b.0).collect()).unwrap_or_default();
        let Some(blob) = self.streams.churn.pick(&blobs) else { return false };
        if !self.hosts[h].shelf.durable(blob) || !self.hosts[h].shelf.rot(blob) {
            return false;
        }
        self.note(|| format!("blob {blob:?} of {job:?} rots at n{h}"));
        // Also jobs whose record is still on its way to the disk.
        let needs = |j: &JobId| self.info(*j).is_some_and(|i| i.closure.iter().any(|(b, _)| *b == blob));
        let here = |j: &JobId| self.hosts[h].disk.image.jobs.contains_key(j) || self.rot_alone(h, *j);
        let jobs: Vec<JobId> = self.known.jobs.keys().copied().filter(|j| needs(j) && here(j)).collect();
        for job in jobs {
            self.hosts[h].rotten.insert(job);
            let (life, delay) = (self.hosts[h].life, self.streams.churn.between(1_000, 10_000_000));
            self.after(delay, Ev::Scrub { host: h, life, job });
        }
        true
    }

    /// Damages a blob that one fact on this disk names. Another node has it too, or nobody was promised anything yet: the pack is in the
    /// outbox of whoever made it.
    fn rot_result(&mut self, h: usize) -> bool {
        let mut found = Vec::new();
        for (&job, kept) in &self.hosts[h].disk.image.jobs {
            for id in kept.facts.keys() {
                let Some(info) = self.known.facts.get(id) else { continue };
                let elsewhere = || (0..self.hosts.len()).any(|o| o != h && self.has_result(o, job, id));
                // An owner may make final what is here only, before it notices.
                let owner = self.info(job).is_some_and(|i| i.manifest.owner == self.hosts[h].id);
                if !info.closure.is_empty() && ((kept.outbox.contains(id) && !owner) || elsewhere()) {
                    found.extend(info.closure.iter().map(|b| (job, *id, *b)));
                }
            }
        }
        let Some((job, fact, blob)) = self.streams.churn.pick(&found) else { return false };
        let shared = self.known.facts.iter().any(|(f, i)| *f != fact && i.closure.contains(&blob));
        let input = self.known.jobs.values().any(|i| i.closure.iter().any(|(b, _)| *b == blob));
        if shared || input || !self.hosts[h].shelf.durable(blob) || !self.hosts[h].shelf.rot(blob) {
            return false;
        }
        self.note(|| format!("blob {blob:?} of {fact:?} of {job:?} rots at n{h}"));
        self.hosts[h].decayed.insert(fact);
        let (life, delay) = (self.hosts[h].life, self.streams.churn.between(1_000, 10_000_000));
        self.after(delay, Ev::Scrub { host: h, life, job });
        true
    }

    /// A fact is on this disk now, and bytes that it names rotted here before: nobody has noticed.
    pub(crate) fn decays(&mut self, h: usize, job: JobId, fact: &FactId) {
        let Some(info) = self.known.facts.get(fact).cloned() else { return };
        if info.closure.iter().any(|b| self.hosts[h].shelf.rotted(*b)) && self.hosts[h].decayed.insert(*fact) {
            let (life, delay) = (self.hosts[h].life, self.streams.rows.between(1_000, 10_000_000));
            self.after(delay, Ev::Scrub { host: h, life, job });
        }
    }

    /// Whether this node keeps a job with this fact and all that the fact names, and stays. A helper forgets both.
    pub(crate) fn has_result(&self, h: usize, job: JobId, fact: &FactId) -> bool {
        let host = &self.hosts[h];
        let blobs = self.known.facts.get(fact).map(|i| &i.closure);
        let keeps = host.disk.image.jobs.get(&job).is_some_and(|k| k.held);
        keeps
            && !host.frozen
            && host.disk.image.has_sound_fact(job, fact)
            && blobs.is_some_and(|b| b.iter().all(|b| host.shelf.durable(*b)))
    }

    /// Whoever keeps a fact whose bytes rotted needs somebody in the core who has them.
    pub(crate) fn keep_sound_copies(&self, core: &mut std::collections::BTreeSet<usize>) {
        let before = core.len();
        for h in core.clone() {
            for fact in &self.hosts[h].decayed {
                let Some(job) = self.known.facts.get(fact).map(|i| i.fact.job) else { continue };
                let sound = |o: &usize| self.has_result(*o, job, fact);
                if self.hosts[h].disk.image.has_fact(job, fact) && !core.iter().any(sound) {
                    core.extend((0..self.hosts.len()).find(sound));
                }
            }
            for fact in &self.hosts[h].perished {
                let Some(job) = self.known.facts.get(fact).map(|i| i.fact.job) else { continue };
                let sound = |o: &usize| self.has_result(*o, job, fact);
                if !core.iter().any(sound) {
                    core.extend((0..self.hosts.len()).find(sound));
                }
            }
        }
        if core.len() > before {
            self.keep_sound_copies(core);
        }
    }

    /// Whether a pin on this node's disk, or on any if none is named, makes something of the fact final.
    pub(crate) fn is_final(&self, job: JobId, fact: &FactId, at: Option<usize>) -> bool {
        let pins = |id: &FactId| match self.known.facts.get(id).map(|i| &i.fact.body) {
            Some(FactBody::Pin(runs)) => runs.iter().any(|r| r.pack == *fact),
            _ => false,
        };
        let hosts = self.hosts.iter().enumerate().filter(|(h, _)| at.is_none_or(|at| at == *h));
        hosts.filter_map(|(_, h)| h.disk.image.jobs.get(&job)).any(|k| k.facts.keys().any(pins))
    }

    /// A scrub, or a read, finds what rotted.
    pub(crate) fn scrub(&mut self, h: usize, job: JobId) {
        let blobs = self.info(job).map(|i| i.closure.clone()).unwrap_or_default();
        for (blob, _) in blobs {
            if self.hosts[h].shelf.read(blob, true) == Read::Damaged {
                self.hosts[h].rotten.insert(job);
            }
        }
        self.scrub_results(h, job);
        // It stays on the list until the bytes are back: a node that stands still learns of it later.
        if self.hosts[h].rotten.contains(&job) && !self.closure_durable(h, job) {
            self.feed(h, Input::ClosureLost(job));
        }
    }

    /// The same for what results name.
    fn scrub_results(&mut self, h: usize, job: JobId) {
        let decayed: Vec<_> = self.hosts[h].decayed.iter().copied().collect();
        let mut lost = Vec::new();
        for id in decayed {
            let Some(info) = self.known.facts.get(&id).cloned().filter(|i| i.fact.job == job) else { continue };
            let gone = |b: &BlobId, shelf: &mut Shelf| shelf.read(*b, true) != Read::Bytes(Print::of(*b));
            let shelf = &mut self.hosts[h].shelf;
            let blobs: Vec<_> = info.fact.closure().filter(|(b, _)| gone(b, shelf)).collect();
            // The bytes go in any case; who has no fact that names them need not be told.
            if !blobs.is_empty() && self.hosts[h].disk.image.has_fact(job, &id) {
                lost.push((id, blobs));
            }
        }
        if !lost.is_empty() {
            self.feed(h, Input::ResultsLost(job, lost));
        }
    }

    pub(crate) fn scrub_after_start(&mut self, h: usize) {
        let host = &self.hosts[h];
        let named = |k: &crate::disk::Kept| host.decayed.iter().any(|f| k.facts.contains_key(f));
        let jobs: Vec<JobId> = host.disk.image.jobs.iter().filter(|(_, k)| named(k)).map(|(j, _)| *j).collect();
        for job in jobs {
            let (life, delay) = (self.hosts[h].life, self.streams.blobs.below(3_000_000));
            self.after(delay, Ev::Scrub { host: h, life, job });
        }
        let jobs: Vec<JobId> = self.hosts[h].disk.image.jobs.iter().filter(|(_, k)| k.held).map(|(j, _)| *j).collect();
        for job in jobs {
            if !self.closure_durable(h, job) {
                self.hosts[h].rotten.insert(job);
                let (life, delay) = (self.hosts[h].life, self.streams.blobs.below(3_000_000));
                self.after(delay, Ev::Scrub { host: h, life, job });
            }
        }
    }

    /// What the ledger has of a job now.
    pub(crate) fn read_all_facts(&mut self, h: usize, job: JobId) {
        if self.find_rows(h, job, |_| true) {
            self.feed(h, Input::RowsLost(job));
        }
        let kept = self.hosts[h].disk.image.jobs.get(&job);
        let facts = kept.into_iter().flat_map(|k| k.facts.iter().map(|(id, f)| (*id, (**f).clone()))).collect();
        self.feed(h, Input::FactsRead(job, facts));
    }
}
