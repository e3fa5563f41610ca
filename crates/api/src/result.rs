//! Results of tasks.

use filch_types::{BlobId, Cause, Outcome, ResultRun};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base64::{self, Base64Error};
use crate::{Counts, Delay, Delivery, JobState, NodeRef, Problem, TaskState};

/// Bytes: as text if they are UTF-8, as base64 if not, by name if there are many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    /// UTF-8.
    Text(String),
    /// Anything else, RFC 4648 with padding.
    Base64(String),
    /// In the store: `GET /v1/blobs/{id}`.
    Blob {
        /// Which.
        #[serde(with = "crate::hex")]
        #[schema(value_type = String)]
        id: BlobId,
        /// Its length in bytes.
        len: u64,
    },
}

impl Default for Data {
    fn default() -> Self {
        Data::Text(String::new())
    }
}

impl Data {
    /// The form that fits these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Data::Text(text.to_owned()),
            Err(_) => Data::Base64(base64::encode(bytes)),
        }
    }
    /// The bytes, unless they are a blob.
    pub fn inline(&self) -> Option<Result<Vec<u8>, Base64Error>> {
        match self {
            Data::Text(text) => Some(Ok(text.clone().into_bytes())),
            Data::Base64(text) => Some(base64::decode(text)),
            Data::Blob { .. } => None,
        }
    }
    fn is_empty_text(&self) -> bool {
        matches!(self, Data::Text(t) if t.is_empty())
    }
}

/// stdout or stderr.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stream {
    /// What was kept: all of it, or the head directly followed by the tail.
    pub kept: Data,
    /// Bytes that the task wrote; more than `kept` holds if something was cut out of the middle.
    pub total: u64,
}

impl Stream {
    fn is_nothing(&self) -> bool {
        self.total == 0 && self.kept.is_empty_text()
    }
}

/// An output file of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutputFile {
    /// Relative to the submitter's directory; never leaves it.
    pub path: String,
    /// Whether its owner may execute it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
    /// Its bytes.
    pub data: Data,
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskCause {
    /// The program ended with this code; 127 not found, 126 not executable.
    Exit(i32),
    /// The program was ended by this signal.
    Signal(i32),
    /// Its time limit passed.
    TimedOut,
    /// It ended well but this declared output was missing or not a plain file inside its directory.
    OutputMissing(String),
    /// A handler returned this error.
    Handler(String),
    /// It took its node down too often.
    NodeLost,
}

impl TaskCause {
    /// What `filch run` exits with: the task's own code, 128+n for a signal, 124 for a time limit, 1 for a handler's error and
    /// for an output that is missing, 125 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            TaskCause::Exit(code) => u8::try_from(code & 255).unwrap_or(125),
            TaskCause::Signal(n) => u8::try_from(128i32.saturating_add(*n) & 255).unwrap_or(125),
            TaskCause::TimedOut => 124,
            // The task's failure as much as an exit code is, but it has none of its own.
            TaskCause::Handler(_) | TaskCause::OutputMissing(_) => 1,
            TaskCause::NodeLost => 125,
        }
    }
}

impl std::fmt::Display for TaskCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TaskCause::Exit(127) => f.write_str("exit 127 (program not found)"),
            TaskCause::Exit(126) => f.write_str("exit 126 (program not executable)"),
            TaskCause::Exit(code) => write!(f, "exit {code}"),
            TaskCause::Signal(n) => write!(f, "signal {n}"),
            TaskCause::TimedOut => f.write_str("time limit passed"),
            TaskCause::OutputMissing(path) => write!(f, "declared output `{path}` is missing or not a plain file"),
            TaskCause::Handler(error) => f.write_str(error),
            TaskCause::NodeLost => f.write_str("its node was lost too often while it ran"),
        }
    }
}

impl From<&Cause> for TaskCause {
    fn from(cause: &Cause) -> Self {
        match cause {
            Cause::Exit(code) => TaskCause::Exit(*code),
            Cause::Signal(n) => TaskCause::Signal(*n),
            Cause::TimedOut => TaskCause::TimedOut,
            Cause::OutputMissing(path) => TaskCause::OutputMissing(path.clone()),
            Cause::Handler(error) => TaskCause::Handler(error.clone()),
            Cause::NodeLost => TaskCause::NodeLost,
        }
    }
}

fn one() -> u32 {
    1
}
fn is_one(n: &u32) -> bool {
    *n == 1
}

