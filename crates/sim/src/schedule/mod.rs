//! Recorded runs: everything that is needed to repeat one, as a text file that a person can read and change.
//!
//! A schedule is JSON: a format number, the version that recorded it, a sentence on why it is kept, the expanded options, and
//! how the run ended. Options that are left out have the value that a calm LAN has. [`Schedule::record`] makes one,
//! [`Schedule::parse`] reads it, [`Schedule::replay`] runs it and compares: `filch sim replay FILE` is these two.

mod sparse;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::options::Options;
use crate::oracle::Violation;
use crate::sim::Sim;

/// The format that this version writes and reads.
pub const FORMAT: u32 = 1;
/// The version that records.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Longest text that is parsed, in bytes.
pub const MAX_TEXT: usize = 4 << 20;

/// A recorded run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// See [`FORMAT`].
    pub format: u32,
    /// Version of filch that recorded it.
    pub filch: String,
    /// Why it is kept, for a person.
    #[serde(default)]
    pub about: String,
    /// How it ended when it was recorded.
    #[serde(default)]
    pub ended: Ended,
    /// The run.
    pub options: Options,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// The rule that broke, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broke: Option<String>,
    /// The digest of all its events in hexadecimal; without it only the rule is compared, so that the schedule outlives changes of
    /// the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Why a text is no schedule that can be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Too long to be one.
    #[error("the schedule has {0} bytes, more than the {MAX_TEXT} that are read")]
    TooLong(usize),
    /// Not JSON, or not of this shape; the text tells line and column.
    #[error("not a recorded schedule: {0}")]
    Text(#[from] serde_json::Error),
    /// Of another format.
    #[error(
        "the schedule has format {found} (recorded by filch {filch}), this is filch {VERSION}, which reads format {FORMAT}: replay it with filch {filch}"
    )]
    Format {
        /// Its format.
        found: u64,
        /// Who recorded it.
        filch: String,
    },
    /// It tells the digest of a run of another version.
    #[error(
        "the schedule was recorded by filch {0}, this is filch {VERSION}, whose runs differ: replay it with filch {0}, or remove its `digest` to compare only how it ends"
    )]
    Version(String),
    /// Its options cannot be run.
    #[error("the schedule cannot be run: {0}")]
    Impossible(String),
}

/// A schedule that was run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// What was recorded.
    pub expected: Ended,
    /// What happened now.
    pub ended: Ended,
    /// The rule that broke now, and how.
    pub violation: Option<Violation>,
}

impl Replay {
    /// Of a run that has come to its end.
    pub fn of(expected: Ended, sim: &Sim) -> Self {
        let violation = sim.world.violation.clone();
        let broke = violation.as_ref().map(|v| v.rule.to_owned());
        Self { expected, ended: Ended { broke, digest: Some(format!("{:016x}", sim.world.digest())) }, violation }
    }
    /// Whether it ended as recorded.
    pub fn as_recorded(&self) -> bool {
        let same = self.expected.digest.is_none() || self.expected.digest == self.ended.digest;
        self.expected.broke == self.ended.broke && same
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |e: &Ended| e.broke.as_ref().map_or("every rule held".to_owned(), |r| format!("{r} broke"));
        let verdict = match (self.as_recorded(), self.expected.broke == self.ended.broke) {
            (true, _) => "as recorded".to_owned(),
            (false, true) => "as recorded, but on another way: the digest differs".to_owned(),
            (false, false) => format!("not as recorded: then {}", end(&self.expected)),
        };
        write!(f, "{}, {verdict}", end(&self.ended))?;
        self.violation.iter().try_for_each(|v| write!(f, "\n{v}"))
    }
}

#[derive(Deserialize)]
struct Head {
    format: u64,
    #[serde(default)]
    filch: String,
}

impl Schedule {
    /// Runs these options and records how that ends. Options with a planted bug are recorded with it.
    pub fn record(about: &str, options: Options) -> Self {
        let ended = Replay::of(Ended::default(), &ran(&options)).ended;
        Self::of(about, options, ended)
    }
    /// Of options whose end is known.
    pub fn of(about: &str, options: Options, ended: Ended) -> Self {
        Self { format: FORMAT, filch: VERSION.to_owned(), about: about.to_owned(), ended, options }
    }
    /// The same without the digest, to be kept while the code changes.
    pub fn without_digest(mut self) -> Self {
        self.ended.digest = None;
        self
    }
    /// Reads what [`Schedule::to_text`] wrote.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > MAX_TEXT {
            return Err(ParseError::TooLong(text.len()));
        }
        // The format is looked at first: whatever else differs in another one is not the person's mistake.
        let head: Head = serde_json::from_str(text)?;
        if head.format != u64::from(FORMAT) {
            return Err(ParseError::Format { found: head.format, filch: head.filch });
        }
        let schedule: Self = serde_json::from_str(text)?;
        if schedule.ended.digest.is_some() && schedule.filch != VERSION {
            return Err(ParseError::Version(schedule.filch));
        }
        schedule.options.check().map_err(ParseError::Impossible)?;
        Ok(schedule)
    }
    /// As a text file: what differs from a calm LAN.
    pub fn to_text(&self) -> String {
        // Numbers, strings, lists and tables always have a JSON form.
        let mut whole = serde_json::to_value(self).unwrap_or_default();
        if let Some(options) = whole.get_mut("options") {
            sparse::options(options);
        }
        format!("{whole:#}\n")
    }
    /// Runs it again.
    pub fn replay(&self) -> Replay {
        Replay::of(self.ended.clone(), &ran(&self.options))
    }
}

fn ran(options: &Options) -> Sim {
    let mut sim = Sim::new(options.clone());
    // The world keeps what it broke.
    let _ = sim.run();
    sim
}
