//! What went through the adapter, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counted since the start of the adapter.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct NetCounters {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub $name: AtomicU64,)*
        }

        impl Counters {
            pub fn snapshot(&self) -> NetCounters {
                NetCounters { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Bytes of all streams from peers, before encryption and framing of the transport.
    bytes_in,
    /// The same to peers.
    bytes_out,
    /// One-way messages that came.
    messages_in,
    /// One-way messages that were written.
    messages_out,
    /// One-way messages that were dropped: no connection, or a full queue.
    messages_dropped,
    /// Requests that came.
    requests_in,
    /// Requests that were sent.
    requests_out,
    /// Requests of this node that failed.
    requests_failed,
    /// Requests of others that were not answered in time, or were one too many.
    answers_missed,
    /// Summaries that came by gossip.
    gossip_in,
    /// Summaries that were published.
    gossip_out,
    /// Gossip that was malformed or too much.
    gossip_refused,
    /// Connections and frames that were refused.
    refused,
    /// Commands that found the queue full.
    overflows,
    /// Blob streams that came.
    streams_in,
    /// Blob streams that were opened.
    streams_out,
    /// Dials that were tried.
    dials,
    /// Dials that failed.
    dials_failed,
}

impl Counters {
    pub fn add(&self, counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub fn one(&self, counter: &AtomicU64) {
        self.add(counter, 1);
    }
}
