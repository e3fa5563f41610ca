//! How far the delivery of one job is, in memory and in its note.

use filch_api::Delivery as View;
use filch_core::view::Winner;
use filch_types::codec;
use filch_types::ranges::{Range, RangeSet};
use serde::{Deserialize, Serialize};

/// Reasons that are kept for people.
const PROBLEMS: usize = 20;
/// Ranges that are noted; what lies beyond is delivered again after a restart.
const NOTED: usize = 64 * 1024;
/// Bytes of a note.
const NOTE_BYTES: usize = 2 * 1024 * 1024;

/// As it is kept in the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The directory.
    pub dir: String,
    /// Tasks whose files are written.
    delivered: Vec<Range>,
    files: u64,
    bytes: u64,
    failed: u64,
    problems: Vec<String>,
}

impl Note {
    /// Nothing delivered yet.
    pub fn new(dir: String) -> Self {
        Self { dir, ..Self::default() }
    }
    /// For the ledger.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self, NOTE_BYTES).unwrap_or_default()
    }
    /// The reverse.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        codec::decode(bytes, NOTE_BYTES).ok()
    }
}

/// As it is in memory.
#[derive(Debug, Default)]
pub struct Progress {
    note: Note,
    delivered: RangeSet,
    /// Tasks to look at: they may be final.
    fresh: RangeSet,
    working: bool,
}

impl From<Note> for Progress {
    fn from(note: Note) -> Self {
        let mut delivered = RangeSet::default();
        for r in &note.delivered {
            delivered.insert(*r);
        }
        Self { note, delivered, ..Self::default() }
    }
}

impl Progress {
    /// These may be final now.
    pub fn look_at(&mut self, r: Range) {
        for gap in self.delivered.gaps(r) {
            self.fresh.insert(gap);
        }
    }
    /// Whether there is work that nobody does; then the caller does it.
    pub fn start(&mut self) -> bool {
        let start = !self.working && !self.fresh.is_empty();
        self.working |= start;
        start
    }
    /// The next tasks to look at. `None` ends the work.
    pub fn next(&mut self, max: u32) -> Option<Range> {
        let next = self.fresh.take_front(max);
        self.working = next.is_some();
        next
    }
    /// What is being worked on, and what waits.
    pub fn open(&self) -> impl Iterator<Item = Range> + '_ {
        self.fresh.iter()
    }
    /// Nothing waits and nothing is being written.
    pub fn idle(&self) -> bool {
        !self.working && self.fresh.is_empty()
    }
    /// These winners without the tasks that were delivered meanwhile.
    pub fn undelivered(&self, winners: Vec<Winner>) -> Vec<Winner> {
        let cut = |w: Winner| self.delivered.gaps(w.tasks).into_iter().map(move |tasks| Winner { tasks, ..w });
        winners.into_iter().flat_map(cut).collect()
    }
    /// The files of these tasks are written.
    pub fn delivered(&mut self, tasks: &[Range]) {
        for r in tasks {
            self.delivered.insert(*r);
        }
    }
    /// So many more files.
    pub fn written(&mut self, files: u64, bytes: u64) {
        self.note.files += files;
        self.note.bytes += bytes;
    }
    /// A file could not be written.
    pub fn failed(&mut self, why: &str) {
        self.note.failed += 1;
        if self.note.problems.len() < PROBLEMS {
            self.note.problems.push(why.chars().take(1000).collect());
        }
    }
    /// The directory.
    pub fn dir(&self) -> &str {
        &self.note.dir
    }
    /// For the ledger.
    pub fn note(&self) -> Note {
        Note { delivered: self.delivered.iter().take(NOTED).collect(), ..self.note.clone() }
    }
    /// For clients, without what is pending.
    pub fn view(&self) -> View {
        View {
            dir: self.note.dir.clone(),
            files: self.note.files,
            bytes: self.note.bytes,
            pending: 0,
            problems: self.note.problems.clone(),
            failed: self.note.failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_continues_where_it_was_written() {
        let mut p = Progress::from(Note { dir: "/d".into(), ..Note::default() });
        p.look_at(Range::new(0, 100));
        assert!(p.start());
        assert!(!p.start(), "somebody is at it");
        assert_eq!(p.next(40), Some(Range::new(0, 40)));
        p.delivered(&[Range::new(0, 10), Range::new(20, 40)]);
        p.written(3, 30);
        let kept = Note::decode(&p.note().encode()).unwrap();
        let mut later = Progress::from(kept);
        later.look_at(Range::new(0, 50));
        assert_eq!(later.open().collect::<Vec<_>>(), [Range::new(10, 20), Range::new(40, 50)]);
        assert_eq!((later.view().files, later.view().dir.as_str()), (3, "/d"));
    }

    #[test]
    fn idle_means_nothing_waits_and_nothing_is_written() {
        let mut p = Progress::default();
        assert!(p.idle() && !p.start());
        p.look_at(Range::new(0, 1));
        assert!(p.start() && !p.idle());
        assert_eq!(p.next(9), Some(Range::new(0, 1)));
        assert!(!p.idle(), "being written");
        assert_eq!(p.next(9), None);
        assert!(p.idle());
        p.look_at(Range::new(0, 1));
        assert!(p.start(), "work that came later is begun again");
    }
}
