//! Handlers that really compute, and the bytes that they read and leave. The rest of the world knows blobs by name and length
//! only; whether a node may read one is for its shelf to say, what is in it is said here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use filch_types::manifest::{Generator, JobSpec, Program};
use filch_types::result::{Cause, Stream};
use filch_types::{BlobId, Content, Outcome, TaskOutput, limits};

use crate::cluster::{Done, Task};
use crate::known::JobInfo;
use crate::world::World;

/// Bytes that a handler may return, as on real nodes.
const MAX_VALUE: usize = 64 * 1024 * 1024;
/// Least time of a task, microseconds: nothing is instant.
const LEAST_US: u64 = 1;

/// What a handler is to the world.
pub(crate) type Handler = Box<dyn FnMut(&Task<'_>) -> Result<Done, String>>;

struct Registered {
    call: Handler,
    /// Nodes that offer it; `None`: all.
    at: Option<BTreeSet<usize>>,
}

/// A job that somebody spelled out, instead of one that a plan describes.
#[derive(Clone, Debug)]
pub(crate) struct Spelled {
    pub spec: JobSpec,
    pub blobs: Vec<(BlobId, u64)>,
    /// Time of a task that says nothing of its own.
    pub usual_us: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Programs {
    handlers: BTreeMap<String, Registered>,
    contents: BTreeMap<BlobId, Arc<[u8]>>,
    jobs: BTreeMap<usize, Spelled>,
}

/// What came of one call.
pub(crate) struct Computed {
    pub us: u64,
    pub outcome: Outcome,
}

impl Programs {
    pub fn register(&mut self, name: String, at: Option<BTreeSet<usize>>, call: Handler) {
        self.handlers.insert(name, Registered { call, at });
    }
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.handlers.keys().map(String::as_str)
    }
    pub fn has(&self, name: &str) -> bool {
        self.handlers.contains_key(name)
    }
    /// What node `h` offers beyond the drawn work.
    pub fn offers(&self, h: usize) -> impl Iterator<Item = String> {
        let here = move |r: &Registered| r.at.as_ref().is_none_or(|at| at.contains(&h));
        self.handlers.iter().filter(move |(_, r)| here(r)).map(|(name, _)| format!("handler:{name}"))
    }
    /// Keeps bytes under their name.
    pub fn keep(&mut self, bytes: Vec<u8>) -> (BlobId, u64) {
        let (id, len) = (BlobId::of(&bytes), bytes.len() as u64);
        self.contents.entry(id).or_insert_with(|| bytes.into());
        (id, len)
    }
    pub fn content(&self, id: BlobId) -> Option<Arc<[u8]>> {
        self.contents.get(&id).cloned()
    }
    pub fn spell(&mut self, plan: usize, job: Spelled) {
        self.jobs.insert(plan, job);
    }
    /// The spec of planned job `plan` and its input blobs, if it was spelled out.
    pub fn spec(&self, plan: usize) -> Option<(JobSpec, Vec<(BlobId, u64)>)> {
        self.jobs.get(&plan).map(|s| (s.spec.clone(), s.blobs.clone()))
    }

    /// What a handler's value becomes, as on real nodes: the task's stdout, in the result or as a blob.
    fn outcome(&mut self, value: Result<Vec<u8>, String>) -> Outcome {
        let value = match value {
            Ok(v) if v.len() > MAX_VALUE => Err(format!("returned {} bytes; at most {MAX_VALUE} are kept", v.len())),
            v => v,
        };
        let mut output = TaskOutput::default();
        match value {
            Ok(value) => {
                let total = value.len() as u64;
                let kept = if value.len() <= limits::INLINE_OUTPUT {
                    Content::Inline(value)
                } else {
                    let (id, len) = self.keep(value);
                    Content::Blob(id, len)
                };
                output.stdout = Stream { kept, total };
                Outcome::Success(output)
            }
            Err(mut text) => {
                text.truncate(text.floor_char_boundary(limits::INLINE_OUTPUT));
                let kept = Content::Inline(text.clone().into_bytes());
                output.stderr = Stream { kept, total: text.len() as u64 };
                Outcome::Failed(Cause::Handler(text), output)
            }
        }
    }
}

impl World {
    /// Calls the handler of a task; `None` if the model runs it.
    pub(crate) fn compute(
        &mut self,
        h: usize,
        slot: u16,
        index: u32,
        attempt: u64,
        info: &JobInfo,
    ) -> Option<Computed> {
        let (_, group, number) = info.manifest.spec.locate(index)?;
        let Program::Handler { name, .. } = &group.program else { return None };
        let own = match &group.tasks {
            Generator::Items { list, .. } => self.known.lists.get(list).and_then(|l| l.get(number as usize)),
            _ => None,
        };
        let programs = &mut self.programs;
        let bytes = |id| programs.contents.get(&id).cloned().unwrap_or_default();
        let own = own.map(|(id, _)| bytes(*id));
        let files: Vec<(&str, Arc<[u8]>)> = group.inputs.iter().map(|f| (f.path.as_str(), bytes(f.blob))).collect();
        let usual = info.plan.and_then(|p| programs.jobs.get(&p)).map_or(LEAST_US, |j| j.usual_us);
        let task = Task::new(index, attempt, (h, slot), own.as_deref(), &files);
        let done = (programs.handlers.get_mut(name)?.call)(&task);
        let (value, us) = match done {
            Ok(done) => {
                let (bytes, us) = done.into_parts();
                (Ok(bytes), us.unwrap_or(usual))
            }
            Err(text) => (Err(text), usual),
        };
        Some(Computed { us: us.max(LEAST_US), outcome: programs.outcome(value) })
    }

    /// Bytes of a blob, as far as some node that is up has it.
    pub(crate) fn read_blob(&self, id: BlobId) -> Option<Arc<[u8]>> {
        self.hosts.iter().any(|h| h.is_up() && h.shelf.has(id)).then(|| self.programs.content(id)).flatten()
    }
}
