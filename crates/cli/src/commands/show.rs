//! `filch show`.

use clap::{Args, ValueEnum};
use filch_api::TaskState;
use filch_client::Values;

use super::check;
use crate::context::Context;
use crate::error::Error;
use crate::follow::takers;

/// Rows of a page.
const PAGE: u32 = 1000;
/// Failed tasks that are shown without `--tasks`.
const FAILED: u32 = 10;

/// Show a job, or its tasks
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch show 1a2b3c4d
  filch show 1a2b3c4d --tasks failed
  filch show 1a2b3c4d --tasks --json | jq .cause")]
pub(crate) struct ShowArgs {
    /// Its id, or the first four or more digits
    job: String,
    /// Show its tasks, all or those in this state
    #[arg(long, value_name = "STATE", num_args = 0..=1, default_missing_value = "all")]
    tasks: Option<TasksArg>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TasksArg {
    All,
    Waiting,
    Queued,
    Leased,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl TasksArg {
    fn state(self) -> Option<TaskState> {
        Some(match self {
            TasksArg::All => return None,
            TasksArg::Waiting => TaskState::Waiting,
            TasksArg::Queued => TaskState::Queued,
            TasksArg::Leased => TaskState::Leased,
            TasksArg::Running => TaskState::Running,
            TasksArg::Succeeded => TaskState::Succeeded,
            TasksArg::Failed => TaskState::Failed,
            TasksArg::Cancelled => TaskState::Cancelled,
        })
    }
}

pub(crate) async fn run(args: ShowArgs, cx: &mut Context) -> Result<u8, Error> {
    check(&args.job)?;
    let detail = cx.client.job(&args.job).await?;
    let job = detail.summary.job;
    let failed = detail.summary.counts.failed;
    let Some(wanted) = args.tasks else {
        cx.out.job(&detail)?;
        if let Some(why) = takers::wanting(cx, &detail).await? {
            cx.say(format_args!("filch: {why}"));
        }
        // What a person wants to know next.
        if failed > 0 && !cx.json {
            let values = load(cx, &detail).await?;
            let page = cx.client.tasks(job, Some(TaskState::Failed), 0, Some(FAILED)).await?;
            cx.out.tasks(&page, &values)?;
            if page.next.is_some() {
                cx.say(format_args!("there are more: `filch show {} --tasks failed`", job.short()));
            }
        }
        return Ok(0);
    };
    let values = if cx.json { Values::default() } else { load(cx, &detail).await? };
    let mut from = 0;
    loop {
        let page = cx.client.tasks(job, wanted.state(), from, Some(PAGE)).await?;
        cx.out.tasks(&page, &values)?;
        match page.next {
            Some(next) if next > from => from = next,
            _ => return Ok(0),
        }
    }
}

async fn load(cx: &Context, detail: &filch_api::JobDetail) -> Result<Values, Error> {
    Ok(match &detail.spec {
        Some(spec) => Values::load(&cx.client, detail.summary.job, spec).await?,
        None => Values::default(),
    })
}
