//! No two tasks may write the same file, and no task a file where another one needs a directory.
//!
//! Paths are kept as 16 bytes of their hash, so that a million outputs cost 20 MB and one sort.

use filch_types::BlobId;

type Key = [u8; 16];

fn key(path: &str) -> Key {
    let mut key = [0; 16];
    key.copy_from_slice(&BlobId::of(path.as_bytes()).0[..16]);
    key
}

/// Which tasks collide.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Collision {
    /// These two write the same file.
    Same(u32, u32),
    /// The file of this one is a directory of another.
    IsDir(u32),
}

/// All output paths of a job, normalised.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    files: Vec<(Key, u32)>,
    dirs: Vec<Key>,
    last_dir: String,
}

impl Outputs {
    /// Notes that `task` writes `path`.
    pub(super) fn add(&mut self, task: u32, path: &str) {
        self.files.push((key(path), task));
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        // Consecutive tasks mostly write into the same directory.
        if dir == self.last_dir {
            return;
        }
        let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
        for end in ends.filter(|end| *end > 0) {
            self.dirs.push(key(&dir[..end]));
        }
        self.last_dir.clear();
        self.last_dir.push_str(dir);
    }

    /// The first collision in the order of tasks, if there is any.
    pub(super) fn check(&mut self) -> Option<Collision> {
        self.files.sort_unstable();
        self.dirs.sort_unstable();
        self.dirs.dedup();
        let same =
            self.files.windows(2).filter(|w| w[0].0 == w[1].0).map(|w| (w[1].1, Collision::Same(w[0].1, w[1].1)));
        let dirs = &self.dirs;
        let nested = self
            .files
            .iter()
            .filter(|(key, _)| dirs.binary_search(key).is_ok())
            .map(|(_, task)| (*task, Collision::IsDir(*task)));
        same.chain(nested).min_by_key(|(task, _)| *task).map(|(_, collision)| collision)
    }

    /// After `check`: whether some task writes a file below this path.
    pub(super) fn is_dir(&self, path: &str) -> bool {
        self.dirs.binary_search(&key(path)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(paths: &[&str]) -> Option<Collision> {
        let mut outputs = Outputs::default();
        for (task, path) in paths.iter().enumerate() {
            outputs.add(task as u32, path);
        }
        outputs.check()
    }

    #[test]
    fn collisions() {
        assert_eq!(check(&["a", "b", "c/d", "c/e", "c/f/g"]), None);
        assert_eq!(check(&["a", "b", "a"]), Some(Collision::Same(0, 2)));
        assert_eq!(check(&["a/b/c", "x", "a"]), Some(Collision::IsDir(2)));
        assert_eq!(check(&["a/b", "x", "a/b/c"]), Some(Collision::IsDir(0)));
        assert_eq!(check(&["x/a", "y/a", "xy/a"]), None);
    }

    proptest! {
        #[test]
        fn finds_what_a_plain_search_finds(paths in prop::collection::vec("[ab](/[ab]){0,2}", 0..6)) {
            let refs: Vec<&str> = paths.iter().map(String::as_str).collect();
            let plain = refs.iter().enumerate().any(|(i, a)| {
                refs.iter().enumerate().any(|(j, b)| i != j && (a == b || b.starts_with(&format!("{a}/"))))
            });
            prop_assert_eq!(check(&refs).is_some(), plain);
        }
    }
}
