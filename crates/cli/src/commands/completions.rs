//! `filch completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::error::Error;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch completions bash > ~/.local/share/bash-completion/completions/filch
  filch completions fish > ~/.config/fish/completions/filch.fish")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<u8, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "filch", &mut script);
    crate::render::stdout(std::io::Write::write_all(&mut std::io::stdout().lock(), &script))?;
    Ok(0)
}
