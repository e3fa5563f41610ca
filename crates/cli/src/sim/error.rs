//! Why nothing was simulated, or nothing was written, and what to do about it.

use std::path::{Path, PathBuf};

use filch_sim::corpus::BadLine;
use filch_sim::scenario::Invalid;
use filch_sim::schedule::ParseError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(super) enum SimError {
    /// A file that cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Read { path: PathBuf, why: String },
    /// A file that is no scenario.
    #[error("{}, {source}", path.display())]
    Scenario { path: PathBuf, source: Invalid },
    /// A file that is no schedule, or another version's.
    #[error("{}: {source}", path.display())]
    Schedule { path: PathBuf, source: ParseError },
    /// A list of runs that is none.
    #[error("{}, {source}", path.display())]
    Known { path: PathBuf, source: BadLine },
    /// Neither a file nor a seed.
    #[error("`{0}` is neither a file nor PROFILE:SEED")]
    Target(String),
    /// A plan that cannot be made.
    #[error("{0}")]
    Plan(String),
    /// A file that cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

/// Longest file that is read, in bytes; the longest schedule.
const MAX_FILE: u64 = filch_sim::schedule::MAX_TEXT as u64;

/// The text of a scenario or schedule.
pub(super) fn read(path: &Path) -> Result<String, SimError> {
    let no = |why: String| SimError::Read { path: path.to_owned(), why };
    let meta = std::fs::metadata(path).map_err(|e| no(e.to_string()))?;
    if meta.is_dir() {
        return Err(no("it is a directory".into()));
    }
    if meta.len() > MAX_FILE {
        return Err(no(format!("it has {} bytes, more than the {MAX_FILE} that are read", meta.len())));
    }
    std::fs::read_to_string(path).map_err(|e| no(e.to_string()))
}

/// Writes a file, with the directory that it is in.
pub(super) fn write(path: &Path, text: &str) -> Result<(), SimError> {
    let no = |source| SimError::Write { path: path.to_owned(), source };
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).map_err(no)?;
    }
    std::fs::write(path, text).map_err(no)
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension))
}

impl SimError {
    fn hint(&self) -> Option<String> {
        match self {
            SimError::Read { .. } => {
                Some("scenarios are in `simulations/`; its README lists them and every key".into())
            }
            SimError::Scenario { path, .. } if is(path, "json") => {
                Some("recorded schedules are run by `filch sim replay`".into())
            }
            SimError::Scenario { source, .. } => {
                Some(source.hint.clone().unwrap_or_else(|| "`simulations/README.md` lists every key".into()))
            }
            SimError::Schedule { path, .. } if is(path, "toml") => Some("scenarios are run by `filch sim run`".into()),
            SimError::Schedule { source: ParseError::Text(_) | ParseError::Impossible(_), .. } => {
                Some("`filch sim replay PROFILE:SEED --save FILE` writes one".into())
            }
            // They say what to do.
            SimError::Schedule { .. } => None,
            SimError::Known { .. } => Some("a line says PROFILE SEED WHY; lines that begin with # are skipped".into()),
            SimError::Target(_) => {
                let names = filch_sim::Profile::ALL.map(filch_sim::Profile::name).join(", ");
                Some(format!("a seed is written as swarm:7; profiles are {names}"))
            }
            SimError::Plan(_) => Some("`filch sim plan --help` has the limits".into()),
            SimError::Write { .. } => None,
        }
    }
}

impl From<SimError> for crate::error::Error {
    fn from(error: SimError) -> Self {
        let (message, hint) = (error.to_string(), error.hint());
        match error {
            SimError::Write { .. } => Self::Failed { message, hint },
            _ => Self::Usage { message, hint },
        }
    }
}
