//! Faults take place and end; nodes crash, pause, drain, leave and come back.

use std::collections::BTreeSet;

use filch_core::Input;
use filch_types::sign::Simulated;
use filch_types::wire::Message;
use filch_types::{Fact, FactBody, FactId, JobId, NodeId, Outcome, ResultRun, SignedFact, StoreId, TaskOutput};

use crate::clock::Clock;
use crate::disk::Disk;
use crate::fault::{DiskAfter, Fault, Planned};
use crate::host::{Host, Paused, Slot};
use crate::options::Profile;
use crate::oracle::Seen;
use crate::shelf::Shelf;
use crate::timeline::Mark;
use crate::world::{Ev, World};

/// Between tries of a fault that cannot take place yet.
const FAULT_AGAIN_US: u64 = 10_000;

/// What ends a fault.
#[derive(Clone, Debug)]
pub(crate) enum Undo {
    Start(usize),
    /// After a drain: begins to count when the process has ended.
    Back(usize),
    Resume(usize),
    Uncut(Vec<(usize, usize)>),
    Unclog(usize, usize, u64),
    Lossless,
    DiskRoom(usize),
    DiskFast(usize),
    Well(usize),
}

impl World {
    /// Plans a fault for later, from a test.
    pub fn inject(&mut self, at: u64, fault: Fault) {
        self.options.faults.push(Planned { at, fault });
        let fault = self.options.faults.len() - 1;
        self.queue.push(at.max(self.now), Ev::Fault { fault });
    }

    pub(crate) fn fault(&mut self, n: usize) {
        if self.settling {
            return self.refused.push(n);
        }
        let fault = self.options.faults[n].fault.clone();
        self.note(|| format!("fault {n}: {fault:?}"));
        let Some((undo, for_us)) = self.begin_fault(&fault) else { return self.fault_refused(n) };
        self.stats.faults += 1;
        let until = undo.is_some().then(|| self.now.saturating_add(for_us));
        self.chronicle(Mark::Fault { fault: n, until });
        let Some(undo) = undo else { return };
        let drains = match undo {
            Undo::Back(h) => self.hosts[h].is_up(),
            _ => false,
        };
        self.active.insert(n, undo);
        if !drains {
            self.after(for_us, Ev::FaultEnd { fault: n });
        }
    }

    /// It cannot take place now; a test's own faults try for a while.
    fn fault_refused(&mut self, n: usize) {
        let until = self.options.faults[n].at.saturating_add(self.fault_patience_us);
        if self.now < until {
            return self.after(FAULT_AGAIN_US, Ev::Fault { fault: n });
        }
        self.refused.push(n);
    }

