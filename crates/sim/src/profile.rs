//! Draws the options of a run from a seed.

use filch_core::Timing;
use filch_types::manifest::EdgeKind;
use filch_types::time::Span;

use crate::fault::{CLASSES, Class, DiskAfter, Fault, Planned};
use crate::options::{
    Action, DiskOptions, Duration, GroupPlan, JobPlan, Leaves, LinkOptions, NodeOptions, Options, Profile, Work,
};
use crate::rng::{Dice, Source};

const S: u64 = 1_000_000;
const MS: u64 = 1_000;

struct Draw<R> {
    dice: Dice<R>,
    profile: Profile,
    classes: Vec<Class>,
    nodes: usize,
    end: u64,
}

impl Options {
    /// The run that this profile and seed name.
    pub fn draw(profile: Profile, seed: u64) -> Self {
        let mut options = Draw::new(profile, Dice::stream(seed, profile.name())).options(seed);
        options.draw_trees(&mut Dice::stream(seed, "trees"));
        options.draw_edges(&mut Dice::stream(seed, "edges"));
        options.draw_rows(&mut Dice::stream(seed, "rows"));
        options
    }
    /// The run that these bytes spell: the same generator as [`Options::draw`], for whoever makes up bytes. The first eight are the
    /// seed of everything that happens in the run. Never fails; bytes that are missing are 0, bytes too many are not read.
    pub fn from_bytes(profile: Profile, bytes: &[u8]) -> Self {
        let mut dice = Dice::bytes_of(bytes);
        let seed = dice.bits();
        Draw::new(profile, dice).options(seed)
    }
}

impl Options {
    /// Makes some jobs divisible, or adds one. On a stream of its own: what else a seed draws stays as it was.
    fn draw_trees(&mut self, dice: &mut Dice) {
        if !dice.one_in(3) {
            return;
        }
        let tree = match dice.below(3) {
            0 => format!("bin:{},0.12,8,{}", dice.between(20, 120), dice.below(1_000)),
            1 => format!("geo:4,{},{}", dice.between(3, 5), dice.below(1_000)),
            _ => format!("geo:3,{},{}", dice.between(4, 7), dice.below(1_000)),
        };
        let work = Work { tree: Some(tree), unit_us: dice.log_between(50, 5_000), ..Work::default() };
        let group =
            GroupPlan { tasks: dice.between(1, 3) as u32, retries: dice.below(3) as u16, ..GroupPlan::default() };
        let calm = self.profile == Profile::FaultFree;
        let at = dice.below(self.faults_until * 2 / 3);
        self.jobs.push(JobPlan {
            at: if calm { 2 * S + at } else { at },
            node: dice.below(self.nodes.len() as u64) as usize,
            copies: dice.one_in(3).then(|| dice.between(1, 3) as u8),
            attended: dice.one_in(3),
            groups: vec![group],
            work,
            then: Vec::new(),
        });
        if dice.one_in(3) {
            // Small pieces: more of everything that can go wrong between them.
            self.timing.bag_gift = Span::millis(dice.between(2, 50));
            self.timing.bag_run = Span::millis(dice.between(20, 2_000));
        }
        self.settle_us += 240 * S;
    }

    /// What is rare by itself: parts that fail, revocations that meet each other or a full disk, periods for large clusters. On a stream of
    /// its own, too.
    fn draw_edges(&mut self, dice: &mut Dice) {
        let calm = self.profile == Profile::FaultFree;
        if !calm && dice.one_in(3) {
            let trees = self.jobs.iter_mut().filter(|j| j.work.tree.is_some());
            trees.for_each(|j| j.work.flaky_ppm = dice.log_between(5_000, 300_000) as u32);
        }
        if dice.one_in(4) {
            self.draw_revocations(dice);
        }
        if self.profile == Profile::Scale && dice.one_in(3) {
            self.timing = Timing { submit: self.timing.submit, repair: self.timing.repair, ..Timing::large() };
            // A member that fell silent with nothing to do is missed at its next probe only.
            self.settle_us += self.timing.idle_beat.0 * 3 / 2;
        }
    }

    /// Rows of ledgers rot where disks do.
    fn draw_rows(&mut self, dice: &mut Dice) {
        if self.profile != Profile::Disks || dice.one_in(3) {
            return;
        }
        let nodes = self.nodes.len() as u64;
        for _ in 0..dice.between(1, 20) {
            let at = dice.between(S / 2, self.faults_until);
            self.faults.push(Planned { at, fault: Fault::RowRot { node: dice.below(nodes) as usize } });
        }
        self.faults.sort_by_key(|p| p.at);
    }

