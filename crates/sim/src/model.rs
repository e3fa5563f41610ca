//! The models that a run can replace: links, disks and executors. Each draws from its own stream.

use crate::options::{DiskOptions, Duration, LinkOptions, Work};
use crate::rng::Dice;

/// What becomes of one message: nothing, or the delays of its copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// The message itself.
    pub first: Option<u64>,
    /// A second copy of it.
    pub again: Option<u64>,
}

/// How links behave.
pub trait Links {
    /// One message from node to node. `extra_loss_ppm`: the fault of the day.
    fn carry(&mut self, from: usize, to: usize, extra_loss_ppm: u32) -> Carried;
    /// Whether these two can ever be connected.
    fn reachable(&self, a: usize, b: usize) -> bool;
    /// Time until a dial succeeds.
    fn dial(&mut self, a: usize, b: usize) -> u64;
    /// Time that so many bytes of blobs take.
    fn transfer(&mut self, from: usize, to: usize, bytes: u64) -> u64;
    /// Time that gossip takes to a peer; `None` if it never comes.
    fn gossip(&mut self, from: usize, to: usize) -> Option<u64>;
}

/// How disks behave.
pub trait Disks {
    /// Time of one commit.
    fn commit(&mut self, node: usize) -> u64;
}

/// How one execution goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// How long it takes.
    pub us: u64,
    /// Whether it fails in the end.
    pub fails: bool,
    /// It takes its node down half-way.
    pub kills: bool,
}

/// How executors behave.
pub trait Executors {
    /// One execution of task `index`; `broken` tasks always fail.
    fn run(&mut self, work: &Work, node: usize, index: u32, broken: bool) -> Course;
}

/// Links drawn from [`LinkOptions`].
pub struct DrawnLinks {
    options: LinkOptions,
    seed: u64,
    dice: Dice,
    gossip: Dice,
}

impl DrawnLinks {
    /// With the streams of this seed.
    pub fn new(options: LinkOptions, seed: u64) -> Self {
        Self { options, seed, dice: Dice::stream(seed, "links"), gossip: Dice::stream(seed, "gossip") }
    }
    /// A number of its own for every pair, without a table.
    fn of_pair(&self, a: usize, b: usize, salt: u64) -> u64 {
        let (lo, hi) = (a.min(b) as u64, a.max(b) as u64);
        let mut x = self.seed ^ salt ^ (lo << 32) ^ hi;
        for _ in 0..3 {
            x = (x ^ (x >> 31)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        }
        x ^ (x >> 32)
    }
    fn base(&self, a: usize, b: usize) -> u64 {
        let span = self.options.far_us.saturating_sub(self.options.near_us) + 1;
        self.options.near_us + self.of_pair(a, b, 1) % span
    }
    fn delay(&mut self, a: usize, b: usize) -> u64 {
        let spike = if self.dice.chance(self.options.spike_ppm) { self.options.spike_us } else { 0 };
        self.base(a, b) + self.dice.tail(self.options.jitter_us) + spike
    }
}

impl Links for DrawnLinks {
    fn carry(&mut self, from: usize, to: usize, extra_loss_ppm: u32) -> Carried {
        if self.dice.chance(self.options.loss_ppm.max(extra_loss_ppm)) {
            // Half of what a link loses is sent again by the transport and only comes late.
            let late = self.dice.one_in(2).then(|| self.dice.between(200_000, 3_000_000));
            return Carried { first: late, again: None };
        }
        let again = self.dice.chance(self.options.dup_ppm).then(|| self.delay(from, to) * 2 + 1_000);
        Carried { first: Some(self.delay(from, to)), again }
    }
    fn reachable(&self, a: usize, b: usize) -> bool {
        self.of_pair(a, b, 2) % 1_000_000 >= u64::from(self.options.unreachable_ppm)
    }
    fn dial(&mut self, a: usize, b: usize) -> u64 {
        3 * self.base(a, b) + self.dice.below(self.options.dial_us + 1)
    }
    fn transfer(&mut self, from: usize, to: usize, bytes: u64) -> u64 {
        let line = u128::from(bytes) * 1_000_000 / u128::from(self.options.blob_bytes_per_s.max(1));
        2 * self.delay(from, to) + u64::try_from(line).unwrap_or(u64::MAX / 4)
    }
    fn gossip(&mut self, from: usize, to: usize) -> Option<u64> {
        if self.gossip.chance(self.options.gossip_loss_ppm) {
            return None;
        }
        Some(self.base(from, to) + self.gossip.tail(self.options.gossip_us))
    }
}

/// Disks drawn from [`DiskOptions`].
pub struct DrawnDisks {
    options: DiskOptions,
    dice: Dice,
}

impl DrawnDisks {
    /// With the stream of this seed.
    pub fn new(options: DiskOptions, seed: u64) -> Self {
        Self { options, dice: Dice::stream(seed, "disks") }
    }
}

impl Disks for DrawnDisks {
    fn commit(&mut self, _node: usize) -> u64 {
        self.options.commit_us + self.dice.tail(self.options.jitter_us)
    }
}

/// Executors drawn from each job's [`Work`].
pub struct DrawnExecutors {
    dice: Dice,
}

impl DrawnExecutors {
    /// With the stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::stream(seed, "executors") }
    }
}

impl Executors for DrawnExecutors {
    fn run(&mut self, work: &Work, _node: usize, index: u32, broken: bool) -> Course {
        let us = match work.takes {
            Duration::Fixed(us) => us,
            Duration::Uniform(lo, hi) => self.dice.between(lo, hi),
            Duration::Tail(mean) => self.dice.tail(mean),
        };
        let slow = if self.dice.chance(work.straggle_ppm) { u64::from(work.straggle.max(1)) } else { 1 };
        let fails = self.dice.chance(work.flaky_ppm) || broken;
        Course { us: us * slow, fails, kills: work.poison == Some(index) }
    }
}
