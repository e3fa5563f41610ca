//! Which CPUs threads and the processes that they start may use.

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The CPUs that this thread may use.
pub(crate) fn all() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("CPUs of this process")?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// From now on this thread uses this CPU only.
pub(crate) fn stay_on(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("cannot use CPU {cpu} only"))
}

/// Runs `f` on this CPU only: what it starts stays there, too.
pub(crate) fn on<R>(cpu: Option<usize>, f: impl FnOnce() -> R) -> anyhow::Result<R> {
    let Some(cpu) = cpu else { return Ok(f()) };
    let before = sched_getaffinity(None).context("CPUs of this thread")?;
    stay_on(cpu)?;
    let result = f();
    sched_setaffinity(None, &before).context("cannot use all CPUs again")?;
    Ok(result)
}
