//! Which blobs are on their way, so that two jobs that want the same one fetch it once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use filch_types::BlobId;
use tokio::sync::Notify;

/// Blobs with their lengths.
pub type Want = Vec<(BlobId, u64)>;

/// Blobs on their way.
#[derive(Default)]
pub struct Flights {
    blobs: Mutex<HashSet<BlobId>>,
    landed: Notify,
}

/// Blobs that this holder fetches. Dropping it tells those who wait.
pub struct Flight {
    flights: Arc<Flights>,
    blobs: Vec<BlobId>,
}

impl Flights {
    /// Takes those of `want` that nobody fetches; gives back the others.
    pub fn take(self: &Arc<Self>, want: Want) -> (Flight, Want, Want) {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let (mine, theirs): (Vec<_>, Vec<_>) = want.into_iter().partition(|(id, _)| blobs.insert(*id));
        let flight = Flight { flights: self.clone(), blobs: mine.iter().map(|(id, _)| *id).collect() };
        (flight, mine, theirs)
    }
    /// Waits until somebody's blobs landed, unless none of `these` is on its way any more.
    pub async fn wait(&self, these: &[(BlobId, u64)]) {
        let landed = self.landed.notified();
        tokio::pin!(landed);
        landed.as_mut().enable();
        let flying = {
            let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
            these.iter().all(|(id, _)| blobs.contains(id))
        };
        if flying {
            landed.await;
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut blobs = self.flights.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &self.blobs {
            blobs.remove(id);
        }
        drop(blobs);
        self.flights.landed.notify_waiters();
    }
}
