//! What options a world can be made of: a schedule that somebody wrote by hand is refused with a sentence, not with a panic.

use filch_core::Timing;
use filch_types::limits;
use filch_types::manifest::EdgeKind;
use filch_types::time::Span;

use crate::fault::{Fault, Planned};
use crate::options::{Duration, JobPlan, Leaves, Options, Work};

/// Most nodes of a world.
pub const MAX_NODES: usize = 100_000;
/// Longest time anywhere in options, in microseconds: about 35 years.
pub const MAX_US: u64 = 1 << 50;
/// Most jobs, and most faults, of a run.
pub const MAX_PLANS: usize = 100_000;
/// Longest mean time of a task, in microseconds: 12 days.
pub const MAX_TASK_US: u64 = 1 << 40;
/// A straggler takes at most so many times as long.
pub const MAX_STRAGGLE: u32 = 100_000;
const MILLION: u32 = 1_000_000;

fn most<N: Copy + Ord + std::fmt::Display>(what: &str, is: N, limit: N) -> Result<(), String> {
    if is > limit { Err(format!("`{what}` is {is}, more than {limit}")) } else { Ok(()) }
}

impl Options {
    /// Whether a world can be made of them; the error names the field.
    pub fn check(&self) -> Result<(), String> {
        most("nodes (how many)", self.nodes.len(), MAX_NODES)?;
        if self.nodes.is_empty() {
            return Err("`nodes` is empty".into());
        }
        most("jobs (how many)", self.jobs.len(), MAX_PLANS)?;
        most("faults (how many)", self.faults.len(), MAX_PLANS)?;
        most("bounce_ppm", self.bounce_ppm, MILLION)?;
        most("faults_until", self.faults_until, MAX_US)?;
        most("settle_us", self.settle_us, MAX_US)?;
        self.check_cluster()?;
        self.check_models()?;
        check_timing(&self.timing)?;
        for (n, job) in self.jobs.iter().enumerate() {
            job.check(self.nodes.len()).map_err(|e| format!("job {n}: {e}"))?;
        }
        for (n, planned) in self.faults.iter().enumerate() {
            planned.check(self.nodes.len()).map_err(|e| format!("fault {n}: {e}"))?;
        }
        Ok(())
    }

    fn check_cluster(&self) -> Result<(), String> {
        for (n, node) in self.nodes.iter().enumerate() {
            let at = |e| format!("node {n}: {e}");
            most("slots", node.slots, 1_024).map_err(at)?;
            most("start_us", node.start_us, MAX_US).map_err(at)?;
            most("clock_us", node.clock_us, MAX_US).map_err(at)?;
            most("speed_pct", node.speed_pct, 100_000).map_err(at)?;
            most("clock_ppm (without its sign)", node.clock_ppm.unsigned_abs(), 500_000).map_err(at)?;
        }
        Ok(())
    }

    fn check_models(&self) -> Result<(), String> {
        let l = &self.link;
        for (what, ppm) in [
            ("link.spike_ppm", l.spike_ppm),
            ("link.loss_ppm", l.loss_ppm),
            ("link.dup_ppm", l.dup_ppm),
            ("link.unreachable_ppm", l.unreachable_ppm),
            ("link.gossip_loss_ppm", l.gossip_loss_ppm),
        ] {
            most(what, ppm, MILLION)?;
        }
        for (what, us) in [
            ("link.near_us", l.near_us),
            ("link.far_us", l.far_us),
            ("link.jitter_us", l.jitter_us),
            ("link.spike_us", l.spike_us),
            ("link.gossip_us", l.gossip_us),
            ("link.dial_us", l.dial_us),
            ("disk.commit_us", self.disk.commit_us),
            ("disk.jitter_us", self.disk.jitter_us),
            ("disk.image_us", self.disk.image_us),
        ] {
            most(what, us, MAX_US)?;
        }
        if l.blob_bytes_per_s == 0 {
            return Err("`link.blob_bytes_per_s` is 0".into());
        }
        if self.disk.group == 0 {
            return Err("`disk.group` is 0".into());
        }
        Ok(())
    }
}

fn check_timing(t: &Timing) -> Result<(), String> {
    let least = Span::millis(1);
    for (what, span) in [
        ("timing.beat", t.beat),
        ("timing.idle_beat", t.idle_beat),
        ("timing.dead_after", t.dead_after),
        ("timing.down_grace", t.down_grace),
        ("timing.lease", t.lease),
        ("timing.lease_worker", t.lease_worker),
        ("timing.request", t.request),
        ("timing.resend", t.resend),
        ("timing.anti_entropy", t.anti_entropy),
        ("timing.repair", t.repair),
        ("timing.pack_flush", t.pack_flush),
        ("timing.pack_flush_attended", t.pack_flush_attended),
        ("timing.ahead", t.ahead),
        ("timing.quiet_min", t.quiet_min),
        ("timing.quiet_max", t.quiet_max),
        ("timing.announce", t.announce),
        ("timing.batch", t.batch),
        ("timing.bag_gift", t.bag_gift),
        ("timing.bag_run", t.bag_run),
        ("timing.bag_flush", t.bag_flush),
        ("timing.lonely_pin", t.lonely_pin),
        ("timing.submit", t.submit),
    ] {
        most(what, span.0, MAX_US)?;
        if span < least {
            return Err(format!("`{what}` is {} us, less than {} us", span.0, least.0));
        }
    }
    Ok(())
}

