//! A slow walk over all blobs: what rots without ever being read is found while others still have the bytes.

use std::fs::File;
use std::num::NonZeroU64;
use std::path::Path;

use filch_types::BlobId;

use crate::error::ReadError;
use crate::pieces::{Item, Pieces};
use crate::state::{Entry, Place};
use crate::store::{BlobStore, Inner};

/// What the smallest blob counts: a look at it costs a seek.
const LEAST: u64 = 4096;

/// How far the walk is: the next byte to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubCursor {
    blob: BlobId,
    offset: u64,
}

impl ScrubCursor {
    /// To be kept across restarts.
    pub fn to_bytes(self) -> [u8; 40] {
        let mut out = [0; 40];
        out[..32].copy_from_slice(&self.blob.0);
        out[32..].copy_from_slice(&self.offset.to_le_bytes());
        out
    }
    /// The reverse. Any place is a good one to go on from.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (blob, offset) = bytes.split_first_chunk::<32>()?;
        Some(Self { blob: BlobId(*blob), offset: u64::from_le_bytes(offset.try_into().ok()?) })
    }
    /// The blob after this one; `None` after the last possible one.
    fn after(blob: BlobId) -> Option<Self> {
        let mut next = blob.0;
        let more = next.iter_mut().rev().any(|b| {
            *b = b.wrapping_add(1);
            *b != 0
        });
        more.then_some(Self { blob: BlobId(next), offset: 0 })
    }
}

/// What a part of the walk found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Where to go on; `None` at the end.
    pub next: Option<ScrubCursor>,
    /// Bytes looked at.
    pub bytes: u64,
    /// Blobs that were looked at to their end.
    pub blobs: u64,
    /// Of them, those that did not match their names: they were dropped, and told of.
    pub damaged: u64,
    /// Those that the system could not read.
    pub unreadable: u64,
}

/// How the look at one blob ended.
enum Look {
    Good,
    /// The budget was used up before this place.
    Until(u64),
}

impl BlobStore {
    /// Looks at blobs in the order of their names from `from` on, until about `budget` bytes were read, and drops those that do not match
    /// their names. Past what the system keeps in memory, where it lets us: rot is on the disk. Errors only when the index cannot be read.
    pub fn scrub(&self, from: ScrubCursor, budget: u64) -> Result<Scrubbed, ReadError> {
        let mut done = Scrubbed { next: Some(from), ..Scrubbed::default() };
        let mut spent = 0;
        while let Some(at) = done.next.filter(|_| spent < budget) {
            let found = self.inner.index.from(at.blob);
            let found = found.map_err(|e| ReadError::io(&self.inner.layout.index(), std::io::Error::other(e)))?;
            let Some((id, _)) = found else {
                done.next = None;
                break;
            };
            let Some(entry) = self.inner.locate(id) else {
                // It went, and the index does not say so yet.
                spent += LEAST;
                done.next = ScrubCursor::after(id);
                continue;
            };
            let offset = if id == at.blob { at.offset } else { 0 };
            let before = done.bytes;
            let looked = self.inner.look(id, &entry, offset, budget - spent, &mut done.bytes);
            spent += (done.bytes - before).max(LEAST);
            if let Ok(Look::Until(offset)) = looked {
                done.next = Some(ScrubCursor { blob: id, offset });
                continue;
            }
            done.next = ScrubCursor::after(id);
            done.blobs += 1;
            match looked {
                Err(ReadError::Damaged(_)) => done.damaged += 1,
                // It went while it was being looked for.
                Ok(_) | Err(ReadError::Missing(_)) => {}
                Err(error) => {
                    tracing::warn!(%error, blob = %id, "a blob cannot be read");
                    done.unreadable += 1;
                }
            }
        }
        Ok(done)
    }
}

impl Inner {
    /// Checks a blob from `offset` on, for so many bytes.
    fn look(&self, id: BlobId, entry: &Entry, offset: u64, most: u64, bytes: &mut u64) -> Result<Look, ReadError> {
        match entry.place {
            Place::Packed { pack, offset } => {
                let path = self.layout.pack(pack);
                forget(&path, offset, entry.len);
                *bytes += entry.len;
                let read = self.read_packed(id, entry).map(|_| Look::Good);
                forget(&path, offset, entry.len);
                read
            }
            Place::File => {
                // A cursor from elsewhere may point beyond the end, or between pieces.
                let from = if offset < entry.len { offset - offset % crate::PIECE } else { 0 };
                let path = self.layout.file(id);
                forget(&path, from, most);
                let looked = self.look_along(id, entry, from, most, bytes);
                forget(&path, from, most);
                looked
            }
        }
    }

    fn look_along(&self, id: BlobId, entry: &Entry, from: u64, most: u64, bytes: &mut u64) -> Result<Look, ReadError> {
        let mut pieces = Pieces::open(self, id, *entry, from)?;
        let mut at = from;
        while let Some(item) = pieces.next(self)? {
            if let Item::Leaf(leaf) = item {
                at += leaf.len() as u64;
                *bytes += leaf.len() as u64;
                if at - from >= most && at < entry.len {
                    return Ok(Look::Until(at));
                }
            }
        }
        Ok(Look::Good)
    }
}

/// Lets go of what the system keeps of these bytes, so that they are read from the disk and do not take room from others afterwards.
fn forget(path: &Path, offset: u64, len: u64) {
    if let (Ok(file), Some(len)) = (File::open(path), NonZeroU64::new(len)) {
        let _ = rustix::fs::fadvise(&file, offset, Some(len), rustix::fs::Advice::DontNeed);
    }
}
