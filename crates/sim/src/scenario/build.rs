//! A scenario file and a seed, as the options of a run.

use std::ops::Range;

use filch_types::limits;
use filch_types::manifest::EdgeKind;
use filch_types::time::Span;
use toml::Spanned;

use super::error::Invalid;
use super::faults;
use super::file::{Cluster, Disk, File, Group, Job, Network, Protocol, TaskGroup, What};
use super::units::{MAX_NODES, Size, Takes, Time, Who};
use crate::fault::Planned;
use crate::options::{
    Action, Checks, DiskOptions, Duration, GroupPlan, JobPlan, Leaves, LinkOptions, NodeOptions, Options, Profile, Work,
};
use crate::rng::Dice;

/// Jobs of one scenario, repeated ones counted each.
const MAX_JOBS: u32 = 10_000;

/// What the parts of a build share.
pub(super) struct Builder<'a> {
    pub source: &'a str,
    pub nodes: usize,
    pub dice: Dice,
}

impl Builder<'_> {
    pub fn no<T>(&self, span: Range<usize>, text: impl Into<String>) -> Result<T, Invalid> {
        Err(Invalid::at(self.source, Some(span), text))
    }
    /// The nodes that are meant; `"any"` is drawn.
    pub fn these(&mut self, who: &Spanned<Who>) -> Result<Vec<usize>, Invalid> {
        match who.get_ref() {
            Who::Any => Ok(vec![self.dice.below(self.nodes as u64) as usize]),
            Who::These(nodes) => match nodes.iter().find(|n| **n >= self.nodes) {
                Some(n) => {
                    let last = self.nodes - 1;
                    self.no(who.span(), format!("there is no node {n}: the {} nodes are 0 to {last}", self.nodes))
                }
                None => Ok(nodes.clone()),
            },
        }
    }
    pub fn one(&mut self, who: &Spanned<Who>) -> Result<usize, Invalid> {
        match self.these(who)?[..] {
            [one] => Ok(one),
            _ => self.no(who.span(), "one node is meant here"),
        }
    }
    fn within<T: PartialOrd + Copy + std::fmt::Display>(
        &self,
        value: &Option<Spanned<T>>,
        lo: T,
        hi: T,
        default: T,
    ) -> Result<T, Invalid> {
        let Some(value) = value else { return Ok(default) };
        self.inside(value, lo, hi)
    }
    fn inside<T: PartialOrd + Copy + std::fmt::Display>(&self, value: &Spanned<T>, lo: T, hi: T) -> Result<T, Invalid> {
        let v = *value.get_ref();
        if v >= lo && v <= hi { Ok(v) } else { self.no(value.span(), format!("{v} is not between {lo} and {hi}")) }
    }
}

/// The options of a run of this file.
pub(super) fn options(source: &str, file: &File, seed: u64, nodes: Option<usize>) -> Result<Options, Invalid> {
    let mut b = Builder { source, nodes: 0, dice: Dice::stream(seed, "scenario") };
    let nodes = cluster(&mut b, &file.cluster, nodes)?;
    b.nodes = nodes.len();
    let mut o = Options::calm(seed, 0, 1);
    o.nodes = nodes;
    if let Some(peers) = &file.cluster.peers {
        o.overlay = Some(b.inside(peers, 2, 1_024)?);
        // Oracles that look at every pair would look for hours.
        o.checks = Checks::Cheap;
    }
    network(&b, &file.network, &mut o.link)?;
    o.in_order = file.network.in_order.unwrap_or(false);
    disk(&b, &file.disk, &mut o.disk)?;
    protocol(&b, &file.protocol, &mut o)?;
    for job in &file.jobs {
        jobs(&mut b, job, &mut o.jobs)?;
    }
    o.faults = faults::all(&mut b, file)?;
    o.faults_until = o.faults.iter().map(|p: &Planned| p.at).max().unwrap_or(0);
    let lossy = o.link.loss_ppm > 0 || o.link.dup_ppm > 0 || o.link.spike_ppm > 0 || o.link.unreachable_ppm > 0;
    let harm = lossy || !o.faults.is_empty() || o.jobs.iter().any(|j| j.work.flaky_ppm > 0 || j.work.poison.is_some());
    o.profile = if harm { Profile::Swarm } else { Profile::FaultFree };
    if let Some(times) = &file.expect.slowdown {
        b.inside(times, 1.0, 1e6)?;
    }
    // What is impossible and has no place of its own above.
    o.check().map_err(|text| Invalid::at(source, None, text))?;
    Ok(o)
}

