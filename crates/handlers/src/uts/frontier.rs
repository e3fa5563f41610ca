//! The bag of UTS: nodes whose children have not all been visited, oldest first.

use serde::{Deserialize, Serialize};

use filch_types::codec;
use filch_types::limits::MAX_BAG;

use super::sha::{self, State};
use super::tree::{Shape, Tree, TreeError};
use crate::{Divisible, Progress};

/// Entries in a frontier: what a bag of the longest ones can hold.
const MAX_ENTRIES: usize = MAX_BAG / 36;

/// Children of one node that have not been visited: `next..end`.
#[derive(Clone, Copy, Debug)]
struct Entry {
    state: State,
    /// Of the node, not of its children.
    depth: u32,
    next: u32,
    end: u32,
}

impl Entry {
    fn len(&self) -> u32 {
        self.end - self.next
    }
}

/// An entry as it travels.
#[derive(Debug, Serialize, Deserialize)]
struct Packed {
    state: [u8; 20],
    depth: u32,
    next: u32,
    count: u32,
}

/// A frontier as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Bag {
    tree: Tree,
    entries: Vec<Packed>,
}

/// Why a bag that could be decoded is none all the same.
#[derive(Debug, thiserror::Error)]
pub(super) enum BagError {
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("{0}")]
    Entry(&'static str),
}

/// See the module.
pub(super) struct Frontier {
    tree: Tree,
    shape: Shape,
    entries: Vec<Entry>,
    nodes: u64,
    leaves: u64,
    depth: u32,
}

impl Frontier {
    fn new(tree: Tree, entries: Vec<Entry>) -> Self {
        Self { shape: Shape::new(&tree), tree, entries, nodes: 0, leaves: 0, depth: 0 }
    }

    /// The whole tree; its root is counted already.
    pub(super) fn root(tree: Tree) -> Self {
        let mut new = Self::new(tree, Vec::new());
        let state = sha::root(tree.seed());
        let children = match tree {
            Tree::Geometric { .. } => new.shape.children(0, number(&state)),
            Tree::Binomial { b0, .. } => b0,
        };
        new.nodes = 1;
        if children == 0 {
            new.leaves = 1;
        } else {
            new.entries.push(Entry { state, depth: 0, next: 0, end: children });
        }
        new
    }

    /// What another node packed, checked.
    pub(super) fn open(bag: Bag) -> Result<Self, BagError> {
        let tree = bag.tree.check()?;
        if bag.entries.len() > MAX_ENTRIES {
            return Err(BagError::Entry("more entries than a bag holds"));
        }
        let mut entries = Vec::with_capacity(bag.entries.len());
        for p in bag.entries {
            let end = p.next.checked_add(p.count).ok_or(BagError::Entry("children beyond all numbers"))?;
            if p.count == 0 {
                return Err(BagError::Entry("an entry without children"));
            }
            let mut state = State::default();
            for (word, bytes) in state.iter_mut().zip(p.state.as_chunks::<4>().0) {
                *word = u32::from_be_bytes(*bytes);
            }
            entries.push(Entry { state, depth: p.depth, next: p.next, end });
        }
        Ok(Self::new(tree, entries))
    }

    fn worth(&self, entry: &Entry) -> f64 {
        f64::from(entry.len()) * self.shape.worth(entry.depth.saturating_add(1))
    }
}

/// A node's random number, 31 bits.
#[inline]
fn number(state: &State) -> u32 {
    state[4] & 0x7fff_ffff
}

/// How many children of each entry go when every other one does; odd ones out alternate.
fn every_other(entries: &[Entry]) -> impl Iterator<Item = u32> {
    let mut odd = 0;
    entries.iter().map(move |e| {
        let share = (e.len() / 2) + (e.len() % 2) * odd;
        odd ^= e.len() % 2;
        share
    })
}

fn pack(tree: Tree, entries: &[Entry]) -> Vec<u8> {
    let packed = |e: &Entry| {
        let mut state = [0; 20];
        for (bytes, word) in state.as_chunks_mut::<4>().0.iter_mut().zip(e.state) {
            *bytes = word.to_be_bytes();
        }
        Packed { state, depth: e.depth, next: e.next, count: e.len() }
    };
    let bag = Bag { tree, entries: entries.iter().map(packed).collect() };
    // Plain numbers in a vector: there is nothing that could not be encoded.
    codec::encode(&bag, usize::MAX).unwrap_or_default()
}

impl Divisible for Frontier {
    fn process(&mut self, budget: u64) -> Result<Progress, String> {
        let (mut nodes, mut leaves, mut deepest) = (0, 0, self.depth);
        while nodes < budget.max(1) {
            let Some(top) = self.entries.last_mut() else { break };
            let state = sha::child(&top.state, top.next);
            let depth = top.depth.saturating_add(1);
            top.next += 1;
            if top.next == top.end {
                self.entries.pop();
            }
            nodes += 1;
            deepest = deepest.max(depth);
            let children = self.shape.children(depth, number(&state));
            if children == 0 {
                leaves += 1;
            } else if self.entries.len() < MAX_ENTRIES {
                self.entries.push(Entry { state, depth, next: 0, end: children });
            } else {
                return Err(format!(
                    "uts: {} grows beyond {MAX_ENTRIES} open nodes; most likely it is infinite",
                    self.tree
                ));
            }
        }
        self.nodes += nodes;
        self.leaves += leaves;
        self.depth = deepest;
        Ok(if self.entries.is_empty() { Progress::Done(nodes) } else { Progress::More(nodes) })
    }

    fn split(&mut self, least: u64) -> Option<Vec<u8>> {
        let part = |e: &Entry, share: u32| Entry { next: e.end - share, ..*e };
        let gift: Vec<Entry> = self
            .entries
            .iter()
            .zip(every_other(&self.entries))
            .filter(|(_, share)| *share > 0)
            .map(|(e, share)| part(e, share))
            .collect();
        let worth: f64 = gift.iter().map(|e| self.worth(e)).sum();
        if gift.is_empty() || worth < least as f64 {
            return None;
        }
        let shares: Vec<u32> = every_other(&self.entries).collect();
        for (entry, share) in self.entries.iter_mut().zip(shares) {
            entry.end -= share;
        }
        self.entries.retain(|e| e.len() > 0);
        Some(pack(self.tree, &gift))
    }

    fn pack(&self) -> Vec<u8> {
        pack(self.tree, &self.entries)
    }

    fn tally(&self) -> Vec<u64> {
        vec![self.nodes, self.leaves, u64::from(self.depth)]
    }

    fn left(&self) -> u64 {
        let worth: f64 = self.entries.iter().map(|e| self.worth(e)).sum();
        (worth as u64).max(self.entries.len() as u64)
    }
}
