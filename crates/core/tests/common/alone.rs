//! One node whose peers are imaginary.

use filch_core::io::{ClientId, Reply, Ticket, Token};
use filch_core::{Input, Node, Output};
use filch_types::sign::Simulated;
use filch_types::time::Span;
use filch_types::wire::{Beat, Hello, Message, Request, Response};
use filch_types::{JobId, MachineId, Nonce, StoreId, Timestamp};

use super::{config, id, spec};

/// One node with imaginary peers: whatever it wants from them is looked at here.
pub struct Alone {
    pub node: Node,
    pub now: Timestamp,
    token: u64,
}

impl Alone {
    pub fn new(n: u8) -> Self {
        let now = Timestamp(5_000_000);
        Self { node: Node::new(config(n, 2), Box::new(Simulated(id(n))), [7; 32], now), now, token: 0 }
    }
    pub fn give(&mut self, i: Input) -> Vec<Output> {
        self.node.handle_input(self.now, i);
        std::iter::from_fn(|| self.node.poll_output()).collect()
    }
    pub fn pass(&mut self, ms: u64) -> Vec<Output> {
        let until = self.now + Span::millis(ms);
        let mut out = Vec::new();
        while let Some(d) = self.node.poll_timeout().filter(|d| d.at <= until) {
            self.now = self.now.max(d.at);
            self.node.handle_timeout(self.now);
            out.extend(std::iter::from_fn(|| self.node.poll_output()));
        }
        self.now = until;
        out
    }
    pub fn peer(&mut self, n: u8) {
        self.give(Input::PeerUp(id(n)));
        let hello = Hello {
            store: StoreId([n; 16]),
            machine: MachineId([n; 16]),
            boot: 1,
            name: format!("n{n}"),
            slots: 2,
            offers: vec!["handler:noop".into()],
            draining: false,
        };
        self.ask(n, Request::Hello(hello));
    }
    /// A peer's request and the answer to it.
    pub fn ask(&mut self, from: u8, r: Request) -> (Response, Vec<Output>) {
        self.token += 1;
        let token = Token(self.token);
        let mut out = self.give(Input::Request(id(from), token, r));
        let at = out.iter().position(|o| matches!(o, Output::Respond(t, _) if *t == token)).expect("answered");
        let Output::Respond(_, r) = out.remove(at) else { unreachable!() };
        (r, out)
    }
    /// Answers the one request in `out` that is meant.
    pub fn answer(&mut self, out: &[Output], meant: impl Fn(&Request) -> bool, r: Response) -> Vec<Output> {
        let req = out.iter().find_map(|o| match o {
            Output::Request(_, req, body) if meant(body) => Some(*req),
            _ => None,
        });
        self.give(Input::Response(req.expect("asked"), r))
    }
    /// Heartbeats of so many milliseconds.
    pub fn beats(&mut self, ms: u64) -> Vec<Beat> {
        let beats = self.pass(ms).into_iter().filter_map(|o| match o {
            Output::Request(_, _, Request::Beat(b)) => Some(b),
            _ => None,
        });
        beats.collect()
    }
    pub fn commit_all(&mut self, out: &[Output]) -> Vec<Output> {
        let mut more = Vec::new();
        for t in tickets(out) {
            more.extend(self.give(Input::Committed(t)));
        }
        more
    }
    pub fn submit(&mut self, count: u32, copies: u8) -> (JobId, Vec<Output>) {
        let (client, nonce) = (ClientId(1), Nonce([9; 16]));
        let spec = Box::new(spec(count));
        let out = self.give(Input::Submit { client, nonce, now_ms: 0, spec, copies: Some(copies) });
        let job = out.iter().find_map(|o| match o {
            Output::Reply(_, Reply::Submitted(j)) => Some(*j),
            _ => None,
        });
        let more = self.commit_all(&out);
        (job.expect("submitted"), more)
    }
    pub fn held(&mut self, n: u8, job: JobId) -> Vec<Output> {
        self.give(Input::Message(id(n), Message::Held { job, store: StoreId([n; 16]), machine: MachineId([n; 16]) }))
    }
}

pub fn tickets(out: &[Output]) -> Vec<Ticket> {
    out.iter()
        .filter_map(|o| match o {
            Output::Commit { ticket, .. } => Some(*ticket),
            _ => None,
        })
        .collect()
}
