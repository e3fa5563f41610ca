//! How often to ask the LAN for members: often while few are known, hardly ever once the mesh is quiet. Whoever is new asks
//! by itself, so an established node only needs to answer.

use std::time::{Duration, Instant};

const FAST: Duration = Duration::from_secs(2);
const ALONE: Duration = Duration::from_secs(10);
/// Every query is answered by everybody, so the wait grows with the mesh: answers come at one a minute for each peer.
const QUIET_PER_PEER: Duration = Duration::from_secs(60);
const QUIET_MIN: Duration = Duration::from_secs(120);
/// How long a node asks fast after its start, or after it lost everybody.
const EAGER: Duration = Duration::from_secs(20);
const EAGER_ALONE: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Eager,
    Alone,
    Quiet,
}

pub(crate) struct Pace {
    mood: Mood,
    /// When it became eager.
    since: Instant,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Self { mood: Mood::Eager, since: now }
    }

    /// The interval to start with.
    pub fn initial() -> Duration {
        FAST
    }

    /// Some when the interval is to change.
    pub fn update(&mut self, peers: usize, now: Instant) -> Option<Duration> {
        let age = now.saturating_duration_since(self.since);
        let mood = match (self.mood, peers) {
            (Mood::Quiet, 0) => {
                self.since = now;
                Mood::Eager
            }
            (Mood::Eager, 0) if age < EAGER_ALONE => Mood::Eager,
            (_, 0) => Mood::Alone,
            (Mood::Eager, _) if age < EAGER => Mood::Eager,
            (_, _) => Mood::Quiet,
        };
        let changed = mood != self.mood;
        self.mood = mood;
        changed.then(|| match mood {
            Mood::Eager => FAST,
            Mood::Alone => ALONE,
            Mood::Quiet => QUIET_MIN.max(QUIET_PER_PEER.saturating_mul(u32::try_from(peers).unwrap_or(u32::MAX))),
        })
    }

    /// When `update` may say something new without a peer coming or going.
    pub fn deadline(&self, peers: usize) -> Option<Instant> {
        match (self.mood, peers) {
            (Mood::Eager, 0) => Some(self.since + EAGER_ALONE),
            (Mood::Eager, _) => Some(self.since + EAGER),
            (Mood::Alone | Mood::Quiet, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eager_then_quiet_then_eager_when_everybody_is_lost() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.update(3, start + Duration::from_secs(1)), None);
        assert_eq!(pace.deadline(3), Some(start + EAGER));
        assert_eq!(pace.update(31, start + EAGER), Some(31 * QUIET_PER_PEER));
        assert_eq!(pace.deadline(31), None);
        let later = start + Duration::from_secs(1000);
        assert_eq!(pace.update(0, later), Some(FAST));
        assert_eq!(pace.update(0, later + EAGER), None);
        assert_eq!(pace.update(0, later + EAGER_ALONE), Some(ALONE));
        assert_eq!(pace.update(1, later + EAGER_ALONE), Some(QUIET_MIN));
    }
}
