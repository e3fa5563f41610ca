//! What every command has: the node's client, its renderer, and a voice on stderr.

use std::io::{IsTerminal, Write};

use filch_api::paths::Surroundings;
use filch_client::Client;

use crate::args::Global;
use crate::error::Error;
use crate::render::{JsonRenderer, Renderer, TextRenderer};

pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    /// Results on stdout.
    pub(crate) out: Box<dyn Renderer>,
}

impl Context {
    pub(crate) fn new(global: Global) -> Result<Self, Error> {
        let places = Surroundings::of_process(global.data_dir.as_deref(), global.socket.as_deref());
        let out: Box<dyn Renderer> =
            if global.json { Box::new(JsonRenderer) } else { Box::new(TextRenderer::default()) };
        Ok(Self { client: Client::new(places.socket()?), json: global.json, quiet: global.quiet, out })
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

/// A line on stderr.
pub(crate) fn say(text: impl std::fmt::Display) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}
