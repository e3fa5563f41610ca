//! How fast the ledger commits and replays: `cargo bench -p filch-ledger`. Prints beside the machine's own fsync.
#![allow(clippy::print_stdout)]

use std::io::Write;
use std::time::{Duration, Instant};

use filch_ledger::conformance::{a_fact, a_manifest};
use filch_ledger::{Ledger, RedbLedger};
use filch_types::record::Record;

fn per_second(n: u64, took: Duration) -> f64 {
    n as f64 / took.as_secs_f64()
}

fn fsyncs(dir: &std::path::Path) {
    let mut file = std::fs::File::create(dir.join("probe")).expect("probe");
    let start = Instant::now();
    for _ in 0..200 {
        file.write_all(&[7; 4096]).expect("write");
        file.sync_data().expect("fsync");
    }
    println!("the disk alone: 4 KiB write and fsync        {:>10.0} per second", per_second(200, start.elapsed()));
}

fn commits(dir: &std::path::Path, each: u64, groups: u64) {
    let path = dir.join(format!("commits-{each}"));
    let mut ledger = RedbLedger::open(&path).expect("open");
    let job = a_manifest(1).0;
    let groups: Vec<Vec<Record>> = (0..groups)
        .map(|g| (0..each).map(|n| a_fact(g * each + n, 120)).map(|(id, f)| Record::Fact(job, id, f)).collect())
        .collect();
    let mut slowest = Duration::ZERO;
    let start = Instant::now();
    for group in &groups {
        let one = Instant::now();
        ledger.commit(group).expect("commit");
        slowest = slowest.max(one.elapsed());
    }
    let took = start.elapsed();
    let n = groups.len() as u64;
    println!(
        "groups of {each:>4} facts: {:>8.0} groups/s {:>10.0} facts/s, slowest {:>6.1} ms",
        per_second(n, took),
        per_second(n * each, took),
        slowest.as_secs_f64() * 1e3
    );
}

fn replay(dir: &std::path::Path, facts: u64) {
    let path = dir.join("replay.redb");
    let mut ledger = RedbLedger::open(&path).expect("open");
    for job in 0..100 {
        let (job_id, manifest) = a_manifest(job);
        let mut records = vec![Record::Manifest(job_id, manifest)];
        for n in 0..facts / 100 {
            let (id, fact) = a_fact(job * 1_000_000 + n, 120);
            records.push(Record::Fact(job_id, id, fact));
        }
        records.chunks(5000).for_each(|group| ledger.commit(group).expect("commit"));
    }
    drop(ledger);
    let bytes = std::fs::metadata(&path).expect("meta").len();
    let start = Instant::now();
    let mut ledger = RedbLedger::open(&path).expect("open");
    let opened = start.elapsed();
    let start = Instant::now();
    let mut seen = 0u64;
    let stats = ledger.replay(&mut |_| seen += 1).expect("replay");
    let took = start.elapsed();
    println!(
        "replay of {} facts in {} jobs ({} MiB): open {:.2} s, replay {:.2} s, {:.0} facts/s",
        stats.facts,
        stats.manifests,
        bytes >> 20,
        opened.as_secs_f64(),
        took.as_secs_f64(),
        per_second(seen, took)
    );
    // Random facts join a ledger of this size.
    let job = a_manifest(1).0;
    let start = Instant::now();
    for group in 0..50u64 {
        let records: Vec<_> = (0..1000)
            .map(|n| a_fact((1 << 40) + group * 1000 + n, 120))
            .map(|(id, f)| Record::Fact(job, id, f))
            .collect();
        ledger.commit(&records).expect("commit");
    }
    println!("then groups of 1000 more facts: {:>6.0} groups/s", per_second(50, start.elapsed()));
    let reader = ledger.reader();
    let start = Instant::now();
    for n in 0..10_000u64 {
        assert!(reader.fact(job, a_fact(1_000_000 + n * 7 % 9_000, 120).0).expect("read").is_some());
    }
    println!("single facts read back: {:>10.0} per second", per_second(10_000, start.elapsed()));
}

fn main() {
    let here = std::env::var_os("FILCH_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(here).expect("dir");
    fsyncs(dir.path());
    commits(dir.path(), 1, 500);
    commits(dir.path(), 100, 200);
    commits(dir.path(), 1000, 100);
    replay(dir.path(), 1_000_000);
}
