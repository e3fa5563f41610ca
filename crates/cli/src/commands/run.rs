//! `filch run`.

use clap::Args;
use filch_api::{JobState, TaskCause, TaskResult, TaskState};
use filch_client::{Follow, Stage, Update};
use filch_types::JobId;
use tokio::signal::unix::{SignalKind, signal};

use super::task_args::TaskArgs;
use crate::context::{Context, close_line};
use crate::error::Error;
use crate::follow::{BACK, INSTALL, Printer, Progress, away, code, leave, takers};
use crate::plan::Sources;
use crate::render::words;
use crate::submit::submit;

/// Run one command somewhere in the cluster
///
/// Its stdout and stderr are passed through, its exit code becomes this one's. There is no shell in between; words are taken as they are, except
/// that {in} and {out} are known if -i or -o is given.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch run -- uname -a
  filch run -i notes.txt -- wc -w notes.txt
  filch run -i photo.jpg -o small.jpg -- convert {in} -resize 512 {out}
  filch run -- sh -c 'exit 3'; echo $?               # 3
  filch run --handler uts -- T1                      # 4130071 3305118 10

Trees of uts: T1 T3 T1L T3L T1XL, geo:B0,DEPTH,SEED (e.g. geo:4,10,19), bin:B0,Q,M,SEED (e.g. bin:2000,0.124875,8,42). Printed are nodes, leaves, depth.")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    task: TaskArgs,
    /// Program and arguments
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    words: Vec<String>,
}

pub(crate) async fn run(args: RunArgs, cx: &mut Context) -> Result<u8, Error> {
    one(args, cx).await.map_err(|e| match e {
        // A closed pipe is the reader's wish.
        e if matches!(e.exit(), 2 | 141) => e,
        e => Error::NotRun(Box::new(e)),
    })
}

async fn one(args: RunArgs, cx: &mut Context) -> Result<u8, Error> {
    let plan = args.task.plan(args.words, Sources::Once, true)?;
    let deliver_to = args.task.deliver_to()?;
    let files = deliver_to.is_some();
    let submitted = submit(cx, plan, deliver_to, args.task.copies).await?;
    // Known to the node: from here on it is followed, not asked for again.
    let job = submitted.pending.answered().job;
    // Without files to wait for, the first result is the last word.
    let stage = if files { Stage::Final } else { Stage::Visible };
    let how = Follow { follow: true, stage, patience: cx.patience, ..Follow::default() };
    let mut updates = cx.client.results(job, &how).await?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut printer = Printer::new(cx, job, Some(submitted.values), false);
    let mut look = std::pin::pin!(tokio::time::sleep(takers::LOOK));
    let mut looked = cx.quiet;
    let mut exit = None;
    loop {
        let update = tokio::select! {
            _ = interrupt.recv() => return leave(cx, job, &mut interrupt).await,
            () = &mut look, if !looked => {
                looked = true;
                if let Some(why) = takers::look(cx, job).await {
                    cx.say(format_args!("filch: {why}"));
                }
                continue;
            }
            update = updates.next() => update?,
        };
        match update {
            Some(Update::Result(result)) => {
                print(&mut printer, &result, cx.json).await.map_err(|e| unwritten(e, job))?;
                explain(cx, &result);
                exit = Some(exit_code(&result));
                if !files {
                    return Ok(exit_code(&result));
                }
            }
            Some(Update::Progress { .. }) => {}
            Some(Update::Away { why }) => cx.say(away(cx, &why)),
            Some(Update::Back) => cx.say(BACK),
            Some(Update::End { delivery, state, .. }) => {
                let lost = delivery.filter(|d| d.failed > 0);
                for problem in lost.iter().flat_map(|d| &d.problems) {
                    cx.say(format_args!("filch: not written: {problem}"));
                }
                return Ok(match exit {
                    Some(0) if lost.is_some() => OURS,
                    Some(code) => code,
                    // Without a result it was cancelled before it ran.
                    None if matches!(state, JobState::Cancelled | JobState::Deleted) => {
                        cx.say(CANCELLED);
                        code::CANCELLED
                    }
                    None => OURS,
                });
            }
            None => return Ok(exit.unwrap_or(OURS)),
        }
    }
}

const CANCELLED: &str = "filch: the job was cancelled";

/// Our fault, or somebody else's than the program's.
const OURS: u8 = 125;

async fn print(printer: &mut Printer<'_>, result: &TaskResult, as_json: bool) -> Result<(), Error> {
    let silent = Progress::silent();
    if as_json {
        printer.result(result, &silent).await?;
    } else {
        printer.output(result, &silent).await?;
    }
    printer.flush(&silent)
}

/// Says what the program could not say itself.
fn explain(cx: &Context, r: &TaskResult) {
    let silent = r.stderr.total == 0;
    match &r.cause {
        Some(TaskCause::Exit(126)) if !silent => {}
        Some(cause @ TaskCause::Exit(127)) => {
            let said = if silent { cause.to_string() } else { "this was".to_owned() };
            let node = r.node.as_ref().map_or("a node".into(), |n| words::tame(&words::node(n), 30));
            cx.say(format_args!("filch: {said} on {node}; {INSTALL}"));
        }
        Some(TaskCause::Exit(code)) if *code != 126 && *code != 127 => {}
        // An error's text is a line, whether it ends like one or not.
        Some(TaskCause::Handler(_)) if !silent => close_line(),
        Some(cause) => cx.say(format_args!("filch: {cause}")),
        None if r.state == TaskState::Cancelled => cx.say(CANCELLED),
        None => {}
    }
}

fn exit_code(r: &TaskResult) -> u8 {
    match (&r.state, &r.cause) {
        (TaskState::Succeeded, _) => 0,
        (_, Some(cause)) => cause.exit_code(),
        (TaskState::Cancelled, None) => code::CANCELLED,
        _ => OURS,
    }
}

/// The task has run, but nobody sees what it wrote.
fn unwritten(error: Error, job: JobId) -> Error {
    match error {
        Error::Stdout(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            let job = job.short();
            let back = format!(
                "the task has run: `filch logs {job} 0` shows what it printed, `filch fetch {job}` writes its files"
            );
            Error::failed(format!("cannot write to stdout: {e}"), &back)
        }
        other => other,
    }
}
