//! UTS, the Unbalanced Tree Search: counts a tree whose shape only shows while it is searched. The field's benchmark for
//! stealing, since no division in advance is fair.

mod frontier;
mod sha;
mod tree;

use std::str::FromStr;

use filch_types::codec;
use filch_types::limits::MAX_BAG;

use crate::{Divisible, DivisibleKind, Reduce};
use frontier::Frontier;
pub use tree::{Tree, TreeError};

/// The kind `uts`. One argument, the tree; the tally is nodes, leaves, depth; a unit is a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uts;

impl DivisibleKind for Uts {
    fn name(&self) -> &str {
        "uts"
    }
    fn reduce(&self) -> Vec<Reduce> {
        vec![Reduce::Sum, Reduce::Sum, Reduce::Max]
    }
    fn start(&self, args: &[String]) -> Result<Box<dyn Divisible>, String> {
        let [name] = args else {
            return Err(format!("uts: give one tree: {}", tree::FORMS));
        };
        let tree = Tree::from_str(name).map_err(|e| format!("uts: {e}"))?;
        Ok(Box::new(Frontier::root(tree)))
    }
    fn unpack(&self, bag: &[u8]) -> Result<Box<dyn Divisible>, String> {
        let bag = codec::decode(bag, MAX_BAG).map_err(|e| format!("uts: a bag that is none: {e}"))?;
        let frontier = Frontier::open(bag).map_err(|e| format!("uts: a bag that is none: {e}"))?;
        Ok(Box::new(frontier))
    }
}
