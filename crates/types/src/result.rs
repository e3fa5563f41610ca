//! What came of an attempt.

use serde::{Deserialize, Serialize};

use crate::ids::BlobId;
use crate::limits;

/// Bytes, either here or named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// At most `limits::INLINE_OUTPUT` bytes, carried along.
    Inline(#[serde(with = "bytes")] Vec<u8>),
    /// A blob and its length in bytes.
    Blob(BlobId, u64),
}

impl Default for Content {
    fn default() -> Self {
        Content::Inline(Vec::new())
    }
}

impl Content {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Content::Inline(b) => b.len() as u64,
            Content::Blob(_, len) => *len,
        }
    }
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `Vec<u8>` as one length-prefixed string of bytes.
pub mod bytes {
    use serde::{Deserializer, Serializer};

    struct V;
    impl<'de> serde::de::Visitor<'de> for V {
        type Value = Vec<u8>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bytes")
        }
        fn visit_bytes<E>(self, v: &[u8]) -> Result<Vec<u8>, E> {
            Ok(v.to_vec())
        }
        fn visit_byte_buf<E>(self, v: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(v)
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut a: A) -> Result<Vec<u8>, A::Error> {
            let mut out = Vec::new();
            while let Some(b) = a.next_element()? {
                out.push(b);
            }
            Ok(out)
        }
    }
    /// As bytes, not as a sequence of numbers.
    pub fn serialize<S: Serializer>(v: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(v)
    }
    /// The reverse.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        d.deserialize_byte_buf(V)
    }
}

/// stdout or stderr: the head and tail that were kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// What was kept; head directly followed by tail if something was cut out.
    pub kept: Content,
    /// Bytes that the task wrote; more than `kept` holds if it was cut.
    pub total: u64,
}

/// A declared output file, collected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutFile {
    /// Relative to the task's and later the submitter's directory; normalised (`paths::normalise`).
    pub path: String,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// Its bytes.
    pub content: Content,
}

/// Everything that an attempt left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskOutput {
    /// Standard output; a handler's return value.
    pub stdout: Stream,
    /// Standard error; a handler's error text.
    pub stderr: Stream,
    /// Declared outputs, in the order of their declaration. Empty unless the attempt succeeded.
    pub files: Vec<OutFile>,
}

impl TaskOutput {
    /// Blobs that it names, with lengths: its closure (P4).
    pub fn blobs(&self) -> impl Iterator<Item = (BlobId, u64)> + '_ {
        [&self.stdout.kept, &self.stderr.kept].into_iter().chain(self.files.iter().map(|f| &f.content)).filter_map(
            |c| match c {
                Content::Blob(id, len) => Some((*id, *len)),
                Content::Inline(_) => None,
            },
        )
    }
    /// Inline bytes that it carries.
    pub fn inline_len(&self) -> usize {
        let of = |c: &Content| match c {
            Content::Inline(b) => b.len(),
            Content::Blob(..) => 0,
        };
        of(&self.stdout.kept)
            + of(&self.stderr.kept)
            + self.files.iter().map(|f| of(&f.content) + f.path.len()).sum::<usize>()
    }
    fn empty(&self) -> bool {
        self.stdout.total == 0 && self.stderr.total == 0 && self.files.is_empty()
    }
}

/// Why a task failed. These causes are the task's own and use up its retries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The program ended with this code; 127 and 126 as in a shell: not found, not executable.
    Exit(i32),
    /// The program was ended by this signal.
    Signal(i32),
    /// Its time limit passed.
    TimedOut,
    /// It ended well but this declared output was missing or not a plain file inside its directory.
    OutputMissing(String),
    /// A handler returned this error.
    Handler(String),
    /// It took its node down more often than `limits::CRASH_BUDGET` allows (P14).
    NodeLost,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It did what it should.
    Success(TaskOutput),
    /// It did not; its output is kept all the same.
    Failed(Cause, TaskOutput),
}

impl Outcome {
    /// Whether it succeeded.
    pub fn is_success(&self) -> bool {
        matches!(self, Outcome::Success(_))
    }
    /// What it left behind.
    pub fn output(&self) -> &TaskOutput {
        match self {
            Outcome::Success(o) | Outcome::Failed(_, o) => o,
        }
    }
}

/// The same outcome for consecutive tasks at the same attempt. More than one task only when there is no output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultRun {
    /// First task.
    pub lo: u32,
    /// Tasks.
    pub count: u32,
    /// Attempt number (P13).
    pub attempt: u64,
    /// Microseconds that the tasks took in all.
    pub wall_us: u64,
    /// How they ended.
    pub outcome: Outcome,
}

impl ResultRun {
    /// One task's result.
    pub fn one(index: u32, attempt: u64, wall_us: u64, outcome: Outcome) -> Self {
        Self { lo: index, count: 1, attempt, wall_us, outcome }
    }
    /// The tasks as a range.
    pub fn range(&self) -> crate::ranges::Range {
        crate::ranges::Range::new(self.lo, self.lo.saturating_add(self.count))
    }
    /// Whether `next` continues this run, so that both fit one.
    pub fn continues(&self, next: &ResultRun) -> bool {
        self.lo.checked_add(self.count) == Some(next.lo)
            && self.attempt == next.attempt
            && self.outcome == next.outcome
            && self.outcome.is_success()
            && self.outcome.output().empty()
    }
    /// Rules that its type cannot say.
    pub fn is_valid(&self) -> bool {
        let out = self.outcome.output();
        self.count > 0
            && self.lo.checked_add(self.count).is_some_and(|hi| hi <= limits::MAX_TASKS)
            && (self.count == 1 || out.empty())
            && out.files.len() <= limits::MAX_FILES
            && out.inline_len() <= 2 * limits::INLINE_RESULT
            && out.files.iter().all(|f| crate::paths::normalise(&f.path).as_deref() == Ok(&f.path))
    }
}
