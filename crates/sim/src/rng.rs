//! Randomness of the world: one ChaCha8 stream per model, so that a draw in one never shifts another.

use filch_types::BlobId;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Where dice get their numbers from.
pub trait Source {
    /// 64 bits.
    fn bits(&mut self) -> u64;
    /// Less than `n`, which is at least 1.
    fn below(&mut self, n: u64) -> u64;
    /// Fills these bytes.
    fn fill(&mut self, out: &mut [u8]);
}

impl Source for ChaCha8Rng {
    fn bits(&mut self) -> u64 {
        self.next_u64()
    }
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }
    fn fill(&mut self, out: &mut [u8]) {
        self.fill_bytes(out);
    }
}

/// Bytes that somebody else makes up, a fuzzer say: every choice takes as few of them as it needs, so that a changed byte
/// changes one choice. After the last one all choices are 0.
#[derive(Clone, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    fn take(&mut self, count: usize) -> u64 {
        let (now, later) = self.0.split_at(count.min(self.0.len()));
        self.0 = later;
        now.iter().fold(0, |sum, b| sum << 8 | u64::from(*b))
    }
}

impl Source for Bytes<'_> {
    fn bits(&mut self) -> u64 {
        self.take(8)
    }
    fn below(&mut self, n: u64) -> u64 {
        let largest = n.saturating_sub(1);
        let bytes = (u64::BITS - largest.leading_zeros()).div_ceil(8);
        self.take(bytes as usize) % n.max(1)
    }
    fn fill(&mut self, out: &mut [u8]) {
        out.iter_mut().for_each(|b| *b = self.take(1) as u8);
    }
}

/// One stream of dice. Integers only: the same on every platform.
#[derive(Clone, Debug)]
pub struct Dice<S = ChaCha8Rng>(S);

impl Dice {
    /// The stream `name` of `seed`.
    pub fn stream(seed: u64, name: &str) -> Self {
        let mut text = seed.to_le_bytes().to_vec();
        text.extend_from_slice(name.as_bytes());
        Self(ChaCha8Rng::from_seed(BlobId::of(&text).0))
    }
}

impl<'a> Dice<Bytes<'a>> {
    /// Dice that fall as these bytes say.
    pub fn bytes_of(bytes: &'a [u8]) -> Self {
        Self(Bytes(bytes))
    }
}

impl<S: Source> Dice<S> {
    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.bits()
    }
    /// Less than `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.0.below(n) }
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
        self.0.fill(&mut out);
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
    fn bytes_are_used_one_choice_at_a_time() {
        let mut d = Dice::bytes_of(&[7, 1, 2, 255]);
        assert_eq!((d.below(1), d.below(256), d.below(1000), d.below(10)), (0, 7, 0x102, 5));
        assert_eq!((d.below(10), d.between(3, 9), d.bits(), d.bytes::<2>()), (0, 3, 0, [0, 0]), "after the last");
    }

    #[test]
    fn the_tail_has_its_mean() {
        let mut d = Dice::stream(1, "tail");
        let sum: u64 = (0..100_000).map(|_| d.tail(1000)).sum();
        assert!((900..1200).contains(&(sum / 100_000)), "{sum}");
    }
}
