//! `filch wait`.

use std::time::Duration;

use clap::Args;

use super::find;
use crate::context::Context;
use crate::error::Error;
use crate::follow::{Options, follow};

/// Wait for jobs, printing their results like `filch map`
///
/// Results that are there already are printed, too. Works on every node, not only where the job was submitted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch wait 1a2b3c4d
  filch wait -q --timeout 10m 1a2b3c4d >/dev/null; echo $?   # 0 succeeded, 1 some failed, 3 cancelled, 124 not over")]
pub(crate) struct WaitArgs {
    /// Ids, or the first four or more digits
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
    /// Print results in the order of the tasks
    #[arg(short, long)]
    keep_order: bool,
    /// Put a task's values and a tab in front of each line that it printed
    #[arg(long)]
    tag: bool,
    /// Give up after this time, e.g. 90s or 2h; the job goes on
    #[arg(long, value_name = "TIME", value_parser = crate::usage::limit)]
    timeout: Option<Duration>,
}

pub(crate) async fn run(args: WaitArgs, cx: &mut Context) -> Result<u8, Error> {
    let begun = std::time::Instant::now();
    let mut worst = 0;
    for id in &args.jobs {
        let job = find(cx, id).await?;
        let timeout = args.timeout.map(|t| t.saturating_sub(begun.elapsed()));
        let options = Options { keep_order: args.keep_order, tag: args.tag, timeout };
        worst = worst.max(follow(cx, job, None, None, options).await?);
    }
    Ok(worst)
}
