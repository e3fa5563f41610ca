//! Keeps `NetEvent::Refused` readable: the same refusal of the same peer is told once in a while, and not more than a table full.

use std::collections::HashMap;
use std::time::{Duration, Instant};

const AGAIN: Duration = Duration::from_secs(300);
const MAX: usize = 256;

#[derive(Default)]
pub(crate) struct Refusals {
    told: HashMap<(String, String), Instant>,
}

impl Refusals {
    /// Whether to tell it now.
    pub fn tell(&mut self, who: &str, why: &str, now: Instant) -> bool {
        let fresh = |at: &Instant| now.saturating_duration_since(*at) < AGAIN;
        let key = (who.to_owned(), why.to_owned());
        if self.told.get(&key).is_some_and(fresh) {
            return false;
        }
        if self.told.len() >= MAX {
            self.told.retain(|_, at| fresh(at));
        }
        if self.told.len() >= MAX {
            return false;
        }
        self.told.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_in_a_while_and_bounded() {
        let now = Instant::now();
        let mut refusals = Refusals::default();
        assert!(refusals.tell("a", "x", now));
        assert!(!refusals.tell("a", "x", now));
        assert!(refusals.tell("a", "y", now));
        assert!(refusals.tell("a", "x", now + AGAIN));
        for i in 0..1000 {
            refusals.tell(&i.to_string(), "x", now + AGAIN);
        }
        assert!(refusals.told.len() <= MAX);
        assert!(refusals.tell("a", "z", now + 2 * AGAIN));
    }
}
