//! L4: every client call ends. A call at a node that stays up is answered, with what was asked for or with a reason, within
//! the limit of its kind; and no call is answered twice (checked where answers arrive). Guards P3, P15.

use std::collections::BTreeMap;

use filch_core::ClientId;
use filch_types::JobId;

use super::Oracle;
use crate::clients::Purpose;
use crate::host::Host;
use crate::world::World;

/// A revocation takes at most so long after faults have ended: a few requests, each with a limit.
const REVOKE_US: u64 = 60_000_000;
/// Slack on top of the protocol's own limit of a submit.
const SLACK_US: u64 = 30_000_000;

/// See the module.
#[derive(Default)]
pub struct L4 {
    /// Since when a call is open while faults are over.
    since: BTreeMap<ClientId, u64>,
}

impl Oracle for L4 {
    fn rule(&self) -> &'static str {
        "L4"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        if !world.settling {
            return Ok(());
        }
        for (id, call) in &world.clients.open {
            let since = *self.since.entry(*id).or_insert(world.now);
            let limit = match call.purpose {
                // Clocks may run slow.
                Purpose::Submit(_) => world.options.timing.submit.0 * 11 / 10 + SLACK_US,
                Purpose::Act(..) => REVOKE_US,
            };
            if world.hosts[call.host].life == call.life && world.now - since > limit {
                return Err(format!("n{} does not answer {id:?} ({:?})", call.host, call.purpose));
            }
        }
        self.since.retain(|id, _| world.clients.open.contains_key(id));
        Ok(())
    }

    fn waits(&self, world: &World) -> Option<String> {
        for (plan, job) in world.options.jobs.iter().enumerate() {
            let standing = world.clients.jobs.get(&plan).copied().unwrap_or_default();
            if world.hosts[job.node].frozen || standing.given_up {
                continue;
            }
            let up = world.hosts.iter().filter(|h| h.is_up() && !h.frozen).count();
            let hopeless = standing.short_of.is_some_and(|want| usize::from(want) > up);
            if !standing.accepted && !revoked(world, plan) && !hopeless {
                return Some(format!("job {plan} of the client at n{} is not accepted: {standing:?}", job.node));
            }
            for (action, (_, h, what)) in job.then.iter().enumerate() {
                let done = world.clients.done.contains_key(&(plan, action));
                if standing.accepted && !done && !world.hosts[*h].frozen && somebody_knows(world, standing.job) {
                    return Some(format!("{what:?} of job {plan} at n{h} is not done"));
                }
            }
        }
        None
    }
}

/// Whether any node that is left keeps the job or its tombstone (not only facts of it): the last copy may be lost while its
/// delete is on the way.
fn somebody_knows(world: &World, job: Option<JobId>) -> bool {
    let kept = |h: &Host| job.and_then(|j| h.disk.image.jobs.get(&j)).is_some_and(|k| k.held || k.tombstone.is_some());
    world.hosts.iter().any(|h| !h.frozen && kept(h))
}

fn revoked(world: &World, plan: usize) -> bool {
    let job = world.clients.jobs.get(&plan).and_then(|s| s.job);
    job.is_some_and(|j| world.history.revoke_asked.contains_key(&j))
}
