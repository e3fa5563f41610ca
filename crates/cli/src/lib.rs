//! The `filch` command line: a thin shell around the client, and around the node for `filch up`.
//!
//! Results go to stdout and everything else to stderr. Exit codes: see [`args::EXIT_CODES`].

mod args;
#[cfg(test)]
mod args_tests;
mod commands;
mod context;
mod demo;
mod error;
mod follow;
mod plan;
mod render;
mod sim;
mod socketless;
mod submit;
mod usage;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::error::Error;

/// The hidden subcommand that a node starts to spawn tasks from a small process.
pub const SPAWNER: &str = "__spawner";

/// The whole program. Reads the command line, runs one command, says what went wrong.
pub fn main() -> ExitCode {
    // Before anything else: this process forks for every task and must stay small.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == SPAWNER) {
        commands::up::spawner();
    }
    if std::env::args_os().nth(1).is_some_and(|arg| arg == demo::PROBE) {
        return demo::probe();
    }
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(e) => return ExitCode::from(usage::report(e, &args)),
    };
    let json = cli.global.json;
    match dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(error.report(json)),
    }
}

fn dispatch(cli: Cli) -> Result<u8, Error> {
    // Commands without a node to talk to; `up` brings its own runtime.
    match cli.command {
        Command::Up(args) => commands::up::run(args, cli.global),
        Command::Keygen(args) => commands::keygen::run(&args, cli.global.json),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Sim(args) => sim::run(args, &cli.global),
        mut command => {
            // Namespaces are entered by a process with one thread.
            if let Command::Demo(args) = &mut command {
                args.choose_network();
            }
            let cx = Context::new(cli.global.clone())?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
            let code = runtime.block_on(talk(command, cx));
            // Reading stdin or a name may still block a helper thread; nothing is lost by leaving it.
            runtime.shutdown_background();
            code.map_err(|e| socketless::name_it(e, &cli.global))
        }
    }
}

async fn talk(command: Command, mut cx: Context) -> Result<u8, Error> {
    let cx = &mut cx;
    match command {
        Command::Run(args) => commands::run::run(args, cx).await,
        Command::Map(args) => commands::map::run(args, cx).await,
        Command::Submit(args) => commands::submit::run(args, cx).await,
        Command::Ls(args) => commands::ls::run(args, cx).await,
        Command::Show(args) => commands::show::run(args, cx).await,
        Command::Wait(args) => commands::wait::run(args, cx).await,
        Command::Logs(args) => commands::logs::run(args, cx).await,
        Command::Cancel(args) => commands::cancel::run(args, cx).await,
        Command::Retry(args) => commands::retry::run(args, cx).await,
        Command::Fetch(args) => commands::fetch::run(args, cx).await,
        Command::Events(args) => commands::events::run(args, cx).await,
        Command::Nodes(args) => commands::nodes::run(args, cx).await,
        Command::Down(args) => commands::down::run(args, cx).await,
        Command::Demo(args) => demo::run(args, cx).await,
        // Dispatched before the runtime was made.
        Command::Up(_) | Command::Keygen(_) | Command::Completions(_) | Command::Sim(_) => Ok(0),
    }
}
