//! What the running process knows beyond the index: everything since the last sync.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use filch_types::{BlobId, JobId};

use crate::packs::HEADER;

/// Where the bytes of a blob are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a pack.
    Packed { pack: u32, offset: u64 },
    /// In a file of its own.
    File,
}

/// A blob that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) len: u64,
    /// How many sweeps there had been when it was last put.
    pub(crate) epoch: u64,
    pub(crate) place: Place,
}

/// What happened to a blob since the last sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Put(Entry),
    Gone,
}

/// What happened to the holds of a job since the last sync.
#[derive(Clone, Debug)]
pub(crate) enum HoldChange {
    Retain(JobId, Arc<[BlobId]>),
    Release(JobId),
}

/// Bytes in a pack, and how many of them no blob needs any more.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PackStat {
    pub(crate) size: u64,
    pub(crate) dead: u64,
    /// Differs from its row.
    pub(crate) changed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
    /// Sweeps so far.
    pub(crate) epoch: u64,
}

/// The pack that is appended to.
#[derive(Debug)]
pub(crate) struct OpenPack {
    pub(crate) number: u32,
    pub(crate) file: Arc<File>,
    pub(crate) end: u64,
}

/// One round of sync: everything up to a point.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) upto: u64,
    pub(crate) changes: Vec<(BlobId, Change)>,
    pub(crate) holds: Vec<HoldChange>,
    /// `None` for a pack that is gone.
    pub(crate) packs: Vec<(u32, Option<PackStat>)>,
    pub(crate) totals: Totals,
    pub(crate) sync_packs: BTreeMap<u32, Arc<File>>,
    /// A pack was made since the last round.
    pub(crate) new_pack: bool,
}

/// Behind the store's lock. Short sections only: no fsync, no reading of blobs.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Counts changes; `pending` and `holds` remember the count of theirs.
    pub(crate) seq: u64,
    pub(crate) synced: u64,
    /// Somebody leads a round of sync.
    pub(crate) leading: bool,
    pub(crate) pending: HashMap<BlobId, (u64, Change)>,
    pub(crate) holds: Vec<(u64, HoldChange)>,
    /// Rows that `holds` stands for.
    pub(crate) hold_rows: usize,
    pub(crate) totals: Totals,
    pub(crate) packs: BTreeMap<u32, PackStat>,
    pub(crate) gone_packs: Vec<u32>,
    pub(crate) next_pack: u32,
    pub(crate) current: Option<OpenPack>,
    /// Packs with bytes that were not fsynced yet.
    pub(crate) dirty: BTreeMap<u32, Arc<File>>,
    pub(crate) new_pack: bool,
    pub(crate) receiving: HashSet<BlobId>,
    pub(crate) leftovers: crate::receive::Leftovers,
    /// Partial files seen by the last sweep, with their length then.
    pub(crate) stale: HashMap<PathBuf, u64>,
    /// Set once, by a failure that ends the process.
    pub(crate) failed: Option<String>,
}

impl State {
    pub(crate) fn record(&mut self, id: BlobId, change: Change) {
        self.seq += 1;
        self.pending.insert(id, (self.seq, change));
    }

    pub(crate) fn record_hold(&mut self, change: HoldChange) {
        self.seq += 1;
        self.hold_rows += match &change {
            HoldChange::Retain(_, ids) => ids.len(),
            HoldChange::Release(_) => 1,
        };
        self.holds.push((self.seq, change));
    }

    /// Makes `entry` the place of a blob that was not there.
    pub(crate) fn add(&mut self, id: BlobId, entry: Entry) {
        self.totals.blobs += 1;
        self.totals.bytes += entry.len;
        self.record(id, Change::Put(entry));
    }

    /// Makes a blob that was there, at `entry`, go.
    pub(crate) fn subtract(&mut self, id: BlobId, entry: &Entry) {
        self.totals.blobs = self.totals.blobs.saturating_sub(1);
        self.totals.bytes = self.totals.bytes.saturating_sub(entry.len);
        self.waste(entry);
        self.record(id, Change::Gone);
    }

    /// Counts the packed bytes of an entry and its header as not needed any more.
    pub(crate) fn waste(&mut self, entry: &Entry) {
        if let Place::Packed { pack, .. } = entry.place
            && let Some(stat) = self.packs.get_mut(&pack)
        {
            stat.dead = stat.size.min(stat.dead + entry.len + HEADER);
            stat.changed = true;
        }
    }

    /// Whether anything waits for a sync.
    pub(crate) fn is_clean(&self) -> bool {
        self.seq == self.synced
    }

    /// Everything that waits, and marks it as under way; it stays visible until `settle`.
    pub(crate) fn batch(&mut self) -> Batch {
        let mut packs = Vec::new();
        for (number, stat) in &mut self.packs {
            if std::mem::take(&mut stat.changed) {
                packs.push((*number, Some(*stat)));
            }
        }
        packs.extend(std::mem::take(&mut self.gone_packs).into_iter().map(|n| (n, None)));
        Batch {
            upto: self.seq,
            changes: self.pending.iter().map(|(id, (_, change))| (*id, *change)).collect(),
            holds: self.holds.iter().map(|(_, change)| change.clone()).collect(),
            packs,
            totals: self.totals,
            sync_packs: std::mem::take(&mut self.dirty),
            new_pack: std::mem::take(&mut self.new_pack),
        }
    }

    /// The batch is durable.
    pub(crate) fn settle(&mut self, batch: &Batch) {
        self.synced = batch.upto;
        self.pending.retain(|_, (seq, _)| *seq > batch.upto);
        self.holds.retain(|(seq, _)| *seq > batch.upto);
        self.hold_rows = self
            .holds
            .iter()
            .map(|(_, c)| match c {
                HoldChange::Retain(_, ids) => ids.len(),
                HoldChange::Release(_) => 1,
            })
            .sum();
    }

    /// The batch was not kept: what it had taken waits again.
    pub(crate) fn unsettle(&mut self, batch: Batch) {
        for (number, stat) in batch.packs {
            match (stat, self.packs.get_mut(&number)) {
                (Some(_), Some(stat)) => stat.changed = true,
                (Some(_), None) => {}
                (None, _) => self.gone_packs.push(number),
            }
        }
    }
}
