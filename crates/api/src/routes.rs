//! Paths of the API, in axum's notation, and functions that fill them in.

use filch_types::{BlobId, JobId};

/// `GET`: this node.
pub const NODE: &str = "/v1/node";
/// `GET`: the members that this node knows, itself included.
pub const NODES: &str = "/v1/nodes";
/// `POST`: read files into the local store.
pub const FILES: &str = "/v1/files";
/// `PUT`: raw bytes into the local store.
pub const BLOBS: &str = "/v1/blobs";
/// `GET`: a blob's bytes.
pub const BLOB: &str = "/v1/blobs/{id}";
/// `POST`: submit; `GET`: list.
pub const JOBS: &str = "/v1/jobs";
/// `GET`: one job; `DELETE`: forget it everywhere.
pub const JOB: &str = "/v1/jobs/{id}";
/// `GET`: its tasks, a page at a time.
pub const TASKS: &str = "/v1/jobs/{id}/tasks";
/// `GET`: its results, as a stream.
pub const RESULTS: &str = "/v1/jobs/{id}/results";
/// `GET`: what one task wrote.
pub const LOGS: &str = "/v1/jobs/{id}/logs/{task}";
/// `POST`: cancel.
pub const CANCEL: &str = "/v1/jobs/{id}/cancel";
/// `POST`: write its output files into a directory.
pub const FETCH: &str = "/v1/jobs/{id}/fetch";
/// `GET`: what happens on this node, as a stream.
pub const EVENTS: &str = "/v1/events";
/// `POST`: end this node in an orderly way.
pub const DOWN: &str = "/v1/down";
/// `GET`: this API as an OpenAPI document.
pub const OPENAPI: &str = "/v1/openapi.json";
/// `GET`: counters in the OpenMetrics text format.
pub const METRICS: &str = "/metrics";

/// Media type of a stream.
pub const NDJSON: &str = "application/x-ndjson";
/// Media type of an error.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// Media type of raw bytes.
pub const OCTETS: &str = "application/octet-stream";

/// Bytes of a request body other than a blob, at most.
pub const MAX_BODY: usize = 8 * 1024 * 1024;
/// Paths in one `POST /v1/files`.
pub const MAX_FILES: usize = 10_000;
/// Tasks in one page of `GET /v1/jobs/{id}/tasks`.
pub const MAX_PAGE: u32 = 10_000;
/// Fewest hex digits that may stand for a job's id.
pub const MIN_PREFIX: usize = 4;
/// A stream that has nothing to say sends a progress line at least this often, in milliseconds.
pub const HEARTBEAT_MS: u64 = 1_000;

/// `BLOB` of this id.
pub fn blob(id: BlobId) -> String {
    format!("/v1/blobs/{id}")
}
/// `JOB` of this id.
pub fn job(id: JobId) -> String {
    format!("/v1/jobs/{id}")
}
/// `JOB` of an id that may be a prefix. What is not plain is percent-encoded: the node answers that it is no id.
pub fn job_prefix(id: &str) -> String {
    let mut path = String::from("/v1/jobs/");
    for b in id.bytes() {
        if b.is_ascii_alphanumeric() || b == b'-' || b == b'_' {
            path.push(char::from(b));
        } else {
            path.push_str(&format!("%{b:02X}"));
        }
    }
    path
}
/// `TASKS` of this job.
pub fn tasks(id: JobId) -> String {
    format!("/v1/jobs/{id}/tasks")
}
/// `RESULTS` of this job.
pub fn results(id: JobId) -> String {
    format!("/v1/jobs/{id}/results")
}
/// `LOGS` of this task.
pub fn logs(id: JobId, task: u32) -> String {
    format!("/v1/jobs/{id}/logs/{task}")
}
/// `CANCEL` of this job.
pub fn cancel(id: JobId) -> String {
    format!("/v1/jobs/{id}/cancel")
}
/// `FETCH` of this job.
pub fn fetch(id: JobId) -> String {
    format!("/v1/jobs/{id}/fetch")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_prefix_cannot_leave_its_segment() {
        assert_eq!(super::job_prefix("ab12"), "/v1/jobs/ab12");
        assert_eq!(super::job_prefix("../x?y"), "/v1/jobs/%2E%2E%2Fx%3Fy");
    }
}
