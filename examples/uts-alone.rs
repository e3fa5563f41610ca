//! Counts a tree of the UTS benchmark on one core, without any cluster: what two nodes are measured against.
//!
//! ```console
//! $ cargo run --release -p filch-handlers --example uts-alone -- T1
//! 4130071 3305118 10
//! T1: 0.29 s, 14.2 M nodes a second
//! ```

// An example may print.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::time::Instant;

use filch_handlers::{DivisibleKind, Progress, Uts};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let trees: Vec<String> = std::env::args().skip(1).collect();
    if trees.is_empty() {
        return Err("name trees: T1 T3 T1L T3L T1XL".into());
    }
    for tree in trees {
        let began = Instant::now();
        let mut task = Uts.start(std::slice::from_ref(&tree))?;
        while let Progress::More(_) = task.process(100_000)? {}
        let tally = task.tally();
        let seconds = began.elapsed().as_secs_f64();
        println!("{}", tally.iter().map(u64::to_string).collect::<Vec<_>>().join(" "));
        let speed = tally.first().map_or(0.0, |nodes| *nodes as f64 / seconds / 1e6);
        eprintln!("{tree}: {seconds:.2} s, {speed:.1} M nodes a second");
    }
    Ok(())
}
