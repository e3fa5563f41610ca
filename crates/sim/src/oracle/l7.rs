//! L7: a quiet cluster is quiet. Guards lifelines, back-off, and every timer that should have stopped.
//!
//! When every job has ended and the copies agree: nobody gossips, nothing is written, and nodes probe each other. At most
//! [`PROBES`] messages per node, peer and minute, and one per minute and period for whoever reads along (it asks whether its job is
//! still there). A job that still waits for a slow repair is no quiet cluster.
//!
//! While jobs wait for their last tasks: nothing starts or ends, nothing is to be had, and nodes say little besides heartbeats. At most
//! [`BEATS`] messages per node, peer and minute, and [`LOOKS`] per node, job and minute: an idle node asks less and less often.

use filch_core::view::{JobView, Role};
use filch_types::wire::JobState;

use super::{Oracle, copies, live_jobs};
use crate::world::{Stats, World};

/// Probes per node, peer and minute in a cluster at rest.
pub const PROBES: u64 = 8;
/// Heartbeats and their like per node, peer and minute while a job goes on.
pub const BEATS: u64 = 75;
/// Per node, job and minute: claims of who has nothing to do, every other second and to a few victims now and then; announcements;
/// agreement among replicas.
pub const LOOKS: u64 = 200;
/// Pauses of idle nodes have grown to their longest by then.
const WARM_US: u64 = 10_000_000;
/// Shorter spans say nothing.
const SPAN_US: u64 = 5_000_000;
const MINUTE_US: u64 = 60_000_000;

/// Nothing has started, ended, come or gone since.
#[derive(Clone, Copy)]
struct Still {
    since: u64,
    /// What must not change.
    mark: (u64, u64, u64, usize),
    /// Time and counts from when on messages are counted.
    from: Option<(u64, Stats)>,
}

/// See the module.
#[derive(Default)]
pub struct L7 {
    before: Option<(u64, Stats, u64)>,
    still: Option<Still>,
}

fn views(world: &World) -> impl Iterator<Item = JobView> + '_ {
    world.hosts.iter().filter_map(|h| h.node.as_ref()).flat_map(filch_core::Node::jobs)
}

fn said(now: &Stats, before: &Stats) -> u64 {
    now.messages + now.requests - before.messages - before.requests
}

impl L7 {
    /// Whether nothing is to be had anywhere, and what must stay as it is.
    fn waiting(world: &World) -> Option<(u64, u64, u64, usize)> {
        let calm = world.settling || (world.options.faults.is_empty() && world.now > world.options.nodes.len() as u64);
        let up = world.hosts.iter().filter(|h| !h.frozen && h.is_up() && h.paused.is_none()).count();
        let all = world.hosts.iter().filter(|h| !h.frozen).count();
        let queued = world.hosts.iter().filter_map(|h| h.node.as_ref()).any(|n| n.queued() > 0);
        if !calm || up < all || queued || !world.clients.open.is_empty() {
            return None;
        }
        let thin = live_jobs(world).iter().any(|j| copies(world, *j).is_some_and(|(have, want)| have < want));
        let active = |v: &JobView| v.role == Role::Replica && v.state == JobState::Active;
        let nodes = world.hosts.iter().filter_map(|h| h.node.as_ref());
        let stewarded = nodes.flat_map(|n| n.jobs().into_iter().filter(|v| n.leases(v.job).is_some()));
        let to_have = stewarded.filter(active).any(|v| v.counts.queued > 0);
        let any = views(world).any(|v| active(&v));
        let h = &world.history;
        (any && !thin && !to_have).then_some((h.executions, h.finished, world.stats.commits, up))
    }

    fn still(&mut self, world: &World) -> Result<(), String> {
        let mark = Self::waiting(world);
        let Some(still) = self.still.filter(|s| Some(s.mark) == mark) else {
            self.still = mark.map(|mark| Still { since: world.now, mark, from: None });
            return Ok(());
        };
        let Some((from, before)) = still.from else {
            if world.now - still.since >= WARM_US {
                self.still = Some(Still { from: Some((world.now, world.stats)), ..still });
            }
            return Ok(());
        };
        let span = world.now - from;
        let (n, jobs) = (mark.map_or(0, |m| m.3) as u64, world.known.jobs.len() as u64);
        let most = n * (BEATS * n.saturating_sub(1) + LOOKS * jobs) * span / MINUTE_US + n * n;
        let said = said(&world.stats, &before);
        if span >= SPAN_US && said > most {
            return Err(format!("{said} messages in {span} us while nothing was to be had, {most} would do"));
        }
        Ok(())
    }
}

impl Oracle for L7 {
    fn rule(&self) -> &'static str {
        "L7"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        self.still(world)
    }

    fn quiet(&mut self, world: &World) {
        let thin = live_jobs(world).iter().any(|j| copies(world, *j).is_some_and(|(have, want)| have < want));
        // A job that was never accepted and whose inputs went with its owner stands still, and is not quiet.
        let stuck = views(world).any(|v| v.role == Role::Replica && v.state == JobState::Active);
        // Nor is a cluster whose copies do not agree yet (L2 sees that they come to).
        let behind = super::l2::L2.waits(world).is_some();
        let quiet = !thin && !stuck && !behind;
        self.before = quiet.then_some((world.now, world.stats, world.clients.made()));
    }

    fn at_end(&mut self, world: &World) -> Result<(), String> {
        let Some((since, before, calls)) = self.before else { return Ok(()) };
        let up = world.hosts.iter().filter(|h| h.is_up() && !h.frozen).count() as u64;
        let span = world.now - since;
        let probes = PROBES * up * up.saturating_sub(1) * span / MINUTE_US;
        let observers = views(world).filter(|j| j.role == Role::Observer).count() as u64;
        // An observer asks now and then whether its job is still there.
        // A person who asks again and again for what nobody knows any more is no noise of the cluster's.
        let asked = 2 * up * (world.clients.made() - calls);
        let most = probes + asked + observers * (span / world.options.timing.idle_beat.0 + 2) + 4;
        let said = said(&world.stats, &before);
        if said > most {
            return Err(format!("{said} messages in {span} us of quiet, {most} would do"));
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
