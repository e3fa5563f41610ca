//! What happens on a node, for people and scripts that watch.

use filch_types::JobId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{JobState, NodeRef};

/// A line of `GET /v1/events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Wall clock of the node, milliseconds since 1970.
    pub at_ms: u64,
    /// The job that it is about, if any.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "opt")]
    #[schema(value_type = Option<String>)]
    pub job: Option<JobId>,
    /// What.
    pub event: EventKind,
}

/// What happened. Kinds are added over time: what a client does not know reads as `Unknown`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// The stream is open: what happens from now on is told.
    Hello {
        /// The node that tells.
        node: NodeRef,
    },
    /// Nothing happened for a while; the node is alive.
    Quiet,
    /// The reader was too slow; so many events were left out here.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// A member came up.
    NodeJoined {
        /// Who.
        node: NodeRef,
    },
    /// A member is believed dead or gone.
    NodeLost {
        /// Who.
        node: NodeRef,
    },
    /// Somebody was not let in, or broke a rule.
    NodeRefused {
        /// An address or an id.
        who: String,
        /// For people.
        why: String,
    },
    /// This node listens on a further address.
    Listening {
        /// With `/p2p/…`.
        address: String,
    },
    /// A job became known here.
    JobKnown {
        /// Its name.
        name: String,
    },
    /// Copies of a job that are known.
    Copies {
        /// Who holds it.
        holders: Vec<NodeRef>,
        /// Copies that it should have.
        want: u8,
    },
    /// This node hands out the job's tasks from now on.
    Steward {
        /// Grows with every change of steward.
        epoch: u32,
    },
    /// This steward handed out tasks.
    Granted {
        /// To whom.
        to: NodeRef,
        /// How many.
        tasks: u32,
    },
    /// This steward had a second attempt made at what takes far longer than the others; the first to succeed wins.
    Copied {
        /// By whom.
        to: NodeRef,
        /// The first of the tasks.
        task: u32,
        /// How many.
        tasks: u32,
    },
    /// This node stole tasks.
    Stole {
        /// From whom.
        from: NodeRef,
        /// How many.
        tasks: u32,
    },
    /// This steward took tasks back from a node that went silent or away.
    Reclaimed {
        /// From whom.
        from: NodeRef,
        /// Tasks that had not been executing.
        queued: u32,
        /// Tasks that had been.
        executing: u32,
    },
    /// Results became visible here.
    Results {
        /// How many tasks.
        tasks: u64,
    },
    /// Results became final.
    Final {
        /// How many tasks.
        tasks: u64,
    },
    /// Output files were written for the submitter.
    Delivered {
        /// How many.
        files: u64,
        /// Where.
        dir: String,
    },
    /// An output file could not be written for the submitter.
    DeliveryFailed {
        /// Which.
        path: String,
        /// For people.
        why: String,
    },
    /// The job reached another state.
    State {
        /// Which.
        state: JobState,
    },
    /// Tasks could not be executed here and went back.
    Bounced {
        /// The first of them.
        task: u32,
        /// How many.
        tasks: u32,
        /// For people.
        why: String,
    },
    /// Results were damaged on this node's disk and nobody had their bytes: their tasks run again.
    ResultsLost {
        /// Packs of results.
        packs: u32,
    },
    /// This node is going down.
    Draining,
    /// An event that this client does not know.
    #[serde(other)]
    Unknown,
}

mod opt {
    use std::borrow::Cow;

    use filch_types::JobId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(id: &Option<JobId>, s: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => s.collect_str(id),
            None => s.serialize_none(),
        }
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<JobId>, D::Error> {
        let text = Option::<Cow<'de, str>>::deserialize(d)?;
        text.map(|t| t.parse().map_err(D::Error::custom)).transpose()
    }
}
