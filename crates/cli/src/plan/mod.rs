//! From a command line to a job: everything is checked here, before anything is sent.

mod array;
mod build;
mod files;
mod job;
mod outputs;
mod preview;
mod sources;
mod target;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use filch_types::limits;
use filch_types::manifest::ManifestError;
use filch_types::paths::PathError;
use filch_types::template::TemplateError;

pub(crate) use array::Array;
pub(crate) use build::{Plan, Request, Tasks};
pub(crate) use files::Files;

pub(crate) use preview::quote;
pub(crate) use sources::{Source, Sources, split};

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("no command: say what to run, as in `filch map -i {{}} -- wc -l {{in}} ::: *.txt`")]
    NoCommand,
    #[error("nothing to map over: give values (`::: a b c`), a file of values (`:::: FILE`), or `--array 1-100`")]
    NoSource,
    #[error("`:::` without a value")]
    NoValues,
    #[error("{0} is empty: no tasks")]
    Empty(String),
    #[error("`{0}` is not known yet; known are `:::` and `::::`")]
    Separator(String),
    #[error("--array and `:::` cannot be combined; spell the numbers out, as in `::: {{1..100}}` in a shell")]
    ArrayAndValues,
    #[error("--array `{text}`: {why}; write it as `1-1000`, `0-99:2` or `7`")]
    Array { text: String, why: &'static str },
    #[error("more than {} sources", sources::MAX_SOURCES)]
    Sources,
    #[error("{got} tasks; a job has at most {}", limits::MAX_TASKS)]
    TooMany { got: u64 },
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {why}", path.display())]
    Line { path: PathBuf, line: u64, why: &'static str },
    #[error("a value of task {task} is longer than {} KiB", limits::MAX_TEXT / 1024)]
    LongValue { task: u64 },
    #[error("`{placeholder}` cannot be used in {option} `{text}`: {why}")]
    Misplaced { placeholder: &'static str, option: &'static str, text: String, why: &'static str },
    #[error("{}the input `{path}` {why}", of_task(*task))]
    Input { task: Option<u32>, path: String, why: String },
    #[error("{}the inputs `{first}` and `{second}` would both be `{place}` in the task's directory", of_task(*task))]
    InputPlace { task: Option<u32>, first: String, second: String, place: String },
    #[error("{}output: {why}", of_task(*task))]
    Output { task: Option<u32>, why: PathError },
    #[error("{}output `{path}`: `{part}` is {is} in {}", of_task(*task), dir.display())]
    OutputBlocked { task: Option<u32>, path: String, part: String, is: &'static str, dir: PathBuf },
    #[error("tasks {a} and {b} would both write `{path}`")]
    SameOutput { a: u32, b: u32, path: String },
    #[error("two outputs of task {task} would both be `{path}`")]
    TwiceOutput { task: u32, path: String },
    #[error("task {task} would write the file `{path}`, which is a directory in the output of another one")]
    OutputIsDir { task: u32, path: String },
    #[error("{}the paths of its outputs are longer than {} bytes in all", of_task(*task), limits::INLINE_RESULT)]
    LongOutputs { task: Option<u32> },
    #[error("--env `{0}`: expected NAME=VALUE")]
    Env(String),
    #[error("--retries {0}: at most {max}", max = limits::MAX_RETRIES)]
    Retries(u16),
    #[error("the command has {0} words; a task takes at most {max}", max = limits::MAX_ARGV)]
    Words(usize),
    #[error("{0} has {1} bytes; at most {max}", max = limits::MAX_NAME)]
    Name(&'static str, usize),
    #[error("--handler needs a name")]
    NoHandler,
    #[error("this job is not possible: {}", plainly(.0))]
    Rule(#[from] ManifestError),
    #[error("the job's description is longer than {} KiB: put what is long into a file and declare it with -i", limits::MAX_MANIFEST / 1024)]
    Description,
    #[error("the values do not fit a list: {0}")]
    List(String),
}

fn of_task(task: Option<u32>) -> String {
    task.map(|n| format!("task {n}: ")).unwrap_or_default()
}

/// People who use a command line know of no manifests.
fn plainly(error: &ManifestError) -> String {
    match error {
        ManifestError::Rule(what) => (*what).to_owned(),
        other => other.to_string(),
    }
}

impl PlanError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            PlanError::Template(TemplateError::Unknown { .. }) => {
                "for a literal brace write `{{`, as in `awk '{{print}'`"
            }
            PlanError::SameOutput { .. } => "put something that differs into -o: {#}, {/} or {/.}",
            PlanError::OutputIsDir { .. } => "give one of the two another name in -o",
            PlanError::TwiceOutput { .. } => "give every -o another name",
            PlanError::InputPlace { .. } => {
                "inputs outside of the working directory become in/NAME; link or copy one of them under another name"
            }
            PlanError::Output { .. } => {
                "outputs appear under the working directory (or --output-dir); give relative paths without `..`"
            }
            PlanError::OutputBlocked { .. } => {
                "nothing was sent: files are never written through a link; take it away, or give another name or --output-dir"
            }
            PlanError::Input { .. } => "nothing was sent; correct the path or -i",
            PlanError::TooMany { .. } => "split it into several jobs",
            PlanError::LongValue { .. } | PlanError::Template(TemplateError::TooLong) => {
                "put what is long into a file, and declare that with -i"
            }
            PlanError::Retries(_) => "`filch retry JOB` runs again what failed after all of them",
            PlanError::Words(_) => {
                "`:::` in front of the values makes a task of each; or put them into a file and declare that with -i"
            }
            PlanError::Name(..) => "give a shorter one",
            PlanError::NoHandler => "`filch nodes --this` lists those of this node",
            _ => return None,
        })
    }
}
