//! Where a node keeps its things and where its socket is: one rule for nodes and clients.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Names a node's data directory.
pub const DATA_DIR_VAR: &str = "FILCH_DATA_DIR";
/// Names a node's socket.
pub const SOCKET_VAR: &str = "FILCH_SOCKET";
/// The socket's file name in its directory.
pub const SOCKET_NAME: &str = "filch.sock";
/// Bytes of a Unix socket's path, at most (`sun_path` less its NUL).
pub const MAX_SOCKET_PATH: usize = 107;

/// Why there is no such place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathsError {
    /// Nothing says where the user's files are.
    #[error("no data directory: neither --data-dir, FILCH_DATA_DIR, XDG_DATA_HOME nor HOME is set")]
    NoHome,
    /// A Unix socket cannot have this path.
    #[error(
        "the socket's path `{0}` is longer than 107 bytes; set FILCH_SOCKET to a shorter one, for the node and for its clients"
    )]
    TooLong(PathBuf),
}

/// What the rules look at; tests give their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// `--data-dir`, or the data directory of a configuration file.
    pub data_dir: Option<PathBuf>,
    /// `--socket`.
    pub socket: Option<PathBuf>,
    /// `FILCH_DATA_DIR`.
    pub data_dir_var: Option<OsString>,
    /// `FILCH_SOCKET`.
    pub socket_var: Option<OsString>,
    /// `XDG_DATA_HOME`.
    pub xdg_data_home: Option<OsString>,
    /// `XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<OsString>,
    /// `XDG_STATE_HOME`.
    pub xdg_state_home: Option<OsString>,
    /// `HOME`.
    pub home: Option<OsString>,
}

impl Surroundings {
    /// Those of this process. Empty variables count as unset.
    pub fn of_process(data_dir: Option<&Path>, socket: Option<&Path>) -> Self {
        let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
        Self {
            data_dir: data_dir.map(Path::to_owned),
            socket: socket.map(Path::to_owned),
            data_dir_var: var(DATA_DIR_VAR),
            socket_var: var(SOCKET_VAR),
            xdg_data_home: var("XDG_DATA_HOME"),
            xdg_runtime_dir: var("XDG_RUNTIME_DIR"),
            xdg_state_home: var("XDG_STATE_HOME"),
            home: var("HOME"),
        }
    }

    /// `--data-dir`, else `$FILCH_DATA_DIR`, else `$XDG_DATA_HOME/filch`, else `~/.local/share/filch`. Not made here.
    pub fn data_dir(&self) -> Result<PathBuf, PathsError> {
        if let Some(dir) = self.named_data_dir() {
            return Ok(dir);
        }
        if let Some(xdg) = absolute(&self.xdg_data_home) {
            return Ok(xdg.join("filch"));
        }
        absolute(&self.home).map(|home| home.join(".local/share/filch")).ok_or(PathsError::NoHome)
    }

    /// `--socket`, else (a data directory was named by `--data-dir`) in that, else `$FILCH_SOCKET`, else (named by
    /// `$FILCH_DATA_DIR`) in that, else `$XDG_RUNTIME_DIR/filch/filch.sock`, else in the default data directory.
    pub fn socket(&self) -> Result<PathBuf, PathsError> {
        let path = match (&self.socket, &self.data_dir, &self.socket_var, &self.data_dir_var) {
            (Some(socket), ..) => socket.clone(),
            (None, Some(dir), ..) => dir.join(SOCKET_NAME),
            (None, None, Some(socket), _) => PathBuf::from(socket),
            (None, None, None, Some(dir)) => PathBuf::from(dir).join(SOCKET_NAME),
            (None, None, None, None) => match absolute(&self.xdg_runtime_dir).filter(|dir| dir.is_dir()) {
                Some(run) => run.join("filch").join(SOCKET_NAME),
                None => self.data_dir()?.join(SOCKET_NAME),
            },
        };
        if path.as_os_str().len() > MAX_SOCKET_PATH { Err(PathsError::TooLong(path)) } else { Ok(path) }
    }

    /// Where a client keeps the submits that were not answered yet: `$XDG_STATE_HOME/filch/submits`, else
    /// `~/.local/state/filch/submits`; none without a home. Not made here.
    pub fn submits_dir(&self) -> Option<PathBuf> {
        let state = absolute(&self.xdg_state_home);
        let state = state.or_else(|| absolute(&self.home).map(|home| home.join(".local/state")))?;
        Some(state.join("filch/submits"))
    }

    fn named_data_dir(&self) -> Option<PathBuf> {
        self.data_dir.clone().or_else(|| self.data_dir_var.as_ref().map(PathBuf::from))
    }
}

/// XDG: a relative path is to be ignored.
fn absolute(var: &Option<OsString>) -> Option<PathBuf> {
    var.as_ref().map(PathBuf::from).filter(|p| p.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_explicit_wins() {
        let mut s = Surroundings { home: Some("/home/a".into()), ..Surroundings::default() };
        assert_eq!(s.data_dir(), Ok("/home/a/.local/share/filch".into()));
        assert_eq!(s.socket(), Ok("/home/a/.local/share/filch/filch.sock".into()));
        s.xdg_data_home = Some("/data".into());
        s.xdg_runtime_dir = Some("/".into());
        assert_eq!(s.data_dir(), Ok("/data/filch".into()));
        assert_eq!(s.socket(), Ok("/filch/filch.sock".into()));
        s.data_dir_var = Some("/var/f".into());
        assert_eq!(s.data_dir(), Ok("/var/f".into()));
        assert_eq!(s.socket(), Ok("/var/f/filch.sock".into()));
        s.socket_var = Some("/run/x".into());
        assert_eq!(s.socket(), Ok("/run/x".into()));
        s.data_dir = Some("d".into());
        assert_eq!(s.data_dir(), Ok("d".into()));
        assert_eq!(s.socket(), Ok("d/filch.sock".into()));
        s.socket = Some("s".into());
        assert_eq!(s.socket(), Ok("s".into()));
    }

    #[test]
    fn no_place_is_an_error() {
        assert_eq!(Surroundings::default().data_dir(), Err(PathsError::NoHome));
        let long = Surroundings { data_dir: Some("/".repeat(108).into()), ..Surroundings::default() };
        assert!(matches!(long.socket(), Err(PathsError::TooLong(_))));
        let relative = Surroundings { xdg_data_home: Some("x".into()), ..Surroundings::default() };
        assert_eq!(relative.data_dir(), Err(PathsError::NoHome));
    }
}
