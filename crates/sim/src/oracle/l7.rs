//! L7: a quiet cluster is quiet. When every job has ended and the copies agree, nodes say little more than a probe per pair
//! and period, nobody gossips, nothing is written. Guards lifelines, back-off, and every timer that should have stopped. A
//! job that still waits for a slow repair is no quiet cluster.

use filch_core::view::{JobView, Role};
use filch_types::wire::JobState;

use super::{Oracle, copies, live_jobs};
use crate::world::{Stats, World};

/// See the module.
#[derive(Default)]
pub struct L7 {
    before: Option<(u64, Stats)>,
}

fn views(world: &World) -> impl Iterator<Item = JobView> + '_ {
    world.hosts.iter().filter_map(|h| h.node.as_ref()).flat_map(filch_core::Node::jobs)
}

impl Oracle for L7 {
    fn rule(&self) -> &'static str {
        "L7"
    }

    fn quiet(&mut self, world: &World) {
        let thin = live_jobs(world).iter().any(|j| copies(world, *j).is_some_and(|(have, want)| have < want));
        // A job that was never accepted and whose inputs went with its owner stands still, and is not quiet.
        let stuck = views(world).any(|v| v.role == Role::Replica && v.state == JobState::Active);
        self.before = (!thin && !stuck).then_some((world.now, world.stats));
    }

    fn at_end(&mut self, world: &World) -> Result<(), String> {
        let Some((since, before)) = self.before else { return Ok(()) };
        let up = world.hosts.iter().filter(|h| h.is_up() && !h.frozen).count() as u64;
        let pairs = up * up.saturating_sub(1) / 2;
        let periods = (world.now - since) / world.options.timing.idle_beat.0 + 2;
        let said = world.stats.messages + world.stats.requests - before.messages - before.requests;
        let observers = views(world).filter(|j| j.role == Role::Observer).count() as u64;
        // An observer asks now and then whether its job is still there.
        let most = 2 * pairs * periods + observers * periods + 4;
        if said > most {
            return Err(format!("{said} messages in {} us of quiet, {most} would do", world.now - since));
        }
        let (gossips, commits) = (world.stats.gossips - before.gossips, world.stats.commits - before.commits);
        // Who was away when a job was deleted may hear of it late.
        let late = world.history.revoke_asked.len() as u64 * up;
        if gossips > 0 || commits > observers + late {
            return Err(format!("{gossips} summaries and {commits} commits while nothing happens"));
        }
        Ok(())
    }
}
