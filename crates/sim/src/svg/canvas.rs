//! SVG text, a shape at a time.

use std::fmt::Write;

/// Of the picture.
pub(super) const WIDTH: f64 = 1_280.0;
/// Left of the rows, for their names.
pub(super) const GUTTER: f64 = 96.0;

/// A picture under way.
#[derive(Default)]
pub(super) struct Canvas {
    body: String,
}

/// How much room a text takes, about.
pub(super) fn wide(text: &str) -> f64 {
    6.2 * text.chars().count() as f64
}

/// Text for an element's content.
pub(super) fn tag(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Canvas {
    fn push(&mut self, args: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.body.write_fmt(args);
    }
    pub fn rect(&mut self, x: f64, y: f64, w: f64, h: f64, class: &str) {
        self.push(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.2}\" height=\"{h:.1}\" class=\"{class}\"/>\n"
        ));
    }
    /// A rectangle that lets some of the ground through.
    pub fn shade(&mut self, x: f64, y: f64, w: f64, h: f64, class: &str, opacity: f64) {
        self.push(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.2}\" height=\"{h:.1}\" class=\"{class}\" opacity=\"{opacity:.2}\"/>\n"
        ));
    }
    pub fn line(&mut self, x1: f64, y1: f64, x2: f64, y2: f64, class: &str) {
        self.push(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>\n"
        ));
    }
    pub fn path(&mut self, d: &str, class: &str) {
        self.push(format_args!("<path d=\"{d}\" class=\"{class}\"/>\n"));
    }
    /// Text that is read on any ground, at most as far to the right as the picture goes.
    pub fn label(&mut self, x: f64, y: f64, text: &str) {
        self.text(x.min(WIDTH - 6.0 - wide(text)), y, "on", text);
    }
    pub fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = tag(text);
        self.push(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>\n"));
    }
    pub fn finish(self, height: f64, style: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" viewBox=\"0 0 {WIDTH} {height:.0}\">\n<defs><pattern id=\"hatch\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><rect width=\"2.2\" height=\"5\" fill=\"#3f4fc4\"/></pattern></defs>\n<style>{style}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// From time to place.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    /// Time at the right edge.
    pub end: u64,
    /// Pixels from the left edge of the rows to the right one.
    pub width: f64,
}

impl Scale {
    pub fn x(&self, at: u64) -> f64 {
        GUTTER + self.span(at.min(self.end))
    }
    pub fn span(&self, us: u64) -> f64 {
        us as f64 / self.end.max(1) as f64 * self.width
    }
    /// About ten round times with their names.
    pub fn ticks(&self) -> Vec<(u64, String)> {
        const STEPS: [u64; 24] = [
            100,
            200,
            500,
            1_000,
            2_000,
            5_000,
            10_000,
            20_000,
            50_000,
            100_000,
            200_000,
            500_000,
            1_000_000,
            2_000_000,
            5_000_000,
            10_000_000,
            30_000_000,
            60_000_000,
            300_000_000,
            600_000_000,
            3_600_000_000,
            21_600_000_000,
            86_400_000_000,
            604_800_000_000,
        ];
        let step = STEPS.into_iter().find(|s| self.end / s <= 14).unwrap_or(self.end.max(1));
        (0..=self.end / step).map(|n| (n * step, name(n * step, step))).collect()
    }
}

/// A time, as exact as the step between ticks.
fn name(at: u64, step: u64) -> String {
    match step {
        0..1_000 => format!("{:.1} ms", at as f64 / 1e3),
        1_000..1_000_000 => format!("{} ms", at / 1_000),
        1_000_000..300_000_000 => format!("{} s", at / 1_000_000),
        300_000_000..3_600_000_000 => format!("{} min", at / 60_000_000),
        3_600_000_000..86_400_000_000 => format!("{} h", at / 3_600_000_000),
        _ => format!("{} d", at / 86_400_000_000),
    }
}
