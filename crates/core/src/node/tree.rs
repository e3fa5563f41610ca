//! Divided tasks in the fold: which parts there are, which of them count, and what they add up to.
//!
//! A child counts only if the winning result of its parent names it, so duplicates of a parent or of a child, in any partition,
//! never count twice and never leave anything out: the winners define one tree. A result is *complete* when every child that it names
//! is; a task is when one of its results is. Complete results win over those that are not, then the lesser (attempt, fact,
//! place in it). So completeness only ever grows, whatever order facts come in.
//!
//! Which parts are worth running (`live`, `open`) is another matter: soft, of use to a steward only, and not part of the state that
//! all nodes agree on. The first result of a task that arrives is followed; others are not, unless they are completed by those who run
//! their parts anyway.

use std::collections::{BTreeMap, BTreeSet};

use filch_types::bag::{BagOutcome, BagResult, TaskRef};
use filch_types::manifest::Reduce;
use filch_types::ranges::{Range, RangeSet};
use filch_types::wire::GivenBag;
use filch_types::{BagId, Cause, Content, FactId, JobId, JobSpec, NodeId};

use super::fold::Best;

/// Orders the results of one task: attempt, fact, place in the fact.
type Key = (u64, FactId, u16);

/// One result of a task.
#[derive(Clone, Debug)]
struct Res {
    key: Key,
    tally: Vec<u64>,
    children: Vec<BagId>,
    /// Children that are not complete.
    missing: usize,
}

/// Where a part comes from, and what it is.
#[derive(Clone, Debug)]
struct Origin {
    parent: TaskRef,
    attempt: u64,
    number: u32,
    holder: NodeId,
    /// Until it has a result.
    bag: Option<Content>,
}

/// Why an attempt at a part failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Of the attempt.
    pub cause: Cause,
    /// For people.
    pub text: String,
}

/// What is known of a task.
#[derive(Clone, Debug, Default)]
struct Entry {
    results: Vec<Res>,
    origin: Option<Origin>,
    failed: BTreeMap<(u64, FactId), Failure>,
    lost: BTreeSet<u64>,
    /// It is in the tree that is being worked off; then `root` is its index.
    live: bool,
    /// It was, and what it belonged to was given up or completed otherwise.
    closed: bool,
    root: u32,
    /// The result that is followed.
    current: Option<Key>,
}

impl Entry {
    fn winner(&self) -> Option<&Res> {
        self.results.iter().find(|r| r.missing == 0)
    }
    fn followed(&self) -> Option<&Res> {
        self.current.and_then(|key| self.results.iter().find(|r| r.key == key))
    }
}

/// What facts changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grown {
    /// Indices that have a first part now, and at which attempt.
    pub rooted: Vec<(u32, u64)>,
    /// Indices whose whole tree is complete, or won by another result than before.
    pub complete: Vec<(u32, Best)>,
    /// Parts that are worth running now.
    pub opened: Vec<BagId>,
    /// Parts that no longer are.
    pub closed: Vec<BagId>,
    /// Parts that failed.
    pub failed: Vec<BagId>,
}

impl Grown {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    groups: Vec<(Range, Vec<Reduce>)>,
    entries: BTreeMap<TaskRef, Entry>,
    open: BTreeSet<BagId>,
    /// Indices that need not be begun (again): a result of theirs is followed.
    rooted: RangeSet,
    /// Attempts at indices that failed, themselves or a part of theirs.
    void: BTreeSet<(u32, u64)>,
}

impl Tree {
    pub fn new(spec: &JobSpec) -> Self {
        let groups = spec.groups.iter().enumerate();
        let divisible = groups.filter_map(|(n, g)| Some((spec.group_range(n), g.reduce()?.to_vec())));
        Self { groups: divisible.collect(), ..Self::default() }
    }

