//! `filch up`: the node itself, in the foreground or in the background.

use std::path::PathBuf;

use clap::Args;
use filch_node::{Config, Settings};

use super::detach;
use crate::args::Global;
use crate::error::Error;

/// Start a node on this machine
///
/// Alone it is a cluster of one, and nothing listens beyond this machine. With --lan it meets the nodes of the same cluster key on the local
/// network; with --listen and --bootstrap anywhere else.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch up                                            in the foreground; Ctrl-C ends it
  filch up --detach                                   in the background; `filch down` ends it
  filch up --lan --cluster-key cluster.key            with others on the LAN (`filch keygen cluster.key`)
  filch up --listen /ip4/0.0.0.0/tcp/7000 --bootstrap /ip4/10.0.0.7/tcp/7000/p2p/12D3...

Settings can also be in a file (--config, or ~/.config/filch/config.toml):
  name = \"attic\"
  slots = 4
  lan = true
  cluster_key = \"/etc/filch/cluster.key\"
also: data_dir socket listen bootstrap port mdns quic handlers machine result_copies grace scrub [timing]")]
pub(crate) struct UpArgs {
    /// Go on in the background; returns when the node answers
    #[arg(long)]
    pub(super) detach: bool,
    /// Listen on all interfaces, and look for others by mDNS
    #[arg(long)]
    lan: bool,
    /// Listen on this address, e.g. /ip4/0.0.0.0/tcp/7000 [repeatable]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Meet the cluster through this node, as `filch nodes --this` prints it there [repeatable]
    #[arg(long, value_name = "ADDR")]
    bootstrap: Vec<String>,
    /// The cluster's key [default: one of its own in the data directory]
    #[arg(long, value_name = "FILE")]
    cluster_key: Option<PathBuf>,
    /// Tasks at once [default: the number of CPUs; 0 keeps jobs and runs nothing]
    #[arg(long, value_name = "N")]
    slots: Option<u16>,
    /// A name for people [default: the host's]
    #[arg(long)]
    name: Option<String>,
    /// Settings from this file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// This process is the one in the background
    #[arg(long, hide = true)]
    pub(super) background: bool,
}

impl UpArgs {
    fn config(&self, global: &Global) -> Result<Config, Error> {
        let given = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let over = Settings {
            data_dir: global.data_dir.clone(),
            socket: global.socket.clone(),
            name: self.name.clone(),
            slots: self.slots,
            listen: given(&self.listen),
            lan: self.lan.then_some(true),
            bootstrap: given(&self.bootstrap),
            cluster_key: self.cluster_key.clone(),
            ..Settings::default()
        };
        Config::load(self.config.as_deref(), over).map_err(|e| Error::usage(e.to_string(), &e.hint()))
    }
}

pub(crate) fn run(args: UpArgs, global: Global) -> Result<u8, Error> {
    let config = args.config(&global)?;
    if args.detach {
        return detach::up(&config, &global);
    }
    if args.background {
        // No terminal to be hung up with; the parent has redirected the output.
        let _ = rustix::process::setsid();
    }
    super::node::up(config, global.quiet, global.json)
}

/// The hidden subcommand: never returns.
pub(crate) fn spawner() -> ! {
    super::node::spawner()
}
