//! Sets and maps over task indices, kept as intervals so that a million tasks cost as much as one.

use std::collections::BTreeMap;

/// A half-open range of task indices `[lo, hi)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Range {
    /// First index.
    pub lo: u32,
    /// One past the last index.
    pub hi: u32,
}

impl Range {
    /// `[lo, hi)`.
    pub const fn new(lo: u32, hi: u32) -> Self {
        Self { lo, hi }
    }
    /// Indices in it.
    pub const fn len(&self) -> u32 {
        self.hi.saturating_sub(self.lo)
    }
    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.hi <= self.lo
    }
    /// The part that lies in `other` too.
    #[inline]
    pub fn intersect(&self, other: Range) -> Range {
        Range::new(self.lo.max(other.lo), self.hi.min(other.hi))
    }
}

/// A map from task index to `V`, as maximal runs of equal values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeMap<V> {
    runs: BTreeMap<u32, (u32, V)>,
    len: u64,
}

impl<V> Default for RangeMap<V> {
    fn default() -> Self {
        Self { runs: BTreeMap::new(), len: 0 }
    }
}

impl<V: Clone + PartialEq> RangeMap<V> {
    /// Indices that have a value.
    pub fn len(&self) -> u64 {
        self.len
    }
    /// Whether no index has a value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Runs that it is kept as: what it costs.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }
    /// The value at `i`.
    pub fn get(&self, i: u32) -> Option<&V> {
        let (_, (hi, v)) = self.runs.range(..=i).next_back()?;
        (i < *hi).then_some(v)
    }
    /// All runs in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Range, &V)> + '_ {
        self.runs.iter().map(|(&lo, (hi, v))| (Range::new(lo, *hi), v))
    }
    /// Runs that overlap `r`, clipped to it, in order.
    pub fn overlapping(&self, r: Range) -> impl Iterator<Item = (Range, &V)> + '_ {
        let first = self.runs.range(..=r.lo).next_back().map_or(r.lo, |(&lo, _)| lo);
        self.runs
            .range(first..r.hi.max(first))
            .map(move |(&lo, (hi, v))| (Range::new(lo, *hi).intersect(r), v))
            .filter(|(c, _)| !c.is_empty())
    }
    /// The parts of `r` without a value, in order.
    pub fn gaps(&self, r: Range) -> Vec<Range> {
        let mut out = Vec::new();
        let mut at = r.lo;
        for (c, _) in self.overlapping(r) {
            if c.lo > at {
                out.push(Range::new(at, c.lo));
            }
            at = c.hi;
        }
        if at < r.hi {
            out.push(Range::new(at, r.hi));
        }
        out
    }
    /// Removes every value in `r`.
    pub fn remove(&mut self, r: Range) {
        if r.is_empty() {
            return;
        }
        let hit: Vec<(u32, u32)> = {
            let first = self.runs.range(..=r.lo).next_back().map_or(r.lo, |(&lo, _)| lo);
            self.runs
                .range(first..r.hi.max(first))
                .filter(|(lo, (hi, _))| !Range::new(**lo, *hi).intersect(r).is_empty())
                .map(|(&lo, (hi, _))| (lo, *hi))
                .collect()
        };
        for (lo, hi) in hit {
            let Some((_, v)) = self.runs.remove(&lo) else { continue };
            if lo < r.lo {
                self.runs.insert(lo, (r.lo, v.clone()));
            }
            if hi > r.hi {
                self.runs.insert(r.hi, (hi, v));
            }
            self.len -= u64::from(Range::new(lo, hi).intersect(r).len());
        }
    }
    /// Gives every index of `r` the value `v`, joining equal neighbours.
    pub fn insert(&mut self, r: Range, v: V) {
        if r.is_empty() {
            return;
        }
        self.remove(r);
        self.len += u64::from(r.len());
        let (mut lo, mut hi) = (r.lo, r.hi);
        if let Some((&plo, (phi, pv))) = self.runs.range(..lo).next_back()
            && *phi == lo
            && *pv == v
        {
            lo = plo;
            self.runs.remove(&plo);
        }
        if let Some((nhi, nv)) = self.runs.get(&hi)
            && *nv == v
        {
            let nhi = *nhi;
            self.runs.remove(&hi);
            hi = nhi;
        }
        self.runs.insert(lo, (hi, v));
    }
    /// Removes and returns the first run, cut to at most `max` indices.
    pub fn take_front(&mut self, max: u32) -> Option<(Range, V)> {
        let (&lo, (hi, v)) = self.runs.iter().next()?;
        let r = Range::new(lo, (*hi).min(lo.saturating_add(max)));
        let v = v.clone();
        if r.is_empty() {
            return None;
        }
        self.remove(r);
        Some((r, v))
    }
    /// Removes and returns the last run, cut to at most `max` indices from its end.
    pub fn take_back(&mut self, max: u32) -> Option<(Range, V)> {
        let (&lo, (hi, v)) = self.runs.iter().next_back()?;
        let r = Range::new(lo.max(hi.saturating_sub(max)), *hi);
        let v = v.clone();
        if r.is_empty() {
            return None;
        }
        self.remove(r);
        Some((r, v))
    }
}

