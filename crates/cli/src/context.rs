//! What every command has: the node's client, its renderer, and a voice on stderr.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use filch_api::paths::Surroundings;
use filch_client::{Client, Unanswered};

use crate::args::Global;
use crate::error::Error;
use crate::render::{JsonRenderer, Renderer, TextRenderer};

/// How long a command waits for a node that went away under it, unless `FILCH_RECONNECT` says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);
/// The variable.
const PATIENCE_VAR: &str = "FILCH_RECONNECT";

pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    /// How long to wait for a node that went away.
    pub(crate) patience: Duration,
    /// Submits that were not answered; none without a home directory.
    pub(crate) unanswered: Option<Unanswered>,
    /// Results on stdout.
    pub(crate) out: Box<dyn Renderer>,
}

impl Context {
    pub(crate) fn new(global: Global) -> Result<Self, Error> {
        let places = Surroundings::of_process(global.data_dir.as_deref(), global.socket.as_deref());
        let out: Box<dyn Renderer> =
            if global.json { Box::new(JsonRenderer) } else { Box::new(TextRenderer::default()) };
        Ok(Self {
            client: Client::new(places.socket()?),
            json: global.json,
            quiet: global.quiet,
            patience: patience()?,
            unanswered: places.submits_dir().map(Unanswered::new),
            out,
        })
    }

    /// A note to the person at the terminal; nothing that a script would read.
    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            say(text);
        }
    }

    /// Whether somebody looks at stderr.
    pub(crate) fn watched(&self) -> bool {
        !self.quiet && !self.json && std::io::stderr().is_terminal()
    }
}

fn patience() -> Result<Duration, Error> {
    match std::env::var(PATIENCE_VAR) {
        Ok(text) if !text.is_empty() => humantime::parse_duration(&text).map_err(|e| {
            Error::usage(
                format!("{PATIENCE_VAR}=`{text}` is no time: {e}"),
                "write it like 90s or 5m; 0s does not wait",
            )
        }),
        _ => Ok(PATIENCE),
    }
}

/// Whether what tasks wrote last has no line feed at its end. As stderr itself, of the process.
static OPEN: AtomicBool = AtomicBool::new(false);

/// A line on stderr; it begins at the left, whatever a task wrote before.
pub(crate) fn say(text: impl std::fmt::Display) {
    let mut err = anstream::stderr().lock();
    if OPEN.swap(false, Ordering::Relaxed) {
        let _ = writeln!(err);
    }
    let _ = writeln!(err, "{text}");
}

/// Bytes of tasks on stderr, as they are. A stderr that cannot be written to is no reason to stop.
pub(crate) fn pass_on(bytes: &[u8]) {
    let _ = std::io::stderr().lock().write_all(bytes);
    ended_with(bytes);
}

/// These bytes went to where our lines go.
pub(crate) fn ended_with(bytes: &[u8]) {
    if let Some(last) = bytes.last() {
        OPEN.store(*last != b'\n', Ordering::Relaxed);
    }
}

/// Whether the next line of ours needs a line feed in front.
pub(crate) fn is_open() -> bool {
    OPEN.load(Ordering::Relaxed)
}

/// Ends a line that tasks left open.
pub(crate) fn close_line() {
    if OPEN.swap(false, Ordering::Relaxed) {
        let _ = writeln!(std::io::stderr().lock());
    }
}
