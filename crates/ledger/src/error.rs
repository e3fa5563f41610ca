//! One enum per operation.

use std::path::PathBuf;

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another filch node; stop that one first or choose another data directory", path.display())]
    Locked {
        /// The ledger.
        path: PathBuf,
    },
    /// Written by a newer filch.
    #[error(
        "{} has format version {found}, this filch reads up to {known}; upgrade filch or choose another data directory",
        path.display()
    )]
    NewerVersion {
        /// The ledger.
        path: PathBuf,
        /// Version of the directory.
        found: u32,
        /// Highest version that this build reads.
        known: u32,
    },
    /// Not a ledger, or damaged beyond what a crash does.
    #[error(
        "{} is not a readable ledger ({why}); move it away and start again: jobs with copies on other nodes come back from there",
        path.display()
    )]
    Corrupt {
        /// The ledger.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The system said no.
    #[error("cannot open the ledger {}: {source}", path.display())]
    Io {
        /// The ledger.
        path: PathBuf,
        /// Its reason.
        source: std::io::Error,
    },
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The storage failed or is damaged. What was committed before may be unreadable; end the process.
    #[error("the ledger cannot be read: {0}")]
    Storage(String),
    /// The disk is full and the ledger waits for room to become usable again.
    #[error("the ledger is waiting for room on its disk: {0}")]
    Full(String),
}

/// Why a group was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// No room. Nothing of the group was kept; later commits may succeed.
    #[error("no room for the ledger: {why}; free some space on its disk")]
    Full {
        /// What was asked for and what there is.
        why: String,
    },
    /// Any other failure, fsync above all. It is unknown what is on disk: end the process, do not retry.
    #[error("the ledger failed and this process must end: {0}")]
    Fatal(String),
}
