//! Names of nodes, for people.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use filch_api::NodeRef;
use filch_types::NodeId;

use crate::driver::DriverHandle;

/// Names heard so far; asks the core for those that are missing.
pub struct Names {
    driver: DriverHandle,
    known: Mutex<HashMap<NodeId, String>>,
}

impl Names {
    /// Knows only this node.
    pub fn new(driver: DriverHandle, me: NodeId, name: &str) -> Self {
        Self { driver, known: Mutex::new(HashMap::from([(me, name.to_owned())])) }
    }
    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// It may have another name now.
    pub fn forget(&self, id: NodeId) {
        self.lock().remove(&id);
    }
    /// With names, as far as they are known.
    pub async fn of(&self, ids: &[NodeId]) -> Vec<NodeRef> {
        let missing = {
            let known = self.lock();
            ids.iter().any(|id| !known.contains_key(id))
        };
        if missing {
            self.refresh().await;
        }
        let known = self.lock();
        ids.iter().map(|id| NodeRef { id: *id, name: known.get(id).cloned().unwrap_or_default() }).collect()
    }
    /// The same for one.
    pub async fn one(&self, id: NodeId) -> NodeRef {
        self.of(&[id]).await.pop().unwrap_or(NodeRef { id, name: String::new() })
    }
    async fn refresh(&self) {
        let peers = self.driver.read(|n| n.peers().into_iter().map(|p| (p.id, p.name)).collect::<Vec<_>>()).await;
        // Bounded by the core's own table of peers.
        self.lock().extend(peers.unwrap_or_default());
    }
}
