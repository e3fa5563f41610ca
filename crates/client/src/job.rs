//! Jobs for Rust programs: say what to do, submit, ask, read.

use std::path::PathBuf;
use std::time::Duration;

use filch_api::files::IngestedFile;
use filch_api::spec::{GroupSpec, InputSpec, JobSpec, ProgramSpec, TasksSpec};
use filch_api::{Counts, Data, JobDetail, JobState, NodeRef, RevokeAnswer, SubmitRequest, TaskResult, TaskState};
use filch_types::items::{Item, Writer};
use filch_types::{BlobId, JobId, limits};

use crate::{Client, ClientError, Follow, Update, Updates};

/// Bytes of a task's output that `stdout` and `result` return, at most: more than a node keeps.
const MAX_OUTPUT: usize = (limits::LOG_HEAD + limits::LOG_TAIL) as usize;

/// A job of one group, in the making. Arguments and output paths are templates (`{}`, `{#}`, `{in}`, …; `{{` for a brace).
#[derive(Clone, Debug)]
pub struct JobBuilder {
    spec: JobSpec,
    group: GroupSpec,
    items: Vec<Item>,
    inputs: Vec<(PathBuf, String)>,
    deliver_to: Option<PathBuf>,
    copies: Option<u8>,
}

/// A job whose item list is packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// What to submit.
    pub spec: JobSpec,
    /// To be put first.
    pub list: Option<Vec<u8>>,
}

