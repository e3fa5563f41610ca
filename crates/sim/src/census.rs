//! What a run consists of, by kind: for whoever asks why it takes so long.

use std::collections::BTreeMap;

use filch_types::wire::{Message, Request};

use crate::world::Ev;

/// Counts by kind. Not kept unless somebody wants them.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Events handled.
    pub events: BTreeMap<&'static str, u64>,
    /// Wake-ups of nodes, by the timer that was due first.
    pub timers: BTreeMap<&'static str, u64>,
    /// Requests and one-way messages sent.
    pub sent: BTreeMap<&'static str, u64>,
}

impl Census {
    pub(crate) fn event(&mut self, event: &Ev) {
        *self.events.entry(event_kind(event)).or_default() += 1;
    }
    pub(crate) fn timer(&mut self, reason: &'static str) {
        *self.timers.entry(reason).or_default() += 1;
    }
    pub(crate) fn request(&mut self, request: &Request) {
        let kind = match request {
            Request::Hello(_) => "hello",
            Request::Beat(b) if !b.jobs.is_empty() => "heartbeat with leases",
            Request::Beat(b) if b.digests.is_empty() && b.offices.is_empty() => "heartbeat, empty",
            Request::Beat(_) => "heartbeat of a replica",
            Request::Claim { .. } => "claim",
            Request::Steal { .. } => "steal",
            Request::Replicate(_) => "replicate",
            Request::Manifest(_) => "manifest",
            Request::Digest { .. } => "digest",
            Request::GetFacts { .. } => "get facts",
            Request::Revoke { .. } => "revoke",
        };
        *self.sent.entry(kind).or_default() += 1;
    }
    pub(crate) fn message(&mut self, message: &Message) {
        let kind = match message {
            Message::Facts(_) => "facts",
            Message::Stored { .. } => "stored",
            Message::Held { .. } => "held",
            Message::Fetching { .. } => "fetching",
            Message::Announce(_) => "announce",
            Message::Gift { .. } => "gift",
        };
        *self.sent.entry(kind).or_default() += 1;
    }
}

fn event_kind(event: &Ev) -> &'static str {
    match event {
        Ev::Start { .. } => "start",
        Ev::Timer { .. } => "timer",
        Ev::Dial { .. } => "dial",
        Ev::ConnUp { .. } => "connection up",
        Ev::ConnDown { .. } => "connection down",
        Ev::Packet { .. } => "packet",
        Ev::Gossip { .. } => "gossip",
        Ev::RequestFailed { .. } => "request fails",
        Ev::Committed { .. } => "commit",
        Ev::Fetch { .. } => "fetch",
        Ev::Exec { .. } => "execution",
        Ev::Split { .. } => "split",
        Ev::EndsSoon { .. } => "ends soon",
        Ev::Kill { .. } => "kill",
        Ev::Staging { .. } => "staging",
        Ev::Scrub { .. } => "scrub",
        Ev::ScrubRows { .. } => "scrub of rows",
        Ev::RowsLost { .. } => "rows lost",
        Ev::ReadFacts { .. } => "read facts",
        Ev::Submit { .. } => "submit",
        Ev::Act { .. } => "client",
        Ev::Fault { .. } => "fault",
        Ev::FaultEnd { .. } => "end of a fault",
        Ev::Image { .. } => "image",
    }
}
