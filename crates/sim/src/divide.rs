//! Executors of divided tasks: real handlers in virtual time, a unit of work so many microseconds. A slot works off a chunk at a time,
//! as a real one does between two looks at what it was told; what is split off it comes from behind the chunk.

use filch_core::{AskId, Input, Launch, LaunchId};
use filch_handlers::{Divisible, ENDS_SOON_US, Progress};
use filch_types::bag::TaskRef;
use filch_types::result::Cause;
use filch_types::{BlobId, Content, JobId, limits};

use crate::history::{BagEnd, BagRun};
use crate::known::JobInfo;
use crate::world::{Ev, World};

/// Work of one chunk.
const CHUNK_US: u64 = 1_000;
/// Longest time until a slot sees that it was asked for a part.
const POLL_US: u64 = 100;

/// The published counts of a tree of the UTS benchmark: nodes, leaves, depth.
pub fn known_counts(tree: &str) -> Option<[u64; 3]> {
    match tree {
        "T1" => Some([4_130_071, 3_305_118, 10]),
        "T3" => Some([4_112_897, 3_599_034, 1_572]),
        "T1L" => Some([102_181_082, 81_746_377, 13]),
        "T3L" => Some([111_345_631, 89_076_904, 17_844]),
        "T1XL" => Some([1_635_119_272, 1_308_100_063, 15]),
        _ => None,
    }
}

/// A divided task in a slot.
pub struct Divided {
    work: Box<dyn Divisible>,
    job: JobId,
    task: TaskRef,
    started: u64,
    unit_us: u64,
    /// Done so far: told to the history at the end, which is a large place to look things up in.
    units: u64,
    /// Nothing is left behind the chunk.
    done: Result<bool, String>,
    /// It was told to end where it is.
    ends: bool,
    /// It was said that little of it is left.
    soon: bool,
    /// It fails then, if it has not ended.
    fails: Option<u64>,
}

/// Longest time until an execution that fails does.
const FAILS_US: u64 = 100_000;

impl World {
    /// Whether the launch is a divided task.
    pub(crate) fn is_divided(&self, launch: &Launch) -> bool {
        launch.manifest.spec.locate(launch.tasks.lo).is_some_and(|(_, g, _)| g.reduce().is_some())
    }

    /// A part's bytes, where they travel as a blob.
    pub(crate) fn part_blob(launch: &Launch) -> Option<(BlobId, u64)> {
        match &launch.bag.as_ref()?.bag {
            Content::Blob(id, len) => Some((*id, *len)),
            Content::Inline(_) => None,
        }
    }

    fn open_part(&self, info: &JobInfo, launch: &Launch) -> Result<Box<dyn Divisible>, String> {
        let (_, group, _) = info.manifest.spec.locate(launch.tasks.lo).ok_or("no such task")?;
        let filch_types::manifest::Program::Divisible { name, args, .. } = &group.program else {
            return Err("not divisible".into());
        };
        let kind = self.kinds.get(name).ok_or_else(|| format!("no handler {name}"))?;
        match &launch.bag {
            None => {
                let cx = filch_types::template::Context {
                    values: &[],
                    inputs: &[],
                    outputs: &[],
                    index: launch.tasks.lo,
                    slot: 0,
                };
                kind.start(&args.iter().map(|a| a.expand(&cx)).collect::<Vec<_>>())
            }
            Some(part) => match &part.bag {
                Content::Inline(bytes) => kind.unpack(bytes),
                Content::Blob(id, _) => kind.unpack(self.known.bags.get(id).map_or(&[][..], Vec::as_slice)),
            },
        }
    }

