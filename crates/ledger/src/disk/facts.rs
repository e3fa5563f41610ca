//! Where a fact is. Ids are random, and a tree keyed by them writes a page per fact; so facts are kept in the order in which
//! they came, job by job, and their places are remembered in memory, found again by the pass over all rows that a start makes.

use std::collections::HashMap;

use filch_types::{FactId, JobId};

/// Places of all facts: about 20 bytes each. Only hints: who follows one looks at what is there.
#[derive(Debug, Default)]
pub(super) struct FactIndex {
    places: HashMap<u64, u64>,
    /// Facts whose short key is another's already.
    more: HashMap<(JobId, FactId), u64>,
    /// The number of the next fact.
    pub(super) next: u64,
}

fn short(job: JobId, id: FactId) -> u64 {
    let word = |bytes: &[u8; 32]| bytes.first_chunk().map_or(0, |w| u64::from_le_bytes(*w));
    word(&job.0) ^ word(&id.0)
}

impl FactIndex {
    /// Numbers under which the fact may be.
    pub(super) fn places(&self, job: JobId, id: FactId) -> impl Iterator<Item = u64> + use<> {
        let more = if self.more.is_empty() { None } else { self.more.get(&(job, id)).copied() };
        self.places.get(&short(job, id)).copied().into_iter().chain(more)
    }

    pub(super) fn insert(&mut self, job: JobId, id: FactId, number: u64) {
        self.next = self.next.max(number.saturating_add(1));
        match self.places.entry(short(job, id)) {
            std::collections::hash_map::Entry::Vacant(free) => drop(free.insert(number)),
            std::collections::hash_map::Entry::Occupied(taken) if *taken.get() == number => {}
            std::collections::hash_map::Entry::Occupied(_) => drop(self.more.insert((job, id), number)),
        }
    }

    pub(super) fn remove(&mut self, job: JobId, id: FactId) {
        if self.more.remove(&(job, id)).is_none() {
            self.places.remove(&short(job, id));
        }
    }

    /// Nothing is where the fact was. False if it was not said to be there.
    pub(super) fn forget(&mut self, job: JobId, id: FactId, number: u64) -> bool {
        if self.more.get(&(job, id)) == Some(&number) {
            return self.more.remove(&(job, id)).is_some();
        }
        let short = short(job, id);
        self.places.get(&short) == Some(&number) && self.places.remove(&short).is_some()
    }

    /// After a commit.
    pub(super) fn apply(&mut self, changes: Changes) {
        for ((job, id), number) in changes.facts {
            match number {
                Some(number) => self.insert(job, id, number),
                None => self.remove(job, id),
            }
        }
        self.next = self.next.max(changes.next);
    }
}

/// What a transaction does to the index, once it is committed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The new number of a fact, or that it is gone.
    pub(super) facts: HashMap<(JobId, FactId), Option<u64>>,
    pub(super) next: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_with_the_same_short_key_do_not_hide_each_other() {
        let mut index = FactIndex::default();
        let job = JobId([1; 32]);
        let (a, mut b) = (FactId([2; 32]), FactId([2; 32]));
        b.0[31] = 9;
        assert_eq!(short(job, a), short(job, b));
        index.insert(job, a, 5);
        index.insert(job, b, 6);
        assert!(index.places(job, a).any(|n| n == 5) && index.places(job, b).any(|n| n == 6));
        assert_eq!(index.next, 7);
        index.remove(job, b);
        assert!(index.places(job, a).any(|n| n == 5));
        index.insert(job, b, 8);
        index.remove(job, a);
        assert!(index.places(job, b).any(|n| n == 8));
    }
}
