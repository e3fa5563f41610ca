//! Rows that rot on the disk of a ledger that is open.

mod common;

use std::sync::{Arc, Mutex};

use common::{Dice, Disk};
use filch_ledger::conformance::{a_fact, a_manifest, replayed};
use filch_ledger::{Ledger, OpenError, RedbLedger, SALVAGED};
use filch_types::record::Record;
use filch_types::{FactId, JobId, SignedFact};

/// More than the ledger keeps in memory, so that it reads what is on the disk.
const FACTS: u64 = 120;
const BYTES: usize = 100_000;

struct Kept {
    disk: Disk,
    ledger: RedbLedger,
    job: JobId,
    facts: Vec<(FactId, SignedFact)>,
    told: Arc<Mutex<Vec<JobId>>>,
}

fn filled() -> Kept {
    let disk = Disk::default();
    let mut ledger = disk.open().expect("create");
    let (job, manifest) = a_manifest(1);
    ledger.commit(&[Record::Manifest(job, manifest)]).expect("commit");
    let facts: Vec<_> = (0..FACTS).map(|n| a_fact(n, BYTES)).collect();
    for some in facts.chunks(50) {
        let records: Vec<_> = some.iter().map(|(id, fact)| Record::Fact(job, *id, fact.clone())).collect();
        ledger.commit(&records).expect("commit");
    }
    let told: Arc<Mutex<Vec<JobId>>> = Arc::default();
    let list = told.clone();
    ledger.on_damage(Box::new(move |job| list.lock().expect("list").push(job)));
    Kept { disk, ledger, job, facts, told }
}

impl Kept {
    fn read_all(&self) -> Vec<FactId> {
        let mut found = Vec::new();
        self.ledger.reader().facts(self.job, &mut |id, _| found.push(id)).expect("read");
        found
    }
    fn rot(&self, n: usize) {
        let bytes = &self.facts[n].1.bytes;
        assert!(self.disk.rot(&bytes[bytes.len() - 64..]) > 0, "it is on the disk");
        // What was read last is in memory.
        self.facts.iter().skip(n + 1).for_each(|(id, _)| drop(self.ledger.reader().fact(self.job, *id)));
    }
    fn told(&self) -> Vec<JobId> {
        std::mem::take(&mut *self.told.lock().expect("list"))
    }
}

#[test]
fn a_fact_that_rots_is_told_once_and_its_place_is_taken_by_a_good_one() {
    let mut k = filled();
    let (id, fact) = k.facts[3].clone();
    k.rot(3);
    assert!(k.told().is_empty(), "nobody has read it");
    assert_eq!(k.ledger.reader().fact(k.job, id).expect("read"), None);
    assert_eq!(k.told(), [k.job]);
    assert_eq!(k.ledger.reader().fact(k.job, id).expect("read"), None);
    assert_eq!(k.read_all().len(), FACTS as usize - 1);
    assert!(k.told().is_empty(), "said already");
    k.ledger.commit(&[Record::Fact(k.job, id, fact.clone())]).expect("commit");
    assert_eq!(k.ledger.reader().fact(k.job, id).expect("read"), Some(fact));
    assert_eq!(k.read_all().len(), FACTS as usize);
    assert!(k.told().is_empty());
}

#[test]
fn a_pass_over_all_facts_of_a_job_finds_what_rotted() {
    let mut k = filled();
    let (id, fact) = k.facts[5].clone();
    k.rot(5);
    assert!(!k.read_all().contains(&id));
    assert_eq!(k.told(), [k.job]);
    // Dropped by the core, and found again at another node later.
    k.ledger.commit(&[Record::Lost(k.job, id)]).expect("commit");
    assert_eq!(k.ledger.reader().fact(k.job, id).expect("read"), None);
    k.told();
    k.ledger.commit(&[Record::Fact(k.job, id, fact.clone())]).expect("commit");
    assert_eq!(k.ledger.reader().fact(k.job, id).expect("read"), Some(fact));
    assert_eq!(k.read_all().len(), FACTS as usize);
    assert!(k.told().is_empty());
}

/// Bytes of a ledger with a manifest, 30 small facts, a round and a note.
fn small(clean: bool) -> (Vec<u8>, JobId, Vec<(FactId, SignedFact)>) {
    let disk = Disk::default();
    let mut ledger = disk.open().expect("create");
    let (job, manifest) = a_manifest(1);
    let facts: Vec<_> = (0..30).map(|n| a_fact(n, 3000)).collect();
    let mut records = vec![Record::Manifest(job, manifest), Record::Held(job), Record::Round(job, 4)];
    records.extend(facts.iter().map(|(id, f)| Record::Fact(job, *id, f.clone())));
    ledger.commit(&records).expect("commit");
    ledger.put_meta("note", Some(b"text")).expect("meta");
    let killed = disk.bytes();
    drop(ledger);
    (if clean { disk.bytes() } else { killed }, job, facts)
}

#[test]
fn a_ledger_with_a_rotten_fact_opens_without_it() {
    for clean in [true, false] {
        let (bytes, job, facts) = small(clean);
        let disk = Disk::with(bytes);
        assert!(disk.rot(&facts[7].1.bytes[..64]) > 0);
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("ledger.redb");
        std::fs::write(&path, disk.bytes()).expect("write");
        for _ in 0..2 {
            let mut ledger = RedbLedger::open(&path).expect("open");
            let (records, stats) = replayed(&mut ledger);
            assert_eq!((stats.manifests, stats.facts, stats.held, stats.rounds), (1, 29, 1, 1), "clean: {clean}");
            assert!(records.contains(&Record::Round(job, 4)));
            let reader = ledger.reader();
            assert_eq!(reader.fact(job, facts[7].0).expect("read"), None);
            assert_eq!(reader.fact(job, facts[8].0).expect("read").as_ref(), Some(&facts[8].1));
            assert_eq!(reader.meta("note").expect("read").as_deref(), Some(&b"text"[..]));
            assert!(reader.meta(SALVAGED).expect("read").is_some(), "until somebody has acted on it");
        }
        assert!(path.with_extension("damaged").exists());
        let mut ledger = RedbLedger::open(&path).expect("open");
        ledger.commit(&[Record::Fact(job, facts[7].0, facts[7].1.clone())]).expect("commit");
        assert_eq!(replayed(&mut ledger).1.facts, 30);
    }
}

#[test]
fn whatever_rots_a_ledger_opens_with_true_rows_or_says_why_not() {
    let (bytes, _, facts) = small(true);
    let mut dice = Dice(1);
    let mut saved = 0;
    for _ in 0..30 {
        let mut bytes = bytes.clone();
        for _ in 0..=dice.below(6) {
            let at = dice.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << dice.below(8);
        }
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("ledger.redb");
        std::fs::write(&path, &bytes).expect("write");
        match RedbLedger::open(&path) {
            Ok(mut ledger) => {
                let mut found = 0;
                let replay = ledger.replay(&mut |r| {
                    if let Record::Fact(_, id, f) = r {
                        assert!(facts.contains(&(id, f)));
                        found += 1;
                    }
                });
                replay.expect("what was opened can be read");
                saved += u32::from(found > 0);
            }
            Err(OpenError::Corrupt { .. }) => assert_eq!(std::fs::read(&path).expect("read"), bytes, "left alone"),
            Err(e) => panic!("{e}"),
        }
    }
    assert!(saved > 20, "{saved} of 30");
}
