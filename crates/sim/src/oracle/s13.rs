//! S13: one steward epoch never holds two live leases for a task; seen from outside, every execution of a task has an attempt
//! number of its own. The same number may come again only after the earlier execution of it was stopped or bounced, so that
//! it does not count. Guards P8, P13, and that both sides of a steal never keep a task.
//!
//! A copy of what straggles is the declared exception: its steward keeps it apart from the leases, there is at most one per
//! task, it is beside a lease of another node, and it has an attempt number of its own.

use filch_types::NodeId;
use filch_types::ranges::RangeMap;

use super::{Oracle, Seen};
use crate::fault::DiskAfter;
use crate::history::End;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S13 {
    /// A steward whose disk was lost has forgotten its round: numbers may then repeat.
    forgetful: bool,
}

impl Oracle for S13 {
    fn rule(&self) -> &'static str {
        "S13"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Crashed { disk: DiskAfter::Wiped | DiskAfter::RolledBack, .. } => self.forgetful = true,
            Seen::Runs { host, job, index, run } if !self.forgetful => {
                let same = |r: &&crate::history::Run| r.attempt == run.attempt;
                let earlier = world.history.of(*job, *index).iter().find(same);
                if let Some(e) = earlier.filter(|e| !matches!(e.end, Some((_, End::Stopped)))) {
                    return Err(format!(
                        "{job:?}#{index} runs twice as attempt {:#x}: at n{} from {} us and at n{host}",
                        run.attempt, e.host, e.start
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        for (h, host) in world.hosts.iter().enumerate() {
            let Some(node) = &host.node else { continue };
            for job in host.disk.image.jobs.keys() {
                let Some(leases) = node.leases(*job) else { continue };
                let mut all = RangeMap::default();
                for (range, who) in leases.held {
                    if all.overlapping(range).next().is_some() {
                        return Err(format!("n{h} leases {range:?} of {job:?} twice"));
                    }
                    all.insert(range, who);
                }
                let mut copied = RangeMap::default();
                for (range, who) in leases.copies {
                    let beside = |(_, holder): (_, &NodeId)| *holder != who;
                    if copied.overlapping(range).next().is_some()
                        || !all.gaps(range).is_empty()
                        || !all.overlapping(range).all(beside)
                    {
                        return Err(format!("n{h} has {range:?} of {job:?} copied without one lease elsewhere"));
                    }
                    copied.insert(range, who);
                }
            }
        }
        Ok(())
    }
}
