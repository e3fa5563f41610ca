//! A running digest of everything that happened, to check that a seed determines a run.

use std::fmt::{self, Write};

/// Order-dependent, fast, not for adversaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Adds one word.
    pub fn mix(&mut self, word: u64) {
        let x = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = x ^ (x >> 29);
    }
    /// Adds what `{:?}` prints: slow, and sees every field.
    pub fn mix_debug(&mut self, what: &dyn fmt::Debug) {
        // Writing into a digest cannot fail.
        let _ = write!(self, "{what:?}");
    }
    /// Its value.
    pub fn value(&self) -> u64 {
        self.0
    }
}

impl Write for Digest {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for chunk in s.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        Ok(())
    }
}
