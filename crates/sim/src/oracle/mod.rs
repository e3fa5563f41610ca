//! The oracles: one file per invariant, in words first, with the rule of the protocol that it guards. They see the whole
//! world and are told of everything as it happens; none of them asks a node for more than its views.

mod l1;
mod l2;
mod l4;
mod l8;
mod s11;
mod s13;

use filch_core::view::Role;
use filch_core::{ClientId, Input, Output, Reply};
use filch_types::JobId;
use filch_types::record::Record;
use filch_types::wire::Response;

use crate::fault::DiskAfter;
use crate::history::Run;
use crate::options::{Options, Profile};
use crate::world::World;
use l1::L1;
use l2::L2;
use l4::L4;
use l8::L8;
use s11::S11;
use s13::S13;

/// Something that just happens. State of the world is from directly before it.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A process started; its ledger was replayed.
    Started {
        /// Where.
        host: usize,
    },
    /// A process ended, and its disk is in this state.
    Crashed {
        /// Where.
        host: usize,
        /// How it left the disk.
        disk: DiskAfter,
    },
    /// A node is given an input.
    Fed {
        /// Who.
        host: usize,
        /// What.
        input: &'a Input,
    },
    /// A node wants something done.
    Did {
        /// Who.
        host: usize,
        /// What.
        output: &'a Output,
    },
    /// A record becomes durable.
    Durable {
        /// Where.
        host: usize,
        /// Which.
        record: &'a Record,
    },
    /// A request is answered.
    Answered {
        /// By whom.
        host: usize,
        /// To whom.
        to: usize,
        /// With what.
        response: &'a Response,
    },
    /// A client is answered.
    Replied {
        /// By whom.
        host: usize,
        /// Which call.
        client: ClientId,
        /// With what.
        reply: &'a Reply,
    },
    /// A task begins to execute. It is not in the history yet.
    Runs {
        /// Where.
        host: usize,
        /// Of which job.
        job: JobId,
        /// Which.
        index: u32,
        /// As it will stand in the history.
        run: &'a Run,
    },
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule} broken at {at} us: {text}")]
pub struct Violation {
    /// S1 to S14, L1 to L8.
    pub rule: &'static str,
    /// When, in virtual microseconds.
    pub at: u64,
    /// What was seen.
    pub text: String,
}

/// One invariant.
pub trait Oracle {
    /// Its name in the protocol.
    fn rule(&self) -> &'static str;
    /// Checks what just happens; the error says what is wrong.
    fn saw(&mut self, _world: &World, _seen: &Seen<'_>) -> Result<(), String> {
        Ok(())
    }
    /// Looks at the whole world, now and then.
    fn look(&mut self, _world: &World) -> Result<(), String> {
        Ok(())
    }
    /// What is still to come before the run counts as settled: liveness is that this ends. Asked only after faults have
    /// ended.
    fn waits(&self, _world: &World) -> Option<String> {
        None
    }
    /// From now on the cluster should be quiet.
    fn quiet(&mut self, _world: &World) {}
    /// Looks at the world when everything has settled.
    fn at_end(&mut self, world: &World) -> Result<(), String> {
        self.look(world)
    }
}

/// Those that apply to a run.
pub fn all(options: &Options) -> Vec<Box<dyn Oracle>> {
    let mut all: Vec<Box<dyn Oracle>> = vec![Box::new(S11), Box::new(S13::default())];
    if options.profile != Profile::OverBudget {
        all.push(Box::new(L4::default()));
        all.push(Box::new(L1));
        all.push(Box::new(L2));
        all.push(Box::new(L8));
    }
    all
}

/// Accepted jobs that nobody asked to delete and that somebody who has not left still holds in full.
pub(crate) fn live_jobs(world: &World) -> Vec<JobId> {
    let accepted = world.history.accepted.keys().copied().filter(|j| !world.deleted_anywhere(*j));
    accepted.filter(|j| (0..world.hosts.len()).any(|h| !world.hosts[h].frozen && world.holds_all(h, *j))).collect()
}

/// Nodes that are up and keep a job as a replica.
pub(crate) fn core_keepers(world: &World, job: JobId) -> Vec<usize> {
    let keeps = |h: &usize| {
        let host = &world.hosts[*h];
        let view = host.node.as_ref().filter(|_| !host.frozen).and_then(|n| n.job(job));
        view.is_some_and(|v| v.role == Role::Replica)
    };
    (0..world.hosts.len()).filter(keeps).collect()
}
