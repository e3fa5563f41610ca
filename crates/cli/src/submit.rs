//! From a plan to a submitted job: files, item list, spec.

use std::path::{Path, PathBuf};

use filch_api::{IngestedFile, SubmitRequest};
use filch_client::{ClientError, Submission, Values};

use crate::context::Context;
use crate::error::Error;
use crate::follow::Progress;
use crate::plan::{Plan, PlanError};

/// A job that has an id.
pub(crate) struct Submitted {
    pub(crate) submission: Submission,
    pub(crate) values: Values,
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
    let request = SubmitRequest { nonce: filch_client::nonce()?, spec: job.spec, deliver_to, copies };
    Ok(Submitted { submission: send(cx, &request).await?, values })
}

/// The nonce makes a second try after a broken connection harmless.
pub(crate) async fn send(cx: &Context, request: &SubmitRequest) -> Result<Submission, Error> {
    match cx.client.submit(request).await {
        Err(ClientError::Lost(_)) => Ok(cx.client.submit(request).await?),
        other => Ok(other?),
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
