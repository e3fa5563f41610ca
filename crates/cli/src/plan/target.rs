//! What is already in the way of output files: they never go through a symbolic link, and replace no directory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Directories remembered; those beyond are looked at again.
const REMEMBERED: usize = 100_000;

/// The directory that output files will appear in.
#[derive(Debug)]
pub(super) struct Target {
    dir: PathBuf,
    /// Whether a directory of outputs exists; what does not has nothing in the way below it.
    seen: HashMap<String, bool>,
    last: Option<(String, bool)>,
}

/// What is in the way of an output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// A part of the path.
    pub(crate) part: String,
    /// What it is.
    pub(crate) is: &'static str,
}

impl Target {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), seen: HashMap::new(), last: None }
    }

    /// Looks at a normalised path. It may change until the file is written: the node looks again then.
    pub(super) fn check(&mut self, path: &str) -> Result<(), Obstacle> {
        let parent = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        let there = match &self.last {
            Some((dir, there)) if dir == parent => *there,
            _ => {
                let there = self.enter(parent)?;
                self.last = Some((parent.to_owned(), there));
                there
            }
        };
        if !there {
            return Ok(());
        }
        let is = match std::fs::symlink_metadata(self.dir.join(path)) {
            Ok(m) if m.is_dir() => "a directory",
            // Nothing is written through it; but whoever made it would lose it.
            Ok(m) if m.is_symlink() => "a symbolic link",
            _ => return Ok(()),
        };
        Err(Obstacle { part: path.to_owned(), is })
    }

    /// Whether this directory exists.
    fn enter(&mut self, dir: &str) -> Result<bool, Obstacle> {
        if dir.is_empty() {
            return Ok(self.dir.is_dir());
        }
        let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
        for part in ends.map(|end| &dir[..end]) {
            let there = match self.seen.get(part) {
                Some(there) => *there,
                None => self.look(part)?,
            };
            if !there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn look(&mut self, part: &str) -> Result<bool, Obstacle> {
        let found = |is| Err(Obstacle { part: part.to_owned(), is });
        let there = match std::fs::symlink_metadata(self.dir.join(part)) {
            Ok(m) if m.is_symlink() => return found("a symbolic link"),
            Ok(m) if !m.is_dir() => return found("not a directory"),
            Ok(_) => true,
            Err(_) => false,
        };
        if self.seen.len() < REMEMBERED {
            self.seen.insert(part.to_owned(), there);
        }
        Ok(there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/file"), "").unwrap();
        std::os::unix::fs::symlink("/tmp", dir.path().join("link")).unwrap();
        let mut target = Target::new(dir.path());
        for good in ["new", "a/new", "a/file", "a/b/new", "x/y/z"] {
            assert_eq!(target.check(good), Ok(()), "{good}");
        }
        let mut at = |path: &str| target.check(path).map_err(|o| (o.part, o.is));
        assert_eq!(at("a/b"), Err(("a/b".into(), "a directory")));
        assert_eq!(at("a/file/x"), Err(("a/file".into(), "not a directory")));
        assert_eq!(at("link"), Err(("link".into(), "a symbolic link")));
        assert_eq!(at("link/x/y"), Err(("link".into(), "a symbolic link")));
    }
}