impl JobPlan {
    pub(crate) fn check(&self, nodes: usize) -> Result<(), String> {
        most("at", self.at, MAX_US)?;
        node("node", self.node, nodes)?;
        if self.groups.is_empty() {
            return Err("`groups` is empty".into());
        }
        most("groups (how many)", self.groups.len(), limits::MAX_GROUPS)?;
        for (g, group) in self.groups.iter().enumerate() {
            let at = |e: String| format!("group {g}: {e}");
            if group.tasks == 0 {
                return Err(at("`tasks` is 0".into()));
            }
            for &(on, kind) in &group.needs {
                let Some(before) = self.groups.get(usize::from(on)).filter(|_| usize::from(on) < g) else {
                    return Err(at(format!("`needs` names group {on}, which does not come first")));
                };
                if kind == EdgeKind::Elementwise && before.tasks != group.tasks {
                    return Err(at(format!("`needs` pairs {} tasks with {} of group {on}", group.tasks, before.tasks)));
                }
            }
        }
        for &(delay, who, _) in &self.then {
            most("then (delay)", delay, MAX_US)?;
            node("then (node)", who, nodes)?;
        }
        let tasks: u64 = self.groups.iter().map(|g| u64::from(g.tasks)).sum();
        most("groups (tasks in all)", tasks, u64::from(limits::MAX_TASKS))?;
        self.work.check()
    }
}

impl Work {
    fn check(&self) -> Result<(), String> {
        let w = self;
        for (what, ppm) in
            [("work.straggle_ppm", w.straggle_ppm), ("work.broken_ppm", w.broken_ppm), ("work.flaky_ppm", w.flaky_ppm)]
        {
            most(what, ppm, MILLION)?;
        }
        let longest = match w.takes {
            Duration::Fixed(us) | Duration::Tail(us) => us,
            Duration::Uniform(lo, hi) if lo > hi => return Err(format!("`work.takes` is from {lo} to {hi}")),
            Duration::Uniform(_, hi) => hi,
        };
        most("work.takes", longest, MAX_TASK_US)?;
        most("work.straggle", w.straggle, MAX_STRAGGLE)?;
        most("work.unit_us", w.unit_us, MAX_TASK_US)?;
        if let Some(tree) = &w.tree {
            tree.parse::<filch_handlers::Tree>().map_err(|e| format!("`work.tree`: {e}"))?;
        }
        match w.leaves {
            Leaves::Inline(n) => most("work.leaves", usize::from(n), limits::INLINE_OUTPUT),
            Leaves::Nothing | Leaves::Blob(_) => Ok(()),
        }
    }
}

impl Planned {
    pub(crate) fn check(&self, nodes: usize) -> Result<(), String> {
        most("at", self.at, MAX_US)?;
        if let Some(n) = self.fault.node() {
            node("node", n, nodes)?;
        }
        let (us, ppm) = match &self.fault {
            Fault::Crash { down_us, .. } => (*down_us, 0),
            Fault::Pause { for_us, .. }
            | Fault::DiskFull { for_us, .. }
            | Fault::DiskSlow { for_us, .. }
            | Fault::Sick { for_us, .. } => (*for_us, 0),
            Fault::Cut { side, for_us, .. } => {
                side.iter().try_for_each(|n| node("side", *n, nodes))?;
                (*for_us, 0)
            }
            Fault::Split { side, from, for_us } => {
                side.iter().chain(from).try_for_each(|n| node("side", *n, nodes))?;
                (*for_us, 0)
            }
            Fault::Clog { a, b, extra_us, for_us } => {
                node("a", *a, nodes)?;
                node("b", *b, nodes)?;
                (*for_us.max(extra_us), 0)
            }
            Fault::Loss { ppm, for_us } => (*for_us, *ppm),
            Fault::ClockJump { by_us, .. } => (*by_us, 0),
            Fault::Drain { back_us, .. } => (back_us.unwrap_or(0), 0),
            Fault::BitRot { .. } | Fault::RowRot { .. } | Fault::Forge { .. } | Fault::Leave { .. } => (0, 0),
        };
        most("its time", us, MAX_US)?;
        most("ppm", ppm, MILLION)
    }
}

fn node(what: &str, is: usize, nodes: usize) -> Result<(), String> {
    if is < nodes { Ok(()) } else { Err(format!("`{what}` is {is}, the last node is {}", nodes.saturating_sub(1))) }
}
