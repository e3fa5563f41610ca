//! Facts on their way to peers: read from the ledger, cut into frames. Facts that were committed lately are answered from
//! memory without another thread; the rest is read on the blocking pool, at most so many reads at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use filch_core::io::Token;
use filch_ledger::LedgerReader;
use filch_net::{Command, Net};
use filch_types::record::Record;
use filch_types::wire::{Message, Refusal, Response};
use filch_types::{FactId, JobId, NodeId, SignedFact, limits};
use tokio::sync::Semaphore;

use crate::stats::Stats;

/// Bytes of facts that are kept in memory.
const KEEP: usize = 4 * 1024 * 1024;
/// Reads from the ledger that may be under way or wait. Beyond it messages are dropped (the core sends them again), requests
/// refused.
const READS: usize = 64;
/// Bytes of a fact in a frame besides its own.
const OVERHEAD: usize = 80;

#[derive(Default)]
struct Recent {
    facts: HashMap<FactId, Arc<SignedFact>>,
    order: VecDeque<FactId>,
    bytes: usize,
}

/// See the module.
pub struct Facts {
    reader: Arc<dyn LedgerReader>,
    net: Net,
    recent: Mutex<Recent>,
    reads: Arc<Semaphore>,
    runtime: tokio::runtime::Handle,
    stats: Arc<Stats>,
}

impl Facts {
    /// From this ledger to this network.
    pub fn new(
        reader: Arc<dyn LedgerReader>,
        net: Net,
        runtime: tokio::runtime::Handle,
        stats: Arc<Stats>,
    ) -> Arc<Self> {
        let reads = Arc::new(Semaphore::new(READS));
        Arc::new(Self { reader, net, recent: Mutex::default(), reads, runtime, stats })
    }

    /// Keeps facts that are being committed: most are sent right after. Nothing is sent before the core says so.
    pub fn remember(&self, records: &[Record]) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            let Record::Fact(_, id, fact) = record else { continue };
            if recent.facts.insert(*id, Arc::new(fact.clone())).is_none() {
                recent.order.push_back(*id);
                recent.bytes += fact.bytes.len();
            }
        }
        while recent.bytes > KEEP {
            let Some(id) = recent.order.pop_front() else { break };
            if let Some(fact) = recent.facts.remove(&id) {
                recent.bytes -= fact.bytes.len();
            }
        }
    }

    fn remembered(&self, ids: &[FactId]) -> Option<Vec<SignedFact>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        ids.iter().map(|id| recent.facts.get(id).map(|f| (**f).clone())).collect()
    }

    /// As messages, in as many frames as it takes.
    pub fn send(self: &Arc<Self>, to: NodeId, job: JobId, ids: Vec<FactId>) {
        if let Some(facts) = self.remembered(&ids) {
            return self.send_frames(to, facts);
        }
        let Ok(permit) = self.reads.clone().try_acquire_owned() else {
            return self.stats.net_dropped.add(1);
        };
        let me = self.clone();
        self.runtime.spawn_blocking(move || {
            let _permit = permit;
            // A frame at a time: the list may be long, the memory for it is not.
            let mut frame = Vec::new();
            let mut bytes = 0;
            for id in ids {
                let Some(fact) = me.read(job, id) else { continue };
                let size = fact.bytes.len() + OVERHEAD;
                if bytes + size > limits::FRAME_BUDGET && !frame.is_empty() {
                    me.command(Command::Send(to, Message::Facts(std::mem::take(&mut frame))));
                    bytes = 0;
                }
                bytes += size;
                frame.push(fact);
            }
            if !frame.is_empty() {
                me.command(Command::Send(to, Message::Facts(frame)));
            }
        });
    }

    fn send_frames(&self, to: NodeId, facts: Vec<SignedFact>) {
        let mut frame = Vec::with_capacity(facts.len());
        let mut bytes = 0;
        for fact in facts {
            let size = fact.bytes.len() + OVERHEAD;
            if bytes + size > limits::FRAME_BUDGET && !frame.is_empty() {
                self.command(Command::Send(to, Message::Facts(std::mem::take(&mut frame))));
                bytes = 0;
            }
            bytes += size;
            frame.push(fact);
        }
        if !frame.is_empty() {
            self.command(Command::Send(to, Message::Facts(frame)));
        }
    }

    /// As the answer to a request, as many as fit one frame.
    pub fn respond(self: &Arc<Self>, token: Token, job: JobId, ids: Vec<FactId>) {
        let Ok(permit) = self.reads.clone().try_acquire_owned() else {
            let busy = Response::Refused(Refusal::Limit("reads".into()));
            return self.command(Command::Respond(token, busy));
        };
        let me = self.clone();
        self.runtime.spawn_blocking(move || {
            let _permit = permit;
            let (mut frame, mut bytes) = (Vec::new(), 0);
            for id in ids {
                let Some(fact) = me.read(job, id) else { continue };
                bytes += fact.bytes.len() + OVERHEAD;
                if bytes > limits::FRAME_BUDGET && !frame.is_empty() {
                    break;
                }
                frame.push(fact);
            }
            me.command(Command::Respond(token, Response::Facts(frame)));
        });
    }

    fn read(&self, job: JobId, id: FactId) -> Option<SignedFact> {
        if let Some(fact) = self.recent.lock().unwrap_or_else(PoisonError::into_inner).facts.get(&id) {
            return Some((**fact).clone());
        }
        self.reader.fact(job, id).unwrap_or_else(|e| {
            tracing::error!(%e, "a fact cannot be read");
            None
        })
    }

    fn command(&self, command: Command) {
        if self.net.command(command).is_err() {
            self.stats.net_overflow.add(1);
        }
    }
}
