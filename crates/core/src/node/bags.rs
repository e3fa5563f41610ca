//! The worker's side of divided tasks: run parts, split them for thieves and for those who wait, end them before too much would be lost
//! with this node, and say what came of them and what was given away.

use std::collections::{BTreeMap, VecDeque};

use filch_types::bag::{BagOutcome, BagResult, Child, TaskRef};
use filch_types::fact::FactBody;
use filch_types::ranges::Range;
use filch_types::result::{Outcome, Stream, TaskOutput};
use filch_types::time::Span;
use filch_types::wire::{GivenBag, HeldBag, Holding, Message, Response};
use filch_types::{BagId, Cause, Content, JobId, NodeId, ResultRun, Timestamp, limits};

use super::bag_leases::NOBODY;
use super::job::{Tag, first_attempt};
use super::launch::{Begin, SLOT_DEPTH};
use super::{Made, Node, Timer};
use crate::Mutant;
use crate::io::{AskId, LaunchId, Output, Part, Token};

/// Calls to split one launch that are not answered yet, at most.
const MAX_ASKED: u8 = 8;
/// Gifts remembered, so that a second copy of one is dropped.
const MAX_CAME: usize = 256;

/// A divided task in execution.
#[derive(Clone, Debug)]
pub(crate) struct BagRun {
    pub task: TaskRef,
    root: u32,
    /// What it gave away, in order.
    children: Vec<Child>,
    bytes: usize,
    first_gift: Option<Timestamp>,
    /// Calls to split it that are not answered yet.
    asked: u8,
    /// It was told to end where it is, or to stop.
    ending: bool,
    /// It was told to stop because it is wanted by nobody.
    pub revoked: bool,
    /// Little of it is left: its slot is looked for work already.
    pub ends_soon: bool,
}

impl BagRun {
    pub fn new(task: TaskRef, root: u32) -> Self {
        let children = Vec::new();
        Self {
            task,
            root,
            children,
            bytes: 0,
            first_gift: None,
            asked: 0,
            ending: false,
            revoked: false,
            ends_soon: false,
        }
    }
    /// One child is kept free for its own rest.
    fn may_split(&self) -> bool {
        let promised = self.children.len() + usize::from(self.asked);
        !self.ending && promised + 1 < limits::MAX_CHILDREN && self.bytes < limits::CHILDREN_BYTES
    }
}

/// A part that is queued.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub id: BagId,
    pub given: GivenBag,
    /// Who has its bytes.
    pub from: NodeId,
}

/// A part that was passed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    tag: Tag,
    until: Timestamp,
    to: NodeId,
    /// Whoever got it is gone.
    gone: bool,
}

/// Parts of one job, as a worker sees them.
#[derive(Clone, Debug, Default)]
pub(crate) struct BagWork {
    pub queue: VecDeque<Queued>,
    pub running: BTreeMap<BagId, LaunchId>,
    /// Ended, and the steward has not acked the result.
    pub unacked: BTreeMap<BagId, Tag>,
    /// Passed on to whom; listed until whoever got it must have been heard of.
    pub moved: BTreeMap<BagId, Moved>,
    pub results: Vec<BagResult>,
    pub bytes: usize,
    came: VecDeque<(u64, u64, u8)>,
}

impl BagWork {
    pub fn holds_any(&self) -> bool {
        !self.queue.is_empty() || !self.running.is_empty() || !self.unacked.is_empty() || !self.moved.is_empty()
    }
    /// Whether it is queued, runs or has just ended here.
    pub fn has(&self, id: BagId) -> bool {
        self.running.contains_key(&id) || self.unacked.contains_key(&id) || self.queue.iter().any(|q| q.id == id)
    }
    /// Queued and running.
    pub fn here(&self) -> u64 {
        (self.queue.len() + self.running.len()) as u64
    }
    /// Whether this very gift is new.
    pub fn is_new(&mut self, name: u64, attempt: u64, hops: u8) -> bool {
        let gift = (name, attempt, hops);
        let new = !self.came.contains(&gift);
        if new {
            self.came.push_back(gift);
            if self.came.len() > MAX_CAME {
                self.came.pop_front();
            }
        }
        new
    }
}

/// Whom a split is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Want {
    /// Somebody who asked and waits for the answer.
    Thief(NodeId, Token),
    /// Somebody who left a lifeline.
    Waiter(NodeId),
}