    /// Whether the job has divisible tasks at all.
    pub fn any(&self) -> bool {
        !self.groups.is_empty()
    }
    /// Whether this index is one.
    pub fn divisible(&self, index: u32) -> bool {
        self.reduce(index).is_some()
    }
    fn reduce(&self, index: u32) -> Option<&[Reduce]> {
        self.groups.iter().find(|(r, _)| r.lo <= index && index < r.hi).map(|(_, reduce)| reduce.as_slice())
    }
    /// Indices that are not to be begun (again): parts of them are to be worked off.
    pub fn rooted(&self) -> &RangeSet {
        &self.rooted
    }
    /// Parts that are worth running, whoever runs them now.
    pub fn open(&self) -> &BTreeSet<BagId> {
        &self.open
    }
    /// Whether the part has a result.
    pub fn has_result(&self, bag: BagId) -> bool {
        self.entries.get(&TaskRef::Bag(bag)).is_some_and(|e| !e.results.is_empty())
    }
    /// Whether the part was worth running and is not any more. One whose parent nobody has named yet may come to be.
    pub fn is_dead(&self, bag: BagId) -> bool {
        self.entries.get(&TaskRef::Bag(bag)).is_some_and(|e| e.closed)
    }
    /// The first part known that has this prefix.
    pub fn find(&self, prefix: u64) -> Option<BagId> {
        let first = TaskRef::Bag(BagId::first_with(prefix));
        match self.entries.range(first..).next() {
            Some((TaskRef::Bag(id), _)) if id.prefix() == prefix => Some(*id),
            _ => None,
        }
    }
    /// Who got the part first, and the attempt at its parent, as the parent's result says.
    pub fn hint(&self, bag: BagId) -> Option<(NodeId, u64)> {
        self.entries.get(&TaskRef::Bag(bag))?.origin.as_ref().map(|o| (o.holder, o.attempt))
    }
    /// An open part, to be given to somebody.
    pub fn give(&self, bag: BagId, attempt: u64) -> Option<GivenBag> {
        let e = self.entries.get(&TaskRef::Bag(bag)).filter(|e| e.live)?;
        let o = e.origin.as_ref()?;
        Some(GivenBag {
            root: e.root,
            parent: o.parent,
            parent_attempt: o.attempt,
            number: o.number,
            attempt,
            hops: 0,
            bag: o.bag.clone()?,
        })
    }
    /// How often the part was lost while it executed.
    pub fn losses(&self, bag: BagId) -> u32 {
        self.entries.get(&TaskRef::Bag(bag)).map_or(0, |e| e.lost.len() as u32)
    }
    /// The index that a live part belongs to, and the attempt at it that is followed.
    pub fn root(&self, bag: BagId) -> Option<(u32, u64)> {
        let e = self.entries.get(&TaskRef::Bag(bag)).filter(|e| e.live)?;
        let root = self.entries.get(&TaskRef::Index(e.root))?;
        Some((e.root, root.current?.0))
    }
    /// Why an open part failed, if it did.
    pub fn failure(&self, bag: BagId) -> Option<&Failure> {
        self.entries.get(&TaskRef::Bag(bag))?.failed.values().next()
    }

    /// Adds a result. `ended`: its index has its end already, so nothing of it is worth running.
    pub fn apply(&mut self, job: JobId, fact: FactId, place: u16, result: &BagResult, ended: bool, out: &mut Grown) {
        if matches!(result.task, TaskRef::Index(i) if !self.divisible(i)) {
            return;
        }
        let (tally, children) = match &result.outcome {
            BagOutcome::Ended { tally, children } => (tally, children),
            BagOutcome::Failed(cause, text) => return self.failed(result, fact, cause, text, out),
        };
        let key = (result.attempt, fact, place);
        let mut ids = Vec::with_capacity(children.len());
        let mut missing = 0;
        for (number, child) in children.iter().enumerate() {
            let number = number as u32;
            let id = BagId::of(job, result.task, result.attempt, number, &child.bag);
            let e = self.entries.entry(TaskRef::Bag(id)).or_default();
            let bag = e.results.is_empty().then(|| child.bag.clone());
            let (parent, attempt, holder) = (result.task, result.attempt, child.holder);
            e.origin.get_or_insert(Origin { parent, attempt, number, holder, bag });
            missing += usize::from(e.winner().is_none());
            ids.push(id);
        }
        let e = self.entries.entry(result.task).or_default();
        let was = e.winner().map(|r| r.key);
        let at = e.results.partition_point(|r| r.key < key);
        e.results.insert(at, Res { key, tally: tally.clone(), children: ids, missing });
        if let Some(origin) = &mut e.origin {
            origin.bag = None;
        }
        let void = matches!(result.task, TaskRef::Index(i) if self.void.contains(&(i, result.attempt)));
        if was.is_none() && missing > 0 && !void {
            self.follow(result.task, key, ended, out);
        }
        if missing == 0 && was.is_none_or(|old| key < old) {
            self.won(result.task, was.is_none(), out);
        }
    }

