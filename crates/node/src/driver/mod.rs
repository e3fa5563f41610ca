//! The driver: one thread owns the core. It takes a batch of inputs, hands them in one by one, drains what the core wants
//! done after each, and sleeps until the core's next deadline. A plain thread, because its inputs come from plain threads
//! (slots, disk) as often as from tasks, and a wake-up of a sleeping thread is one system call.

mod handle;
mod inbox;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use filch_core::io::{ClientError, Reply};
use filch_core::{ClientId, Node, Output};
use filch_types::wire::Refusal;
use tokio::sync::mpsc::UnboundedSender;

use crate::clock::Clock;
pub use handle::{Call, DriverError, DriverHandle};
pub use inbox::{Full, Inbox, Work};

/// Inputs handled before deadlines are looked at again.
const BATCH: usize = 256;

/// Where the core's outputs go, except answers to clients.
pub trait Outlet: Send {
    /// Does it, or hands it to who does. Must not block; what comes of it goes into the inbox.
    fn dispatch(&mut self, output: Output);
}

/// See the module.
pub struct Driver<O> {
    node: Node,
    inbox: Arc<Inbox>,
    clock: Clock,
    outlet: O,
    clients: HashMap<ClientId, UnboundedSender<Reply>>,
    next_client: u64,
}

impl<O: Outlet> Driver<O> {
    /// A driver of a node that has been restored.
    pub fn new(node: Node, inbox: Arc<Inbox>, clock: Clock, outlet: O) -> Self {
        Self { node, inbox, clock, outlet, clients: HashMap::new(), next_client: 0 }
    }

    /// Runs until `Inbox::stop`.
    pub fn run(mut self) {
        // The inbox is closed however the thread ends: callers must not wait for somebody who is gone.
        struct Close(Arc<Inbox>);
        impl Drop for Close {
            fn drop(&mut self) {
                self.0.close();
            }
        }
        let _close = Close(self.inbox.clone());
        let mut batch = Vec::with_capacity(BATCH);
        self.drain();
        loop {
            self.fire();
            self.inbox.take(&mut batch, BATCH, self.patience());
            for work in batch.drain(..) {
                match work {
                    Work::Input(input) | Work::Net(input, _) => {
                        self.node.handle_input(self.clock.now(), input);
                        self.drain();
                    }
                    Work::Read(read) => read(&self.node),
                    Work::Call(make, replies) => {
                        self.next_client += 1;
                        let id = ClientId(self.next_client);
                        self.clients.insert(id, replies);
                        self.node.handle_input(self.clock.now(), make(id));
                        self.drain();
                    }
                    Work::Hangup(id) => {
                        self.clients.remove(&id);
                    }
                    Work::Stop => return self.refuse_clients(),
                }
            }
        }
    }

    fn patience(&self) -> Option<Duration> {
        self.node.poll_timeout().map(|d| self.clock.until(d.at))
    }

    fn fire(&mut self) {
        let now = self.clock.now();
        if self.node.poll_timeout().is_some_and(|d| d.at <= now) {
            self.node.handle_timeout(now);
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Reply(client, reply) => self.reply(client, reply),
                other => self.outlet.dispatch(other),
            }
        }
    }

    fn reply(&mut self, client: ClientId, reply: Reply) {
        let last = !matches!(reply, Reply::Submitted(_));
        if last {
            if let Some(to) = self.clients.remove(&client) {
                let _ = to.send(reply);
            }
        } else if let Some(to) = self.clients.get(&client) {
            let _ = to.send(reply);
        }
    }

    fn refuse_clients(&mut self) {
        for (_, to) in self.clients.drain() {
            let _ = to.send(Reply::Refused(ClientError::Refused(Refusal::Draining)));
        }
    }
}

#[cfg(test)]
mod tests;
