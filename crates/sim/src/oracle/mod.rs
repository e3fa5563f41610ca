//! The oracles: one file per invariant, in words first, with the rule of the protocol that it guards. They see the whole
//! world and are told of everything as it happens; none of them asks a node for more than its views.

use filch_core::{ClientId, Input, Output, Reply};
use filch_types::JobId;
use filch_types::record::Record;
use filch_types::wire::Response;

use crate::fault::DiskAfter;
use crate::history::Run;
use crate::options::Options;
use crate::world::World;

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
pub fn all(_options: &Options) -> Vec<Box<dyn Oracle>> {
    Vec::new()
}
