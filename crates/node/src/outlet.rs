//! From the core's outputs to whoever does them. Called on the driver's thread: nothing here blocks.
//!
//! Overflow: commands to the network that find its queue full are dropped and counted; a request that was dropped fails at
//! once. Everything else is taken.

use std::sync::Arc;

use filch_core::{Event, Input, Output};
use filch_net::{Command, Net};
use filch_types::wire::{Refusal, Response};
use tokio_util::sync::CancellationToken;

use crate::damage::Damage;
use crate::delivery::Deliveries;
use crate::disk::Disk;
use crate::driver::{Inbox, Outlet};
use crate::events::{Events, Happening};
use crate::facts::Facts;
use crate::names::Names;
use crate::stats::Stats;
use crate::transfer::jobs::Jobs;
use crate::transfer::stage::Stager;

/// See the module.
pub struct Dispatch {
    /// The inbox, for what fails at once.
    pub inbox: Arc<Inbox>,
    /// The network.
    pub net: Net,
    /// The ledger thread.
    pub disk: Disk,
    /// Facts to peers.
    pub facts: Arc<Facts>,
    /// Closures and result blobs.
    pub jobs: Arc<Jobs>,
    /// Results whose blobs are gone.
    pub damage: Arc<Damage>,
    /// Launches.
    pub stager: Arc<Stager>,
    /// Output files.
    pub deliveries: Arc<Deliveries>,
    /// Who watches.
    pub events: Events,
    /// Names, which a peer that comes back may have changed.
    pub names: Arc<Names>,
    /// Told when the node is drained.
    pub drained: CancellationToken,
    /// Counters.
    pub stats: Arc<Stats>,
    /// Lines in the log that a peer or a full disk could make endless.
    pub complaints: Complaints,
}

/// So many lines in so long a time; the rest is only counted, and told as an event.
#[derive(Default)]
pub struct Complaints(Option<std::time::Instant>, u32);

impl Complaints {
    const LINES: u32 = 20;
    const WINDOW: std::time::Duration = std::time::Duration::from_secs(10);

    fn may(&mut self) -> bool {
        if self.0.is_none_or(|since| since.elapsed() >= Self::WINDOW) {
            *self = Self(Some(std::time::Instant::now()), 0);
        }
        self.1 = self.1.saturating_add(1);
        self.1 <= Self::LINES
    }
}

impl Dispatch {
    fn command(&self, command: Command) -> bool {
        let taken = self.net.command(command).is_ok();
        if !taken {
            self.stats.net_overflow.add(1);
        }
        taken
    }

    fn event(&mut self, event: Event) {
        match &event {
            Event::Final(job, runs) => self.deliveries.finals(*job, runs),
            Event::State(job, state) => self.deliveries.state(*job, *state),
            Event::PeerJoined(peer) => self.names.forget(*peer),
            Event::Rejected(who, why) if self.complaints.may() => {
                tracing::warn!(peer = ?who, why, "dropped what a peer sent");
            }
            Event::ResultsLost { job, packs } => {
                tracing::warn!(
                    ?job,
                    packs,
                    "nobody has the bytes of results that were damaged here: their tasks run again"
                );
            }
            Event::Bounced { job, tasks, why } if self.complaints.may() => {
                tracing::warn!(?job, lo = tasks.lo, count = tasks.len(), why, "tasks went back");
            }
            _ => {}
        }
        self.events.tell(Happening::Core(event));
    }
}

impl Outlet for Dispatch {
    fn dispatch(&mut self, output: Output) {
        match output {
            Output::Send(to, message) => {
                self.command(Command::Send(to, message));
            }
            Output::Request(to, id, request) => {
                if !self.command(Command::Request(to, id, request)) {
                    self.inbox.push(Input::RequestFailed(id));
                }
            }
            Output::Respond(token, response) => {
                self.command(Command::Respond(token, response));
            }
            Output::RespondFacts(token, _, facts) if facts.is_empty() => {
                let why = Refusal::Invalid("no facts were asked for".into());
                self.command(Command::Respond(token, Response::Refused(why)));
            }
            Output::RespondFacts(token, job, facts) => self.facts.respond(token, job, facts),
            Output::SendFacts(to, job, facts) => self.facts.send(to, job, facts),
            Output::Publish(summary) => {
                self.command(Command::Publish(summary));
            }
            Output::Commit { ticket, blobs, records } => {
                self.facts.remember(&records);
                self.disk.commit(ticket, blobs, records);
            }
            Output::ReadFacts(job) => self.damage.read_facts(job),
            Output::FetchClosure { job, manifest, from } => self.jobs.closure(job, manifest, from),
            Output::FetchBlobs { fetch, job, blobs, from } => self.jobs.blobs(fetch, job, blobs, from),
            Output::Release(job) => self.jobs.release(job),
            Output::Launch(launch) => self.stager.launch(launch),
            Output::Stop(launch) => self.stager.stop(launch),
            Output::FetchAhead { job, manifest, tasks, from } => self.stager.fetch_ahead(job, manifest, tasks, from),
            Output::Split { launch, ask, least } => self.stager.split(launch, ask, least),
            Output::Checkpoint(launch) => self.stager.checkpoint(launch),
            Output::Event(event) => self.event(event),
            Output::Drained => self.drained.cancel(),
            // The driver keeps these to itself.
            Output::Reply(..) => {}
        }
    }
}
