//! L3: copies return to k, or to as many as there are nodes to keep them. Guards P12. Only in runs whose repair does not wait
//! for minutes. And whoever keeps a fact has what it names: what rotted was fetched again, or the fact is gone, unless it is final and nobody has
//! the bytes. Guards P4.

use filch_types::FactBody;

use super::{Oracle, copies, core_keepers, live_jobs};
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct L3;

/// Repairs that wait longer are not waited for.
const PATIENT_US: u64 = 60_000_000;

/// Somebody who keeps a fact without its bytes.
fn bare(world: &World) -> Option<String> {
    for job in live_jobs(world) {
        for h in core_keepers(world, job) {
            let host = &world.hosts[h];
            for fact in host.decayed.iter().filter(|f| host.disk.image.has_fact(job, f) && !world.has_result(h, job, f))
            {
                let bags = world.known.facts.get(fact).is_some_and(|i| matches!(i.fact.body, FactBody::Bags(_)));
                let lost = (bags || world.is_final(job, fact, None))
                    && !(0..world.hosts.len()).any(|o| world.has_result(o, job, fact));
                if !lost {
                    return Some(format!("n{h} keeps {fact:?} of {job:?} without its bytes"));
                }
            }
        }
    }
    None
}

impl Oracle for L3 {
    fn rule(&self) -> &'static str {
        "L3"
    }

    fn waits(&self, world: &World) -> Option<String> {
        if let Some(bare) = bare(world) {
            return Some(bare);
        }
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