impl Want {
    fn peer(self) -> NodeId {
        match self {
            Want::Thief(p, _) | Want::Waiter(p) => p,
        }
    }
}

/// A call to split that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    job: JobId,
    launch: LaunchId,
    want: Want,
}

impl Node {
    /// Begins the first queued part in this slot.
    pub(super) fn launch_bag(&mut self, id: JobId, slot: usize) {
        let launch = LaunchId(self.fresh());
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(q) = job.work.bags.queue.pop_front() else { return };
        job.work.bags.running.insert(q.id, launch);
        let (root, attempt) = (q.given.root, q.given.attempt);
        self.begin(Begin {
            launch,
            job: id,
            tasks: Range::new(root, root + 1),
            tag: Tag { attempt, hops: q.given.hops },
            slot,
            weight: SLOT_DEPTH,
            fetched: true,
            bag: Some(BagRun::new(TaskRef::Bag(q.id), root)),
            part: Some(Part { id: q.id, bag: q.given.bag }),
            first: Some(q.from),
        });
        self.divided_begins(id, launch);
    }

    /// A divided task began: it ends itself in time, and whoever waits may get a part of it.
    pub(super) fn divided_begins(&mut self, id: JobId, launch: LaunchId) {
        self.timers.set(Timer::Bag(launch), self.now + self.cfg.timing.bag_run);
        if self.jobs.get(&id).is_some_and(|j| !j.work.lines.waiters.is_empty()) {
            self.timers.sooner(Timer::Lifeline(id), self.now);
        }
    }

    /// Asks the executor for a part of something that runs, for `want`. False if nothing can be asked.
    pub(super) fn ask_split(&mut self, id: JobId, want: Want) -> bool {
        let rtt = self.peers.get(&want.peer()).map_or(0, |p| p.rtt.0);
        // A gift is worth at least two round trips.
        let least = filch_types::time::Span(2 * rtt.max(200));
        let Some(job) = self.jobs.get(&id) else { return false };
        let launches = job.work.launches.iter().filter_map(|l| {
            let run = self.launches.get(l)?.bag.as_ref()?;
            (run.may_split() && run.asked < MAX_ASKED).then_some((run.asked, *l))
        });
        let Some((_, launch)) = launches.min() else { return false };
        let ask = AskId(self.fresh());
        if let Some(run) = self.launches.get_mut(&launch).and_then(|l| l.bag.as_mut()) {
            run.asked += 1;
        }
        self.asks.insert(ask, Ask { job: id, launch, want });
        self.emit(Output::Split { launch, ask, least });
        true
    }

    pub(super) fn on_split(&mut self, launch: LaunchId, ask: AskId, bag: Option<Content>) {
        let Some(Ask { job: id, launch: asked, want }) = self.asks.remove(&ask) else { return };
        if let Some(run) = self.launches.get_mut(&asked).and_then(|l| l.bag.as_mut()) {
            run.asked = run.asked.saturating_sub(1);
        }
        if let (Want::Waiter(_), Some(job)) = (want, self.jobs.get_mut(&id)) {
            job.work.lines.answered();
        }
        match bag.filter(|_| launch == asked).and_then(|bag| self.split_off(id, launch, want.peer(), bag)) {
            Some(given) => self.hand_over(id, want, given),
            None => self.nothing_split(id, want),
        }
    }

    /// What was split off is a child of what it came from.
    fn split_off(&mut self, id: JobId, launch: LaunchId, to: NodeId, bag: Content) -> Option<GivenBag> {
        let (now, gift, longest) = (self.now, self.cfg.timing.bag_gift, self.cfg.timing.bag_run);
        let (both_keep, neither) = (self.planted(Mutant::BagBothKeep), self.planted(Mutant::BagNeitherKeeps));
        let l = self.launches.get_mut(&launch)?;
        let run = l.bag.as_mut()?;
        if neither {
            return None;
        }
        let given = child_of(run, l.tag.attempt, bag.clone());
        run.bytes += weight(&bag);
        run.children.push(Child { bag: bag.clone(), holder: to });
        if both_keep && run.may_split() {
            let again = child_of(run, l.tag.attempt, bag.clone());
            run.children.push(Child { bag, holder: self.id });
            let q = Queued { id: again.id(id), given: again, from: self.id };
            self.jobs.get_mut(&id)?.work.bags.queue.push_back(q);
        }
        let first = *run.first_gift.get_or_insert(now);
        let due = if run.may_split() || run.asked > 0 { (first + gift).min(l.since + longest) } else { now };
        self.timers.set(Timer::Bag(launch), due.max(now));
        self.counters.given += 1;
        Some(given)
    }

