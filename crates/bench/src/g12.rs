//! G12: what an idle node costs, and how long it takes from the start of the process to the first task done.

use std::time::{Duration, Instant};

use filch_client::{Client, JobBuilder};

use crate::figures::{Samples, heading, line};
use crate::rig::{Rig, finish};
use crate::{Plan, procs};

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) async fn run(plan: &Plan) -> anyhow::Result<()> {
    heading(
        "G12",
        "an idle node; start to first task",
        "<= 0.15 % CPU, <= 2 KB/s, <= 25 MB, <= 0.15 s; floor 0.5 %, 40 MB",
    );
    idle(plan).await?;
    first_task(plan).await
}

async fn idle(plan: &Plan) -> anyhow::Result<()> {
    let n = plan.idle_nodes;
    let rig = Rig::start(plan, &vec![2; n]).await?;
    // Every node has worked once: spawners, stores and connections are warm.
    let job = JobBuilder::command(["true"]).array(0, 1, 50 * n as u32).submit(rig.client()?).await?;
    finish(&job, 50 * n as u64).await?;
    tokio::time::sleep(Duration::from_secs(u64::from(plan.size(30, 2)))).await;

    let pids: Vec<u32> = rig.nodes.iter().map(|n| n.pid()).collect();
    let cpu =
        |pid: u32| procs::cpu_seconds(pid) + procs::children(pid).into_iter().map(procs::cpu_seconds).sum::<f64>();
    let before: Vec<f64> = pids.iter().map(|p| cpu(*p)).collect();
    let bytes = procs::loopback_bytes();
    let started = Instant::now();
    tokio::time::sleep(Duration::from_secs(u64::from(plan.size(60, 3)))).await;
    let seconds = started.elapsed().as_secs_f64();
    let bytes = (procs::loopback_bytes() - bytes) as f64;

    let (mut share, mut memory, mut spawners) = (Samples::default(), Samples::default(), Samples::default());
    for (pid, before) in pids.iter().zip(before) {
        share.add(100.0 * (cpu(*pid) - before) / seconds);
        memory.add(procs::resident(*pid) as f64 / MIB);
        spawners.add(procs::children(*pid).into_iter().map(procs::resident).sum::<u64>() as f64 / MIB);
    }
    line(&format!("CPU of an idle node among {n}, {seconds:.0} s"), format!("{:.2} %", share.median()));
    line("memory", format!("{:.1} MiB, its spawners {:.1} MiB", memory.median(), spawners.median()));
    // Everything that goes over loopback is counted once at its receiver.
    line(
        "received a second by a node (all loopback traffic)",
        format!("{:.2} KB/s", bytes / 1000.0 / seconds / n as f64),
    );
    Ok(())
}

async fn first_task(plan: &Plan) -> anyhow::Result<()> {
    let (mut answer, mut task) = (Samples::default(), Samples::default());
    for _ in 0..plan.rounds() {
        let rig = Rig::empty(plan)?;
        let started = Instant::now();
        let (mut child, socket) = rig.spawn("n1", 2, &[])?;
        let client = Client::new(socket);
        while client.node().await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        answer.add_seconds(started.elapsed());
        let job = JobBuilder::command(["true"]).submit(&client).await?;
        let done = finish(&job, 1).await;
        task.add_seconds(started.elapsed());
        let _ = child.kill();
        let _ = child.wait();
        done?;
    }
    line("start of the process to the first answer", format!("{:.0} ms", 1000.0 * answer.median()));
    line("start of the process to the first task done", format!("{:.0} ms", 1000.0 * task.median()));
    Ok(())
}