    fn failed(&mut self, result: &BagResult, fact: FactId, cause: &Cause, text: &str, out: &mut Grown) {
        let failure = Failure { cause: cause.clone(), text: text.to_owned() };
        self.entries.entry(result.task).or_default().failed.insert((result.attempt, fact), failure);
        if let TaskRef::Bag(id) = result.task {
            out.failed.push(id);
        }
    }

    /// A result that is not complete: its children are worked off if nothing else of its task is.
    fn follow(&mut self, task: TaskRef, key: Key, ended: bool, out: &mut Grown) {
        let Some(e) = self.entries.get_mut(&task) else { return };
        if let TaskRef::Index(i) = task {
            (e.live, e.root) = (!ended, i);
        }
        if !e.live || e.current.is_some() {
            return;
        }
        e.current = Some(key);
        let root = e.root;
        let children = e.followed().map(|r| r.children.clone()).unwrap_or_default();
        match task {
            TaskRef::Index(i) => {
                self.rooted.insert(Range::new(i, i + 1));
                out.rooted.push((i, key.0));
            }
            TaskRef::Bag(id) => self.shut(id, out),
        }
        self.activate(children, root, out);
    }

    fn shut(&mut self, id: BagId, out: &mut Grown) {
        if self.open.remove(&id) {
            out.closed.push(id);
        }
    }

    fn activate(&mut self, mut todo: Vec<BagId>, root: u32, out: &mut Grown) {
        while let Some(id) = todo.pop() {
            let Some(e) = self.entries.get_mut(&TaskRef::Bag(id)) else { continue };
            if e.live || e.winner().is_some() {
                continue;
            }
            (e.live, e.closed, e.root) = (true, false, root);
            match e.results.first() {
                Some(first) => {
                    e.current = Some(first.key);
                    todo.extend(first.children.iter().copied());
                }
                None => {
                    self.open.insert(id);
                    out.opened.push(id);
                }
            }
        }
    }

    /// Nothing below a task is worth running any more.
    fn abandon(&mut self, task: TaskRef, out: &mut Grown) {
        let mut todo = Vec::new();
        if let Some(e) = self.entries.get_mut(&task) {
            todo.extend(e.followed().into_iter().flat_map(|r| r.children.iter().copied()));
            e.current = None;
        }
        while let Some(id) = todo.pop() {
            let Some(e) = self.entries.get_mut(&TaskRef::Bag(id)).filter(|e| e.live) else { continue };
            todo.extend(e.followed().into_iter().flat_map(|r| r.children.iter().copied()));
            (e.live, e.closed, e.current) = (false, true, None);
            self.shut(id, out);
        }
    }

