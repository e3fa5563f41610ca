//! The core's own time.

use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// Microseconds on one node's monotonic clock, which counts suspend. Never compared across nodes (P8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

/// A span in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span(pub u64);

impl Span {
    /// From milliseconds.
    pub const fn millis(ms: u64) -> Self {
        Self(ms * 1000)
    }
    /// From seconds.
    pub const fn secs(s: u64) -> Self {
        Self(s * 1_000_000)
    }
    /// Whole milliseconds, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }
}

impl Timestamp {
    /// The time since `earlier`, zero if that lies ahead.
    #[inline]
    pub fn since(self, earlier: Timestamp) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Span> for Timestamp {
    type Output = Timestamp;
    #[inline]
    fn add(self, s: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(s.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Timestamp;
    #[inline]
    fn sub(self, s: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub(s.0))
    }
}
