//! Everything that is kept of fuzzing goes through its target again. On stable, without a fuzzer.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};

use filch_fuzz::{TARGETS, run_one};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn files(name: &str) -> Vec<PathBuf> {
    let folder = corpus().join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn whatever_was_found_once_is_right_now() {
    for (name, _) in TARGETS {
        let files = files(name);
        assert!(!files.is_empty(), "nothing is kept for {name}");
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            if std::panic::catch_unwind(|| run_one(name, &bytes)).is_err() {
                panic!("{} fails", file.display());
            }
        }
    }
}

#[test]
fn every_target_has_a_fuzzer_and_no_corpus_is_an_orphan() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer/fuzz_targets");
    for (name, _) in TARGETS {
        assert!(targets.join(format!("{name}.rs")).exists(), "no fuzz target {name}");
    }
    for entry in std::fs::read_dir(corpus()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|(n, _)| *n == name), "corpus of no target: {name}");
    }
}

#[test]
fn the_corpora_stay_small() {
    let bytes: u64 = TARGETS.iter().flat_map(|(n, _)| files(n)).map(|f| f.metadata().unwrap().len()).sum();
    assert!(bytes < 1 << 20, "{bytes} bytes");
}

#[test]
fn nothing_at_all_and_zeroes_are_no_trouble() {
    for (name, target) in TARGETS {
        for len in [0, 1, 2, 3, 64, 1000] {
            let zeroes = vec![0; len];
            assert!(std::panic::catch_unwind(|| target(&zeroes)).is_ok(), "{name} with {len} zeroes");
        }
    }
}
