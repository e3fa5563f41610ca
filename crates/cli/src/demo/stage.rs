//! The one directory that the demo writes to. Only the results outlive it.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::files::Pick;
use super::{DemoError, task};

/// What is put below the directory must leave room for the path of a socket.
const LONGEST: usize = filch_api::paths::MAX_SOCKET_PATH - "/filch-demo-XXXXXX/nodes/alder/filch.sock".len();

/// See the module. Dropping it removes everything.
pub(super) struct Stage {
    root: TempDir,
    results: PathBuf,
    own_results: bool,
}

impl Stage {
    /// Makes the directories. `results`: where the user wants the results.
    pub fn new(results: Option<&Path>) -> Result<Self, DemoError> {
        let temp = std::env::temp_dir();
        let temp = if temp.as_os_str().len() <= LONGEST { temp } else { PathBuf::from("/tmp") };
        let io = |e| DemoError::io(&temp, e);
        let root = tempfile::Builder::new().prefix("filch-demo-").tempdir_in(&temp).map_err(io)?;
        let (results, own_results) = match results {
            Some(dir) => (usable(dir)?, false),
            None => (root.path().join("results"), true),
        };
        std::fs::create_dir_all(&results).map_err(|e| DemoError::io(&results, e))?;
        Ok(Self { root, results, own_results })
    }
    /// A directory of the demo's own, made now.
    pub fn dir(&self, name: &str) -> Result<PathBuf, DemoError> {
        let dir = self.root.path().join(name);
        std::fs::create_dir_all(&dir).map_err(|e| DemoError::io(&dir, e))?;
        Ok(dir)
    }
    /// The script as a file, for the submitter to read.
    pub fn script(&self) -> Result<PathBuf, DemoError> {
        let path = self.root.path().join(task::SCRIPT_NAME);
        std::fs::write(&path, task::SCRIPT).map_err(|e| DemoError::io(&path, e))?;
        Ok(path)
    }
    /// The files as they are now: somebody may go on editing them, but nodes and plain run must read the same.
    pub fn snapshot(&self, files: Vec<Pick>) -> Result<Vec<Pick>, DemoError> {
        let root = self.dir("files")?;
        let mut kept = Vec::with_capacity(files.len());
        for (n, file) in files.into_iter().enumerate() {
            let path = root.join(n.to_string());
            match std::fs::copy(&file.path, &path) {
                Ok(len) => kept.push(Pick { path, len, ..file }),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(DemoError::io(&file.path, e)),
            }
        }
        Ok(kept)
    }
    /// Where the results go.
    pub fn results(&self) -> &Path {
        &self.results
    }
    /// What holds the results when the user named no place for them.
    pub fn temporary(&self) -> Option<&Path> {
        self.own_results.then(|| self.root.path())
    }
    /// Where the nodes are; stays after a failure, logs and all.
    pub fn nodes(&self) -> PathBuf {
        self.root.path().join("nodes")
    }
    /// Removes everything but the results; after a failure, the nodes' directory stays, too.
    pub fn finish(self, ok: bool) -> Result<(), DemoError> {
        if !self.own_results && ok {
            return self.root.close().map_err(|e| DemoError::io(&self.results, e));
        }
        let root = self.root.keep();
        for entry in std::fs::read_dir(&root).map_err(|e| DemoError::io(&root, e))?.flatten() {
            let path = entry.path();
            let kept = path == self.results || (!ok && path.ends_with("nodes"));
            let removed = match entry.file_type() {
                _ if kept => Ok(()),
                Ok(t) if t.is_dir() => std::fs::remove_dir_all(&path),
                _ => std::fs::remove_file(&path),
            };
            removed.map_err(|e| DemoError::io(&path, e))?;
        }
        Ok(())
    }
}

/// Results go into a new or empty directory: nothing of the user's is overwritten.
fn usable(dir: &Path) -> Result<PathBuf, DemoError> {
    let failed = |why: String| DemoError::Results { dir: dir.to_owned(), why };
    match std::fs::read_dir(dir) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(failed("it is not empty".into()));
            }
        }
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e.to_string())),
        Err(_) => {}
    }
    std::fs::create_dir_all(dir).map_err(|e| failed(e.to_string()))?;
    std::fs::canonicalize(dir).map_err(|e| failed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_results_stay_and_nothing_after_a_drop() {
        let stage = Stage::new(None).unwrap();
        let (nodes, results) = (stage.dir("nodes").unwrap(), stage.results().to_owned());
        let script = stage.script().unwrap();
        std::fs::write(results.join("r"), "x").unwrap();
        stage.finish(true).unwrap();
        assert!(results.join("r").exists() && !nodes.exists() && !script.exists());
        std::fs::remove_dir_all(results.parent().unwrap()).unwrap();

        let dropped = Stage::new(None).unwrap();
        let root = dropped.root.path().to_owned();
        drop(dropped);
        assert!(!root.exists());
    }

    #[test]
    fn a_directory_of_the_users_is_used_only_when_empty() {
        let tmp = tempfile::tempdir().unwrap();
        let stage = Stage::new(Some(&tmp.path().join("new/er"))).unwrap();
        let (root, results) = (stage.root.path().to_owned(), stage.results().to_owned());
        stage.finish(true).unwrap();
        assert!(results.is_dir() && !root.exists());
        std::fs::write(results.join("f"), "").unwrap();
        assert!(matches!(Stage::new(Some(&results)), Err(DemoError::Results { .. })));
    }
}
