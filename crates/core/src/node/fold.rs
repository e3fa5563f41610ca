//! The fold: the state of a job as a pure function of its fact set, the same in whatever order facts came.
//!
//! `winner(i)` is the pin if there is one, else the minimum by (success before failure, attempt, fact id).

use std::collections::{BTreeMap, BTreeSet};

use filch_types::bag::{BagResult, TaskRef};
use filch_types::fact::{Fact, FactBody, PinRun};
use filch_types::limits;
use filch_types::manifest::EdgeKind;
use filch_types::ranges::{Range, RangeMap, RangeSet};
use filch_types::result::{Cause, Outcome, ResultRun};
use filch_types::{BagId, FactId, JobSpec, NodeId};

use super::fact_set::FactSet;
use super::tree::{Grown, Tree};

/// A result as far as the fold needs it. The order is the order of winning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Best {
    /// `false` sorts first: success.
    pub failed: bool,
    pub attempt: u64,
    pub pack: FactId,
}

/// What a pack said, without its bytes.
#[derive(Clone, Debug)]
pub(crate) struct PackInfo {
    pub runs: Vec<(Range, Best)>,
    /// It says something of divided tasks; `runs` are then the whole ones among them.
    pub bags: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    total: u32,
    retries: Vec<(Range, u16)>,
    edges: Vec<(Range, Vec<(Range, EdgeKind)>)>,
    ids: FactSet,
    packs: BTreeMap<FactId, PackInfo>,
    best: RangeMap<Best>,
    failures: BTreeMap<u32, BTreeSet<u64>>,
    pins: RangeMap<FactId>,
    lost: BTreeMap<u32, BTreeSet<u64>>,
    cancelled: bool,
    deleted: bool,
    added: BTreeSet<(FactId, NodeId)>,
    succeeded: RangeSet,
    done: RangeSet,
    /// Tasks whose predecessors are not there yet, and those that can never run.
    waiting: RangeSet,
    skipped: RangeSet,
    tree: Tree,
}

/// What a fact changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Tasks that have a result now or another one than before, and the attempt that it came from.
    pub touched: Vec<(Range, u64)>,
    /// Whether the graph's readiness may have changed.
    pub ready: bool,
    /// What became of divided tasks.
    pub grown: Grown,
}

impl Fold {
    pub fn new(spec: &JobSpec) -> Self {
        let range = |g: usize| spec.group_range(g);
        let mut fold = Self {
            total: spec.total(),
            retries: spec.groups.iter().enumerate().map(|(n, g)| (range(n), g.retries)).collect(),
            edges: spec
                .groups
                .iter()
                .enumerate()
                .filter(|(_, g)| !g.needs.is_empty())
                .map(|(n, g)| (range(n), g.needs.iter().map(|e| (range(e.group.into()), e.kind)).collect()))
                .collect(),
            ids: FactSet::default(),
            packs: BTreeMap::new(),
            best: RangeMap::default(),
            failures: BTreeMap::new(),
            pins: RangeMap::default(),
            lost: BTreeMap::new(),
            cancelled: false,
            deleted: false,
            added: BTreeSet::new(),
            succeeded: RangeSet::default(),
            done: RangeSet::default(),
            waiting: RangeSet::default(),
            skipped: RangeSet::default(),
            tree: Tree::new(spec),
        };
        fold.recompute_ready();
        fold
    }

    fn retries_of(&self, i: u32) -> u16 {
        self.retries.iter().find(|(r, _)| r.lo <= i && i < r.hi).map_or(0, |(_, n)| *n)
    }

