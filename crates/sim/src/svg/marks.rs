//! What happened to nodes: down, paused, cut off, full disks, crashes, stewards, steals.

use std::collections::{BTreeMap, BTreeSet};

use super::Layout;
use super::canvas::{Canvas, GUTTER, wide};
use crate::fault::Fault;
use crate::timeline::{Chronicle, Mark};
use crate::world::World;

/// Steals that are drawn: those that moved most.
const STEALS: usize = 250;
/// Changes of stewards that are drawn: the first ones.
const STEWARDS: usize = 400;

/// What lies above the attempts.
pub(super) fn above(c: &mut Canvas, world: &World, l: &Layout, detailed: bool) {
    let Some(chronicle) = &world.chronicle else { return };
    lasting(c, world, l, of_node);
    downtimes(c, chronicle, l);
    lasting(c, world, l, of_links);
    if detailed {
        steals(c, chronicle, l);
    }
    stewards(c, chronicle, l);
    // Where the last word in a row ends: two of them on top of each other say nothing.
    let mut written: BTreeMap<usize, f64> = BTreeMap::new();
    for (at, mark) in &chronicle.marks {
        let Mark::Fault { fault, .. } = mark else { continue };
        let fault = &world.options.faults[*fault].fault;
        let gone = matches!(fault, Fault::Crash { .. } | Fault::Leave { .. });
        let Some(node) = fault.node().filter(|_| *at <= l.scale.end) else { continue };
        let (y, height) = l.rows[node];
        let (x, middle) = (l.scale.x(*at), y + height / 2.0);
        if gone {
            cross(c, x, middle);
        } else if detailed {
            c.line(x, y, x, y + height, "tick");
            if written.get(&node).is_none_or(|end| *end < x) {
                c.label(x + 3.0, y + height - 2.0, word(fault));
                written.insert(node, x + 6.0 + wide(word(fault)));
            }
        }
    }
}

fn word(fault: &Fault) -> &'static str {
    match fault {
        Fault::Pause { suspend: true, .. } => "suspended",
        Fault::Pause { .. } => "paused",
        Fault::DiskFull { .. } => "disk full",
        Fault::DiskSlow { .. } => "disk slow",
        Fault::BitRot { .. } => "bit rot",
        Fault::RowRot { .. } => "row rots",
        Fault::ClockJump { .. } => "clock jumps",
        Fault::Drain { .. } => "drains",
        Fault::Sick { .. } => "cannot start",
        Fault::Forge { .. } => "forged fact",
        Fault::Cut { one_way: true, .. } => "not heard",
        Fault::Cut { .. } | Fault::Split { .. } => "cut off",
        Fault::Clog { .. } => "slow link",
        Fault::Loss { .. } => "lossy",
        Fault::Crash { .. } | Fault::Leave { .. } => "",
    }
}

/// What lasts, as an area: from `x`, so wide.
fn lasting(c: &mut Canvas, world: &World, l: &Layout, area: fn(&mut Canvas, &Layout, &Fault, f64, f64)) {
    for (at, mark) in world.chronicle.iter().flat_map(|c| &c.marks) {
        if let Mark::Fault { fault, until } = mark
            && *at <= l.scale.end
        {
            let (x, end) = (l.scale.x(*at), l.scale.x(until.unwrap_or(*at)));
            area(c, l, &world.options.faults[*fault].fault, x, end - x);
        }
    }
}

fn of_node(c: &mut Canvas, l: &Layout, fault: &Fault, x: f64, w: f64) {
    match fault {
        Fault::Pause { node, .. } => {
            let (y, height) = l.rows[*node];
            c.rect(x, y, w, height, "pause");
        }
        Fault::DiskFull { node, .. } | Fault::DiskSlow { node, .. } => {
            let (y, height) = l.rows[*node];
            c.rect(x, y + height - 2.5, w, 2.5, "disk");
        }
        _ => {}
    }
}

/// A frame around those whose links it is about.
fn of_links(c: &mut Canvas, l: &Layout, fault: &Fault, x: f64, w: f64) {
    let sides: Vec<Vec<usize>> = match fault {
        Fault::Loss { .. } => vec![(0..l.rows.len()).collect()],
        Fault::Cut { side, .. } => vec![side.clone()],
        Fault::Split { side, from, .. } => vec![side.clone(), from.clone()],
        Fault::Clog { a, b, .. } => vec![vec![*a, *b]],
        _ => return,
    };
    for side in sides {
        for (n, (top, bottom)) in blocks(l, &side).into_iter().enumerate() {
            c.rect(x, top - 2.0, w, bottom - top + 4.0, "cut");
            if n == 0 {
                c.label(x + 4.0, top + 9.0, word(fault));
            }
        }
    }
}

