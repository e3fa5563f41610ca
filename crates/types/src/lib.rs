//! Everything two filch nodes must agree on: ids, manifests, facts, wire messages, records on disk, limits.
//!
//! No IO, no clock, no randomness: this crate compiles for `wasm32-unknown-unknown`.

pub mod ask;
pub mod bag;
pub mod codec;
pub mod epoch;
pub mod fact;
pub mod ids;
pub mod items;
pub mod limits;
pub mod manifest;
pub mod members;
pub mod paths;
pub mod ranges;
pub mod record;
pub mod result;
pub mod sign;
pub mod template;
pub mod time;
pub mod wire;

pub use bag::{BagOutcome, BagResult, Child, TaskRef};
pub use epoch::Epoch;
pub use fact::{Fact, FactBody, SignedFact};
pub use ids::{BagId, BlobId, FactId, JobId, MachineId, NodeId, Nonce, StoreId};
pub use manifest::{JobSpec, Manifest, SignedManifest};
pub use ranges::{RangeMap, RangeSet};
pub use result::{Cause, Content, Outcome, ResultRun, TaskOutput};
pub use time::Timestamp;
