//! Who needs a blob, and what happens when nobody does.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use filch_types::{BlobId, JobId};

use crate::error::{PutError, SyncError};
use crate::index::only_full;
use crate::layout::remove;
use crate::state::{Change, Entry, HoldChange, Place, State};
use crate::store::{BlobStore, Inner};

/// Bytes from which a pack is worth rewriting to be rid of its unneeded half.
const TIDY_FROM: u64 = 4 << 20;

impl BlobStore {
    /// Keeps these blobs for a job, whether they are here already or come later. Durable by the next `sync`. Retain first and look
    /// with `has` afterwards: a blob seen before may be released in between.
    pub fn retain(&self, job: JobId, ids: &[BlobId]) -> Result<(), PutError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.inner.relieve()?;
        self.inner.state().record_hold(HoldChange::Retain(job, Arc::from(ids)));
        Ok(())
    }

    /// The jobs whose holds are durable: what was retained since the last sync is not among them.
    pub fn holding(&self) -> Result<Vec<JobId>, PutError> {
        self.inner.index.holding().map_err(|e| self.inner.index_error(&e))
    }

    /// Ends what `retain` did for the job, durably, and removes the blobs that no other job retains. Returns their bytes. Works on a
    /// full disk too; the rows then follow with the next sync that finds room.
    pub fn release(&self, job: JobId) -> Result<u64, PutError> {
        let round = self.inner.commit_lock();
        self.inner.flush_if_room()?;
        let pending = pending_holds(&self.inner.state(), |j| j == job);
        let ids = self.inner.index.only_held_by(job, pending).map_err(|e| self.inner.index_error(&e))?;
        let freed = self.inner.free(ids, Some(job))?;
        drop(round);
        self.inner.tidy()?;
        Ok(freed)
    }

    /// Removes blobs that no job retains and that were last put before the previous sweep, and partial transfers that did not move
    /// since then. Call it at long intervals. Returns the bytes of the blobs.
    pub fn sweep(&self) -> Result<u64, PutError> {
        let round = self.inner.commit_lock();
        self.inner.flush_if_room()?;
        let epoch = {
            let mut state = self.inner.state();
            state.seq += 1;
            state.totals.epoch += 1;
            state.totals.epoch
        };
        let ids = self.inner.index.unheld(epoch - 1).map_err(|e| self.inner.index_error(&e))?;
        let freed = self.inner.free(ids, None)?;
        drop(round);
        self.inner.sweep_partials();
        self.inner.tidy()?;
        Ok(freed)
    }
}

/// Blobs in the holds that are not in the index yet, of the jobs that `of` picks.
fn pending_holds(state: &State, of: impl Fn(JobId) -> bool) -> HashSet<BlobId> {
    let mut ids = HashSet::new();
    for (_, change) in &state.holds {
        if let HoldChange::Retain(job, retained) = change
            && of(*job)
        {
            ids.extend(retained.iter().copied());
        }
    }
    ids
}

impl Inner {
    fn index_error(&self, e: &redb::Error) -> PutError {
        let why = e.to_string();
        PutError::Sync(if only_full(e) { SyncError::Full { why } } else { SyncError::Fatal(why) })
    }

    /// Syncs; a full disk is no error, because what is about to be freed may be what fills it.
    fn flush_if_room(&self) -> Result<(), PutError> {
        match self.flush() {
            Err(e @ (SyncError::Fatal(_) | SyncError::Missing(_))) => Err(e.into()),
            Ok(()) | Err(SyncError::Full { .. }) => Ok(()),
        }
    }

    /// Ends the holds of `job` and removes those of `ids` that no other job is about to hold: rows first, then files. The caller
    /// has `commit`.
    fn free(&self, ids: Vec<BlobId>, job: Option<JobId>) -> Result<u64, PutError> {
        let mut gone: Vec<(BlobId, Entry)> = Vec::new();
        {
            let mut state = self.state();
            // Nothing moves from `holds` to the index while the caller has `commit`, so the two together are complete.
            let held = pending_holds(&state, |other| Some(other) != job);
            for id in ids {
                if held.contains(&id) {
                    continue;
                }
                if let Some(entry) = self.locate_in(&state, id) {
                    state.subtract(id, &entry);
                    gone.push((id, entry));
                }
            }
            if let Some(job) = job {
                state.record_hold(HoldChange::Release(job));
            }
        }
        let flushed = self.flush();
        for (id, entry) in gone.iter().filter(|(_, e)| e.place == Place::File) {
            // Under the lock, and only if it was not put again meanwhile.
            let state = self.state();
            if self.locate_in(&state, *id).is_none() {
                self.unlink(*id, entry);
            }
        }
        match flushed {
            Err(SyncError::Full { .. }) => self.flush_if_room()?,
            other => other?,
        }
        Ok(gone.iter().map(|(_, e)| e.len).sum())
    }