    /// `None` if it cannot take place now.
    fn begin_fault(&mut self, fault: &Fault) -> Option<(Option<Undo>, u64)> {
        let usable = |w: &World, h: usize| w.hosts.get(h).is_some_and(|x| x.is_up() && !x.frozen);
        if let Some(h) = fault.node()
            && !usable(self, h)
        {
            return None;
        }
        Some(match *fault {
            Fault::Crash { node, down_us, disk, power } => {
                if disk != DiskAfter::Kept && !self.may_lose(node) {
                    return None;
                }
                self.crash(node, disk, power);
                (Some(Undo::Start(node)), down_us)
            }
            Fault::Pause { node, for_us, suspend } => {
                if self.hosts[node].paused.is_some() {
                    return None;
                }
                self.hosts[node].paused = Some(Paused { suspend });
                if suspend {
                    // Nobody answers any more; connections break when the peers' patience ends.
                    self.drop_far_ends(node);
                }
                (Some(Undo::Resume(node)), for_us)
            }
            Fault::Cut { ref side, one_way, for_us } => {
                let rest: Vec<usize> = (0..self.hosts.len()).filter(|h| !side.contains(h)).collect();
                let cuts = self.cut(side, &rest, one_way);
                (Some(Undo::Uncut(cuts)), for_us)
            }
            Fault::Split { ref side, ref from, for_us } => {
                let cuts = self.cut(side, from, false);
                (Some(Undo::Uncut(cuts)), for_us)
            }
            Fault::Clog { a, b, extra_us, for_us } => {
                for pair in [(a, b), (b, a)] {
                    *self.net.clogs.entry(pair).or_default() += extra_us;
                }
                (Some(Undo::Unclog(a, b, extra_us)), for_us)
            }
            Fault::Loss { ppm, for_us } => {
                self.net.loss_ppm = ppm;
                (Some(Undo::Lossless), for_us)
            }
            Fault::DiskFull { node, for_us } => {
                self.hosts[node].disk.full += 1;
                (Some(Undo::DiskRoom(node)), for_us)
            }
            Fault::DiskSlow { node, factor, for_us } => {
                self.hosts[node].disk.slow = factor;
                (Some(Undo::DiskFast(node)), for_us)
            }
            Fault::BitRot { node } => return self.rot(node).then_some((None, 0)),
            Fault::RowRot { node } => return self.rot_row(node).then_some((None, 0)),
            Fault::ClockJump { node, by_us } => {
                let now = self.now;
                self.hosts[node].clock.jump(now, by_us);
                self.hosts[node].armed = None;
                self.arm(node);
                (None, 0)
            }
            Fault::Drain { node, back_us } => {
                self.seen(&Seen::Struck { host: node });
                self.hosts[node].draining = true;
                self.feed(node, Input::Drain);
                // It ends when the node has, which nobody knows in advance: `drain_ends`.
                (back_us.map(|_| Undo::Back(node)), back_us.unwrap_or(0))
            }
            Fault::Sick { node, for_us } => {
                self.seen(&Seen::Struck { host: node });
                self.hosts[node].sick += 1;
                (Some(Undo::Well(node)), for_us)
            }
            Fault::Forge { node } => return self.forge(node).then_some((None, 0)),
            Fault::Leave { node } => {
                let works = |h: &Host| !h.frozen && h.options.able && h.options.slots > 0;
                let others = self.hosts.iter().enumerate().any(|(o, h)| o != node && works(h));
                if !others || !self.may_lose(node) {
                    return None;
                }
                self.leave(node);
                (None, 0)
            }
        })
    }

    pub(crate) fn fault_end(&mut self, n: usize) {
        let Some(undo) = self.active.remove(&n) else { return };
        self.note(|| format!("fault {n} ends"));
        match undo {
            Undo::Start(h) | Undo::Back(h) => self.start(h),
            Undo::Resume(h) => self.resume(h),
            Undo::Uncut(cuts) => self.uncut(cuts),
            Undo::Unclog(a, b, extra) => {
                for pair in [(a, b), (b, a)] {
                    let clog = self.net.clogs.entry(pair).or_default();
                    *clog = clog.saturating_sub(extra);
                }
            }
            Undo::Lossless => self.net.loss_ppm = 0,
            Undo::DiskRoom(h) => self.hosts[h].disk.full = self.hosts[h].disk.full.saturating_sub(1),
            Undo::DiskFast(h) => self.hosts[h].disk.slow = 1,
            Undo::Well(h) => self.hosts[h].sick = self.hosts[h].sick.saturating_sub(1),
        }
    }

    /// Whether the disk of this node can be lost without losing more than the protocol promises to survive: every job that
    /// was accepted, and every result that was said to be visible, is held by another node that has not left.
    pub fn may_lose(&self, h: usize) -> bool {
        if self.options.profile == Profile::OverBudget {
            return true;
        }
        let others = || (0..self.hosts.len()).filter(move |&o| o != h && !self.hosts[o].frozen);
        for (&job, kept) in &self.hosts[h].disk.image.jobs {
            if self.deleted_anywhere(job) {
                continue;
            }
            let accepted = self.history.accepted.contains_key(&job);
            if accepted && !others().any(|o| self.holds_all(o, job) && !self.hosts[o].rotten.contains(&job)) {
                return false;
            }
            // What is still owed, or of a job that was not accepted, was promised to nobody; what rotted elsewhere has to be somewhere.
            let rotted = |id: &FactId| others().any(|o| self.hosts[o].lost(id));
            let counts = |id: &&FactId| (accepted && !kept.outbox.contains(*id)) || rotted(id);
            if !kept.facts.keys().filter(counts).all(|id| others().any(|o| self.has_result(o, job, id))) {
                return false;
            }
        }
        true
    }