    /// Adds a fact. The caller has checked signature and right. Idempotent.
    pub fn apply(&mut self, id: FactId, fact: &Fact) -> Change {
        if !self.ids.insert(id) {
            return Change::default();
        }
        let mut change = Change::default();
        if self.packs.contains_key(&id) {
            // It was hidden, and what it says still counts.
            return change;
        }
        match &fact.body {
            FactBody::Pack(runs) => {
                let mut info = PackInfo { runs: Vec::with_capacity(runs.len()), bags: false };
                for run in runs {
                    // Divided tasks succeed by their parts.
                    if run.range().hi > self.total || (run.outcome.is_success() && self.tree.divisible(run.lo)) {
                        continue;
                    }
                    let best = Best { failed: !run.outcome.is_success(), attempt: run.attempt, pack: id };
                    info.runs.push((run.range(), best));
                    self.apply_run(run, best, &mut change);
                }
                self.packs.insert(id, info);
            }
            FactBody::Pin(runs) => {
                for run in runs.iter().filter(|r| r.range().hi <= self.total) {
                    // An honest owner never pins twice (P9); the minimum keeps the fold independent of order all the same.
                    let mut parts = self.pins.gaps(run.range());
                    parts.extend(self.pins.overlapping(run.range()).filter(|(_, p)| run.pack < **p).map(|(r, _)| r));
                    for part in parts {
                        self.pins.insert(part, run.pack);
                    }
                    change.touched.push((run.range(), u64::MAX));
                }
            }
            FactBody::Lost(list) => {
                for (i, attempt) in list.iter().filter(|(i, _)| *i < self.total) {
                    self.lost.entry(*i).or_default().insert(*attempt);
                }
            }
            FactBody::Bags(results) => self.apply_bags(id, fact, results, &mut change),
            FactBody::LostBags(list) => list.iter().for_each(|(bag, attempt)| self.tree.lost(*bag, *attempt)),
            FactBody::Cancel => self.cancelled = true,
            FactBody::Delete => self.deleted = true,
            FactBody::AddReplica(node) => {
                self.added.insert((id, *node));
            }
        }
        if change.ready && !self.edges.is_empty() {
            self.recompute_ready();
        }
        change
    }

    /// Lists the fact no more, as if it had never been here. What it said stays in force until the fold is made again.
    pub fn hide(&mut self, id: &FactId) {
        self.ids.remove(id);
    }

    /// Keeps in force what hidden facts of `old` may have said, results apart: what is final, who joined, what was lost, a cancel.
    pub fn carry(&mut self, old: &Self) {
        for (r, pack) in old.pins.overlapping(Range::new(0, old.total)) {
            for gap in self.pins.gaps(r) {
                self.pins.insert(gap, *pack);
            }
        }
        for (i, attempts) in &old.lost {
            self.lost.entry(*i).or_default().extend(attempts);
        }
        self.cancelled |= old.cancelled;
        self.added.extend(&old.added);
    }

    fn apply_bags(&mut self, id: FactId, fact: &Fact, results: &[BagResult], change: &mut Change) {
        let mut whole: BTreeMap<u32, Best> = BTreeMap::new();
        for (place, r) in results.iter().enumerate() {
            let mut ended = false;
            if let TaskRef::Index(i) = r.task {
                if i >= self.total || !self.tree.divisible(i) {
                    continue;
                }
                ended = self.done.contains(i);
                let best = Best { failed: false, attempt: r.attempt, pack: id };
                whole.entry(i).and_modify(|b| *b = best.min(*b)).or_insert(best);
            }
            self.tree.apply(fact.job, id, place as u16, r, ended, &mut change.grown);
        }
        let runs = whole.into_iter().map(|(i, best)| (Range::new(i, i + 1), best)).collect();
        self.packs.insert(id, PackInfo { runs, bags: true });
        for (i, attempt) in &change.grown.rooted {
            change.touched.push((Range::new(*i, i + 1), *attempt));
        }
        for (i, best) in change.grown.complete.clone() {
            let r = Range::new(i, i + 1);
            if self.best.get(i).is_none_or(|old| best < *old) {
                self.best.insert(r, best);
            }
            self.succeeded.insert(r);
            self.done.insert(r);
            change.touched.push((r, best.attempt));
            change.ready = true;
        }
    }

    /// The planted bug `CancelNotRepeated`: a cancel is no fact, so that nothing compares or repeats it.
    pub fn cancel_untold(&mut self) -> Change {
        self.cancelled = true;
        Change::default()
    }

    /// The planted bug `OrderByArrival`: what came last wins.
    pub fn apply_by_arrival(&mut self, id: FactId, fact: &Fact) -> Change {
        let change = self.apply(id, fact);
        if let FactBody::Pack(runs) = &fact.body {
            for run in runs.iter().filter(|r| r.range().hi <= self.total) {
                let best = Best { failed: !run.outcome.is_success(), attempt: run.attempt, pack: id };
                self.best.insert(run.range(), best);
            }
        }
        change
    }

