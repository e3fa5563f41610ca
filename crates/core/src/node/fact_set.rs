//! The facts of a job as a set that two members compare by parts of it (P10).

use std::collections::BTreeSet;

use filch_types::FactId;
use filch_types::limits::{MAX_BUCKET_BITS, MIN_BUCKET_BITS};

/// Ids per bucket, about: one fact that one side lacks costs the listing of its bucket.
const PER_BUCKET: usize = 16;
/// Sets below this size are counted when asked: most nodes only help with a job and keep few of its facts.
const KEPT_FROM: usize = 64;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct FactSet {
    ids: BTreeSet<FactId>,
    xor: FactId,
    /// The buckets, kept so that comparing a large set does not walk it. Empty below `KEPT_FROM`.
    words: Vec<u64>,
}

/// The bucket of an id among `1 << bits`: by its first bits.
fn place(id: &FactId, bits: u32) -> usize {
    usize::from(u16::from_be_bytes([id.0[0], id.0[1]]) >> (16 - bits))
}

/// What an id adds to its bucket: bytes that the choice of the bucket did not use.
fn word(id: &FactId) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&id.0[2..10]);
    u64::from_le_bytes(word)
}

/// The number of bits that `n` buckets are numbered with, if it is one that may be compared.
pub(crate) fn bits_of(n: usize) -> Option<u32> {
    let bits = n.checked_ilog2()?;
    (n.is_power_of_two() && (MIN_BUCKET_BITS..=MAX_BUCKET_BITS).contains(&bits)).then_some(bits)
}

impl FactSet {
    /// Whether it was not there.
    pub fn insert(&mut self, id: FactId) -> bool {
        let new = self.ids.insert(id);
        if new {
            self.flip(&id);
            if self.ids.len() >= KEPT_FROM && self.words.len() < 1 << self.bits() {
                self.words = self.count(self.bits());
            }
        }
        new
    }

    /// Whether it was there.
    pub fn remove(&mut self, id: &FactId) -> bool {
        let old = self.ids.remove(id);
        if old {
            self.flip(id);
        }
        old
    }

    fn flip(&mut self, id: &FactId) {
        self.xor.0.iter_mut().zip(id.0).for_each(|(x, b)| *x ^= b);
        if let Some(bits) = bits_of(self.words.len()) {
            self.words[place(id, bits)] ^= word(id);
        }
    }

    fn count(&self, bits: u32) -> Vec<u64> {
        let mut out = vec![0; 1 << bits];
        self.ids.iter().for_each(|id| out[place(id, bits)] ^= word(id));
        out
    }

    pub fn contains(&self, id: &FactId) -> bool {
        self.ids.contains(id)
    }
    pub fn iter(&self) -> impl Iterator<Item = &FactId> {
        self.ids.iter()
    }
    /// Number of facts and XOR of their ids.
    pub fn digest(&self) -> (u32, FactId) {
        (self.ids.len() as u32, self.xor)
    }

    /// With how many bits the buckets of a set of this size are numbered.
    pub fn bits(&self) -> u32 {
        let wanted = self.ids.len().div_ceil(PER_BUCKET).max(1).next_power_of_two().ilog2();
        wanted.clamp(MIN_BUCKET_BITS, MAX_BUCKET_BITS)
    }

    /// Eight bytes of the XOR of the ids per bucket.
    pub fn buckets(&self, bits: u32) -> Vec<u64> {
        match bits_of(self.words.len()) {
            Some(kept) if kept >= bits => {
                let merged = 1 << (kept - bits);
                self.words.chunks(merged).map(|c| c.iter().fold(0, |x, w| x ^ w)).collect()
            }
            _ => self.count(bits),
        }
    }

    /// The ids in a bucket.
    pub fn bucket(&self, n: u16, bits: u32) -> impl Iterator<Item = FactId> + '_ {
        let first = n << (16 - bits);
        let last = first | (u16::MAX >> bits);
        let id = |start: u16, rest: u8| {
            let mut id = [rest; 32];
            id[..2].copy_from_slice(&start.to_be_bytes());
            FactId(id)
        };
        self.ids.range(id(first, 0)..=id(last, 0xff)).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(seed: u32, n: u32) -> Vec<FactId> {
        (0..n).map(|i| FactId::of(&(u64::from(seed) << 32 | u64::from(i)).to_le_bytes())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn kept_buckets_are_the_counted_ones(seed: u32, n in 0u32..9000, gone in 0usize..200) {
            let mut set = FactSet::default();
            let all = ids(seed, n);
            all.iter().for_each(|id| prop_assert_ok(set.insert(*id)));
            all.iter().take(gone).for_each(|id| prop_assert_ok(set.remove(id)));
            for bits in MIN_BUCKET_BITS..=MAX_BUCKET_BITS {
                prop_assert_eq!(set.buckets(bits), set.count(bits));
                let listed: Vec<FactId> = (0..1u16 << bits).flat_map(|b| set.bucket(b, bits)).collect();
                prop_assert_eq!(listed, set.iter().copied().collect::<Vec<_>>());
            }
        }
    }

    fn prop_assert_ok(changed: bool) {
        assert!(changed, "ids differ");
    }

    #[test]
    fn only_powers_of_two_within_the_limits_are_compared() {
        let fit: Vec<usize> = (0..10_000).filter(|n| bits_of(*n).is_some()).collect();
        assert_eq!(fit, [256, 512, 1024, 2048, 4096]);
    }
}
