//! Tasks that are split while they run.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use filch_exec::{Divisible, DivisibleKind, Handlers, Kinds, Progress, Reduce, Report};
use filch_types::manifest::{Group, Program};
use filch_types::ranges::Range;
use filch_types::template::Template;
use filch_types::{BlobId, Cause, Content, Manifest, limits};

use crate::world::{LIMIT, Test, With, World, batch, group, handler};

pub const TESTS: &[Test] = &[
    ("a_whole_task_is_counted", a_whole_task_is_counted),
    ("parts_add_up_to_the_whole", parts_add_up_to_the_whole),
    ("every_division_of_a_tree_counts_the_same", every_division_of_a_tree_counts_the_same),
    ("long_parts_are_blobs", long_parts_are_blobs),
    ("what_is_nearly_done_says_so_once", what_is_nearly_done_says_so_once),
    ("who_does_not_run_gives_nothing", who_does_not_run_gives_nothing),
    ("what_ends_where_it_is_goes_on_elsewhere", what_ends_where_it_is_goes_on_elsewhere),
    ("what_has_not_begun_ends_with_everything_left", what_has_not_begun_ends_with_everything_left),
    ("a_full_disk_keeps_the_part_here", a_full_disk_keeps_the_part_here),
    ("a_part_that_is_too_long_stays_here", a_part_that_is_too_long_stays_here),
    ("stop_answers_every_call", stop_answers_every_call),
    ("a_panic_anywhere_fails_the_task_only", a_panic_anywhere_fails_the_task_only),
    ("hostile_bags_fail_the_task_only", hostile_bags_fail_the_task_only),
    ("handlers_that_break_their_promise_fail", handlers_that_break_their_promise_fail),
    ("time_limits_are_seen", time_limits_are_seen),
    ("batches_that_cannot_be_bounce", batches_that_cannot_be_bounce),
    ("one_name_is_one_handler", one_name_is_one_handler),
];

/// Lets steps through one by one, so that a test decides what happens between which.
#[derive(Default)]
pub struct Gate {
    state: Mutex<GateState>,
    moved: Condvar,
}

#[derive(Default)]
struct GateState {
    permits: u64,
    open: bool,
    waiting: bool,
}

impl Gate {
    fn pass(&self) {
        let mut s = self.state.lock().unwrap();
        s.waiting = true;
        self.moved.notify_all();
        s = self.moved.wait_timeout_while(s, LIMIT, |s| s.permits == 0 && !s.open).unwrap().0;
        s.permits = s.permits.saturating_sub(1);
        s.waiting = false;
    }
    /// Waits until a step waits.
    fn reached(&self) {
        let s = self.moved.wait_timeout_while(self.state.lock().unwrap(), LIMIT, |s| !s.waiting).unwrap().0;
        assert!(s.waiting, "a step begins");
    }
    /// Lets one step through and waits until the next one begins.
    fn step(&self) {
        self.reached();
        let mut s = self.state.lock().unwrap();
        (s.permits, s.waiting) = (1, false);
        self.moved.notify_all();
        drop(s);
        self.reached();
    }
    fn open(&self) {
        self.state.lock().unwrap().open = true;
        self.moved.notify_all();
    }
}

/// Counts the numbers of a range, and the largest. Arguments: how many numbers, what goes wrong, bytes that a pack is made longer.
struct Numbers(Arc<Gate>);

struct Bag {
    gate: Arc<Gate>,
    lo: u64,
    hi: u64,
    seen: Vec<u64>,
    wrong: String,
    padding: usize,
}

impl Bag {
    fn packed(&self, lo: u64, hi: u64) -> Vec<u8> {
        let mut bytes = format!("{lo} {hi} {} {} ", self.wrong, self.padding).into_bytes();
        bytes.resize(bytes.len() + self.padding, b' ');
        bytes
    }
}

