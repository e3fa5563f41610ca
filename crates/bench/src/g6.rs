//! G6: one tree of UTS, split while it is counted, on two nodes of one core each, against the handler alone on one core.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use filch_client::JobBuilder;
use filch_handlers::{Kinds, Progress};

use crate::Plan;
use crate::cpus;
use crate::figures::{Samples, heading, line, note};
use crate::rig::Rig;

/// Trees and what they count to (nodes, leaves, depth), as published.
const SMALL: (&str, [u64; 3]) = ("T1", [4_130_071, 3_305_118, 10]);
const T1L: (&str, [u64; 3]) = ("T1L", [102_181_082, 81_746_377, 13]);
const T1XL: (&str, [u64; 3]) = ("T1XL", [1_635_119_272, 1_308_100_063, 15]);

pub(crate) async fn run(plan: &Plan) -> anyhow::Result<()> {
    heading(
        "G6",
        "UTS on two one-core nodes: share of twice the rate of one core alone",
        "T1L >= 97 %, T1XL >= 98.5 % (--xl)",
    );
    let all = cpus::all()?;
    let [first, second, ..] = all[..] else {
        note("  this machine lets the program use one CPU only: two nodes have no core each");
        return Ok(());
    };
    let mut rig = Rig::empty(plan)?;
    rig.add_on(1, Some(first)).await?;
    rig.add_on(1, Some(second)).await?;
    rig.meet().await?;
    tree(plan, &rig, if plan.quick { SMALL } else { T1L }, plan.rounds(), [first, second]).await?;
    if plan.xl && !plan.quick {
        tree(plan, &rig, T1XL, plan.rounds().min(3), [first, second]).await?;
    }
    Ok(())
}

async fn tree(
    plan: &Plan,
    rig: &Rig,
    (name, counts): (&'static str, [u64; 3]),
    rounds: usize,
    cpus: [usize; 2],
) -> anyhow::Result<()> {
    let (mut alone, mut both, mut cluster, mut parts) =
        (Samples::default(), Samples::default(), Samples::default(), Samples::default());
    for _ in 0..rounds {
        alone.add_seconds(count(name, counts, &cpus[..1])?);
        if name != T1XL.0 {
            // What the machine gives two cores that are busy at once: no cluster can do better than this.
            both.add_seconds(count(name, counts, &cpus)?);
        }
        let before = launched(rig).await?;
        let started = Instant::now();
        let job = JobBuilder::divisible("uts", [name]).submit(rig.client()?).await?;
        let tally = job.tally().await?;
        cluster.add_seconds(started.elapsed());
        if tally != counts {
            bail!("{name} is {counts:?}, and the cluster counted {tally:?}");
        }
        parts.add((launched(rig).await? - before) as f64);
        job.delete().await?;
    }
    let rate = |s: &Samples| format!("{:.2} M nodes/s", counts[0] as f64 / s.median() / 1e6);
    let share = |s: &Samples| format!("{:.1} %", 100.0 * s.median() / (2.0 * cluster.median()));
    line(&format!("{name}: one core alone"), rate(&alone));
    if both.len() > 0 {
        line(&format!("{name}: each of two cores, both busy"), rate(&both));
    }
    line(&format!("{name}: two nodes, submit to tally"), format!("{} in {:.0} parts", rate(&cluster), parts.median()));
    line(&format!("{name}: share of twice one core alone"), share(&alone));
    if both.len() > 0 {
        line(&format!("{name}: share of both cores busy"), share(&both));
    }
    if plan.quick {
        note("  (a tree that small is over before work has spread)");
    }
    Ok(())
}

/// Counts the whole tree on each of these CPUs at once, without any cluster; how long the slowest took.
fn count(name: &'static str, counts: [u64; 3], on: &[usize]) -> anyhow::Result<Duration> {
    let threads: Vec<_> = on.iter().map(|cpu| (*cpu, std::thread::Builder::new())).collect();
    let mut slowest = Duration::ZERO;
    let running: Vec<_> = threads
        .into_iter()
        .map(|(cpu, builder)| builder.name(format!("uts-{cpu}")).spawn(move || alone(name, counts, cpu)))
        .collect::<Result<_, _>>()?;
    for thread in running {
        let took = thread.join().map_err(|_| anyhow::anyhow!("a thread that counted panicked"))??;
        slowest = slowest.max(took);
    }
    Ok(slowest)
}

fn alone(name: &str, counts: [u64; 3], cpu: usize) -> anyhow::Result<Duration> {
    cpus::stay_on(cpu)?;
    let kinds = Kinds::builtin();
    let started = Instant::now();
    let mut task = kinds.get("uts").context("no uts")?.start(&[name.to_owned()]).map_err(anyhow::Error::msg)?;
    while let Progress::More(_) = task.process(100_000).map_err(anyhow::Error::msg)? {}
    if task.tally() != counts {
        bail!("{name} is {counts:?}, and one core counted {:?}", task.tally());
    }
    Ok(started.elapsed())
}

async fn launched(rig: &Rig) -> anyhow::Result<u64> {
    let mut all = 0;
    for node in &rig.nodes {
        all += node.client.node().await?.counters.launched;
    }
    Ok(all)
}
