//! `filch logs`.

use std::io::Write;

use clap::Args;
use filch_client::{Follow, Update};

use super::find;
use crate::context::Context;
use crate::error::Error;
use crate::follow::{Printer, Progress};

/// Print what tasks wrote, also when they failed
///
/// Of one task: what it has written to stdout (or --stderr) so far. Of all: both, of every task that ended.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch logs 1a2b3c4d 5
  filch logs 1a2b3c4d 5 --stderr --follow
  filch logs 1a2b3c4d --tag")]
pub(crate) struct LogsArgs {
    /// Its id, or the first four or more digits
    job: String,
    /// The task's index, from 0
    task: Option<u32>,
    /// stderr instead of stdout
    #[arg(long, requires = "task")]
    stderr: bool,
    /// Go on until the task ends
    #[arg(short, long, requires = "task")]
    follow: bool,
    /// Put a task's values and a tab in front of each line
    #[arg(long, conflicts_with = "task")]
    tag: bool,
}

pub(crate) async fn run(args: LogsArgs, cx: &mut Context) -> Result<u8, Error> {
    let job = find(cx, &args.job).await?;
    let Some(task) = args.task else {
        let how = Follow { ordered: true, ..Follow::default() };
        let mut updates = cx.client.results(job, &how).await?;
        let silent = Progress::silent();
        let mut printer = Printer::new(cx, job, None, args.tag);
        while let Some(update) = updates.next().await? {
            if let Update::Result(result) = update {
                if cx.json {
                    printer.result(&result, &silent).await?;
                } else {
                    printer.output(&result, &silent).await?;
                }
                printer.flush(&silent)?;
            }
        }
        return Ok(0);
    };
    let mut chunks = cx.client.logs(job, task, args.stderr, args.follow).await?;
    let mut text = Vec::new();
    while let Some(chunk) = chunks.next().await? {
        if cx.json {
            // Nodes keep 2 MiB of a stream at most.
            text.extend_from_slice(&chunk);
        } else {
            let mut stdout = std::io::stdout().lock();
            crate::render::stdout(stdout.write_all(&chunk).and_then(|()| stdout.flush()))?;
        }
    }
    if cx.json {
        let stream = if args.stderr { "stderr" } else { "stdout" };
        let line = serde_json::json!({"job": job.to_string(), "task": task, "stream": stream, "data": filch_api::Data::of(&text)});
        crate::render::stdout(writeln!(std::io::stdout().lock(), "{line}"))?;
    }
    Ok(0)
}