    /// Removes packs of which at least half is not needed any more, moving what is.
    fn tidy(&self) -> Result<(), PutError> {
        let _round = self.commit_lock();
        let victims = self.take_victims();
        // Nothing is added to a victim any more; with this the index names all that is in it.
        if victims.is_empty() || self.flush().is_err() {
            // Or there is no room to move anything: the next release tries again.
            return Ok(());
        }
        let mut live: BTreeMap<(u32, u64), (BlobId, Entry)> = BTreeMap::new();
        let each = self.index.each(|id, entry| match entry.place {
            Place::Packed { pack, offset } if victims.contains(&pack) => {
                live.insert((pack, offset), (id, entry));
            }
            _ => {}
        });
        each.map_err(|e| self.index_error(&e))?;
        for (id, entry) in live.into_values() {
            if let Err(error) = self.relocate(id, entry) {
                tracing::debug!(%error, "a pack stays as it is for now");
                return Ok(());
            }
        }
        {
            let mut state = self.state();
            for pack in &victims {
                state.packs.remove(pack);
                state.dirty.remove(pack);
                state.gone_packs.push(*pack);
            }
            state.seq += 1;
        }
        match self.flush() {
            Ok(()) => {}
            // Not removed from the index: the files have to stay as well. The next start finds them as they are.
            Err(SyncError::Full { .. }) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        for pack in victims {
            if let Err(error) = remove(&self.layout.pack(pack)) {
                tracing::warn!(%error, pack, "a pack that is not needed stays until the next start");
            }
        }
        Ok(())
    }

    fn take_victims(&self) -> HashSet<u32> {
        let mut state = self.state();
        let wasteful = |dead: u64, size: u64| match dead {
            0 => false,
            _ if dead >= size => true,
            _ => size >= TIDY_FROM && dead.saturating_mul(2) >= size,
        };
        let victims: HashSet<u32> =
            state.packs.iter().filter(|(_, s)| wasteful(s.dead, s.size)).map(|(n, _)| *n).collect();
        if state.current.as_ref().is_some_and(|p| victims.contains(&p.number)) {
            state.current = None;
        }
        victims
    }

    /// Moves a packed blob to the current pack.
    fn relocate(&self, id: BlobId, entry: Entry) -> Result<(), PutError> {
        let bytes = match self.read_packed(id, &entry) {
            Ok(bytes) => bytes,
            // It does not match its name and is gone now: nothing to move.
            Err(crate::ReadError::Damaged(_) | crate::ReadError::Missing(_)) => return Ok(()),
            Err(crate::ReadError::Io { path, source }) => return Err(PutError::Io { path, source }),
            Err(other) => return Err(PutError::io(&self.layout.packs(), std::io::Error::other(other))),
        };
        self.check_room(entry.len)?;
        let mut state = self.state();
        if self.locate_in(&state, id).is_some_and(|now| now.place == entry.place) {
            let place = self.append(&mut state, id, &bytes)?;
            state.waste(&entry);
            state.record(id, Change::Put(Entry { place, ..entry }));
        }
        Ok(())
    }

    /// Removes partial transfers that are as they were at the last sweep.
    fn sweep_partials(&self) {
        let Ok(dir) = std::fs::read_dir(self.layout.partials()) else { return };
        let mut state = self.state();
        let before = std::mem::take(&mut state.stale);
        let mut seen = HashMap::new();
        for path in dir.flatten().map(|e| e.path()) {
            let Some(id) = path.file_name().and_then(|n| n.to_str()?.parse::<BlobId>().ok()) else { continue };
            let len = path.metadata().map_or(0, |m| m.len());
            if state.receiving.contains(&id) || before.get(&path) != Some(&len) {
                seen.insert(path, len);
                continue;
            }
            for path in [path, self.layout.partial_outboard(id), self.layout.partial_len(id)] {
                if let Err(error) = remove(&path) {
                    tracing::warn!(%error, path = %path.display(), "a partial transfer cannot be removed");
                }
            }
        }
        state.stale = seen;
    }
}
