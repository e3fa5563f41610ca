//! The command line as a whole; each command's own options are in its file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{commands, demo, sim};

/// Shown under `filch --help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  run                the task's own, 1 for a function that failed or an output that is missing;
                     128+n for a signal, 124 for its time limit, 126/127 as in a shell; 2 usage,
                     3 cancelled, 125 for our faults, 130 detached by Ctrl-C
  map submit wait retry
                     0 all succeeded, 1 some failed, 2 usage, 3 cancelled, 4 infrastructure,
                     124 --timeout of the wait, 130 detached by Ctrl-C
  sim                0 all as it should be, 1 not so, 2 usage, 4 infrastructure, 130 ended by Ctrl-C
  other commands     0, 2 usage, 4 infrastructure";

const EXAMPLES: &str = "\
First steps:
  filch up --detach                                  this machine is a one-node cluster
  filch map --array 1-1000 -- sh -c 'echo $FILCH_INDEX'
  filch map -i {} -o 'thumbs/{/.}.webp' -- convert {in} -resize 512 {out} ::: photos/*.jpg
  filch down";

/// Work-stealing compute cluster without a master: nodes find each other, share jobs, survive losses.
#[derive(Debug, Parser)]
#[command(name = "filch", version, propagate_version = true, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Write results as JSON, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// The node's socket [default: $FILCH_SOCKET, or in the data directory]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// The node's data directory [default: $FILCH_DATA_DIR, or ~/.local/share/filch]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(commands::up::UpArgs),
    Down(commands::down::DownArgs),
    Nodes(commands::nodes::NodesArgs),
    Run(commands::run::RunArgs),
    Map(commands::map::MapArgs),
    Submit(commands::submit::SubmitArgs),
    Ls(commands::ls::LsArgs),
    Show(commands::show::ShowArgs),
    Wait(commands::wait::WaitArgs),
    Logs(commands::logs::LogsArgs),
    Cancel(commands::cancel::CancelArgs),
    Retry(commands::retry::RetryArgs),
    Fetch(commands::fetch::FetchArgs),
    Events(commands::events::EventsArgs),
    Sim(sim::SimArgs),
    Demo(demo::DemoArgs),
    Keygen(commands::keygen::KeygenArgs),
    Completions(commands::completions::CompletionsArgs),
}