    /// Two people end a job within seconds, wherever they are; where disks fill up, the first one's is full just then.
    fn draw_revocations(&mut self, dice: &mut Dice) {
        let nodes = self.nodes.len() as u64;
        let job = dice.below(self.jobs.len() as u64) as usize;
        let Some(job) = self.jobs.get_mut(job) else { return };
        let first = dice.between(3 * S, 10 * S);
        let full = self.faults.iter().any(|p| p.fault.class() == Class::Disk);
        for after in [first, first + dice.log_between(1, 5 * S)] {
            let what = if dice.one_in(2) { Action::Cancel } else { Action::Delete };
            job.then.push((after, dice.below(nodes) as usize, what));
        }
        let (at, node) = (job.at + first - S, job.then[job.then.len() - 2].1);
        if full && at < self.faults_until && dice.one_in(2) {
            self.faults.push(Planned { at, fault: Fault::DiskFull { node, for_us: dice.between(3 * S, 30 * S) } });
            self.faults.sort_by_key(|p| p.at);
        }
    }

    /// The command that runs them again.
    pub fn command(&self) -> String {
        let drawn = Self { mutant: self.mutant, ..Self::draw(self.profile, self.seed) };
        if *self != drawn {
            return "filch sim replay FILE, with what `Schedule::record` makes of these options in FILE".into();
        }
        let planted = self.mutant.map_or(String::new(), |m| format!(" --mutant {}", crate::mutants::name(m)));
        format!("filch sim replay {}:{}{planted}", self.profile.name(), self.seed)
    }
}

impl<R: Source> Draw<R> {
    fn new(profile: Profile, mut dice: Dice<R>) -> Self {
        let nodes = match profile {
            Profile::Minimal => 2,
            Profile::Scale => dice.between(24, 48) as usize,
            Profile::FaultFree => dice.between(1, 8) as usize,
            Profile::Disks => dice.between(4, 6) as usize,
            _ => dice.between(2, 7) as usize,
        };
        let classes: Vec<Class> = match profile {
            Profile::FaultFree => Vec::new(),
            Profile::Crash | Profile::Scale => vec![Class::Crash],
            Profile::Disks => vec![Class::Wipe, Class::BitRot, Class::Crash],
            _ => CLASSES.into_iter().filter(|_| dice.one_in(2)).collect(),
        };
        let end = dice.between(20, 90) * S;
        Self { dice, profile, classes, nodes, end }
    }
    fn has(&self, class: Class) -> bool {
        self.classes.contains(&class)
    }
    fn calm(&self) -> bool {
        self.profile == Profile::FaultFree
    }

    fn options(mut self, seed: u64) -> Options {
        let mut o = Options::calm(seed, self.nodes, 1);
        o.profile = self.profile;
        o.nodes = (0..self.nodes).map(|n| self.node(n)).collect();
        if !o.nodes.iter().any(|n| n.slots > 0 && n.able) {
            (o.nodes[0].slots, o.nodes[0].able) = (1, true);
        }
        o.link = self.link();
        o.disk = self.disk();
        o.in_order = self.dice.one_in(3);
        o.result_copies = self.dice.between(1, 3) as u8;
        o.timing = self.timing();
        o.faults_until = self.end;
        if self.profile == Profile::Disks {
            // Copies take seconds, so that a disk is lost between the first of them and the last.
            o.link.blob_bytes_per_s = self.dice.log_between(300_000, 5_000_000);
            o.disk.commit_us = self.dice.log_between(10 * MS, 300 * MS);
        }
        let slots: u64 = o.nodes.iter().filter(|n| n.able).map(|n| u64::from(n.slots)).sum();
        let jobs = self.dice.between(1, 4);
        o.jobs = (0..jobs).map(|_| self.job(slots * self.end / 2 / jobs)).collect();
        o.faults = self.faults();
        o.core_extra = if self.dice.one_in(2) { usize::MAX } else { self.dice.between(0, 2) as usize };
        if self.calm() {
            o.core_extra = usize::MAX;
        } else if self.dice.one_in(4) {
            o.bounce_ppm = 10_000;
        }
        let work: u64 = o.jobs.iter().map(|j| u64::from(j.total()) * mean(&j.work)).sum();
        let moved: u64 = o.jobs.iter().map(results).sum();
        o.settle_us = 240 * S + 6 * work + 6 * moved * S / o.link.blob_bytes_per_s;
        o
    }

