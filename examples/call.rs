//! One call of a function of the cluster: hand it a file, ask how it stands, read what it returned.
//!
//! ```console
//! $ filch up --detach
//! $ cargo run -p filch-client --example call -- README.md
//! ```

// An example may print.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::time::Duration;

use filch_client::{Client, JobBuilder};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).ok_or("usage: call FILE")?;
    let client = Client::discover()?;

    // Define: `hash` is registered in every node; it returns the BLAKE3 hash of each of its input files.
    let no_arguments: [&str; 0] = [];
    let call = JobBuilder::handler("hash", no_arguments)
        .input(&file, "file")
        .retries(2)
        .timeout(Duration::from_secs(60))
        .submit(&client)
        .await?;

    // State: right after the submit, at any time later, from any process that knows the id.
    let (state, counts) = call.state().await?;
    eprintln!("job {} is {}: {counts:?}", call.id().short(), state.word());
    let holders = call.accepted().await?;
    eprintln!("held by {}", holders.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", "));

    // Result: what the function returned; an error that says why if it failed.
    let hash = String::from_utf8(call.result().await?)?;
    println!("{}", hash.trim_end());
    call.delete().await?;
    Ok(())
}
