//! A crash at every operation of the disk: what was acknowledged is there, and no half of a group.

mod common;

use std::io::ErrorKind;

use common::{Dice, Disk};
use filch_ledger::conformance::{a_fact, a_manifest, replayed};
use filch_ledger::{CommitError, Ledger, OpenError, RedbLedger};
use filch_types::record::Record;
use filch_types::{FactId, JobId};

/// Groups of a run; group `n` is recognised by all of its facts being there or none.
fn group(n: u64) -> Vec<Record> {
    let (job, manifest) = a_manifest(1);
    let mut records = vec![Record::Manifest(job, manifest)];
    for i in 0..1 + n % 7 {
        let (id, fact) = a_fact(n * 100 + i, 40 + (n as usize * 977) % 6000);
        records.push(Record::Fact(job, id, fact));
        records.push(Record::Outbox(job, id));
    }
    records
}

fn facts(records: &[Record]) -> Vec<FactId> {
    records.iter().filter_map(|r| if let Record::Fact(_, id, _) = r { Some(*id) } else { None }).collect()
}

fn fresh() -> Disk {
    let disk = Disk::default();
    drop(disk.open().expect("create"));
    disk
}

/// Commits groups until the disk "crashes" at operation `at`. Returns groups acknowledged before it.
fn run_until(disk: &Disk, at: u64, groups: u64) -> u64 {
    disk.crash_at(at);
    let mut ledger = disk.open().expect("open");
    let mut acked = 0;
    for n in 0..groups {
        ledger.commit(&group(n)).expect("commit");
        if disk.crashed() {
            return acked;
        }
        acked = n + 1;
    }
    drop(ledger);
    acked
}

fn check_image(image: Vec<u8>, acked: u64, groups: u64, what: &str) {
    let mut ledger = Disk::with(image).open().unwrap_or_else(|e| panic!("{what}: {e}"));
    let (records, stats) = replayed(&mut ledger);
    assert_eq!(stats.dropped, 0, "{what}");
    let there = facts(&records);
    let mut last_whole = None;
    for n in 0..groups {
        let want = facts(&group(n));
        let found = want.iter().filter(|id| there.contains(id)).count();
        assert!(found == 0 || found == want.len(), "{what}: {found} of {} facts of group {n}", want.len());
        assert!(n >= acked || found > 0, "{what}: group {n} was acknowledged and is gone");
        if found > 0 {
            assert!(n == 0 || last_whole == Some(n - 1), "{what}: group {n} without the one before");
            last_whole = Some(n);
        }
    }
    ledger.commit(&group(9999)).unwrap_or_else(|e| panic!("{what}: {e}"));
}

#[test]
fn at_every_operation_and_for_many_torn_images() {
    const GROUPS: u64 = 8;
    let base = fresh().bytes();
    let disk = Disk::with(base.clone());
    run_until(&disk, u64::MAX, GROUPS);
    let total = disk.ops();
    assert!(total > 50, "{total} operations");
    let mut dice = Dice(7);
    for at in 0..total {
        let disk = Disk::with(base.clone());
        let acked = run_until(&disk, at, GROUPS);
        check_image(disk.image(|| false), acked, GROUPS, &format!("crash at {at}, nothing survives"));
        check_image(disk.image(|| true), acked, GROUPS, &format!("crash at {at}, everything survives"));
        for round in 0..4 {
            let odds = 1 + dice.below(9);
            let image = disk.image(|| dice.below(10) < odds);
            check_image(image, acked, GROUPS, &format!("crash at {at}, image {round}"));
        }
    }
}

#[test]
fn crashes_in_a_larger_ledger_with_deletions() {
    let base = {
        let disk = fresh();
        let mut ledger = disk.open().expect("open");
        for j in 100..140 {
            let (job, manifest) = a_manifest(j);
            let mut records = vec![Record::Manifest(job, manifest)];
            records.extend((0..50).map(|i| a_fact(j * 1000 + i, 300)).map(|(id, f)| Record::Fact(job, id, f)));
            ledger.commit(&records).expect("commit");
        }
        drop(ledger);
        disk.bytes()
    };
    let forget = |j: u64| Record::Forget(a_manifest(j).0, a_fact(j, 60).1);
    let mut dice = Dice(11);
    for round in 0..60u64 {
        let disk = Disk::with(base.clone());
        let mut ledger = disk.open().expect("open");
        disk.crash_at(disk.ops() + dice.below(60));
        let mut acked = 100;
        for j in 100..120 {
            ledger.commit(&[forget(j), Record::Round(JobId([1; 32]), j as u32)]).expect("commit");
            if disk.crashed() {
                break;
            }
            acked = j + 1;
        }
        let image = disk.image(|| dice.below(2) == 0);
        let mut ledger = Disk::with(image).open().unwrap_or_else(|e| panic!("round {round}: {e}"));
        let (records, stats) = replayed(&mut ledger);
        let gone = stats.tombstones;
        assert!(gone == acked - 100 || gone == acked - 99, "round {round}: {gone} deleted, {acked} acknowledged");
        assert_eq!((stats.manifests, stats.facts), (40 - gone, 50 * (40 - gone)), "round {round}");
        let rounds: Vec<_> = records.iter().filter(|r| matches!(r, Record::Round(..))).collect();
        let want = (gone > 0).then(|| Record::Round(JobId([1; 32]), 99 + gone as u32));
        assert_eq!(rounds.first().copied(), want.as_ref(), "round {round}");
    }
}

