//! The driver's one inbox. Overflow, by where a thing comes from:
//!
//! - disk, executor, blobs, connections coming and going: always taken. What the core itself asked for, so as many as
//!   it has outstanding, which it bounds;
//! - messages of peers: beyond `NET_ENTRIES` or `NET_BYTES` the pump between network and inbox waits, the network's own bounded
//!   queue fills up behind it, and the peers' connections push back;
//! - clients: refused beyond `CLIENT_ENTRIES`, the caller is told.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use filch_core::io::Reply;
use filch_core::{ClientId, Input, Node};
use filch_types::wire::{Message, Response};

/// Messages of peers that may wait.
pub const NET_ENTRIES: usize = 16 * 1024;
/// Their bytes, roughly.
pub const NET_BYTES: usize = 64 * 1024 * 1024;
/// Calls of clients that may wait.
pub const CLIENT_ENTRIES: usize = 4096;

/// Reads the core between two inputs.
pub type ReadFn = Box<dyn FnOnce(&Node) + Send>;
/// Makes a client's input under the id that the driver gives it.
pub type CallFn = Box<dyn FnOnce(ClientId) -> Input + Send>;

/// One thing to do for the driver.
pub enum Work {
    /// An input of the core.
    Input(Input),
    /// The same from a peer, with its weight in bytes.
    Net(Input, usize),
    /// Read the core.
    Read(ReadFn),
    /// Call the core; answers go to the sender.
    Call(CallFn, tokio::sync::mpsc::UnboundedSender<Reply>),
    /// The caller is not interested any more.
    Hangup(ClientId),
    /// End the driver.
    Stop,
}

/// The inbox is at its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node is busy: too much is waiting for it")]
pub struct Full;

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    net: usize,
    net_bytes: usize,
    clients: usize,
    asleep: bool,
    /// The network's pump waits for room.
    pressed: bool,
    closed: bool,
}

/// See the module.
#[derive(Default)]
pub struct Inbox {
    queue: Mutex<Queue>,
    wake: Condvar,
    room: tokio::sync::Notify,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn put(&self, mut q: MutexGuard<'_, Queue>, work: Work) {
        q.work.push_back(work);
        let asleep = std::mem::replace(&mut q.asleep, false);
        drop(q);
        if asleep {
            self.wake.notify_one();
        }
    }
    /// From disk, executor, blobs, or about connections.
    pub fn push(&self, input: Input) {
        self.put(self.lock(), Work::Input(input));
    }
    /// From a peer; given back if there is no room.
    pub fn try_push_net(&self, input: Input) -> Option<Input> {
        let bytes = weight(&input);
        let mut q = self.lock();
        if q.closed {
            return None;
        }
        if q.net >= NET_ENTRIES || q.net_bytes.saturating_add(bytes) > NET_BYTES {
            q.pressed = true;
            return Some(input);
        }
        q.net += 1;
        q.net_bytes += bytes;
        self.put(q, Work::Net(input, bytes));
        None
    }
    /// From a peer; waits for room. One caller at a time: the network's pump.
    pub async fn push_net(&self, mut input: Input) {
        loop {
            match self.try_push_net(input) {
                None => return,
                Some(back) => input = back,
            }
            // A permit is kept if the room came in between.
            self.room.notified().await;
        }
    }
    /// From a client.
    pub fn push_client(&self, work: Work) -> Result<(), Full> {
        let mut q = self.lock();
        if q.clients >= CLIENT_ENTRIES || q.closed {
            return Err(Full);
        }
        q.clients += 1;
        self.put(q, work);
        Ok(())
    }
    /// Ends the driver after what waits already. Clients are refused from now on.
    pub fn stop(&self) {
        let mut q = self.lock();
        q.closed = true;
        self.put(q, Work::Stop);
    }
    /// Moves up to `max` entries to `into`; sleeps until there is one, but at most `patience` (forever if `None`).
    pub fn take(&self, into: &mut Vec<Work>, max: usize, patience: Option<Duration>) {
        let mut q = self.lock();
        if q.work.is_empty() {
            q.asleep = true;
            q = match patience {
                Some(d) => self.wake.wait_timeout(q, d).map_or_else(|e| e.into_inner().0, |(q, _)| q),
                None => self.wake.wait(q).unwrap_or_else(PoisonError::into_inner),
            };
            q.asleep = false;
        }
        let n = q.work.len().min(max);
        let Queue { work, net, net_bytes, clients, .. } = &mut *q;
        for work in work.drain(..n) {
            match &work {
                Work::Net(_, bytes) => {
                    *net -= 1;
                    *net_bytes -= bytes;
                }
                Work::Read(_) | Work::Call(..) => *clients -= 1,
                Work::Input(_) | Work::Hangup(_) | Work::Stop => {}
            }
            into.push(work);
        }
        let relieved = q.pressed && q.net < NET_ENTRIES / 2 && q.net_bytes < NET_BYTES / 2;
        q.pressed &= !relieved;
        drop(q);
        if relieved {
            self.room.notify_one();
        }
    }
    /// Nobody reads the inbox any more: what waits is dropped, so callers see their answers' senders go.
    pub fn close(&self) {
        let mut q = self.lock();
        q.closed = true;
        q.work.clear();
        drop(q);
        self.room.notify_one();
    }
    /// Entries that wait.
    pub fn waiting(&self) -> usize {
        self.lock().work.len()
    }
    /// The caller of this id is gone.
    pub fn hangup(&self, client: ClientId) {
        self.put(self.lock(), Work::Hangup(client));
    }
}

