//! Work that splits while it runs: what was given away is named by its parent, and a parent's result names exactly what it gave.

use serde::{Deserialize, Serialize};

use crate::ids::{BagId, BlobId, JobId, NodeId};
use crate::limits;
use crate::result::{Cause, Content};

/// A task of a divisible group: an index of the job, or a bag that was split off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskRef {
    /// The whole, from its arguments.
    Index(u32),
    /// A part.
    Bag(BagId),
}

impl BagId {
    /// The name of child `number` of this attempt at `parent`: where it comes from and the hash of its bytes. The number keeps
    /// two equal parts apart.
    pub fn of(job: JobId, parent: TaskRef, attempt: u64, number: u32, bag: &Content) -> Self {
        let mut h = blake3::Hasher::new();
        h.update(b"bag").update(&job.0);
        match parent {
            TaskRef::Index(i) => h.update(b"i").update(&i.to_le_bytes()),
            TaskRef::Bag(id) => h.update(b"b").update(&id.0),
        };
        h.update(&attempt.to_le_bytes()).update(&number.to_le_bytes());
        let bytes = match bag {
            Content::Inline(b) => BlobId::of(b),
            Content::Blob(id, _) => *id,
        };
        Self(*h.update(&bytes.0).finalize().as_bytes())
    }
    /// Its first eight bytes: names it among the few hundred that a node holds.
    pub fn prefix(&self) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(word)
    }
    /// The smallest id with this prefix.
    pub fn first_with(prefix: u64) -> Self {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&prefix.to_be_bytes());
        Self(id)
    }
}

/// A part that an execution gave away (or kept as its own rest), in the order of giving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// All that there is to do, so that a visible result loses no child with a node.
    pub bag: Content,
    /// Who got it: a hint for the first lease only.
    pub holder: NodeId,
}

/// How an attempt at a divisible task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BagOutcome {
    /// Everything was processed or given away.
    Ended {
        /// What was counted here; as many numbers as the program has `Reduce`s.
        tally: Vec<u64>,
        /// What was given away, the own rest included.
        children: Vec<Child>,
    },
    /// It failed: cause, and a text for people.
    Failed(Cause, String),
}

/// What came of one attempt at a divisible task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BagResult {
    /// Which.
    pub task: TaskRef,
    /// Attempt number (P13).
    pub attempt: u64,
    /// Microseconds that it took.
    pub wall_us: u64,
    /// How it ended.
    pub outcome: BagOutcome,
}

impl BagResult {
    /// What it gave away.
    pub fn children(&self) -> &[Child] {
        match &self.outcome {
            BagOutcome::Ended { children, .. } => children,
            BagOutcome::Failed(..) => &[],
        }
    }
    /// Rules that its type cannot say.
    pub fn is_valid(&self) -> bool {
        let task = match self.task {
            TaskRef::Index(i) => i < limits::MAX_TASKS,
            TaskRef::Bag(_) => true,
        };
        let bag = |c: &Child| match &c.bag {
            Content::Inline(b) => b.len() <= limits::INLINE_OUTPUT,
            Content::Blob(_, len) => *len <= limits::MAX_BAG as u64,
        };
        task && match &self.outcome {
            BagOutcome::Ended { tally, children } => {
                tally.len() <= limits::MAX_TALLY && children.len() <= limits::MAX_CHILDREN && children.iter().all(bag)
            }
            // An index that fails says so in a pack, as every task does.
            BagOutcome::Failed(_, text) => matches!(self.task, TaskRef::Bag(_)) && text.len() <= limits::INLINE_OUTPUT,
        }
    }
    /// Bytes that it takes in a fact, about.
    pub fn weight(&self) -> usize {
        let inline = |c: &Child| if let Content::Inline(b) = &c.bag { b.len() } else { 40 };
        let text = if let BagOutcome::Failed(_, text) = &self.outcome { text.len() } else { 0 };
        128 + 8 * limits::MAX_TALLY + text + self.children().iter().map(|c| 40 + inline(c)).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_parent_attempt_number_and_bytes() {
        let (job, bag) = (JobId([1; 32]), Content::Inline(vec![1, 2]));
        let id = BagId::of(job, TaskRef::Index(7), 1, 0, &bag);
        let others = [
            BagId::of(JobId([2; 32]), TaskRef::Index(7), 1, 0, &bag),
            BagId::of(job, TaskRef::Index(8), 1, 0, &bag),
            BagId::of(job, TaskRef::Bag(id), 1, 0, &bag),
            BagId::of(job, TaskRef::Index(7), 2, 0, &bag),
            BagId::of(job, TaskRef::Index(7), 1, 1, &bag),
            BagId::of(job, TaskRef::Index(7), 1, 0, &Content::Inline(vec![1, 3])),
        ];
        assert!(others.iter().all(|o| *o != id));
        // The same bytes are the same bag, wherever they lie.
        let blob = Content::Blob(BlobId::of(&[1, 2]), 2);
        assert_eq!(BagId::of(job, TaskRef::Index(7), 1, 0, &blob), id);
        assert!(BagId::first_with(id.prefix()) <= id);
    }
}
