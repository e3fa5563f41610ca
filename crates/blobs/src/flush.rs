//! Sync: one round makes everything durable that was put before it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};

use filch_types::BlobId;

use crate::error::SyncError;
use crate::index::only_full;
use crate::layout;
use crate::state::{Batch, Change, Place};
use crate::store::{BlobStore, Inner};

/// Changes after which a put or retain syncs by itself, so that memory stays bounded when nobody else does.
pub(crate) const MAX_PENDING: usize = 100_000;
/// Free bytes that a round leaves on the disk beyond its own rows.
const ROOM_MARGIN: u64 = 256 * 1024;

impl BlobStore {
    /// Makes these blobs durable, and with them everything retained before. Blobs that are durable already cost a look-up. On
    /// `Full` nothing changes; on `Fatal` end the process.
    pub fn sync(&self, ids: &[BlobId]) -> Result<(), SyncError> {
        let target = self.inner.target(ids)?;
        self.inner.flush_to(target)?;
        match ids.iter().find(|id| !self.has(**id)) {
            Some(id) => Err(SyncError::Missing(*id)),
            None => Ok(()),
        }
    }
}

/// Leads a round; followers wake when it ends, however it ends.
struct Lead<'a>(&'a Inner);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.0.state().leading = false;
        self.0.round_done.notify_all();
    }
}

impl Inner {
    /// The change up to which a sync must get so that these blobs and all holds are durable.
    fn target(&self, ids: &[BlobId]) -> Result<u64, SyncError> {
        let state = self.state();
        if let Some(why) = &state.failed {
            return Err(SyncError::Fatal(why.clone()));
        }
        let blobs = ids.iter().filter_map(|id| state.pending.get(id)).map(|(seq, _)| *seq).max();
        let holds = state.holds.last().map(|(seq, _)| *seq);
        Ok(blobs.max(holds).unwrap_or(0))
    }

    pub(crate) fn commit_lock(&self) -> MutexGuard<'_, ()> {
        self.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Syncs unless somebody else's round gets to `target`. One thread leads a round; what is put meanwhile waits for the next.
    pub(crate) fn flush_to(&self, target: u64) -> Result<(), SyncError> {
        let mut state = self.state();
        while state.synced < target && state.leading {
            state = self.round_done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.synced >= target {
            return Ok(());
        }
        state.leading = true;
        drop(state);
        let _lead = Lead(self);
        let _round = self.commit_lock();
        self.flush()
    }

    /// Syncs everything. The caller has `commit`.
    pub(crate) fn flush(&self) -> Result<(), SyncError> {
        let mut batch = {
            let mut state = self.state();
            if let Some(why) = &state.failed {
                return Err(SyncError::Fatal(why.clone()));
            }
            if state.is_clean() {
                return Ok(());
            }
            state.batch()
        };
        if let Err(e) = self.sync_bytes(&mut batch) {
            return Err(self.fail(e.to_string()));
        }
        if let Err(e) = self.room_for(&batch) {
            self.state().unsettle(batch);
            return Err(e);
        }
        match self.index.commit(&batch) {
            Ok(()) => {
                self.state().settle(&batch);
                Ok(())
            }
            Err(e) if only_full(&e) => {
                self.index.close();
                self.state().unsettle(batch);
                Err(SyncError::Full { why: e.to_string() })
            }
            Err(e) => Err(self.fail(e.to_string())),
        }
    }

    fn room_for(&self, batch: &Batch) -> Result<(), SyncError> {
        let Some((free, _)) = layout::room(&self.layout.root) else { return Ok(()) };
        // Deleting needs a little room too, and must not be refused for want of the margin.
        let rows = batch.changes.iter().filter(|(_, c)| *c != Change::Gone).count() as u64;
        if rows > 0 && free < rows * 256 + ROOM_MARGIN {
            return Err(SyncError::Full { why: format!("{rows} rows to write, {free} bytes free") });
        }
        Ok(())
    }

    fn fail(&self, why: String) -> SyncError {
        let mut state = self.state();
        SyncError::Fatal(state.failed.get_or_insert(why).clone())
    }

    /// fsyncs packs, files, then the directories that name them.
    fn sync_bytes(&self, batch: &mut Batch) -> io::Result<()> {
        let mut dirs: BTreeSet<PathBuf> = BTreeSet::new();
        for (number, file) in &batch.sync_packs {
            self.fsync.file(&self.layout.pack(*number), file)?;
        }
        if batch.new_pack {
            dirs.insert(self.layout.packs());
        }
        let mut vanished = Vec::new();
        for (id, change) in &batch.changes {
            let Change::Put(entry) = change else { continue };
            if entry.place != Place::File {
                continue;
            }
            let path = self.layout.file(*id);
            match File::open(&path) {
                Ok(file) => self.fsync.file(&path, &file)?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    vanished.push((*id, *entry));
                    continue;
                }
                Err(e) => return Err(e),
            }
            dirs.insert(self.layout.shard(*id));
            dirs.insert(self.layout.files());
        }
        for (id, entry) in vanished {
            // Dropped as damaged meanwhile, or removed by somebody else.
            batch.changes.retain(|(other, _)| *other != id);
            self.damaged(id, &entry);
        }
        dirs.iter().try_for_each(|dir| self.fsync.dir(dir))
    }
}