    fn node(&mut self, n: usize) -> NodeOptions {
        let late = !self.calm() && self.dice.one_in(6);
        let drifts = self.has(Class::Clock);
        NodeOptions {
            slots: if self.dice.one_in(8) { 0 } else { self.dice.between(1, 4) as u16 },
            machine: if self.dice.one_in(5) { 0 } else { n as u32 },
            able: !self.dice.one_in(12),
            start_us: if late { self.dice.below(self.end / 2) } else { self.dice.below(20 * MS) },
            clock_ppm: if drifts { self.dice.below(20_000) as i32 - 10_000 } else { 0 },
            clock_us: self.dice.log_between(1, 1 << 45),
            speed_pct: 100,
        }
    }

    fn link(&mut self) -> LinkOptions {
        let calm = self.calm();
        let near_us = self.dice.log_between(50, 20 * MS);
        let lossy = self.has(Class::Loss);
        LinkOptions {
            near_us,
            far_us: near_us * self.dice.between(1, 4),
            jitter_us: self.dice.log_between(10, 5 * MS),
            spike_ppm: if calm { 0 } else { self.dice.below(20_000) as u32 },
            spike_us: self.dice.log_between(MS, 2 * S),
            loss_ppm: if lossy { self.dice.log_between(100, 50_000) as u32 } else { 0 },
            dup_ppm: if lossy { self.dice.log_between(100, 50_000) as u32 } else { 0 },
            blob_bytes_per_s: self.dice.log_between(1_000_000, 1_000_000_000),
            unreachable_ppm: 0,
            gossip_loss_ppm: if calm {
                0
            } else {
                *[0, 10_000, 300_000, 1_000_000].get(self.dice.below(4) as usize).unwrap_or(&0)
            },
            gossip_us: self.dice.log_between(500, 500 * MS),
            dial_us: self.dice.log_between(MS, 2 * S),
        }
    }

    fn disk(&mut self) -> DiskOptions {
        let rolls = self.has(Class::RollBack);
        DiskOptions {
            commit_us: self.dice.log_between(100, 30 * MS),
            jitter_us: self.dice.log_between(100, 20 * MS),
            group: self.dice.log_between(1, 1000) as usize,
            independent: !self.calm() && self.dice.one_in(3),
            image_us: if rolls { self.dice.between(2, 20) * S } else { 0 },
        }
    }

    fn timing(&mut self) -> Timing {
        let mut t = Timing::default();
        if self.dice.one_in(2) {
            t.repair = Span::secs(self.dice.between(5, 30));
        }
        t.submit = Span::secs(self.dice.between(20, 120));
        t
    }

    fn job(&mut self, work_us: u64) -> JobPlan {
        let mean_us = self.dice.log_between(200, 3 * S);
        let tasks = (work_us / mean_us).clamp(1, self.dice.log_between(1, 600)) as u32;
        let wipes = self.profile == Profile::Disks;
        let copies = if wipes || self.dice.one_in(3) {
            Some(self.dice.between(if wipes { 3 } else { 1 }, 3) as u8)
        } else {
            None
        };
        let takes = match self.dice.below(3) {
            0 => Duration::Fixed(mean_us),
            1 => Duration::Uniform(mean_us / 2, mean_us * 3 / 2),
            _ => Duration::Tail(mean_us),
        };
        let calm = self.calm();
        let poison = self.has(Class::Crash) && self.dice.one_in(8);
        let work = Work {
            takes,
            straggle_ppm: if self.dice.one_in(4) { 10_000 } else { 0 },
            straggle: self.dice.between(2, 20) as u32,
            broken_ppm: if self.dice.one_in(5) { 30_000 } else { 0 },
            flaky_ppm: if !calm && self.dice.one_in(5) { 50_000 } else { 0 },
            poison: poison.then(|| self.dice.below(u64::from(tasks)) as u32),
            leaves: match self.dice.below(4) {
                0 => Leaves::Blob(self.dice.log_between(5_000, if wipes { 50_000 } else { 1_000_000 })),
                1 => Leaves::Inline(self.dice.log_between(1, 4_000) as u16),
                _ => Leaves::Nothing,
            },
            varies: self.dice.one_in(3),
            ..Work::default()
        };
        let groups = self.groups(tasks);
        let at = self.dice.below(self.end * 2 / 3);
        JobPlan {
            at: if calm { 2 * S + at } else { at },
            node: self.dice.below(self.nodes as u64) as usize,
            copies,
            attended: self.dice.one_in(3),
            groups,
            work,
            then: self.actions(),
        }
    }

