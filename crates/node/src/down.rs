//! The wish to end the node: from a signal or from the API, with the time that running tasks still get.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// See the module.
#[derive(Clone)]
pub struct Down {
    asked: CancellationToken,
    /// Asked a second time: no more grace.
    hurry: CancellationToken,
    grace: Arc<Mutex<Duration>>,
}

impl Down {
    /// Not asked yet; running tasks get `grace` unless the one who asks says otherwise.
    pub fn new(grace: Duration) -> Self {
        Self { asked: CancellationToken::new(), hurry: CancellationToken::new(), grace: Arc::new(Mutex::new(grace)) }
    }
    /// Please end. Whoever asks again does not want to wait for running tasks.
    pub fn ask(&self, grace: Option<Duration>) {
        if self.asked.is_cancelled() {
            self.hurry.cancel();
        }
        if let Some(grace) = grace {
            *self.grace.lock().unwrap_or_else(PoisonError::into_inner) = grace;
        }
        self.asked.cancel();
    }
    /// Whether somebody did.
    pub fn asked(&self) -> bool {
        self.asked.is_cancelled()
    }
    /// Resolves when somebody does.
    pub async fn wait(&self) {
        self.asked.cancelled().await;
    }
    /// Resolves when somebody does so again.
    pub async fn hurry(&self) {
        self.hurry.cancelled().await;
    }
    /// How long running tasks may still take.
    pub fn grace(&self) -> Duration {
        *self.grace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
