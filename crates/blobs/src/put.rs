//! Taking bytes in.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use filch_types::BlobId;

use crate::error::{PutError, SyncError};
use crate::flush::MAX_PENDING;
use crate::layout::{Temp, create_new, make_dir, remove};
use crate::pieces::hash_file;
use crate::state::{Change, Entry, Place};
use crate::store::{BlobStore, Inner, Take};
use crate::{MAX_BLOB, PACKED_MAX};

/// Bytes copied at a time.
pub(crate) const COPY_BUFFER: usize = 256 * 1024;

impl BlobStore {
    /// Takes these bytes in. Visible at once, durable after `sync`. Returns the blob and its length.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<(BlobId, u64), PutError> {
        let len = bytes.len() as u64;
        if len <= PACKED_MAX {
            let id = BlobId::of(bytes);
            self.inner.put_packed(id, bytes)?;
            return Ok((id, len));
        }
        self.inner.check_room(len)?;
        let temp = Temp { path: self.inner.layout.temp() };
        let written = create_new(&temp.path).and_then(|mut f| f.write_all(bytes));
        written.map_err(|e| self.inner.put_error(&temp.path, len, e))?;
        Ok((self.inner.adopt_unhashed(&temp, len, &temp.path)?, len))
    }

    /// Takes a regular file in, hashing it on the way. Visible at once, durable after `sync`. Returns the blob and its length.
    pub fn put_file(&self, path: &Path, take: Take) -> Result<(BlobId, u64), PutError> {
        let mut file = File::open(path).map_err(|e| PutError::io(path, e))?;
        let meta = file.metadata().map_err(|e| PutError::io(path, e))?;
        if !meta.is_file() {
            return Err(PutError::NotAFile { path: path.to_owned() });
        }
        let len = meta.len();
        if len > MAX_BLOB {
            return Err(PutError::TooLarge { len, max: MAX_BLOB });
        }
        let id = if len <= PACKED_MAX {
            let bytes = read_small(&mut file, len).map_err(|e| PutError::io(path, e))?;
            let bytes = bytes.ok_or_else(|| PutError::Changed { path: path.to_owned() })?;
            let id = BlobId::of(&bytes);
            self.inner.put_packed(id, &bytes)?;
            id
        } else {
            // A second name of the same file is somebody else's: moving this name would not take the file away from them.
            let alone = meta.nlink() == 1;
            let temp = Temp { path: self.inner.layout.temp() };
            if take == Take::Move && alone && std::fs::rename(path, &temp.path).is_ok() {
                return self.inner.adopt_moved(&temp, len, path).map(|id| (id, len));
            }
            self.inner.copy_in(&file, len, path, &temp)?;
            self.inner.adopt_unhashed(&temp, len, path)?
        };
        if take == Take::Move {
            remove(path).map_err(|e| PutError::io(path, e))?;
        }
        Ok((id, len))
    }
}

/// All of a small file; `None` if it is not as long as it said.
fn read_small(file: &mut File, len: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 1);
    file.take(len + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 == len).then_some(bytes))
}

impl Inner {
    /// Syncs when too much waits for it. A full disk is no reason to refuse what has been taken in already.
    pub(crate) fn relieve(&self) -> Result<(), PutError> {
        let (waiting, upto) = {
            let state = self.state();
            (state.pending.len() + state.hold_rows, state.seq)
        };
        if waiting >= MAX_PENDING { Ok(self.flush_to(upto)?) } else { Ok(()) }
    }

    /// Takes in bytes that are known to hash to `id`.
    pub(crate) fn put_packed(&self, id: BlobId, bytes: &[u8]) -> Result<(), PutError> {
        self.relieve()?;
        let len = bytes.len() as u64;
        let mut state = self.state();
        if let Some(why) = &state.failed {
            return Err(PutError::Sync(SyncError::Fatal(why.clone())));
        }
        if self.refresh(&mut state, id) {
            return Ok(());
        }
        self.check_room(len)?;
        let place = self.append(&mut state, id, bytes)?;
        let epoch = state.totals.epoch;
        state.add(id, Entry { len, epoch, place });
        Ok(())
    }

