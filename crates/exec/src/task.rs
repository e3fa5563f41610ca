//! One task of a manifest: its values, files and paths, worked out only as far as somebody asks.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use filch_types::items::{self, Item};
use filch_types::manifest::{Generator, Group, InFile};
use filch_types::template::{Context, Part, Template};
use filch_types::{BlobId, Manifest, limits, paths};

use crate::host::Host;

/// Bytes that a task's arguments may expand to: more than any system takes.
const MAX_EXPANDED: usize = 16 * 1024 * 1024;

/// The manifest asks for something that cannot be: the task's fault, on every node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A declared output.
    #[error("output `{path}`: {why}")]
    Output {
        /// The path after expansion.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A declared input.
    #[error("input `{path}`: {why}")]
    Input {
        /// Its path.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The packed list of items.
    #[error("the job's list of items: {0}")]
    Items(String),
    /// The program, its arguments or its environment.
    #[error("{0}")]
    Program(String),
}

/// Paths of a task's files, relative to its directory and normalised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Inputs: the group's, then the task's own.
    pub inputs: Vec<String>,
    /// Outputs, in the order of their declaration.
    pub outputs: Vec<String>,
}

/// A task.
pub struct Task<'a> {
    /// Its group.
    pub group: &'a Group,
    /// Its index in the job.
    pub index: u32,
    /// Its number in its group, from 0.
    pub number: u32,
    /// The slot that it runs in, from 0.
    pub slot: u16,
    item: Option<&'a Item>,
    values: OnceCell<Vec<String>>,
}

impl<'a> Task<'a> {
    /// The value of an array's task; otherwise the number in the group. `FILCH_INDEX`.
    pub fn public_index(&self) -> i64 {
        match self.group.tasks {
            Generator::Array { first, step, .. } => {
                step.checked_mul(i64::from(self.number)).and_then(|d| first.checked_add(d)).unwrap_or(i64::MAX)
            }
            _ => i64::from(self.number),
        }
    }
    /// Its values, one per source.
    pub fn values(&self) -> &[String] {
        if let Some(item) = self.item {
            return &item.values;
        }
        match self.group.tasks {
            Generator::Array { .. } => self.values.get_or_init(|| vec![self.public_index().to_string()]),
            _ => &[],
        }
    }
    /// Its inputs: the group's, then its own.
    pub fn inputs(&self) -> impl Iterator<Item = &'a InFile> + use<'a> {
        let own: &'a [InFile] = self.item.map_or(&[], |i| &i.inputs);
        self.group.inputs.iter().chain(own)
    }
    /// Whether it has files at all.
    pub fn has_files(&self) -> bool {
        !self.group.outputs.is_empty() || self.inputs().next().is_some()
    }

    /// Where its files are, checked.
    pub fn paths(&self) -> Result<Paths, Unusable> {
        if !self.has_files() {
            return Ok(Paths::default());
        }
        let mut inputs = Vec::new();
        for f in self.inputs() {
            inputs.push(
                paths::normalise(&f.path).map_err(|e| Unusable::Input { path: f.path.clone(), why: e.to_string() })?,
            );
        }
        check_inputs(&inputs, self.inputs().map(|f| f.blob))?;
        let mut p = Paths { inputs, outputs: Vec::new() };
        self.check_length(&self.group.outputs)?;
        let cx = self.context(&p);
        let mut outputs = Vec::new();
        for t in &self.group.outputs {
            let path = t.expand(&cx);
            outputs.push(paths::normalise(&path).map_err(|e| Unusable::Output { path, why: e.to_string() })?);
        }
        // What a result can carry, `ResultRun::is_valid`; half is left for inline contents.
        if outputs.iter().map(String::len).sum::<usize>() > limits::INLINE_RESULT {
            return Err(Unusable::Output {
                path: outputs.swap_remove(0),
                why: format!("the paths of one task's outputs are longer than {} bytes in all", limits::INLINE_RESULT),
            });
        }
        p.outputs = outputs;
        Ok(p)
    }

    fn context<'b>(&'b self, paths: &'b Paths) -> Context<'b> {
        Context {
            values: self.values(),
            inputs: &paths.inputs,
            outputs: &paths.outputs,
            index: self.number,
            slot: u32::from(self.slot),
        }
    }

    /// Expands arguments.
    pub fn expand(&self, templates: &[Template], paths: &Paths) -> Result<Vec<String>, Unusable> {
        if templates.is_empty() {
            return Ok(Vec::new());
        }
        self.check_length(templates)?;
        let cx = self.context(paths);
        Ok(templates.iter().map(|t| t.expand(&cx)).collect())
    }

    /// A short manifest can name a long value very often: looked at before anything is expanded.
    fn check_length(&self, templates: &[Template]) -> Result<(), Unusable> {
        let values = self.values().iter().fold(0usize, |n, v| n.saturating_add(v.len() + 1));
        let part = |p: &Part| match p {
            Part::Text(t) => t.len(),
            Part::Value { .. } => values,
            Part::Number | Part::Slot => 10,
            Part::In(_) | Part::Out(_) => limits::MAX_PATH,
        };
        let all = templates.iter().flat_map(|t| &t.0).fold(0usize, |n, p| n.saturating_add(part(p)));
        if all > MAX_EXPANDED {
            return Err(Unusable::Program(format!(
                "its arguments and paths could be longer than {MAX_EXPANDED} bytes"
            )));
        }
        Ok(())
    }
}

