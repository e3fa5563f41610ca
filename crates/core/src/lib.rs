//! The filch protocol as a pure state machine: no IO, no clock, no threads, no ambient randomness.
//!
//! [`Node`] is driven by `filch-node` over libp2p and by `filch-sim` in virtual time; both see the same code.

pub mod config;
pub mod io;
pub mod node;
pub mod view;

pub use config::{Config, Mutant, Timing};
pub use io::{
    AskId, ClientError, ClientId, Deadline, Event, FetchId, Input, Launch, LaunchId, Output, Part, Reply, ReqId,
    Ticket, Token,
};
pub use node::Node;
