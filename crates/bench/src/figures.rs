//! Medians, and how figures are printed.

use std::io::Write;
use std::time::{Duration, Instant};

/// Samples of one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }
    pub fn add_seconds(&mut self, time: Duration) {
        self.add(time.as_secs_f64());
    }
    /// The middle one; the mean of the two if there are two. 0 without any.
    pub fn median(&self) -> f64 {
        let mut v = self.0.clone();
        v.sort_by(f64::total_cmp);
        let mid = v.len() / 2;
        match (v.get(mid), mid.checked_sub(1).and_then(|m| v.get(m))) {
            (Some(hi), Some(lo)) if v.len().is_multiple_of(2) => (hi + lo) / 2.0,
            (Some(m), _) => *m,
            (None, _) => 0.0,
        }
    }
    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }
    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// How long `f` takes, in seconds.
pub(crate) fn timed(f: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let started = Instant::now();
    f()?;
    Ok(started.elapsed().as_secs_f64())
}

/// A line of results.
pub(crate) fn line(what: &str, figure: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "  {what:<58} {figure}");
}

/// A heading with the goal.
pub(crate) fn heading(name: &str, what: &str, goal: &str) {
    let _ = writeln!(std::io::stdout().lock(), "\n{name}  {what}\n  {:<58} {goal}", "goal");
}

/// Something that is no figure.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let of = |v: &[f64]| Samples(v.to_vec()).median();
        assert_eq!((of(&[]), of(&[3.0]), of(&[4.0, 1.0]), of(&[9.0, 1.0, 2.0])), (0.0, 3.0, 2.5, 2.0));
    }
}
