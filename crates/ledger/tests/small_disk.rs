//! A disk of a few megabytes that really fills up. Needs a mount namespace of its own; says so where it cannot have one.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use filch_ledger::conformance::{a_fact, a_manifest, replayed};
use filch_ledger::{CommitError, Ledger, RedbLedger};
use filch_types::record::Record;

const DIR: &str = "FILCH_TEST_SMALL_DISK";

#[test]
fn a_ledger_on_a_full_disk_refuses_and_recovers() {
    let dir = tempfile::tempdir().expect("dir");
    let script = r#"mount -t tmpfs -o size=6m none "$1" || exit 77; shift; exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]).arg(dir.path());
    command.arg(std::env::current_exe().expect("exe")).args(["inside", "--exact", "--nocapture"]).env(DIR, dir.path());
    match command.output() {
        Ok(out) if out.status.success() => {}
        Ok(out) if out.status.code() == Some(101) => panic!("{}", String::from_utf8_lossy(&out.stderr)),
        other => writeln!(std::io::stderr(), "SKIP: no mount namespace here: {other:?}").expect("say"),
    }
}

/// Not a test of its own: what runs where the disk is small.
#[test]
fn inside() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let path = dir.join("ledger.redb");
    let mut ledger = RedbLedger::open(&path).expect("open");
    let reader = ledger.reader();
    let (job, manifest) = a_manifest(1);
    ledger.commit(&[Record::Manifest(job, manifest)]).expect("commit");
    let ballast = dir.join("ballast");
    let (mut acked, mut refused) = (Vec::new(), 0);
    for n in 0..120u64 {
        match n % 20 {
            // Eat up the disk behind the ledger's back, down to less than its own margin; later give it back.
            5 => {
                let mut file = std::fs::File::create(&ballast).expect("ballast");
                while file.write_all(&[1; 4096]).is_ok() {}
            }
            12 => std::fs::remove_file(&ballast).expect("remove"),
            _ => {}
        }
        let (id, fact) = a_fact(n, 30_000);
        match ledger.commit(&[Record::Fact(job, id, fact), Record::Outbox(job, id)]) {
            Ok(()) => acked.push(id),
            Err(CommitError::Full { .. }) => {
                refused += 1;
                assert_eq!(reader.fact(job, id).expect("read"), None);
            }
            Err(e) => panic!("{e}"),
        }
        // To delete is tried on a full disk too.
        if n % 20 == 10 || n % 20 == 18 {
            match ledger.commit(&[Record::Drop(job)]) {
                Ok(()) => acked.clear(),
                Err(CommitError::Full { .. }) if n % 20 == 10 => {}
                Err(e) => panic!("{e}"),
            }
        }
        for id in &acked {
            assert!(reader.fact(job, *id).expect("read").is_some());
        }
    }
    assert!(refused >= 20, "{refused} refused");
    drop((ledger, reader));
    let mut ledger = RedbLedger::open(&path).expect("open");
    let stats = replayed(&mut ledger).1;
    assert_eq!((stats.facts, stats.outbox, stats.dropped), (acked.len() as u64, acked.len() as u64, 0));
}
