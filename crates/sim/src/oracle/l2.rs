//! L2: digests converge. All nodes of the core that keep a job come to hold the same facts, on disk and folded, and wait for no blobs of others; and where
//! there are r of them, nobody is left with a result that it could not deliver. Guards P5, P10.

use super::{Oracle, core_keepers, live_jobs};
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct L2;

impl Oracle for L2 {
    fn rule(&self) -> &'static str {
        "L2"
    }

    fn waits(&self, world: &World) -> Option<String> {
        for job in live_jobs(world) {
            let keepers = core_keepers(world, job);
            let facts = |h: usize| world.hosts[h].disk.image.jobs.get(&job).map(|k| k.facts.keys().collect::<Vec<_>>());
            let Some((&first, rest)) = keepers.split_first() else { continue };
            let want = facts(first);
            if let Some(&h) = rest.iter().find(|h| facts(**h) != want) {
                let (a, b) = (want.map_or(0, |f| f.len()), facts(h).map_or(0, |f| f.len()));
                return Some(format!("n{first} has {a} facts of {job:?}, n{h} has {b}, and they differ"));
            }
            if let Some(&h) = keepers.iter().find(|h| world.hosts[**h].fetches_facts(job)) {
                return Some(format!("n{h} still fetches what facts of {job:?} name"));
            }
            let r = world.info(job).map_or(0, |i| usize::from(i.manifest.r));
            let owes = |h: &usize| world.hosts[*h].disk.image.jobs.get(&job).is_some_and(|k| !k.outbox.is_empty());
            let knows = |n: &filch_core::Node| n.job(job).is_some();
            let up = |h: &usize| !world.hosts[*h].frozen && world.hosts[*h].node.as_ref().is_some_and(knows);
            if keepers.len() >= r
                && let Some(h) = (0..world.hosts.len()).filter(up).find(owes)
            {
                return Some(format!("n{h} still has results of {job:?} to deliver"));
            }
        }
        None
    }
}
