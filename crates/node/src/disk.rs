//! The ledger thread: group commit. It takes all groups that wait, makes their blobs durable (P1), commits their records in one
//! transaction, and answers group by group, in order. Its queue is not bounded here: the core has only so many groups
//! under way, and none may be lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use filch_blobs::{BlobStore, PutError, SyncError};
use filch_core::{Input, Ticket};
use filch_ledger::{CommitError, Ledger};
use filch_types::BlobId;
use filch_types::record::Record;
use tokio::sync::oneshot;

use crate::driver::Inbox;
use crate::stats::Stats;

/// Records of one transaction.
const GROUP: usize = 4096;

/// A note of the node, and who waits for it.
pub struct Note {
    /// Its key.
    pub key: String,
    /// Its value; `None` removes it.
    pub value: Option<Vec<u8>>,
    /// Told once it is durable, or why it is not.
    pub done: Option<oneshot::Sender<Result<(), String>>>,
}

enum Job {
    Commit(Group),
    Note(Note),
    Stop,
}

struct Group {
    ticket: Ticket,
    blobs: Vec<BlobId>,
    records: Vec<Record>,
}

/// What is done when the disk fails for good: it ends the process (P2). Tests give their own.
pub type Fatal = Box<dyn Fn(&str) + Send>;

/// A way to the ledger thread.
#[derive(Clone)]
pub struct Disk {
    queue: Sender<Job>,
}

impl Disk {
    /// The way, and the body of the thread.
    pub fn new(
        ledger: Box<dyn Ledger>,
        blobs: BlobStore,
        inbox: Arc<Inbox>,
        stats: Arc<Stats>,
        fatal: Fatal,
    ) -> (Self, impl FnOnce() + Send + 'static) {
        let (queue, jobs) = channel();
        let writer = Writer { ledger, blobs, inbox, stats, fatal };
        (Self { queue }, move || writer.run(&jobs))
    }
    /// Answered with `Input::Committed` or `Input::CommitFailed`.
    pub fn commit(&self, ticket: Ticket, blobs: Vec<BlobId>, records: Vec<Record>) {
        let _ = self.queue.send(Job::Commit(Group { ticket, blobs, records }));
    }
    /// Writes a note without waiting.
    pub fn note(&self, note: Note) {
        let _ = self.queue.send(Job::Note(note));
    }
    /// Writes a note and waits until it is durable.
    pub async fn note_durably(&self, key: String, value: Option<Vec<u8>>) -> Result<(), String> {
        let (done, wait) = oneshot::channel();
        self.note(Note { key, value, done: Some(done) });
        wait.await.unwrap_or_else(|_| Err("the node is going down".into()))
    }
    /// Ends the thread after what waits already.
    pub fn stop(&self) {
        let _ = self.queue.send(Job::Stop);
    }
}

struct Writer {
    ledger: Box<dyn Ledger>,
    blobs: BlobStore,
    inbox: Arc<Inbox>,
    stats: Arc<Stats>,
    fatal: Fatal,
}

/// Why a group is not on disk.
enum Refusal {
    Full(String),
    Fatal(String),
}

impl From<CommitError> for Refusal {
    fn from(e: CommitError) -> Self {
        match e {
            CommitError::Full { .. } => Refusal::Full(e.to_string()),
            CommitError::Fatal(_) => Refusal::Fatal(e.to_string()),
        }
    }
}
impl From<SyncError> for Refusal {
    fn from(e: SyncError) -> Self {
        match e {
            SyncError::Fatal(_) => Refusal::Fatal(e.to_string()),
            e => Refusal::Full(e.to_string()),
        }
    }
}
impl From<PutError> for Refusal {
    fn from(e: PutError) -> Self {
        if e.is_fatal() { Refusal::Fatal(e.to_string()) } else { Refusal::Full(e.to_string()) }
    }
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        let mut groups = Vec::new();
        let mut notes = Vec::new();
        while let Ok(first) = jobs.recv() {
            let mut stop = take(first, &mut groups, &mut notes);
            let mut records: usize = groups.iter().map(|g: &Group| g.records.len()).sum();
            while !stop && records < GROUP {
                let Ok(job) = jobs.try_recv() else { break };
                if let Job::Commit(g) = &job {
                    records += g.records.len();
                }
                stop = take(job, &mut groups, &mut notes);
            }
            self.commit_all(std::mem::take(&mut groups));
            self.write_notes(std::mem::take(&mut notes));
            if stop {
                break;
            }
        }
    }

    fn commit_all(&mut self, mut groups: Vec<Group>) {
        if groups.is_empty() {
            return;
        }
        match self.commit(&mut groups) {
            Ok(()) => groups.iter().for_each(|g| self.inbox.push(Input::Committed(g.ticket))),
            Err(Refusal::Fatal(why)) => (self.fatal)(&why),
            Err(Refusal::Full(why)) if groups.len() == 1 => self.refuse(groups, &why),
            // A big group must not take small ones down with it.
            Err(Refusal::Full(_)) => groups.into_iter().for_each(|g| self.commit_all(vec![g])),
        }
    }

    fn commit(&mut self, groups: &mut Vec<Group>) -> Result<(), Refusal> {
        let mut blobs = Vec::new();
        for g in groups.iter() {
            if let (false, Some(record)) = (g.blobs.is_empty(), g.records.first()) {
                self.blobs.retain(record.job(), &g.blobs)?;
                blobs.extend_from_slice(&g.blobs);
            }
        }
        if !blobs.is_empty() {
            self.blobs.sync(&blobs)?;
        }
        let count: usize = groups.iter().map(|g| g.records.len()).sum();
        if let [one] = groups.as_slice() {
            self.ledger.commit(&one.records)?;
        } else {
            let counts: Vec<usize> = groups.iter().map(|g| g.records.len()).collect();
            let mut all: Vec<Record> = groups.iter_mut().flat_map(|g| std::mem::take(&mut g.records)).collect();
            let result = self.ledger.commit(&all);
            if result.is_err() {
                // Given back for the retry, one by one.
                for (g, n) in groups.iter_mut().zip(counts).rev() {
                    g.records = all.split_off(all.len().saturating_sub(n));
                }
            }
            result?;
        }
        self.stats.commits.add(1);
        self.stats.records.add(count as u64);
        Ok(())
    }

    fn refuse(&self, groups: Vec<Group>, why: &str) {
        tracing::warn!(why, "the disk is full: records refused");
        for g in groups {
            self.stats.commit_failures.add(1);
            self.inbox.push(Input::CommitFailed(g.ticket, why.to_owned()));
        }
    }

    /// Of several notes of one key only the last is written; all who wait for that key are told.
    fn write_notes(&mut self, notes: Vec<Note>) {
        let mut last: HashMap<String, usize> = HashMap::new();
        for (n, note) in notes.iter().enumerate() {
            last.insert(note.key.clone(), n);
        }
        let mut results: HashMap<String, Result<(), String>> = HashMap::new();
        for (n, note) in notes.iter().enumerate() {
            if last.get(&note.key) != Some(&n) {
                continue;
            }
            let result = match self.ledger.put_meta(&note.key, note.value.as_deref()) {
                Ok(()) => Ok(()),
                Err(CommitError::Fatal(why)) => {
                    (self.fatal)(&why);
                    Err(why)
                }
                Err(e) => Err(e.to_string()),
            };
            results.insert(note.key.clone(), result);
        }
        for note in notes {
            if let (Some(done), Some(result)) = (note.done, results.get(&note.key)) {
                let _ = done.send(result.clone());
            }
        }
    }
}