    fn apply_run(&mut self, run: &ResultRun, new: Best, change: &mut Change) {
        let r = run.range();
        let mut better: Vec<Range> = self.best.gaps(r);
        better.extend(self.best.overlapping(r).filter(|(_, old)| new < **old).map(|(part, _)| part));
        for part in better {
            self.best.insert(part, new);
        }
        change.touched.push((r, run.attempt));
        match &run.outcome {
            Outcome::Success(_) => {
                self.succeeded.insert(r);
                self.done.insert(r);
                change.ready = true;
            }
            Outcome::Failed(Cause::NodeLost, _) => {
                self.done.insert(r);
                change.ready = true;
                self.fail_divided(r, run.attempt, change);
            }
            Outcome::Failed(..) => {
                for i in r.lo..r.hi {
                    let retries = self.retries_of(i);
                    let final_now = retries == 0 || {
                        let tries = self.failures.entry(i).or_default();
                        tries.insert(run.attempt);
                        tries.len() > usize::from(retries)
                    };
                    if final_now {
                        self.done.insert(Range::new(i, i + 1));
                        change.ready = true;
                    }
                }
                self.fail_divided(r, run.attempt, change);
            }
        }
    }

    fn fail_divided(&mut self, r: Range, attempt: u64, change: &mut Change) {
        if !self.tree.any() {
            return;
        }
        for i in r.lo..r.hi {
            if self.tree.divisible(i) {
                self.tree.fail(i, attempt, self.done.contains(i), &mut change.grown);
            }
        }
    }

    /// Readiness of the task graph. Only called when a job has edges: the rest never waits.
    fn recompute_ready(&mut self) {
        self.waiting = RangeSet::default();
        self.skipped = RangeSet::default();
        for (range, needs) in &self.edges {
            for (source, kind) in needs {
                match kind {
                    EdgeKind::All => {
                        let open = self.succeeded.gaps(*source);
                        let dead = open.iter().any(|gap| {
                            self.done.overlapping(*gap).next().is_some()
                                || self.skipped.overlapping(*gap).next().is_some()
                        });
                        if dead {
                            self.skipped.insert(*range);
                        } else if !open.is_empty() {
                            self.waiting.insert(*range);
                        }
                    }
                    EdgeKind::Elementwise => {
                        for gap in self.succeeded.gaps(*source) {
                            let shift = |r: Range| Range::new(r.lo - source.lo + range.lo, r.hi - source.lo + range.lo);
                            self.waiting.insert(shift(gap));
                            for dead in
                                self.done.overlapping(gap).chain(self.skipped.overlapping(gap)).collect::<Vec<_>>()
                            {
                                self.skipped.insert(shift(dead));
                            }
                        }
                    }
                }
            }
            // What has its end neither waits nor is skipped: the success that it waited for may be lost since, and then fail.
            for ended in self.done.overlapping(*range).collect::<Vec<_>>() {
                self.skipped.remove(ended);
                self.waiting.remove(ended);
            }
            for dead in self.skipped.overlapping(*range).collect::<Vec<_>>() {
                self.waiting.remove(dead);
            }
        }
    }

