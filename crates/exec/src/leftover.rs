//! Kills what an earlier run, or a killed spawner, left running. Never by process id alone.
//!
//! A process is ours if the environment it was started with names a directory below the work directory (`FILCH_DIR` of
//! tasks, `FILCH_SPAWNER` of spawners), or if it is the recorded main process of a slot, by id *and* time of birth. With it
//! go its descendants and its process group.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::Timespec;

use crate::procs::{self, Proc};
use crate::spawner::DIR_VAR;
use crate::spawner::record::{self, Record};

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nanoseconds of a tick in which the kernel tells the time of birth.
const TICK: u64 = 10_000_000;

/// Everything of an earlier run on this work directory; the error is how many processes will not die.
pub(crate) fn kill_all(work_dir: &Path) -> Result<(), usize> {
    let entries = std::fs::read_dir(work_dir).into_iter().flatten().flatten();
    let slots: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    kill(work_dir, &slots)
}

/// Everything of one slot whose spawner died.
pub(crate) fn kill_slot(slot: &Path) -> Result<(), usize> {
    kill(slot, &[slot.to_owned()])
}

fn kill(dir: &Path, slots: &[PathBuf]) -> Result<(), usize> {
    let boot = record::boot_id();
    let records: Vec<Record> =
        slots.iter().filter_map(|s| record::read(s)).filter(|r| r.boot == boot && !boot.is_empty()).collect();
    let marks = [mark("FILCH_DIR", dir), mark(DIR_VAR, dir)];
    let until = Instant::now() + PATIENCE;
    loop {
        let victims = victims(&procs::all(), &marks, &records);
        if victims.is_empty() {
            return Ok(());
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(victims.len());
        }
        let fds: Vec<OwnedFd> = victims.iter().filter_map(kill_one).collect();
        wait_for_death(&fds, left);
    }
}

fn mark(name: &str, dir: &Path) -> Vec<u8> {
    [name.as_bytes(), b"=", dir.as_os_str().as_bytes(), b"/"].concat()
}

fn victims(all: &[Proc], marks: &[Vec<u8>], records: &[Record]) -> Vec<Proc> {
    let me = i32::try_from(std::process::id()).unwrap_or(-1);
    let my_group = all.iter().find(|p| p.pid == me).map_or(-1, |p| p.group);
    let recorded = |p: &Proc| records.iter().any(|r| r.pid == p.pid && born_then(p, r));
    let seeds = all.iter().filter(|p| p.pid != me && !p.zombie && (recorded(p) || procs::environ_has(p.pid, marks)));
    let mut ids: BTreeSet<i32> = seeds.map(|p| p.pid).collect();
    let groups: BTreeSet<i32> = all
        .iter()
        .filter(|p| ids.contains(&p.pid) && p.group == p.pid && p.group != my_group)
        .map(|p| p.group)
        .collect();
    ids.extend(all.iter().filter(|p| groups.contains(&p.group)).map(|p| p.pid));
    for seed in ids.clone() {
        ids.extend(procs::descendants(all, u32::try_from(seed).unwrap_or(0)).iter().map(|p| p.pid));
    }
    ids.remove(&me);
    all.iter().filter(|p| ids.contains(&p.pid) && !p.zombie).cloned().collect()
}

fn born_then(p: &Proc, r: &Record) -> bool {
    let born = p.born.saturating_mul(TICK);
    born.saturating_add(TICK) >= r.born.0 && born <= r.born.1.saturating_add(TICK)
}

/// The id is looked at again behind an open handle: from then on it cannot change hands.
fn kill_one(p: &Proc) -> Option<OwnedFd> {
    let fd = pidfd_open(Pid::from_raw(p.pid)?, PidfdFlags::empty()).ok()?;
    if procs::one(p.pid)?.born != p.born {
        return None;
    }
    pidfd_send_signal(&fd, Signal::KILL).ok()?;
    tracing::info!(pid = p.pid, "killed a process that an earlier task left");
    Some(fd)
}

fn wait_for_death(fds: &[OwnedFd], limit: Duration) {
    let until = Instant::now() + limit.min(Duration::from_secs(1));
    for fd in fds {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or_default();
        let _ = poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout));
    }
    if fds.is_empty() {
        // Not ours to kill: another user's. Look again, but not in a hurry.
        std::thread::sleep(Duration::from_millis(50).min(limit));
    }
}