fn take(job: Job, groups: &mut Vec<Group>, notes: &mut Vec<Note>) -> bool {
    match job {
        Job::Commit(g) => groups.push(g),
        Job::Note(n) => notes.push(n),
        Job::Stop => return true,
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Work;
    use filch_ledger::{LedgerError, LedgerReader, MemoryLedger, ReplayStats};
    use filch_types::JobId;

    /// Full for groups of more than `room` records.
    struct Small {
        inner: MemoryLedger,
        room: usize,
        fatal: bool,
    }

    impl Ledger for Small {
        fn replay(&mut self, sink: &mut dyn FnMut(Record)) -> Result<ReplayStats, LedgerError> {
            self.inner.replay(sink)
        }
        fn commit(&mut self, records: &[Record]) -> Result<(), CommitError> {
            match () {
                () if self.fatal => Err(CommitError::Fatal("fsync".into())),
                () if records.len() > self.room => Err(CommitError::Full { why: "small".into() }),
                () => self.inner.commit(records),
            }
        }
        fn put_meta(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), CommitError> {
            self.inner.put_meta(key, value)
        }
        fn reader(&self) -> Arc<dyn LedgerReader> {
            self.inner.reader()
        }
    }

    /// Runs the groups, given as record counts, as one batch; how each ended, in order.
    fn run(room: usize, fatal: bool, groups: &[usize]) -> (Vec<(u64, bool)>, bool, u64) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path(), filch_blobs::Options::default()).unwrap();
        let (inbox, stats) = (Arc::new(Inbox::default()), Arc::new(Stats::default()));
        let died = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = died.clone();
        let ledger = Small { inner: MemoryLedger::new(), room, fatal };
        let on_fatal = Box::new(move |_: &str| flag.store(true, std::sync::atomic::Ordering::SeqCst));
        let (disk, body) = Disk::new(Box::new(ledger), blobs, inbox.clone(), stats.clone(), on_fatal);
        for (n, count) in groups.iter().enumerate() {
            let records = (0..*count).map(|r| Record::Round(JobId([n as u8; 32]), r as u32)).collect();
            disk.commit(Ticket(n as u64), Vec::new(), records);
        }
        disk.stop();
        body();
        let mut out = Vec::new();
        if inbox.waiting() > 0 {
            inbox.take(&mut out, 1000, None);
        }
        let ended = out.into_iter().filter_map(|w| match w {
            Work::Input(Input::Committed(t)) => Some((t.0, true)),
            Work::Input(Input::CommitFailed(t, _)) => Some((t.0, false)),
            _ => None,
        });
        (ended.collect(), died.load(std::sync::atomic::Ordering::SeqCst), stats.commits.get())
    }

    #[test]
    fn what_waits_is_one_transaction_and_is_answered_in_order() {
        let (ended, died, commits) = run(100, false, &[1, 2, 3]);
        assert_eq!(ended, [(0, true), (1, true), (2, true)]);
        assert!(!died);
        assert_eq!(commits, 1);
    }

    #[test]
    fn a_big_group_does_not_take_small_ones_down() {
        let (ended, died, commits) = run(3, false, &[1, 9, 3]);
        assert_eq!(ended, [(0, true), (1, false), (2, true)]);
        assert!(!died);
        assert_eq!(commits, 2);
    }

    #[test]
    fn a_failed_fsync_is_never_answered() {
        let (ended, died, _) = run(3, true, &[1]);
        assert!(ended.is_empty() && died);
    }
}
