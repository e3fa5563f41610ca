//! Which files the demo works on: real ones, not too many, not too large.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::DemoError;

/// Files at most.
pub(super) const MAX_FILES: usize = 240;
/// Bytes of one file, at most.
const MAX_FILE: u64 = 256 * 1024;
/// Bytes in all, at most.
const MAX_BYTES: u64 = 12 * 1024 * 1024;
/// Files looked at, at most: a demo of `/` ends too.
const MAX_SEEN: usize = 20_000;

/// A file to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    /// Relative to the directory, `/` between its parts.
    pub name: String,
    /// Absolute.
    pub path: PathBuf,
    /// Bytes.
    pub len: u64,
}

/// The files of `dir` that neither `.gitignore` nor a leading dot hides; an even sample of them if there are too many.
pub(super) fn choose(dir: &Path) -> Result<Vec<Pick>, DemoError> {
    let unusable = |why: String| DemoError::Directory { dir: dir.to_owned(), why };
    let root = std::fs::canonicalize(dir).map_err(|e| unusable(e.to_string()))?;
    if !root.is_dir() {
        return Err(unusable("it is not a directory".into()));
    }
    let walk = ignore::WalkBuilder::new(&root).require_git(false).sort_by_file_path(|a, b| a.cmp(b)).build();
    let all: Vec<Pick> = walk.filter_map(|entry| pick(&root, &entry.ok()?)).take(MAX_SEEN).collect();
    let chosen = bounded(without_clashes(all));
    if chosen.is_empty() {
        return Err(unusable("it has no readable files of 1 byte to 256 KiB".into()));
    }
    Ok(chosen)
}

fn pick(root: &Path, entry: &ignore::DirEntry) -> Option<Pick> {
    let plain = entry.file_type().is_some_and(|t| t.is_file());
    let len = entry.metadata().ok()?.len();
    if !plain || len == 0 || len > MAX_FILE || std::fs::File::open(entry.path()).is_err() {
        return None;
    }
    let name = entry.path().strip_prefix(root).ok()?.to_str()?.to_owned();
    (!name.contains('\n')).then(|| Pick { name, path: entry.path().to_owned(), len })
}

/// `a` leaves `a.gz`, so it cannot be together with a file in a directory `a.gz`.
fn without_clashes(mut all: Vec<Pick>) -> Vec<Pick> {
    let dirs: BTreeSet<String> = all.iter().flat_map(|p| parents(&p.name)).map(str::to_owned).collect();
    all.retain(|p| !super::task::LEAVES.iter().any(|ext| dirs.contains(&format!("{}{ext}", p.name))));
    all
}

fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').filter_map(|(at, _)| name.get(..at))
}

/// Every n-th file, so that the sample is as mixed as the whole.
fn bounded(all: Vec<Pick>) -> Vec<Pick> {
    let keep = all.len().min(MAX_FILES);
    let mut bytes = 0;
    let mut out = Vec::with_capacity(keep);
    for n in 0..keep {
        let Some(p) = all.get(n * all.len() / keep) else { break };
        if bytes + p.len <= MAX_BYTES {
            bytes += p.len;
            out.push(p.clone());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(picks: &[Pick]) -> Vec<&str> {
        picks.iter().map(|p| p.name.as_str()).collect()
    }

    #[test]
    fn ignored_hidden_empty_and_clashing_files_are_left_out() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path();
        for d in ["sub", "target", "x.gz"] {
            std::fs::create_dir(dir.join(d)).unwrap();
        }
        for f in ["a", "sub/b.txt", "target/big", ".hidden", "x", "x.gz/inside"] {
            std::fs::write(dir.join(f), "text").unwrap();
        }
        std::fs::write(dir.join("empty"), "").unwrap();
        std::fs::write(dir.join(".gitignore"), "/target\n").unwrap();
        std::os::unix::fs::symlink("a", dir.join("link")).unwrap();
        assert_eq!(names(&choose(dir).unwrap()), ["a", "sub/b.txt", "x.gz/inside"]);
    }

    #[test]
    fn a_large_directory_is_sampled_evenly() {
        let all: Vec<Pick> =
            (0..1000).map(|n| Pick { name: format!("{n:04}"), path: PathBuf::new(), len: 10 }).collect();
        let some = bounded(all);
        assert_eq!(some.len(), MAX_FILES);
        assert_eq!(some[0].name, "0000");
        assert!(some.last().unwrap().name.as_str() > "0990");
        let heavy: Vec<Pick> =
            (0..100).map(|n| Pick { name: n.to_string(), path: PathBuf::new(), len: MAX_FILE }).collect();
        assert!(bounded(heavy).iter().map(|p| p.len).sum::<u64>() <= MAX_BYTES);
    }

    #[test]
    fn nothing_to_work_on_is_said() {
        let tmp = tempfile::tempdir().unwrap();
        assert!(choose(tmp.path()).unwrap_err().to_string().contains("no readable files"));
        assert!(choose(&tmp.path().join("none")).is_err());
    }
}
