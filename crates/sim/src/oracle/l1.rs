//! L1: every job completes. Once faults have ended, every accepted job that nobody revoked reaches an end within the bound,
//! at every node of the core that keeps it, and every task has exactly the end that it must have: those that can succeed
//! did, unless they used up their crash budget. Guards P5, P7, P8, P13.

use filch_core::view::Role;
use filch_types::wire::JobState;
use filch_types::{JobId, Manifest};

use super::{Oracle, core_keepers, live_jobs};
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct L1;

impl Oracle for L1 {
    fn rule(&self) -> &'static str {
        "L1"
    }

    fn waits(&self, world: &World) -> Option<String> {
        for job in live_jobs(world) {
            let keepers = core_keepers(world, job);
            let wants_end = |h: &usize| view(world, *h, job).is_none_or(|v| v.state == JobState::Active);
            if let Some(h) = keepers.iter().copied().find(wants_end) {
                let view = view(world, h, job).map(|v| (v.state, v.counts, v.steward));
                return Some(format!("{job:?} does not complete at n{h}: {view:?}"));
            }
        }
        None
    }

    fn at_end(&mut self, world: &World) -> Result<(), String> {
        for job in live_jobs(world) {
            // A late repair over a slow link may still be under way.
            for h in core_keepers(world, job).into_iter().filter(|h| !world.hosts[*h].fetches_facts(job)) {
                exact(world, h, job)?;
            }
        }
        Ok(())
    }
}

fn view(world: &World, h: usize, job: JobId) -> Option<filch_core::view::JobView> {
    world.hosts[h].node.as_ref()?.job(job).filter(|v| v.role == Role::Replica)
}

/// Whether the tasks ended as they must.
fn exact(world: &World, h: usize, job: JobId) -> Result<(), String> {
    let (Some(view), Some(info)) = (view(world, h, job), world.info(job)) else { return Ok(()) };
    let c = view.counts;
    if c.waiting + c.queued + c.leased + c.succeeded + c.failed + c.cancelled != c.total {
        return Err(format!("n{h}: counts of {job:?} do not add up: {c:?}"));
    }
    if world.history.revoke_asked.contains_key(&job) {
        return Ok(());
    }
    let work = world.work_of(&info);
    let hopeless = (0..info.total).filter(|i| world.is_broken(job, *i, &work)).count() as u64;
    // Poison, and tasks next to it, may use up a budget; flaky ones their retries.
    let lucky = work.poison.is_none() && work.flaky_ppm == 0 && world.history.lost == 0 && world.stats.faults == 0;
    let chained = info.manifest.spec.groups.iter().any(|g| !g.needs.is_empty());
    if lucky && !chained && (c.failed != hopeless || c.succeeded != c.total - hopeless) {
        return Err(format!("n{h}: {job:?} should have {hopeless} failures: {c:?}"));
    }
    let wrong = match view.state {
        JobState::Succeeded => c.succeeded != c.total,
        JobState::Failed => c.failed == 0 && !skips(&info.manifest),
        _ => true,
    };
    if wrong { Err(format!("n{h}: {job:?} is {:?} with {c:?}", view.state)) } else { Ok(()) }
}

fn skips(manifest: &Manifest) -> bool {
    manifest.spec.groups.iter().any(|g| !g.needs.is_empty())
}
