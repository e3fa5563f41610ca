//! Bytes named by their BLAKE3 hash, on disk.
//!
//! # On disk
//! ```text
//! lock                 held by the one process that has the store open
//! index.redb           which blobs there are, where, and which jobs hold them; what it does not name does not exist
//! index.damaged        the index before, if it was damaged
//! packs/00000001       blobs of up to 1 MiB, one after another, each behind a header that names it
//! files/ab/abcd…       one larger blob each, and beside it abcd….obao, the inner nodes of its hash tree
//! partial/abcd…        larger blobs on their way in, with an .obao of what has been verified
//! tmp/                 files being written; emptied at open
//! ```
//!
//! # Durability
//! `put_*` makes a blob visible in this process, `sync` makes it durable: pack and files are fsynced, then directories, then one
//! redb transaction commits the rows of everything put so far. So a row never names bytes that are not on disk, and after a
//! crash a blob is there whole or not at all: a tail of the pack or a file without a row is cut off or removed at open.
//! Callers that sync at the same time share one round.
//!
//! # Trust
//! Nothing that is read is believed: whole blobs are hashed, streams and transfers are checked piece by piece against the hash
//! tree before a byte is handed on. What does not match is dropped from the store and reported, so that it is fetched again.
//! The tree beside a large blob is only a cache, rebuilt from the blob when it does not match. So is the index in the end: one that
//! is damaged is made again from packs and files, every blob hashed; only who holds what has to be said again.

mod error;
mod flush;
mod index;
mod layout;
mod packs;
mod pieces;
mod put;
mod read;
mod rebuild;
mod receive;
mod retain;
mod scrub;
mod state;
mod store;

pub use crate::error::{OpenError, PutError, ReadError, ReceiveError, SyncError};
pub use crate::read::BlobReader;
pub use crate::rebuild::Rebuilt;
pub use crate::receive::Receiver;
pub use crate::scrub::{ScrubCursor, Scrubbed};
pub use crate::store::{BlobStore, Fsync, OnDamage, Options, SystemFsync, Take, Usage};

/// Bytes of one verified piece; transfers start at multiples of it.
pub const PIECE: u64 = 16 * 1024;
/// Bytes of the longest blob that is packed with others instead of getting a file of its own. Up to here a copy is cheaper
/// than an fsync of its own, and small enough to be hashed in memory.
pub const PACKED_MAX: u64 = 1 << 20;
/// Bytes of the longest blob there can be.
pub const MAX_BLOB: u64 = 1 << 46;
/// Version of the directory format that this build writes.
pub const FORMAT: u64 = 1;