impl Divisible for Bag {
    fn process(&mut self, budget: u64) -> Result<Progress, String> {
        if self.wrong != "free" {
            self.gate.pass();
        }
        match self.wrong.as_str() {
            "process" => panic!("in process"),
            "error" => return Err("as it was told".into()),
            "idle" => return Ok(Progress::More(0)),
            _ => {}
        }
        let budget = if self.wrong == "free" { budget } else { 1 };
        let n = budget.min(self.hi - self.lo);
        if n > 0 {
            self.lo += n;
            self.seen = vec![self.seen[0] + n, self.lo - 1];
        }
        Ok(if self.lo == self.hi { Progress::Done(n) } else { Progress::More(n) })
    }
    fn split(&mut self, least: u64) -> Option<Vec<u8>> {
        assert!(self.wrong != "split", "in split");
        let half = (self.hi - self.lo) / 2;
        if half == 0 || half < least {
            return None;
        }
        let gift = self.packed(self.hi - half, self.hi);
        self.hi -= half;
        Some(gift)
    }
    fn pack(&self) -> Vec<u8> {
        assert!(self.wrong != "pack", "in pack");
        self.packed(self.lo, self.hi)
    }
    fn tally(&self) -> Vec<u64> {
        assert!(self.wrong != "tally", "in tally");
        if self.wrong == "short" { vec![1] } else { self.seen.clone() }
    }
    fn left(&self) -> u64 {
        self.hi - self.lo
    }
}

impl DivisibleKind for Numbers {
    fn name(&self) -> &str {
        "numbers"
    }
    fn reduce(&self) -> Vec<Reduce> {
        vec![Reduce::Sum, Reduce::Max]
    }
    fn start(&self, args: &[String]) -> Result<Box<dyn Divisible>, String> {
        let [n, wrong, padding] = args else { return Err("numbers: give three arguments".into()) };
        assert!(wrong != "start", "in start");
        self.unpack(format!("0 {n} {wrong} {padding} ").as_bytes())
    }
    fn unpack(&self, bag: &[u8]) -> Result<Box<dyn Divisible>, String> {
        let text = str::from_utf8(bag).map_err(|e| e.to_string())?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let [lo, hi, wrong, padding] = words[..] else { return Err("numbers: no bag".into()) };
        assert!(wrong != "unpack", "in unpack");
        let number = |w: &str| w.parse::<u64>().map_err(|e| e.to_string());
        let (lo, hi, padding) = (number(lo)?, number(hi)?, number(padding)? as usize);
        Ok(Box::new(Bag { gate: self.0.clone(), lo, hi, seen: vec![0, 0], wrong: wrong.to_owned(), padding }))
    }
}

/// A node that knows `numbers`.
fn world() -> (World, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let kind = Numbers(gate.clone());
    let world = World::knowing(|h| {
        h.divisible(kind);
    });
    (world, gate)
}

fn divisible(name: &str, args: &[&str], reduce: &[Reduce]) -> Group {
    let args = args.iter().map(|a| Template::literal(*a)).collect();
    group(Program::Divisible { name: name.into(), args, reduce: reduce.to_vec() })
}

fn numbers(n: u64, wrong: &str, padding: usize) -> Arc<Manifest> {
    divisible("numbers", &[&n.to_string(), wrong, &padding.to_string()], &[Reduce::Sum, Reduce::Max]).job()
}

/// Starts task 0 or a part of it.
fn start(w: &World, launch: u64, manifest: &Arc<Manifest>, slot: u16, part: Option<Content>) {
    let mut b = batch(launch, manifest, Range::new(0, 1));
    (b.slot, b.part) = (slot, part);
    w.exec.start(b);
}

#[track_caller]
fn tally(report: Report) -> (u64, Vec<u64>, Option<Content>) {
    let Report::Bag { launch, tally, rest, .. } = report else { panic!("{report:?}") };
    (launch, tally, rest)
}

#[track_caller]
fn split(report: Report) -> (u64, u64, Option<Content>) {
    let Report::Split { launch, ask, bag } = report else { panic!("{report:?}") };
    (launch, ask, bag)
}

#[track_caller]
fn failure(report: Report) -> String {
    let Report::BagFailed { cause: Cause::Handler(why), text, .. } = report else { panic!("{report:?}") };
    assert_eq!(why, text);
    why
}

fn a_whole_task_is_counted() {
    let w = World::new();
    let m = divisible("uts", &["geo:4,7,19"], &[Reduce::Sum, Reduce::Sum, Reduce::Max]).job();
    start(&w, 1, &m, 0, None);
    let Ok(mut alone) = Kinds::builtin().get("uts").unwrap().start(&["geo:4,7,19".into()]) else { panic!() };
    alone.process(u64::MAX).unwrap();
    assert_eq!(tally(w.report()), (1, alone.tally(), None));
    assert!(w.exec.offers().contains(&"divisible:uts".to_owned()));
}

