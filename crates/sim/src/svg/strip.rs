//! Below the rows: how much of the whole cluster was at work.

use std::fmt::Write;

use super::canvas::{Canvas, GUTTER};
use super::{Layout, heat};
use crate::timeline::Bar;
use crate::world::World;

const HEIGHT: f64 = 64.0;

/// Returns the height of the whole picture.
pub(super) fn draw(c: &mut Canvas, world: &World, bars: &[Bar], l: &Layout) -> f64 {
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
    floor + 18.0
}
