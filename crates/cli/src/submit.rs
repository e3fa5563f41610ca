//! From a plan to a submitted job: files, item list, spec.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use filch_api::{IngestedFile, SubmitRequest};
use filch_client::{Attempt, ClientError, Submission, Values};
use filch_types::Nonce;

use crate::context::Context;
use crate::error::Error;
use crate::follow::Progress;
use crate::plan::{Plan, PlanError};
use crate::render::words;

/// Between two tries to reach a node that went away.
const RETRY: Duration = Duration::from_millis(250);

/// A job that has an id.
pub(crate) struct Submitted {
    pub(crate) pending: Pending,
    pub(crate) values: Values,
}

/// A submit on its way to being accepted.
pub(crate) struct Pending {
    pub(crate) submission: Submission,
    request: SubmitRequest,
    attempt: Attempt,
}

impl Pending {
    /// Asks again after the connection was lost: the same nonce is the same job.
    pub(crate) async fn again(&mut self, cx: &Context) -> Result<(), Error> {
        self.submission = ask(cx, &self.request).await?;
        Ok(())
    }
    /// The person knows what came of it: the same command is a new job from now on.
    pub(crate) fn answered(self) -> Submission {
        self.attempt.answered();
        self.submission
    }
}

/// Where output files go: the given directory, made if it is missing, else the working directory.
pub(crate) fn delivery_dir(given: Option<&Path>) -> Result<String, Error> {
    let dir = match given {
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|e| {
                Error::usage(format!("cannot make the directory {}: {e}", dir.display()), "choose another")
            })?;
            std::path::absolute(dir)?
        }
        None => std::env::current_dir()?,
    };
    utf8(dir)
}

/// The API speaks JSON: paths must be UTF-8.
pub(crate) fn utf8(path: PathBuf) -> Result<String, Error> {
    path.into_os_string().into_string().map_err(|p| {
        Error::usage(format!("the path `{}` is not UTF-8", p.display()), "rename it, or work in another directory")
    })
}

/// Sends everything. Nothing is sent before the plan is complete, and the job exists only if this returns it.
pub(crate) async fn submit(
    cx: &Context,
    plan: Plan,
    deliver_to: Option<String>,
    copies: Option<u8>,
) -> Result<Submitted, Error> {
    let files = ingest(cx, &plan).await?;
    let job = plan.job(&files)?;
    if let Some(list) = &job.list {
        cx.client.put_blob(list.clone()).await?;
    }
    let values = Values::new(&job.spec, job.list.into_iter().collect())?;
    let request = SubmitRequest { nonce: Nonce::default(), spec: job.spec, deliver_to, copies };
    Ok(Submitted { pending: send(cx, request).await?, values })
}

/// Sends a submit with a nonce that is on disk before: a second try after a broken connection, or of the same command after the end of
/// this process, is the same job.
pub(crate) async fn send(cx: &Context, request: SubmitRequest) -> Result<Pending, Error> {
    let attempt = begin(cx, &request)?;
    let request = SubmitRequest { nonce: attempt.nonce(), ..request };
    match ask(cx, &request).await {
        Ok(submission) => {
            if let (Some(age), true) = (attempt.age(), submission.known) {
                let (job, age) = (submission.job.short(), words::span(age.as_millis() as u64 / 1000 * 1000));
                cx.say(format_args!(
                    "going on with job {job}: the same command was cut off {age} ago, before it was answered"
                ));
            }
            Ok(Pending { submission, request, attempt })
        }
        // Whether the node has it nobody knows: the file stays.
        Err(e) if e.may_pass() && !matches!(e, ClientError::NoNode { .. }) => Err(Error::Unanswered(e)),
        Err(e) => {
            attempt.answered();
            Err(e.into())
        }
    }
}

fn begin(cx: &Context, request: &SubmitRequest) -> Result<Attempt, Error> {
    let Some(kept) = &cx.unanswered else { return Ok(Attempt::unkept()?) };
    match kept.begin(cx.client.socket(), request) {
        Ok(attempt) => Ok(attempt),
        Err(e) => {
            cx.say(format_args!(
                "this submit cannot be noted ({e}): should it be cut off, the same command is another job"
            ));
            Ok(Attempt::unkept()?)
        }
    }
}

/// Asks until there is an answer, while the node may come back. A node that was not there at all is no reason to wait.
async fn ask(cx: &Context, request: &SubmitRequest) -> Result<Submission, ClientError> {
    let begun = Instant::now();
    let mut sent = false;
    loop {
        let error = match cx.client.submit(request).await {
            Err(e @ ClientError::NoNode { .. }) if !sent => return Err(e),
            Err(e @ (ClientError::Lost(_) | ClientError::NoNode { .. })) => e,
            other => return other,
        };
        if begun.elapsed() >= cx.patience {
            // What happened first is what matters.
            return Err(if matches!(error, ClientError::NoNode { .. }) {
                ClientError::Lost("and it did not come back".into())
            } else {
                error
            });
        }
        if !std::mem::replace(&mut sent, true) {
            cx.say(format_args!(
                "{error}; waiting up to {} for it to come back",
                words::span(cx.patience.as_millis() as u64)
            ));
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn ingest(cx: &Context, plan: &Plan) -> Result<Vec<IngestedFile>, Error> {
    let given = plan.files.paths();
    if given.is_empty() {
        return Ok(Vec::new());
    }
    let here = std::env::current_dir()?;
    let paths = given.iter().map(|p| utf8(here.join(p))).collect::<Result<Vec<String>, Error>>()?;
    let mut progress = Progress::files(cx, paths.len() as u64);
    let mut files = Vec::with_capacity(paths.len());
    let mut stream = cx.client.ingest(&paths);
    while let Some(file) = stream.next().await? {
        files.push(file);
        progress.files_read(files.len() as u64);
    }
    progress.finish();
    if files.len() == paths.len() {
        Ok(files)
    } else {
        Err(PlanError::List("the node read fewer files than it should".into()).into())
    }
}
