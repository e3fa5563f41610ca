//! Below the rows: how much of the whole cluster was at work, and where rows are too many for arrows, how much was stolen.

use std::fmt::Write;

use super::canvas::{Canvas, GUTTER};
use super::{Layout, heat};
use crate::timeline::{Bar, Mark};
use crate::world::World;

const HEIGHT: f64 = 64.0;
/// Of the strip of steals.
const STOLEN: f64 = 36.0;

/// Returns the height of the whole picture.
pub(super) fn draw(c: &mut Canvas, world: &World, bars: &[Bar], l: &Layout, detailed: bool) -> f64 {
    let top = l.bottom + 50.0;
    let floor = top + HEIGHT;
    c.rect(GUTTER, top, l.scale.width, HEIGHT, "row");
    let slots: u64 = world.hosts.iter().filter(|h| h.options.able).map(|h| u64::from(h.options.slots)).sum();
    let step = (l.scale.end / heat::COLUMNS as u64).max(1);
    let full = (step * slots).max(1) as f64;
    let cells = heat::columns(bars, &l.scale, |_| ()).remove(&()).unwrap_or_default();
    let area = |value: &dyn Fn(&(u64, u64)) -> u64| {
        let mut d = format!("M{GUTTER:.1} {floor:.1}");
        for (n, cell) in cells.iter().enumerate() {
            let y = floor - HEIGHT * (value(cell) as f64 / full).min(1.0);
            let (x, next) = (l.scale.x(n as u64 * step), l.scale.x((n as u64 + 1) * step));
            // Writing to a string does not fail.
            let _ = write!(d, "L{x:.1} {y:.1}L{next:.1} {y:.1}");
        }
        let _ = write!(d, "L{:.1} {floor:.1}Z", l.scale.x(l.scale.end));
        d
    };
    c.path(&area(&|cell| cell.0), "rd");
    c.path(&area(&|cell| cell.0 - cell.1), "d0");
    c.text(GUTTER - 8.0, top + 10.0, "r", &format!("{slots} slots"));
    c.text(GUTTER - 8.0, floor, "r", "0");
    c.text(GUTTER - 8.0, top + HEIGHT / 2.0 + 4.0, "r s", "at work");
    if detailed { floor + 18.0 } else { stolen(c, world, l, floor + 14.0) + 18.0 }
}

/// Tasks that moved, column by column. Returns where it ends.
fn stolen(c: &mut Canvas, world: &World, l: &Layout, top: f64) -> f64 {
    let step = (l.scale.end / heat::COLUMNS as u64).max(1);
    let mut columns = vec![0u64; heat::COLUMNS];
    for (at, mark) in world.chronicle.iter().flat_map(|chronicle| &chronicle.marks) {
        if let Mark::Stole { tasks, .. } = mark
            && let Some(column) = columns.get_mut((at / step) as usize)
        {
            *column += u64::from(*tasks);
        }
    }
    let most = columns.iter().copied().max().unwrap_or(0);
    let floor = top + STOLEN;
    c.rect(GUTTER, top, l.scale.width, STOLEN, "row");
    for (n, tasks) in columns.iter().enumerate().filter(|(_, tasks)| **tasks > 0) {
        let height = (STOLEN * *tasks as f64 / most as f64).max(1.0);
        c.rect(l.scale.x(n as u64 * step), floor - height, l.scale.span(step), height, "moved");
    }
    c.text(GUTTER - 8.0, top + 10.0, "r", &format!("{most} tasks"));
    c.text(GUTTER - 8.0, top + STOLEN / 2.0 + 6.0, "r s", "stolen");
    c.text(GUTTER - 8.0, floor, "r", "0");
    floor
}
