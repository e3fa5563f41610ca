//! Single changes that make a run smaller or plainer.

use std::collections::BTreeSet;

use filch_core::Timing;

use crate::fault::{Class, Fault, Planned};
use crate::options::{
    DiskOptions, Duration, GroupPlan, JobPlan, Leaves, LinkOptions, NodeOptions, Options, Profile, Work,
};

/// A shortest fault: longer than a request, shorter than a lease.
const SHORT_US: u64 = 50_000;
/// Fault-free runs count exactly, and for that all nodes must have met before the first job.
const MET_US: u64 = 2_000_000;

/// Whether a run of these options still means what a drawn one does: without a node that works, no job would ever end.
pub(super) fn sound(o: &Options) -> bool {
    let works = o.nodes.iter().any(|n| n.able && n.slots > 0);
    let met = o.profile != Profile::FaultFree || o.jobs.iter().all(|j| j.at >= MET_US);
    works && met && o.check().is_ok()
}

/// Classes of the faults that are planned.
pub(super) fn classes(o: &Options) -> BTreeSet<Class> {
    o.faults.iter().map(|p| p.fault.class()).collect()
}

/// Leaves out a node; jobs that it would submit are submitted by the first one left.
pub(super) fn without_node(o: &mut Options, gone: usize) {
    if gone >= o.nodes.len() {
        return;
    }
    o.nodes.remove(gone);
    let moved = |n: usize| if n == gone { None } else { Some(n - usize::from(n > gone)) };
    o.faults.retain_mut(|p| renumber(&mut p.fault, &moved));
    for job in &mut o.jobs {
        job.node = moved(job.node).unwrap_or(0);
        job.then.iter_mut().for_each(|(_, node, _)| *node = moved(*node).unwrap_or(0));
    }
}

/// False if the fault cannot be without the node that is gone.
fn renumber(fault: &mut Fault, moved: &impl Fn(usize) -> Option<usize>) -> bool {
    let set = |n: &mut usize| {
        moved(*n).is_some_and(|m| {
            *n = m;
            true
        })
    };
    match fault {
        Fault::Crash { node, .. }
        | Fault::Pause { node, .. }
        | Fault::DiskFull { node, .. }
        | Fault::DiskSlow { node, .. }
        | Fault::BitRot { node }
        | Fault::RowRot { node }
        | Fault::ClockJump { node, .. }
        | Fault::Drain { node, .. }
        | Fault::Sick { node, .. }
        | Fault::Forge { node }
        | Fault::Leave { node } => set(node),
        Fault::Clog { a, b, .. } => set(a) && set(b),
        Fault::Cut { side, .. } => {
            *side = side.iter().filter_map(|n| moved(*n)).collect();
            !side.is_empty()
        }
        Fault::Split { side, from, .. } => {
            for half in [&mut *side, &mut *from] {
                *half = half.iter().filter_map(|n| moved(*n)).collect();
            }
            !side.is_empty() && !from.is_empty()
        }
        Fault::Loss { .. } => true,
    }
}

/// Leaves out a group of a job that has others.
pub(super) fn without_group(job: &mut JobPlan, gone: usize) {
    if job.groups.len() < 2 || gone >= job.groups.len() {
        return;
    }
    job.groups.remove(gone);
    for group in &mut job.groups {
        group.needs.retain(|(on, _)| usize::from(*on) != gone);
        group.needs.iter_mut().filter(|(on, _)| usize::from(*on) > gone).for_each(|(on, _)| *on -= 1);
    }
}

/// Moves everything that is planned ahead by so much.
pub(super) fn shift(o: &mut Options, by: u64) {
    o.jobs.iter_mut().for_each(|j| j.at = j.at.saturating_sub(by));
    o.faults.iter_mut().for_each(|p| p.at = p.at.saturating_sub(by));
    o.faults_until = o.faults_until.saturating_sub(by);
}