/// Bytes of an input of a peer, roughly: what dominates is counted.
fn weight(input: &Input) -> usize {
    let facts = |list: &[filch_types::SignedFact]| list.iter().map(|f| f.bytes.len() + 64).sum::<usize>();
    256 + match input {
        Input::Message(_, Message::Facts(list)) | Input::Response(_, Response::Facts(list)) => facts(list),
        Input::Response(_, Response::FactIds { facts, .. }) => 32 * facts.len(),
        Input::Response(_, Response::Manifest(m)) => m.bytes.len(),
        Input::Request(_, _, filch_types::wire::Request::Replicate(m)) => m.bytes.len(),
        _ => 256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filch_types::{JobId, NodeId};

    fn facts(len: usize) -> Input {
        let fact = filch_types::SignedFact { bytes: vec![0; len], sig: filch_types::sign::Sig([0; 64]) };
        Input::Message(NodeId::default(), Message::Facts(vec![fact]))
    }

    #[tokio::test]
    async fn peers_wait_for_room_and_the_disk_never_does() {
        let inbox = std::sync::Arc::new(Inbox::default());
        let mut taken = 0;
        while inbox.try_push_net(facts(1024 * 1024)).is_none() {
            taken += 1;
        }
        assert!((32..=64).contains(&taken), "{taken}");
        inbox.push(Input::ClosureHeld(JobId::default()));
        assert!(inbox.push_client(Work::Read(Box::new(|_| ()))).is_ok());
        let pump = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.push_net(facts(1024 * 1024)).await }
        });
        tokio::task::yield_now().await;
        assert!(!pump.is_finished());
        let mut out = Vec::new();
        inbox.take(&mut out, 1000, None);
        assert_eq!(out.len(), taken + 2);
        pump.await.unwrap();
        assert_eq!(inbox.waiting(), 1);
    }

    #[test]
    fn order_is_kept_and_batches_are_bounded() {
        let inbox = Inbox::default();
        for n in 0..5u8 {
            inbox.push(Input::ClosureHeld(JobId([n; 32])));
        }
        let mut out = Vec::new();
        inbox.take(&mut out, 3, None);
        inbox.take(&mut out, 3, None);
        let order: Vec<u8> = out
            .iter()
            .filter_map(|w| if let Work::Input(Input::ClosureHeld(j)) = w { Some(j.0[0]) } else { None })
            .collect();
        assert_eq!(order, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_stopped_inbox_refuses_clients() {
        let inbox = Inbox::default();
        inbox.stop();
        assert_eq!(inbox.push_client(Work::Read(Box::new(|_| ()))), Err(Full));
    }
}