fn parts_add_up_to_the_whole() {
    let (w, gate) = world();
    start(&w, 1, &numbers(100, "ok", 0), 0, None);
    gate.step();
    w.exec.split(1, 7, Duration::ZERO);
    w.exec.split(1, 8, Duration::ZERO);
    gate.step();
    let (launch, ask, bag) = split(w.report());
    assert_eq!((launch, ask), (1, 7), "in the order of the calls");
    let (_, 8, Some(second)) = split(w.report()) else { panic!() };
    // Worth more than there is.
    w.exec.split(1, 9, Duration::from_secs(3600));
    gate.step();
    assert_eq!(split(w.report()), (1, 9, None));
    gate.open();
    let (_, mine, None) = tally(w.report()) else { panic!() };
    let m = numbers(100, "ok", 0);
    start(&w, 2, &m, 1, bag);
    let (2, first, None) = tally(w.report()) else { panic!() };
    start(&w, 3, &m, 0, Some(second));
    let (3, second, None) = tally(w.report()) else { panic!() };
    assert_eq!(mine[0] + first[0] + second[0], 100);
    assert_eq!(first[1], 99, "the largest");
    assert!([&mine, &second].iter().all(|t| t[1] < 99));
}

/// Two slots that take from each other whenever they can: a schedule of the machine's own making, and the same counts.
fn every_division_of_a_tree_counts_the_same() {
    let w = World::new();
    let tree = "bin:500,0.124875,8,42";
    let m = divisible("uts", &[tree], &[Reduce::Sum, Reduce::Sum, Reduce::Max]).job();
    let Ok(mut alone) = Kinds::builtin().get("uts").unwrap().start(&[tree.into()]) else { panic!() };
    alone.process(u64::MAX).unwrap();
    let (mut next, mut free, mut running, mut waiting) = (1, vec![0u16, 1], Vec::new(), vec![None]);
    let (mut sum, mut parts, mut asked) = (vec![0; 3], 0, false);
    loop {
        while let (Some(part), Some(slot)) = (waiting.pop(), free.last().copied()) {
            free.pop();
            start(&w, next, &m, slot, part);
            running.push((next, slot));
            next += 1;
        }
        if running.is_empty() {
            break;
        }
        if !asked && !free.is_empty() {
            w.exec.split(running[0].0, next, Duration::from_micros(50));
            asked = true;
        }
        match w.report() {
            Report::Split { bag, .. } => {
                asked = false;
                parts += usize::from(bag.is_some());
                waiting.extend(bag.map(Some));
            }
            report => {
                let (launch, t, None) = tally(report) else { panic!() };
                let at = running.iter().position(|(l, _)| *l == launch).unwrap();
                free.push(running.remove(at).1);
                sum = vec![sum[0] + t[0], sum[1] + t[1], sum[2].max(t[2])];
            }
        }
    }
    assert_eq!(sum, alone.tally(), "in {parts} parts");
}

fn what_is_nearly_done_says_so_once() {
    let (w, gate) = world();
    start(&w, 1, &numbers(3, "ok", 0), 0, None);
    gate.open();
    assert_eq!(w.any_report(), Report::EndsSoon { launch: 1 });
    assert_eq!(tally(w.any_report()).0, 1);
}

fn long_parts_are_blobs() {
    let (w, gate) = world();
    let m = numbers(10, "ok", limits::INLINE_OUTPUT);
    start(&w, 1, &m, 0, None);
    gate.reached();
    w.exec.split(1, 1, Duration::ZERO);
    gate.step();
    let (_, _, Some(bag @ Content::Blob(..))) = split(w.report()) else { panic!("too long to travel inside") };
    gate.open();
    let (_, mine, _) = tally(w.report());
    start(&w, 2, &m, 0, Some(bag));
    let (_, theirs, _) = tally(w.report());
    assert_eq!((mine[0] + theirs[0], theirs[1]), (10, 9));
    // A blob that is not here is nobody's fault but this node's.
    start(&w, 3, &m, 0, Some(Content::Blob(BlobId([9; 32]), 5)));
    assert!(matches!(w.report(), Report::Bounced { launch: 3, .. }));
}

