//! Many nodes: rows of one or more nodes, the darker the busier.

use super::canvas::{Canvas, GUTTER, Scale};
use super::{Layout, TOP, end_of, in_vain, width};
use crate::report::Report;
use crate::timeline::Bar;
use crate::world::World;

/// Rows at most.
const ROWS: usize = 100;
/// Columns of a row.
pub(super) const COLUMNS: usize = 240;

/// Nodes that share a row.
pub(super) fn per_row(world: &World) -> usize {
    world.hosts.len().div_ceil(ROWS).max(1)
}

pub(super) fn layout(world: &World, report: &Report) -> Layout {
    let per_row = per_row(world);
    let count = world.hosts.len().div_ceil(per_row);
    let height = (620.0 / count as f64).clamp(5.0, 11.0);
    let rows = (0..world.hosts.len()).map(|h| (TOP + height * (h / per_row) as f64, height - 0.5)).collect();
    let scale = Scale { end: end_of(report), width: width() };
    Layout { scale, rows, lanes: Vec::new(), bottom: TOP + height * count as f64 + 4.0 }
}

/// Time that bars take in each column, by row: all of it, and that in vain.
pub(super) fn columns<K: Ord + Copy>(
    bars: &[Bar],
    scale: &Scale,
    key: impl Fn(&Bar) -> K,
) -> std::collections::BTreeMap<K, Vec<(u64, u64)>> {
    let mut out = std::collections::BTreeMap::new();
    let step = (scale.end / COLUMNS as u64).max(1);
    for bar in bars {
        let row = out.entry(key(bar)).or_insert_with(|| vec![(0, 0); COLUMNS]);
        let (from, until) = (bar.start.min(scale.end), bar.end.min(scale.end));
        for n in (from / step)..=(until / step) {
            let Some(cell) = row.get_mut(n as usize) else { break };
            let time = until.min((n + 1) * step).saturating_sub(from.max(n * step));
            cell.0 += time;
            cell.1 += if in_vain(bar) { time } else { 0 };
        }
    }
    out
}

/// Empty rows and their names.
pub(super) fn ground(c: &mut Canvas, world: &World, l: &Layout) {
    let per_row = per_row(world);
    for row in 0..world.hosts.len().div_ceil(per_row) {
        let (y, height) = l.rows[row * per_row];
        c.rect(GUTTER, y, l.scale.width, height, "row");
        if row % 5 == 0 {
            c.text(GUTTER - 8.0, y + height / 2.0 + 4.0, "r", &format!("node {}", row * per_row));
        }
    }
}

/// One colour a cell: where two were mixed, nobody could say of what.
pub(super) fn draw(c: &mut Canvas, world: &World, bars: &[Bar], l: &Layout) {
    let per_row = per_row(world);
    let slots = |row: usize| -> u64 {
        world.hosts.iter().skip(row * per_row).take(per_row).map(|h| u64::from(h.options.slots)).sum()
    };
    let step = (l.scale.end / COLUMNS as u64).max(1);
    let w = l.scale.span(step) + 0.15;
    for (row, cells) in columns(bars, &l.scale, |b| b.host / per_row) {
        let (y, height) = l.rows[row * per_row];
        let full = (step * slots(row)).max(1) as f64;
        for (n, (busy, vain)) in cells.iter().enumerate() {
            let x = l.scale.x(n as u64 * step);
            if *busy > 0 {
                let class = if vain * 3 >= *busy { "rd" } else { "d0" };
                c.shade(x, y, w, height, class, (*busy as f64 / full).clamp(0.15, 1.0));
            }
        }
    }
}