    /// Whether the blob is here; if so, it now counts as put in this epoch.
    fn refresh(&self, state: &mut crate::state::State, id: BlobId) -> bool {
        let Some(entry) = self.locate_in(state, id) else { return false };
        let epoch = state.totals.epoch;
        if entry.epoch != epoch {
            state.record(id, Change::Put(Entry { epoch, ..entry }));
        }
        true
    }

    /// Hashes a file in `tmp` and makes it a blob. `source` is what errors are about.
    fn adopt_unhashed(&self, temp: &Temp, len: u64, source: &Path) -> Result<BlobId, PutError> {
        let outboard = Temp { path: self.layout.temp() };
        let file = File::open(&temp.path).map_err(|e| PutError::io(&temp.path, e))?;
        let hashed = create_new(&outboard.path).and_then(|out| {
            let mut out = BufWriter::with_capacity(COPY_BUFFER, out);
            let id = hash_file(&file, len, &mut out)?;
            out.flush()?;
            Ok(id)
        });
        let id = match hashed {
            Ok(id) => id,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(PutError::Changed { path: source.to_owned() });
            }
            Err(e) => return Err(self.put_error(source, len, e)),
        };
        if file.metadata().map_err(|e| PutError::io(source, e))?.len() != len {
            return Err(PutError::Changed { path: source.to_owned() });
        }
        self.adopt(id, len, &temp.path, &outboard.path)?;
        Ok(id)
    }

    /// The same for a file that was just renamed into `tmp`; it goes back when it cannot be taken.
    fn adopt_moved(&self, temp: &Temp, len: u64, path: &Path) -> Result<BlobId, PutError> {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        let result = std::fs::set_permissions(&temp.path, private)
            .map_err(|e| PutError::io(path, e))
            .and_then(|()| self.adopt_unhashed(temp, len, path));
        if result.is_err()
            && let Err(error) = std::fs::rename(&temp.path, path)
        {
            tracing::error!(%error, path = %path.display(), "a file could neither be stored nor be put back");
        }
        result
    }

    /// Makes a hashed file in `tmp` or `partial` a blob, with its outboard.
    pub(crate) fn adopt(&self, id: BlobId, len: u64, data: &Path, outboard: &Path) -> Result<(), PutError> {
        self.relieve()?;
        let mut state = self.state();
        if let Some(why) = &state.failed {
            return Err(PutError::Sync(SyncError::Fatal(why.clone())));
        }
        if self.refresh(&mut state, id) {
            let removed = remove(data).and_then(|()| remove(outboard));
            return removed.map_err(|e| PutError::io(data, e));
        }
        let moved = make_dir(&self.layout.shard(id))
            .and_then(|()| std::fs::rename(outboard, self.layout.outboard(id)))
            .and_then(|()| std::fs::rename(data, self.layout.file(id)));
        moved.map_err(|e| self.put_error(data, len, e))?;
        let epoch = state.totals.epoch;
        state.add(id, Entry { len, epoch, place: Place::File });
        Ok(())
    }

    /// A private copy in `tmp`, sharing blocks where the file system can.
    fn copy_in(&self, from: &File, len: u64, source: &Path, temp: &Temp) -> Result<(), PutError> {
        let to = create_new(&temp.path).map_err(|e| self.put_error(&temp.path, len, e))?;
        if self.reflink(from, &to) {
            return Ok(());
        }
        self.check_room(len)?;
        let copied = io::copy(&mut from.take(len), &mut &to).map_err(|e| self.put_error(source, len, e))?;
        if copied != len {
            return Err(PutError::Changed { path: source.to_owned() });
        }
        Ok(())
    }

    /// Shares the blocks of `from` with `to`, if the file system can.
    pub(crate) fn reflink(&self, from: &File, to: &File) -> bool {
        if self.no_reflink.load(Relaxed) {
            return false;
        }
        let done = reflink_copy::reflink_file(from, to);
        if let Err(e) = &done
            && !matches!(e.raw_os_error().map(rustix::io::Errno::from_raw_os_error), Some(rustix::io::Errno::XDEV))
        {
            self.no_reflink.store(true, Relaxed);
        }
        done.is_ok()
    }
}