/// What came of a task, or of several consecutive tasks of one group that ended alike and wrote nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskResult {
    /// Opaque: `?from=` this continues behind this line.
    pub cursor: String,
    /// The task's index in the job, from 0; the first one's if there are several.
    pub task: u32,
    /// How many tasks. More than one only if there is no output at all.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u32,
    /// Index of its group in the job's spec.
    #[serde(default)]
    pub group: u32,
    /// The task's number in its group, from 0.
    pub number: u32,
    /// `succeeded`, `failed` or `cancelled`.
    pub state: TaskState,
    /// Which attempt it was (`FILCH_ATTEMPT`).
    #[serde(default)]
    pub attempt: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<TaskCause>,
    /// Microseconds that it took, all of them together if there are several.
    #[serde(default)]
    pub wall_us: u64,
    /// Where it ran; absent if it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeRef>,
    /// Whether it can no longer change: the owner has pinned it.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Standard output; a handler's return value.
    #[serde(default, skip_serializing_if = "Stream::is_nothing")]
    pub stdout: Stream,
    /// Standard error; a handler's error text.
    #[serde(default, skip_serializing_if = "Stream::is_nothing")]
    pub stderr: Stream,
    /// Output files, in the order of their declaration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<OutputFile>,
}

impl TaskResult {
    /// From what the worker reported. `group` and `number` are those of `run.lo` (`JobSpec::locate`); a run that crosses
    /// groups must be cut before.
    pub fn of(run: &ResultRun, group: u32, number: u32, node: Option<NodeRef>) -> Self {
        let output = run.outcome.output();
        let stream = |s: &filch_types::result::Stream| Stream { kept: Data::from(&s.kept), total: s.total };
        let (state, cause) = match &run.outcome {
            Outcome::Success(_) => (TaskState::Succeeded, None),
            Outcome::Failed(cause, _) => (TaskState::Failed, Some(cause.into())),
        };
        Self {
            cursor: String::new(),
            task: run.lo,
            count: run.count,
            group,
            number,
            state,
            attempt: run.attempt,
            cause,
            wall_us: run.wall_us,
            node,
            is_final: false,
            stdout: stream(&output.stdout),
            stderr: stream(&output.stderr),
            files: output
                .files
                .iter()
                .map(|f| OutputFile { path: f.path.clone(), executable: f.executable, data: Data::from(&f.content) })
                .collect(),
        }
    }
}

impl From<&filch_types::Content> for Data {
    fn from(content: &filch_types::Content) -> Self {
        match content {
            filch_types::Content::Inline(bytes) => Data::of(bytes),
            filch_types::Content::Blob(id, len) => Data::Blob { id: *id, len: *len },
        }
    }
}

/// A line of `GET /v1/jobs/{id}/results`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResultLine {
    /// A result; every task comes exactly once.
    Result(TaskResult),
    /// How far the job is. Only with `follow`, first of all and then whenever something changed, at most ten a second, and as
    /// a sign of life at least once a second.
    Progress {
        /// Its tasks.
        counts: Counts,
        /// Its state.
        state: JobState,
        /// Where its output files go, if this node delivers them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delivery: Option<Delivery>,
        /// What keeps results that are done from becoming final, if anything does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delay: Option<Delay>,
    },
    /// The last line: with `follow`, the job has ended, every result was sent and every file is delivered (or never will be:
    /// `delivery.problems`). Without, that was all there is so far.
    End {
        /// Its tasks.
        counts: Counts,
        /// Its state.
        state: JobState,
        /// Where its output files went, if this node delivers them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delivery: Option<Delivery>,
    },
    /// The last line: the stream ends here, for this reason.
    Problem(Problem),
}

#[cfg(test)]
mod tests {
    use super::*;
    use filch_types::TaskOutput;

    #[test]
    fn a_plain_result_is_a_short_line_and_reads_back() {
        let mut r = TaskResult::of(&ResultRun::one(7, 1, 12, Outcome::Success(TaskOutput::default())), 0, 7, None);
        r.cursor = "3".into();
        let line = serde_json::to_string(&ResultLine::Result(r.clone())).unwrap();
        assert_eq!(
            line,
            r#"{"result":{"cursor":"3","task":7,"group":0,"number":7,"state":"succeeded","attempt":1,"wall_us":12,"final":false}}"#
        );
        assert_eq!(serde_json::from_str::<ResultLine>(&line).unwrap(), ResultLine::Result(r));
    }

    #[test]
    fn bytes_come_back_whatever_they_are() {
        for bytes in [&b"plain\n"[..], b"", b"\xff\x00\xfe", "\u{1F980}".as_bytes()] {
            let json = serde_json::to_string(&Data::of(bytes)).unwrap();
            let back: Data = serde_json::from_str(&json).unwrap();
            assert_eq!(back.inline().unwrap().unwrap(), bytes, "{json}");
        }
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        for (cause, code) in [
            (Cause::Exit(3), 3),
            (Cause::Exit(127), 127),
            (Cause::Signal(9), 137),
            (Cause::TimedOut, 124),
            (Cause::Handler("no".into()), 1),
            (Cause::NodeLost, 125),
        ] {
            assert_eq!(TaskCause::from(&cause).exit_code(), code, "{cause:?}");
        }
    }
}
