//! `filch down`.

use std::time::Duration;

use clap::Args;
use filch_client::ClientError;
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::error::Error;
use crate::render::words;

/// How long the node may take beyond the grace period.
const HAND_OVER: Duration = Duration::from_secs(60);
/// Between looks.
const LOOK: Duration = Duration::from_millis(20);

/// End the node on this machine in an orderly way
///
/// It takes no new work, gives back what has not started, lets running tasks go on for a while, and hands over its results.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch down
  filch down --grace 0s                 # running tasks are ended at once and run elsewhere")]
pub(crate) struct DownArgs {
    /// How long running tasks may go on [default: the node's setting, 10s]
    #[arg(long, value_name = "TIME", value_parser = crate::usage::time)]
    grace: Option<Duration>,
}

pub(crate) async fn run(args: DownArgs, cx: &mut Context) -> Result<u8, Error> {
    let grace_ms = args.grace.map(|g| u64::try_from(g.as_millis()).unwrap_or(u64::MAX));
    let answer = cx.client.down(grace_ms).await?;
    if answer.running > 0 {
        cx.say(format_args!("waiting for {} to end", words::count(answer.running, "task")));
    }
    let patience = args.grace.unwrap_or(Duration::from_secs(3600)).saturating_add(HAND_OVER);
    let until = Instant::now() + patience;
    while alive(answer.pid) && !replaced(cx, answer.pid).await {
        if Instant::now() > until {
            return Err(Error::failed(
                format!(
                    "the node (process {}) has not ended after {}",
                    answer.pid,
                    words::span(patience.as_secs() * 1000)
                ),
                "its log says what it waits for; `kill` ends it without losing what is accepted",
            ));
        }
        sleep(LOOK).await;
    }
    cx.out.down(&answer)?;
    Ok(0)
}

fn alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    // A process that may not be signalled is alive, too; a zombie has ended.
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)) && !zombie(pid)
}

fn zombie(pid: Option<rustix::process::Pid>) -> bool {
    let stat = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok());
    stat.is_some_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

/// Whether somebody else listens now; only asked to bound the wait where process ids mean nothing to us (containers).
async fn replaced(cx: &Context, pid: u32) -> bool {
    match cx.client.node().await {
        Err(ClientError::NoNode { .. }) => !std::path::Path::new("/proc").is_dir(),
        Ok(node) => node.pid != pid,
        Err(_) => false,
    }
}
