//! Everything that once broke a rule is run again.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use filch_sim::{Schedule, corpus};

/// Largest corpus that is kept, in bytes.
const MAX_BYTES: u64 = 1 << 20;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn schedules() -> Vec<PathBuf> {
    let files = fs::read_dir(folder().join("schedules")).expect("a folder of schedules");
    let mut paths: Vec<PathBuf> = files.map(|f| f.expect("a file").path()).collect();
    paths.sort();
    paths
}

#[test]
fn kept_seeds_hold() {
    let list = corpus::parse(&fs::read_to_string(folder().join("seeds.txt")).expect("a list")).expect("well formed");
    assert!(list.len() >= 20, "{} seeds", list.len());
    for kept in list {
        common::check(kept.profile, kept.seed);
    }
}

#[test]
fn recorded_schedules_end_as_recorded() {
    let paths = schedules();
    assert!(paths.len() >= 20, "{} schedules", paths.len());
    for path in paths {
        let schedule = Schedule::parse(&fs::read_to_string(&path).expect("text")).expect("a schedule");
        let replay = schedule.replay();
        assert!(replay.as_recorded(), "{}: {replay}", path.display());
    }
}

#[test]
fn schedules_are_written_as_they_are_read() {
    for path in schedules() {
        let text = fs::read_to_string(&path).expect("text");
        let schedule = Schedule::parse(&text).expect("a schedule");
        assert!(!schedule.about.is_empty(), "{} says why it is kept", path.display());
        assert_eq!(Schedule::parse(&schedule.to_text()).expect("its own text"), schedule);
    }
    let bytes: u64 = schedules().iter().map(|p| fs::metadata(p).expect("a file").len()).sum();
    assert!(bytes <= MAX_BYTES, "{bytes} bytes of schedules");
}