    /// The process dies. With `power`, nobody is told.
    pub(crate) fn crash(&mut self, h: usize, disk: DiskAfter, power: bool) {
        self.note(|| format!("n{h} crashes, disk {disk:?}, power {power}"));
        self.seen(&Seen::Struck { host: h });
        let steps = self.hosts[h].fetches.values().filter_map(|f| f.step.as_ref());
        let under_way: Vec<_> = steps.filter_map(|(_, blobs)| blobs.first().copied()).collect();
        self.stop_process(h);
        self.drop_conns(h, |w| {
            if power { w.streams.churn.between(3_000_000, 40_000_000) } else { w.streams.churn.between(200, 6_000) }
        });
        let independent = self.options.disk.independent;
        let dice = &mut self.streams.disk;
        let count = self.hosts[h].disk.writing.len() + self.hosts[h].disk.waiting.len();
        // What was being written may have made it; what waited was not even begun.
        let cut = dice.below(count as u64 + 1) as usize;
        let coins: Vec<bool> = (0..count).map(|n| if independent { dice.one_in(2) } else { n < cut }).collect();
        for (n, pending) in self.hosts[h].disk.take_open().iter().enumerate() {
            if coins.get(n) == Some(&true) {
                self.make_durable(h, pending);
            }
        }
        for (blob, len) in under_way {
            let came = self.streams.blobs.below(len.max(1));
            self.hosts[h].shelf.interrupt(blob, came);
        }
        let mut dice = self.streams.disk.clone();
        self.hosts[h].shelf.crash(|| dice.one_in(2));
        self.streams.disk = dice;
        self.history.forgetful |= disk != DiskAfter::Kept;
        self.lose_disk(h, disk);
        if power {
            // The machine starts again: its clock counts from about nothing.
            let ppm = self.hosts[h].options.clock_ppm;
            let shows = self.streams.churn.between(1_000_000, 60_000_000);
            self.hosts[h].clock = Clock::new(self.now, shows, ppm);
        }
        self.seen(&Seen::Crashed { host: h, disk });
    }

    fn stop_process(&mut self, h: usize) {
        self.drain_ends(h);
        self.executors_die(h);
        self.chronicle(Mark::Down { host: h });
        self.calls_die(h);
        let slots = usize::from(self.hosts[h].options.slots);
        let host = &mut self.hosts[h];
        host.node = None;
        host.paused = None;
        host.backlog.clear();
        host.untold.clear();
        host.armed = None;
        host.fetches.clear();
        host.slots = vec![Slot::default(); slots];
    }

    fn lose_disk(&mut self, h: usize, disk: DiskAfter) {
        match disk {
            DiskAfter::Kept => {}
            DiskAfter::Wiped => {
                let store = StoreId(self.streams.churn.bytes());
                let host = &mut self.hosts[h];
                host.disk = Disk { full: host.disk.full, slow: host.disk.slow, ..Disk::default() };
                host.shelf = Shelf::default();
                host.store = store;
                host.boot = 0;
                host.rotten.clear();
                host.decayed.clear();
                host.perished.clear();
            }
            DiskAfter::RolledBack => {
                let images = self.hosts[h].disk.older.len();
                let pick = self.streams.churn.below(images as u64) as usize;
                let host = &mut self.hosts[h];
                if let Some(image) = host.disk.older.get(pick).cloned() {
                    host.disk.image = image;
                    host.disk.older.truncate(pick + 1);
                }
            }
        }
    }

    /// Far ends of a silent node's connections go down after a while.
    fn drop_far_ends(&mut self, h: usize) {
        for (conn, is_a) in self.net.conns_of(h) {
            let far = self.streams.churn.between(5_000_000, 40_000_000);
            let near = far + self.streams.churn.between(0, 10_000_000);
            self.after(far, Ev::ConnDown { conn, at_a: !is_a });
            self.after(near, Ev::ConnDown { conn, at_a: is_a });
        }
    }

