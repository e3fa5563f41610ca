//! How fast a job goes, over the last seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::render::words;

/// What counts as "the last seconds".
const WINDOW: Duration = Duration::from_secs(15);
/// Between samples.
const SAMPLE: Duration = Duration::from_millis(200);

/// Samples of what is done; at most `WINDOW / SAMPLE` and one.
#[derive(Debug, Default)]
pub(super) struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// So much is done now.
    pub(super) fn sample(&mut self, now: Instant, done: u64) {
        if self.samples.back().is_some_and(|(at, _)| now.saturating_duration_since(*at) < SAMPLE) {
            return;
        }
        self.samples.push_back((now, done));
        while self.samples.len() > 2
            && self.samples.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// `12.5/s, 3m left`; empty as long as nothing can be said.
    pub(super) fn phrase(&self, left: u64) -> String {
        let (Some((from, before)), Some((to, done))) = (self.samples.front(), self.samples.back()) else {
            return String::new();
        };
        let seconds = to.saturating_duration_since(*from).as_secs_f64();
        let rate = done.saturating_sub(*before) as f64 / seconds;
        if !rate.is_finite() || rate <= 0.0 {
            return String::new();
        }
        let speed = if rate < 100.0 { format!("{rate:.1}/s") } else { format!("{rate:.0}/s") };
        if left == 0 {
            return speed;
        }
        let secs = (left as f64 / rate).ceil().clamp(1.0, 1e9) as u64;
        format!("{speed}, {} left", words::span(secs.saturating_mul(1000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_seconds_count() {
        let begun = Instant::now();
        let mut rate = Rate::default();
        assert_eq!(rate.phrase(5), "");
        // A job that is half done when it is first looked at is not fast.
        rate.sample(begun, 500);
        assert_eq!(rate.phrase(500), "");
        rate.sample(begun + Duration::from_millis(100), 900);
        rate.sample(begun + Duration::from_secs(2), 520);
        assert_eq!(rate.phrase(480), "10.0/s, 48s left");
        for s in 3..60 {
            rate.sample(begun + Duration::from_secs(s), 520 + 1000 * s);
        }
        assert_eq!(rate.phrase(90_000), "1000/s, 1m30s left");
        assert_eq!(rate.phrase(0), "1000/s");
        assert!(rate.samples.len() <= 17);
    }
}
