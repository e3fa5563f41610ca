//! The node itself, seen from the command line: logs, the first words, the exit code.

use std::os::unix::net::UnixStream;
use std::path::Path;

use filch_node::{Config, DataDirError, UpError};
use tracing_subscriber::EnvFilter;

use crate::context::say;
use crate::error::Error;

/// Says which logs are wanted, as `filch_node=debug`.
const LOG_VAR: &str = "FILCH_LOG";

/// Runs the node to its end.
pub(super) fn up(config: Config, quiet: bool, json: bool) -> Result<u8, Error> {
    logs(json);
    let ready = |ready: &filch_node::Ready| {
        if !quiet && !json {
            say(ready);
            if ready.addresses.is_empty() {
                say("nothing listens beyond this machine; `filch up --lan` would meet others");
            }
            for address in &ready.addresses {
                say(format_args!("others reach it by --bootstrap {address}"));
            }
        }
    };
    let socket = config.socket.clone();
    match filch_node::up(config, ready) {
        Ok(()) => Ok(0),
        Err(UpError::DataDir(error @ DataDirError::InUse { pid: Some(pid), .. })) if deaf(&socket) => {
            Err(Error::usage(
                format!(
                    "{error}, and nobody listens on {}: its socket was removed, or it listens elsewhere",
                    socket.display()
                ),
                &format!(
                    "`kill {pid}` ends it in an orderly way, as `filch down` would; or give this one its own --data-dir"
                ),
            ))
        }
        Err(error) => {
            let (message, hint) = (error.to_string(), error.hint());
            Err(if is_usage(&error) { Error::Usage { message, hint } } else { Error::Failed { message, hint } })
        }
    }
}

/// Whether `filch down` would reach nobody there.
fn deaf(socket: &Path) -> bool {
    UnixStream::connect(socket).is_err()
}

/// Another data directory or another version of filch is the user's to choose.
fn is_usage(error: &UpError) -> bool {
    matches!(
        error,
        UpError::DataDir(DataDirError::InUse { .. } | DataDirError::Newer { .. } | DataDirError::Foreign { .. })
    ) || error.exit_code() == 2
}

/// To stderr; JSON lines with `--json`.
fn logs(json: bool) {
    let filter = EnvFilter::try_from_env(LOG_VAR)
        .unwrap_or_else(|_| EnvFilter::new("info,libp2p=warn,libp2p_kad=error,multistream_select=warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Whoever read stderr may be gone: a node does not end for that, and the report of it would go the same way.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none());
    // Fails only if somebody has set one before.
    let _ = if json { builder.json().try_init() } else { builder.with_target(false).try_init() };
}

/// The hidden subcommand: never returns.
pub(super) fn spawner() -> ! {
    filch_node::spawner_main()
}
