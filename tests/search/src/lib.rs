//! Exhaustive search of leases and steals: real `filch_core` nodes, three of them, three tasks, and every run that differs from the
//! undisturbed one in at most so many places.
//!
//! Left alone, packets arrive in the order in which they were sent and timers fire when they are due. A *deviation* is one packet
//! lost, doubled, overtaken, or late; one task that ends early; one node cut off or dead ([`Deviation`]). Bounding deviations instead
//! of depth is delay-bounded scheduling (Emmi, Qadeer, Rakamarić, POPL 2011): every run is followed to its end, so "no task is lost"
//! can be asked of all of them, and nothing grows without bound. stateright enumerates and keeps the visited states; a state is known
//! by the hash of all that its nodes, packets and tasks are.

mod model;
mod world;

pub use model::{Broken, Leases, Outcome, Reached, search};
pub use world::{Deviation, Limits, Setting, World};