    fn groups(&mut self, tasks: u32) -> Vec<GroupPlan> {
        let count = if tasks >= 6 && self.dice.one_in(3) { self.dice.between(2, 3) as u32 } else { 1 };
        let even = self.dice.one_in(2);
        let mut out: Vec<GroupPlan> = Vec::new();
        for g in 0..count {
            let size =
                if even || count == 1 { tasks / count } else { self.dice.between(1, u64::from(tasks / count)) as u32 };
            let size = size.max(1);
            let inputs = (0..self.dice.below(3)).map(|_| self.dice.log_between(100, 5_000_000)).collect();
            let mut needs = Vec::new();
            if g > 0 && !self.dice.one_in(3) {
                let on = self.dice.below(u64::from(g)) as u16;
                let same = out.get(usize::from(on)).is_some_and(|o| o.tasks == size);
                let each = same && self.dice.one_in(2);
                needs.push((on, if each { EdgeKind::Elementwise } else { EdgeKind::All }));
            }
            out.push(GroupPlan {
                tasks: size,
                item_bytes: self.dice.one_in(3).then(|| self.dice.log_between(100, 100_000)),
                inputs,
                needs,
                retries: self.dice.below(4) as u16,
            });
        }
        out
    }

    fn actions(&mut self) -> Vec<(u64, usize, Action)> {
        let mut out = Vec::new();
        let node = |d: &mut Self| d.dice.below(d.nodes as u64) as usize;
        if self.dice.one_in(3) {
            let at = self.dice.below(self.end);
            out.push((at, node(self), Action::Watch));
        }
        if self.dice.one_in(4) {
            let at = self.dice.log_between(10 * MS, self.end);
            let what = if self.dice.one_in(2) { Action::Cancel } else { Action::Delete };
            out.push((at, node(self), what));
        }
        out
    }

    fn faults(&mut self) -> Vec<Planned> {
        if self.classes.is_empty() {
            return Vec::new();
        }
        let (least, most) = match self.profile {
            Profile::Scale => (1, 6),
            Profile::Disks => (10, 40),
            _ => (1, 12),
        };
        let mut out: Vec<Planned> = (0..self.dice.between(least, most))
            .filter_map(|_| {
                let at = self.dice.between(S / 2, self.end);
                let classes = self.classes.clone();
                let class = self.dice.pick(&classes)?;
                Some(Planned { at, fault: self.fault(class) })
            })
            .collect();
        out.sort_by_key(|p| p.at);
        out
    }

    fn fault(&mut self, class: Class) -> Fault {
        let node = self.dice.below(self.nodes as u64) as usize;
        let for_us = self.dice.log_between(50 * MS, if self.profile == Profile::Disks { 2 * S } else { 30 * S });
        let crash = |disk, power| Fault::Crash { node, down_us: for_us, disk, power };
        let power = self.dice.one_in(3);
        match class {
            Class::Crash => crash(DiskAfter::Kept, power),
            Class::Wipe => crash(DiskAfter::Wiped, power),
            Class::RollBack => crash(DiskAfter::RolledBack, power),
            Class::Pause => Fault::Pause { node, for_us, suspend: self.dice.one_in(2) },
            Class::Cut => {
                let mut side: Vec<usize> = (0..self.nodes).filter(|_| self.dice.one_in(2)).collect();
                if side.is_empty() || side.len() == self.nodes {
                    side = vec![node];
                }
                Fault::Cut { side, one_way: self.dice.one_in(4), for_us }
            }
            Class::Clog => {
                let b = (node + 1 + self.dice.below(self.nodes.max(2) as u64 - 1) as usize) % self.nodes;
                Fault::Clog { a: node, b, extra_us: self.dice.log_between(MS, 5 * S), for_us }
            }
            Class::Loss => Fault::Loss { ppm: self.dice.log_between(1_000, 400_000) as u32, for_us },
            Class::Disk if self.dice.one_in(2) => Fault::DiskFull { node, for_us },
            Class::Disk => Fault::DiskSlow { node, factor: self.dice.between(2, 300) as u32, for_us },
            Class::BitRot => Fault::BitRot { node },
            Class::RowRot => Fault::RowRot { node },
            Class::Clock => Fault::ClockJump { node, by_us: self.dice.log_between(MS, 3600 * S) },
            Class::Drain => Fault::Drain { node, back_us: (!self.dice.one_in(4)).then_some(for_us) },
            Class::Sick => Fault::Sick { node, for_us },
            Class::Leave => Fault::Leave { node },
            Class::Forge => Fault::Forge { node },
        }
    }
}

/// Bytes that the results of a job are.
fn results(job: &JobPlan) -> u64 {
    match job.work.leaves {
        Leaves::Blob(len) => len * u64::from(job.total()),
        Leaves::Inline(_) | Leaves::Nothing => 0,
    }
}

fn mean(work: &Work) -> u64 {
    let takes = match work.takes {
        Duration::Fixed(us) | Duration::Tail(us) => us,
        Duration::Uniform(lo, hi) => (lo + hi) / 2,
    };
    takes * (1 + u64::from(work.straggle) * u64::from(work.straggle_ppm) / 1_000_000)
}
