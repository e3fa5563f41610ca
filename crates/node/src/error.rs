//! Why a node does not start.

use crate::config::ConfigError;
use crate::datadir::DataDirError;
use crate::http::socket::SocketError;

/// Why a node does not start. Each says what and where; `hint` says what to do.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] filch_ledger::OpenError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Replay(#[from] filch_ledger::LedgerError),
    /// The blob store.
    #[error(transparent)]
    Blobs(#[from] filch_blobs::OpenError),
    /// The executor.
    #[error(transparent)]
    Exec(#[from] filch_exec::ExecError),
    /// The network.
    #[error(transparent)]
    Net(#[from] filch_net::NetError),
    /// The local API.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A handler that was named does not exist.
    #[error("there is no handler `{name}`; there are: {known}")]
    Handler {
        /// The name.
        name: String,
        /// Those there are.
        known: String,
    },
    /// The system has no threads to give.
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
}

impl UpError {
    /// What to do about it, if the message does not say so.
    pub fn hint(&self) -> Option<String> {
        match self {
            UpError::Config(e) => Some(e.hint()),
            UpError::DataDir(e) => Some(e.hint()),
            UpError::Socket(e) => Some(e.hint()),
            UpError::Handler { .. } => Some("correct `handlers` in the configuration".into()),
            UpError::Thread(_) => Some("check the limits of the user (ulimit -u)".into()),
            // Their messages say it.
            UpError::Ledger(_) | UpError::Replay(_) | UpError::Blobs(_) | UpError::Exec(_) | UpError::Net(_) => None,
        }
    }
    /// What the process should exit with: 2 for what a person can correct in what they typed, 4 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            UpError::Config(_) | UpError::Handler { .. } | UpError::DataDir(DataDirError::Key(_)) => 2,
            UpError::Net(filch_net::NetError::Address { .. }) => 2,
            _ => 4,
        }
    }
}
