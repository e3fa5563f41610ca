//! L4, of those who end a node: every drain ends. `filch down` is a call, too: once nothing runs any more, a node that drains hands its
//! results over and ends. It may wait for a slow disk and for others to fetch what it has; if nothing at all comes of it for
//! longer than it takes to notice a lost peer, to find another copy and to send again, it never ends. While faults last, only those moments
//! count at which nothing but drains is under way.

use std::collections::BTreeMap;

use super::Oracle;
use crate::world::World;

/// On top of the protocol's own periods: a slow link, a slow disk.
const MARGIN_US: u64 = 20_000_000;

/// What must change while a node drains: results that it owes, groups on their way to its disk, launches, its life.
type Mark = (usize, usize, usize, u32);

/// See the module.
#[derive(Default)]
pub struct Drains {
    still: BTreeMap<usize, (Mark, u64)>,
}

/// How long a drain may stand still.
fn patience(world: &World) -> u64 {
    let t = &world.options.timing;
    t.lease.0 + t.dead_after.0 + 3 * t.resend.0 + 2 * t.anti_entropy.0 + MARGIN_US
}

fn drains(world: &World, h: usize) -> bool {
    let host = &world.hosts[h];
    host.draining && host.is_up() && !host.frozen
}

impl Drains {
    /// Where the drain of this node stands; `None` if it has a reason to stand still.
    fn mark(world: &World, h: usize) -> Option<Mark> {
        let host = &world.hosts[h];
        let calm = world.settling || world.only_drains();
        let fetched = || {
            let steps = |o: &crate::host::Host| o.fetches.values().any(|f| f.step.as_ref().is_some_and(|s| s.0 == h));
            world.hosts.iter().any(steps)
        };
        if !drains(world, h) || !calm || host.paused.is_some() || host.launches() > 0 || fetched() {
            return None;
        }
        let owed = host.disk.image.jobs.values().map(|k| k.outbox.len()).sum();
        Some((owed, host.disk.writing.len() + host.disk.waiting.len(), host.fetches.len(), host.life))
    }
}

impl Oracle for Drains {
    fn rule(&self) -> &'static str {
        "L4"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        let mut still = BTreeMap::new();
        for h in 0..world.hosts.len() {
            let Some(mark) = Self::mark(world, h) else { continue };
            let since = self.still.get(&h).filter(|(before, _)| *before == mark).map_or(world.now, |(_, since)| *since);
            if world.now - since > patience(world) {
                return Err(format!("n{h} drains and does not end: {} results to deliver since {since} us", mark.0));
            }
            still.insert(h, (mark, since));
        }
        self.still = still;
        Ok(())
    }

    fn waits(&self, world: &World) -> Option<String> {
        (0..world.hosts.len()).find(|h| drains(world, *h)).map(|h| format!("n{h} drains"))
    }
}