    /// A task is complete, or by another result than before; so may be what named it.
    fn won(&mut self, task: TaskRef, first: bool, out: &mut Grown) {
        let mut todo = vec![(task, first)];
        while let Some((task, first)) = todo.pop() {
            if first {
                self.abandon(task, out);
            }
            let id = match task {
                TaskRef::Index(i) => {
                    self.rooted.remove(Range::new(i, i + 1));
                    let won = self.entries.get(&task).and_then(Entry::winner);
                    out.complete.extend(won.map(|r| (i, Best { failed: false, attempt: r.key.0, pack: r.key.1 })));
                    continue;
                }
                TaskRef::Bag(id) => id,
            };
            self.shut(id, out);
            let parent = self.entries.get(&task).and_then(|e| e.origin.as_ref()).map(|o| o.parent);
            let Some((parent, e)) = parent.filter(|_| first).and_then(|p| Some((p, self.entries.get_mut(&p)?))) else {
                continue;
            };
            let was = e.winner().map(|r| r.key);
            for r in e.results.iter_mut().filter(|r| r.children.contains(&id)) {
                r.missing = r.missing.saturating_sub(1);
            }
            let now = e.winner().map(|r| r.key);
            if now != was {
                todo.push((parent, was.is_none()));
            }
        }
    }

    /// An attempt at an index failed, itself or by a part: its parts are not worth running. `ended`: nor are those of others.
    pub fn fail(&mut self, index: u32, attempt: u64, ended: bool, out: &mut Grown) {
        self.void.insert((index, attempt));
        let task = TaskRef::Index(index);
        let Some(e) = self.entries.get_mut(&task) else { return };
        if e.winner().is_some() || (!ended && e.current.is_none_or(|key| key.0 != attempt)) {
            return;
        }
        self.abandon(task, out);
        self.rooted.remove(Range::new(index, index + 1));
        if ended {
            return;
        }
        let other = self
            .entries
            .get(&task)
            .and_then(|e| e.results.iter().find(|r| !self.void.contains(&(index, r.key.0))).map(|r| r.key));
        if let Some(key) = other {
            self.follow(task, key, false, out);
        }
    }

    /// A part was lost while it executed.
    pub fn lost(&mut self, bag: BagId, attempt: u64) {
        self.entries.entry(TaskRef::Bag(bag)).or_default().lost.insert(attempt);
    }

