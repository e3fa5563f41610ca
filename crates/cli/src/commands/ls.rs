//! `filch ls`.

use clap::{Args, ValueEnum};
use filch_api::JobState;

use crate::context::Context;
use crate::error::Error;

/// List jobs, the newest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch ls
  filch ls --state active
  filch ls --json | jq -r .job")]
pub(crate) struct LsArgs {
    /// Only these
    #[arg(long, value_enum)]
    state: Option<StateArg>,
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StateArg {
    Active,
    Succeeded,
    Failed,
    Cancelled,
}

pub(crate) async fn run(args: LsArgs, cx: &mut Context) -> Result<u8, Error> {
    let state = args.state.map(|s| match s {
        StateArg::Active => JobState::Active,
        StateArg::Succeeded => JobState::Succeeded,
        StateArg::Failed => JobState::Failed,
        StateArg::Cancelled => JobState::Cancelled,
    });
    let jobs = cx.client.jobs(Some(args.limit), state).await?;
    cx.out.jobs(&jobs)?;
    if jobs.more {
        cx.say("there are more: -n shows them");
    }
    Ok(0)
}
