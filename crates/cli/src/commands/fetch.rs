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
/// Works on every node. Files of the same name are replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch fetch 1a2b3c4d
  filch fetch 1a2b3c4d results/")]
pub(crate) struct FetchArgs {
    /// Its id, or the first four or more digits
    job: String,
    /// Where to [default: the working directory]
    dir: Option<PathBuf>,
}

pub(crate) async fn run(args: FetchArgs, cx: &mut Context) -> Result<u8, Error> {
    let job = find(cx, &args.job).await?;
    let dir = delivery_dir(args.dir.as_deref())?;
    let mut lines = cx.client.fetch(job, dir.as_ref()).await?;
    loop {
        match lines.next().await? {
            Some(FetchLine::Progress(_)) => {}
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
