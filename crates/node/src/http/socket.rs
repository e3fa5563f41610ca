//! The Unix socket: mode 0600, and a stale one is only removed when nobody listens on it.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Why the API cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody listens there.
    #[error("another node listens on {}", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has this name.
    #[error("{} is in the way: it is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system said no.
    #[error("cannot listen on {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SocketError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            SocketError::InUse { .. } => "end that node with `filch down`, or give this one its own --socket".into(),
            SocketError::NotASocket { .. } => "move it away, or give another --socket".into(),
            SocketError::Io { .. } => "check that its directory exists and is yours".into(),
        }
    }
}

/// A bound socket. Its file goes with it.
pub struct Socket {
    path: PathBuf,
    mark: Option<Mark>,
}

impl Socket {
    /// Binds; only the owner may connect. Needs a tokio runtime.
    pub fn bind(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        let failed = |source| SocketError::Io { path: path.to_owned(), source };
        if let Some(dir) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        }
        clear(path)?;
        // Bound under another name first: nobody can connect before the mode is right.
        let temp = path.with_extension(format!("{}", std::process::id()));
        let temp = if temp.as_os_str().len() > filch_api::paths::MAX_SOCKET_PATH { path.to_owned() } else { temp };
        let _ = std::fs::remove_file(&temp);
        let listener = StdListener::bind(&temp).map_err(failed)?;
        let finish = || -> io::Result<UnixListener> {
            std::fs::set_permissions(&temp, std::fs::Permissions::from_mode(0o600))?;
            if temp != path {
                std::fs::rename(&temp, path)?;
            }
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        };
        let listener = finish().map_err(|e| {
            let _ = std::fs::remove_file(&temp);
            failed(e)
        })?;
        Ok((Self { path: path.to_owned(), mark: mark(path) }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Not somebody else's, who took the name meanwhile.
        if self.mark.is_some() && mark(&self.path) == self.mark {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Tells a file from a later one of the same name; the number alone may be used again.
type Mark = (u64, i64, i64);

fn mark(path: &Path) -> Option<Mark> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|m| (m.ino(), m.ctime(), m.ctime_nsec()))
}

/// Removes a socket that nobody listens on.
fn clear(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Io { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
        Ok(meta) if !meta.file_type().is_socket() => return Err(SocketError::NotASocket { path: path.to_owned() }),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(failed(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_goes_a_live_one_stays() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("run/s.sock");
        let (socket, listener) = Socket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Socket::bind(&path), Err(SocketError::InUse { .. })));
        drop(listener);
        let (again, _listener) = Socket::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists(), "the old life does not remove the new one's socket");
        drop(again);
        assert!(!path.exists());
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::NotASocket { .. })));
    }
}
