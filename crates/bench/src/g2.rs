//! G2: no-op handler tasks from one submitter through two node processes, results durable on both and returned.

use std::time::Instant;

use filch_client::JobBuilder;

use crate::Plan;
use crate::figures::{Samples, heading, line};
use crate::rig::{Rig, finish};

pub(crate) async fn run(plan: &Plan) -> anyhow::Result<()> {
    heading("G2", "no-op handlers through two node processes, durable and returned", ">= 100,000/s; floor 30,000/s");
    let n = plan.size(1_000_000, 5_000);
    let rig = Rig::start(plan, &[1, 1]).await?;
    let (mut time, mut shares) = (Samples::default(), Samples::default());
    for _ in 0..plan.rounds() {
        let before = finished(&rig).await?;
        let started = Instant::now();
        let job = JobBuilder::handler("noop", Vec::<String>::new()).array(0, 1, n).submit(rig.client()?).await?;
        finish(&job, n.into()).await?;
        time.add_seconds(started.elapsed());
        let after = finished(&rig).await?;
        let by: Vec<u64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
        shares.add(by.iter().copied().min().unwrap_or(0) as f64 / f64::from(n));
        job.delete().await?;
    }
    line("filch, submit to last result", format!("{:.0} tasks/s", f64::from(n) / time.median()));
    line("share of the node that did less", format!("{:.0} %", 100.0 * shares.median()));
    Ok(())
}

async fn finished(rig: &Rig) -> anyhow::Result<Vec<u64>> {
    let mut out = Vec::new();
    for node in &rig.nodes {
        out.push(node.client.node().await?.counters.finished);
    }
    Ok(out)
}
