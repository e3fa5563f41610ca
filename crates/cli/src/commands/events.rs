//! `filch events`.

use clap::Args;
use filch_api::EventKind;

use super::check;
use crate::context::Context;
use crate::error::Error;

/// Print what happens on this node, as it happens
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch events
  filch events --job 1a2b3c4d --json")]
pub(crate) struct EventsArgs {
    /// Only of this job
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
}

pub(crate) async fn run(args: EventsArgs, cx: &mut Context) -> Result<u8, Error> {
    args.job.as_deref().map_or(Ok(()), check)?;
    let mut lines = cx.client.events(args.job.as_deref()).await?;
    while let Some(event) = lines.next().await? {
        if event.event != EventKind::Quiet {
            cx.out.event(&event)?;
        }
    }
    Ok(0)
}
