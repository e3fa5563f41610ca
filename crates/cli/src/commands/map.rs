//! `filch map`.

use std::path::PathBuf;

use clap::Args;

use super::task_args::TaskArgs;
use crate::context::Context;
use crate::error::Error;
use crate::follow::{Options, follow};
use crate::plan::{Array, Plan, PlanError, Source, Sources, split};
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
    pub(crate) task: TaskArgs,
    /// One task per number, e.g. 1-1000 or 0-99:2
    #[arg(long, value_name = "A-B[:STEP]", allow_hyphen_values = true)]
    pub(crate) array: Option<String>,
    /// One task per line of this file, `-` for stdin; as `::::` [repeatable]
    #[arg(long, value_name = "FILE")]
    pub(crate) each_line: Vec<PathBuf>,
    /// Print results in the order of the tasks
    #[arg(short, long)]
    pub(crate) keep_order: bool,
    /// Put a task's values and a tab in front of each line that it prints
    #[arg(long)]
    pub(crate) tag: bool,
    /// Print the command lines that would run, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Leave when the job is accepted; prints its id
    #[arg(long)]
    pub(crate) detach: bool,
    /// Program, arguments, and `:::` values
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) words: Vec<String>,
}

impl MapArgs {
    /// The plan; `once` if a command without any source is one task.
    pub(crate) fn plan(&self, attended: bool, once: bool) -> Result<Plan, Error> {
        let (words, mut sources) = split(self.words.clone())?;
        sources.splice(0..0, self.each_line.iter().cloned().map(Source::Lines));
        let sources = match (&self.array, sources.is_empty()) {
            (Some(_), false) => return Err(PlanError::ArrayAndValues.into()),
            (Some(array), true) => Sources::Array(Array::parse(array)?),
            (None, false) => Sources::Product(sources),
            (None, true) if once => Sources::Once,
            (None, true) => return Err(PlanError::NoSource.into()),
        };
        self.task.plan(words, sources, attended)
    }

    /// Writes the plan to stdout.
    pub(crate) fn preview(&self, cx: &Context, plan: &Plan) -> Result<u8, Error> {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        plan.preview(&mut out, cx.json)??;
        std::io::Write::flush(&mut out)?;
        let tasks = crate::render::words::count(u64::from(plan.count()), "task");
        cx.say(format_args!("{tasks}; nothing was sent"));
        Ok(0)
    }
}

pub(crate) async fn run(args: MapArgs, cx: &mut Context) -> Result<u8, Error> {
    if args.detach && !args.dry_run {
        return super::submit::detached(&args, false, cx).await;
    }
    let plan = match args.plan(true, false) {
        // As in GNU parallel: nothing to do is done.
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
    let Submitted { submission, values } = submit(cx, plan, deliver_to, args.task.copies).await?;
    let options = Options { keep_order: args.keep_order, tag: args.tag, ..Options::default() };
    follow(cx, submission.job, Some(submission), Some(values), options).await
}
