//! G11: a worker dies or falls silent: how long until its tasks run elsewhere.
//!
//! The tasks themselves write down when and where they start, so that nothing is estimated.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use filch_client::JobBuilder;
use rustix::process::Signal;

use crate::Plan;
use crate::figures::{Samples, heading, line};
use crate::rig::Rig;

const TASKS: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(40);
/// The owner runs nothing; one node is lost; the other has room for all.
const SLOTS: [u16; 3] = [0, 4, 16];

pub(crate) async fn run(plan: &Plan) -> anyhow::Result<()> {
    heading("G11", "lost tasks run elsewhere", "<= 1 s after kill -9, <= 6 s after silence");
    for (what, signal) in [("kill -9", Signal::KILL), ("SIGSTOP", Signal::STOP)] {
        let (mut first, mut all, mut lost) = (Samples::default(), Samples::default(), 0);
        for _ in 0..plan.rounds().min(3) {
            let again = lose(plan, signal).await?;
            lost += again.len();
            first.add(again.iter().copied().fold(f64::INFINITY, f64::min));
            all.add(again.iter().copied().fold(0.0, f64::max));
        }
        line(
            &format!("{what}: until all tasks of the node run elsewhere"),
            format!(
                "{:.2} s (the first after {:.2} s; worst {:.2} s; {lost} tasks)",
                all.median(),
                first.min(),
                all.max()
            ),
        );
    }
    Ok(())
}

/// Starts of the tasks: (task, node) to the wall clock in seconds.
fn starts(log: &Path) -> BTreeMap<(u32, String), f64> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let parse = |l: &str| {
        let mut w = l.split_whitespace();
        let (task, node, at) = (w.next()?.parse().ok()?, w.next()?.to_owned(), w.next()?.parse::<f64>().ok()?);
        Some(((task, node), at / 1e9))
    };
    text.lines().filter_map(parse).collect()
}

/// Seconds from the loss of a node until each of its tasks started elsewhere.
async fn lose(plan: &Plan, signal: Signal) -> anyhow::Result<Vec<f64>> {
    let rig = Rig::start(plan, &SLOTS).await?;
    let log = rig.path("starts");
    let script = format!("echo \"$FILCH_TASK $FILCH_NODE $(date +%s%N)\" >> '{}'; sleep 30", log.display());
    let job = JobBuilder::command(["sh", "-c", &script]).array(0, 1, TASKS).submit(rig.client()?).await?;
    job.accepted().await?;
    let waiting = Instant::now();
    while starts(&log).len() < TASKS as usize {
        if waiting.elapsed() > PATIENCE {
            bail!("only {} of {TASKS} tasks have started", starts(&log).len());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // One heartbeat, so that the steward has heard who runs what.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let Some(victim) = rig.nodes.get(1) else { bail!("no victim") };
    let had: Vec<u32> = starts(&log).into_keys().filter(|(_, n)| *n == victim.name).map(|(t, _)| t).collect();
    if had.is_empty() {
        bail!("the node that is to be lost has no task");
    }
    let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    victim.signal(signal)?;
    let waiting = Instant::now();
    loop {
        let again: Vec<f64> = starts(&log)
            .into_iter()
            .filter(|((t, n), _)| had.contains(t) && *n != victim.name)
            .map(|(_, when)| when - at)
            .collect();
        if again.len() == had.len() {
            job.cancel().await?;
            return Ok(again);
        }
        if waiting.elapsed() > PATIENCE {
            bail!("{} of {} lost tasks run elsewhere after {PATIENCE:?}", again.len(), had.len());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