/// No two inputs at one path, none below another. The same bytes declared twice for one path are one input.
fn check_inputs(inputs: &[String], blobs: impl Iterator<Item = BlobId>) -> Result<(), Unusable> {
    if inputs.len() < 2 {
        return Ok(());
    }
    let all: BTreeSet<&str> = inputs.iter().map(String::as_str).collect();
    let distinct: BTreeSet<(&str, BlobId)> = inputs.iter().map(String::as_str).zip(blobs).collect();
    let twice = all.len() != distinct.len();
    for path in &all {
        let parent = path.match_indices('/').map(|(at, _)| &path[..at]).find(|p| all.contains(p));
        if let Some(parent) = parent {
            let why = format!("lies below `{parent}`, which is another input");
            return Err(Unusable::Input { path: (*path).to_owned(), why });
        }
    }
    if twice {
        let mut seen = BTreeSet::new();
        let path = distinct.iter().find(|(p, _)| !seen.insert(*p)).map(|(p, _)| (*p).to_owned()).unwrap_or_default();
        return Err(Unusable::Input { path, why: "is declared twice".to_owned() });
    }
    Ok(())
}

/// Why a batch cannot even be looked at.
#[derive(Debug)]
pub(crate) enum PlanError {
    /// Bounce it.
    Fault(String),
    /// Its tasks fail.
    Unusable(Unusable),
}

/// The tasks of one batch, looked up in the manifest and, block by block, in the item list.
pub(crate) struct Plan<'a> {
    pub(crate) group: &'a Group,
    first: u32,
    slot: u16,
    list: Option<Arc<items::Reader<Vec<u8>>>>,
    block: Option<(u32, Vec<Item>)>,
}

impl<'a> Plan<'a> {
    /// The batch's group; its tasks must all lie in it.
    pub(crate) fn new(manifest: &'a Manifest, batch: &crate::Batch, host: &dyn Host) -> Result<Self, PlanError> {
        let tasks = batch.tasks;
        let located = manifest.spec.locate(tasks.lo).zip(manifest.spec.locate(tasks.hi.saturating_sub(1)));
        let Some(((no, group, number), (last, _, _))) = located else {
            return Err(PlanError::Fault("the job has no such task".to_owned()));
        };
        if no != last || tasks.is_empty() {
            return Err(PlanError::Fault("the batch spans several groups".to_owned()));
        }
        let list = match group.tasks {
            Generator::Items { list, len, count } => {
                let reader = host.items(list, len).map_err(|e| PlanError::Fault(e.to_string()))?;
                if reader.count() != count {
                    let why = format!("has {} tasks, the job says {count}", reader.count());
                    return Err(PlanError::Unusable(Unusable::Items(why)));
                }
                Some(reader)
            }
            _ => None,
        };
        Ok(Self { group, first: tasks.lo - number, slot: batch.slot, list, block: None })
    }

    /// Task `index` of the job.
    pub(crate) fn task(&mut self, index: u32) -> Result<Task<'_>, Unusable> {
        let number = index.saturating_sub(self.first);
        let item = match &self.list {
            None => None,
            Some(list) => {
                let n = number / items::BLOCK;
                if self.block.as_ref().is_none_or(|(have, _)| *have != n) {
                    self.block = Some((n, list.block(n).map_err(|e| Unusable::Items(e.to_string()))?));
                }
                let found = self.block.as_ref().and_then(|(_, b)| b.get((number % items::BLOCK) as usize));
                Some(found.ok_or_else(|| Unusable::Items(format!("has no task {number}")))?)
            }
        };
        Ok(Task { group: self.group, index, number, slot: self.slot, item, values: OnceCell::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion_is_bounded() {
        let Ok(t) = Template::parse(&"{}".repeat(2000)) else { panic!() };
        let item = Item { values: vec!["x".repeat(60_000)], inputs: vec![] };
        let group = Group {
            name: String::new(),
            tasks: Generator::Once,
            program: filch_types::manifest::Program::Command { argv: vec![] },
            env: vec![],
            inputs: vec![],
            outputs: vec![t.clone()],
            limits: Default::default(),
            retries: 0,
            needs: vec![],
            resources: vec![],
        };
        let values = OnceCell::new();
        let task = Task { group: &group, index: 0, number: 0, slot: 0, item: Some(&item), values };
        assert!(matches!(task.expand(std::slice::from_ref(&t), &Paths::default()), Err(Unusable::Program(_))));
        assert!(matches!(task.paths(), Err(Unusable::Program(_))));
    }

    #[test]
    fn inputs_must_not_collide() {
        let paths = |p: &[&str]| p.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let of = |p: &[&str]| check_inputs(&paths(p), (0..).map(|n: u64| BlobId::of(&n.to_le_bytes())));
        assert_eq!(of(&["a", "b/c", "b/d"]), Ok(()));
        assert_eq!(check_inputs(&paths(&["a", "a"]), std::iter::repeat(BlobId::default())), Ok(()), "one file");
        assert!(matches!(of(&["a", "b", "a"]), Err(Unusable::Input { path, .. }) if path == "a"));
        assert!(matches!(of(&["a/b/c", "a-x", "a"]), Err(Unusable::Input { path, .. }) if path == "a/b/c"));
    }
}
