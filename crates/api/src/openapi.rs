//! The OpenAPI document, and with it the meaning of every route: the functions here are never called, their doc comments are
//! the contract between node and clients.
//!
//! `{id}` of a job is its full id or a prefix of at least four hex digits that only one known job has.

#![allow(dead_code)]

use utoipa::OpenApi;

use crate::*;

/// This node: who it is, where it listens, how busy it is.
#[utoipa::path(get, path = "/v1/node", tag = "node", responses((status = 200, body = NodeInfo)))]
fn node() {}

/// The members that this node knows, itself first, then by name. Members that went away stay listed with `alive: false`.
#[utoipa::path(get, path = "/v1/nodes", tag = "node", responses((status = 200, body = MemberList)))]
fn nodes() {}

/// Reads files into the local store as they are now: what happens to them later changes no job. One `file` line per path, in
/// the order of the paths; large files say `progress` in between. The first file that is missing (`file_missing`), no plain file or
/// not readable (`file_unreadable`, naming it) ends the stream with a `problem` line. A blob that no job needs is kept for at
/// least an hour, and across restarts only once a job names it.
#[utoipa::path(post, path = "/v1/files", tag = "data", request_body = FilesRequest,
    responses((status = 200, body = FileLine, content_type = "application/x-ndjson"), (status = 400, body = Problem, content_type = "application/problem+json")))]
fn files() {}

/// Puts the raw bytes of the body into the local store: item lists, stdin. Any length that fits the disk, chunked or not.
#[utoipa::path(put, path = "/v1/blobs", tag = "data", request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = BlobRef), (status = 507, body = Problem, content_type = "application/problem+json")))]
fn put_blob() {}

/// A blob's bytes, verified while they are read; `Content-Length` is set. If the blob is not here and `job` is given, it is
/// fetched first from whoever keeps that job. A blob that turns out damaged midway ends the connection early.
#[utoipa::path(get, path = "/v1/blobs/{id}", tag = "data",
    params(("id" = String, Path, description = "64 hex digits"), ("job" = Option<String>, Query, description = "a job that the blob belongs to")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 404, body = Problem, content_type = "application/problem+json")))]
fn get_blob() {}

/// Submits a job. Malformed ones are refused with a status of 4xx before anything is kept. Otherwise: `submitted` at once (the job
/// may run from now on), `copies` as they are made, `accepted` or `problem` last. A client that goes away in between changes nothing: the
/// node goes on making copies, and the same nonce asks again and gets the same job. `deliver_to` must exist and be writable
/// for the node (`directory_unusable`); repeating a nonce with another directory replaces it.
#[utoipa::path(post, path = "/v1/jobs", tag = "jobs", request_body = SubmitRequest,
    responses((status = 200, body = SubmitLine, content_type = "application/x-ndjson"), (status = 400, body = Problem, content_type = "application/problem+json")))]
fn submit() {}

/// The jobs that this node knows, the newest first.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs",
    params(("limit" = Option<u32>, Query, description = "at most so many, default 1000"), ("state" = Option<JobState>, Query, description = "only these")),
    responses((status = 200, body = JobList)))]
fn jobs() {}

/// One job. If this node does not keep it, it starts to read along and answers with what it knows so far.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "job id or prefix")),
    responses((status = 200, body = JobDetail), (status = 404, body = Problem, content_type = "application/problem+json"), (status = 409, body = Problem, content_type = "application/problem+json")))]
fn job() {}

/// Forgets a job everywhere: cancels it if it is active, then drops facts and blobs. Delivered files stay. Answered when the
/// decision is durable here.
#[utoipa::path(delete, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "job id or prefix")),
    responses((status = 200, body = RevokeAnswer), (status = 404, body = Problem, content_type = "application/problem+json")))]
fn delete_job() {}

/// Cancels a job: nothing new starts, running tasks are ended. Results so far stay. Answered when the decision is durable
/// here. Cancelling a job that is over changes nothing and is no error.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path, description = "job id or prefix")),
    responses((status = 200, body = RevokeAnswer), (status = 404, body = Problem, content_type = "application/problem+json")))]
fn cancel() {}

/// A job's tasks in the order of their index, consecutive ones of a group that stand alike in one row.
#[utoipa::path(get, path = "/v1/jobs/{id}/tasks", tag = "jobs",
    params(("id" = String, Path, description = "job id or prefix"), ("state" = Option<TaskState>, Query, description = "only these"),
        ("from" = Option<u32>, Query, description = "from this task on"), ("limit" = Option<u32>, Query, description = "rows, at most 10000, default 1000")),
    responses((status = 200, body = TaskPage), (status = 404, body = Problem, content_type = "application/problem+json")))]
fn tasks() {}

