//! G4: tasks of 20 ms on two slots: the share of the time that work takes in the ideal case.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context;
use filch_client::JobBuilder;

use crate::figures::{Samples, heading, line, timed};
use crate::rig::{Rig, finish};
use crate::{Plan, procs};

pub(crate) async fn run(plan: &Plan) -> anyhow::Result<()> {
    heading("G4", "200 tasks of 20 ms on 2 slots: share of ideal", ">= 98 %");
    let n = plan.size(200, 20);
    let ideal = f64::from(n) * 0.02 / 2.0;
    let rig = Rig::start(plan, &[2]).await?;
    let (mut command, mut handler, mut xargs) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..plan.rounds() {
        let started = Instant::now();
        let job = JobBuilder::command(["sleep", "0.02"]).array(0, 1, n).submit(rig.client()?).await?;
        finish(&job, n.into()).await?;
        command.add_seconds(started.elapsed());
        job.delete().await?;
        let started = Instant::now();
        let job = JobBuilder::handler("sleep", ["20ms"]).array(0, 1, n).submit(rig.client()?).await?;
        finish(&job, n.into()).await?;
        handler.add_seconds(started.elapsed());
        job.delete().await?;
        if procs::which("xargs").is_some() {
            xargs.add(timed(|| xargs_all(n))?);
        }
    }
    let share = |s: &Samples| format!("{:.1} %", 100.0 * ideal / s.median());
    if xargs.len() > 0 {
        line("xargs -P2 -n1 sleep 0.02", share(&xargs));
    }
    line("filch, command `sleep 0.02`", share(&command));
    line("filch, handler `sleep`", share(&handler));
    Ok(())
}

fn xargs_all(n: u32) -> anyhow::Result<()> {
    let mut child = Command::new("xargs")
        .args(["-P2", "-I{}", "sleep", "0.02"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let lines: String = (0..n).map(|i| format!("{i}\n")).collect();
    let mut stdin = child.stdin.take().context("no stdin")?;
    std::io::Write::write_all(&mut stdin, lines.as_bytes())?;
    drop(stdin);
    child.wait()?;
    Ok(())
}