fn cluster(b: &mut Builder<'_>, c: &Cluster, nodes: Option<usize>) -> Result<Vec<NodeOptions>, Invalid> {
    let count = match nodes {
        Some(n) => n,
        None => b.inside(&c.nodes, 0, MAX_NODES)?,
    };
    let slots = b.within(&c.slots, 0, 1_024, 1)?;
    let per_machine = b.within(&c.per_machine, 1, 1_024, 1)?;
    let mut all = Options::calm(0, count, slots).nodes;
    for group in &c.groups {
        let more = b.inside(&group.nodes, 1, MAX_NODES)?;
        for _ in 0..more {
            all.push(node(b, group, slots)?);
        }
        if all.len() > MAX_NODES {
            return b.no(group.nodes.span(), format!("more than {MAX_NODES} nodes in all"));
        }
    }
    if all.is_empty() {
        return b.no(c.nodes.span(), "a cluster has at least one node");
    }
    for (n, node) in all.iter_mut().enumerate() {
        node.machine = n as u32 / per_machine;
        // Nobody starts a cluster within a microsecond.
        if node.start_us == 0 {
            node.start_us = b.dice.below(20_000);
        }
    }
    Ok(all)
}

fn node(b: &mut Builder<'_>, g: &Group, slots: u16) -> Result<NodeOptions, Invalid> {
    let mut node = Options::calm(0, 1, b.within(&g.slots, 0, 1_024, slots)?).nodes.remove(0);
    node.speed_pct = (b.within(&g.speed, 0.01, 100.0, 1.0)? * 100.0).round() as u32;
    node.able = g.able.unwrap_or(true);
    node.clock_ppm = b.within(&g.clock_drift_ppm, -10_000, 10_000, 0)?;
    if let Some(joins) = g.joins {
        node.start_us = b.dice.between(joins.0.0, joins.1.0);
    }
    Ok(node)
}

fn network(b: &Builder<'_>, n: &Network, link: &mut LinkOptions) -> Result<(), Invalid> {
    let set = |to: &mut u64, from: Option<Time>| *to = from.map_or(*to, |t| t.0);
    let part = |from: Option<super::units::Share>| from.map_or(0, |s| s.0);
    if let Some(latency) = n.latency {
        (link.near_us, link.far_us) = (latency.0.0, latency.1.0);
        link.jitter_us = link.near_us / 10;
    }
    set(&mut link.jitter_us, n.jitter);
    set(&mut link.spike_us, n.spike);
    set(&mut link.gossip_us, n.gossip_latency);
    set(&mut link.dial_us, n.dial);
    link.spike_ppm = part(n.spikes);
    link.loss_ppm = part(n.loss);
    link.dup_ppm = part(n.duplicates);
    link.unreachable_ppm = part(n.unreachable);
    link.gossip_loss_ppm = part(n.gossip_loss);
    if let Some(rate) = &n.bandwidth {
        if rate.get_ref().0 == 0 {
            return b.no(rate.span(), "a bandwidth of nothing: bytes per second, such as \"100MB\"");
        }
        link.blob_bytes_per_s = rate.get_ref().0;
    }
    Ok(())
}

fn disk(b: &Builder<'_>, d: &Disk, to: &mut DiskOptions) -> Result<(), Invalid> {
    to.commit_us = d.commit.map_or(to.commit_us, |t| t.0);
    to.jitter_us = d.jitter.map_or(to.jitter_us, |t| t.0);
    to.group = b.within(&d.group, 1, 1_000_000, to.group)?;
    to.independent = d.reorders.unwrap_or(false);
    to.image_us = d.images.map_or(0, |t| t.0);
    Ok(())
}

fn protocol(b: &Builder<'_>, p: &Protocol, o: &mut Options) -> Result<(), Invalid> {
    o.result_copies = b.within(&p.result_copies, 1, limits::MAX_REPLICAS as u8, o.result_copies)?;
    let timing = &mut o.timing;
    let set = |to: &mut Span, from: &Option<Spanned<Time>>| match from {
        Some(t) if t.get_ref().0 == 0 => b.no(t.span(), "a time limit of nothing"),
        Some(t) => {
            *to = Span(t.get_ref().0);
            Ok(())
        }
        None => Ok(()),
    };
    set(&mut timing.repair, &p.repair)?;
    set(&mut timing.submit, &p.submit)?;
    set(&mut timing.ahead, &p.ahead)
}

fn jobs(b: &mut Builder<'_>, spanned: &Spanned<Job>, out: &mut Vec<JobPlan>) -> Result<(), Invalid> {
    let job = spanned.get_ref();
    let groups = groups(b, spanned)?;
    let total: u64 = groups.iter().map(|g| u64::from(g.tasks)).sum();
    if total > u64::from(limits::MAX_TASKS) {
        return b.no(spanned.span(), format!("{total} tasks in one job: {} at most", limits::MAX_TASKS));
    }
    let work = work(b, job, total)?;
    let repeat = b.within(&job.repeat, 1, MAX_JOBS, 1)?;
    for n in 0..repeat {
        let node = match &job.node {
            Some(who) => b.one(who)?,
            None => 0,
        };
        let mut then = Vec::new();
        for t in &job.then {
            let t = t.get_ref();
            let what = match t.what {
                What::Watch => Action::Watch,
                What::Cancel => Action::Cancel,
                What::Delete => Action::Delete,
            };
            then.push((t.after.0, b.one(&t.node)?, what));
        }
        out.push(JobPlan {
            at: job.at.unwrap_or_default().0 + u64::from(n) * job.every.unwrap_or_default().0,
            node,
            copies: match &job.copies {
                Some(k) => Some(b.inside(k, 1, limits::MAX_REPLICAS as u8)?),
                None => None,
            },
            attended: job.attended.unwrap_or(false),
            groups: groups.clone(),
            work: work.clone(),
            then,
        });
        if out.len() > MAX_JOBS as usize {
            return b.no(spanned.span(), format!("more than {MAX_JOBS} jobs"));
        }
    }
    Ok(())
}

