//! G5: a million tasks submitted, as an array and as explicit items: until they are durable, and what they weigh.

use std::time::Instant;

use filch_client::JobBuilder;

use crate::figures::{Samples, heading, line};
use crate::rig::Rig;
use crate::{Plan, procs};

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) async fn run(plan: &Plan) -> anyhow::Result<()> {
    heading(
        "G5",
        "submit 1 M tasks, durable",
        "array <= 20 ms, <= 1 MB more; items <= 1 s, <= 128 MB more; floor 50 ms",
    );
    let n = plan.size(1_000_000, 10_000);
    for kind in ["array", "items"] {
        let (mut time, mut grown, mut peak) = (Samples::default(), Samples::default(), Samples::default());
        for _ in 0..plan.rounds() {
            // Keeps jobs, runs nothing: only the submit is measured. A new node each time, for its memory's sake.
            let rig = Rig::start(plan, &[0]).await?;
            let pid = rig.nodes.first().map_or(0, |n| n.pid());
            let warm = JobBuilder::command(["true"]).submit(rig.client()?).await?;
            warm.accepted().await?;
            let before = procs::resident(pid);
            let started = Instant::now();
            let job = JobBuilder::command(["true", "{}"]);
            let job = match kind {
                "array" => job.array(0, 1, n),
                _ => job.values((0..n).map(|i| format!("value-{i:07}"))),
            };
            let job = job.submit(rig.client()?).await?;
            job.accepted().await?;
            time.add_seconds(started.elapsed());
            grown.add((procs::resident(pid).saturating_sub(before)) as f64 / MIB);
            peak.add((procs::peak(pid).saturating_sub(before)) as f64 / MIB);
        }
        line(&format!("{n} tasks as {kind}, client's packing included"), format!("{:.1} ms", 1000.0 * time.median()));
        line(
            "  node's memory afterwards / at its peak",
            format!("+{:.1} MiB / +{:.1} MiB", grown.median(), peak.median()),
        );
    }
    Ok(())
}