/// Top and bottom of rows that lie next to each other.
fn blocks(l: &Layout, nodes: &[usize]) -> Vec<(f64, f64)> {
    let nodes: BTreeSet<usize> = nodes.iter().copied().collect();
    let mut out: Vec<(f64, f64)> = Vec::new();
    let mut before = None;
    for n in nodes {
        let Some((y, height)) = l.rows.get(n).copied() else { continue };
        match out.last_mut() {
            Some(block) if before == n.checked_sub(1) => block.1 = y + height,
            _ => out.push((y, y + height)),
        }
        before = Some(n);
    }
    out
}

fn downtimes(c: &mut Canvas, chronicle: &Chronicle, l: &Layout) {
    let mut down: BTreeMap<usize, u64> = (0..l.rows.len()).map(|h| (h, 0)).collect();
    let gone = |c: &mut Canvas, host: usize, from: u64, until: u64| {
        let (y, height) = l.rows[host];
        let (x, end) = (l.scale.x(from), l.scale.x(until));
        // Thinner ones are no more than the moment in which a node starts.
        if end - x >= 2.0 {
            c.rect(x, y, end - x, height, "down");
        }
    };
    for (at, mark) in &chronicle.marks {
        match mark {
            Mark::Down { host } => {
                down.entry(*host).or_insert(*at);
            }
            Mark::Up { host } => down.remove(host).iter().for_each(|from| gone(c, *host, *from, *at)),
            _ => {}
        }
    }
    for (host, from) in down {
        gone(c, host, from, l.scale.end);
    }
}

fn steals(c: &mut Canvas, chronicle: &Chronicle, l: &Layout) {
    let mut all: Vec<(u32, u64, usize, usize)> = Vec::new();
    for (at, mark) in &chronicle.marks {
        if let Mark::Stole { from, to, tasks } = mark
            && *at <= l.scale.end
        {
            all.push((*tasks, *at, *from, *to));
        }
    }
    let count = all.len();
    all.sort_by_key(|s| std::cmp::Reverse(*s));
    for (_, at, from, to) in all.into_iter().take(STEALS) {
        let x = l.scale.x(at);
        let edge = |row: (f64, f64), below: bool| if below { row.1 + row.0 } else { row.0 };
        let down = l.rows[to].0 > l.rows[from].0;
        arrow(c, (x, edge(l.rows[from], down)), (x, edge(l.rows[to], !down)));
    }
    if count > STEALS {
        c.text(GUTTER, l.bottom + 48.0, "s", &format!("arrows: the {STEALS} largest of {count} steals"));
    }
}

fn stewards(c: &mut Canvas, chronicle: &Chronicle, l: &Layout) {
    let stewards = chronicle.marks.iter().filter_map(|(at, m)| match m {
        Mark::Steward { host, .. } if *at <= l.scale.end => Some((*at, *host)),
        _ => None,
    });
    for (at, host) in stewards.take(STEWARDS) {
        crown(c, l.scale.x(at), l.rows[host].0 + 7.0);
    }
}

/// A crash.
pub(super) fn cross(c: &mut Canvas, x: f64, y: f64) {
    c.path(&format!("M{:.1} {:.1}l9 9m0 -9l-9 9", x - 4.5, y - 4.5), "x");
}

/// Somebody takes office: a crown on the line `y`.
pub(super) fn crown(c: &mut Canvas, x: f64, y: f64) {
    c.path(&format!("M{:.1} {y:.1}l-1.5 -7 3.5 3 2.5 -5 2.5 5 3.5 -3 -1.5 7z", x - 4.5), "sw");
}

/// Tasks move.
pub(super) fn arrow(c: &mut Canvas, from: (f64, f64), to: (f64, f64)) {
    let down = to.1 >= from.1;
    let back = if down { -5.0 } else { 5.0 };
    c.line(from.0, from.1, to.0, to.1 + back, "steal");
    // Where they were.
    c.rect(from.0 - 1.5, from.1 - 1.5, 3.0, 3.0, "tip");
    c.path(&format!("M{:.1} {:.1}l-3 {back:.0}h6z", to.0, to.1), "tip");
}
