//! How far a simulation is, on stderr: a bar on a terminal, a line now and then elsewhere, nothing with `--quiet` or `--json`.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::voice::Voice;

/// Between plain lines.
const PERIOD: Duration = Duration::from_secs(5);
/// What is over sooner gets no bar.
const PATIENCE: Duration = Duration::from_millis(300);

pub(super) struct Progress {
    voice: Voice,
    bar: Option<ProgressBar>,
    total: Option<u64>,
    last: Instant,
}

impl Progress {
    /// Of so many things, or of something whose end nobody knows.
    pub fn new(voice: Voice, total: Option<u64>) -> Self {
        Self { voice, bar: None, total, last: Instant::now() }
    }
    /// So many are done. `text` goes behind that.
    pub fn at(&mut self, done: u64, text: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(text());
            return;
        }
        if self.voice.watched() {
            if self.last.elapsed() >= PATIENCE {
                self.bar = Some(bar(self.total));
                self.at(done, text);
            }
        } else if !self.voice.json && self.last.elapsed() >= PERIOD {
            self.last = Instant::now();
            let of = self.total.map_or(String::new(), |total| format!("{done} of {total} "));
            self.voice.say(format_args!("filch: {of}{}", text()));
        }
    }
    /// A line for the person while it goes on.
    pub fn say(&self, text: impl std::fmt::Display) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.voice.say(text)),
            None => self.voice.say(text),
        }
    }
    /// Takes the bar away.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(8));
    let colour = if std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) { "" } else { ".green" };
    let template = match total {
        Some(_) => format!("{{bar:30{colour}}} {{human_pos}}/{{human_len}} {{msg}}, {{eta}} left"),
        None => format!("{{spinner{colour}}} {{msg}}"),
    };
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}
