//! What happened in a run, in lines for a person: jobs, faults, who was down, who handed out tasks, what moved, how far it was.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::fault::{DiskAfter, Fault};
use crate::history::End;
use crate::timeline::Mark;
use crate::world::World;

/// Pieces that the time is divided into: steals and starts of one piece are told together.
const PIECES: u64 = 20;
/// Nodes, or ranges of them, that a line names.
const NAMED: usize = 6;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Line {
    /// When, in virtual microseconds.
    pub at_us: u64,
    /// What.
    pub what: String,
}

/// How little a line matters.
type Weight = u8;

/// The lines of a world that kept its chronicle ([`World::chronicle_on`]), at most `most`: what matters least is left out first.
pub fn tell(world: &World, most: usize) -> Vec<Line> {
    let mut out: Vec<(Weight, Line)> = Vec::new();
    jobs(world, &mut out);
    faults(world, &mut out);
    nodes(world, &mut out);
    steals(world, &mut out);
    progress(world, &mut out);
    if let Some(v) = &world.violation {
        out.push((0, Line { at_us: v.at, what: format!("BROKEN {}: {}", v.rule, v.text) }));
    }
    thin(out, most)
}

fn thin(mut lines: Vec<(Weight, Line)>, most: usize) -> Vec<Line> {
    let most = most.max(1);
    let all = lines.len();
    if all > most {
        lines.sort();
        lines.truncate(most - 1);
    }
    let mut lines: Vec<Line> = lines.into_iter().map(|l| l.1).collect();
    lines.sort_by_key(|l| l.at_us);
    if all > most {
        let at_us = lines.last().map_or(0, |l| l.at_us);
        lines.push(Line { at_us, what: format!("and {} lines less important than these", all + 1 - most) });
    }
    lines
}

fn push(out: &mut Vec<(Weight, Line)>, weight: Weight, at_us: u64, what: String) {
    out.push((weight, Line { at_us, what }));
}

fn job_name(world: &World, plan: usize) -> String {
    if world.options.jobs.len() == 1 { "the job".into() } else { format!("job {plan}") }
}

fn jobs(world: &World, out: &mut Vec<(Weight, Line)>) {
    // Many jobs would leave no room for anything else.
    let weight = if world.options.jobs.len() > 8 { 2 } else { 0 };
    for (plan, job) in world.options.jobs.iter().enumerate().filter(|(_, j)| j.at <= world.now) {
        let name = job_name(world, plan);
        let tasks = job.total();
        push(out, weight, job.at, format!("{name} of {tasks} tasks is submitted at node {}", job.node));
        let Some(id) = world.clients.jobs.get(&plan).and_then(|s| s.job) else { continue };
        if let Some(accepted) = world.history.accepted.get(&id) {
            let copies = accepted.holders.len();
            let holders = accepted.holders.iter().filter_map(|h| world.host_of(h)).collect::<Vec<_>>();
            let at = list(&holders);
            push(out, weight, accepted.at, format!("{name} is accepted: {copies} copies, at {at}"));
        }
        if let Some((at, state)) = world.history.ended.get(&id) {
            push(out, weight, *at, format!("{name} has ended: {}", format!("{state:?}").to_lowercase()));
        }
    }
}

/// `node 3`, or `nodes 0-4, 7, 9 and 4 more`.
fn list(nodes: &[usize]) -> String {
    let mut nodes = nodes.to_vec();
    nodes.sort_unstable();
    nodes.dedup();
    if let [one] = nodes[..] {
        return format!("node {one}");
    }
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for n in nodes {
        match spans.last_mut() {
            Some((_, hi)) if *hi + 1 == n => *hi = n,
            _ => spans.push((n, n)),
        }
    }
    let name = |(lo, hi): &(usize, usize)| match hi - lo {
        0 => lo.to_string(),
        1 => format!("{lo}, {hi}"),
        _ => format!("{lo}-{hi}"),
    };
    let named: Vec<String> = spans.iter().take(NAMED).map(name).collect();
    match spans.iter().skip(NAMED).map(|(lo, hi)| hi - lo + 1).sum::<usize>() {
        0 => format!("nodes {}", named.join(", ")),
        more => format!("nodes {} and {more} more", named.join(", ")),
    }
}

