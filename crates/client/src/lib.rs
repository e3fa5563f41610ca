//! A client of a filch node: everything that the command line can do, for Rust programs.
//!
//! ```no_run
//! # async fn example() -> Result<(), filch_client::ClientError> {
//! use filch_client::{Client, JobBuilder};
//!
//! let client = Client::discover()?;
//! // A program somewhere in the cluster, called like a function.
//! let call = JobBuilder::command(["uname", "-a"]).submit(&client).await?;
//! println!("{:?}", call.state().await?);
//! println!("{}", String::from_utf8_lossy(&call.result().await?));
//!
//! // A thousand tasks, results as they come.
//! let job = JobBuilder::command(["sh", "-c", "echo $FILCH_INDEX"]).array(1, 1, 1000).submit(&client).await?;
//! let mut updates = job.follow().await?;
//! while let Some(update) = updates.next().await? {
//!     println!("{update:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A client holds no connection: every request opens one to the Unix socket of the node on this machine, which is cheap.
//! It needs a tokio runtime with IO and time enabled.

mod call;
mod error;
mod http;
mod job;
mod lines;
mod retry;
mod unanswered;
mod updates;
mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use call::{Chunks, Ingest, Submission};
pub use error::ClientError;
pub use filch_api as api;
pub use filch_types as types;
pub use job::{JobBuilder, JobHandle, Prepared};
pub use lines::Lines;
pub use retry::{Retry, RetryError, retry};
pub use unanswered::{Attempt, GOES_ON, Unanswered};
pub use updates::{Follow, Stage, Update, Updates};
pub use values::{Values, item_lists};

/// Speaks to the node that listens on one Unix socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: Arc<Path>,
}

impl Client {
    /// For the node that listens on this socket. Connects only when something is asked.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into().into() }
    }
    /// For the node of this user: `$FILCH_SOCKET` and so on, see `filch_api::paths`.
    pub fn discover() -> Result<Self, ClientError> {
        Ok(Self::new(filch_api::paths::Surroundings::of_process(None, None).socket()?))
    }
    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// A nonce for a new job.
pub fn nonce() -> Result<filch_types::Nonce, ClientError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| ClientError::Io(std::io::Error::other(e.to_string())))?;
    Ok(filch_types::Nonce(bytes))
}
