//! A world for `filch_core` nodes: virtual time, links, disks, executors, clocks and people, every fault, and oracles that
//! check the protocol's invariants after every event. The core under test is the one that the product runs.
//!
//! Nothing here reads a clock, a file or the environment: a seed and its options determine a run.
//!
//! # A cluster for your own tests
//!
//! A few lines make a cluster that runs your functions. They really compute; how long a task takes is virtual. A node dies
//! in the middle, and the result is still the right one:
//!
//! ```
//! use filch_sim::{Cluster, Done, Fault, Job, millis, secs};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut cluster = Cluster::builder()
//!     .nodes(5)
//!     .slots(2)
//!     .handler("count", |task| {
//!         let words = task.input().split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).count();
//!         Ok(Done::new(words.to_string()).takes(millis(300)))
//!     })
//!     .build()?;
//! let texts = ["to be or not to be", "that is the question", ""].repeat(40);
//! let job = cluster.submit(Job::map("count", texts))?;
//! cluster.at(secs(1), Fault::crash(2, secs(20)))?;
//!
//! cluster.advance(secs(2))?;
//! assert!(!cluster.is_up(2));
//! cluster.run_until_done(job)?;
//! assert_eq!(cluster.result(job, 0)?, b"6");
//! assert_eq!(cluster.result(job, 119)?, b"0");
//! assert!(cluster.executions(job) < 130, "what the dead node ran, and nothing else, ran twice");
//! # Ok(())
//! # }
//! ```
//!
//! Every rule of the protocol is checked on the way; a broken one is the error of [`Cluster::advance`] and its like.
//! [`Sim`] is the same world without handlers, for whoever tests filch itself.

pub mod census;
pub mod check;
pub mod churn;
pub mod clients;
pub mod clock;
pub mod cluster;
pub mod corpus;
pub mod digest;
pub mod disk;
pub mod divide;
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
mod programs;
mod queue;
pub mod report;
pub mod rng;
mod rot;
mod rows;
pub mod scenario;
pub mod schedule;
pub mod shelf;
pub mod shrink;
pub mod sim;
mod storage;
pub mod svg;
pub mod swarm;
pub mod telling;
pub mod timeline;
mod trace;
mod work;
pub mod world;

pub use filch_core::Mutant;

pub use cluster::{Cluster, Done, Job, JobRef, Task, millis, secs};
pub use fault::{DiskAfter, Fault, Planned};
pub use filch_types::wire::JobState;
pub use options::{JobPlan, Options, Profile};
pub use oracle::Violation;
pub use report::Report;
pub use scenario::Scenario;
pub use schedule::Schedule;
pub use shrink::{Shrunk, shrink};
pub use sim::{Failure, Sim, Submitted, Summary};
pub use world::World;
