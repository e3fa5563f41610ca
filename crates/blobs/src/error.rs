//! One enum per operation.

use std::io;
use std::path::{Path, PathBuf};

use filch_types::BlobId;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another filch node; stop that one first or choose another data directory", path.display())]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
    /// Written by a newer filch.
    #[error(
        "{} has format version {found}, this filch reads up to {known}; upgrade filch or choose another data directory",
        path.display()
    )]
    NewerVersion {
        /// The store's directory.
        path: PathBuf,
        /// Version of the directory.
        found: u64,
        /// Highest version that this build reads.
        known: u64,
    },
    /// The index is no index, or damaged beyond what a crash does.
    #[error(
        "the index of the blob store {} is not readable ({why}); move the data directory away and start again: \
         blobs with other copies are not lost",
        path.display()
    )]
    Corrupt {
        /// The store's directory.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The system said no.
    #[error("cannot open the blob store {}: {source}", path.display())]
    Io {
        /// The file or directory that it was about.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
}

/// Why bytes were not taken in. Nothing of them is kept.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Not enough room; the store stays usable and keeps a reserve for the ledger.
    #[error(
        "no room for {need} more bytes: the disk of the data directory has {free} free, {reserve} of them reserved"
    )]
    Full {
        /// Bytes wanted.
        need: u64,
        /// Bytes free.
        free: u64,
        /// Bytes that the store leaves free.
        reserve: u64,
    },
    /// Somebody receives this blob already.
    #[error("blob {0} is being received already")]
    Busy(BlobId),
    /// Longer than any blob may be.
    #[error("{len} bytes; a blob has at most {max}")]
    TooLarge {
        /// Bytes claimed.
        len: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// A directory, device or the like.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// It.
        path: PathBuf,
    },
    /// The file was written to while it was read.
    #[error("{} changed while it was read", path.display())]
    Changed {
        /// It.
        path: PathBuf,
    },
    /// The system said no, about the source or about the store.
    #[error("{}: {source}", path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// A sync that was due first did not succeed.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

/// Why blobs are not durable.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// No room for the index. What was put stays visible and can be synced later.
    #[error("no room for the blob store's index: {why}; free some space on its disk")]
    Full {
        /// What was asked for and what there is.
        why: String,
    },
    /// Not in the store.
    #[error("blob {0} is not in the store")]
    Missing(BlobId),
    /// Any other failure, fsync above all. It is unknown what is on disk: end the process, do not retry.
    #[error("the blob store failed and this process must end: {0}")]
    Fatal(String),
}

/// Why a blob cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not in the store.
    #[error("blob {0} is not in the store")]
    Missing(BlobId),
    /// Its bytes did not match its name. It was dropped; fetch it again.
    #[error("blob {0} was damaged on disk and has been dropped; it has to be fetched again")]
    Damaged(BlobId),
    /// Longer than the reader wants.
    #[error("blob of {len} bytes, at most {max} were wanted")]
    TooLong {
        /// Its length.
        len: u64,
        /// The reader's limit.
        max: u64,
    },
    /// Not a place where a transfer of this blob can start.
    #[error("offset {from} of a blob of {len} bytes: not inside it or not a multiple of {}", crate::PIECE)]
    Offset {
        /// Asked for.
        from: u64,
        /// Length of the blob.
        len: u64,
    },
    /// The system said no, about the store or about the destination.
    #[error("{}: {source}", path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
}

/// Why a transfer stopped. What was good before stays.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The piece at this offset is not of this blob: the sender lies or the line is broken.
    #[error("the piece at offset {offset} does not belong to blob {id}")]
    BadPiece {
        /// The blob.
        id: BlobId,
        /// Good bytes before it.
        offset: u64,
    },
    /// The stream ended or failed early.
    #[error("the transfer of blob {id} broke off at {offset} of {len} bytes: {source}")]
    Broken {
        /// The blob.
        id: BlobId,
        /// Good bytes so far.
        offset: u64,
        /// Its length.
        len: u64,
        /// Why.
        source: io::Error,
    },
    /// `finish` before all bytes came.
    #[error("only {offset} of {len} bytes of blob {id} have come")]
    Incomplete {
        /// The blob.
        id: BlobId,
        /// Good bytes so far.
        offset: u64,
        /// Its length.
        len: u64,
    },
    /// The store did not take it.
    #[error(transparent)]
    Put(#[from] PutError),
}

/// Whether an error says that there is no room, rather than that something is broken.
pub(crate) fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

impl PutError {
    /// Whether all that is wrong is a full disk.
    pub fn is_full(&self) -> bool {
        matches!(self, PutError::Full { .. } | PutError::Sync(SyncError::Full { .. }))
    }
    /// Whether the process has to end (P2).
    pub fn is_fatal(&self) -> bool {
        matches!(self, PutError::Sync(SyncError::Fatal(_)))
    }
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        PutError::Io { path: path.to_owned(), source }
    }
}

impl ReadError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        ReadError::Io { path: path.to_owned(), source }
    }
}
