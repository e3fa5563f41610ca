//! Your own functions on a simulated cluster: counts the words of real files on eight nodes, kills two of them on the way,
//! and compares the sum with a plain loop.
//!
//! ```console
//! $ cargo run -p filch-sim --example sim-cluster -- README.md ARCHITECTURE.md
//! ```

// An example may print.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;

use filch_sim::{Cluster, Done, Fault, Job, JobState, millis, secs};

fn words(text: &[u8]) -> usize {
    text.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).count()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut lines = Vec::new();
    for name in std::env::args().skip(1) {
        let text = std::fs::read(&name).map_err(|e| format!("{name}: {e}"))?;
        lines.extend(text.split(|b| *b == b'\n').map(<[u8]>::to_vec));
    }
    if lines.is_empty() {
        return Err("name some text files".into());
    }
    let plain: usize = lines.iter().map(|l| words(l)).sum();

    let mut cluster = Cluster::builder()
        .nodes(8)
        .slots(2)
        .seed(1)
        .handler("words", |task| {
            // Long lines take longer, in virtual time.
            let time = millis(100 + 10 * task.input().len() as u64);
            Ok(Done::new(words(task.input()).to_string()).takes(time))
        })
        .build()?;
    let job = cluster.submit(Job::map("words", lines).on(3))?;
    cluster.at(secs(2), Fault::crash(5, secs(10)))?;
    cluster.at(secs(3), Fault::kill(3))?;

    while cluster.state(job).is_none_or(|s| s == JobState::Active) {
        cluster.advance(secs(1))?;
        let c = cluster.counts(job);
        println!("{:>4?}: {} of {} done, {} leased", cluster.now(), c.succeeded, c.total, c.leased);
    }
    cluster.run_until_done(job)?;
    let mut sum = 0;
    for count in cluster.results(job)? {
        sum += String::from_utf8(count)?.parse::<usize>()?;
    }
    let (tasks, runs) = (cluster.counts(job).total, cluster.executions(job));
    let report = cluster.finish()?;
    println!("{sum} words, {plain} by a plain loop; {runs} executions of {tasks} tasks, {} stolen", report.stolen);
    if sum == plain { Ok(()) } else { Err("they differ".into()) }
}
