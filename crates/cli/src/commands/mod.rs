//! The commands, one file each.

pub(crate) mod cancel;
pub(crate) mod completions;
mod detach;
pub(crate) mod down;
pub(crate) mod events;
pub(crate) mod fetch;
mod job_args;
pub(crate) mod keygen;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod map;
mod node;
pub(crate) mod nodes;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod submit;
mod task_args;
pub(crate) mod up;
pub(crate) mod wait;

use filch_types::JobId;

use crate::context::Context;
use crate::error::Error;

/// A job by its id or the beginning of it.
async fn find(cx: &Context, id: &str) -> Result<JobId, Error> {
    check(id)?;
    // A full id needs no round trip.
    match id.parse() {
        Ok(job) => Ok(job),
        Err(_) => Ok(cx.client.job(id).await?.summary.job),
    }
}

/// What is plainly no id is not sent.
fn check(id: &str) -> Result<(), Error> {
    let digits = id.len();
    if (filch_api::routes::MIN_PREFIX..=64).contains(&digits) && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(Error::usage(
        format!("`{id}` is not a job id: expected 4 to 64 hex digits"),
        "`filch ls` lists the jobs and the beginnings of their ids",
    ))
}