impl JobBuilder {
    fn new(name: String, program: ProgramSpec) -> Self {
        let group = GroupSpec {
            name: "main".into(),
            tasks: TasksSpec::Once,
            program,
            env: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            timeout_ms: None,
            grace_ms: filch_types::manifest::TaskLimits::default().grace_ms,
            retries: 0,
            needs: Vec::new(),
            resources: Vec::new(),
        };
        let spec = JobSpec { name, priority: 0, attended: true, groups: vec![], closure_bytes: 0, closure_blobs: 0 };
        Self { spec, group, items: Vec::new(), inputs: Vec::new(), deliver_to: None, copies: None }
    }
    /// Runs a program of the nodes' hosts, without a shell.
    pub fn command<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        let argv: Vec<String> = argv.into_iter().map(Into::into).collect();
        let name = argv.first().cloned().unwrap_or_default();
        Self::new(name.chars().take(60).collect(), ProgramSpec::Command(argv))
    }
    /// Calls a Rust function that is registered in the nodes under this name.
    pub fn handler<S: Into<String>>(name: impl Into<String>, args: impl IntoIterator<Item = S>) -> Self {
        let name = name.into();
        let args = args.into_iter().map(Into::into).collect();
        Self::new(name.clone(), ProgramSpec::Handler { name, args })
    }
    /// Calls a Rust function that is registered in the nodes and whose work splits while it runs; the node that gets the job must
    /// have it. [`JobHandle::tally`] reads what it counted.
    pub fn divisible<S: Into<String>>(name: impl Into<String>, args: impl IntoIterator<Item = S>) -> Self {
        Self::handler(name, args)
    }
    /// A name for people.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.spec.name = name.into();
        self
    }
    /// `count` tasks, task `i` with the value `first + i * step`.
    pub fn array(mut self, first: i64, step: i64, count: u32) -> Self {
        self.group.tasks = TasksSpec::Array { first, step, count };
        self
    }
    /// One more task per value.
    pub fn values<S: Into<String>>(mut self, values: impl IntoIterator<Item = S>) -> Self {
        self.items.extend(values.into_iter().map(|v| Item { values: vec![v.into()], inputs: Vec::new() }));
        self
    }
    /// A local file that every task finds at `at` in its directory, as it is at submit.
    pub fn input(mut self, file: impl Into<PathBuf>, at: impl Into<String>) -> Self {
        self.inputs.push((file.into(), at.into()));
        self
    }
    /// A file that every task leaves; a template.
    pub fn output(mut self, path: impl Into<String>) -> Self {
        self.group.outputs.push(path.into());
        self
    }
    /// A variable of the tasks' environment.
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.group.env.push((key.into(), value.into()));
        self
    }
    /// Further attempts after a failure of the task's own.
    pub fn retries(mut self, retries: u16) -> Self {
        self.group.retries = retries;
        self
    }
    /// How long an attempt may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.group.timeout_ms = Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        self
    }
    /// Higher first.
    pub fn priority(mut self, priority: i16) -> Self {
        self.spec.priority = priority;
        self
    }
    /// An existing directory that output files are written into.
    pub fn deliver_to(mut self, dir: impl Into<PathBuf>) -> Self {
        self.deliver_to = Some(dir.into());
        self
    }
    /// Copies to make before the job counts as accepted.
    pub fn copies(mut self, copies: u8) -> Self {
        self.copies = Some(copies);
        self
    }

    /// Packs and checks, given what became of the input files, in their order.
    pub fn prepare(self, files: &[IngestedFile]) -> Result<Prepared, ClientError> {
        let mut group = self.group;
        let mut spec = self.spec;
        for ((_, at), file) in self.inputs.into_iter().zip(files) {
            let path = filch_types::paths::normalise(&at).map_err(|e| ClientError::Spec(e.to_string()))?;
            group.inputs.push(InputSpec { path, blob: file.blob, len: file.len, executable: file.executable });
            spec.closure_bytes = spec.closure_bytes.saturating_add(file.len);
            spec.closure_blobs = spec.closure_blobs.saturating_add(1);
        }
        let mut list = None;
        if !self.items.is_empty() {
            let mut writer = Writer::default();
            for item in &self.items {
                writer.push(item).map_err(|e| ClientError::Spec(e.to_string()))?;
            }
            let count = writer.count();
            let bytes = writer.finish();
            group.tasks = TasksSpec::Items { list: BlobId::of(&bytes), len: bytes.len() as u64, count };
            spec.closure_bytes = spec.closure_bytes.saturating_add(bytes.len() as u64);
            spec.closure_blobs = spec.closure_blobs.saturating_add(1);
            list = Some(bytes);
        }
        spec.groups.push(group);
        filch_types::JobSpec::try_from(spec.clone()).map_err(|e| ClientError::Spec(e.to_string()))?;
        Ok(Prepared { spec, list })
    }

    /// Sends everything and returns as soon as the job has an id; it is accepted in the background.
    /// `JobHandle::accepted` waits for that.
    pub async fn submit(self, client: &Client) -> Result<JobHandle, ClientError> {
        let mut paths = Vec::new();
        for (path, _) in &self.inputs {
            let absolute = std::path::absolute(path)?;
            let text = absolute.into_os_string().into_string();
            paths.push(text.map_err(|p| ClientError::Spec(format!("{} is not UTF-8", p.display())))?);
        }
        let mut files = Vec::new();
        let mut ingest = client.ingest(&paths);
        while let Some(file) = ingest.next().await? {
            files.push(file);
        }
        let deliver_to = self.deliver_to.as_ref().map(std::path::absolute).transpose()?;
        let deliver_to = deliver_to.map(|dir| dir.to_string_lossy().into_owned());
        let copies = self.copies;
        let prepared = self.prepare(&files)?;
        if let Some(list) = prepared.list {
            client.put_blob(list).await?;
        }
        let request = SubmitRequest { nonce: crate::nonce()?, spec: prepared.spec, deliver_to, copies };
        let submission = client.submit(&request).await?;
        Ok(JobHandle { client: client.clone(), job: submission.job, request })
    }
}

/// A submitted job.
#[derive(Clone, Debug)]
pub struct JobHandle {
    client: Client,
    job: JobId,
    request: SubmitRequest,
}

