//! Facts: what the union ledger of a job consists of. Grow-only, signed, merged by union.

use serde::{Deserialize, Serialize};

use crate::bag::BagResult;
use crate::codec::{self, CodecError};
use crate::ids::{BagId, BlobId, FactId, JobId, NodeId};
use crate::limits;
use crate::ranges::Range;
use crate::result::{Content, ResultRun};
use crate::sign::{Keyring, Sig};

/// The winner of some tasks: the result that `pack` has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRun {
    /// First task.
    pub lo: u32,
    /// Tasks.
    pub count: u32,
    /// The pack that holds their winning result.
    pub pack: FactId,
}

impl PinRun {
    /// The tasks as a range.
    pub fn range(&self) -> Range {
        Range::new(self.lo, self.lo.saturating_add(self.count))
    }
}

/// One kind of fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FactBody {
    /// Results of many tasks, by the worker. Runs are sorted and disjoint.
    Pack(Vec<ResultRun>),
    /// Winners, by the owner only (P6, P9). Runs are sorted and disjoint.
    Pin(Vec<PinRun>),
    /// Attempts that were executing when their node was lost, by the steward: (task, attempt) (P14).
    Lost(Vec<(u32, u64)>),
    /// Nothing of the job starts any more.
    Cancel,
    /// The job and its bytes may go; the fact stays as a tombstone (P11).
    Delete,
    /// Another member keeps the job from now on, by a member of R (P12).
    AddReplica(NodeId),
    /// Results of divisible tasks and of what was split off from them, by the worker.
    Bags(Vec<BagResult>),
    /// As `Lost`, of bags: (bag, attempt).
    LostBags(Vec<(BagId, u64)>),
}

/// A fact as it is signed, stored and hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The job it is about.
    pub job: JobId,
    /// Who says so.
    pub by: NodeId,
    /// What.
    pub body: FactBody,
}

/// The exact bytes of a fact and its author's signature over them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedFact {
    /// `codec::encode` of a `Fact`.
    #[serde(with = "crate::result::bytes")]
    pub bytes: Vec<u8>,
    /// Over `bytes`.
    pub sig: Sig,
}

/// Why a fact is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactError {
    /// Not decodable.
    #[error("fact: {0}")]
    Codec(#[from] CodecError),
    /// The signature is not its author's.
    #[error("fact: the signature is not its author's")]
    Signature,
    /// Breaks a rule.
    #[error("fact: {0}")]
    Rule(&'static str),
}

fn sorted_disjoint(ranges: impl Iterator<Item = Range>) -> bool {
    let mut at = 0;
    for r in ranges {
        if r.is_empty() || r.lo < at || r.hi > limits::MAX_TASKS {
            return false;
        }
        at = r.hi;
    }
    true
}

impl Fact {
    /// Blobs that must be held before this fact may be (P4).
    pub fn closure(&self) -> impl Iterator<Item = (BlobId, u64)> + '_ {
        let (runs, bags): (&[ResultRun], &[BagResult]) = match &self.body {
            FactBody::Pack(runs) => (runs, &[]),
            FactBody::Bags(bags) => (&[], bags),
            _ => (&[], &[]),
        };
        let children = bags.iter().flat_map(BagResult::children).filter_map(|c| match &c.bag {
            Content::Blob(id, len) => Some((*id, *len)),
            Content::Inline(_) => None,
        });
        runs.iter().flat_map(|r| r.outcome.output().blobs()).chain(children)
    }

    fn check(&self) -> Result<(), FactError> {
        let ok = match &self.body {
            FactBody::Pack(runs) => {
                !runs.is_empty()
                    && runs.len() <= limits::MAX_PACK_RUNS
                    && runs.iter().all(ResultRun::is_valid)
                    && sorted_disjoint(runs.iter().map(ResultRun::range))
            }
            FactBody::Pin(runs) => {
                !runs.is_empty()
                    && runs.len() <= limits::MAX_PIN_RUNS
                    && sorted_disjoint(runs.iter().map(PinRun::range))
            }
            FactBody::Lost(list) => !list.is_empty() && list.len() <= limits::MAX_LOST,
            FactBody::LostBags(list) => !list.is_empty() && list.len() <= limits::MAX_LOST,
            FactBody::Bags(results) => {
                !results.is_empty()
                    && results.len() <= limits::MAX_BAG_RESULTS
                    && results.iter().all(BagResult::is_valid)
            }
            FactBody::Cancel | FactBody::Delete | FactBody::AddReplica(_) => true,
        };
        ok.then_some(()).ok_or(FactError::Rule("its runs are empty, too many, unsorted or out of bounds"))
    }
}

impl SignedFact {
    /// Signs a fact as its author. Errors if it would be too long or break a rule.
    pub fn sign(fact: &Fact, keys: &dyn Keyring) -> Result<Self, FactError> {
        fact.check()?;
        let bytes = codec::encode(fact, limits::MAX_FACT)?;
        let sig = keys.sign(&bytes);
        Ok(Self { bytes, sig })
    }
    /// Its name.
    pub fn id(&self) -> FactId {
        FactId::of(&self.bytes)
    }
    /// Decodes and checks shape and rules, not the signature: for bytes that this node stored after checking them.
    pub fn decode(&self) -> Result<Fact, FactError> {
        let fact: Fact = codec::decode(&self.bytes, limits::MAX_FACT)?;
        fact.check()?;
        Ok(fact)
    }
    /// Decodes and checks everything.
    pub fn open(&self, keys: &dyn Keyring) -> Result<Fact, FactError> {
        let fact = self.decode()?;
        if !keys.verify(fact.by, &self.bytes, &self.sig) {
            return Err(FactError::Signature);
        }
        Ok(fact)
    }
}
