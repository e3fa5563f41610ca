//! Options that `run`, `submit` and `map` share.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::error::Error;
use crate::plan::{Plan, Request, Sources};
use crate::submit::delivery_dir;

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TaskArgs {
    /// A file that travels to where the task runs; its path there is {in} [repeatable: {in2}, …]
    #[arg(short, long = "input", value_name = "FILE")]
    pub(crate) inputs: Vec<String>,
    /// A file that comes back from there; its path there is {out} [repeatable: {out2}, …]
    #[arg(short, long = "output", value_name = "PATH")]
    pub(crate) outputs: Vec<String>,
    /// Where output files appear [default: the working directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) output_dir: Option<PathBuf>,
    /// Add a variable to the task's environment, which is otherwise small [repeatable]
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Run a Rust function that the nodes have under this name, with the words as its arguments: noop, sleep, spin, fail, hash, or
    /// uts, which counts a tree and is split between the nodes while it runs
    #[arg(long, value_name = "NAME")]
    pub(crate) handler: Option<String>,
    /// Try again this many times if the task fails
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) retries: u16,
    /// End a task that takes longer than this, e.g. 90s or 2h
    #[arg(long, value_name = "TIME", value_parser = crate::usage::limit)]
    pub(crate) timeout: Option<Duration>,
    /// Never run a second attempt beside one that takes far longer than the others: for tasks that must not overlap themselves
    #[arg(long)]
    pub(crate) no_speculation: bool,
    /// A name for people
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Jobs with a higher one go first
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i16,
    /// Copies of the job that make it accepted [default: 3, or as many as there are nodes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) copies: Option<u8>,
}

impl TaskArgs {
    /// The plan of these words over these sources.
    pub(crate) fn plan(&self, words: Vec<String>, sources: Sources, attended: bool) -> Result<Plan, Error> {
        let timeout_ms = self.timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
        Ok(Plan::new(&Request {
            words,
            handler: self.handler.clone(),
            sources,
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            output_dir: self.output_dir.clone().unwrap_or_else(|| PathBuf::from(".")),
            env: self.env.clone(),
            name: self.name.clone(),
            retries: self.retries,
            timeout_ms,
            speculate: !self.no_speculation,
            priority: self.priority,
            attended,
        })?)
    }
    /// Where output files are to be written, if there are any.
    pub(crate) fn deliver_to(&self) -> Result<Option<String>, Error> {
        if self.outputs.is_empty() { Ok(None) } else { delivery_dir(self.output_dir.as_deref()).map(Some) }
    }
}
