//! `filch submit`.

use clap::Args;
use filch_api::SubmitLine;
use filch_client::ClientError;

use super::job_args::JobArgs;
use crate::context::Context;
use crate::error::Error;
use crate::follow::Progress;
use crate::plan::PlanError;
use crate::render::words;
use crate::submit::{Pending, submit};

/// Hand in a job and leave: prints its id once enough nodes hold it
///
/// Takes what `filch map` takes; without any source, the command is one task. After `accepted` this machine may go away.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  job=$(filch submit -i {} -o 'out/{/}.gz' -- sh -c 'gzip -c \"$1\" > \"$2\"' _ {in} {out} ::: big/*)
  filch wait $job
  filch submit --copies 2 -- ./nightly.sh")]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    job: JobArgs,
}

pub(crate) async fn run(args: SubmitArgs, cx: &mut Context) -> Result<u8, Error> {
    detached(&args.job, true, cx).await
}

/// Submits and waits for the copies only.
pub(crate) async fn detached(args: &JobArgs, once: bool, cx: &mut Context) -> Result<u8, Error> {
    let plan = match args.plan(false, once) {
        Err(Error::Plan(e @ PlanError::Empty(_))) => {
            cx.say(format_args!("{e}"));
            return Ok(0);
        }
        other => other?,
    };
    if args.dry_run {
        return args.preview(cx, &plan);
    }
    let deliver_to = args.task.deliver_to()?;
    let pending = submit(cx, plan, deliver_to, args.task.copies).await?.pending;
    accepted(pending, cx).await
}

/// Waits for the copies and prints the id.
pub(crate) async fn accepted(mut pending: Pending, cx: &mut Context) -> Result<u8, Error> {
    let mut progress = Progress::copying(cx);
    loop {
        match pending.submission.next().await {
            Ok(SubmitLine::Accepted { job, holders }) => {
                progress.finish();
                cx.say(format_args!("accepted: {}", words::copies(&holders)));
                cx.out.accepted(job, &holders)?;
                pending.answered();
                return Ok(0);
            }
            Ok(SubmitLine::Copies { have, want, missing_bytes, eta_ms, .. }) => {
                progress.copies(have, want, missing_bytes, eta_ms);
                progress.tell();
            }
            Ok(_) => {}
            Err(ClientError::Lost(_)) if !cx.patience.is_zero() => pending.again(cx).await?,
            Err(error) => {
                progress.finish();
                cx.say(format_args!(
                    "job {} is not accepted, but known to this node; the same command within 10 minutes goes on with it",
                    pending.submission.job.short()
                ));
                return Err(error.into());
            }
        }
    }
}