    /// Tasks in all.
    pub fn total(&self) -> u32 {
        self.total
    }
    /// Whether the fact is in.
    pub fn has(&self, id: &FactId) -> bool {
        self.ids.contains(id)
    }
    /// The facts that are listed.
    pub fn facts(&self) -> &FactSet {
        &self.ids
    }
    /// Number of facts and XOR of their ids.
    pub fn digest(&self) -> (u32, FactId) {
        self.ids.digest()
    }
    /// All ids.
    pub fn ids(&self) -> impl Iterator<Item = &FactId> {
        self.ids.iter()
    }
    /// Tasks that ended for good, successfully or not.
    pub fn done(&self) -> &RangeSet {
        &self.done
    }
    pub fn is_done(&self, i: u32) -> bool {
        self.done.contains(i)
    }
    pub fn succeeded(&self) -> u64 {
        self.succeeded.len()
    }
    pub fn failed(&self) -> u64 {
        self.done.len() - self.succeeded.len()
    }
    pub fn waiting(&self) -> &RangeSet {
        &self.waiting
    }
    pub fn skipped(&self) -> &RangeSet {
        &self.skipped
    }
    pub fn cancelled(&self) -> bool {
        self.cancelled
    }
    pub fn deleted(&self) -> bool {
        self.deleted
    }
    /// Whether no task will ever run again.
    pub fn complete(&self) -> bool {
        self.done.len() + self.skipped.len() >= u64::from(self.total)
    }
    pub fn pins(&self) -> &RangeMap<FactId> {
        &self.pins
    }
    pub fn packs(&self) -> impl Iterator<Item = &FactId> {
        self.packs.keys()
    }
    pub fn pack(&self, id: &FactId) -> Option<&PackInfo> {
        self.packs.get(id)
    }
    /// Tasks in `r` of which this very attempt failed.
    pub fn failed_at(&self, r: Range, attempt: u64) -> Vec<Range> {
        let hit = self.failures.range(r.lo..r.hi).filter(|(_, tries)| tries.contains(&attempt));
        hit.map(|(i, _)| Range::new(*i, *i + 1)).collect()
    }
    /// How often the task was lost while it executed.
    pub fn losses(&self, i: u32) -> u32 {
        self.lost.get(&i).map_or(0, |s| s.len() as u32)
    }
    /// The first task in `r` that was ever lost.
    pub fn first_lost(&self, r: Range) -> Option<u32> {
        self.lost.range(r.lo..r.hi.max(r.lo)).next().map(|(i, _)| *i)
    }
    /// Whether it was lost so often that it must not run again (P14).
    pub fn over_budget(&self, i: u32) -> bool {
        self.losses(i) >= limits::CRASH_BUDGET
    }
    /// Divided tasks.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }
    /// What a divided task comes to; `None` until every part of it is there.
    pub fn tally(&self, i: u32) -> Option<Vec<u64>> {
        self.tree.tally(i, self.pins.get(i).copied())
    }
    /// The facts that the end of a divided task rests on.
    pub fn tree_facts(&self, i: u32) -> BTreeSet<FactId> {
        self.tree.facts(i, self.pins.get(i).copied())
    }
    /// Whether a part was lost so often that it must not run again (P14).
    pub fn bag_over_budget(&self, bag: BagId) -> bool {
        self.tree.losses(bag) >= limits::CRASH_BUDGET
    }
    /// Members that were added to R, in an order that all nodes agree on.
    pub fn added(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.added.iter().map(|(_, n)| *n)
    }
    /// The facts that added them.
    pub fn added_by(&self) -> impl Iterator<Item = FactId> + '_ {
        self.added.iter().map(|(id, _)| *id)
    }
    /// The winning results in `range`: pins first, else the best. Only tasks that are done.
    pub fn winners(&self, range: Range) -> Vec<(Range, Best, bool)> {
        let mut out: Vec<(Range, Best, bool)> = Vec::new();
        let mut push = |r: Range, best: Best, fin: bool| match out.last_mut() {
            Some((last, b, f)) if last.hi == r.lo && *b == best && *f == fin => last.hi = r.hi,
            _ => out.push((r, best, fin)),
        };
        let done: Vec<Range> = self.done.overlapping(range).collect();
        for part in done {
            let mut cuts: Vec<(Range, Option<FactId>)> =
                self.pins.overlapping(part).map(|(r, pack)| (r, Some(*pack))).collect();
            cuts.extend(self.pins.gaps(part).into_iter().map(|r| (r, None)));
            cuts.sort_unstable_by_key(|(r, _)| r.lo);
            for (cut, pin) in cuts {
                match pin {
                    Some(pack) => {
                        let runs = self.packs.get(&pack).map(|p| p.runs.as_slice()).unwrap_or_default();
                        for (r, best) in runs {
                            let r = r.intersect(cut);
                            if !r.is_empty() {
                                push(r, *best, true);
                            }
                        }
                    }
                    None => self.best.overlapping(cut).for_each(|(r, b)| push(r, *b, false)),
                }
            }
        }
        out
    }
    /// Parts of a pack that may be pinned now: done, not pinned, and won by this pack.
    pub fn pinnable(&self, pack: &FactId) -> Vec<PinRun> {
        let mut out = Vec::new();
        let Some(info) = self.packs.get(pack) else { return out };
        for (range, _) in &info.runs {
            for gap in self.pins.gaps(*range) {
                for done in self.done.overlapping(gap) {
                    for (r, best) in self.best.overlapping(done) {
                        if best.pack == *pack {
                            out.push(PinRun { lo: r.lo, count: r.len(), pack: *pack });
                        }
                    }
                }
            }
        }
        out
    }
    /// Which of these pins say something new. One that contradicts another says it of the rest only.
    pub fn not_pinned(&self, runs: &[PinRun]) -> Vec<PinRun> {
        let mut out = Vec::new();
        for run in runs.iter().filter(|r| r.range().hi <= self.total) {
            let gaps = self.pins.gaps(run.range());
            if self.pins.overlapping(run.range()).all(|(_, pack)| *pack == run.pack) {
                out.extend((!gaps.is_empty()).then_some(*run));
            } else {
                out.extend(gaps.into_iter().map(|r| PinRun { lo: r.lo, count: r.len(), pack: run.pack }));
            }
        }
        out
    }
    /// Hash of everything that the fold says: equal fact sets fold to equal bytes (S4).
    pub fn fingerprint(&self) -> [u8; 32] {
        let text = format!(
            "{:?}{:?}{:?}{:?}{:?}{:?}{}{}{:?}",
            self.best,
            self.failures,
            self.pins,
            self.lost,
            self.done,
            self.succeeded,
            self.cancelled,
            self.deleted,
            self.added
        );
        let mut bytes = text.into_bytes();
        self.tree.hash(|word| bytes.extend_from_slice(word));
        FactId::of(&bytes).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filch_types::manifest::{Generator, Group, Program, TaskLimits};
    use filch_types::{JobId, TaskOutput};
    use proptest::prelude::*;

    fn spec() -> JobSpec {
        let group = |n: &str, count, retries| Group {
            name: n.into(),
            tasks: Generator::Array { first: 0, step: 1, count },
            program: Program::Handler { name: "noop".into(), args: vec![] },
            env: vec![],
            inputs: vec![],
            outputs: vec![],
            limits: TaskLimits::default(),
            retries,
            needs: vec![],
            resources: vec![],
        };
        let mut second = group("b", 6, 1);
        second.needs = vec![filch_types::manifest::Edge { group: 0, kind: EdgeKind::Elementwise }];
        let groups = vec![group("a", 6, 0), second];
        JobSpec { name: String::new(), priority: 0, attended: false, groups, closure_bytes: 0, closure_blobs: 0 }
    }

    fn any_fact() -> impl Strategy<Value = Fact> {
        let run = (0u32..12, 1u32..4, 1u64..4, 0u8..3);
        let body = prop_oneof![
            6 => prop::collection::vec(run, 1..3).prop_map(|runs| {
                FactBody::Pack(runs.into_iter().map(|(lo, count, attempt, how)| ResultRun {
                    lo, count, attempt, wall_us: 0,
                    outcome: match how {
                        0 => Outcome::Success(TaskOutput::default()),
                        1 => Outcome::Failed(Cause::Exit(1), TaskOutput::default()),
                        _ => Outcome::Failed(Cause::NodeLost, TaskOutput::default()),
                    },
                }).collect())
            }),
            2 => (0u32..12, 1u32..3, any::<[u8; 32]>()).prop_map(|(lo, count, p)| {
                FactBody::Pin(vec![PinRun { lo, count, pack: FactId(p) }])
            }),
            1 => (0u32..12, 1u64..3).prop_map(|l| FactBody::Lost(vec![l])),
            1 => Just(FactBody::Cancel),
            1 => any::<u8>().prop_map(|n| FactBody::AddReplica(NodeId([n; 32]))),
        ];
        (any::<u8>(), body).prop_map(|(by, body)| Fact { job: JobId([0; 32]), by: NodeId([by; 32]), body })
    }

    proptest! {
        /// S4: equal fact sets fold to equal bytes in any order, however often a fact comes.
        #[test]
        fn order_and_repetition_do_not_matter(facts in prop::collection::vec(any_fact(), 0..20), seed in any::<u64>()) {
            let named: Vec<(FactId, Fact)> =
                facts.into_iter().map(|f| (FactId::of(format!("{f:?}").as_bytes()), f)).collect();
            let mut a = Fold::new(&spec());
            named.iter().for_each(|(id, f)| { a.apply(*id, f); });
            let mut shuffled = named.clone();
            shuffled.extend(named.iter().take(3).cloned());
            let mut x = seed;
            for i in (1..shuffled.len()).rev() {
                x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                shuffled.swap(i, (x >> 33) as usize % (i + 1));
            }
            let mut b = Fold::new(&spec());
            shuffled.iter().for_each(|(id, f)| { b.apply(*id, f); });
            prop_assert_eq!(a.fingerprint(), b.fingerprint());
            prop_assert_eq!(a.digest(), b.digest());
            prop_assert_eq!(a.waiting().clone(), b.waiting().clone());
            prop_assert_eq!(a.winners(Range::new(0, 12)), b.winners(Range::new(0, 12)));
            let states = [a.done().len(), a.waiting().len(), a.skipped().len()];
            prop_assert!(states.iter().sum::<u64>() <= 12, "a task is in one state: {:?}", states);
        }
    }
}
