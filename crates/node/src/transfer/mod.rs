//! Blobs between nodes: a small framed protocol over one stream, in verified pieces, resumable, from several providers.

mod bridge;
pub mod closure;
pub mod fetch;
mod flights;
mod frame;
pub mod jobs;
mod lists;
mod patient;
pub mod serve;
pub mod stage;

use std::io;
use std::sync::Arc;

use filch_types::NodeId;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

pub use fetch::{FetchError, Fetcher};
pub use lists::{ListError, Lists};
pub use serve::Server;

/// Both directions of a stream to a peer.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Opens streams to peers: the network, or a pipe in a test.
pub trait Opener: Send + Sync {
    /// A new stream to this peer.
    fn open(&self, to: NodeId) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>>;
}

/// A shared opener.
pub type SharedOpener = Arc<dyn Opener>;

#[cfg(test)]
mod tests;
