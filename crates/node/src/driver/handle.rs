//! How everything else reaches the core: reads and calls, answered over channels.

use std::sync::Arc;

use filch_core::io::Reply;
use filch_core::{ClientId, Input, Node};
use tokio::sync::{mpsc, oneshot};

use super::inbox::{Full, Inbox, Work};

/// Why the core could not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// Too much waits for it.
    #[error(transparent)]
    Busy(#[from] Full),
    /// The node is ending.
    #[error("the node is going down")]
    Gone,
}

/// A way to the core.
#[derive(Clone)]
pub struct DriverHandle {
    inbox: Arc<Inbox>,
}

/// A call in progress. Dropping it means that nobody listens any more; the core goes on.
pub struct Call {
    id: ClientId,
    replies: mpsc::UnboundedReceiver<Reply>,
    inbox: Arc<Inbox>,
    over: bool,
}

impl DriverHandle {
    /// To the driver behind this inbox.
    pub fn new(inbox: Arc<Inbox>) -> Self {
        Self { inbox }
    }
    /// The inbox, for inputs.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }
    /// Runs `f` on the core between two inputs. Keep it short: the node stands still meanwhile.
    pub async fn read<R: Send + 'static>(&self, f: impl FnOnce(&Node) -> R + Send + 'static) -> Result<R, DriverError> {
        let (tx, rx) = oneshot::channel();
        let read = Box::new(move |node: &Node| {
            let _ = tx.send(f(node));
        });
        self.inbox.push_client(Work::Read(read))?;
        rx.await.map_err(|_| DriverError::Gone)
    }
    /// Hands in a client's call. The core answers with at most two replies (`Submitted`, then the last one).
    pub async fn call(&self, make: impl FnOnce(ClientId) -> Input + Send + 'static) -> Result<Call, DriverError> {
        let (id_tx, id_rx) = oneshot::channel();
        let (tx, replies) = mpsc::unbounded_channel();
        let make = Box::new(move |id| {
            let _ = id_tx.send(id);
            make(id)
        });
        self.inbox.push_client(Work::Call(make, tx))?;
        let id = id_rx.await.map_err(|_| DriverError::Gone)?;
        Ok(Call { id, replies, inbox: self.inbox.clone(), over: false })
    }
}

impl Call {
    /// The next reply.
    pub async fn next(&mut self) -> Result<Reply, DriverError> {
        match self.replies.recv().await {
            Some(reply) => Ok(reply),
            None => {
                self.over = true;
                Err(DriverError::Gone)
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.over {
            self.inbox.hangup(self.id);
        }
    }
}
