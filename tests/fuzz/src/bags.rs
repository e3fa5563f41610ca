//! Bags of divisible tasks: they come from other nodes, anything may be in them.

use filch_handlers::{DivisibleKind, Progress, Uts};
use filch_types::limits;

/// Units of work that one input may cost.
const BUDGET: u64 = 20_000;

/// A bag that is accepted is worked off for a while, split and packed; whatever was packed is accepted again.
pub fn bags(bytes: &[u8]) {
    let Ok(mut work) = Uts.unpack(bytes) else { return };
    let mut spent = 0;
    let mut rounds = 0;
    while spent < BUDGET && rounds < 64 {
        rounds += 1;
        match work.process(500) {
            Ok(Progress::More(n)) => {
                assert!(n > 0, "a step that does nothing never ends");
                spent += n;
            }
            Ok(Progress::Done(_)) => {
                assert_eq!(work.left(), 0);
                break;
            }
            Err(why) => return assert!(!why.is_empty()),
        }
        if let Some(part) = work.split(2) {
            taken(&part);
        }
    }
    assert_eq!(work.tally().len(), Uts.reduce().len());
    taken(&work.pack());
}

fn taken(bag: &[u8]) {
    if bag.len() <= limits::MAX_BAG {
        assert!(Uts.unpack(bag).is_ok(), "what a bag packs is a bag");
    }
}
