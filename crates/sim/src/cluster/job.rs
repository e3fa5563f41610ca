//! Jobs as a test spells them.

use std::collections::BTreeMap;
use std::time::Duration;

use filch_types::items::{Item, Writer};
use filch_types::manifest::{Generator, Group, InFile, JobSpec, Program, TaskLimits};
use filch_types::{BlobId, codec, limits, paths};

use super::SubmitError;
use crate::fault::us;
use crate::options::{self, GroupPlan, JobPlan, Work};
use crate::programs::Spelled;
use crate::world::World;

/// Time of a task that neither its handler nor its job speaks of.
const USUAL: Duration = Duration::from_millis(10);
/// The name of a task's own bytes.
const OWN: &str = "in";
/// Room in a manifest for what is not the spec.
const MANIFEST_ROOM: usize = 2 * 1024;

/// A job: one handler, many tasks.
#[derive(Clone, Debug)]
pub struct Job {
    handler: String,
    tasks: Tasks,
    node: usize,
    files: Vec<(String, Vec<u8>)>,
    retries: u16,
    copies: Option<u8>,
    usual: Duration,
}

#[derive(Clone, Debug)]
enum Tasks {
    Array(u32),
    Items(Vec<Vec<u8>>),
}

/// Input blobs by item list.
type Lists = BTreeMap<BlobId, Vec<(BlobId, u64)>>;

impl Job {
    fn new(handler: impl Into<String>, tasks: Tasks) -> Self {
        Self { handler: handler.into(), tasks, node: 0, files: Vec::new(), retries: 0, copies: None, usual: USUAL }
    }
    /// Calls a handler so many times; tasks differ by their index.
    pub fn array(handler: impl Into<String>, tasks: u32) -> Self {
        Self::new(handler, Tasks::Array(tasks))
    }
    /// Calls a handler once for each of these, which travel to wherever their task runs.
    pub fn map<T: Into<Vec<u8>>>(handler: impl Into<String>, inputs: impl IntoIterator<Item = T>) -> Self {
        Self::new(handler, Tasks::Items(inputs.into_iter().map(Into::into).collect()))
    }
    /// Submitted there; default node 0.
    pub fn on(mut self, node: usize) -> Self {
        self.node = node;
        self
    }
    /// A file that all tasks can read.
    pub fn file(mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.into(), bytes.into()));
        self
    }
    /// Further attempts at a task whose handler returned an error; default none.
    pub fn retries(mut self, retries: u16) -> Self {
        self.retries = retries;
        self
    }
    /// Nodes that must hold it before it counts as accepted; default three, or all if there are fewer.
    pub fn copies(mut self, copies: u8) -> Self {
        self.copies = Some(copies);
        self
    }
    /// Virtual time of a task whose handler does not say; default 10 ms.
    pub fn takes(mut self, time: Duration) -> Self {
        self.usual = time;
        self
    }

    fn check(&self, world: &World) -> Result<(), SubmitError> {
        if !world.programs.has(&self.handler) {
            let known: Vec<&str> = world.programs.names().collect();
            return Err(SubmitError::unknown_handler(&self.handler, &known));
        }
        let nodes = world.hosts.len();
        match self.copies.map(usize::from) {
            Some(copies) if copies == 0 || copies > nodes.min(limits::MAX_REPLICAS) => {
                Err(SubmitError::Copies { copies, most: nodes.min(limits::MAX_REPLICAS) })
            }
            _ => Ok(()),
        }
    }

    /// As a planned job, its spec, and what its item list names.
    pub(super) fn spell(self, world: &mut World) -> Result<(JobPlan, Spelled, Lists), SubmitError> {
        self.check(world)?;
        let mut blobs = BTreeMap::new();
        let mut lists = Lists::new();
        let mut inputs = Vec::new();
        for (name, bytes) in self.files {
            let path = paths::normalise(&name).map_err(|e| SubmitError::Job(format!("file `{name}`: {e}")))?;
            let (blob, len) = world.programs.keep(bytes);
            blobs.insert(blob, len);
            inputs.push(InFile { path, blob, len, executable: false });
        }
        let tasks = match self.tasks {
            Tasks::Array(count) => Generator::Array { first: 0, step: 1, count },
            Tasks::Items(items) => {
                let mut list = Writer::default();
                let mut named = Vec::with_capacity(items.len());
                for bytes in items {
                    let (blob, len) = world.programs.keep(bytes);
                    blobs.insert(blob, len);
                    named.push((blob, len));
                    let file = InFile { path: OWN.into(), blob, len, executable: false };
                    let item = Item { values: Vec::new(), inputs: vec![file] };
                    list.push(&item).map_err(|e| SubmitError::Job(e.to_string()))?;
                }
                let count = list.count();
                let (list, len) = world.programs.keep(list.finish());
                blobs.insert(list, len);
                lists.insert(list, named);
                Generator::Items { list, len, count }
            }
        };
        let count = tasks.count();
        let group = Group {
            name: self.handler.clone(),
            tasks,
            program: Program::Handler { name: self.handler.clone(), args: Vec::new() },
            env: Vec::new(),
            inputs,
            outputs: Vec::new(),
            limits: TaskLimits::default(),
            retries: self.retries,
            needs: Vec::new(),
            resources: Vec::new(),
        };
        let spec = JobSpec {
            name: self.handler,
            priority: 0,
            attended: false,
            groups: vec![group],
            closure_bytes: blobs.values().sum(),
            closure_blobs: u32::try_from(blobs.len()).unwrap_or(u32::MAX),
        };
        spec.check().map_err(|e| SubmitError::Job(e.to_string()))?;
        codec::encode(&spec, limits::MAX_MANIFEST - MANIFEST_ROOM).map_err(|e| SubmitError::Job(e.to_string()))?;
        let usual_us = us(self.usual);
        let plan = JobPlan {
            node: self.node,
            copies: self.copies,
            groups: vec![GroupPlan { tasks: count, retries: self.retries, ..GroupPlan::default() }],
            work: Work { takes: options::Duration::Fixed(usual_us), ..Work::default() },
            ..JobPlan::default()
        };
        Ok((plan, Spelled { spec, blobs: blobs.into_iter().collect(), usual_us }, lists))
    }
}
