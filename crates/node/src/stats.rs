//! What this process counted, for `/metrics` and `GET /v1/node`. The core counts its own.

use std::sync::atomic::{AtomicU64, Ordering};

/// One monotonic counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
    /// So many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! stats {
    ($($name:ident: $help:literal,)*) => {
        /// Monotonic counters since start.
        #[derive(Debug, Default)]
        pub struct Stats { $(#[doc = $help] pub $name: Count,)* }

        impl Stats {
            /// Every counter: name, what it counts, value.
            pub fn all(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), $help, self.$name.get()),)*]
            }
        }
    };
}

stats! {
    bytes_fetched: "Blob bytes fetched from peers",
    bytes_served: "Blob bytes served to peers",
    blobs_fetched: "Blobs fetched from peers",
    fetch_errors: "Tries to fetch blobs from one peer that failed",
    serve_refused: "Streams of peers refused because too many were open",
    commits: "Transactions of the ledger, each with one fsync",
    records: "Records committed to the ledger",
    commit_failures: "Groups of records refused because the disk was full",
    net_dropped: "Inputs from peers dropped because the driver was behind",
    net_overflow: "Commands to the network dropped because its queue was full",
    scrub_bytes: "Bytes looked at by the walk that finds rot",
    scrub_blobs: "Blobs looked at by it",
    scrub_damaged: "Blobs that it found damaged",
    scrub_unreadable: "Blobs that it could not read",
    scrub_passes: "Walks over all blobs that came to their end",
    files_delivered: "Output files written for submitters",
    requests: "Requests to the local API",
}
