//! L3: copies return to k, or to as many as there are nodes to keep them. Guards P12. Only in runs whose repair does not wait
//! for minutes.

use super::{Oracle, copies, live_jobs};
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct L3;

/// Repairs that wait longer are not waited for.
const PATIENT_US: u64 = 60_000_000;

impl Oracle for L3 {
    fn rule(&self) -> &'static str {
        "L3"
    }

    fn waits(&self, world: &World) -> Option<String> {
        if world.options.timing.repair.0 > PATIENT_US {
            return None;
        }
        for job in live_jobs(world) {
            if let Some((have, want)) = copies(world, job).filter(|(have, want)| have < want) {
                return Some(format!("{job:?} has {have} of {want} copies"));
            }
        }
        None
    }
}