/// A job's results, every task exactly once, in the order in which this node learned them, or by index with `ordered`.
///
/// With `stage=final` (the default) a result is sent when it can no longer change: on the owner's node once it is pinned; on another node
/// when it is pinned or, if the job is over, as soon as it is visible (`final: false`). With `stage=visible` it is sent as soon as enough copies
/// of it exist; the value sent is the one that counts then. A cancelled job's tasks that never ran come as `cancelled`, as runs.
///
/// With `follow` the stream stays open until the job is over, all results were sent and delivery is done; it begins with `progress`. Without
/// `follow` it ends after what there is. `from` is the cursor of the last line that the client has; a cursor that this
/// process did not give out starts over, and the client skips what it has.
#[utoipa::path(get, path = "/v1/jobs/{id}/results", tag = "jobs",
    params(("id" = String, Path, description = "job id or prefix"), ("follow" = Option<bool>, Query, description = "wait for more"),
        ("ordered" = Option<bool>, Query, description = "by index"), ("from" = Option<String>, Query, description = "continue behind this cursor"),
        ("stage" = Option<String>, Query, description = "`final` or `visible`")),
    responses((status = 200, body = ResultLine, content_type = "application/x-ndjson"), (status = 404, body = Problem, content_type = "application/problem+json")))]
fn results() {}

/// What a task has written: of its winning result if there is one, else of the attempt that runs on this node, so far.
/// `not_started` if there is nothing to show, `runs_elsewhere` (naming the node) if only another node could show it.
#[utoipa::path(get, path = "/v1/jobs/{id}/logs/{task}", tag = "jobs",
    params(("id" = String, Path, description = "job id or prefix"), ("task" = u32, Path, description = "index in the job"),
        ("stream" = Option<String>, Query, description = "`stdout` (default) or `stderr`"), ("follow" = Option<bool>, Query, description = "go on until the attempt ends")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 404, body = Problem, content_type = "application/problem+json")))]
fn logs() {}

/// Writes the output files of the job's succeeded tasks into a directory, each by a temporary file and a rename, never through a
/// symbolic link inside that directory. Files that are already there with the same bytes are left alone and counted.
#[utoipa::path(post, path = "/v1/jobs/{id}/fetch", tag = "jobs", params(("id" = String, Path, description = "job id or prefix")), request_body = FetchRequest,
    responses((status = 200, body = FetchLine, content_type = "application/x-ndjson"), (status = 404, body = Problem, content_type = "application/problem+json")))]
fn fetch() {}

/// What happens on this node, from now on; `hello` first, `quiet` at least once a second. A reader that is too slow
/// loses events and is told how many.
#[utoipa::path(get, path = "/v1/events", tag = "node", params(("job" = Option<String>, Query, description = "only of this job, id or prefix")),
    responses((status = 200, body = Event, content_type = "application/x-ndjson")))]
fn events() {}

/// Ends this node in an orderly way: it takes no new work, gives back what has not started, lets running tasks go on for
/// `grace_ms`, hands over its results, and exits. Answered at once.
#[utoipa::path(post, path = "/v1/down", tag = "node", request_body = DownRequest, responses((status = 202, body = DownAnswer)))]
fn down() {}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "node", responses((status = 200, content_type = "application/json")))]
fn openapi_json() {}

/// Counters and gauges, OpenMetrics text.
#[utoipa::path(get, path = "/metrics", tag = "node", responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
fn metrics() {}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "filch node API",
        description = "The local API of a filch node: HTTP/1.1 over a Unix socket. Streams are NDJSON, errors are problem+json."
    ),
    paths(
        node,
        nodes,
        files,
        put_blob,
        get_blob,
        submit,
        jobs,
        job,
        delete_job,
        cancel,
        tasks,
        results,
        logs,
        fetch,
        events,
        down,
        openapi_json,
        metrics
    ),
    components(schemas(Problem))
)]
struct Document;

/// The document, as `GET /v1/openapi.json` serves it.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document() {
        insta::assert_snapshot!(openapi().to_pretty_json().unwrap());
    }

    #[test]
    fn every_route_is_described() {
        let paths: Vec<String> = openapi().paths.paths.keys().cloned().collect();
        for route in [
            routes::NODE,
            routes::NODES,
            routes::FILES,
            routes::BLOBS,
            routes::BLOB,
            routes::JOBS,
            routes::JOB,
            routes::TASKS,
            routes::RESULTS,
            routes::LOGS,
            routes::CANCEL,
            routes::FETCH,
            routes::EVENTS,
            routes::DOWN,
            routes::OPENAPI,
            routes::METRICS,
        ] {
            assert!(paths.iter().any(|p| p == route), "{route} is missing from the document");
        }
    }
}
