//! Input files: each is looked at once, however many tasks name it.

use std::collections::HashMap;
use std::path::Path;

use filch_types::paths::normalise;
use rustix::fs::Access;

/// The distinct input files of a job, by the path that was given.
#[derive(Debug, Default)]
pub(crate) struct Files {
    known: HashMap<String, u32>,
    paths: Vec<String>,
}

impl Files {
    /// The number of this file; the first time, it must be a readable plain file.
    pub(super) fn find(&mut self, path: &str) -> Result<u32, String> {
        if let Some(n) = self.known.get(path) {
            return Ok(*n);
        }
        look(path)?;
        let n = u32::try_from(self.paths.len()).map_err(|_| "is one too many".to_owned())?;
        self.paths.push(path.to_owned());
        self.known.insert(path.to_owned(), n);
        Ok(n)
    }
    /// The number that `find` gave.
    pub(super) fn get(&self, path: &str) -> Option<u32> {
        self.known.get(path).copied()
    }
    /// The paths as they were given, by number.
    pub(crate) fn paths(&self) -> &[String] {
        &self.paths
    }
}

fn look(path: &str) -> Result<(), String> {
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err("does not exist".into()),
        Err(e) => return Err(format!("cannot be read: {e}")),
    };
    if meta.is_dir() {
        return Err("is a directory; -i takes files".into());
    }
    if !meta.is_file() {
        return Err("is not a plain file".into());
    }
    rustix::fs::access(path, Access::READ_OK).map_err(|e| format!("cannot be read: {}", std::io::Error::from(e)))
}

/// Where an input goes in the task's directory: the same relative path, or `in/NAME` if it comes from elsewhere.
pub(super) fn place(path: &str) -> Result<String, String> {
    if let Ok(inside) = normalise(path) {
        return Ok(inside);
    }
    let name = Path::new(path).file_name().and_then(|n| n.to_str());
    name.and_then(|name| normalise(&format!("in/{name}")).ok()).ok_or_else(|| "has no file name".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (path, want) in [
            ("a/b.txt", "a/b.txt"),
            ("./a//b", "a/b"),
            ("/etc/passwd", "in/passwd"),
            ("../up/x", "in/x"),
            ("a/../../x", "in/x"),
        ] {
            assert_eq!(place(path).as_deref(), Ok(want), "{path}");
        }
        assert!(place("/").is_err() && place("..").is_err() && place("").is_err());
    }
}