fn who_does_not_run_gives_nothing() {
    let (mut w, gate) = world();
    w.exec.split(99, 1, Duration::ZERO);
    assert_eq!(split(w.report()), (99, 1, None), "never heard of");
    start(&w, 1, &numbers(3, "ok", 0), 0, None);
    start(&w, 2, &numbers(3, "ok", 0), 0, None);
    gate.reached();
    w.exec.split(2, 2, Duration::ZERO);
    assert_eq!(split(w.report()), (2, 2, None), "waits in the slot");
    gate.open();
    assert_eq!((tally(w.report()).0, tally(w.report()).0), (1, 2));
    w.exec.split(2, 3, Duration::ZERO);
    assert_eq!(split(w.report()), (2, 3, None), "has ended");
    w.exec.checkpoint(2);
    let sleeping = handler("sleep", &["1h"]).job();
    let launch = w.start(&sleeping, Range::new(0, 1));
    crate::world::eventually("it runs", || !w.exec.running().is_empty());
    w.exec.split(launch, 4, Duration::ZERO);
    assert_eq!(split(w.report()), (launch, 4, None), "cannot be split");
    w.exec.stop(launch);
    assert!(matches!(w.report(), Report::Bounced { .. }));
}

fn what_ends_where_it_is_goes_on_elsewhere() {
    let (w, gate) = world();
    let m = numbers(10, "ok", 0);
    start(&w, 1, &m, 0, None);
    gate.step();
    gate.step();
    w.exec.checkpoint(1);
    gate.open();
    let (1, first, Some(rest)) = tally(w.report()) else { panic!() };
    assert_eq!(first, [3, 2], "the step that was begun counts");
    start(&w, 2, &m, 1, Some(rest));
    assert_eq!(tally(w.report()), (2, vec![7, 9], None), "a later bag does not inherit the wish to end");
}

fn what_has_not_begun_ends_with_everything_left() {
    let (w, gate) = world();
    let m = numbers(4, "ok", 0);
    start(&w, 1, &m, 0, None);
    start(&w, 2, &m, 0, None);
    gate.reached();
    w.exec.checkpoint(2);
    gate.open();
    assert_eq!(tally(w.report()), (1, vec![4, 3], None));
    let (2, none, Some(rest)) = tally(w.report()) else { panic!() };
    assert_eq!(none, [0, 0]);
    start(&w, 3, &m, 0, Some(rest));
    assert_eq!(tally(w.report()), (3, vec![4, 3], None));
}

fn a_full_disk_keeps_the_part_here() {
    let (w, gate) = world();
    w.store.full.store(true, Ordering::Relaxed);
    start(&w, 1, &numbers(10, "ok", limits::INLINE_OUTPUT), 0, None);
    gate.reached();
    for ask in 1..=3 {
        w.exec.split(1, ask, Duration::ZERO);
        gate.step();
        assert_eq!(split(w.report()), (1, ask, None));
    }
    w.exec.checkpoint(1);
    gate.open();
    assert_eq!(tally(w.report()), (1, vec![10, 9], None), "nothing is lost, and the rest is not kept either");
}

fn a_part_that_is_too_long_stays_here() {
    let (w, gate) = world();
    start(&w, 1, &numbers(10, "ok", limits::MAX_BAG), 0, None);
    gate.reached();
    w.exec.split(1, 1, Duration::ZERO);
    gate.step();
    assert_eq!(split(w.report()), (1, 1, None));
    gate.open();
    assert_eq!(tally(w.report()), (1, vec![10, 9], None));
}

fn stop_answers_every_call() {
    let (w, gate) = world();
    start(&w, 1, &numbers(10, "ok", 0), 0, None);
    gate.reached();
    w.exec.split(1, 1, Duration::ZERO);
    w.exec.split(1, 2, Duration::ZERO);
    w.exec.stop(1);
    gate.open();
    assert_eq!(split(w.report()), (1, 1, None));
    assert_eq!(split(w.report()), (1, 2, None));
    assert!(matches!(w.report(), Report::Bounced { launch: 1, tasks, .. } if tasks == Range::new(0, 1)));
}

