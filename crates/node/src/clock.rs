//! The only place of a node that reads a clock for the protocol.

use std::time::Duration;

use filch_types::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_BOOTTIME`: monotonic and counting suspend, so that a lease runs out while the lid is closed (P8).
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Microseconds since the machine booted.
    pub fn now(self) -> Timestamp {
        let t = clock_gettime(ClockId::Boottime);
        let secs = u64::try_from(t.tv_sec).unwrap_or(0);
        let micros = u64::try_from(t.tv_nsec).unwrap_or(0) / 1000;
        Timestamp(secs.saturating_mul(1_000_000).saturating_add(micros))
    }
    /// How long until `at`; zero if it has passed.
    pub fn until(self, at: Timestamp) -> Duration {
        Duration::from_micros(at.since(self.now()).0)
    }
    /// Wall clock, milliseconds since 1970; for display only.
    pub fn wall_ms(self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