#[test]
fn a_full_disk_refuses_the_group_keeps_nothing_of_it_and_passes() {
    let disk = fresh();
    let mut ledger = disk.open().expect("open");
    let reader = ledger.reader();
    ledger.commit(&group(0)).expect("commit");
    let mut refused = 0;
    let mut acked = vec![0];
    let mut dice = Dice(3);
    for n in 1..60 {
        let room = disk.bytes().len() as u64 + dice.below(3) * 4096;
        disk.set_capacity((n % 3 != 0).then_some(room));
        let (job, _) = a_manifest(1);
        let (id, big) = a_fact(n * 100, 100_000);
        let records = vec![Record::Fact(job, id, big), Record::Outbox(job, id)];
        match ledger.commit(&records) {
            Ok(()) => {
                acked.push(n);
                assert!(reader.fact(job, id).expect("read").is_some());
            }
            Err(CommitError::Full { .. }) => {
                refused += 1;
                assert_eq!(reader.fact(job, id).expect("read"), None, "nothing of it is kept");
            }
            Err(e) => panic!("{e}"),
        }
        let old = facts(&group(0))[0];
        assert!(reader.fact(job, old).expect("read").is_some(), "what was there stays readable");
    }
    assert!(refused > 5 && acked.len() > 15, "{refused} refused, {} acknowledged", acked.len());
    disk.set_capacity(None);
    drop((ledger, reader));
    let mut ledger = disk.open().expect("open");
    let there = facts(&replayed(&mut ledger).0);
    assert_eq!(there.len(), acked.len());
    ledger.put_meta("k", Some(b"v")).expect("meta");
}

#[test]
fn a_failed_fsync_is_final_whatever_its_reason() {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        let disk = fresh();
        let mut ledger = disk.open().expect("open");
        ledger.commit(&group(0)).expect("commit");
        disk.fail_sync(Some(kind));
        assert!(matches!(ledger.commit(&group(1)), Err(CommitError::Fatal(_))));
        disk.fail_sync(None);
        assert!(matches!(ledger.commit(&group(2)), Err(CommitError::Fatal(_))), "never retried");
        assert!(matches!(ledger.put_meta("k", None), Err(CommitError::Fatal(_))));
        check_image(disk.image(|| false), 1, 3, "after the failed fsync");
    }
}

#[test]
fn any_other_error_at_any_operation_is_final_and_loses_nothing_acknowledged() {
    let base = fresh().bytes();
    for op in 0..60 {
        let disk = Disk::with(base.clone());
        let mut ledger = disk.open().expect("open");
        ledger.commit(&group(0)).expect("commit");
        disk.fail_in(op);
        let mut acked = 1;
        let failed = (1..20).find_map(|n| match ledger.commit(&group(n)) {
            Ok(()) => {
                acked = n + 1;
                None
            }
            Err(e) => Some(e),
        });
        assert!(matches!(failed, Some(CommitError::Fatal(_))), "{failed:?}");
        assert!(matches!(ledger.commit(&group(50)), Err(CommitError::Fatal(_))));
        check_image(disk.image(|| true), acked, 20, &format!("error at {op}"));
    }
}

#[test]
fn a_directory_from_a_newer_version_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("ledger.redb");
    drop(RedbLedger::open(&path).expect("create"));
    let db = redb::Database::open(&path).expect("open");
    let txn = db.begin_write().expect("write");
    let table: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("format");
    txn.open_table(table).expect("table").insert("version", 7).expect("insert");
    txn.commit().expect("commit");
    drop(db);
    let e = RedbLedger::open(&path).expect_err("refused");
    assert!(matches!(e, OpenError::NewerVersion { found: 7, known: 1, .. }), "{e:?}");
    let text = e.to_string();
    assert!(text.contains('7') && text.contains('1') && text.contains("upgrade"), "{text}");
}
