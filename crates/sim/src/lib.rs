//! A world for `filch_core` nodes: virtual time, links, disks, executors, clocks and people, every fault, and oracles that
//! check the protocol's invariants after every event. The core under test is the one that the product runs.
//!
//! Nothing here reads a clock, a file or the environment: a seed and its options determine a run.

pub mod check;
pub mod churn;
pub mod clients;
pub mod clock;
pub mod corpus;
pub mod digest;
pub mod disk;
pub mod fault;
pub mod history;
pub mod host;
pub mod known;
pub mod load;
pub mod model;
pub mod mutants;
mod net;
pub mod options;
pub mod oracle;
mod overlay;
pub mod plan;
mod profile;
mod queue;
pub mod report;
pub mod rng;
pub mod scenario;
pub mod schedule;
pub mod shelf;
pub mod shrink;
pub mod sim;
mod storage;
pub mod svg;
pub mod timeline;
mod trace;
mod work;
pub mod world;

pub use fault::{DiskAfter, Fault, Planned};
pub use options::{JobPlan, Options, Profile};
pub use oracle::Violation;
pub use report::Report;
pub use scenario::Scenario;
pub use schedule::Schedule;
pub use shrink::{Shrunk, shrink};
pub use sim::{Builder, Failure, Sim, Submitted, Summary};
pub use world::World;
