//! The key that all members of a cluster share: whoever has it is let in.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Why a key is not usable.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the cluster key {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not hold a key.
    #[error("{} is not a cluster key: expected one line of 64 hex digits", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// Others may read the file.
    #[error("the cluster key {} may be read by others (mode {mode:03o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The system has no randomness to give.
    #[error("no randomness for a cluster key: {0}")]
    Random(io::Error),
}

impl KeyError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            KeyError::Read { .. } => "make one with `filch keygen FILE` and copy it to every member".into(),
            KeyError::Malformed { .. } => {
                "copy the file again from a member, or make a new one with `filch keygen`".into()
            }
            KeyError::Exposed { path, .. } => format!("run `chmod 600 {}`", path.display()),
            KeyError::Random(_) => "check the machine's entropy source".into(),
        }
    }
}

/// 32 secret bytes.
#[derive(Clone)]
pub struct ClusterKey([u8; 32]);

impl std::fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterKey(…)")
    }
}

impl ClusterKey {
    /// A new random one.
    pub fn generate() -> Result<Self, io::Error> {
        Ok(Self(crate::datadir::random()?))
    }
    /// Reads a key file, as `to_text` writes it. Others must not be able to read it.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Read { path: path.to_owned(), source };
        let meta = std::fs::metadata(path).map_err(failed)?;
        let malformed = || KeyError::Malformed { path: path.to_owned() };
        if !meta.is_file() || meta.len() > 4096 {
            return Err(malformed());
        }
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let id: filch_types::BlobId = text.trim().parse().map_err(|_| malformed())?;
        Ok(Self(id.0))
    }
    /// One line of 64 hex digits.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(65);
        for b in self.0 {
            let _ = write!(text, "{b:02x}");
        }
        text.push('\n');
        text
    }
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("k");
        let key = ClusterKey::generate().unwrap();
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write(&key.to_text(), 0o600);
        assert_eq!(ClusterKey::read(&path).unwrap().as_bytes(), key.as_bytes());
        write(&key.to_text(), 0o644);
        assert!(matches!(ClusterKey::read(&path), Err(KeyError::Exposed { mode: 0o644, .. })));
        write("abc\n", 0o600);
        assert!(matches!(ClusterKey::read(&path), Err(KeyError::Malformed { .. })));
        assert!(matches!(ClusterKey::read(&tmp.path().join("no")), Err(KeyError::Read { .. })));
    }
}
