//! The oracles: one file per invariant, in words first, with the rule of the protocol that it guards. They see the whole
//! world and are told of everything as it happens; none of them asks a node for more than its views.

mod drains;
mod l1;
mod l2;
mod l3;
mod l4;
mod l5;
mod l6;
mod l7;
mod l8;
mod parts;
mod s1;
mod s10;
mod s11;
mod s12;
mod s13;
mod s14;
mod s2;
mod s3;
mod s4;
mod s5;
mod s6;
mod s7;
mod s8;
mod s9;
mod stores;

use filch_core::view::Role;
use filch_core::{ClientId, Input, Output, Reply};
use std::collections::BTreeSet;

use filch_types::record::Record;
use filch_types::wire::{JobState, Response};
use filch_types::{BlobId, JobId, NodeId};

use crate::fault::DiskAfter;
use crate::history::Run;
use crate::options::{Checks, Options, Profile};
use crate::shelf::Print;
use crate::world::World;
use drains::Drains;
use l1::L1;
use l2::L2;
use l3::L3;
use l4::L4;
use l5::L5;
use l6::L6;
use l7::L7;
use l8::L8;
use parts::Parts;
use s1::S1;
use s2::S2;
use s3::S3;
use s4::S4;
use s5::S5;
use s6::S6;
use s7::S7;
use s8::S8;
use s9::S9;
use s10::S10;
use s11::S11;
use s12::S12;
use s13::S13;
use s14::S14;

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
    /// A blob stream answers with these bytes.
    Served {
        /// By whom.
        host: usize,
        /// To whom.
        to: usize,
        /// Which.
        blob: BlobId,
        /// With what.
        print: Print,
    },
    /// A process is about to end, or to be told to: it is still as it was.
    Struck {
        /// Where.
        host: usize,
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
    if options.checks == Checks::Cheap {
        return cheap();
    }
    let mut all: Vec<Box<dyn Oracle>> = vec![
        Box::new(S3::default()),
        Box::new(S4),
        Box::new(S6::default()),
        Box::new(Parts::default()),
        Box::new(S7),
        Box::new(S8),
        Box::new(S9),
        Box::new(S10::default()),
        Box::new(S11::default()),
        Box::new(S12::default()),
        Box::new(S13::default()),
        Box::new(S14),
    ];
    if options.profile != Profile::OverBudget {
        // More losses than promised to survive: what these promise is then no promise.
        all.extend::<[Box<dyn Oracle>; 12]>([
            Box::new(S1::default()),
            Box::new(S2::default()),
            Box::new(S5::default()),
            Box::new(L4::default()),
            Box::new(Drains::default()),
            Box::new(L5::default()),
            Box::new(L1),
            Box::new(L2),
            Box::new(L3),
            Box::new(L6),
            Box::new(L7::default()),
            Box::new(L8),
        ]);
    }
    all
}

/// Those that cost the same at ten nodes and at ten thousand.
fn cheap() -> Vec<Box<dyn Oracle>> {
    vec![
        Box::new(S4),
        Box::new(S6::default()),
        Box::new(Parts::default()),
        Box::new(S8),
        Box::new(S10::default()),
        Box::new(S11::default()),
        Box::new(S12::default()),
        Box::new(S13::default()),
        Box::new(L1),
        Box::new(L2),
        Box::new(L4::default()),
    ]
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

/// R of a job as all facts of the world together say it.
pub(crate) fn replicas(world: &World, job: JobId) -> BTreeSet<NodeId> {
    let mut out: BTreeSet<NodeId> = world.info(job).iter().flat_map(|i| i.manifest.replicas.iter().copied()).collect();
    out.extend(world.known.added.get(&job).into_iter().flatten());
    out
}

/// Copies that a job has among the nodes that are up, and copies that it should have; `None` for a cancelled one, which has
/// nothing left to protect.
pub(crate) fn copies(world: &World, job: JobId) -> Option<(usize, usize)> {
    let info = world.info(job)?;
    let keepers = core_keepers(world, job);
    let view = |h: &usize| world.hosts[*h].node.as_ref().and_then(|n| n.job(job));
    if keepers.iter().filter_map(view).any(|v| v.state == JobState::Cancelled) {
        return None;
    }
    let up = world.hosts.iter().filter(|h| h.is_up() && !h.frozen).count();
    let have = keepers.iter().filter(|h| world.holds_all(**h, job)).count();
    Some((have, usize::from(info.manifest.k).min(up)))
}
