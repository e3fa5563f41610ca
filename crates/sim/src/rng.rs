//! Randomness of the world: one ChaCha8 stream per model, so that a draw in one never shifts another.

use filch_types::BlobId;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// One stream of dice. Integers only: the same on every platform.
#[derive(Clone, Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream `name` of `seed`.
    pub fn stream(seed: u64, name: &str) -> Self {
        let mut text = seed.to_le_bytes().to_vec();
        text.extend_from_slice(name.as_bytes());
        Self(ChaCha8Rng::from_seed(BlobId::of(&text).0))
    }
    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }
    /// Less than `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64 }
    }
    /// From `lo` to `hi`, both possible.
    pub fn between(&mut self, lo: u64, hi: u64) -> u64 {
        lo + self.below(hi.saturating_sub(lo).saturating_add(1))
    }
    /// True in `ppm` cases of a million. Draws nothing at 0.
    pub fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < u64::from(ppm)
    }
    /// True in one case of `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    /// One of them.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.below(of.len() as u64) as usize).copied()
    }
    /// About exponential with this mean: halves as often as coins fall, then uniform within the octave.
    pub fn tail(&mut self, mean: u64) -> u64 {
        let coins = u64::from(self.bits().leading_zeros()).min(20);
        // An octave is mean * ln 2 long.
        let octave = (mean.saturating_mul(693) / 1000).max(1);
        octave * coins + self.below(octave + 1)
    }
    /// Between `lo` and `hi`, each order of magnitude as likely as another.
    pub fn log_between(&mut self, lo: u64, hi: u64) -> u64 {
        let (lo, hi) = (lo.max(1), hi.max(lo).max(1));
        let octaves = u64::from(hi.ilog2() - lo.ilog2());
        let top = lo.saturating_mul(1 << self.between(0, octaves).min(62));
        self.between(top.min(hi), top.saturating_mul(2).min(hi))
    }
    /// Random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.0.fill_bytes(&mut out);
        out
    }
    /// Puts them in any order.
    pub fn shuffle<T>(&mut self, of: &mut [T]) {
        for i in (1..of.len()).rev() {
            of.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_repeatable_and_apart() {
        let draw = |name| (0..8).map(|_| 0).scan(Dice::stream(7, name), |d, _: u64| Some(d.bits())).collect::<Vec<_>>();
        assert_eq!(draw("net"), draw("net"));
        assert_ne!(draw("net"), draw("disk"));
    }

    #[test]
    fn the_tail_has_its_mean() {
        let mut d = Dice::stream(1, "tail");
        let sum: u64 = (0..100_000).map(|_| d.tail(1000)).sum();
        assert!((900..1200).contains(&(sum / 100_000)), "{sum}");
    }
}
