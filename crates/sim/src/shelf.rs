//! A node's blob store: which blobs it has, what is really in them, and which of them would survive a crash.
//!
//! Contents are a print of 64 bits, derived from the name where the bytes are as they should be. So rot, a torn transfer and a
//! store that does not check what it reads can be told from the outside, as a person would: by comparing bytes with the name.

use std::collections::{BTreeMap, BTreeSet};

use filch_types::{BlobId, JobId};

/// Stands for the bytes of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Print(u64);

impl Print {
    /// That of the bytes which have this name.
    pub fn of(id: BlobId) -> Self {
        let mut word = [0; 8];
        word.copy_from_slice(&id.0[..8]);
        Self(u64::from_le_bytes(word))
    }
    /// That of the same bytes after something happened to them.
    pub fn damaged(self) -> Self {
        Self(self.0.rotate_left(17) ^ 0x5eed)
    }
}

#[derive(Clone, Copy, Debug)]
struct Blob {
    len: u64,
    durable: bool,
    print: Print,
}

/// What a read gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// These bytes.
    Bytes(Print),
    /// It is not here.
    Absent,
    /// It was here, and its bytes did not match its name: it is gone now.
    Damaged,
}

/// What is here of a blob whose transfer was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Bytes from its beginning.
    pub len: u64,
    /// A crash left other bytes than were written.
    pub torn: bool,
}

/// Blobs of one node.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    blobs: BTreeMap<BlobId, Blob>,
    wanted: BTreeMap<JobId, BTreeSet<BlobId>>,
    partial: BTreeMap<BlobId, Partial>,
    /// Rotted, and nobody has noticed.
    rotted: BTreeSet<BlobId>,
    /// Found damaged, and dropped: how a blob goes that somebody counts on.
    dropped: BTreeSet<BlobId>,
}

