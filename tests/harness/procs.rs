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

/// Local addresses of other machines' reach that a process listens on (TCP) or is bound to (UDP), as `/proc` shows them.
pub fn exposed(pid: u32) -> Vec<String> {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    let inodes: std::collections::BTreeSet<String> =
        links.filter_map(|l| Some(l.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(state), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9)) else {
                continue;
            };
            let open = *state == "0A" || table.starts_with("udp");
            // 127.x.x.x and ::1 as the kernel writes them.
            let loopback = local.starts_with(|c: char| c.is_ascii_hexdigit()) && local.get(6..8) == Some("7F")
                || local.starts_with("00000000000000000000000001000000:");
            if open && !loopback && inodes.contains(*inode) {
                found.push(format!("{table} {local}"));
            }
        }
    }
    found
}
