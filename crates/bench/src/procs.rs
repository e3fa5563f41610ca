//! What `/proc` says of processes.

use std::path::Path;

/// A field of `/proc/PID/status` in KiB.
fn status_kib(pid: u32, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|l| l.strip_prefix(field)?.trim_start_matches(':').split_whitespace().next()?.parse().ok())
}

/// Resident bytes of a process, shared pages included.
pub(crate) fn resident(pid: u32) -> u64 {
    status_kib(pid, "VmRSS").unwrap_or(0) * 1024
}

/// Its largest resident size so far.
pub(crate) fn peak(pid: u32) -> u64 {
    status_kib(pid, "VmHWM").unwrap_or(0) * 1024
}

/// Seconds of CPU that it and its dead children have used.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may contain anything; the fields begin behind its last parenthesis: state is 3, utime 14, cstime 17.
    let fields: Vec<u64> = text
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().skip(11).take(4).filter_map(|f| f.parse().ok()).collect())
        .unwrap_or_default();
    // USER_HZ: 100 on every Linux that runs filch.
    fields.iter().sum::<u64>() as f64 / 100.0
}

/// Processes whose parent is `pid`: its spawners and their tasks' roots.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok());
    lists.flat_map(|l| l.split_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<u32>>()).collect()
}

/// Bytes that have gone over the loopback interface, anybody's.
pub(crate) fn loopback_bytes() -> u64 {
    let text = std::fs::read_to_string(Path::new("/proc/net/dev")).unwrap_or_default();
    text.lines().find_map(|l| l.trim_start().strip_prefix("lo:")?.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Whether a program is in PATH, and where.
pub(crate) fn which(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|d| d.join(name)).find(|p| p.is_file())
}
