//! A node's ledger on disk: group commit, crash images, full and slow disks, older images.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use filch_core::Ticket;
use filch_types::manifest::SignedManifest;
use filch_types::record::Record;
use filch_types::{BlobId, FactId, JobId, SignedFact};

use crate::rng::Dice;

/// What a disk holds about one job.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The manifest.
    pub manifest: Option<Arc<SignedManifest>>,
    /// `Record::Held` was committed.
    pub held: bool,
    /// Facts.
    pub facts: BTreeMap<FactId, Arc<SignedFact>>,
    /// Those of them whose rows rotted: nobody has noticed, and no read gives them.
    pub bad: BTreeSet<FactId>,
    /// Own packs not yet acked.
    pub outbox: BTreeSet<FactId>,
    /// Highest round as steward.
    pub round: u32,
    /// The delete fact, once the rest is gone.
    pub tombstone: Option<Arc<SignedFact>>,
}

/// Everything durable in a ledger, as `filch-ledger` promises to replay it.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// By job.
    pub jobs: BTreeMap<JobId, Kept>,
}

impl Image {
    /// What a committed record does.
    pub fn apply(&mut self, record: &Record) {
        if let Record::Drop(job) = record {
            self.jobs.remove(job);
            return;
        }
        let kept = self.jobs.entry(record.job()).or_default();
        match record {
            Record::Manifest(_, m) => kept.manifest = Some(Arc::new(m.clone())),
            Record::Held(_) => kept.held = true,
            Record::Fact(_, id, f) => {
                kept.facts.entry(*id).or_insert_with(|| Arc::new(f.clone()));
            }
            Record::Outbox(_, id) => {
                kept.outbox.insert(*id);
            }
            Record::OutboxDone(_, id) => {
                kept.outbox.remove(id);
            }
            Record::Lost(_, id) => {
                kept.facts.remove(id);
                kept.bad.remove(id);
                kept.outbox.remove(id);
            }
            Record::Round(_, round) => kept.round = kept.round.max(*round),
            Record::Forget(_, f) => *kept = Kept { tombstone: Some(Arc::new(f.clone())), ..Kept::default() },
            Record::Drop(_) => {}
        }
    }
    /// Bit rot in the row of a fact; false if it is not here or has rotted before.
    pub fn rot(&mut self, job: JobId, id: &FactId) -> bool {
        let kept = self.jobs.get_mut(&job).filter(|k| k.facts.contains_key(id));
        kept.is_some_and(|k| k.bad.insert(*id))
    }
    /// Somebody reads rows of a job: those that rotted and that `read` names are dropped.
    pub fn find_rot(&mut self, job: JobId, read: impl Fn(&FactId) -> bool) -> Vec<FactId> {
        let Some(kept) = self.jobs.get_mut(&job) else { return Vec::new() };
        let found: Vec<FactId> = kept.bad.iter().filter(|id| read(id)).copied().collect();
        for id in &found {
            kept.bad.remove(id);
            kept.facts.remove(id);
        }
        found
    }
    /// What a restart replays: a job's manifest first, the rest in any order.
    pub fn replay(&self, dice: &mut Dice) -> Vec<Record> {
        let mut out = Vec::new();
        for (&job, kept) in &self.jobs {
            if let Some(m) = &kept.manifest {
                out.push(Record::Manifest(job, (**m).clone()));
            }
            let from = out.len();
            if kept.held {
                out.push(Record::Held(job));
            }
            out.extend(kept.facts.iter().map(|(id, f)| Record::Fact(job, *id, (**f).clone())));
            out.extend(kept.outbox.iter().map(|id| Record::Outbox(job, *id)));
            if kept.round > 0 {
                out.push(Record::Round(job, kept.round));
            }
            out.extend(kept.tombstone.iter().map(|f| Record::Forget(job, (**f).clone())));
            dice.shuffle(&mut out[from..]);
        }
        out
    }
    /// Whether this fact of the job is here, as far as anybody knows.
    pub fn has_fact(&self, job: JobId, id: &FactId) -> bool {
        self.jobs.get(&job).is_some_and(|k| k.facts.contains_key(id))
    }
    /// Whether a read would give it.
    pub fn has_sound_fact(&self, job: JobId, id: &FactId) -> bool {
        self.jobs.get(&job).is_some_and(|k| k.facts.contains_key(id) && !k.bad.contains(id))
    }
}

/// A group of records on its way.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its name.
    pub ticket: Ticket,
    /// Blobs to sync first.
    pub blobs: Vec<BlobId>,
    /// What it says.
    pub records: Vec<Record>,
}

/// The disk of one node.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// What is durable.
    pub image: Image,
    /// The group that is being written now.
    pub writing: Vec<Pending>,
    /// What comes after it.
    pub waiting: VecDeque<Pending>,
    /// Older images to which a restart may roll back, oldest first.
    pub older: VecDeque<Image>,
    /// While positive, commits fail for lack of room.
    pub full: u32,
    /// Latency is multiplied by this; 0 counts as 1.
    pub slow: u32,
}

/// Older images kept at most.
const OLDER: usize = 4;

impl Disk {
    /// Moves what waits into the group to be written; false if nothing waits or a group is under way.
    pub fn begin(&mut self, most: usize) -> bool {
        if !self.writing.is_empty() || self.waiting.is_empty() {
            return false;
        }
        let n = self.waiting.len().min(most.max(1));
        self.writing.extend(self.waiting.drain(..n));
        true
    }
    /// The process ends: what was on its way, in order.
    pub fn take_open(&mut self) -> Vec<Pending> {
        self.writing.drain(..).chain(self.waiting.drain(..)).collect()
    }
    /// Remembers the present image for a later roll-back.
    pub fn remember(&mut self) {
        if self.older.len() >= OLDER {
            self.older.pop_front();
        }
        self.older.push_back(self.image.clone());
    }
}
