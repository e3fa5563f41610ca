//! What executors need of their node.

use std::path::Path;
use std::sync::Arc;

use filch_types::items;
use filch_types::manifest::InFile;
use filch_types::{BlobId, Content};

/// Why the node could not help. Never the task's fault: the attempt comes back as bounced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// An input blob is not here, or was found damaged.
    #[error("input unavailable: {0}")]
    Unavailable(String),
    /// No room for inputs or outputs.
    #[error("the disk is full: {0}")]
    Full(String),
    /// Anything else between the node and its disk.
    #[error("{0}")]
    Io(String),
}

/// The node's blob store, as executors see it. Called from slot threads; may block.
pub trait Host: Send + Sync {
    /// The packed item list of a job; `len` is its length in bytes. Expected to be cheap when asked again.
    fn items(&self, list: BlobId, len: u64) -> Result<Arc<items::Reader<Vec<u8>>>, HostError>;
    /// Makes `dest` a file with the input's bytes and mode, not writable through to the store. The node has fetched the
    /// blob before; the parent directory exists, `dest` does not.
    fn place(&self, file: &InFile, dest: &Path) -> Result<(), HostError>;
    /// Takes a collected file into the store; it may be moved away. At most `inline_max` bytes may come back inline.
    fn keep(&self, path: &Path, inline_max: usize) -> Result<Content, HostError>;
    /// The bytes of a blob that the node has fetched before.
    fn read(&self, blob: BlobId, len: u64) -> Result<Vec<u8>, HostError>;
    /// The same as `keep` for bytes in memory.
    fn keep_bytes(&self, bytes: Vec<u8>, inline_max: usize) -> Result<Content, HostError>;
}
