//! Rows of a ledger rot: a fact is there, as far as anybody knows, and no read gives it. A read that finds one drops it and tells the core;
//! a restart replays what is left. The other rows of a ledger are in memory from the start on, and written anew when they change.

use filch_core::Input;
use filch_types::{FactBody, FactId, JobId, SignedFact};

use crate::host::Host;
use crate::world::{Ev, World};

/// Until a scrub comes to what nobody reads.
const SCRUB_US: u64 = 10_000_000;

/// A start reads everything.
pub(crate) fn find_at_start(host: &mut Host) {
    let jobs: Vec<JobId> = host.disk.image.jobs.keys().copied().collect();
    for job in jobs {
        host.disk.image.find_rot(job, |_| true);
    }
}

/// The core reads what is left of a job.
pub(crate) fn told(host: &mut Host, job: JobId, facts: &[(FactId, SignedFact)]) {
    let Some(untold) = host.untold.get_mut(&job) else { return };
    untold.retain(|id| facts.iter().any(|(f, _)| f == id));
}

impl World {
    /// Damages the row of a fact of an accepted job that another node has too, or of a pack that its author owes and nobody was promised.
    pub(crate) fn rot_row(&mut self, h: usize) -> bool {
        let mut found = Vec::new();
        for (&job, kept) in &self.hosts[h].disk.image.jobs {
            let owner = self.info(job).is_some_and(|i| i.manifest.owner == self.hosts[h].id);
            let promised = self.history.accepted.contains_key(&job);
            for id in kept.facts.keys().filter(|id| !kept.bad.contains(id)) {
                let pack = |id| self.known.facts.get(id).is_some_and(|i| matches!(i.fact.body, FactBody::Pack(_)));
                let nowhere = |id| !(0..self.hosts.len()).any(|o| o != h && self.hosts[o].ever_had(job, id));
                let owed =
                    kept.outbox.contains(id) && !owner && pack(id) && nowhere(id) && !self.is_final(job, id, None);
                if owed || (promised && (0..self.hosts.len()).any(|o| o != h && self.has_result(o, job, id))) {
                    found.push((job, *id));
                }
            }
        }
        let Some((job, id)) = self.streams.rows.pick(&found) else { return false };
        self.hosts[h].disk.image.rot(job, &id);
        self.note(|| format!("the row of {id:?} of {job:?} rots at n{h}"));
        self.hosts[h].perished.insert(id);
        let (life, delay) = (self.hosts[h].life, self.streams.rows.between(1_000, SCRUB_US));
        self.after(delay, Ev::ScrubRows { host: h, life, job });
        true
    }

    /// Rows of a job are read: true if some of them had rotted.
    pub(crate) fn find_rows(&mut self, h: usize, job: JobId, read: impl Fn(&FactId) -> bool) -> bool {
        let host = &mut self.hosts[h];
        let found = host.disk.image.find_rot(job, read);
        let any = !found.is_empty();
        if any {
            host.untold.entry(job).or_default().extend(found);
        }
        any
    }

    pub(crate) fn scrub_rows(&mut self, h: usize, job: JobId) {
        if self.find_rows(h, job, |_| true) {
            self.feed(h, Input::RowsLost(job));
        }
    }
}
