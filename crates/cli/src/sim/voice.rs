//! Results on stdout, as text or as JSON, one object a line; everything else on stderr.

use std::io::{IsTerminal, Result, Write};

use serde::Serialize;

use crate::context::say;

#[derive(Clone, Copy, Debug)]
pub(super) struct Voice {
    pub json: bool,
    pub quiet: bool,
}

impl Voice {
    /// A piece of a result for people; colours go when stdout is no terminal, or by `NO_COLOR`.
    pub fn put(self, text: &str) -> Result<()> {
        anstream::stdout().lock().write_all(text.as_bytes())
    }
    /// A result for programs.
    pub fn object(self, value: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string(value)?;
        text.push('\n');
        std::io::stdout().lock().write_all(text.as_bytes())
    }
    /// A note to the person.
    pub fn say(self, text: impl std::fmt::Display) {
        if !self.quiet {
            say(text);
        }
    }
    /// Whether somebody looks at stderr.
    pub fn watched(self) -> bool {
        !self.quiet && !self.json && std::io::stderr().is_terminal()
    }
}
