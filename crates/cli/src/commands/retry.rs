//! `filch retry`.

use clap::Args;
use filch_api::{SubmitRequest, TaskState};
use filch_client::{RetryError, Values, item_lists};
use filch_types::Nonce;
use filch_types::ranges::{Range, RangeSet};

use super::check;
use crate::context::Context;
use crate::error::Error;
use crate::follow::{Options, follow};
use crate::render::words;
use crate::submit::{delivery_dir, send};

/// Tasks in a page.
const PAGE: u32 = 10_000;

/// Run the failed and cancelled tasks of a job again, as a new job
///
/// With the same files as then: they are kept as long as the old job is. Output files appear where they would have.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch retry 1a2b3c4d
  filch retry --detach 1a2b3c4d        # prints the new id")]
pub(crate) struct RetryArgs {
    /// Its id, or the first four or more digits
    job: String,
    /// Leave when the new job is accepted; prints its id
    #[arg(long)]
    detach: bool,
    /// Print results in the order of the tasks
    #[arg(short, long)]
    keep_order: bool,
    /// Put a task's values and a tab in front of each line that it prints
    #[arg(long)]
    tag: bool,
}

pub(crate) async fn run(args: RetryArgs, cx: &mut Context) -> Result<u8, Error> {
    check(&args.job)?;
    let mut detail = cx.client.job(&args.job).await?;
    let job = detail.summary.job;
    if detail.spec.is_none() {
        // A node that has only heard of the job waits for it when it is asked for tasks.
        collect(cx, job, TaskState::Failed, &mut RangeSet::default()).await?;
        detail = cx.client.job(&args.job).await?;
    }
    let Some(spec) = &detail.spec else {
        return Err(Error::failed(
            format!("this node has only heard of job {}", job.short()),
            "ask again in a moment, or on the node where it was submitted",
        ));
    };
    let mut tasks = RangeSet::default();
    for state in [TaskState::Failed, TaskState::Cancelled] {
        collect(cx, job, state, &mut tasks).await?;
    }
    let lists = item_lists(&cx.client, job, spec).await?;
    let new = filch_client::retry(spec, &lists, &tasks).map_err(|e| match e {
        RetryError::Nothing => Error::usage(
            format!("no task of job {} failed or was cancelled", job.short()),
            "there is nothing to run again",
        ),
        RetryError::List(_) => Error::failed(e.to_string(), "submit the job again"),
    })?;
    for list in &new.lists {
        cx.client.put_blob(list.clone()).await?;
    }
    let has_outputs = new.spec.groups.iter().any(|g| !g.outputs.is_empty());
    let deliver_to = match (&detail.delivery, has_outputs) {
        (_, false) => None,
        (Some(d), true) => Some(d.dir.clone()),
        (None, true) => Some(delivery_dir(None)?),
    };
    let values = Values::new(&new.spec, new.lists)?;
    let request = SubmitRequest { nonce: Nonce::default(), spec: new.spec, deliver_to, copies: None };
    let pending = send(cx, request).await?;
    let job = pending.submission.job;
    cx.say(format_args!("job {}: {} again", job.short(), words::count(tasks.len(), "task")));
    if args.detach {
        return super::submit::accepted(pending, cx).await;
    }
    let options = Options { keep_order: args.keep_order, tag: args.tag, timeout: None };
    follow(cx, job, Some(pending), Some(values), options).await
}

async fn collect(cx: &Context, job: filch_types::JobId, state: TaskState, into: &mut RangeSet) -> Result<(), Error> {
    let mut from = 0;
    loop {
        let page = cx.client.tasks(job, Some(state), from, Some(PAGE)).await?;
        for row in &page.tasks {
            into.insert(Range::new(row.task, row.task.saturating_add(row.count)));
        }
        match page.next {
            Some(next) if next > from => from = next,
            _ => return Ok(()),
        }
    }
}