fn time(us: u64) -> String {
    match us {
        0..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..600_000_000 => format!("{:.1} s", us as f64 / 1e6),
        600_000_000..7_200_000_000 => format!("{:.0} min", us as f64 / 6e7),
        7_200_000_000..172_800_000_000 => format!("{:.1} h", us as f64 / 3.6e9),
        _ => format!("{:.1} days", us as f64 / 8.64e10),
    }
}

fn share(ppm: u32) -> String {
    format!("{} %", f64::from(ppm) / 1e4)
}

impl Fault {
    /// In words.
    pub fn phrase(&self) -> String {
        match self {
            Fault::Crash { node, down_us, disk, power } => {
                let how = if *power { "loses power" } else { "is killed" };
                let disk = match disk {
                    DiskAfter::Kept => "",
                    DiskAfter::Wiped => ", its disk wiped",
                    DiskAfter::RolledBack => ", its disk rolled back",
                };
                let long = if self.is_for_good() { "good".into() } else { time(*down_us) };
                format!("node {node} {how} for {long}{disk}")
            }
            Fault::Pause { node, for_us, suspend: true } => format!("node {node} is suspended for {}", time(*for_us)),
            Fault::Pause { node, for_us, .. } => format!("node {node} stands still for {}", time(*for_us)),
            Fault::Cut { side, one_way, for_us } => {
                let way = if *one_way { "reach nobody else" } else { "are cut off from the others" };
                format!("{} {way} for {}", list(side), time(*for_us))
            }
            Fault::Split { side, from, for_us } => {
                format!("{} and {} are cut off from each other for {}", list(side), list(from), time(*for_us))
            }
            Fault::Clog { a, b, extra_us, for_us } => {
                format!("the link of nodes {a} and {b} is {} slower for {}", time(*extra_us), time(*for_us))
            }
            Fault::Loss { ppm, for_us } => format!("{} of all messages are lost for {}", share(*ppm), time(*for_us)),
            Fault::DiskFull { node, for_us } => format!("the disk of node {node} is full for {}", time(*for_us)),
            Fault::DiskSlow { node, factor, for_us } => {
                format!("the disk of node {node} is {factor} times slower for {}", time(*for_us))
            }
            Fault::BitRot { node } => format!("bytes rot on the disk of node {node}"),
            Fault::RowRot { node } => format!("a row rots in the ledger of node {node}"),
            Fault::ClockJump { node, by_us } => format!("the clock of node {node} jumps ahead by {}", time(*by_us)),
            Fault::Drain { node, back_us: None } => format!("node {node} is drained for good"),
            Fault::Drain { node, back_us: Some(us) } => {
                format!("node {node} is drained, to be back {} later", time(*us))
            }
            Fault::Sick { node, for_us } => format!("node {node} cannot start tasks for {}", time(*for_us)),
            Fault::Forge { node } => format!("somebody sends node {node} a forged result"),
            Fault::Leave { node } => format!("node {node} dies for good"),
        }
    }
}

fn marks(world: &World) -> impl Iterator<Item = &(u64, Mark)> {
    world.chronicle.iter().flat_map(|c| &c.marks)
}

fn faults(world: &World, out: &mut Vec<(Weight, Line)>) {
    for (at, mark) in marks(world) {
        let Mark::Fault { fault, until } = mark else { continue };
        let fault = &world.options.faults[*fault].fault;
        push(out, 1, *at, fault.phrase());
        let heals = matches!(fault, Fault::Cut { .. } | Fault::Split { .. } | Fault::Loss { .. } | Fault::Pause { .. });
        if let Some(until) = until.filter(|u| heals && *u <= world.now) {
            let over = fault.node().map_or("the network is whole again".into(), |n| format!("node {n} goes on"));
            push(out, 2, until, over);
        }
    }
}

fn piece(world: &World) -> u64 {
    let last = world.history.ended.values().map(|e| e.0).max().unwrap_or(world.now);
    (last / PIECES).max(1)
}

