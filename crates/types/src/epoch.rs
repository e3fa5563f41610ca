//! Terms of office of a job's stewards, and the numbers of the attempts that they grant (P7, P13).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::NodeId;

/// Bits of a number that name who is in office.
const NAME_BITS: u32 = 20;
/// Bits of an attempt number that count the grants of one task in one epoch.
const GRANT_BITS: u32 = 16;
/// Attempt numbers stay below 2^53, so that JSON carries them.
const MAX_ROUND: u64 = (1 << (53 - NAME_BITS - GRANT_BITS)) - 1;

/// One term of office. Later rounds are greater. Two members that take the same round, neither knowing of the other, differ by their names:
/// a place in the list of replicas would not do, since two members that were added in a partition can have the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(u64);

impl Epoch {
    /// The submitter's own, from the moment of the submission. Nobody else can be in office then.
    pub const FIRST: Epoch = Epoch(0);

    /// Of a member of R that takes over. `round` counts from 1.
    pub fn new(round: u32, by: &NodeId) -> Self {
        Epoch(u64::from(round) << NAME_BITS | name(by))
    }

    /// How often the office changed hands, at least.
    pub fn round(self) -> u32 {
        u32::try_from(self.0 >> NAME_BITS).unwrap_or(u32::MAX)
    }

    /// Whether `node` is who took office. Not known of the first epoch.
    pub fn is_of(self, node: &NodeId) -> bool {
        self != Self::FIRST && self.0 & ((1 << NAME_BITS) - 1) == name(node)
    }

    /// The number of a task's `grants`-th attempt in this epoch; below 2^53. Unique for 131,071 rounds of 65,535 grants.
    pub fn attempt(self, grants: u32) -> u64 {
        let grants = u64::from(grants).min((1 << GRANT_BITS) - 1);
        let round = (self.0 >> NAME_BITS).min(MAX_ROUND);
        (round << NAME_BITS | self.0 & ((1 << NAME_BITS) - 1)) << GRANT_BITS | grants
    }

    /// In which one an attempt was granted.
    pub fn of_attempt(attempt: u64) -> Self {
        Epoch(attempt >> GRANT_BITS)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:05x}", self.round(), self.0 & ((1 << NAME_BITS) - 1))
    }
}

fn name(node: &NodeId) -> u64 {
    let hash = blake3::hash(node.as_bytes());
    let [a, b, c, ..] = *hash.as_bytes();
    u64::from(u32::from_le_bytes([a, b, c, 0])) & ((1 << NAME_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId([1; 32]);
    const B: NodeId = NodeId([2; 32]);

    #[test]
    fn p13_two_that_take_the_same_round_grant_different_numbers() {
        let (a, b) = (Epoch::new(3, &A), Epoch::new(3, &B));
        assert_ne!(a.attempt(1), b.attempt(1));
        assert!(a.is_of(&A) && !a.is_of(&B));
        assert!(Epoch::new(4, &A) > a.max(b));
    }

    #[test]
    fn attempt_numbers_name_their_epoch_and_fit_json() {
        let last = Epoch::new(u32::MAX, &A);
        assert!(last.attempt(u32::MAX) < 1 << 53);
        assert_eq!(Epoch::FIRST.attempt(7), 7);
        let e = Epoch::new(131_071, &B);
        assert_eq!(Epoch::of_attempt(e.attempt(9)), e);
        assert!(e.attempt(1) > Epoch::new(131_070, &B).attempt(65_535));
    }
}