    fn resume(&mut self, h: usize) {
        if self.hosts[h].paused.take().is_none() {
            return;
        }
        self.note(|| format!("n{h} resumes"));
        let timers_first = self.streams.churn.one_in(2);
        self.hosts[h].armed = None;
        if timers_first {
            let local = self.hosts[h].clock.local(self.now);
            if let Some(node) = &mut self.hosts[h].node
                && node.poll_timeout().is_some_and(|d| d.at <= local)
            {
                node.handle_timeout(local);
                self.pump(h);
            }
        }
        let backlog = std::mem::take(&mut self.hosts[h].backlog);
        for input in backlog {
            self.feed(h, input);
        }
        self.pump(h);
        self.dial_all(h);
    }

    fn cut(&mut self, side: &[usize], from: &[usize], one_way: bool) -> Vec<(usize, usize)> {
        let side: BTreeSet<usize> = side.iter().copied().collect();
        let from: BTreeSet<usize> = from.iter().copied().collect();
        let mut cuts = Vec::new();
        for a in 0..self.hosts.len() {
            for b in 0..self.hosts.len() {
                let leaves = side.contains(&a) && from.contains(&b);
                let enters = from.contains(&a) && side.contains(&b);
                if leaves || (enters && !one_way) {
                    cuts.push((a, b));
                }
            }
        }
        for pair in &cuts {
            *self.net.cuts.entry(*pair).or_default() += 1;
        }
        self.paths_changed();
        // Connections over the cut break sooner or later, or outlive it.
        let mut over: Vec<u64> = self
            .net
            .conns
            .iter()
            .filter(|(_, c)| {
                (side.contains(&c.a) && from.contains(&c.b)) || (from.contains(&c.a) && side.contains(&c.b))
            })
            .map(|(id, _)| *id)
            .collect();
        over.sort_unstable();
        for conn in over {
            match self.streams.churn.below(3) {
                0 => {
                    let (a, b) =
                        (self.streams.churn.between(1_000, 300_000), self.streams.churn.between(1_000, 300_000));
                    self.break_conn(conn, a, b);
                }
                1 => {
                    let (a, b) = (
                        self.streams.churn.between(1_000_000, 30_000_000),
                        self.streams.churn.between(1_000_000, 30_000_000),
                    );
                    self.break_conn(conn, a, b);
                }
                _ => {}
            }
        }
        cuts
    }

    fn uncut(&mut self, cuts: Vec<(usize, usize)>) {
        self.paths_changed();
        for pair in cuts {
            let Some(n) = self.net.cuts.get_mut(&pair) else { continue };
            *n -= 1;
            if *n == 0 {
                self.net.cuts.remove(&pair);
                self.heal(pair.0, pair.1);
            }
        }
    }

    /// A member sends a result of a task that nobody ran, in another member's name.
    fn forge(&mut self, h: usize) -> bool {
        let jobs: Vec<JobId> = self.hosts[h].disk.image.jobs.keys().copied().collect();
        let peers: Vec<usize> = self.hosts[h].ends.keys().copied().collect();
        let dice = &mut self.streams.churn;
        let (Some(job), Some(from), Some(name)) = (dice.pick(&jobs), dice.pick(&peers), dice.pick(&peers)) else {
            return false;
        };
        let total = self.info(job).map_or(1, |i| i.total);
        let index = self.streams.churn.below(u64::from(total)) as u32;
        let result = ResultRun::one(index, 1, 1, Outcome::Success(TaskOutput::default()));
        let (by, keys) = (self.hosts[name].id, Simulated(NodeId::default()));
        let Ok(fact) = SignedFact::sign(&Fact { job, by, body: FactBody::Pack(vec![result]) }, &keys) else {
            return false;
        };
        let from = self.hosts[from].id;
        self.feed(h, Input::Message(from, Message::Facts(vec![fact])));
        true
    }

