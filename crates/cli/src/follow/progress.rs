//! How far a job is, on stderr: a bar with rate and time left on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use filch_api::{Counts, Delay, Delivery, JobState};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::rate::Rate;
use crate::context::Context;
use crate::render::words;

/// Between plain lines.
const PERIOD: Duration = Duration::from_secs(5);
/// A job that is over sooner gets no bar.
const PATIENCE: Duration = Duration::from_millis(300);

/// Progress of one thing.
pub(crate) struct Progress {
    kind: Kind,
    begun: Instant,
    last: Instant,
    rate: Rate,
    note: String,
}

enum Kind {
    Silent,
    Plain,
    Bar(Option<ProgressBar>),
}

impl Progress {
    fn new(cx: &Context) -> Self {
        let kind = if cx.watched() {
            Kind::Bar(None)
        } else if cx.quiet || cx.json {
            Kind::Silent
        } else {
            Kind::Plain
        };
        let now = Instant::now();
        Self { kind, begun: now, last: now, rate: Rate::default(), note: String::new() }
    }
    /// Says nothing.
    pub(crate) fn silent() -> Self {
        let now = Instant::now();
        Self { kind: Kind::Silent, begun: now, last: now, rate: Rate::default(), note: String::new() }
    }
    /// Of copies that are made, before `accepted`.
    pub(crate) fn copying(cx: &Context) -> Self {
        let mut progress = Self::new(cx);
        // A line now and then is enough, also on a terminal.
        if matches!(progress.kind, Kind::Bar(_)) {
            progress.kind = Kind::Plain;
        }
        progress
    }
    /// Says how far the copies are, now and then.
    pub(crate) fn tell(&mut self) {
        if matches!(self.kind, Kind::Plain) && self.last.elapsed() >= Duration::from_secs(1) {
            self.last = Instant::now();
            say(&self.note);
        }
    }
    /// Of a job's tasks.
    pub(crate) fn tasks(cx: &Context) -> Self {
        Self::new(cx)
    }
    /// Of files that are read.
    pub(crate) fn files(cx: &Context, total: u64) -> Self {
        let mut progress = Self::new(cx);
        progress.note = format!("reading {}", words::count(total, "input file"));
        progress
    }

    /// So many files are read.
    pub(crate) fn files_read(&mut self, n: u64) {
        if self.last.elapsed() >= PERIOD && !matches!(self.kind, Kind::Silent) {
            self.last = Instant::now();
            let text = format!("{}: {n} done", self.note);
            self.suspend(|| say(&text));
        }
    }

    /// Copies that are made.
    pub(crate) fn copies(&mut self, have: u8, want: u8, missing: u64, eta_ms: Option<u64>) {
        self.note = match eta_ms {
            Some(ms) => {
                format!("{have} of {want} copies, safe to disconnect in ~{}", words::span(ms.div_ceil(1000) * 1000))
            }
            None if missing > 0 => format!("{have} of {want} copies, {} to go", words::bytes(missing)),
            None => format!("{have} of {want} copies"),
        };
    }

    /// Where the job stands.
    pub(crate) fn counts(&mut self, c: &Counts, state: JobState, delivery: Option<&Delivery>, delay: Option<&Delay>) {
        self.rate.sample(Instant::now(), c.done());
        let mut text = self.rate.phrase(c.total.saturating_sub(c.done()));
        if !text.is_empty() {
            text.insert_str(0, ", ");
        }
        if c.failed > 0 {
            text.push_str(&format!(", {} failed", c.failed));
        }
        if c.leased > 0 {
            text.push_str(&format!(", {} with nodes", c.leased));
        }
        if let Some(d) = delivery.filter(|d| d.pending > 0) {
            text.push_str(&format!(", {} to be written", words::count(d.pending, "file")));
        }
        if let Some(delay) = delay.filter(|_| c.finals < c.done()) {
            text.push_str(&format!("; final {}", words::delay(delay)));
        }
        if state == JobState::Cancelled {
            text.push_str(", cancelled");
        }
        if !self.note.is_empty() {
            text.push_str(&format!(", {}", self.note));
        }
        match &mut self.kind {
            Kind::Silent => {}
            Kind::Plain => self.line(c, &text),
            Kind::Bar(bar) => {
                if bar.is_none() && self.begun.elapsed() < PATIENCE {
                    return;
                }
                let bar = bar.get_or_insert_with(|| new_bar(c.total));
                bar.set_position(c.done());
                bar.set_message(text);
            }
        }
    }

    fn line(&mut self, c: &Counts, text: &str) {
        if self.last.elapsed() < PERIOD {
            return;
        }
        self.last = Instant::now();
        say(&format!("{}/{} tasks{text}", c.done(), c.total));
    }

    /// Whether a bar is drawn, on a line of its own.
    pub(crate) fn is_drawn(&self) -> bool {
        matches!(self.kind, Kind::Bar(Some(_)))
    }

    /// Runs `f` with the bar out of the way.
    pub(crate) fn suspend<T>(&self, f: impl FnOnce() -> T) -> T {
        match &self.kind {
            Kind::Bar(Some(bar)) => bar.suspend(f),
            _ => f(),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        if let Kind::Bar(Some(bar)) = &self.kind {
            bar.finish_and_clear();
        }
        self.kind = Kind::Silent;
    }
}

fn say(text: &str) {
    crate::context::say(format_args!("filch: {text}"));
}

fn new_bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
    let plain = if std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) { "" } else { ".green" };
    let template = format!("{{bar:30{plain}}} {{human_pos}}/{{human_len}} tasks{{msg}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}
