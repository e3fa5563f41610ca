//! `filch fetch`.

use std::path::PathBuf;

use clap::Args;
use filch_api::FetchLine;
use filch_client::ClientError;

use super::find;
use crate::context::Context;
use crate::error::Error;
use crate::follow::code;
use crate::submit::delivery_dir;

/// Write a job's output files into a directory
///
/// Works on every node. Waits for the end of the job, unless --now is given. Files of the same name are replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch fetch 1a2b3c4d
  filch fetch 1a2b3c4d results/
  filch fetch --now 1a2b3c4d             # what there is of a job that goes on")]
pub(crate) struct FetchArgs {
    /// Its id, or the first four or more digits
    job: String,
    /// Where to [default: the working directory]
    dir: Option<PathBuf>,
    /// Write what there is; do not wait for the job to end
    #[arg(long)]
    now: bool,
}

pub(crate) async fn run(args: FetchArgs, cx: &mut Context) -> Result<u8, Error> {
    let job = find(cx, &args.job).await?;
    let dir = delivery_dir(args.dir.as_deref())?;
    let mut lines = cx.client.fetch(job, dir.as_ref(), args.now).await?;
    let mut told = false;
    loop {
        match lines.next().await? {
            Some(FetchLine::Progress(_)) => {}
            Some(FetchLine::Waiting(counts)) => {
                if !std::mem::replace(&mut told, true) {
                    let open = counts.waiting + counts.queued + counts.leased;
                    let text = "tasks have not ended; files are written when they have (--now: what there is)";
                    cx.say(format_args!("{open} of {} {text}", counts.total));
                }
            }
            Some(FetchLine::Done(delivery)) => {
                for problem in &delivery.problems {
                    cx.say(format_args!("not written: {problem}"));
                }
                cx.out.fetched(&delivery)?;
                return Ok(if delivery.failed > 0 { code::INFRASTRUCTURE } else { 0 });
            }
            Some(FetchLine::Problem(problem)) => return Err(problem.into()),
            None => return Err(ClientError::Lost("before all files were written".into()).into()),
        }
    }
}