/// Who came back, who handed out tasks.
fn nodes(world: &World, out: &mut Vec<(Weight, Line)>) {
    let mut seen = vec![false; world.hosts.len()];
    let mut starts: BTreeMap<(u64, bool), (u64, Vec<usize>)> = BTreeMap::new();
    let plans: BTreeMap<_, _> = world.clients.jobs.iter().filter_map(|(plan, s)| Some((s.job?, *plan))).collect();
    for (at, mark) in marks(world) {
        match mark {
            Mark::Up { host } => {
                let first = !std::mem::replace(&mut seen[*host], true);
                starts.entry((at / piece(world), first)).or_insert((*at, Vec::new())).1.push(*host);
            }
            Mark::Steward { host, job, .. } => {
                let name = plans.get(job).map_or("a job".into(), |plan| job_name(world, *plan));
                push(out, 2, *at, format!("node {host} hands out the tasks of {name}"));
            }
            _ => {}
        }
    }
    for ((_, first), (at, hosts)) in starts {
        let (verb, many) = if first { ("starts", "start") } else { ("is back", "are back") };
        let verb = if hosts.len() == 1 { verb } else { many };
        push(out, if first { 1 } else { 2 }, at, format!("{} {verb}", list(&hosts)));
    }
}

/// Steals of a piece of the time in one line.
fn steals(world: &World, out: &mut Vec<(Weight, Line)>) {
    let mut pieces: BTreeMap<u64, (u64, u64, BTreeMap<usize, u64>)> = BTreeMap::new();
    for (at, mark) in marks(world) {
        if let Mark::Stole { to, tasks, .. } = mark {
            let entry = pieces.entry(at / piece(world)).or_insert((*at, 0, BTreeMap::new()));
            entry.1 += 1;
            *entry.2.entry(*to).or_default() += u64::from(*tasks);
        }
    }
    for (at, steals, by) in pieces.into_values() {
        let tasks: u64 = by.values().sum();
        let thieves: Vec<usize> = by.keys().copied().collect();
        let (s, t) = (if steals == 1 { "" } else { "s" }, if tasks == 1 { "" } else { "s" });
        push(out, 3, at, format!("{steals} steal{s} by {}: {tasks} task{t}", list(&thieves)));
    }
}

/// Quarters of all tasks done.
fn progress(world: &World, out: &mut Vec<(Weight, Line)>) {
    let first = |runs: &Vec<crate::history::Run>| {
        runs.iter().filter_map(|r| r.end).filter(|(_, e)| matches!(e, End::Done { .. })).map(|(at, _)| at).min()
    };
    let mut done: Vec<u64> = world.history.runs.values().flat_map(|tasks| tasks.values()).filter_map(first).collect();
    done.sort_unstable();
    let all: usize = world.options.jobs.iter().map(|j| j.total() as usize).sum();
    for percent in [25, 50, 75] {
        let nth = all * percent / 100;
        if let Some(at) = done.get(nth.saturating_sub(1)).filter(|_| nth > 0) {
            push(out, 1, *at, format!("{percent} % of the tasks are done"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JobPlan, Options, Sim};

    fn told(most: usize) -> Vec<Line> {
        let mut sim = Sim::new(Options::calm(3, 5, 2));
        sim.world.chronicle_on();
        sim.submit(JobPlan { at: 2_000_000, ..JobPlan::array(400, 50_000) });
        sim.inject(3_000_000, Fault::Crash { node: 1, down_us: 2_000_000, disk: DiskAfter::Wiped, power: true });
        sim.run_until_done(60_000_000).unwrap();
        tell(&sim.world, most)
    }

    #[test]
    fn a_run_is_told_in_order() {
        let lines = told(100);
        let has = |text: &str| {
            lines.iter().position(|l| l.what.contains(text)).unwrap_or_else(|| panic!("{text}: {lines:#?}"))
        };
        let order = [
            has("nodes 0-4 start"),
            has("the job of 400 tasks is submitted at node 0"),
            has("accepted: 3 copies"),
            has("node 1 loses power for 2.0 s, its disk wiped"),
            has("75 % of the tasks"),
            has("the job has ended: succeeded"),
        ];
        assert!(order.is_sorted(), "{lines:#?}");
        assert!(lines.is_sorted_by_key(|l| l.at_us));
    }

    #[test]
    fn what_matters_least_goes_first() {
        let lines = told(6);
        assert_eq!(lines.len(), 6);
        assert!(lines[5].what.starts_with("and "), "{lines:#?}");
        assert!(lines.iter().any(|l| l.what.contains("has ended")), "{lines:#?}");
        assert!(!lines.iter().any(|l| l.what.contains("steal")), "{lines:#?}");
    }
}
