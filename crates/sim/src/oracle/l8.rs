//! L8: with the owner in the core, every task that has a result is pinned, and the owner is told so. Guards P6, P9.

use filch_core::view::Role;
use filch_types::wire::JobState;

use super::{Oracle, core_keepers, live_jobs};
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct L8;

impl Oracle for L8 {
    fn rule(&self) -> &'static str {
        "L8"
    }

    fn waits(&self, world: &World) -> Option<String> {
        for job in live_jobs(world) {
            let owner = world.info(job).and_then(|i| world.host_of(&i.manifest.owner));
            let Some(h) = owner.filter(|h| core_keepers(world, job).contains(h)) else { continue };
            let view = world.hosts[h].node.as_ref().and_then(|n| n.job(job)).filter(|v| v.role == Role::Replica);
            let Some(view) = view else { continue };
            let c = view.counts;
            let ended = matches!(view.state, JobState::Succeeded | JobState::Failed);
            if ended && c.finals != c.succeeded + c.failed {
                return Some(format!("the owner n{h} of {job:?} does not pin all results: {c:?}"));
            }
        }
        None
    }
}
