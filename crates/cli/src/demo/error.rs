//! Why there is no demo, and what to do about it.

use std::path::{Path, PathBuf};

use filch_client::ClientError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// There is nothing to work on.
    #[error("{}: {why}", dir.display())]
    Directory { dir: PathBuf, why: String },
    /// The results cannot go there.
    #[error("cannot put results into {}: {why}", dir.display())]
    Results { dir: PathBuf, why: String },
    /// The script needs them.
    #[error("programs that the demo's tasks need are not in PATH: {0}")]
    Programs(String),
    /// A node did not start.
    #[error("the node `{name}` did not start: {why}")]
    Start { name: &'static str, why: String },
    /// The nodes did not find each other.
    #[error("only {met} of {of} nodes have found all others")]
    Meet { met: usize, of: usize },
    /// A node did not do what it was asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The job cannot be described.
    #[error("{0}")]
    Job(String),
    /// The run without filch failed.
    #[error("the plain run over {file} failed: {why}")]
    Plain { file: String, why: String },
    /// Something with the demo's own files.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// It takes too long.
    #[error("the demo did not end within a minute")]
    Slow,
    /// The job takes too long.
    #[error("the job is not done after {seconds} s: {done} of {total} results; the submitter's log ends with: {log}")]
    Stuck { seconds: u64, done: u64, total: u64, log: String },
    /// Ctrl-C, or asked to end.
    #[error("interrupted; the nodes were ended and their data removed")]
    Interrupted,
}

impl DemoError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        DemoError::Io { path: path.to_owned(), source }
    }
    fn hint(&self) -> Option<String> {
        match self {
            DemoError::Directory { .. } => Some("give a directory with some text files: filch demo DIR".into()),
            DemoError::Results { .. } => Some("give a new or empty directory to --results, or leave it out".into()),
            DemoError::Programs(_) => Some("install them (coreutils, sed, gzip, awk) and try again".into()),
            DemoError::Client(e) => e.hint(),
            DemoError::Io { .. } => Some("check that the temporary directory (TMPDIR) has room and is yours".into()),
            DemoError::Slow | DemoError::Stuck { .. } => Some("try again when the machine is less busy".into()),
            _ => None,
        }
    }
}

impl From<DemoError> for crate::error::Error {
    fn from(error: DemoError) -> Self {
        let (message, hint) = (error.to_string(), error.hint());
        match error {
            DemoError::Client(e) => e.into(),
            DemoError::Directory { .. } | DemoError::Results { .. } | DemoError::Programs(_) => {
                Self::Usage { message, hint }
            }
            _ => Self::Failed { message, hint },
        }
    }
}