fn groups(b: &Builder<'_>, spanned: &Spanned<Job>) -> Result<Vec<GroupPlan>, Invalid> {
    let job = spanned.get_ref();
    let plan = |tasks: &Spanned<u32>, item: Option<Size>, inputs: &[Size], retries: &Option<Spanned<u16>>| {
        Ok(GroupPlan {
            tasks: b.inside(tasks, 1, limits::MAX_TASKS)?,
            item_bytes: item.map(|s| s.0),
            inputs: inputs.iter().map(|s| s.0).collect(),
            needs: Vec::new(),
            retries: b.within(retries, 0, limits::MAX_RETRIES, 0)?,
        })
    };
    match (&job.tasks, &job.groups[..]) {
        (Some(tasks), []) => Ok(vec![plan(tasks, job.item, &job.inputs, &job.retries)?]),
        (None, []) if job.tree.is_some() => Ok(vec![GroupPlan {
            tasks: 1,
            retries: b.within(&job.retries, 0, limits::MAX_RETRIES, 0)?,
            ..GroupPlan::default()
        }]),
        (None, []) => b.no(spanned.span(), "a job needs `tasks`, or a [[job.group]] for each kind of them"),
        (Some(tasks), _) => b.no(tasks.span(), "`tasks` of a job with groups: each [[job.group]] has its own"),
        (None, groups) => {
            let mut out: Vec<GroupPlan> = Vec::new();
            for (n, g) in groups.iter().enumerate() {
                let g: &TaskGroup = g.get_ref();
                let mut group = plan(&g.tasks, g.item, &g.inputs, &g.retries)?;
                for (edges, kind) in [(&g.after, EdgeKind::All), (&g.after_each, EdgeKind::Elementwise)] {
                    for on in edges {
                        let first = usize::from(*on.get_ref());
                        if first >= n {
                            return b.no(on.span(), format!("group {n} can only come after groups before it"));
                        }
                        if kind == EdgeKind::Elementwise && out[first].tasks != group.tasks {
                            return b.no(on.span(), format!("group {first} has not as many tasks as group {n}"));
                        }
                        group.needs.push((*on.get_ref(), kind));
                    }
                }
                out.push(group);
            }
            Ok(out)
        }
    }
}

fn work(b: &Builder<'_>, job: &Job, total: u64) -> Result<Work, Invalid> {
    let takes = match job.duration {
        None => Duration::Fixed(10_000),
        Some(Takes::Between(t)) if t.0 == t.1 => Duration::Fixed(t.0.0),
        Some(Takes::Between(t)) => Duration::Uniform(t.0.0, t.1.0),
        Some(Takes::Tail(mean)) => Duration::Tail(mean.0),
    };
    if let Some(poison) = &job.poison
        && u64::from(*poison.get_ref()) >= total
    {
        return b.no(poison.span(), format!("the job has {total} tasks, counted from 0"));
    }
    let tree = job.tree.as_ref().map(|t| t.get_ref().clone());
    if let Some(t) = &job.tree
        && let Err(e) = t.get_ref().parse::<filch_handlers::Tree>()
    {
        return b.no(t.span(), e.to_string());
    }
    let unit_us = match &job.unit {
        Some(u) if job.tree.is_none() => return b.no(u.span(), "`unit` is the time of one node of a `tree`"),
        Some(u) if u.get_ref().0 == 0 => return b.no(u.span(), "a unit of no time"),
        Some(u) => u.get_ref().0,
        None => Work::default().unit_us,
    };
    let ppm = |share: Option<super::units::Share>| share.map_or(0, |s| s.0);
    Ok(Work {
        takes,
        straggle_ppm: ppm(job.stragglers),
        straggle: b.within(&job.straggle, 1, 100_000, 10)?,
        broken_ppm: ppm(job.broken),
        flaky_ppm: ppm(job.flaky),
        poison: job.poison.as_ref().map(|p| *p.get_ref()),
        leaves: match job.leaves.as_ref().map_or(0, |s| s.get_ref().0) {
            0 => Leaves::Nothing,
            n if n <= limits::INLINE_OUTPUT as u64 => Leaves::Inline(n as u16),
            n => Leaves::Blob(n),
        },
        varies: job.varies.unwrap_or(false),
        speculate: job.speculate.unwrap_or(true),
        tree,
        unit_us,
    })
}
