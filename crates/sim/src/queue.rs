//! The event queue: earliest first, and in the order of their making at the same instant.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

/// Microseconds of one bucket, as a power of two.
const WIDTH_BITS: u32 = 10;
/// Buckets of the ring, about four seconds of them, as a power of two. What comes later waits aside, in stretches of as many.
const RING_BITS: u32 = 12;
const BUCKETS: u64 = 1 << RING_BITS;
const WORDS: u64 = BUCKETS / 64;

/// An event in its place.
struct Entry<E> {
    at: u64,
    seq: u64,
    event: E,
}

impl<E> Entry<E> {
    fn key(&self) -> (u64, u64) {
        (self.at, self.seq)
    }
}
impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl<E> Eq for Entry<E> {}
impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Entry<E> {
    /// The earliest is the greatest: heaps have that on top.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

/// A queue of events in virtual time: only what lies in the present millisecond is kept sorted, so that a large world's queue
/// costs as little per event as a small one's.
pub struct Queue<E> {
    /// The present bucket, and whatever is planned before its end.
    now: BinaryHeap<Entry<E>>,
    /// Its number.
    base: u64,
    /// Those that follow it.
    ring: Vec<Vec<Entry<E>>>,
    /// Which of them have anything in them, a bit each.
    used: [u64; WORDS as usize],
    /// Later ones, by the number of the stretch.
    later: BTreeMap<u64, Vec<Entry<E>>>,
    len: usize,
    seq: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self {
            now: BinaryHeap::new(),
            base: 0,
            ring: (0..BUCKETS).map(|_| Vec::new()).collect(),
            used: [0; WORDS as usize],
            later: BTreeMap::new(),
            len: 0,
            seq: 0,
        }
    }
}

impl<E> Queue<E> {
    /// Adds an event for the time `at`.
    pub fn push(&mut self, at: u64, event: E) {
        self.seq += 1;
        self.len += 1;
        self.place(Entry { at, seq: self.seq, event });
    }
    fn place(&mut self, entry: Entry<E>) {
        let bucket = entry.at >> WIDTH_BITS;
        if bucket <= self.base {
            self.now.push(entry);
        } else if bucket - self.base < BUCKETS {
            let place = bucket % BUCKETS;
            self.ring[place as usize].push(entry);
            self.used[(place / 64) as usize] |= 1 << (place % 64);
        } else {
            self.later.entry(bucket >> RING_BITS).or_default().push(entry);
        }
    }
    /// When the next event is.
    pub fn next_at(&mut self) -> Option<u64> {
        if self.now.is_empty() {
            self.turn();
        }
        self.now.peek().map(|e| e.at)
    }
    /// Takes the next event.
    pub fn pop(&mut self) -> Option<(u64, E)> {
        if self.now.is_empty() {
            self.turn();
        }
        let entry = self.now.pop()?;
        self.len -= 1;
        Some((entry.at, entry.event))
    }
    /// Events waiting.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Makes the next bucket that has anything in it the present one.
    fn turn(&mut self) {
        while self.now.is_empty() {
            let near = self.next_used();
            let far = self.later.first_key_value().map(|(stretch, _)| stretch << RING_BITS);
            match (near, far) {
                (Some(bucket), None) => self.take(bucket),
                (Some(bucket), Some(far)) if bucket < far => self.take(bucket),
                (_, Some(far)) => self.spread(far),
                (None, None) => return,
            }
        }
    }
    /// This bucket of the ring becomes the present one.
    fn take(&mut self, bucket: u64) {
        let place = bucket % BUCKETS;
        let mut entries = std::mem::take(&mut self.now).into_vec();
        entries.append(&mut self.ring[place as usize]);
        self.used[(place / 64) as usize] &= !(1 << (place % 64));
        self.base = bucket;
        self.now = entries.into();
    }
    /// A stretch that begins with this bucket goes into the ring: nothing is left before it.
    fn spread(&mut self, bucket: u64) {
        if bucket > self.base {
            self.take(bucket);
        }
        let entries = self.later.pop_first().map(|(_, entries)| entries).unwrap_or_default();
        entries.into_iter().for_each(|entry| self.place(entry));
    }

    /// The number of the first bucket of the ring that has anything in it.
    fn next_used(&self) -> Option<u64> {
        let first = (self.base + 1) % BUCKETS;
        let (word, bit) = (first / 64, first % 64);
        let at = |w: u64, mask: u64| {
            let w = w % WORDS;
            let bits = self.used[w as usize] & mask;
            (bits != 0).then(|| w * 64 + u64::from(bits.trailing_zeros()))
        };
        // The first word comes twice: from the bit on, and at the end of the round up to it.
        let place = at(word, u64::MAX << bit)
            .or_else(|| (1..WORDS).find_map(|n| at(word + n, u64::MAX)))
            .or_else(|| at(word, !(u64::MAX << bit)))?;
        Some(self.base + 1 + (place + BUCKETS - first) % BUCKETS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Like a sorted list, wherever in time events lie and whatever was taken before.
        #[test]
        fn order_is_that_of_time_and_making(steps in prop::collection::vec((0u8..4, 0u64..40_000_000), 1..400)) {
            let mut queue = Queue::default();
            let mut model: BTreeMap<(u64, u64), u64> = BTreeMap::new();
            let mut now = 0;
            for (n, (what, far)) in steps.into_iter().enumerate() {
                let n = n as u64;
                let ahead = match what {
                    0 => far,
                    1 => far % 5_000,
                    _ => far % 5_000_000,
                };
                if what < 3 {
                    queue.push(now + ahead, n);
                    model.insert((now + ahead, n), n);
                } else {
                    let want = model.pop_first().map(|((at, _), n)| (at, n));
                    prop_assert_eq!(queue.next_at(), want.map(|w| w.0));
                    prop_assert_eq!(queue.pop(), want);
                    now = want.map_or(now, |w| w.0);
                }
                prop_assert_eq!(queue.len(), model.len());
            }
            while let Some(((at, _), n)) = model.pop_first() {
                prop_assert_eq!(queue.pop(), Some((at, n)));
            }
            prop_assert_eq!(queue.pop(), None);
        }
    }
}
