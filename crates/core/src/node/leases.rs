//! Who holds what of a job, as its steward knows it. Kept three ways, so that nothing that is done per heartbeat or per
//! claim looks at all workers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use filch_types::NodeId;
use filch_types::ranges::{Range, RangeMap, RangeSet};

use super::job::Tag;

/// Tasks of one worker.
#[derive(Clone, Debug, Default)]
struct Holding {
    tasks: RangeSet,
    /// Those of them that it said to execute.
    running: u64,
}

impl Holding {
    fn queued(&self) -> u64 {
        self.tasks.len().saturating_sub(self.running)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    all: RangeMap<(NodeId, Tag)>,
    of: BTreeMap<NodeId, Holding>,
    /// Workers with tasks that they have not started, most first.
    rich: BTreeSet<(Reverse<u64>, NodeId)>,
}

impl Leases {
    /// Tasks that somebody holds.
    pub fn len(&self) -> u64 {
        self.all.len()
    }
    /// All of it, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Range, &(NodeId, Tag))> + '_ {
        self.all.iter()
    }
    /// See `RangeMap::overlapping`.
    pub fn overlapping(&self, r: Range) -> impl Iterator<Item = (Range, &(NodeId, Tag))> + '_ {
        self.all.overlapping(r)
    }
    /// See `RangeMap::gaps`.
    pub fn gaps(&self, r: Range) -> Vec<Range> {
        self.all.gaps(r)
    }
    /// `w` holds all of `r` from now on, whoever did before.
    pub fn insert(&mut self, r: Range, w: NodeId, tag: Tag) {
        self.remove(r);
        self.all.insert(r, (w, tag));
        self.change(w, |h| h.tasks.insert(r));
    }
    /// Nobody holds anything of `r` from now on.
    pub fn remove(&mut self, r: Range) {
        let parts: Vec<(Range, NodeId)> = self.all.overlapping(r).map(|(part, (n, _))| (part, *n)).collect();
        self.all.remove(r);
        for (part, n) in parts {
            self.change(n, |h| h.tasks.remove(part));
        }
    }
    /// What `w` holds.
    pub fn held_by(&self, w: NodeId) -> Vec<(Range, Tag)> {
        let ranges = self.of.get(&w).into_iter().flat_map(|h| h.tasks.iter());
        ranges.flat_map(|r| self.all.overlapping(r)).map(|(r, (_, tag))| (r, *tag)).collect()
    }
    /// `w` executes so many of its tasks.
    pub fn set_running(&mut self, w: NodeId, running: u64) {
        self.change(w, |h| h.running = running);
    }
    /// Those that hold anything.
    pub fn holders(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.of.iter().filter(|(_, h)| !h.tasks.is_empty()).map(|(n, _)| *n)
    }
    /// Those that hold tasks which they have not started, most first, with how many.
    pub fn richest(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        self.rich.iter().map(|(queued, n)| (*n, queued.0))
    }

    fn change(&mut self, w: NodeId, how: impl FnOnce(&mut Holding)) {
        let held = self.of.entry(w).or_default();
        let before = held.queued();
        how(held);
        let after = held.queued();
        if held.tasks.is_empty() && held.running == 0 {
            self.of.remove(&w);
        }
        if before != after {
            self.rich.remove(&(Reverse(before), w));
            if after > 0 {
                self.rich.insert((Reverse(after), w));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    proptest! {
        /// The indices say what a walk over all leases would say.
        #[test]
        fn indices_agree_with_the_table(steps in prop::collection::vec((0u8..4, 0u32..64, 1u32..16, 0u8..4), 1..60)) {
            let mut leases = Leases::default();
            let mut running = BTreeMap::new();
            for (what, lo, len, n) in steps {
                let (r, w) = (Range::new(lo, lo + len), node(n));
                match what {
                    0 | 1 => leases.insert(r, w, Tag { attempt: u64::from(n), hops: what }),
                    2 => leases.remove(r),
                    _ => {
                        running.insert(w, u64::from(len));
                        leases.set_running(w, u64::from(len));
                    }
                }
                let mut rich = Vec::new();
                for n in 0..4 {
                    let w = node(n);
                    let held: Vec<(Range, Tag)> =
                        leases.iter().filter(|(_, (h, _))| *h == w).map(|(r, (_, tag))| (r, *tag)).collect();
                    let tasks: u64 = held.iter().map(|(r, _)| u64::from(r.len())).sum();
                    prop_assert_eq!(leases.held_by(w), held);
                    prop_assert_eq!(leases.holders().any(|h| h == w), tasks > 0);
                    let queued = tasks.saturating_sub(running.get(&w).copied().unwrap_or(0));
                    if queued > 0 {
                        rich.push((w, queued));
                    }
                }
                rich.sort_by_key(|(n, queued)| (Reverse(*queued), *n));
                prop_assert_eq!(leases.richest().collect::<Vec<_>>(), rich);
            }
        }
    }
}
