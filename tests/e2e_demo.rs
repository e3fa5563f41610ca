//! The demo is the product: it must end well on any machine, and leave nothing.
#![allow(missing_docs)]

mod harness;

use std::time::Duration;

use harness::{Cmd, FILCH, check, procs, tree, until, write_files};

#[test]
fn the_demo_ends_well_and_leaves_nothing_but_its_results() {
    let home = tempfile::Builder::new().prefix("filch-t").tempdir().unwrap();
    let (files, temp, results) = (home.path().join("files"), home.path().join("tmp"), home.path().join("results"));
    std::fs::create_dir(&temp).unwrap();
    write_files(&files, (0..40).map(|n| (format!("d{}/f{n:02}.txt", n % 3), 2_000 * n)));
    let before = tree(&files);
    let done = Cmd::new(FILCH)
        .arg("demo")
        .arg(&files)
        .arg("--results")
        .arg(&results)
        .env("HOME", home.path())
        .env("TMPDIR", &temp)
        .dir(home.path())
        .limit(Duration::from_secs(75))
        .run()
        .ok();
    assert_eq!(tree(&files), before, "the files are only read");
    assert!(tree(&results).len() >= 40, "a result for each: {done:?}");
    let left = tree(&temp);
    assert!(left.is_empty(), "left behind: {:?}", left.keys());
    until("no process is left", Duration::from_secs(20), || {
        let left = procs::of(home.path());
        check(left.is_empty(), left)
    });
}