/// A set of task indices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet(RangeMap<()>);

impl RangeSet {
    /// All of `r`.
    pub fn from_range(r: Range) -> Self {
        let mut s = Self::default();
        s.insert(r);
        s
    }
    /// Indices in it.
    pub fn len(&self) -> u64 {
        self.0.len()
    }
    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Intervals that it is kept as.
    pub fn run_count(&self) -> usize {
        self.0.run_count()
    }
    /// Whether `i` is in it.
    pub fn contains(&self, i: u32) -> bool {
        self.0.get(i).is_some()
    }
    /// Adds all of `r`.
    pub fn insert(&mut self, r: Range) {
        self.0.insert(r, ());
    }
    /// Takes all of `r` out.
    pub fn remove(&mut self, r: Range) {
        self.0.remove(r);
    }
    /// Its intervals in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range> + '_ {
        self.0.iter().map(|(r, ())| r)
    }
    /// The parts of `r` in it.
    pub fn overlapping(&self, r: Range) -> impl Iterator<Item = Range> + '_ {
        self.0.overlapping(r).map(|(r, ())| r)
    }
    /// The parts of `r` not in it.
    pub fn gaps(&self, r: Range) -> Vec<Range> {
        self.0.gaps(r)
    }
    /// Removes and returns up to `max` indices from the front, as one interval.
    pub fn take_front(&mut self, max: u32) -> Option<Range> {
        self.0.take_front(max).map(|(r, ())| r)
    }
}

impl FromIterator<Range> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range>>(iter: I) -> Self {
        let mut s = Self::default();
        iter.into_iter().for_each(|r| s.insert(r));
        s
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_as_a_plain_map(ops in prop::collection::vec((0u8..3, 0u32..40, 0u32..12, 0u8..3), 0..60)) {
            let mut m = RangeMap::default();
            let mut model: BTreeMap<u32, u8> = BTreeMap::new();
            for (op, lo, n, v) in ops {
                let r = Range::new(lo, lo + n);
                match op {
                    0 => { m.insert(r, v); for i in lo..lo + n { model.insert(i, v); } }
                    1 => { m.remove(r); for i in lo..lo + n { model.remove(&i); } }
                    _ => {
                        if let Some((got, _)) = m.take_back(n) {
                            for i in got.lo..got.hi { prop_assert!(model.remove(&i).is_some()); }
                            prop_assert!(model.keys().all(|k| *k < got.lo));
                        }
                    }
                }
                prop_assert_eq!(m.len(), model.len() as u64);
                let flat: BTreeMap<u32, u8> = m.iter().flat_map(|(r, v)| (r.lo..r.hi).map(move |i| (i, *v))).collect();
                prop_assert_eq!(&flat, &model);
                let mut last: Option<(u32, u8)> = None;
                for (r, v) in m.iter() {
                    prop_assert!(!r.is_empty());
                    if let Some((hi, lv)) = last { prop_assert!(hi < r.lo || lv != *v, "runs are maximal"); }
                    last = Some((r.hi, *v));
                }
                let window = Range::new(5, 25);
                let seen: u32 = m.overlapping(window).map(|(r, _)| r.len()).sum();
                let gaps: u32 = m.gaps(window).iter().map(Range::len).sum();
                prop_assert_eq!(seen + gaps, 20);
            }
        }
    }
}
