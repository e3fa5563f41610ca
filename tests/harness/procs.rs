//! Processes that belong to a directory: their arguments, environment or working directory name it.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

fn mentions(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|w| w == needle)
}

/// (pid, arguments) of every process that belongs to `dir`, zombies and this one aside.
pub fn of(dir: &Path) -> Vec<(i32, String)> {
    let needle = dir.as_os_str().as_bytes();
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        if pid.cast_unsigned() == own {
            continue;
        }
        let at = entry.path();
        let args = std::fs::read(at.join("cmdline")).unwrap_or_default();
        let cwd = std::fs::read_link(at.join("cwd")).ok();
        let ours = mentions(&args, needle)
            || cwd.is_some_and(|c| c.starts_with(dir))
            || std::fs::read(at.join("environ")).is_ok_and(|e| mentions(&e, needle));
        // A process that has ended has no arguments any more.
        if ours && !args.is_empty() {
            found.push((pid, String::from_utf8_lossy(&args).replace('\0', " ").trim().to_owned()));
        }
    }
    found
}

/// Kills what is left. Several rounds, because a process may be starting another one.
pub fn kill_all(dir: &Path) {
    for _ in 0..100 {
        let left = of(dir);
        if left.is_empty() {
            return;
        }
        for (pid, _) in left {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
