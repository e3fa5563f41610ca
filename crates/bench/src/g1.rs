//! G1: how many `/bin/true` a second on two slots, output kept, against bare `posix_spawn` and `xargs -P2`.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context;
use filch_client::JobBuilder;

use crate::figures::{Samples, heading, line, timed};
use crate::rig::{Rig, finish};
use crate::{Plan, procs};

const SLOTS: usize = 2;

pub(crate) async fn run(plan: &Plan) -> anyhow::Result<()> {
    heading("G1", "/bin/true on 2 slots, output kept", "<= 1.15 x bare spawn; floor 1,600 tasks/s");
    let program = procs::which("true").context("no `true` in PATH")?;
    let program = program.to_str().context("a strange PATH")?.to_owned();
    let n = plan.size(4000, 200);
    let rig = Rig::start(plan, &[SLOTS as u16]).await?;
    let (mut bare, mut xargs, mut filch) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..plan.rounds() {
        bare.add(timed(|| spawn_all(&program, n))?);
        let started = Instant::now();
        let job = JobBuilder::command([program.as_str()]).array(0, 1, n).submit(rig.client()?).await?;
        finish(&job, n.into()).await?;
        filch.add_seconds(started.elapsed());
        job.delete().await?;
        if procs::which("xargs").is_some() {
            xargs.add(timed(|| xargs_all(&program, n))?);
        }
    }
    let rate = |s: &Samples| format!("{:.0} tasks/s", f64::from(n) / s.median());
    line("bare posix_spawn + wait, 2 threads", rate(&bare));
    if xargs.len() > 0 {
        line("xargs -P2 -n1", rate(&xargs));
    }
    line("filch, submit to last result", rate(&filch));
    line("filch / bare, time", format!("{:.2} x", filch.median() / bare.median()));
    Ok(())
}

fn spawn_all(program: &str, n: u32) -> anyhow::Result<()> {
    std::thread::scope(|s| {
        let threads: Vec<_> = (0..SLOTS as u32)
            .map(|t| {
                s.spawn(move || -> std::io::Result<()> {
                    for _ in (t..n).step_by(SLOTS) {
                        Command::new(program)
                            .stdin(Stdio::null())
                            .stdout(Stdio::null())
                            .stderr(Stdio::null())
                            .status()?;
                    }
                    Ok(())
                })
            })
            .collect();
        for t in threads {
            t.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(())
    })
}

fn xargs_all(program: &str, n: u32) -> anyhow::Result<()> {
    let mut child =
        Command::new("xargs").args(["-P2", "-n1", program]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let lines: String = (0..n).map(|i| format!("{i}\n")).collect();
    let mut stdin = child.stdin.take().context("no stdin")?;
    std::io::Write::write_all(&mut stdin, lines.as_bytes())?;
    drop(stdin);
    child.wait()?;
    Ok(())
}
