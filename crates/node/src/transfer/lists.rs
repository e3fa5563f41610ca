//! Item lists that are in use, read once: executor, staging and closures look into the same copy.

use std::sync::{Arc, Mutex, PoisonError};

use filch_blobs::BlobStore;
use filch_types::BlobId;
use filch_types::items::Reader;

/// A list in memory.
pub type List = Arc<Reader<Vec<u8>>>;

/// Bytes of lists that are kept; the one used last stays whatever its size.
const KEEP: usize = 64 * 1024 * 1024;
/// Bytes of the longest list that is read: 10 million items of 100 bytes.
pub const LONGEST: u64 = 1024 * 1024 * 1024;

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The blob cannot be read.
    #[error("item list {id:?}: {why}")]
    Read {
        /// The list.
        id: BlobId,
        /// Why.
        why: String,
        /// It is not here, or not any more.
        missing: bool,
    },
    /// The blob is no item list.
    #[error("item list {id:?}: {source}")]
    Format {
        /// The list.
        id: BlobId,
        /// Why not.
        source: filch_types::codec::CodecError,
    },
}

/// See the module.
pub struct Lists {
    store: BlobStore,
    kept: Mutex<Vec<(BlobId, usize, List)>>,
}

impl Lists {
    /// Over this store.
    pub fn new(store: BlobStore) -> Self {
        Self { store, kept: Mutex::default() }
    }

    /// The list if it is in memory.
    pub fn cached(&self, id: BlobId) -> Option<List> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(k, ..)| *k == id)?;
        let entry = kept.remove(at);
        let list = entry.2.clone();
        kept.push(entry);
        Some(list)
    }

    /// The list; reads it if need be. Blocks.
    pub fn get(&self, id: BlobId, len: u64) -> Result<List, ListError> {
        if let Some(list) = self.cached(id) {
            return Ok(list);
        }
        let read = |why: String, missing| ListError::Read { id, why, missing };
        if len > LONGEST {
            return Err(read(format!("{len} bytes, at most {LONGEST} are allowed"), false));
        }
        let bytes = self.store.read(id, len).map_err(|e| {
            use filch_blobs::ReadError::{Damaged, Missing};
            let missing = matches!(e, Missing(_) | Damaged(_));
            read(e.to_string(), missing)
        })?;
        let size = bytes.len();
        let list = Arc::new(Reader::new(bytes).map_err(|source| ListError::Format { id, source })?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.iter().any(|(k, ..)| *k == id) {
            kept.push((id, size, list.clone()));
        }
        let mut total: usize = kept.iter().map(|(_, n, _)| n).sum();
        while total > KEEP && kept.len() > 1 {
            total -= kept.remove(0).1;
        }
        Ok(list)
    }
}
