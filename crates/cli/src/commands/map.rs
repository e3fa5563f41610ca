//! `filch map`.

use clap::Args;

use super::job_args::JobArgs;
use crate::context::Context;
use crate::error::Error;
use crate::follow::{Options, follow};
use crate::plan::PlanError;
use crate::submit::{Submitted, submit};

/// Run a command for every value, all over the cluster
///
/// Values come from `:::` (several make a product), from the lines of files (`::::` or --each-line, `-` is stdin) or from --array.
/// Placeholders: {} the value, {.} without extension, {/} its last component, {//} the rest of it, {/.} both, {1} {2/} that of one source,
/// {#} the task's number from 1, {%} its slot, {in} {out} {in2} … declared files, `{{` a brace. Without any placeholder the
/// values are appended ({in} if there is an -i); with --array nothing is: FILCH_INDEX has the value.
///
/// Files named by -i travel to wherever a task runs; a relative path is the same there, one from elsewhere becomes in/NAME. Files named by -o come
/// back to the working directory. No shell is involved. stdout of the tasks comes to stdout as they complete.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch map --array 1-1000 -- sh -c 'echo $FILCH_INDEX'
  filch map -i {} -o 'thumbs/{/.}.webp' -- convert {in} -resize 512 {out} ::: photos/*.jpg
  filch map -k --tag -- host ::: example.org example.net
  find . -name '*.log' | filch map -i {} -- grep -c ERROR {in} :::: -
  filch map --dry-run -- ./sim --lr {1} --seed {2} ::: 0.1 0.01 ::: 1 2 3")]
pub(crate) struct MapArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Print results in the order of the tasks
    #[arg(short, long)]
    keep_order: bool,
    /// Put a task's values and a tab in front of each line that it prints
    #[arg(long)]
    tag: bool,
    /// Leave when the job is accepted; prints its id
    #[arg(long)]
    detach: bool,
}

pub(crate) async fn run(args: MapArgs, cx: &mut Context) -> Result<u8, Error> {
    if args.detach && !args.job.dry_run {
        return super::submit::detached(&args.job, false, cx).await;
    }
    let plan = match args.job.plan(true, false) {
        // As in GNU parallel: nothing to do is done.
        Err(Error::Plan(e @ PlanError::Empty(_))) => {
            cx.say(format_args!("{e}"));
            return Ok(0);
        }
        other => other?,
    };
    if args.job.dry_run {
        return args.job.preview(cx, &plan);
    }
    let deliver_to = args.job.task.deliver_to()?;
    let Submitted { pending, values } = submit(cx, plan, deliver_to, args.job.task.copies).await?;
    let options = Options { keep_order: args.keep_order, tag: args.tag, ..Options::default() };
    follow(cx, pending.submission.job, Some(pending), Some(values), options).await
}
