//! The routes, one method each.

use std::path::Path;

use bytes::Bytes;
use filch_api::files::{BlobRef, FileLine, FilesRequest, IngestedFile};
use filch_api::job::*;
use filch_api::{Event, MemberList, NodeInfo, NodeRef, routes};
use filch_types::{BlobId, JobId};
use http_body_util::BodyExt;
use hyper::Method;

use crate::http::{Body, collect, query};
use crate::lines::Lines;
use crate::{Client, ClientError};

/// A submit on its way to being accepted.
#[derive(Debug)]
pub struct Submission {
    /// The job: it may run from now on.
    pub job: JobId,
    /// The nonce was known.
    pub known: bool,
    lines: Lines<SubmitLine>,
}

impl Submission {
    /// The next line, `Accepted` being the last.
    pub async fn next(&mut self) -> Result<SubmitLine, ClientError> {
        match self.lines.next().await? {
            Some(SubmitLine::Problem(p)) => Err(p.into()),
            Some(line) => Ok(line),
            None => Err(ClientError::Lost("before the job was accepted".into())),
        }
    }
    /// Waits for `Accepted`; who holds a copy.
    pub async fn accepted(mut self) -> Result<Vec<NodeRef>, ClientError> {
        loop {
            if let SubmitLine::Accepted { holders, .. } = self.next().await? {
                return Ok(holders);
            }
        }
    }
}

/// Files on their way into the local store.
#[derive(Debug)]
pub struct Ingest<'a> {
    client: &'a Client,
    rest: &'a [String],
    /// Index of the batch's first path in the whole list.
    base: u32,
    batch: u32,
    seen: u32,
    lines: Option<Lines<FileLine>>,
}

impl Ingest<'_> {
    /// The next file, in the order of the paths, with its index in the whole list; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<IngestedFile>, ClientError> {
        loop {
            let Some(lines) = &mut self.lines else {
                if self.rest.is_empty() {
                    return Ok(None);
                }
                let (now, later) = self.rest.split_at(batch(self.rest));
                let body = Body::json(&FilesRequest { paths: now.to_vec() })?;
                let response = self.client.send(Method::POST, routes::FILES, body).await?;
                self.rest = later;
                self.base = self.base.saturating_add(self.batch);
                self.batch = u32::try_from(now.len()).unwrap_or(u32::MAX);
                self.seen = 0;
                self.lines = Some(Lines::new(response.into_body()));
                continue;
            };
            match lines.next().await? {
                Some(FileLine::File(file)) => {
                    if file.index != self.seen {
                        return Err(ClientError::Protocol("files came out of order".into()));
                    }
                    self.seen += 1;
                    return Ok(Some(IngestedFile { index: self.base.saturating_add(file.index), ..file }));
                }
                Some(FileLine::Progress { .. }) => {}
                Some(FileLine::Problem(p)) => return Err(p.into()),
                None if self.seen == self.batch => self.lines = None,
                None => return Err(ClientError::Lost("before all files were read".into())),
            }
        }
    }
}

/// How many of the paths go into one request: at least one, and so few that the body stays well under its limit.
fn batch(paths: &[String]) -> usize {
    let mut bytes = 0;
    let fit = paths.iter().take(routes::MAX_FILES).take_while(|path| {
        bytes += path.len();
        bytes <= routes::MAX_BODY / 4
    });
    fit.count().max(1).min(paths.len())
}

