//! A row per node, a lane per slot, a bar per attempt.

use super::canvas::{Canvas, GUTTER, Scale};
use super::{GAP, Layout, TOP, end_of, width};
use crate::report::Report;
use crate::timeline::{Bar, Fate};
use crate::world::World;

/// Height of all rows together that a picture aims at.
const HEIGHT: f64 = 620.0;
/// Bars narrower than this melt into one where they touch.
const FINE: f64 = 2.0;

pub(super) fn layout(world: &World, bars: &[Bar], report: &Report) -> Layout {
    let mut lanes: Vec<usize> = world.hosts.iter().map(|h| usize::from(h.options.slots).max(1)).collect();
    for bar in bars {
        lanes[bar.host] = lanes[bar.host].max(bar.lane + 1);
    }
    let all: usize = lanes.iter().sum();
    let lane = ((HEIGHT - GAP * lanes.len() as f64) / all.max(1) as f64).clamp(3.0, 13.0);
    let mut y = TOP;
    let rows = lanes.iter().map(|n| {
        let height = lane * *n as f64;
        y += height + GAP;
        (y - height - GAP, height)
    });
    let rows: Vec<(f64, f64)> = rows.collect();
    Layout { scale: Scale { end: end_of(report), width: width() }, rows, lanes, bottom: y }
}

/// Empty rows and their names.
pub(super) fn ground(c: &mut Canvas, world: &World, l: &Layout) {
    for (n, (y, height)) in l.rows.iter().enumerate() {
        c.rect(GUTTER, *y, l.scale.width, *height, "row");
        let slow = world.hosts[n].options.speed_pct;
        let name = if slow == 100 { format!("node {n}") } else { format!("node {n}, {slow} %") };
        c.text(GUTTER - 8.0, y + height / 2.0 + 4.0, "r", &name);
    }
}

pub(super) fn draw(c: &mut Canvas, bars: &[Bar], l: &Layout) {
    let mut open: Option<Bar> = None;
    for bar in bars.iter().filter(|b| b.start <= l.scale.end) {
        match &mut open {
            Some(last) if melts(last, bar, l) => last.end = bar.end,
            _ => {
                open.iter().for_each(|last| one(c, last, l));
                open = Some(*bar);
            }
        }
    }
    open.iter().for_each(|last| one(c, last, l));
}

/// Whether two bars are too fine to be told apart.
fn melts(a: &Bar, b: &Bar, l: &Layout) -> bool {
    let same = (a.host, a.lane, a.fate, a.job % 2) == (b.host, b.lane, b.fate, b.job % 2);
    let fine = l.scale.span(b.end - b.start) < FINE && l.scale.span(b.start.saturating_sub(a.end)) < 0.5;
    same && fine
}

fn one(c: &mut Canvas, bar: &Bar, l: &Layout) {
    let (y, height) = l.rows[bar.host];
    let lane = height / l.lanes[bar.host] as f64;
    let x = l.scale.x(bar.start);
    let w = (l.scale.x(bar.end) - x - 0.4).max(0.6);
    c.rect(x, y + lane * bar.lane as f64 + 0.5, w, lane - 1.0, class(bar));
}

fn class(bar: &Bar) -> &'static str {
    match bar.fate {
        Fate::Done if bar.job.is_multiple_of(2) => "d0",
        Fate::Done => "d1",
        Fate::Redone => "rd",
        Fate::Failed => "fa",
        Fate::Lost => "lo",
        Fate::Stopped => "st",
        Fate::Open => "op",
    }
}
