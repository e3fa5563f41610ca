//! L6: storage returns to its baseline after delete. Once everything has settled, a deleted job has no blob in the store and
//! nothing but its tombstone in the ledger of any node of the core that keeps or kept it; a node that only helped owes
//! nothing either. Guards Release, Forget, Drop.

use super::Oracle;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct L6;

impl Oracle for L6 {
    fn rule(&self) -> &'static str {
        "L6"
    }

    fn waits(&self, world: &World) -> Option<String> {
        for (job, (deleted, _)) in &world.history.revoked {
            if !deleted {
                continue;
            }
            let up = |h: &usize| world.hosts[*h].is_up() && !world.hosts[*h].frozen;
            let known = |h: usize| world.hosts[h].disk.image.jobs.get(job).is_some_and(|k| k.tombstone.is_some());
            if !(0..world.hosts.len()).filter(up).any(known) {
                continue;
            }
            for h in (0..world.hosts.len()).filter(up) {
                let host = &world.hosts[h];
                let blobs = host.shelf.of_job(*job).filter(|b| host.shelf.has(*b)).count();
                if blobs > 0 {
                    return Some(format!("n{h} still has {blobs} blobs of {job:?}, which was deleted"));
                }
                let kept = host.disk.image.jobs.get(job).filter(|k| k.manifest.is_some() || !k.facts.is_empty());
                if kept.is_some() {
                    return Some(format!("n{h} still has {job:?} in its ledger, which was deleted"));
                }
            }
        }
        None
    }
}
