//! How many units a step is.

use std::time::Duration;

/// Time of a step: a thief waits about so long for its answer, and reading the clock once a step costs next to nothing.
const STEP: Duration = Duration::from_micros(200);
/// Units of the first step, when nothing is known.
const FIRST: u64 = 16;
/// Growth from one step to the next, at most: a first estimate from a few units is a guess.
const GROWTH: u64 = 8;
/// Units of a step, at most.
const MOST: u64 = 1 << 24;
/// Weight of the newest step in the estimate.
const NEWEST: f64 = 0.25;

/// Learns how fast a slot works off the bag in hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    budget: u64,
    /// Units in a nanosecond; 0 as long as nothing is known.
    rate: f64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { budget: FIRST, rate: 0.0 }
    }
    /// Units of the next step.
    pub(super) fn budget(&self) -> u64 {
        self.budget
    }
    /// A step of so many units took so long.
    pub(super) fn learn(&mut self, units: u64, took: Duration) {
        let newest = units as f64 / (took.as_nanos().max(1) as f64);
        self.rate = if self.rate == 0.0 { newest } else { self.rate + NEWEST * (newest - self.rate) };
        self.budget = self.units(STEP).clamp(1, self.budget.saturating_mul(GROWTH).min(MOST));
    }
    /// Units that this slot works off in so long; 1 as long as nothing is known.
    pub(super) fn units(&self, time: Duration) -> u64 {
        // Saturates, which is what is wanted.
        ((self.rate * time.as_nanos() as f64) as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of a handler that takes so long for a unit; how long the last one took.
    fn after(steps: usize, unit: Duration) -> (Pace, Duration) {
        let mut pace = Pace::new();
        let mut took = Duration::ZERO;
        for _ in 0..steps {
            took = unit.saturating_mul(u32::try_from(pace.budget()).unwrap());
            pace.learn(pace.budget(), took);
        }
        (pace, took)
    }

    #[test]
    fn steps_become_as_long_as_they_should() {
        for unit in [Duration::from_nanos(5), Duration::from_nanos(80), Duration::from_micros(10)] {
            let (pace, took) = after(12, unit);
            assert!(took <= STEP && took >= STEP / 2, "{unit:?}: {took:?}");
            let ms = pace.units(Duration::from_millis(1)) as u128;
            assert!(ms.abs_diff(1_000_000 / unit.as_nanos()) <= 1 + ms / 50, "{unit:?}: {ms}");
        }
        assert_eq!(after(3, Duration::from_millis(20)).0.budget(), 1, "slow units go one by one");
    }

    #[test]
    fn neither_zero_nor_without_end() {
        let mut pace = Pace::new();
        assert_eq!(pace.units(Duration::from_secs(1)), 1);
        for _ in 0..64 {
            pace.learn(u64::MAX, Duration::ZERO);
        }
        assert_eq!(pace.budget(), MOST);
        assert_eq!(pace.units(Duration::MAX), u64::MAX);
        pace.learn(0, Duration::MAX);
        assert!(pace.budget() >= 1);
    }
}