    /// A divided launch begins.
    pub(crate) fn divided_starts(&mut self, h: usize, slot: u16) {
        let Some(launch) = self.hosts[h].slots[usize::from(slot)].now.as_ref().map(|b| b.launch.clone()) else {
            return;
        };
        let (job, attempt, life) = (launch.job, launch.attempt, self.hosts[h].life);
        let Some(info) = self.info(job) else { return };
        let plan = self.work_of(&info);
        let task = launch.bag.as_ref().map_or(TaskRef::Index(launch.tasks.lo), |p| TaskRef::Bag(p.id));
        let run = BagRun { attempt, host: h, life, launch: launch.id, start: self.now, units: 0, end: None };
        let twice = self.history.bags.get(&(job, task)).and_then(|runs| {
            runs.iter().find(|r| r.attempt == attempt && !matches!(r.end, Some((_, BagEnd::Stopped)))).copied()
        });
        if let Some(e) = twice.filter(|_| !self.history.forgetful) {
            let text = format!("{task:?} of {job:?} runs twice as attempt {attempt:#x}: at n{} and at n{h}", e.host);
            self.violate("S13", text);
        }
        self.history.bags.entry((job, task)).or_default().push(run);
        self.note(|| format!("n{h} runs {task:?} of {job:?} attempt {attempt:#x}"));
        let speed = u64::from(self.hosts[h].options.speed_pct.max(1));
        let (work, done) = match self.open_part(&info, &launch) {
            Ok(work) => (work, Ok(false)),
            Err(e) => (Box::new(Nothing) as Box<dyn Divisible>, Err(e)),
        };
        let unit_us = (plan.unit_us.max(1) * 100 / speed).max(1);
        let ends = self.ends_early.remove(&(h, launch.id));
        let flaky = plan.flaky_ppm > 0 && self.streams.split.chance(plan.flaky_ppm);
        let fails = flaky.then(|| self.now + self.streams.split.below(FAILS_US));
        let started = self.now;
        let divided = Divided { work, job, task, started, unit_us, units: 0, done, ends, soon: false, fails };
        self.divided.insert((h, launch.id), divided);
        self.divided_chunk(h, slot, launch.id);
    }

    /// The next chunk of a launch; its end is the next step of the slot.
    fn divided_chunk(&mut self, h: usize, slot: u16, launch: LaunchId) {
        let Some(d) = self.divided.get_mut(&(h, launch)) else { return };
        let mut units = 0;
        if d.done == Ok(false) && d.fails.is_some_and(|at| at <= self.now) {
            d.done = Err("flaky".into());
        }
        if d.done == Ok(false) {
            match d.work.process((CHUNK_US / d.unit_us).max(1)) {
                Ok(Progress::More(n)) => units = n,
                Ok(Progress::Done(n)) => (units, d.done) = (n, Ok(true)),
                Err(e) => d.done = Err(e),
            }
        }
        d.units += units;
        let us = units * d.unit_us;
        let left = if d.done == Ok(true) { 0 } else { d.work.left() };
        let left_us = left.saturating_mul(d.unit_us);
        let soon = !d.soon && us.saturating_add(left_us) <= CHUNK_US + ENDS_SOON_US;
        d.soon |= soon;
        self.history.units += units;
        let step = self.number();
        let life = self.hosts[h].life;
        if let Some(batch) = &mut self.hosts[h].slots[usize::from(slot)].now {
            batch.step = step;
        }
        self.after(us, Ev::Exec { host: h, life, slot, step });
        if soon {
            let at = (us + left_us).saturating_sub(ENDS_SOON_US);
            self.after(at, Ev::EndsSoon { host: h, life, launch });
        }
    }

    /// A chunk ends. Says whether the launch was a divided one.
    pub(crate) fn divided_step(&mut self, h: usize, slot: u16) -> bool {
        let Some(launch) = self.hosts[h].slots[usize::from(slot)].now.as_ref().map(|b| b.launch.id) else {
            return false;
        };
        let Some(d) = self.divided.get(&(h, launch)) else { return false };
        let wall_us = self.now - d.started;
        let input = match &d.done {
            Ok(false) if !d.ends => {
                self.divided_chunk(h, slot, launch);
                return true;
            }
            Ok(done) => {
                let rest = (!done).then(|| d.work.pack());
                let tally = d.work.tally();
                self.divided_ends(h, launch, BagEnd::Done);
                self.history.finished += 1;
                let job = self.hosts[h].slots[usize::from(slot)].now.as_ref().map(|b| b.launch.job);
                let rest = rest.zip(job).map(|(bytes, job)| self.content(h, job, bytes));
                Input::Bag { launch, tally, rest, wall_us }
            }
            Err(text) => {
                let text = text.clone();
                self.divided_ends(h, launch, BagEnd::Done);
                Input::BagFailed { launch, cause: Cause::Handler(text.clone()), text }
            }
        };
        self.hosts[h].slots[usize::from(slot)].now = None;
        self.feed(h, input);
        self.next_launch(h, slot);
        true
    }

