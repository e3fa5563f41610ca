//! A filch node: the core, driven over real disks, networks and processes, with its local HTTP API.
//!
//! [`up`] runs one. Inside, one thread owns the core ([`driver`]), one the ledger (`disk`); slots are threads of the executor;
//! everything else are tasks of a small tokio runtime. Every queue is bounded; where it overflows is written at its top.
//!
//! # Functions of one's own
//! A program that embeds a node registers Rust functions in it by name; jobs of any member name them, and every node that has a
//! function of that name may run them. `examples/own-functions.rs` is a whole one.
//! ```no_run
//! let mut config = filch_node::Config::load(None, filch_node::Settings::default())?;
//! config.registry.register("shout", |cx| Ok(cx.args().join(" ").to_uppercase().into_bytes()));
//! filch_node::up(config, |ready| eprintln!("{ready}"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! Work that splits while it runs implements [`Divisible`] and is added with [`Handlers::divisible`].

pub mod clock;
pub mod cluster_key;
pub mod config;
mod damage;
pub mod datadir;
mod delivery;
mod disk;
mod down;
pub mod driver;
mod error;
mod events;
mod facts;
mod fatal;
mod host;
mod http;
mod members;
mod names;
mod outlet;
mod packs;
mod pages;
mod port;
mod pump;
mod restore;
mod scrub;
mod stats;
mod transfer;
mod up;

pub use cluster_key::{ClusterKey, KeyError};
pub use config::{Config, ConfigError, Settings, TimingSettings};
pub use datadir::{DataDirError, check_ours};
pub use down::Down;
pub use error::UpError;
pub use fatal::EXIT as FATAL_EXIT;
pub use filch_exec::{Divisible, DivisibleKind, HandlerCx, Handlers, Kinds, Progress, Reduce};
pub use http::socket::SocketError;
pub use pages::spawner_main;
pub use up::{Ready, RunningNode, up};