fn a_panic_anywhere_fails_the_task_only() {
    let (w, gate) = world();
    gate.open();
    for wrong in ["start", "process", "tally", "unpack"] {
        start(&w, 1, &numbers(2, wrong, 0), 0, None);
        assert_eq!(failure(w.report()), format!("panicked: in {wrong}"));
    }
    let (w, gate) = world();
    start(&w, 2, &numbers(9, "split", 0), 0, None);
    gate.reached();
    w.exec.split(2, 5, Duration::ZERO);
    gate.open();
    assert_eq!(split(w.report()), (2, 5, None), "answered all the same");
    assert_eq!(failure(w.report()), "panicked: in split");
    let (w, gate) = world();
    start(&w, 3, &numbers(9, "pack", 0), 0, None);
    gate.reached();
    w.exec.checkpoint(3);
    gate.open();
    assert_eq!(failure(w.report()), "panicked: in pack");
    start(&w, 4, &numbers(9, "ok", 0), 0, None);
    assert_eq!(tally(w.report()).1, [9, 8], "the slot lives");
}

fn hostile_bags_fail_the_task_only() {
    let w = World::new();
    let m = divisible("uts", &["T1"], &[Reduce::Sum, Reduce::Sum, Reduce::Max]).job();
    let noise: Vec<u8> = (0..4000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (n, bytes) in [vec![], vec![0xff; 100], noise, vec![1; limits::MAX_BAG + 1]].into_iter().enumerate() {
        let part = if bytes.len() > limits::INLINE_OUTPUT {
            Content::Blob(w.store.put(&bytes), bytes.len() as u64)
        } else {
            Content::Inline(bytes)
        };
        start(&w, n as u64, &m, 0, Some(part));
        let why = failure(w.report());
        assert!(why.starts_with("uts: a bag that is none"), "{why}");
    }
    let m = divisible("uts", &["T9"], &[Reduce::Sum, Reduce::Sum, Reduce::Max]).job();
    start(&w, 9, &m, 0, None);
    assert!(failure(w.report()).contains("`T9` is no tree"));
}

fn handlers_that_break_their_promise_fail() {
    let (w, gate) = world();
    gate.open();
    for (wrong, want) in
        [("error", "as it was told"), ("idle", "made no progress"), ("short", "1 numbers instead of 2")]
    {
        start(&w, 1, &numbers(5, wrong, 0), 0, None);
        let why = failure(w.report());
        assert!(why.contains(want), "{why}");
    }
    start(&w, 2, &divisible("numbers", &["5", "ok", "0"], &[Reduce::Sum]).job(), 0, None);
    let why = failure(w.report());
    assert!(why.contains("by sum, max on this node, by sum in the job"), "{why}");
}

fn time_limits_are_seen() {
    let (w, _gate) = world();
    start(
        &w,
        1,
        &divisible("numbers", &["18000000000000000000", "free", "0"], &[Reduce::Sum, Reduce::Max]).limits(30, 0).job(),
        0,
        None,
    );
    assert!(matches!(w.report(), Report::BagFailed { launch: 1, cause: Cause::TimedOut, .. }));
}

fn batches_that_cannot_be_bounce() {
    let (w, gate) = world();
    gate.open();
    let mut group = divisible("numbers", &["5", "ok", "0"], &[Reduce::Sum, Reduce::Max]);
    group = group.array(0, 1, 3);
    w.exec.start(batch(1, &group.job(), Range::new(0, 3)));
    assert!(matches!(w.report(), Report::Bounced { launch: 1, tasks, .. } if tasks == Range::new(0, 3)));
    start(&w, 2, &handler("noop", &[]).job(), 0, Some(Content::default()));
    assert!(matches!(w.report(), Report::Bounced { launch: 2, .. }));
    start(&w, 3, &divisible("unheard-of", &[], &[Reduce::Sum]).job(), 0, None);
    assert!(matches!(w.report(), Report::Bounced { launch: 3, why, .. } if why.contains("`unheard-of`")));
    start(&w, 4, &divisible("numbers", &["5", "ok", "0"], &[Reduce::Sum, Reduce::Max]).job(), 9, None);
    assert!(matches!(w.report(), Report::Bounced { launch: 4, .. }));
}

fn one_name_is_one_handler() {
    let mut h = Handlers::builtin();
    assert!(h.names().any(|n| n == "uts") && h.kinds().get("uts").is_some());
    h.register("uts", |_| Ok(Vec::new()));
    assert!(h.kinds().get("uts").is_none());
    h.divisible(filch_exec::Uts);
    assert_eq!((h.names().filter(|n| *n == "uts").count(), h.kinds().names().count()), (1, 1));
    let some = h.only(&["uts".to_owned(), "noop".to_owned()]);
    assert_eq!(some.names().collect::<Vec<_>>(), ["noop", "uts"]);
}
