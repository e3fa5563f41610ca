//! A node's own clock: offset, drift and jumps against the world's time.

use filch_types::Timestamp;

/// Maps virtual world time (microseconds) to what one node reads, and back. Never runs backwards: the product reads a
/// monotonic clock that counts suspend.
#[derive(Clone, Debug)]
pub struct Clock {
    base_world: u64,
    base_local: u64,
    ppm: i64,
}

impl Clock {
    /// Shows `offset` at world time `now` and runs `ppm` millionths too fast (or too slow if negative).
    pub fn new(now: u64, offset: u64, ppm: i32) -> Self {
        Self { base_world: now, base_local: offset, ppm: i64::from(ppm).clamp(-500_000, 500_000) }
    }
    fn rate(&self) -> u128 {
        (1_000_000 + self.ppm) as u128
    }
    /// What the node reads at world time `now`.
    pub fn local(&self, now: u64) -> Timestamp {
        let gone = u128::from(now.saturating_sub(self.base_world));
        Timestamp(self.base_local.saturating_add((gone * self.rate() / 1_000_000) as u64))
    }
    /// The first world time at which the node reads `at` or more.
    pub fn world(&self, at: Timestamp) -> u64 {
        let gone = u128::from(at.0.saturating_sub(self.base_local));
        let world = (gone * 1_000_000).div_ceil(self.rate());
        self.base_world.saturating_add(u64::try_from(world).unwrap_or(u64::MAX))
    }
    /// Jumps ahead by `by` microseconds at world time `now`.
    pub fn jump(&mut self, now: u64, by: u64) {
        self.base_local = self.local(now).0.saturating_add(by);
        self.base_world = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_never_comes_early() {
        for ppm in [-70_000, -3, 0, 1, 250_000] {
            let mut c = Clock::new(1000, 77, ppm);
            c.jump(5000, 123);
            for at in [0u64, 4_500, 5_000, 123_456_789] {
                let w = c.world(Timestamp(at));
                assert!(c.local(w).0 >= at);
                assert!(w <= 5000 || c.local(w - 1).0 < at);
            }
        }
    }
}