    /// The results that a complete index is made of: their facts, and what they counted. `pin`: the root's result is this one's.
    fn winners(&self, index: u32, pin: Option<FactId>) -> Option<Vec<(FactId, &[u64])>> {
        let e = self.entries.get(&TaskRef::Index(index))?;
        let pinned = pin.and_then(|p| e.results.iter().find(|r| r.missing == 0 && r.key.1 == p));
        let mut out = Vec::new();
        let mut todo = vec![pinned.or(e.winner())?];
        while let Some(r) = todo.pop() {
            out.push((r.key.1, r.tally.as_slice()));
            for c in &r.children {
                todo.push(self.entries.get(&TaskRef::Bag(*c))?.winner()?);
            }
        }
        Some(out)
    }
    /// What a complete index comes to.
    pub fn tally(&self, index: u32, pin: Option<FactId>) -> Option<Vec<u64>> {
        let reduce = self.reduce(index)?;
        let mut sum: Vec<u64> = reduce.iter().map(|r| r.identity()).collect();
        for (_, tally) in self.winners(index, pin)? {
            for ((s, r), t) in sum.iter_mut().zip(reduce).zip(tally) {
                *s = r.join(*s, *t);
            }
        }
        Some(sum)
    }
    /// The facts that a complete index rests on.
    pub fn facts(&self, index: u32, pin: Option<FactId>) -> BTreeSet<FactId> {
        self.winners(index, pin).into_iter().flatten().map(|(fact, _)| fact).collect()
    }
    /// Feeds everything that all nodes agree on to a hash.
    pub fn hash(&self, mut word: impl FnMut(&[u8])) {
        for (task, e) in &self.entries {
            match task {
                TaskRef::Index(i) => word(&i.to_le_bytes()),
                TaskRef::Bag(id) => word(&id.0),
            }
            for r in &e.results {
                word(&r.key.0.to_le_bytes());
                word(&r.key.1.0);
                word(&(r.missing as u64).to_le_bytes());
            }
            e.failed.keys().for_each(|(attempt, _)| word(&attempt.to_le_bytes()));
            e.lost.iter().for_each(|attempt| word(&attempt.to_le_bytes()));
        }
        for (i, attempt) in &self.void {
            word(&i.to_le_bytes());
            word(&attempt.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filch_types::bag::Child;
    use filch_types::manifest::{Generator, Group, Program, TaskLimits};
    use proptest::prelude::*;

    const JOB: JobId = JobId([3; 32]);

    fn spec(count: u32) -> JobSpec {
        let group = Group {
            name: "d".into(),
            tasks: Generator::Array { first: 0, step: 1, count },
            program: Program::Divisible { name: "x".into(), args: vec![], reduce: vec![Reduce::Sum, Reduce::Max] },
            env: vec![],
            inputs: vec![],
            outputs: vec![],
            limits: TaskLimits::default(),
            retries: 0,
            needs: vec![],
            resources: vec![],
        };
        let groups = vec![group];
        JobSpec { name: String::new(), priority: 0, attended: false, groups, closure_bytes: 0, closure_blobs: 0 }
    }
    fn child(byte: u8) -> Child {
        Child { bag: Content::Inline(vec![byte]), holder: NodeId([byte; 32]) }
    }
    fn ended(task: TaskRef, attempt: u64, count: u64, bags: &[u8]) -> BagResult {
        let children = bags.iter().map(|b| child(*b)).collect();
        BagResult { task, attempt, wall_us: 1, outcome: BagOutcome::Ended { tally: vec![count, count], children } }
    }
    fn id(parent: TaskRef, attempt: u64, number: u32, byte: u8) -> BagId {
        BagId::of(JOB, parent, attempt, number, &child(byte).bag)
    }
    fn add(tree: &mut Tree, fact: u8, r: &BagResult) -> Grown {
        let mut out = Grown::default();
        tree.apply(JOB, FactId([fact; 32]), 0, r, false, &mut out);
        out
    }
    const ROOT: TaskRef = TaskRef::Index(0);

    #[test]
    fn complete_when_every_named_child_is() {
        let mut t = Tree::new(&spec(1));
        let (a, b) = (id(ROOT, 1, 0, 7), id(ROOT, 1, 1, 8));
        let grown = add(&mut t, 1, &ended(ROOT, 1, 10, &[7, 8]));
        assert_eq!(grown.rooted, [(0, 1)]);
        assert_eq!(grown.opened.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([a, b]));
        assert_eq!(t.give(a, 9).map(|g| (g.root, g.number, g.id(JOB))), Some((0, 0, a)));
        assert_eq!(t.tally(0, None), None);
        assert!(add(&mut t, 2, &ended(TaskRef::Bag(a), 1, 5, &[])).complete.is_empty());
        let grown = add(&mut t, 3, &ended(TaskRef::Bag(b), 1, 20, &[]));
        assert_eq!(grown.complete, [(0, Best { failed: false, attempt: 1, pack: FactId([1; 32]) })]);
        assert_eq!(t.tally(0, None), Some(vec![35, 20]));
        assert!(t.open().is_empty() && t.rooted().is_empty());
    }

    #[test]
    fn a_child_that_the_winner_does_not_name_never_counts() {
        let mut t = Tree::new(&spec(1));
        // Two attempts at the root, in two halves of a partition: both gave away something, one of them is finished.
        let (a, b) = (id(ROOT, 1, 0, 7), id(ROOT, 2, 0, 8));
        add(&mut t, 1, &ended(ROOT, 1, 10, &[7]));
        add(&mut t, 2, &ended(ROOT, 2, 30, &[8]));
        assert_eq!(t.open(), &BTreeSet::from([a]), "only one tree is worked off");
        add(&mut t, 3, &ended(TaskRef::Bag(b), 1, 5, &[]));
        assert_eq!(t.tally(0, None), Some(vec![35, 30]), "the other one was completed by whoever ran it");
        assert!(t.open().is_empty(), "so the first need not be");
        // A late end of the first changes who wins, not what was counted.
        add(&mut t, 4, &ended(TaskRef::Bag(a), 1, 25, &[]));
        assert_eq!(t.tally(0, None), Some(vec![35, 25]));
        assert_eq!(t.tally(0, Some(FactId([2; 32]))), Some(vec![35, 30]), "unless it is pinned");
    }

    #[test]
    fn results_may_come_before_what_names_them() {
        let mut t = Tree::new(&spec(1));
        let a = id(ROOT, 1, 0, 7);
        let (a0, a1) = (id(TaskRef::Bag(a), 1, 0, 1), id(TaskRef::Bag(a), 1, 1, 2));
        add(&mut t, 1, &ended(TaskRef::Bag(a0), 1, 1, &[]));
        assert!(add(&mut t, 2, &ended(TaskRef::Bag(a), 1, 2, &[1, 2])).opened.is_empty(), "nobody names it yet");
        assert_eq!(add(&mut t, 3, &ended(ROOT, 1, 4, &[7])).opened, [a1]);
        add(&mut t, 4, &ended(TaskRef::Bag(a1), 2, 8, &[]));
        assert_eq!(t.tally(0, None), Some(vec![15, 8]));
    }

    #[test]
    fn a_failed_attempt_is_begun_again() {
        let mut t = Tree::new(&spec(1));
        let a = id(ROOT, 1, 0, 7);
        add(&mut t, 1, &ended(ROOT, 1, 10, &[7]));
        let failed = BagResult {
            outcome: BagOutcome::Failed(Cause::Handler("no".into()), "no".into()),
            ..ended(TaskRef::Bag(a), 1, 0, &[])
        };
        assert_eq!(add(&mut t, 2, &failed).failed, [a]);
        assert_eq!(t.root(a), Some((0, 1)));
        let mut out = Grown::default();
        t.fail(0, 1, false, &mut out);
        assert_eq!(out.closed, [a]);
        assert!(t.rooted().is_empty() && t.is_dead(a));
        let grown = add(&mut t, 3, &ended(ROOT, 2, 10, &[9]));
        assert_eq!((grown.rooted, grown.opened), (vec![(0, 2)], vec![id(ROOT, 2, 0, 9)]));
    }

    proptest! {
        /// S4 for parts: whatever order results come in, and however many attempts there were.
        #[test]
        fn order_does_not_matter(
            picks in prop::collection::vec((0usize..40, 1u64..3, prop::collection::vec(0u8..3, 0..3)), 1..30),
            seed in any::<u64>(),
        ) {
            // Names can only be made of parents that exist: the tree grows from the root.
            let mut tasks = vec![ROOT];
            let mut results = Vec::new();
            for (at, attempt, bags) in picks {
                let task = tasks[at % tasks.len()];
                let r = ended(task, attempt, results.len() as u64 + 1, &bags);
                tasks.extend(bags.iter().enumerate().map(|(n, b)| TaskRef::Bag(id(task, attempt, n as u32, *b))));
                results.push(r);
            }
            let run = |order: &[usize]| {
                let mut t = Tree::new(&spec(1));
                order.iter().for_each(|n| { add(&mut t, *n as u8, &results[*n]); });
                let mut words = Vec::new();
                t.hash(|w| words.extend_from_slice(w));
                (words, t.tally(0, None), t.facts(0, None), t.rooted().is_empty(), t.open().is_empty())
            };
            let order: Vec<usize> = (0..results.len()).collect();
            let mut other = order.clone();
            let mut x = seed;
            for i in (1..other.len()).rev() {
                x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                other.swap(i, (x >> 33) as usize % (i + 1));
            }
            let (first, second) = (run(&order), run(&other));
            prop_assert_eq!((&first.0, &first.1, &first.2), (&second.0, &second.1, &second.2));
            prop_assert_eq!(first.1.is_some(), first.3 && first.4 && results.iter().any(|r| r.task == ROOT));
            prop_assert_eq!(second.1.is_some(), second.3 && second.4 && results.iter().any(|r| r.task == ROOT));
        }
    }
}
