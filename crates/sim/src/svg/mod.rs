//! A run as a picture: nodes as rows, attempts as bars, steals as arrows, faults as marks, over virtual time.
//!
//! Up to [`DETAILED`] nodes every attempt is a bar; beyond that rows show how busy their nodes were.

mod canvas;
mod heat;
mod marks;
mod rows;
mod strip;

use crate::report::Report;
use crate::timeline::Bar;
use crate::world::World;
use canvas::{Canvas, GUTTER, Scale, WIDTH};

/// Nodes that get a row of their own, with every attempt in it.
pub const DETAILED: usize = 40;
/// Where the first row begins.
const TOP: f64 = 96.0;
/// Between rows.
const GAP: f64 = 5.0;

/// Colours of attempts, then of marks.
const STYLE: &str = "\
text{font-family:sans-serif;font-size:11px;fill:#333}\
.t{font-size:17px;font-weight:bold}.s{fill:#666}.r{text-anchor:end}.m{text-anchor:middle}\
.row{fill:#f4f5f7}.grid{stroke:#dfe2e6;stroke-width:1}\
.d0{fill:#3f9a6b}.d1{fill:#7cc39c}.rd{fill:#e8a23a}.lo{fill:#d23c3c}.fa{fill:#7d4fb3}.st{fill:#a9afb8}.op{fill:#9ec3ea}\
.down{fill:#55606e;opacity:.30}.pause{fill:#6f7fd8;opacity:.28}.cut{fill:#e0533d;opacity:.24}\
.cutline{stroke:#e0533d;stroke-width:1.2;stroke-dasharray:4 3}.disk{fill:#b5651d;opacity:.75}\
.x{stroke:#c41e1e;stroke-width:2.4;fill:none}.steal{stroke:#1f4f9e;stroke-width:1;opacity:.55;fill:none}\
.tip{fill:#1f4f9e;opacity:.75}.sw{fill:#111}.job{stroke:#1b1b1b;stroke-width:1;stroke-dasharray:2 3}.cap{stroke:#333;fill:none;stroke-width:1}";

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
    axis(&mut c, &layout);
    if detailed {
        rows::ground(&mut c, world, &layout);
        marks::below(&mut c, world, &layout);
        rows::draw(&mut c, &bars, &layout);
    } else {
        heat::ground(&mut c, world, &layout);
        marks::below(&mut c, world, &layout);
        heat::draw(&mut c, world, &bars, &layout);
    }
    marks::above(&mut c, world, &layout, detailed);
    jobs(&mut c, &report, &layout);
    let height = strip::draw(&mut c, world, &bars, &layout);
    c.finish(height, STYLE)
}

fn end_of(report: &Report) -> u64 {
    // What comes long after the last job (a lid that opens hours later) would leave no room for the jobs.
    let last = report.jobs.iter().filter_map(|j| j.ended_us).max();
    last.map_or(report.simulated_us, |l| (l + l / 16).min(report.simulated_us)).max(1)
}

fn header(c: &mut Canvas, world: &World, r: &Report, title: &str, detailed: bool) {
    c.text(14.0, 26.0, "t", &format!("{title} · seed {}", r.seed));
    let verdict = match (&r.violation, r.jobs.iter().any(|j| j.ended_us.is_none() && j.accepted_us.is_some())) {
        (Some(v), _) => v.chars().take(120).collect(),
        (None, true) => "not finished".to_owned(),
        (None, false) => "every job ended".to_owned(),
    };
    let line = format!(
        "{} nodes, {} slots · {} tasks, {} executions, {} again, {} stolen · {} faults · {:.1} s, {:.0} % of the slots used well · {verdict}",
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
    let mut x = 14.0;
    let kinds: &[(&str, &str)] = if detailed {
        &[("d0", "done"), ("rd", "done again"), ("lo", "lost"), ("fa", "failed"), ("st", "stopped")]
    } else {
        &[("d0", "busy"), ("rd", "busy in vain")]
    };
    for (class, name) in kinds {
        c.rect(x, 58.0, 12.0, 10.0, class);
        c.text(x + 16.0, 67.0, "", name);
        x += 30.0 + 6.2 * name.len() as f64;
    }
    for (class, name) in [("down", "down"), ("pause", "paused"), ("cut", "cut off"), ("disk", "disk full or slow")] {
        c.rect(x, 58.0, 12.0, 10.0, class);
        c.text(x + 16.0, 67.0, "", name);
        x += 30.0 + 6.2 * name.len() as f64;
    }
    marks::cross(c, x + 5.0, 63.0);
    c.text(x + 14.0, 67.0, "", "crash");
    marks::crown(c, x + 58.0, 68.0);
    c.text(x + 68.0, 67.0, "", "steward");
    if detailed {
        marks::arrow(c, (x + 122.0, 58.0), (x + 122.0, 69.0));
        let drawn = world.stats.stolen > 0;
        c.text(x + 132.0, 67.0, "", if drawn { "steal" } else { "steal (none)" });
    }
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
mod tests {
    use crate::{DiskAfter, Fault, JobPlan, Options, Sim};

    fn picture(nodes: usize) -> String {
        let mut sim = Sim::new(Options::calm(3, nodes, 2));
        sim.world.chronicle_on();
        sim.submit(JobPlan::array(400, 50_000));
        sim.inject(1_000_000, Fault::Crash { node: 1, down_us: 2_000_000, disk: DiskAfter::Kept, power: false });
        sim.run_until_done(60_000_000).unwrap();
        super::render(&sim.world, "a <test> & more")
    }

    #[test]
    fn a_picture_has_its_parts_and_is_well_formed() {
        for nodes in [5, super::DETAILED + 25] {
            let svg = picture(nodes);
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
            assert!(svg.contains("a &lt;test&gt; &amp; more · seed 3"));
            assert!(svg.contains("class=\"x\""), "the crash is marked");
            assert!(svg.contains("class=\"down\""), "and the time that it took");
            assert!(!svg.contains("NaN") && !svg.contains("inf"));
            assert_eq!(svg, picture(nodes));
        }
    }
}
