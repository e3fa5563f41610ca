//! G3: `filch run -- true` as a person types it, on a running node.

use std::process::{Command, Stdio};

use anyhow::ensure;

use crate::Plan;
use crate::figures::{Samples, heading, line, timed};
use crate::rig::Rig;

pub(crate) async fn run(plan: &Plan) -> anyhow::Result<()> {
    heading("G3", "`filch run -- true` on a running node", "p50 <= 15 ms; floor 30 ms");
    let rig = Rig::start(plan, &[2]).await?;
    let socket = rig.client()?.socket().to_owned();
    let (mut bare, mut version, mut run) = (Samples::default(), Samples::default(), Samples::default());
    let call = |program: &std::path::Path, args: &[&str]| {
        let mut c = Command::new(program);
        c.args(args).env("FILCH_SOCKET", &socket).stdin(Stdio::null()).stdout(Stdio::null());
        timed(|| {
            ensure!(c.status()?.success(), "{} {args:?} failed", program.display());
            Ok(())
        })
    };
    for _ in 0..plan.size(60, 5) {
        bare.add(call(std::path::Path::new("true"), &[])?);
        version.add(call(&plan.filch, &["--version"])?);
        run.add(call(&plan.filch, &["run", "--", "true"])?);
    }
    let ms = |s: &Samples| format!("{:.1} ms", 1000.0 * s.median());
    line("bare `true`", ms(&bare));
    line("`filch --version`: the cost of starting the program", ms(&version));
    line("`filch run -- true`", format!("{} (slowest {:.1} ms)", ms(&run), 1000.0 * run.max()));
    Ok(())
}
