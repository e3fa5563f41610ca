//! What executors see of the blob store.

use std::path::Path;
use std::sync::Arc;

use filch_blobs::{BlobStore, PutError, ReadError, Take};
use filch_exec::{Host, HostError};
use filch_types::items::Reader;
use filch_types::manifest::InFile;
use filch_types::{BlobId, Content};

use crate::transfer::Lists;

/// Told of a blob that should be here and is not.
pub type Lost = Arc<dyn Fn(BlobId) + Send + Sync>;

/// See the module.
pub struct StoreHost {
    store: BlobStore,
    lists: Arc<Lists>,
    lost: Lost,
}

impl StoreHost {
    /// Over this store.
    pub fn new(store: BlobStore, lists: Arc<Lists>, lost: Lost) -> Self {
        Self { store, lists, lost }
    }

    fn kept(&self, put: Result<(BlobId, u64), PutError>) -> Result<Content, HostError> {
        match put {
            Ok((id, len)) => Ok(Content::Blob(id, len)),
            Err(e) if e.is_fatal() => {
                crate::fatal::disk(&e.to_string());
                Err(HostError::Io(e.to_string()))
            }
            Err(e) if e.is_full() => Err(HostError::Full(e.to_string())),
            Err(e) => Err(HostError::Io(e.to_string())),
        }
    }
}

impl Host for StoreHost {
    fn items(&self, list: BlobId, len: u64) -> Result<Arc<Reader<Vec<u8>>>, HostError> {
        self.lists.get(list, len).map_err(|e| {
            if matches!(e, crate::transfer::ListError::Read { missing: true, .. }) {
                (self.lost)(list);
            }
            HostError::Unavailable(e.to_string())
        })
    }

    fn place(&self, file: &InFile, dest: &Path) -> Result<(), HostError> {
        self.store.place(file.blob, dest, file.executable).map_err(|e| {
            if matches!(e, ReadError::Missing(_) | ReadError::Damaged(_)) {
                (self.lost)(file.blob);
                return HostError::Unavailable(format!("{}: {e}", file.path));
            }
            HostError::Io(format!("{}: {e}", file.path))
        })
    }

    fn read(&self, blob: BlobId, len: u64) -> Result<Vec<u8>, HostError> {
        self.store.read(blob, len).map_err(|e| {
            if matches!(e, ReadError::Missing(_) | ReadError::Damaged(_)) {
                (self.lost)(blob);
                return HostError::Unavailable(e.to_string());
            }
            HostError::Io(e.to_string())
        })
    }

    fn keep(&self, path: &Path, inline_max: usize) -> Result<Content, HostError> {
        let io = |e: std::io::Error| HostError::Io(format!("{}: {e}", path.display()));
        let len = std::fs::metadata(path).map_err(io)?.len();
        if usize::try_from(len).is_ok_and(|len| len <= inline_max) {
            // Nothing runs any more that could make it longer.
            return Ok(Content::Inline(std::fs::read(path).map_err(io)?));
        }
        self.kept(self.store.put_file(path, Take::Move))
    }

    fn keep_bytes(&self, bytes: Vec<u8>, inline_max: usize) -> Result<Content, HostError> {
        if bytes.len() <= inline_max {
            return Ok(Content::Inline(bytes));
        }
        self.kept(self.store.put_bytes(&bytes))
    }
}
