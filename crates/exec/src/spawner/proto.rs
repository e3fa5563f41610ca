//! What node and spawner say to each other: a length (u32, little endian) and postcard, one task at a time.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Bytes of one frame: more than a kernel takes as arguments and environment by default.
pub(crate) const MAX_FRAME: usize = 4 * 1024 * 1024;
const HEAD: usize = 4;

/// A string of the operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Raw(#[serde(with = "filch_types::result::bytes")] Vec<u8>);

impl Raw {
    pub(crate) fn new(s: impl Into<OsString>) -> Self {
        Self(s.into().into_vec())
    }
    pub(crate) fn os(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
    pub(crate) fn path(&self) -> &Path {
        Path::new(self.os())
    }
}

impl From<&Path> for Raw {
    fn from(p: &Path) -> Self {
        Self::new(PathBuf::from(p))
    }
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Its name between the two.
    pub serial: u64,
    /// Working directory.
    pub dir: Raw,
    /// Existing files; what the task writes is appended.
    pub stdout: Raw,
    pub stderr: Raw,
    pub argv: Vec<String>,
    pub env: Vec<(String, Raw)>,
    pub timeout_ms: Option<u64>,
    pub grace_ms: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToSpawner {
    Run(Run),
    /// End this task; the task's own grace if none is given. May come before the task or after its end.
    Stop {
        serial: u64,
        grace_ms: Option<u32>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Status {
    Exited(i32),
    Signalled(i32),
}

/// Why the spawner ended a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ended {
    /// Its time limit passed.
    TimedOut,
    /// The node asked for it.
    Stopped,
    /// It wrote more than can be bounded on this file system.
    Flooded,
}

/// A task's part of a log file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// Where it begins.
    pub from: u64,
    /// Its length.
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub serial: u64,
    /// Of the main process.
    pub status: Status,
    pub ended: Option<Ended>,
    /// From start to the death of the last process.
    pub wall_us: u64,
    /// User and system time of the main process and its waited-for children.
    pub cpu_us: u64,
    /// Largest resident set among them.
    pub max_rss_kib: u64,
    /// Processes that were left behind and killed.
    pub killed: u32,
    /// What it wrote.
    pub stdout: Written,
    pub stderr: Written,
    /// Both log files still have exactly one name: they may be used again.
    pub intact: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromSpawner {
    Done(Done),
    /// The program cannot be executed: 126 or 127, and why.
    NotRun {
        serial: u64,
        code: i32,
        message: String,
    },
    /// It could not be started here and now.
    Fault {
        serial: u64,
        message: String,
    },
}

/// Writes one frame. `InvalidInput` if it is too long; nothing was written then.
pub(crate) fn write<T: Serialize>(to: &mut impl Write, value: &T) -> io::Result<()> {
    let malformed = |e: postcard::Error| io::Error::new(io::ErrorKind::InvalidData, e);
    let mut frame = postcard::to_extend(value, vec![0; HEAD]).map_err(malformed)?;
    let len = frame.len() - HEAD;
    let head = u32::try_from(len).ok().filter(|_| len <= MAX_FRAME).ok_or(io::ErrorKind::InvalidInput)?;
    if let Some(place) = frame.first_chunk_mut::<HEAD>() {
        *place = head.to_le_bytes();
    }
    to.write_all(&frame)
}

/// Received bytes, cut into frames.
#[derive(Default)]
pub(crate) struct Frames {
    buf: Vec<u8>,
    filled: usize,
}

impl Frames {
    /// Takes what one read yields.
    pub(crate) fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        if self.buf.len() < self.filled + 4096 {
            self.buf.resize(self.filled + 16 * 1024, 0);
        }
        let n = read(self.buf.get_mut(self.filled..).unwrap_or_default())?;
        self.filled += n;
        Ok(n)
    }

    /// The next whole frame.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let have = self.buf.get(..self.filled).unwrap_or_default();
        let Some((head, rest)) = have.split_first_chunk::<HEAD>() else { return Ok(None) };
        let len = u32::from_le_bytes(*head) as usize;
        if len > MAX_FRAME {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let value = postcard::from_bytes(body).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        self.buf.copy_within(HEAD + len..self.filled, 0);
        self.filled -= HEAD + len;
        // A long command line need not stay in memory.
        if self.filled == 0 && self.buf.len() > 64 * 1024 {
            self.buf = Vec::new();
        }
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_survive_any_cut() {
        let one = ToSpawner::Stop { serial: 3, grace_ms: Some(9) };
        let mut bytes = Vec::new();
        for _ in 0..3 {
            write(&mut bytes, &one).unwrap();
        }
        for step in 1..bytes.len() {
            let mut frames = Frames::default();
            let mut seen = 0;
            for part in bytes.chunks(step) {
                frames
                    .fill(|b| {
                        b[..part.len()].copy_from_slice(part);
                        Ok(part.len())
                    })
                    .unwrap();
                while let Some(got) = frames.next::<ToSpawner>().unwrap() {
                    assert_eq!(got, one);
                    seen += 1;
                }
            }
            assert_eq!(seen, 3);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut frames = Frames::default();
            frames.fill(|b| { b[..bytes.len()].copy_from_slice(&bytes); Ok(bytes.len()) }).unwrap();
            while let Ok(Some(_)) = frames.next::<FromSpawner>() {}
        }
    }
}
