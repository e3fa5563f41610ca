//! What a command ends with when it does not end well: one sentence, what to do, an exit code.

use filch_api::{Code, Problem};
use filch_client::ClientError;
use serde_json::json;

use crate::context::say;
use crate::plan::PlanError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A submit of which nobody knows whether it arrived.
    #[error("{0}")]
    Unanswered(ClientError),
    /// stdout cannot be written to; a closed pipe ends the command quietly.
    #[error("cannot write to stdout: {0}")]
    Stdout(std::io::Error),
    /// Something local; writing to a closed pipe ends the command quietly.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The user can correct it.
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    /// The user cannot.
    #[error("{message}")]
    Failed { message: String, hint: Option<String> },
    /// `filch run`: our fault, 125, so that it cannot be taken for the task's code.
    #[error("{0}")]
    NotRun(Box<Error>),
}

impl Error {
    pub(crate) fn usage(message: impl Into<String>, hint: &str) -> Self {
        Error::Usage { message: message.into(), hint: Some(hint.to_owned()) }
    }
    pub(crate) fn failed(message: impl Into<String>, hint: &str) -> Self {
        Error::Failed { message: message.into(), hint: Some(hint.to_owned()) }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Client(e) => e.hint(),
            Error::Unanswered(_) => Some(
                "the job may have been taken or not; the same command within 10 minutes goes on with it instead of starting another"
                    .into(),
            ),
            Error::Plan(e) => e.hint().map(str::to_owned),
            Error::Usage { hint, .. } | Error::Failed { hint, .. } => hint.clone(),
            Error::NotRun(e) => e.hint(),
            Error::Io(_) | Error::Stdout(_) => None,
        }
    }

    /// What the process exits with.
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Error::Client(e) | Error::Unanswered(e) => e.exit(),
            Error::Plan(_) | Error::Usage { .. } => 2,
            // As a program that SIGPIPE ended.
            Error::Io(e) | Error::Stdout(e) if e.kind() == std::io::ErrorKind::BrokenPipe => 141,
            Error::Io(_) | Error::Stdout(_) | Error::Failed { .. } => 4,
            Error::NotRun(_) => 125,
        }
    }

    fn code(&self) -> Option<Code> {
        match self {
            Error::Client(ClientError::Problem(p)) | Error::Unanswered(ClientError::Problem(p)) => Some(p.code),
            Error::NotRun(e) => e.code(),
            _ => None,
        }
    }

    /// Says it on stderr and returns the exit code.
    pub(crate) fn report(&self, as_json: bool) -> u8 {
        let exit = self.exit();
        if exit == 141 {
            return exit;
        }
        let hint = self.hint();
        if as_json {
            let problem = self.code().map(|code| json!({ "code": code }));
            let mut object = json!({"message": self.to_string(), "exit": exit});
            if let (Some(map), Some(hint)) = (object.as_object_mut(), hint) {
                map.insert("hint".into(), hint.into());
            }
            if let (Some(map), Some(serde_json::Value::Object(code))) = (object.as_object_mut(), problem) {
                map.extend(code);
            }
            say(json!({ "error": object }));
        } else {
            let mut text = format!("\x1b[31;1merror:\x1b[0m {self}");
            if let Some(hint) = hint {
                text.push_str(&format!("\n\x1b[36mhint:\x1b[0m {hint}"));
            }
            say(text);
        }
        exit
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Error::Client(problem.into())
    }
}

impl From<filch_api::paths::PathsError> for Error {
    fn from(error: filch_api::paths::PathsError) -> Self {
        Error::Client(error.into())
    }
}
