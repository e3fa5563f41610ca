//! Both ledgers pass the suite.

use filch_ledger::{MemoryLedger, OpenError, RedbLedger, conformance};

#[test]
fn memory() {
    conformance::run(MemoryLedger::new, |l| l);
}

#[test]
fn redb() {
    let dirs = std::cell::RefCell::new(Vec::new());
    let fresh = || {
        let dir = tempfile::tempdir().expect("dir");
        let ledger = RedbLedger::open(&dir.path().join("ledger.redb")).expect("open");
        dirs.borrow_mut().push(dir);
        ledger
    };
    let reopen = |ledger| {
        drop(ledger);
        let dirs = dirs.borrow();
        RedbLedger::open(&dirs.last().expect("dir").path().join("ledger.redb")).expect("reopen")
    };
    conformance::run(fresh, reopen);
}

#[test]
fn a_second_open_is_refused_until_the_first_ends() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("ledger.redb");
    let first = RedbLedger::open(&path).expect("open");
    let second = RedbLedger::open(&path);
    assert!(matches!(&second, Err(OpenError::Locked { path: p }) if *p == path), "{second:?}");
    drop(first);
    RedbLedger::open(&path).expect("open again");
}
