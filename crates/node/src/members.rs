//! Addresses of members, kept for the next start.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use filch_types::{NodeId, codec, limits};

use crate::disk::{Disk, Note};

/// The note in the ledger.
const KEY: &str = "members";
/// Members that are remembered.
const MEMBERS: usize = 256;
/// Bytes of an address.
const ADDRESS: usize = 256;
/// Bytes of the note.
const NOTE: usize = 1024 * 1024;

/// See the module.
pub struct Remembered {
    disk: Disk,
    known: Mutex<BTreeMap<NodeId, Vec<String>>>,
}

impl Remembered {
    /// What the note says; a note that cannot be read is as good as none.
    pub fn new(disk: Disk, note: Option<Vec<u8>>) -> Arc<Self> {
        let known = note.and_then(|n| codec::decode(&n, NOTE).ok()).unwrap_or_default();
        Arc::new(Self { disk, known: Mutex::new(known) })
    }
    /// The key of the note.
    pub fn key() -> &'static str {
        KEY
    }
    /// For the network.
    pub fn all(&self) -> Vec<(NodeId, Vec<String>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(n, a)| (*n, a.clone())).collect()
    }
    /// Where a member can be reached; no addresses means that it is to be forgotten. Written down if that is news.
    pub fn learn(&self, peer: NodeId, mut addresses: Vec<String>) {
        addresses.retain(|a| a.len() <= ADDRESS);
        addresses.truncate(limits::MAX_ADDRS);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(&peer) == Some(&addresses) {
            return;
        }
        if addresses.is_empty() {
            known.remove(&peer);
        } else {
            if known.len() >= MEMBERS && !known.contains_key(&peer) {
                known.pop_first();
            }
            known.insert(peer, addresses);
        }
        if let Ok(value) = codec::encode(&*known, NOTE) {
            self.disk.note(Note { key: KEY.into(), value: Some(value), done: None });
        }
    }
}
