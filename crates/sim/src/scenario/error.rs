//! What is wrong with a scenario file, and where.

use std::ops::Range;

/// A scenario file that cannot be used: one sentence, its place, and what may have been meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {text}")]
pub struct Invalid {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub text: String,
    /// What to do, if there is an idea.
    pub hint: Option<String>,
}

impl Invalid {
    /// At the first byte of `span` in `source`.
    pub(super) fn at(source: &str, span: Option<Range<usize>>, text: impl Into<String>) -> Self {
        let start = span.map_or(0, |s| s.start).min(source.len());
        let before: &str = source.get(..start).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            text: text.into(),
            hint: None,
        }
    }
    /// Of a file that is no scenario as TOML goes.
    pub(super) fn of_toml(source: &str, error: &toml::de::Error) -> Self {
        let message = error.message().lines().next().unwrap_or("not TOML");
        let mut out = Self::at(source, error.span(), message);
        if let Some((given, known)) = alternatives(message) {
            out.text = message.split(", expected").next().unwrap_or(message).replacen("field", "key", 1);
            let all = format!("known here: {}", known.join(", "));
            out.hint = Some(match nearest(&given, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => all,
            });
        }
        out
    }
}

/// What was given and what would be known, of "unknown field `a`, expected one of `b`, `c`".
fn alternatives(message: &str) -> Option<(String, Vec<String>)> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
    Some((quoted.next()?, quoted.collect()))
}

/// The name that a typing error is nearest to, if it is near.
fn nearest(given: &str, known: &[String]) -> Option<String> {
    let near = known.iter().map(|k| (strsim::damerau_levenshtein(given, k), k));
    let inside = |k: &str| given.len() >= 3 && k.len() >= 3 && (k.contains(given) || given.contains(k));
    let (distance, name) = near.min()?;
    if distance <= given.chars().count().div_ceil(3) {
        return Some(name.clone());
    }
    known.iter().find(|k| inside(k)).cloned()
}