    fn hand_over(&mut self, id: JobId, want: Want, given: GivenBag) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (epoch, runs, bags) = (job.epoch, Vec::new(), vec![given]);
        match want {
            Want::Thief(_, token) => self.respond(token, Response::Stolen { epoch, runs, bags, manifest: None }),
            Want::Waiter(p) => {
                self.emit(Output::Send(p, Message::Gift { job: id, epoch, runs, bags, manifest: None }));
                self.counters.gifts += 1;
                self.serve_waiters(id);
            }
        }
    }

    /// There was too little to split.
    fn nothing_split(&mut self, id: JobId, want: Want) {
        match want {
            Want::Thief(p, token) => self.remember_or_refuse(id, p, Span(0), token),
            Want::Waiter(p) => {
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.work.lines.again(p, self.now);
                }
                self.timers.ensure(Timer::Lifeline(id), self.now + super::lifelines::RETRY);
            }
        }
    }

    /// A part that is queued here and cannot start now, for somebody who can.
    pub(super) fn pass_on(&mut self, id: JobId, to: NodeId) -> Option<GivenBag> {
        if self.slots.contains(&0) {
            return None;
        }
        // Whoever got it lists it within a heartbeat.
        let until = self.now + Span(2 * self.cfg.timing.beat.0);
        let bags = &mut self.jobs.get_mut(&id)?.work.bags;
        let at = bags.queue.iter().rposition(|q| q.given.hops < limits::MAX_HOPS)?;
        let mut q = bags.queue.remove(at)?;
        let tag = Tag { attempt: q.given.attempt, hops: q.given.hops };
        bags.moved.insert(q.id, Moved { tag, until, to, gone: false });
        q.given.hops += 1;
        Some(q.given)
    }

    /// A part has run long enough.
    pub(super) fn on_bag_timer(&mut self, launch: LaunchId) {
        if let Some(run) = self.launches.get_mut(&launch).and_then(|l| l.bag.as_mut())
            && !std::mem::replace(&mut run.ending, true)
        {
            self.emit(Output::Checkpoint(launch));
        }
    }

    pub(super) fn on_ends_soon(&mut self, launch: LaunchId) {
        if let Some(run) = self.launches.get_mut(&launch).and_then(|l| l.bag.as_mut()) {
            run.ends_soon = true;
        }
    }

    /// Slots that have no work, or whose part is nearly done.
    pub(super) fn slots_to_fill(&self) -> u16 {
        let ends = |l: &&super::Running| l.bag.as_ref().is_some_and(|run| run.ends_soon);
        self.idle_slots() + self.launches.values().filter(ends).count() as u16
    }

    /// A divided launch ended: everything was processed or given away, but for its rest.
    pub(super) fn on_bag(&mut self, launch: LaunchId, tally: Vec<u64>, rest: Option<Content>, wall_us: u64) {
        let (me, draining) = (self.id, self.draining);
        let Some(l) = self.launches.get_mut(&launch) else { return };
        let (id, tag) = (l.job, l.tag);
        let Some(job) = self.jobs.get_mut(&id) else { return self.part_ends(launch) };
        let Some(run) = l.bag.as_mut() else { return };
        let counts = job.manifest.spec.locate(run.root).and_then(|(_, g, _)| g.reduce()).map_or(0, <[_]>::len);
        if counts != tally.len() {
            let text = format!("a tally of {} numbers where the job expects {counts}", tally.len());
            return self.on_bag_failed(launch, Cause::Handler(text.clone()), text);
        }
        let mut own = None;
        if let Some(rest) = rest {
            let given = child_of(run, tag.attempt, rest.clone());
            run.children.push(Child { bag: rest, holder: if draining { NOBODY } else { me } });
            own = Some(Queued { id: given.id(id), given, from: me });
        }
        let (task, children) = (run.task, std::mem::take(&mut run.children));
        let result = BagResult { task, attempt: tag.attempt, wall_us, outcome: BagOutcome::Ended { tally, children } };
        if !result.is_valid() {
            let text = "a part larger than 1 MiB, or more of them than one result names".to_owned();
            return self.on_bag_failed(launch, Cause::Handler(text.clone()), text);
        }
        self.counters.finished += 1;
        match task {
            TaskRef::Index(i) => {
                let r = Range::new(i, i + 1);
                job.work.running.remove(r);
                job.work.unacked.insert(r, tag);
                job.work.failed.remove(r);
            }
            TaskRef::Bag(bag) => {
                job.work.bags.unacked.insert(bag, tag);
            }
        }
        if let Some(own) = own.filter(|_| !draining) {
            job.work.bags.queue.push_front(own);
        }
        self.add_bag_result(id, result);
        self.part_ends(launch);
        self.flush_bags_in_time(id);
    }

    /// A divided launch failed. What it gave away belongs to nothing.
    pub(super) fn on_bag_failed(&mut self, launch: LaunchId, cause: Cause, mut text: String) {
        text.truncate(text.floor_char_boundary(limits::INLINE_OUTPUT));
        let Some(l) = self.launches.get_mut(&launch) else { return };
        let (id, tag, wall_us) = (l.job, l.tag, self.now.since(l.since).0);
        let Some(task) = l.bag.as_ref().map(|run| run.task) else { return };
        match task {
            TaskRef::Index(i) => {
                l.bag = None;
                self.timers.cancel(Timer::Bag(launch));
                let (total, kept) = (text.len() as u64, Content::Inline(text.into_bytes()));
                let output = TaskOutput { stderr: Stream { kept, total }, ..TaskOutput::default() };
                let failed = ResultRun::one(i, tag.attempt, wall_us, Outcome::Failed(cause, output));
                self.on_finished(launch, vec![failed]);
            }
            TaskRef::Bag(bag) => {
                let outcome = BagOutcome::Failed(cause, text);
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.work.bags.unacked.insert(bag, tag);
                }
                self.add_bag_result(id, BagResult { task, attempt: tag.attempt, wall_us, outcome });
                self.part_ends(launch);
                self.flush_bags_in_time(id);
            }
        }
    }

    /// Ends the bookkeeping of a divided launch, however it ended.
    pub(super) fn part_ends(&mut self, launch: LaunchId) {
        self.timers.cancel(Timer::Bag(launch));
        let Some(l) = self.launches.get_mut(&launch) else { return };
        l.left.lo = l.left.hi;
        let bag = l.bag.take().and_then(|run| super::bag_leases::part(run.task));
        if let Some(job) = self.jobs.get_mut(&l.job)
            && let Some(bag) = bag
        {
            job.work.bags.running.remove(&bag);
        }
        self.close_launch(launch);
    }

    fn add_bag_result(&mut self, id: JobId, result: BagResult) {
        let heavy = result.weight();
        if self.jobs.get(&id).is_some_and(|j| j.work.bags.bytes + heavy > limits::PACK_BYTES) {
            self.flush_bags(id);
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.work.bags.bytes += heavy;
        job.work.bags.results.push(result);
        if job.work.bags.results.len() >= limits::MAX_BAG_RESULTS {
            self.flush_bags(id);
        }
    }

    fn flush_bags_in_time(&mut self, id: JobId) {
        let Some(w) = self.jobs.get(&id).map(|j| &j.work).filter(|w| !w.bags.results.is_empty()) else { return };
        if w.bags.here() == 0 && w.queue.is_empty() && w.running.is_empty() {
            return self.flush_bags(id);
        }
        self.timers.ensure(Timer::Bags(id), self.now + self.cfg.timing.bag_flush);
    }

    /// Signs the results of parts that have gathered and sends them on their way.
    pub(super) fn flush_bags(&mut self, id: JobId) {
        self.timers.cancel(Timer::Bags(id));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let results = std::mem::take(&mut job.work.bags.results);
        job.work.bags.bytes = 0;
        if results.is_empty() || job.fold.cancelled() || job.fold.deleted() {
            return;
        }
        self.counters.packs += 1;
        self.make_fact(id, FactBody::Bags(results), Made::Pack);
    }

    /// Takes parts that somebody gave. Those beyond its limit are left: their steward finds that nobody has them.
    pub(super) fn take_bags(&mut self, id: JobId, from: NodeId, bags: Vec<GivenBag>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        for given in bags.into_iter().take(limits::MAX_GRANT_BAGS) {
            let name = given.id(id);
            let known = job.work.bags.has(name) || job.fold.tree().has_result(name);
            let new = job.work.bags.is_new(name.prefix(), given.attempt, given.hops);
            let room = job.work.bags.queue.len() < limits::MAX_HELD_BAGS && given.root < job.fold.total();
            if new && !known && room && job.fold.tree().divisible(given.root) {
                job.work.bags.moved.remove(&name);
                job.work.bags.queue.push_back(Queued { id: name, given, from });
            }
        }
    }

    /// What a worker holds of divided tasks, for its heartbeat.
    pub(super) fn held_bags(&self, id: JobId) -> Vec<HeldBag> {
        let Some(bags) = self.jobs.get(&id).map(|j| &j.work.bags) else { return Vec::new() };
        let held =
            |id: &BagId, tag: Tag, how| HeldBag { prefix: id.prefix(), attempt: tag.attempt, hops: tag.hops, how };
        let waits = |id: &BagId, tag: Tag| held(id, tag, Holding::Waits);
        let queued = bags.queue.iter().map(|q| waits(&q.id, Tag { attempt: q.given.attempt, hops: q.given.hops }));
        let running = bags.running.iter().filter_map(|(id, launch)| {
            let l = self.launches.get(launch)?;
            let begun = l.staging.is_none() && self.now.since(l.since) >= self.cfg.timing.batch;
            Some(held(id, l.tag, if begun { Holding::Runs } else { Holding::Waits }))
        });
        let unacked = bags.unacked.iter().map(|(id, tag)| waits(id, *tag));
        let moved =
            bags.moved.iter().map(|(id, m)| held(id, m.tag, if m.gone { Holding::Gone } else { Holding::Waits }));
        running.chain(queued).chain(unacked).chain(moved).take(2 * limits::MAX_HELD_BAGS).collect()
    }

    /// Forgets what was passed on long enough ago. Its steward is told: if nobody else has listed it, it is lost.
    pub(super) fn forget_moved(&mut self, id: JobId) {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let before = job.work.bags.moved.len();
        job.work.bags.moved.retain(|_, m| m.until > now);
        job.work.unsaid |= job.work.bags.moved.len() < before;
    }

    /// What was passed on to somebody whose connection is down: its steward is told at once that nobody has it, and again until it
    /// answers, since it may not know yet that there is such a part.
    pub(super) fn moved_to_absent(&mut self, p: NodeId) {
        let until = self.now + self.cfg.timing.lease;
        let ids: Vec<JobId> = self.live.iter().copied().collect();
        for id in ids {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let mut any = false;
            for m in job.work.bags.moved.values_mut().filter(|m| m.to == p) {
                (m.gone, m.until, any) = (true, until, true);
            }
            if any {
                self.report(id);
            }
        }
    }

    /// Parts that are done, or somebody else's.
    pub(super) fn bags_revoked(&mut self, id: JobId, list: &[(u64, u64)]) {
        let Some(job) = self.jobs.get_mut(&id).filter(|_| !list.is_empty()) else { return };
        let named = |bag: &BagId, attempt: u64| list.contains(&(bag.prefix(), attempt));
        let bags = &mut job.work.bags;
        bags.queue.retain(|q| !named(&q.id, q.given.attempt));
        bags.unacked.retain(|bag, tag| !named(bag, tag.attempt));
        bags.moved.retain(|bag, m| !named(bag, m.tag.attempt));
        let stop: Vec<LaunchId> = bags
            .running
            .iter()
            .filter(|(bag, l)| self.launches.get(l).is_some_and(|l| named(bag, l.tag.attempt)))
            .map(|(_, l)| *l)
            .collect();
        stop.into_iter().for_each(|l| self.stop_part(l));
    }

    /// A part that runs here is wanted by nobody.
    pub(super) fn stop_part(&mut self, launch: LaunchId) {
        if let Some(run) = self.launches.get_mut(&launch).and_then(|l| l.bag.as_mut())
            && !std::mem::replace(&mut run.revoked, true)
        {
            run.ending = true;
            self.emit(Output::Stop(launch));
        }
    }
}

/// The next child of what runs.
fn child_of(run: &BagRun, parent_attempt: u64, bag: Content) -> GivenBag {
    GivenBag {
        root: run.root,
        parent: run.task,
        parent_attempt,
        number: run.children.len() as u32,
        attempt: first_attempt(parent_attempt),
        hops: 0,
        bag,
    }
}

/// Bytes that a part takes in a result, about.
fn weight(bag: &Content) -> usize {
    match bag {
        Content::Inline(b) => 40 + b.len(),
        Content::Blob(..) => 80,
    }
}
