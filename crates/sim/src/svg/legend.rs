//! What the colours and marks mean: of those that are in the picture.

use super::canvas::{Canvas, wide};
use super::marks;
use crate::fault::Fault;
use crate::timeline::{Bar, Fate, Mark};
use crate::world::World;

/// Where the line of boxes begins.
const Y: f64 = 75.0;
/// Between entries.
const GAP: f64 = 14.0;

/// Class and name of a colour, and which attempts have it.
type Kind = (&'static str, &'static str, fn(&Bar) -> bool);

/// Puts entries beside each other.
struct Line {
    x: f64,
}

impl Line {
    fn boxed(&mut self, c: &mut Canvas, class: &str, name: &str) {
        c.rect(self.x, Y, 13.0, 10.0, class);
        self.name(c, 17.0, name);
    }
    fn name(&mut self, c: &mut Canvas, after: f64, name: &str) {
        c.text(self.x + after, Y + 9.0, "", name);
        self.x += after + wide(name) + GAP;
    }
}

/// Until `end`, where the picture ends.
pub(super) fn draw(c: &mut Canvas, world: &World, bars: &[Bar], detailed: bool, end: u64) {
    let mut line = Line { x: 14.0 };
    if detailed {
        attempts(c, &mut line, bars, end);
    } else {
        line.boxed(c, "d0", "busy: the darker, the more of the slots");
        line.boxed(c, "rd", "a third of it or more in vain");
    }
    let shown = || world.chronicle.iter().flat_map(|chronicle| &chronicle.marks).filter(|(at, _)| *at <= end);
    let marks = || shown().map(|(_, mark)| mark);
    let any = |of: fn(&Fault) -> bool| {
        marks().any(|m| matches!(m, Mark::Fault { fault, .. } if of(&world.options.faults[*fault].fault)))
    };
    if marks().any(|m| matches!(m, Mark::Down { .. })) {
        line.boxed(c, "down", "down");
    }
    if any(|f| matches!(f, Fault::Pause { .. })) {
        line.boxed(c, "pause", "paused");
    }
    if any(|f| matches!(f, Fault::Cut { .. } | Fault::Split { .. } | Fault::Clog { .. } | Fault::Loss { .. })) {
        line.boxed(c, "cut", "links cut or bad");
    }
    if any(|f| matches!(f, Fault::DiskFull { .. } | Fault::DiskSlow { .. })) {
        line.boxed(c, "disk", "disk full or slow");
    }
    if any(|f| matches!(f, Fault::Crash { .. } | Fault::Leave { .. })) {
        marks::cross(c, line.x + 5.0, Y + 5.0);
        line.name(c, 14.0, "crash");
    }
    marks::crown(c, line.x + 5.0, Y + 9.0);
    line.name(c, 14.0, "begins to hand out a job");
    if detailed && world.stats.stolen > 0 {
        marks::arrow(c, (line.x + 4.0, Y), (line.x + 4.0, Y + 12.0));
        line.name(c, 12.0, "steal");
    }
}

fn attempts(c: &mut Canvas, line: &mut Line, bars: &[Bar], end: u64) {
    let kinds: [Kind; 7] = [
        ("d0", "done", |b| b.fate == Fate::Done && b.job.is_multiple_of(2)),
        ("d1", "done, every other job", |b| b.fate == Fate::Done && !b.job.is_multiple_of(2)),
        ("rd", "done again", |b| b.fate == Fate::Redone),
        ("lo", "lost", |b| b.fate == Fate::Lost),
        ("fa", "failed", |b| b.fate == Fate::Failed),
        ("st", "stopped", |b| b.fate == Fate::Stopped),
        ("op", "runs", |b| b.fate == Fate::Open),
    ];
    for (class, name, is) in kinds {
        if bars.iter().any(|b| b.start <= end && is(b)) {
            line.boxed(c, class, name);
        }
    }
}
