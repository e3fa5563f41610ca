//! `filch cancel`.

use clap::Args;

use super::find;
use crate::context::Context;
use crate::error::Error;

/// Cancel jobs: nothing new starts, what runs is ended
///
/// Results so far stay, and so do delivered files. Cancelling a job that is over changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch cancel 1a2b3c4d
  filch cancel --delete 1a2b3c4d       # and forget it everywhere")]
pub(crate) struct CancelArgs {
    /// Ids, or the first four or more digits
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
    /// Forget the jobs everywhere, with all that is kept of them
    #[arg(long)]
    delete: bool,
}

pub(crate) async fn run(args: CancelArgs, cx: &mut Context) -> Result<u8, Error> {
    // All ids are looked up first: a typing error cancels nothing.
    let mut jobs = Vec::new();
    for id in &args.jobs {
        jobs.push(find(cx, id).await?);
    }
    for job in jobs {
        let answer = if args.delete { cx.client.delete(job).await? } else { cx.client.cancel(job).await? };
        cx.out.revoked(&answer)?;
    }
    Ok(0)
}
