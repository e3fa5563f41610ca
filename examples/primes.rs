//! Many tasks, one number: counts the primes below a bound, a stretch of numbers per task, sums up as results come in.
//!
//! ```console
//! $ filch up --detach
//! $ cargo run -p filch-client --example primes -- 1000000
//! 78498
//! ```

// An example may print.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use filch_client::{Client, JobBuilder, Update};

/// Numbers of one task.
const STRETCH: i64 = 20_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bound: i64 = std::env::args().nth(1).map_or(Ok(1_000_000), |a| a.parse())?;
    let tasks = u32::try_from((bound + STRETCH - 1) / STRETCH)?;
    let client = Client::discover()?;

    // coreutils' `factor` prints `7: 7` for a prime and more factors for the rest. `{}` is where a stretch begins.
    let script = r#"last=$(($1 + $2 - 1)); [ "$last" -lt "$3" ] || last=$(($3 - 1))
                    seq "$1" "$last" | factor | awk 'NF == 2 { n++ } END { print n + 0 }'"#;
    let stretch = STRETCH.to_string();
    let job = JobBuilder::command(["sh", "-c", script, "primes", "{}", stretch.as_str(), bound.to_string().as_str()])
        .name("primes")
        .array(0, STRETCH, tasks)
        .submit(&client)
        .await?;

    let mut primes = 0u64;
    let mut updates = job.follow().await?;
    while let Some(update) = updates.next().await? {
        match update {
            Update::Result(result) => {
                let text = String::from_utf8(job.output(&result).await?)?;
                primes += text.trim().parse::<u64>()?;
            }
            Update::Progress { counts, .. } => eprintln!("{} of {} stretches", counts.done(), counts.total),
            Update::End { state, .. } => eprintln!("{}", state.word()),
            Update::Away { why } => eprintln!("waiting for the node: {why}"),
            Update::Back => eprintln!("the node is back"),
        }
    }
    println!("{primes}");
    job.delete().await?;
    Ok(())
}
