//! `filch nodes`.

use clap::Args;

use crate::context::Context;
use crate::error::Error;

/// List the nodes of the cluster that this one knows
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch nodes
  filch nodes --this                    # this node: addresses for --bootstrap, disk, socket")]
pub(crate) struct NodesArgs {
    /// Show this node in detail
    #[arg(long)]
    this: bool,
}

pub(crate) async fn run(args: NodesArgs, cx: &mut Context) -> Result<u8, Error> {
    if args.this {
        let node = cx.client.node().await?;
        cx.out.node(&node)?;
    } else {
        let nodes = cx.client.nodes().await?;
        cx.out.nodes(&nodes)?;
    }
    Ok(0)
}