    /// A node goes and stays away.
    pub(crate) fn leave(&mut self, h: usize) {
        if self.hosts[h].is_up() {
            self.crash(h, DiskAfter::Kept, true);
        }
        self.hosts[h].frozen = true;
        self.note(|| format!("n{h} leaves for good"));
    }

    /// The core says that it is drained: the process ends in an orderly way.
    pub(crate) fn drained(&mut self, h: usize) {
        self.note(|| format!("n{h} is drained"));
        self.stop_process(h);
        // What it still wrote gets written.
        for pending in &self.hosts[h].disk.take_open() {
            self.make_durable(h, pending);
        }
        self.drop_conns(h, |w| w.streams.churn.between(200, 6_000));
        self.seen(&Seen::Crashed { host: h, disk: DiskAfter::Kept });
        if self.settling {
            // It was told before the core froze, and its people want it back.
            self.after(1_000_000, Ev::Start { host: h });
        }
    }

    /// Its process ends: from now on the time counts until it is started again.
    fn drain_ends(&mut self, h: usize) {
        let this = |(n, undo): (&usize, &Undo)| matches!(undo, Undo::Back(b) if *b == h).then_some(*n);
        let Some(n) = self.active.iter().find_map(this).filter(|_| self.hosts[h].draining) else { return };
        if let Fault::Drain { back_us: Some(back_us), .. } = self.options.faults[n].fault {
            self.after(back_us, Ev::FaultEnd { fault: n });
        }
    }
    /// Whether no fault but drains is under way.
    pub fn only_drains(&self) -> bool {
        self.active.values().all(|undo| matches!(undo, Undo::Back(_)))
    }

    /// A task takes its node down.
    pub(crate) fn poisoned(&mut self, h: usize, after_us: u64) {
        let down_us = self.streams.churn.between(500_000, 8_000_000);
        let crash = Fault::Crash { node: h, down_us, disk: DiskAfter::Kept, power: false };
        self.options.faults.push(Planned { at: self.now + after_us, fault: crash });
        let fault = self.options.faults.len() - 1;
        self.after(after_us.max(1), Ev::Fault { fault });
    }

    /// Faults end; a core of nodes that holds a copy of every accepted job goes on alone, all others are frozen.
    pub fn settle(&mut self) {
        let active: Vec<usize> = self.active.keys().copied().collect();
        active.into_iter().for_each(|n| self.fault_end(n));
        let core = self.choose_core();
        self.note(|| format!("faults end; the core is {core:?}"));
        for h in 0..self.hosts.len() {
            if !core.contains(&h) && !self.hosts[h].frozen {
                self.leave(h);
            }
        }
        self.settling = true;
        for &h in &core {
            self.start(h);
        }
        for &a in &core {
            self.dial_all(a);
        }
    }

    fn choose_core(&mut self) -> BTreeSet<usize> {
        let alive: Vec<usize> = (0..self.hosts.len()).filter(|h| !self.hosts[*h].frozen).collect();
        let mut order = alive.clone();
        self.streams.churn.shuffle(&mut order);
        let mut core = BTreeSet::new();
        let jobs: Vec<JobId> = self.history.accepted.keys().copied().filter(|j| !self.deleted_anywhere(*j)).collect();
        for job in jobs {
            let holds = |h: &usize| self.holds_all(*h, job) && !self.hosts[*h].rotten.contains(&job);
            if !core.iter().any(holds)
                && let Some(h) = order.iter().copied().find(holds)
            {
                core.insert(h);
            }
        }
        self.keep_sound_copies(&mut core);
        let works = |h: &usize| self.hosts[*h].options.slots > 0 && self.hosts[*h].options.able;
        if !core.iter().any(works)
            && let Some(h) = order.iter().copied().find(works)
        {
            core.insert(h);
        }
        let extra = self.options.core_extra;
        let rest: Vec<usize> = order.into_iter().filter(|h| !core.contains(h)).take(extra).collect();
        core.extend(rest);
        // Those who came last may lack something, too.
        self.keep_sound_copies(&mut core);
        core
    }
}
