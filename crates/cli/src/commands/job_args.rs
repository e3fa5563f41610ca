//! Options that `map` and `submit` share: where tasks come from.

use std::path::PathBuf;

use clap::Args;

use super::task_args::TaskArgs;
use crate::context::Context;
use crate::error::Error;
use crate::plan::{Array, Plan, PlanError, Source, Sources, split};

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct JobArgs {
    #[command(flatten)]
    pub(crate) task: TaskArgs,
    /// One task per number, e.g. 1-1000 or 0-99:2
    #[arg(long, value_name = "A-B[:STEP]", allow_hyphen_values = true)]
    pub(crate) array: Option<String>,
    /// One task per line of this file, `-` for stdin; as `::::` [repeatable]
    #[arg(long, value_name = "FILE")]
    pub(crate) each_line: Vec<PathBuf>,
    /// Print the command lines that would run, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Program, arguments, and `:::` values
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) words: Vec<String>,
}

impl JobArgs {
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
        crate::render::stdout(plan.preview(&mut out, cx.json)?)?;
        crate::render::stdout(std::io::Write::flush(&mut out))?;
        let tasks = crate::render::words::count(u64::from(plan.count()), "task");
        cx.say(format_args!("{tasks}; nothing was sent"));
        Ok(0)
    }
}
