//! From a plan and the contents of its files to what is submitted.

use bytes::Bytes;
use filch_api::IngestedFile;
use filch_api::spec::JobSpec;
use filch_types::BlobId;
use filch_types::items::{Item, Writer};
use filch_types::manifest::{Generator, InFile, JobSpec as Exact};

use super::files::place;
use super::{Plan, PlanError, Tasks};

/// What is submitted.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) spec: JobSpec,
    /// To be put before.
    pub(crate) list: Option<Bytes>,
}

impl Plan {
    /// Puts in what the files contain; `files` in the order of `self.files.paths()`.
    pub(crate) fn job(mut self, files: &[IngestedFile]) -> Result<Job, PlanError> {
        let mut bytes = files.iter().fold(0u64, |n, f| n.saturating_add(f.len));
        let mut blobs = u32::try_from(files.len()).unwrap_or(u32::MAX);
        if !self.own_inputs() {
            let all = self.in_files(files, 0, &[])?;
            self.group.inputs = all;
        }
        let list = self.list(files)?;
        self.group.tasks = match (&self.tasks, &list) {
            (_, Some((list, count))) => {
                bytes = bytes.saturating_add(list.len() as u64);
                blobs = blobs.saturating_add(1);
                Generator::Items { list: BlobId::of(list), len: list.len() as u64, count: *count }
            }
            (Tasks::Array(a), None) => Generator::Array { first: a.first, step: a.step, count: a.count },
            (Tasks::Once | Tasks::List(..), None) => Generator::Once,
        };
        let exact = Exact {
            name: self.name,
            priority: self.priority,
            attended: self.attended,
            groups: vec![self.group],
            closure_bytes: bytes,
            closure_blobs: blobs,
        };
        exact.check()?;
        Ok(Job { spec: JobSpec::from(&exact), list: list.map(|(bytes, _)| bytes) })
    }

    /// The packed list, if the tasks need one, and how many there are.
    fn list(&self, files: &[IngestedFile]) -> Result<Option<(Bytes, u32)>, PlanError> {
        if !self.own_inputs() {
            return Ok(match &self.tasks {
                Tasks::List(list, bytes) => Some((bytes.clone(), list.count())),
                Tasks::Once | Tasks::Array(_) => None,
            });
        }
        let mut writer = Writer::default();
        self.each(&mut |plan, task, values| {
            let item = Item { values: values.to_vec(), inputs: plan.in_files(files, task, values)? };
            writer.push(&item).map_err(|e| PlanError::List(e.to_string()))?;
            Ok(true)
        })?;
        let count = writer.count();
        Ok(Some((writer.finish().into(), count)))
    }

    fn in_files(&self, files: &[IngestedFile], task: u32, values: &[String]) -> Result<Vec<InFile>, PlanError> {
        self.input_paths(task, values)
            .map(|path| {
                let bad = |why: &str| PlanError::Input { task: Some(task), path: path.clone(), why: why.to_owned() };
                let number = self.files.get(&path).ok_or_else(|| bad("was not read"))?;
                let file = files.get(number as usize).ok_or_else(|| bad("was not read"))?;
                let place = place(&path).map_err(|why| bad(&why))?;
                Ok(InFile { path: place, blob: file.blob, len: file.len, executable: file.executable })
            })
            .collect()
    }
}
