//! kill -9 of a real process, again and again on the same file.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use filch_ledger::conformance::{a_fact, a_manifest, replayed};
use filch_ledger::{Ledger, RedbLedger};
use filch_types::record::Record;

const DIR: &str = "FILCH_TEST_LEDGER_DIR";

fn group(n: u64) -> Vec<Record> {
    let (job, _) = a_manifest(1);
    (0..20).map(|i| a_fact(n * 100 + i, 500)).map(|(id, f)| Record::Fact(job, id, f)).collect()
}

/// Not a test of its own: the process that gets killed. Says what it has been promised.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let mut ledger = RedbLedger::open(&Path::new(&dir).join("ledger.redb")).expect("open");
    let first = replayed(&mut ledger).1.facts / 20;
    for n in first.. {
        ledger.commit(&group(n)).expect("commit");
        writeln!(std::io::stdout(), "acknowledged {n}").expect("say");
    }
}

#[test]
fn everything_acknowledged_survives() {
    let dir = tempfile::tempdir().expect("dir");
    let mut acked = None;
    for round in 0..6u64 {
        let mut child = Command::new(std::env::current_exe().expect("exe"))
            .args(["victim", "--exact", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawn");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let mut next = || lines.next().and_then(Result::ok);
        let mut seen = 0;
        while seen < 3 + 7 * round {
            let line = next().expect("the victim goes on");
            if let Some(n) = line.split("acknowledged ").nth(1) {
                acked = Some(n.parse::<u64>().expect("number"));
                seen += 1;
            }
        }
        child.kill().expect("kill");
        // What it still said before it died was promised as well.
        while let Some(line) = next() {
            acked = line.split("acknowledged ").nth(1).and_then(|n| n.parse().ok()).or(acked);
        }
        child.wait().expect("wait");
        let mut ledger = RedbLedger::open(&dir.path().join("ledger.redb")).expect("the lock went with it");
        let (_, stats) = replayed(&mut ledger);
        assert_eq!((stats.facts % 20, stats.dropped), (0, 0), "no half group");
        let groups = stats.facts / 20;
        let promised = acked.map_or(0, |n| n + 1);
        assert!(groups == promised || groups == promised + 1, "{groups} groups, {promised} promised");
    }
}
