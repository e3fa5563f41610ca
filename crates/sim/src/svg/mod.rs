//! A run as a picture: nodes as rows, attempts as bars, steals as arrows, faults as marks, over virtual time.
//!
//! Up to [`DETAILED`] nodes every attempt is a bar; beyond that rows show how busy their nodes were.

mod canvas;
mod heat;
mod legend;
mod marks;
mod rows;
mod strip;

use crate::report::Report;
use crate::timeline::Bar;
use crate::world::World;
use canvas::{Canvas, GUTTER, Scale, WIDTH, wide};

/// Nodes that get a row of their own, with every attempt in it.
pub const DETAILED: usize = 40;
/// Where the first row begins.
const TOP: f64 = 116.0;
/// What a line of the header may hold.
const LINE: usize = 190;
/// Between rows.
const GAP: f64 = 5.0;

/// Colours of attempts, then of marks.
const STYLE: &str = "\
text{font-family:sans-serif;font-size:11px;fill:#333}\
.t{font-size:17px;font-weight:bold}.s{fill:#666}.r{text-anchor:end}.m{text-anchor:middle}.bad{fill:#c41e1e;font-weight:bold}\
.on{fill:#111;stroke:#fff;stroke-width:3px;stroke-opacity:.85;paint-order:stroke;stroke-linejoin:round}\
.row{fill:#f0f2f4}.grid{stroke:#d5d9de;stroke-width:1}\
.d0{fill:#3f9a6b}.d1{fill:#93cfae}.rd{fill:#ef9f26}.lo{fill:#d23c3c}.fa{fill:#7d4fb3}.st{fill:#6b7380}.op{fill:#9ec3ea}\
.down{fill:#4a5360;opacity:.42}.pause{fill:url(#hatch);opacity:.75}.cut{fill:none;stroke:#d4351c;stroke-width:1.6;stroke-dasharray:6 3}\
.disk{fill:#8a4a12}.tick{stroke:#111;stroke-width:1.4}\
.x{stroke:#c41e1e;stroke-width:2.4;fill:none}.steal{stroke:#173f86;stroke-width:1.1;opacity:.7;fill:none}\
.tip{fill:#173f86;opacity:.85}.sw{fill:#111;stroke:#fff;stroke-width:.8}.job{stroke:#1b1b1b;stroke-width:1.2;stroke-dasharray:2 3}.moved{fill:#2c5fb5}";

/// Where everything goes.
pub(crate) struct Layout {
    scale: Scale,
    /// Top and height of each node's row; nodes may share one.
    rows: Vec<(f64, f64)>,
    /// Lanes of each row, if attempts have lanes.
    lanes: Vec<usize>,
    bottom: f64,
}

/// The picture of a world that kept its chronicle ([`World::chronicle_on`]), as SVG text.
pub fn render(world: &World, title: &str) -> String {
    let report = Report::of(world);
    let bars = world.bars();
    let detailed = world.hosts.len() <= DETAILED;
    let layout = if detailed { rows::layout(world, &bars, &report) } else { heat::layout(world, &report) };
    let mut c = Canvas::default();
    header(&mut c, world, &report, title, detailed);
    legend::draw(&mut c, world, &bars, detailed, layout.scale.end);
    if detailed {
        rows::ground(&mut c, world, &layout);
        axis(&mut c, &layout);
        rows::draw(&mut c, &bars, &layout);
    } else {
        heat::ground(&mut c, world, &layout);
        axis(&mut c, &layout);
        heat::draw(&mut c, world, &bars, &layout);
    }
    marks::above(&mut c, world, &layout, detailed);
    jobs(&mut c, &report, &layout);
    let height = strip::draw(&mut c, world, &bars, &layout, detailed);
    c.finish(height, STYLE)
}

fn end_of(report: &Report) -> u64 {
    // What comes long after the last job (a lid that opens hours later) would leave no room for the jobs.
    let last = report.jobs.iter().filter_map(|j| j.ended_us).max();
    last.map_or(report.simulated_us, |l| (l + l / 16).min(report.simulated_us)).max(1)
}

fn header(c: &mut Canvas, world: &World, r: &Report, title: &str, detailed: bool) {
    c.text(14.0, 26.0, "t", &short(&format!("{title} · seed {}", r.seed), 100));
    let line = format!(
        "{} nodes, {} slots · {} tasks, {} executions, {} again, {} stolen · {} faults · {:.1} s, {:.0} % of the slots used well",
        r.nodes,
        r.slots,
        r.tasks,
        r.executions,
        r.redone,
        r.stolen,
        r.faults,
        r.took_us as f64 / 1e6,
        r.efficiency * 100.0,
    );
    c.text(14.0, 46.0, "s", &line);
    let (class, verdict) = match (&r.violation, r.jobs.iter().any(|j| j.ended_us.is_none() && j.accepted_us.is_some()))
    {
        (Some(v), _) => ("bad", format!("broken: {v}")),
        (None, true) => ("bad", "not finished".to_owned()),
        (None, false) => ("s", "every job ended".to_owned()),
    };
    let shared = match heat::per_row(world) {
        n if !detailed && n > 1 => format!(" · each row is {n} nodes"),
        _ => String::new(),
    };
    c.text(14.0, 62.0, class, &short(&format!("{verdict}{shared}"), LINE));
}

/// Cut off where a line ends.
fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.to_owned() } else { text.chars().take(most - 1).chain(['…']).collect() }
}

fn axis(c: &mut Canvas, l: &Layout) {
    for (at, label) in l.scale.ticks() {
        let x = l.scale.x(at);
        c.line(x, TOP - 8.0, x, l.bottom, "grid");
        c.text(x, TOP - 12.0, "s m", &label);
    }
}

fn jobs(c: &mut Canvas, r: &Report, l: &Layout) {
    // Many jobs would be a fence.
    for j in r.jobs.iter().take(12) {
        for (at, what) in [(j.accepted_us, "accepted"), (j.ended_us, j.state)] {
            let Some(at) = at.filter(|a| *a <= l.scale.end) else { continue };
            let x = l.scale.x(at);
            c.line(x, TOP - 4.0, x, l.bottom, "job");
            let label = if r.jobs.len() == 1 { what.to_owned() } else { format!("job {} {what}", j.job) };
            // In the middle below the line, but not beyond the edge.
            let x = x.min(WIDTH - 6.0 - wide(&label) / 2.0);
            c.text(x, l.bottom + 12.0 + 12.0 * (j.job % 3) as f64, "s m", &label);
        }
    }
}

/// How a bar is counted where only sums are shown.
fn in_vain(bar: &Bar) -> bool {
    use crate::timeline::Fate;
    matches!(bar.fate, Fate::Redone | Fate::Lost | Fate::Stopped)
}

fn width() -> f64 {
    WIDTH - GUTTER - 20.0
}

#[cfg(test)]
mod tests;