impl Client {
    /// The node itself.
    pub async fn node(&self) -> Result<NodeInfo, ClientError> {
        self.json(Method::GET, routes::NODE, Body::Empty).await
    }
    /// The members that it knows.
    pub async fn nodes(&self) -> Result<MemberList, ClientError> {
        self.json(Method::GET, routes::NODES, Body::Empty).await
    }
    /// Reads files, given by absolute paths, into the local store as they are now.
    pub fn ingest<'a>(&'a self, paths: &'a [String]) -> Ingest<'a> {
        Ingest { client: self, rest: paths, base: 0, batch: 0, seen: 0, lines: None }
    }
    /// Puts bytes into the local store. What comes back is checked against what was sent.
    pub async fn put_blob(&self, bytes: impl Into<Bytes>) -> Result<BlobRef, ClientError> {
        let bytes = bytes.into();
        let want = BlobRef { blob: BlobId::of(&bytes), len: bytes.len() as u64 };
        let got: BlobRef = self.json(Method::PUT, routes::BLOBS, Body::Octets(bytes)).await?;
        if got == want { Ok(got) } else { Err(ClientError::Protocol("the stored blob is not what was sent".into())) }
    }
    /// A blob's bytes in chunks, fetched from the job's holders if it is not here.
    pub async fn blob(&self, id: BlobId, job: Option<JobId>) -> Result<Chunks, ClientError> {
        let path = query(routes::blob(id), &[("job", job.map(|j| j.to_string()))]);
        let response = self.send(Method::GET, &path, Body::Empty).await?;
        Ok(Chunks(response.into_body()))
    }
    /// A blob's bytes, of which there may be at most `max`.
    pub async fn blob_bytes(&self, id: BlobId, job: Option<JobId>, max: usize) -> Result<Bytes, ClientError> {
        let path = query(routes::blob(id), &[("job", job.map(|j| j.to_string()))]);
        collect(self.send(Method::GET, &path, Body::Empty).await?, max).await
    }
    /// Submits; returns as soon as the job has an id.
    pub async fn submit(&self, request: &SubmitRequest) -> Result<Submission, ClientError> {
        let response = self.send(Method::POST, routes::JOBS, Body::json(request)?).await?;
        let mut lines = Lines::<SubmitLine>::new(response.into_body());
        match lines.next().await? {
            Some(SubmitLine::Submitted { job, known }) => Ok(Submission { job, known, lines }),
            Some(SubmitLine::Problem(p)) => Err(p.into()),
            Some(_) => Err(ClientError::Protocol("a submit that does not begin with `submitted`".into())),
            None => Err(ClientError::Lost("before the job had an id".into())),
        }
    }
    /// The jobs that the node knows, the newest first.
    pub async fn jobs(&self, limit: Option<u32>, state: Option<JobState>) -> Result<JobList, ClientError> {
        let path = query(
            routes::JOBS.into(),
            &[("limit", limit.map(|l| l.to_string())), ("state", state.map(|s| s.word().into()))],
        );
        self.json(Method::GET, &path, Body::Empty).await
    }
    /// A job by its id or a prefix of at least four digits.
    pub async fn job(&self, id: &str) -> Result<JobDetail, ClientError> {
        self.json(Method::GET, &routes::job_prefix(id), Body::Empty).await
    }
    /// A page of its tasks.
    pub async fn tasks(
        &self,
        job: JobId,
        state: Option<TaskState>,
        from: u32,
        limit: Option<u32>,
    ) -> Result<TaskPage, ClientError> {
        let pairs = [
            ("state", state.map(|s| s.word().to_owned())),
            ("from", (from > 0).then(|| from.to_string())),
            ("limit", limit.map(|l| l.to_string())),
        ];
        self.json(Method::GET, &query(routes::tasks(job), &pairs), Body::Empty).await
    }
    /// What a task has written to stdout or (`stderr`) stderr, in chunks.
    pub async fn logs(&self, job: JobId, task: u32, stderr: bool, follow: bool) -> Result<Chunks, ClientError> {
        let pairs = [("stream", stderr.then(|| "stderr".to_owned())), ("follow", follow.then(|| "true".to_owned()))];
        let response = self.send(Method::GET, &query(routes::logs(job, task), &pairs), Body::Empty).await?;
        Ok(Chunks(response.into_body()))
    }
    /// Cancels a job; durable on the node when it returns.
    pub async fn cancel(&self, job: JobId) -> Result<RevokeAnswer, ClientError> {
        self.json(Method::POST, &routes::cancel(job), Body::Empty).await
    }
    /// Forgets a job everywhere.
    pub async fn delete(&self, job: JobId) -> Result<RevokeAnswer, ClientError> {
        self.json(Method::DELETE, &routes::job(job), Body::Empty).await
    }
    /// Writes a job's output files into an existing directory, given by its absolute path.
    pub async fn fetch(&self, job: JobId, dir: &Path, now: bool) -> Result<Lines<FetchLine>, ClientError> {
        let dir = dir.to_str().ok_or_else(|| ClientError::Spec(format!("{} is not UTF-8", dir.display())))?;
        let body = Body::json(&FetchRequest { dir: dir.to_owned(), now })?;
        Ok(Lines::new(self.send(Method::POST, &routes::fetch(job), body).await?.into_body()))
    }
    /// What happens on the node from now on.
    pub async fn events(&self, job: Option<&str>) -> Result<Lines<Event>, ClientError> {
        let path = query(routes::EVENTS.into(), &[("job", job.map(str::to_owned))]);
        Ok(Lines::new(self.send(Method::GET, &path, Body::Empty).await?.into_body()))
    }
    /// Asks the node to end.
    pub async fn down(&self, grace_ms: Option<u64>) -> Result<DownAnswer, ClientError> {
        self.json(Method::POST, routes::DOWN, Body::json(&DownRequest { grace_ms })?).await
    }
}

/// Bytes as they come.
#[derive(Debug)]
pub struct Chunks(hyper::body::Incoming);

impl Chunks {
    /// The next ones; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.0.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(Some(data));
                    }
                }
                Some(Err(e)) => return Err(ClientError::Lost(e.to_string())),
            }
        }
    }
}
