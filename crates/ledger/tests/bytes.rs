//! Files that are no ledger, or were one: an answer, never a panic.

mod common;

use std::sync::OnceLock;

use common::Disk;
use filch_ledger::conformance::{a_fact, a_manifest, replayed};
use filch_ledger::{Ledger, OpenError, RedbLedger};
use filch_types::JobId;
use filch_types::record::Record;
use proptest::prelude::*;
use redb::ReadableTable;

/// A ledger of a few hundred rows, closed in an orderly way.
fn sample() -> &'static Vec<u8> {
    static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let disk = Disk::default();
        let mut ledger = disk.open().expect("create");
        for j in 0..10 {
            let (job, manifest) = a_manifest(j);
            let mut records = vec![Record::Manifest(job, manifest), Record::Held(job), Record::Round(job, 1)];
            for i in 0..30 {
                let (id, fact) = a_fact(j * 100 + i, 200);
                records.push(Record::Fact(job, id, fact));
                records.push(Record::Outbox(job, id));
            }
            ledger.commit(&records).expect("commit");
        }
        ledger.put_meta("note", Some(b"text")).expect("meta");
        drop(ledger);
        disk.bytes()
    })
}

/// Opens and reads everything; what is handed out must be true.
fn exercise(bytes: Vec<u8>) -> Result<(), OpenError> {
    let mut ledger = Disk::with(bytes).open()?;
    if let Ok(stats) = ledger.replay(&mut |record| match record {
        Record::Manifest(job, m) => assert_eq!(m.job(), job),
        Record::Fact(_, id, f) => assert_eq!(f.id(), id),
        _ => {}
    }) {
        assert!(stats.facts <= 300);
    }
    let reader = ledger.reader();
    for j in 0..10 {
        let (job, manifest) = a_manifest(j);
        if let Ok(Some(found)) = reader.manifest(job) {
            assert_eq!(found, manifest);
        }
        let (id, fact) = a_fact(j * 100, 200);
        if let Ok(Some(found)) = reader.fact(job, id) {
            assert_eq!(found, fact);
        }
    }
    if let Ok(metas) = reader.metas("") {
        assert!(metas.is_empty() || metas == vec![("note".to_owned(), b"text".to_vec())]);
    }
    // Whether it still takes records or not: an answer.
    let _ = ledger.commit(&[Record::Round(JobId([1; 32]), 1)]);
    Ok(())
}

/// Damage that is expected to make redb panic inside is not worth a backtrace in the log.
fn quiet<T>(run: impl FnOnce() -> T) -> T {
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let inside = info.location().is_some_and(|l| l.file().contains("redb-"));
            if !inside {
                usual(info);
            }
        }));
    });
    run()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_no_ledger(bytes in prop::collection::vec(any::<u8>(), 1..20_000)) {
        let opened = quiet(|| exercise(bytes));
        prop_assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "{:?}", opened);
    }

    #[test]
    fn arbitrary_bytes_behind_a_true_header_never_panic(
        keep in 1..5000usize, bytes in prop::collection::vec(any::<u8>(), 1..20_000)
    ) {
        let mut file = sample()[..keep].to_vec();
        file.extend(bytes);
        let _ = quiet(|| exercise(file));
    }

    #[test]
    fn a_ledger_with_flipped_bytes_hands_out_only_what_is_true(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..20)
    ) {
        let mut file = sample().clone();
        for (at, mask) in flips {
            let at = at.index(file.len());
            file[at] ^= mask;
        }
        let _ = quiet(|| exercise(file));
    }

    #[test]
    fn a_ledger_that_is_cut_off_is_refused_or_true(at in any::<prop::sample::Index>()) {
        let mut file = sample().clone();
        file.truncate(1 + at.index(file.len() - 1));
        let _ = quiet(|| exercise(file));
    }
}

#[test]
fn a_database_of_something_else_is_not_overwritten() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("other.redb");
    let db = redb::Database::create(&path).expect("create");
    let txn = db.begin_write().expect("write");
    let table: redb::TableDefinition<&str, &str> = redb::TableDefinition::new("recipes");
    txn.open_table(table).expect("table").insert("soup", "water").expect("insert");
    txn.commit().expect("commit");
    drop(db);
    let e = RedbLedger::open(&path).expect_err("refused");
    assert!(e.to_string().contains("recipes"), "{e}");
}

#[test]
fn rows_changed_behind_its_back_are_dropped_and_counted() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("ledger.redb");
    let (job, manifest) = a_manifest(1);
    let facts: Vec<_> = (0..4).map(|n| a_fact(n, 100)).collect();
    let mut ledger = RedbLedger::open(&path).expect("create");
    let mut records = vec![Record::Manifest(job, manifest), Record::Held(job), Record::Round(job, 3)];
    records.extend(facts.iter().map(|(id, f)| Record::Fact(job, *id, f.clone())));
    ledger.commit(&records).expect("commit");
    drop(ledger);
    // A flipped bit in the signature, in the bytes, and a row under another key.
    let db = redb::Database::open(&path).expect("open");
    let txn = db.begin_write().expect("write");
    {
        let def: redb::TableDefinition<&[u8; 40], &[u8]> = redb::TableDefinition::new("facts");
        let mut table = txn.open_table(def).expect("table");
        let key = |job: JobId, n: u64| <[u8; 40]>::try_from([&job.0[..], &n.to_be_bytes()].concat()).expect("key");
        for (n, at) in [(0, 20), (1, 90)] {
            let mut row = table.get(&key(job, n)).expect("get").expect("row").value().to_vec();
            row[at] ^= 1;
            table.insert(&key(job, n), row.as_slice()).expect("insert");
        }
        let row = table.get(&key(job, 2)).expect("get").expect("row").value().to_vec();
        table.insert(&key(JobId([5; 32]), 9), row.as_slice()).expect("insert");
    }
    txn.commit().expect("commit");
    drop(db);
    let mut ledger = RedbLedger::open(&path).expect("open");
    let reader = ledger.reader();
    assert_eq!(reader.fact(job, facts[0].0).expect("read"), None);
    assert_eq!(reader.fact(job, facts[1].0).expect("read"), None);
    assert_eq!(reader.fact(job, facts[3].0).expect("read").as_ref(), Some(&facts[3].1));
    let (_, stats) = replayed(&mut ledger);
    assert_eq!((stats.facts, stats.dropped), (2, 3));
    // Fetched again from a peer.
    ledger.commit(&[Record::Fact(job, facts[0].0, facts[0].1.clone())]).expect("commit");
    let (_, stats) = replayed(&mut ledger);
    assert_eq!((stats.facts, stats.dropped), (3, 0));
    assert_eq!(reader.fact(job, facts[0].0).expect("read").as_ref(), Some(&facts[0].1));
}