    /// Ends the bookkeeping of a launch that is a divided one.
    pub(crate) fn divided_ends(&mut self, h: usize, launch: LaunchId, end: BagEnd) {
        let Some(d) = self.divided.remove(&(h, launch)) else { return };
        let now = self.now;
        let tally = d.work.tally();
        if let Some(run) = self.history.open_bag(d.job, d.task, h) {
            (run.end, run.units) = (Some((now, end)), d.units);
            if end != BagEnd::Done {
                self.history.undone += d.units;
            }
        }
        if end == BagEnd::Done {
            self.history.tallies.entry((d.job, d.task)).or_default().push((h, tally));
        }
    }

    /// Its process dies.
    pub(crate) fn divided_die(&mut self, h: usize) {
        let gone: Vec<LaunchId> =
            self.divided.range((h, LaunchId(0))..=(h, LaunchId(u64::MAX))).map(|((_, l), _)| *l).collect();
        gone.into_iter().for_each(|l| self.divided_ends(h, l, BagEnd::Lost));
        self.ends_early.retain(|(host, _)| *host != h);
    }

    fn content(&mut self, h: usize, job: JobId, bytes: Vec<u8>) -> Content {
        if bytes.len() <= limits::INLINE_OUTPUT {
            return Content::Inline(bytes);
        }
        let (id, len) = (BlobId::of(&bytes), bytes.len() as u64);
        self.known.bags.insert(id, bytes);
        self.hosts[h].shelf.put(job, id, len, false);
        Content::Blob(id, len)
    }

    fn waits_in_slot(&self, h: usize, launch: LaunchId) -> bool {
        let is = |l: &Launch| l.id == launch;
        self.hosts[h].slots.iter().any(|s| s.queue.iter().any(is) || s.now.as_ref().is_some_and(|b| is(&b.launch)))
    }

    /// The core asks for a part; the slot sees it a moment later.
    pub(crate) fn ask_split(&mut self, h: usize, launch: LaunchId, ask: AskId, least_us: u64) {
        let (life, delay) = (self.hosts[h].life, self.streams.split.between(1, POLL_US));
        self.after(delay, Ev::Split { host: h, life, launch, ask, least_us });
    }

    pub(crate) fn split(&mut self, h: usize, launch: LaunchId, ask: AskId, least_us: u64) {
        if self.hosts[h].suspended() {
            let life = self.hosts[h].life;
            return self.after(100_000, Ev::Split { host: h, life, launch, ask, least_us });
        }
        let Some(d) = self.divided.get_mut(&(h, launch)) else {
            if self.waits_in_slot(h, launch) {
                return self.ask_split(h, launch, ask, least_us);
            }
            return self.feed(h, Input::Split { launch, ask, bag: None });
        };
        let open = d.done == Ok(false) && !d.ends;
        let part = if open { d.work.split(least_us / d.unit_us) } else { None };
        let job = d.job;
        self.history.splits += u64::from(part.is_some());
        let bag = part.map(|bytes| self.content(h, job, bytes));
        self.feed(h, Input::Split { launch, ask, bag });
    }

    pub(crate) fn checkpoint(&mut self, h: usize, launch: LaunchId) {
        let waits = self.waits_in_slot(h, launch);
        if let Some(d) = self.divided.get_mut(&(h, launch)) {
            d.ends = true;
        } else if waits {
            self.ends_early.insert((h, launch));
        }
    }
}

/// A part that could not be opened.
struct Nothing;

impl Divisible for Nothing {
    fn process(&mut self, _budget: u64) -> Result<Progress, String> {
        Ok(Progress::Done(0))
    }
    fn split(&mut self, _least: u64) -> Option<Vec<u8>> {
        None
    }
    fn pack(&self) -> Vec<u8> {
        Vec::new()
    }
    fn tally(&self) -> Vec<u64> {
        Vec::new()
    }
    fn left(&self) -> u64 {
        0
    }
}