impl Shelf {
    /// Puts a blob in for a job; durable at once or by a later `sync`.
    pub fn put(&mut self, job: JobId, id: BlobId, len: u64, durable: bool) {
        self.put_bytes(job, id, len, Print::of(id), durable);
    }
    /// The same with bytes that may not be those of the name.
    pub fn put_bytes(&mut self, job: JobId, id: BlobId, len: u64, print: Print, durable: bool) {
        let entry = self.blobs.entry(id).or_insert(Blob { len, durable: false, print });
        entry.durable |= durable;
        self.partial.remove(&id);
        self.wanted.entry(job).or_default().insert(id);
    }
    /// Keeps a blob that is here for this job too.
    pub fn retain(&mut self, job: JobId, id: BlobId) {
        self.wanted.entry(job).or_default().insert(id);
    }
    /// Makes a blob durable; false if it is not here.
    pub fn sync(&mut self, id: BlobId) -> bool {
        self.blobs.get_mut(&id).map(|b| b.durable = true).is_some()
    }
    /// Whether its store says that it is here. Bytes are not looked at.
    pub fn has(&self, id: BlobId) -> bool {
        self.blobs.contains_key(&id)
    }
    /// Whether it is here, with its own bytes.
    pub fn intact(&self, id: BlobId) -> bool {
        self.blobs.get(&id).is_some_and(|b| b.print == Print::of(id))
    }
    /// Whether it is here, with its own bytes, and would survive a crash.
    pub fn durable(&self, id: BlobId) -> bool {
        self.intact(id) && self.blobs.get(&id).is_some_and(|b| b.durable)
    }
    /// Reads it. What does not match its name is dropped, if that is looked at.
    pub fn read(&mut self, id: BlobId, checked: bool) -> Read {
        match self.blobs.get(&id) {
            None => Read::Absent,
            Some(b) if checked && b.print != Print::of(id) => {
                self.blobs.remove(&id);
                self.rotted.remove(&id);
                self.dropped.insert(id);
                Read::Damaged
            }
            Some(b) => Read::Bytes(b.print),
        }
    }
    /// The job's hold ends; blobs that no other job wants go.
    pub fn release(&mut self, job: JobId) {
        for id in self.abandon(job) {
            self.partial.remove(&id);
        }
    }
    /// The same after a restart: what was on its way is kept, it may be asked for again. Returns what nobody wants any more.
    pub fn abandon(&mut self, job: JobId) -> Vec<BlobId> {
        let mut gone: Vec<BlobId> = self.wanted.remove(&job).into_iter().flatten().collect();
        gone.retain(|id| !self.wanted.values().any(|w| w.contains(id)));
        for id in &gone {
            self.blobs.remove(id);
            self.rotted.remove(id);
        }
        gone
    }
    /// It goes, whoever wants it.
    pub fn free(&mut self, id: BlobId) {
        self.blobs.remove(&id);
        self.rotted.remove(&id);
    }
    /// Bit rot: its bytes change, and nobody is told. False if it is not here or has rotted before.
    pub fn rot(&mut self, id: BlobId) -> bool {
        let sound = self.blobs.get_mut(&id).filter(|b| b.print == Print::of(id));
        let rots = sound.map(|b| b.print = b.print.damaged()).is_some();
        rots && self.rotted.insert(id)
    }
    /// Whether it rotted here, after it was stored as it should be, and nobody has noticed.
    pub fn rotted(&self, id: BlobId) -> bool {
        self.rotted.contains(&id)
    }
    /// Whether it was here and was dropped because it was damaged.
    pub fn was_dropped(&self, id: BlobId) -> bool {
        self.dropped.contains(&id) && !self.has(id)
    }
    /// A transfer broke off: so much of it is here.
    pub fn interrupt(&mut self, id: BlobId, len: u64) {
        let partial = self.partial.entry(id).or_insert(Partial { len: 0, torn: false });
        partial.len = partial.len.max(len);
    }
    /// What is here of a blob that has not arrived.
    pub fn partial(&self, id: BlobId) -> Option<Partial> {
        self.partial.get(&id).copied()
    }
    /// A partial transfer is of no use.
    pub fn discard(&mut self, id: BlobId) {
        self.partial.remove(&id);
    }
    /// A crash: what was not synced stays if `survives` says so, and of a transfer under way some bytes, right or wrong.
    pub fn crash(&mut self, mut survives: impl FnMut() -> bool) {
        self.blobs.retain(|_, b| {
            b.durable = b.durable || survives();
            b.durable
        });
        self.partial.retain(|_, p| {
            p.torn |= survives();
            survives()
        });
    }
    /// Blobs and bytes.
    pub fn usage(&self) -> (usize, u64) {
        (self.blobs.len(), self.blobs.values().map(|b| b.len).sum())
    }
    /// Jobs that blobs are kept for.
    pub fn jobs(&self) -> Vec<JobId> {
        self.wanted.keys().copied().collect()
    }
    /// Blobs kept for a job.
    pub fn of_job(&self, job: JobId) -> impl Iterator<Item = BlobId> + '_ {
        self.wanted.get(&job).into_iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rot_is_silent_until_somebody_reads() {
        let (job, id) = (JobId::default(), BlobId::of(b"x"));
        let mut shelf = Shelf::default();
        shelf.put(job, id, 10, true);
        assert_eq!(shelf.read(id, true), Read::Bytes(Print::of(id)));
        assert!(shelf.rot(id) && !shelf.rot(id));
        assert!(shelf.has(id) && !shelf.intact(id) && !shelf.durable(id));
        assert_ne!(shelf.read(id, false), Read::Bytes(Print::of(id)));
        assert_eq!((shelf.read(id, true), shelf.read(id, true)), (Read::Damaged, Read::Absent));
    }

    #[test]
    fn a_crash_may_tear_what_was_on_its_way() {
        let (job, id) = (JobId::default(), BlobId::of(b"x"));
        let mut shelf = Shelf::default();
        shelf.interrupt(id, 6);
        shelf.interrupt(id, 4);
        shelf.crash(|| true);
        assert_eq!(shelf.partial(id), Some(Partial { len: 6, torn: true }));
        shelf.put(job, id, 10, false);
        assert_eq!(shelf.partial(id), None);
    }
}
