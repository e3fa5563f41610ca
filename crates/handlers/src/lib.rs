//! Work that splits while it runs: what a divisible handler is, and those that come with filch.
//!
//! A divisible task works off a *bag*: it processes a bounded number of units at a time, and between two such steps its bag can
//! be split, packed and sent elsewhere. What was counted is its *tally*, joined component by component ([`Reduce`]) over all
//! parts, however the work was split. No clock, no files, no threads: slots of real nodes and slots of the simulator run the
//! same code.

mod kinds;
mod uts;

pub use filch_types::manifest::Reduce;
pub use kinds::Kinds;
pub use uts::{Tree, TreeError, Uts};

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many units; the bag is not empty.
    More(u64),
    /// So many units; nothing is left.
    Done(u64),
}

/// An executor says once that a bag ends within about so many microseconds, so that the next one comes in time: a few round trips.
pub const ENDS_SOON_US: u64 = 1_000;

/// A bag in work.
///
/// For every schedule of steps, splits and packs, the joined tallies of all parts must be the same.
pub trait Divisible: Send {
    /// Processes about `budget` units, at least one if there are any. A unit should take far less than a millisecond.
    /// An error fails the task, on whatever node it runs: a matter of its data, not of the machine.
    fn process(&mut self, budget: u64) -> Result<Progress, String>;
    /// Gives away every other entry of the frontier (never the oldest half: it is worth nearly everything or nearly nothing),
    /// packed. `None` if what would be given is estimated at less than `least` units: crumbs cost more than they bring.
    fn split(&mut self, least: u64) -> Option<Vec<u8>>;
    /// What is left to do, without the tally; at most `limits::MAX_BAG` bytes if it is to go anywhere.
    fn pack(&self) -> Vec<u8>;
    /// What was counted since the start or unpacking.
    fn tally(&self) -> Vec<u64>;
    /// An estimate of the units left, at least the number of entries; 0 only if nothing is left.
    fn left(&self) -> u64;
}

/// A kind of divisible task, registered by name.
pub trait DivisibleKind: Send + Sync {
    /// The name that jobs ask for. Nodes offer it as `divisible:NAME`.
    fn name(&self) -> &str;
    /// How tallies are joined; as many as a tally has components, at most `limits::MAX_TALLY`.
    fn reduce(&self) -> Vec<Reduce>;
    /// The whole task; the error is for whoever wrote the arguments.
    fn start(&self, args: &[String]) -> Result<Box<dyn Divisible>, String>;
    /// A part of one. The bytes come from another node: anything may be in them.
    fn unpack(&self, bag: &[u8]) -> Result<Box<dyn Divisible>, String>;
}
