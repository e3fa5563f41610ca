//! The process table, as far as `/proc` shows it.

use std::collections::BTreeSet;
use std::fs;

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proc {
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
    /// Birth, in hundredths of a second since boot.
    pub born: u64,
    pub zombie: bool,
}

/// All processes that can be seen.
pub(crate) fn all() -> Vec<Proc> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| one(e.file_name().to_str()?.parse().ok()?)).collect()
}

/// The process with this id.
pub(crate) fn one(pid: i32) -> Option<Proc> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name may hold anything, so fields are counted from its closing parenthesis.
fn parse(pid: i32, stat: &str) -> Option<Proc> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let born = fields.nth(16)?.parse().ok()?;
    Some(Proc { pid, parent, group, born, zombie: matches!(state, "Z" | "X") })
}

/// Those that descend from `root`, without it.
pub(crate) fn descendants(all: &[Proc], root: u32) -> Vec<&Proc> {
    let mut family = BTreeSet::from([i32::try_from(root).unwrap_or(-1)]);
    loop {
        let before = family.len();
        family.extend(all.iter().filter(|p| family.contains(&p.parent)).map(|p| p.pid).collect::<Vec<_>>());
        if family.len() == before {
            break;
        }
    }
    all.iter().filter(|p| family.contains(&p.parent)).collect()
}

/// Whether the environment that the process was started with has an entry that begins like this.
pub(crate) fn environ_has(pid: i32, prefixes: &[Vec<u8>]) -> bool {
    let Ok(environ) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    environ.split(|b| *b == 0).any(|entry| prefixes.iter().any(|p| entry.starts_with(p)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process_and_odd_names() {
        let me = i32::try_from(std::process::id()).unwrap();
        let p = one(me).unwrap();
        assert!(!p.zombie && p.born > 0);
        assert!(all().contains(&p));
        let odd = "7 (a) b (c) Z 3 4 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(parse(7, odd), Some(Proc { pid: 7, parent: 3, group: 4, born: 4242, zombie: true }));
        assert_eq!(parse(7, "garbage"), None);
    }

    #[test]
    fn finds_the_whole_family() {
        let p = |pid, parent| Proc { pid, parent, group: 0, born: 0, zombie: false };
        let all = [p(9, 5), p(2, 1), p(5, 2), p(7, 1), p(1, 0)];
        let got: Vec<i32> = descendants(&all, 2).iter().map(|p| p.pid).collect();
        assert_eq!(got, [9, 5]);
    }
}
