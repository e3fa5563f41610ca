//! S2: a visible result survives the loss of any r-1 of its holders. When a worker decides to take a pack out of its outbox, r
//! replicas (or all of R, if it is smaller) have it on disk with the blobs that it names. A replica that was wiped counts no more than the
//! worker can believe: until it hears of the new store. From then on somebody who has not left has it, unless as many of those who
//! had it were lost as the rule allows for, or more; bytes and rows that rotted on a disk count as lost there. Guards P4, P5, P6, and that beliefs are kept by store.
//!
//! Until it is taken out, a pack is in its author's outbox, or a crash would leave it to nobody (P5). An author that lost its disk, or died
//! before its pack was written, may get it back from others: what it keeps then is a copy, and owed to nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use filch_core::Output;
use filch_types::record::Record;
use filch_types::{FactBody, FactId, JobId, SignedFact};

use super::stores::Stores;
use super::{Oracle, Seen, replicas};
use crate::fault::DiskAfter;
use crate::known::FactInfo;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S2 {
    stores: Stores,
    /// Nodes whose disk was lost: their outboxes with it.
    forgetful: BTreeSet<usize>,
    /// Packs that were on a disk once which is not their author's.
    elsewhere: BTreeSet<FactId>,
    /// When a process last gave its disk something: what it decided since may wait until the disk is less busy.
    gave: BTreeMap<usize, u64>,
    /// Packs that a process let go of.
    decided: BTreeSet<(usize, FactId)>,
    /// Packs that were let go of, by whichever process: they are visible.
    visible: BTreeMap<FactId, Visible>,
}

/// A pack that has its copies.
struct Visible {
    job: JobId,
    /// Who had it then.
    holders: BTreeSet<usize>,
    /// Copies that may be lost without all of them being.
    spare: usize,
}

/// Whether this node's disk has the pack with all that it names.
fn has(world: &World, p: usize, job: JobId, pack: &FactId) -> bool {
    let host = &world.hosts[p];
    let blobs = |f: &Arc<FactInfo>| f.closure.iter().all(|b| host.shelf.durable(*b));
    host.disk.image.has_fact(job, pack) && world.known.facts.get(pack).is_some_and(blobs)
}

impl S2 {
    fn let_go(&mut self, world: &World, h: usize, job: JobId, pack: &FactId) -> Result<(), String> {
        let (Some(info), true) = (world.info(job), world.known.facts.contains_key(pack)) else { return Ok(()) };
        if world.deleted_anywhere(job) {
            return Ok(());
        }
        let members: BTreeSet<usize> = replicas(world, job).iter().filter_map(|id| world.host_of(id)).collect();
        let (holders, others): (BTreeSet<usize>, BTreeSet<usize>) =
            members.into_iter().partition(|p| has(world, *p, job, pack));
        // The worker believes in these, and cannot know better: their disks were lost, or their bytes rotted since.
        let since = self.gave.get(&h).copied().unwrap_or(0);
        let excused = |p: &usize| self.stores.excused_since(world, h, *p, since) || world.hosts[*p].lost(pack);
        let lost = others.into_iter().filter(excused).count();
        let want = usize::from(info.manifest.r).min(info.manifest.replicas.len());
        if holders.len() + lost < want {
            return Err(format!("n{h} lets go of {pack:?} of {job:?} at {} of {want} copies", holders.len() + lost));
        }
        if lost < want {
            let spare = want - 1 - lost;
            self.visible.entry(*pack).or_insert(Visible { job, holders, spare });
        }
        Ok(())
    }

    /// A visible pack is somewhere as long as no more of its holders were lost than it must survive.
    fn survive(&self, world: &World) -> Result<(), String> {
        for (pack, v) in &self.visible {
            let there = |p: &usize| !world.hosts[*p].frozen && has(world, *p, v.job, pack);
            let rotted = |p: usize| world.hosts[p].frozen || world.hosts[p].lost(pack);
            let lost = v.holders.iter().filter(|p| self.forgetful.contains(p) || rotted(**p)).count();
            if lost <= v.spare && !world.deleted_anywhere(v.job) && !(0..world.hosts.len()).any(|p| there(&p)) {
                return Err(format!(
                    "nobody has {pack:?} of {:?} any more: {:?} had it, and {lost} of them lost their disks or left",
                    v.job, v.holders
                ));
            }
        }
        Ok(())
    }

    fn in_outbox(
        &self,
        world: &World,
        h: usize,
        job: JobId,
        pack: &FactId,
        signed: &SignedFact,
        records: &[Record],
    ) -> Result<(), String> {
        let host = &world.hosts[h];
        let own = signed.decode().is_ok_and(|f| f.by == host.id && matches!(f.body, FactBody::Pack(_)));
        let done = || self.visible.contains_key(pack) || self.elsewhere.contains(pack) || self.forgetful.contains(&h);
        let alone = || host.node.as_ref().and_then(|n| n.job(job)).is_none_or(|v| v.replicas == [host.id]);
        let there = || {
            let kept = host.disk.image.jobs.get(&job).is_some_and(|k| k.outbox.contains(pack));
            kept || records.iter().any(|r| matches!(r, Record::Outbox(_, p) if p == pack))
        };
        if own && !done() && !alone() && !there() {
            return Err(format!("n{h} writes its pack {pack:?} of {job:?} without an entry in its outbox"));
        }
        Ok(())
    }
}

impl Oracle for S2 {
    fn rule(&self) -> &'static str {
        "S2"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        self.stores.saw(world, seen);
        match seen {
            Seen::Crashed { host, disk } => {
                self.decided.retain(|(h, _)| h != host);
                self.gave.remove(host);
                if *disk != DiskAfter::Kept {
                    self.forgetful.insert(*host);
                    return self.survive(world);
                }
                Ok(())
            }
            Seen::Durable { host, record: Record::Fact(_, id, _) } => {
                if world.known.facts.get(id).is_none_or(|f| f.fact.by != world.hosts[*host].id) {
                    self.elsewhere.insert(*id);
                }
                Ok(())
            }
            Seen::Did { host, output: Output::Commit { records, .. } } => {
                let verdict = records.iter().try_for_each(|record| match record {
                    Record::Fact(job, pack, signed) => self.in_outbox(world, *host, *job, pack, signed, records),
                    // A full disk may refuse it, and it comes again: it was decided once.
                    Record::OutboxDone(job, pack) if self.decided.insert((*host, *pack)) => {
                        self.let_go(world, *host, *job, pack)
                    }
                    _ => Ok(()),
                });
                // A new steward's round goes before all that waits.
                if !matches!(records[..], [Record::Round(..)]) {
                    self.gave.insert(*host, world.now);
                }
                verdict
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, world: &World) -> Result<(), String> {
        self.survive(world)
    }
}
