//! S8: no execution without a manifest signed by someone whom the executor's policy allows: whatever runs is a task of a job
//! that a client really submitted to its owner, byte for byte, and every edge of the graph that leads to it is satisfied by
//! results somewhere. Guards signatures, and the fold's readiness.

use filch_types::manifest::EdgeKind;
use filch_types::{JobId, Manifest};

use super::{Oracle, Seen};
use crate::history::End;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S8;

fn succeeded(world: &World, job: JobId, index: u32) -> bool {
    world.history.of(job, index).iter().any(|r| matches!(r.end, Some((_, End::Done { success: true, .. }))))
}

fn ready(world: &World, job: JobId, manifest: &Manifest, index: u32) -> bool {
    let Some((_, group, n)) = manifest.spec.locate(index) else { return false };
    group.needs.iter().all(|edge| {
        let range = manifest.spec.group_range(usize::from(edge.group));
        match edge.kind {
            EdgeKind::All => (range.lo..range.hi).all(|i| succeeded(world, job, i)),
            EdgeKind::Elementwise => succeeded(world, job, range.lo + n),
        }
    })
}

impl Oracle for S8 {
    fn rule(&self) -> &'static str {
        "S8"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Runs { host, job, index, .. } = seen else { return Ok(()) };
        let Some(info) = world.info(*job) else { return Err(format!("n{host} runs a task of an unknown job")) };
        let Some(plan) = info.plan else { return Err(format!("n{host} runs {job:?} that nobody submitted")) };
        let owner = world.host_of(&info.manifest.owner);
        if world.options.jobs.get(plan).map(|p| p.node) != owner {
            return Err(format!("{job:?} was submitted elsewhere than at its owner {owner:?}"));
        }
        if !ready(world, *job, &info.manifest, *index) {
            return Err(format!("n{host} runs {job:?}#{index} before the tasks that it waits for have succeeded"));
        }
        Ok(())
    }
}