/// Of the whole run.
pub(super) const PLAIN: [fn(&mut Options); 19] = [
    |o| (o.link, o.disk) = (LinkOptions::default(), DiskOptions::default()),
    |o| o.link = LinkOptions::default(),
    |o| (o.link.spike_ppm, o.link.spike_us) = (0, 0),
    |o| o.link.loss_ppm = 0,
    |o| o.link.dup_ppm = 0,
    |o| o.link.unreachable_ppm = 0,
    |o| o.link.gossip_loss_ppm = 0,
    |o| o.link.gossip_us = LinkOptions::default().gossip_us,
    |o| o.link.dial_us = LinkOptions::default().dial_us,
    |o| o.link.jitter_us = LinkOptions::default().jitter_us,
    |o| (o.link.near_us, o.link.far_us) = (LinkOptions::default().near_us, LinkOptions::default().far_us),
    |o| o.disk = DiskOptions { image_us: o.disk.image_us, ..DiskOptions::default() },
    |o| o.disk.image_us = 0,
    |o| o.disk.independent = false,
    |o| o.timing = Timing::default(),
    |o| o.bounce_ppm = 0,
    |o| o.core_extra = usize::MAX,
    |o| o.in_order = true,
    |o| o.nodes.iter_mut().for_each(|n| *n = NodeOptions { machine: n.machine, ..NodeOptions::default() }),
];

/// Of one node.
pub(super) const PLAIN_NODE: [fn(&mut NodeOptions); 4] = [
    |n| (n.clock_ppm, n.clock_us) = (0, NodeOptions::default().clock_us),
    |n| n.start_us = 0,
    |n| n.slots = n.slots.min(1),
    |n| n.able = true,
];

/// Of one job.
pub(super) const PLAIN_JOB: [fn(&mut JobPlan); 12] = [
    |j| j.work = Work { takes: Duration::Fixed(mean(&j.work.takes)), ..Work::default() },
    |j| j.groups = vec![GroupPlan { tasks: j.total(), ..GroupPlan::default() }],
    |j| j.groups.iter_mut().for_each(|g| g.needs.clear()),
    |j| j.groups.iter_mut().for_each(|g| g.inputs.clear()),
    |j| j.groups.iter_mut().for_each(|g| g.item_bytes = None),
    |j| j.groups.iter_mut().for_each(|g| g.retries = 0),
    |j| j.work.takes = Duration::Fixed(mean(&j.work.takes)),
    |j| (j.work.straggle_ppm, j.work.straggle) = (0, 1),
    |j| (j.work.broken_ppm, j.work.flaky_ppm) = (0, 0),
    |j| j.work.poison = None,
    |j| (j.work.leaves, j.work.varies) = (Leaves::Nothing, false),
    |j| (j.copies, j.attended) = (None, false),
];

/// Of one fault; repeated while it helps.
pub(super) const PLAIN_FAULT: [fn(&mut Planned); 2] = [
    |p| match &mut p.fault {
        Fault::Crash { down_us: us, .. }
        | Fault::Pause { for_us: us, .. }
        | Fault::DiskFull { for_us: us, .. }
        | Fault::DiskSlow { for_us: us, .. }
        | Fault::Sick { for_us: us, .. }
        | Fault::Cut { for_us: us, .. }
        | Fault::Split { for_us: us, .. }
        | Fault::Clog { for_us: us, .. }
        | Fault::Loss { for_us: us, .. }
        | Fault::Drain { back_us: Some(us), .. }
            if *us > SHORT_US =>
        {
            *us /= 2;
        }
        _ => {}
    },
    |p| match &mut p.fault {
        Fault::Crash { power, .. } => *power = false,
        Fault::Pause { suspend, .. } => *suspend = false,
        Fault::Cut { one_way, .. } => *one_way = false,
        _ => {}
    },
];

fn mean(takes: &Duration) -> u64 {
    match *takes {
        Duration::Fixed(us) | Duration::Tail(us) => us,
        Duration::Uniform(lo, hi) => lo.midpoint(hi),
    }
}
