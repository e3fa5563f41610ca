//! The libp2p adapter: commands in, events out, members only.
//!
//! One task owns the swarm and translates; it decides nothing about jobs. Who is dialled when is in `book`, how often the
//! LAN is asked in `pace`, who is a member in `membership`: each without a swarm, each with its own tests.

pub mod address;
mod behaviour;
mod book;
mod config;
mod counters;
mod driver;
mod exchange;
mod frame;
mod handle;
mod lan;
mod membership;
mod messages;
mod mux;
mod pace;
mod refusals;
mod requests;
#[cfg(test)]
mod rogue;
mod start;
mod streams;
mod transport;

pub use config::{NetConfig, NetError, NetLimits};
pub use counters::NetCounters;
pub use handle::{Command, Net, NetEvent, Overflow};
pub use start::start;
pub use streams::{BlobStream, StreamError};
