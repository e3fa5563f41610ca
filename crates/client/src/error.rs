//! What can go wrong between a client and its node.

use std::path::PathBuf;

use filch_api::{Code, Problem, TaskCause};

/// Why a request did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("no node is running here: nobody listens on {}", socket.display())]
    NoNode {
        /// Where one was expected.
        socket: PathBuf,
    },
    /// Somebody listens, but not for this user.
    #[error("the node on {} belongs to another user", socket.display())]
    Forbidden {
        /// The socket.
        socket: PathBuf,
    },
    /// There is no place for a socket.
    #[error(transparent)]
    Paths(#[from] filch_api::paths::PathsError),
    /// The node answered with an error.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// The connection broke.
    #[error("the connection to the node was lost: {0}")]
    Lost(String),
    /// Nothing came for too long.
    #[error("the node has not answered for {0} s")]
    Silent(u64),
    /// What came is not what the API says.
    #[error("the node answered something that this version of filch does not understand: {0}")]
    Protocol(String),
    /// A task failed whose result was asked for.
    #[error("the task failed: {cause}{}", wrote(stderr))]
    TaskFailed {
        /// Why.
        cause: TaskCause,
        /// What it wrote to stderr.
        stderr: String,
    },
    /// The job was cancelled before there was a result.
    #[error("the job was cancelled")]
    Cancelled,
    /// A job that breaks a rule, found before anything was sent.
    #[error("{0}")]
    Spec(String),
    /// Something local.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

fn wrote(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; it wrote: {stderr}") }
}

impl ClientError {
    /// What to do about it, if that can be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            ClientError::NoNode { .. } => Some(
                "start one with `filch up` (or `filch up --detach`); if it runs elsewhere, set FILCH_SOCKET or FILCH_DATA_DIR"
                    .into(),
            ),
            ClientError::Forbidden { .. } => Some("run as that user, or start your own with `filch up`".into()),
            ClientError::Problem(p) => p.hint.clone(),
            ClientError::Lost(_) => {
                Some("jobs that were accepted go on; `filch up` starts the node again, `filch wait JOB` comes back".into())
            }
            ClientError::Silent(_) => Some("it may be suspended or overloaded; try again".into()),
            ClientError::Protocol(_) => Some("use the same version of filch for the node and its clients".into()),
            _ => None,
        }
    }
    /// Whether the same request may succeed later: the node is gone for now, on its way down, or has not heard of the job yet.
    pub fn may_pass(&self) -> bool {
        match self {
            ClientError::Lost(_) | ClientError::NoNode { .. } | ClientError::Silent(_) => true,
            ClientError::Problem(p) => matches!(p.code, Code::NoSuchJob | Code::Draining | Code::Unreachable),
            _ => false,
        }
    }
    /// What a command line should exit with.
    pub fn exit(&self) -> u8 {
        match self {
            ClientError::Problem(p) => p.exit,
            ClientError::Spec(_) => 2,
            ClientError::TaskFailed { .. } => 1,
            ClientError::Cancelled => 3,
            _ => 4,
        }
    }
}

impl From<Problem> for ClientError {
    fn from(problem: Problem) -> Self {
        ClientError::Problem(Box::new(problem))
    }
}
