//! S9: a deleted job never returns; a cancelled one starts nothing new. A node whose disk has the cancel fact or the
//! tombstone launches nothing of the job; a tombstone is never followed by a manifest again; and once everything has settled,
//! every revocation that a client was told is done, and that somebody who is left remembers, holds at every node of the core. Guards P11.
//!
//! A revocation is acked with one copy (P2; P3 asks for k copies of a job, of nothing else): who is alone with a job must be able to delete it. So a
//! delete goes with the last who knows of it, and then nobody can tell the others. A cancel of the same job that is remembered elsewhere says
//! nothing of it, and has to hold for itself.

use filch_core::Output;
use filch_core::view::Role;
use filch_types::record::Record;
use filch_types::wire::JobState;
use filch_types::{FactBody, JobId};

use super::{Oracle, Seen};
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S9;

fn deleted_on_disk(world: &World, h: usize, job: JobId) -> bool {
    world.hosts[h].disk.image.jobs.get(&job).is_some_and(|kept| kept.tombstone.is_some())
}

fn revoked_on_disk(world: &World, h: usize, job: JobId) -> bool {
    if !world.history.revoke_asked.contains_key(&job) {
        return false;
    }
    let Some(kept) = world.hosts[h].disk.image.jobs.get(&job) else { return false };
    let cancels = |id| world.known.facts.get(id).is_some_and(|f| matches!(f.fact.body, FactBody::Cancel));
    kept.tombstone.is_some() || kept.facts.keys().any(cancels)
}

impl Oracle for S9 {
    fn rule(&self) -> &'static str {
        "S9"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Did { host, output: Output::Launch(l) } if revoked_on_disk(world, *host, l.job) => {
                return Err(format!("n{host} launches {:?} of {:?} after its end", l.tasks, l.job));
            }
            Seen::Durable { host, record } if !matches!(record, Record::Forget(..) | Record::Drop(_)) => {
                let kept = world.hosts[*host].disk.image.jobs.get(&record.job());
                if matches!(record, Record::Manifest(..) | Record::Held(_))
                    && kept.is_some_and(|k| k.tombstone.is_some())
                {
                    return Err(format!("n{host} keeps {:?} again after it was deleted", record.job()));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn waits(&self, world: &World) -> Option<String> {
        for (job, (deleted, _)) in &world.history.revoked {
            // Only those who are left can remember; if all who knew have left, nothing can be expected.
            let up = |h: &usize| world.hosts[*h].is_up() && !world.hosts[*h].frozen;
            if !(0..world.hosts.len()).filter(up).any(|h| revoked_on_disk(world, h, *job)) {
                continue;
            }
            let deleted = *deleted && (0..world.hosts.len()).filter(up).any(|h| deleted_on_disk(world, h, *job));
            // What nobody holds any more (more copies were lost than promised) can neither go on nor be made equal.
            if !deleted && !(0..world.hosts.len()).filter(up).any(|h| world.holds_all(h, *job)) {
                continue;
            }
            for h in (0..world.hosts.len()).filter(up) {
                let view = world.hosts[h].node.as_ref().and_then(|n| n.job(*job)).filter(|v| v.role == Role::Replica);
                let Some(view) = view else { continue };
                let fine = if deleted { view.state == JobState::Deleted } else { view.state != JobState::Active };
                if !fine {
                    return Some(format!("n{h} still has {job:?} as {:?}, though it was revoked", view.state));
                }
            }
        }
        None
    }
}
