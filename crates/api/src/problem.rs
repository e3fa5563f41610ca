//! Errors as RFC 9457 problems with a stable code, a hint and the exit code that a command line should end with.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went wrong, as a stable word. Codes are added, never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request does not have the shape or the limits that it must have.
    BadRequest,
    /// No such route.
    NoSuchRoute,
    /// The route does not have this method.
    MethodNotAllowed,
    /// The body is longer than allowed.
    TooLarge,
    /// The job breaks a rule; nothing was kept.
    SpecInvalid,
    /// A nonce came again with another job.
    NonceReused,
    /// What was given is no id and no prefix of one (at least four hex digits).
    BadId,
    /// No job with this id or prefix here or at anybody reachable.
    NoSuchJob,
    /// Several jobs begin with this prefix.
    AmbiguousJob,
    /// The job has no task with this number.
    NoSuchTask,
    /// The task has written nothing yet.
    NotStarted,
    /// The task runs on another node, and only that one can show what it has written so far.
    RunsElsewhere,
    /// No blob with this id here or at anybody reachable.
    NoSuchBlob,
    /// A file that was named does not exist.
    FileMissing,
    /// A file that was named cannot be read, or it is no plain file.
    FileUnreadable,
    /// A directory cannot be written to, or it does not exist.
    DirectoryUnusable,
    /// Not enough copies of the job could be made in time; the same nonce continues.
    TooFewCopies,
    /// This node or one that was asked is at a limit of its own.
    Refused,
    /// The local disk is full.
    DiskFull,
    /// This node is going down.
    Draining,
    /// Nobody who could do it answered.
    Unreachable,
    /// A fault of filch; the log has more.
    Internal,
    /// A code that this client does not know.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Code::BadRequest | Code::SpecInvalid | Code::BadId => 400,
            Code::NoSuchRoute | Code::NoSuchJob | Code::NoSuchTask | Code::NoSuchBlob | Code::NotStarted => 404,
            Code::MethodNotAllowed => 405,
            Code::AmbiguousJob | Code::NonceReused | Code::RunsElsewhere => 409,
            Code::TooLarge => 413,
            Code::FileMissing | Code::FileUnreadable | Code::DirectoryUnusable => 422,
            Code::TooFewCopies | Code::Refused | Code::Draining | Code::Unreachable => 503,
            Code::DiskFull => 507,
            Code::Internal | Code::Unknown => 500,
        }
    }
    /// The exit code that a command line should end with: 2 for what the user can correct, 4 for the rest.
    pub fn exit(self) -> u8 {
        match self.status() {
            503 | 507 | 500 | 405 => 4,
            _ => 2,
        }
    }
    /// A short text that is the same for every problem of this code.
    pub fn title(self) -> &'static str {
        match self {
            Code::BadRequest => "the request is malformed",
            Code::NoSuchRoute => "no such route",
            Code::MethodNotAllowed => "this route does not have this method",
            Code::TooLarge => "the request is too large",
            Code::SpecInvalid => "the job breaks a rule",
            Code::NonceReused => "this nonce belongs to another job",
            Code::BadId => "not a job id",
            Code::NoSuchJob => "no such job",
            Code::AmbiguousJob => "several jobs begin with this id",
            Code::NoSuchTask => "no such task",
            Code::NotStarted => "the task has not started yet",
            Code::RunsElsewhere => "the task runs on another node",
            Code::NoSuchBlob => "no such blob",
            Code::FileMissing => "a file does not exist",
            Code::FileUnreadable => "a file cannot be read",
            Code::DirectoryUnusable => "the directory cannot be used",
            Code::TooFewCopies => "not enough copies could be made",
            Code::Refused => "refused",
            Code::DiskFull => "the disk is full",
            Code::Draining => "the node is going down",
            Code::Unreachable => "nobody who could do it answered",
            Code::Internal => "internal error",
            Code::Unknown => "unknown error",
        }
    }
}

/// An error, RFC 9457.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct Problem {
    /// `urn:filch:problem:CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The stable word.
    pub code: Code,
    /// The HTTP status.
    pub status: u16,
    /// Short, the same for every problem of this code.
    pub title: String,
    /// What and where, in this case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The exit code that a command line should end with.
    pub exit: u8,
}

impl Problem {
    /// A problem with its defaults.
    pub fn new(code: Code) -> Self {
        let word = serde_json::to_value(code).ok().and_then(|v| v.as_str().map(str::to_owned));
        Self {
            kind: format!("urn:filch:problem:{}", word.as_deref().unwrap_or("unknown")),
            code,
            status: code.status(),
            title: code.title().to_owned(),
            detail: None,
            hint: None,
            exit: code.exit(),
        }
    }
    /// Says what and where.
    pub fn detail(mut self, detail: impl std::fmt::Display) -> Self {
        self.detail = Some(detail.to_string());
        self
    }
    /// Says what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    /// Title and detail in one sentence, without the hint.
    pub fn sentence(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.title),
            None => self.title.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_stable_words_and_new_ones_do_not_break_old_clients() {
        let p = Problem::new(Code::FileMissing).detail("/a/b").hint("check the path");
        let text = serde_json::to_string(&p).unwrap();
        assert_eq!(
            text,
            r#"{"type":"urn:filch:problem:file_missing","code":"file_missing","status":422,"title":"a file does not exist","detail":"/a/b","hint":"check the path","exit":2}"#
        );
        let newer = text.replace("\"file_missing\"", "\"brand_new\"");
        assert_eq!(serde_json::from_str::<Problem>(&newer).unwrap().code, Code::Unknown);
        assert_eq!(p.to_string(), "a file does not exist: /a/b");
        assert_eq!(Code::Draining.exit(), 4);
    }
}