impl JobHandle {
    /// Its id.
    pub fn id(&self) -> JobId {
        self.job
    }
    /// Waits until enough nodes hold the job; who they are. The same nonce makes asking again harmless.
    pub async fn accepted(&self) -> Result<Vec<NodeRef>, ClientError> {
        self.client.submit(&self.request).await?.accepted().await
    }
    /// All that its node knows of it.
    pub async fn detail(&self) -> Result<JobDetail, ClientError> {
        self.client.job(&self.job.to_string()).await
    }
    /// Its state and what its tasks are doing.
    pub async fn state(&self) -> Result<(JobState, Counts), ClientError> {
        let detail = self.detail().await?;
        Ok((detail.summary.state, detail.summary.counts))
    }
    /// Results as they come, to the end.
    pub async fn follow(&self) -> Result<Updates, ClientError> {
        self.client.results(self.job, &Follow { follow: true, ..Follow::default() }).await
    }
    /// Waits for the end; how it ended. Does not fail if tasks failed.
    pub async fn wait(&self) -> Result<(JobState, Counts), ClientError> {
        let mut updates = self.follow().await?;
        loop {
            match updates.next().await? {
                Some(Update::End { counts, state, .. }) => return Ok((state, counts)),
                Some(_) => {}
                None => return Err(ClientError::Lost("before the job's end".into())),
            }
        }
    }
    /// Waits for a job of one task and returns what it wrote to stdout, or a handler's return value.
    pub async fn result(&self) -> Result<Vec<u8>, ClientError> {
        let mut updates = self.follow().await?;
        loop {
            match updates.next().await? {
                Some(Update::Result(result)) => return self.output(&result).await,
                Some(Update::Progress { .. } | Update::Away { .. } | Update::Back) => {}
                Some(Update::End { .. }) | None => return Err(ClientError::Cancelled),
            }
        }
    }
    /// Waits for a job of one divided task and returns what its parts counted in all.
    pub async fn tally(&self) -> Result<Vec<u64>, ClientError> {
        let line = String::from_utf8_lossy(&self.result().await?).into_owned();
        let numbers: Result<Vec<u64>, _> = line.split_whitespace().map(str::parse).collect();
        match numbers {
            Ok(numbers) if !numbers.is_empty() => Ok(numbers),
            _ => Err(ClientError::Protocol(format!("`{}` is no tally", line.trim_end()))),
        }
    }
    /// A result's stdout; an error with its stderr if the task failed.
    pub async fn output(&self, result: &TaskResult) -> Result<Vec<u8>, ClientError> {
        match (&result.state, &result.cause) {
            (TaskState::Succeeded, _) => self.bytes(&result.stdout.kept).await,
            (_, Some(cause)) => {
                let stderr = self.bytes(&result.stderr.kept).await?;
                let stderr = String::from_utf8_lossy(&stderr).trim_end().to_owned();
                Err(ClientError::TaskFailed { cause: cause.clone(), stderr })
            }
            _ => Err(ClientError::Cancelled),
        }
    }
    /// Bytes of a result, wherever they are.
    pub async fn bytes(&self, data: &Data) -> Result<Vec<u8>, ClientError> {
        match data {
            Data::Blob { id, .. } => Ok(self.client.blob_bytes(*id, Some(self.job), MAX_OUTPUT).await?.to_vec()),
            Data::Text(_) | Data::Base64(_) => match data.inline() {
                Some(Ok(bytes)) => Ok(bytes),
                _ => Err(ClientError::Protocol("a result that is not base64".into())),
            },
        }
    }
    /// Cancels it.
    pub async fn cancel(&self) -> Result<RevokeAnswer, ClientError> {
        self.client.cancel(self.job).await
    }
    /// Forgets it everywhere.
    pub async fn delete(&self) -> Result<RevokeAnswer, ClientError> {
        self.client.delete(self.job).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_packed_and_rules_checked() {
        let built = JobBuilder::command(["echo", "{}"]).values(["a", "b"]).retries(2).prepare(&[]).unwrap();
        let TasksSpec::Items { list, count, .. } = built.spec.groups[0].tasks else { panic!("no list") };
        assert_eq!((count, list), (2, BlobId::of(built.list.as_deref().unwrap())));
        assert_eq!((built.spec.closure_blobs, built.spec.name.as_str()), (1, "echo"));
        assert!(JobBuilder::command(["{nope}"]).prepare(&[]).is_err());
        assert!(JobBuilder::command::<String>([]).prepare(&[]).is_err());
    }
}
