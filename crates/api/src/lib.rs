//! The local HTTP API of a node: requests, answers, routes, errors, and where its socket is.
//!
//! HTTP/1.1 and JSON under `/v1` on a Unix socket of mode 0600: who may open the socket may do everything. Streams are NDJSON
//! (`application/x-ndjson`), one object a line, whose one key says what it is (events have a `type` instead); an error after the first line comes as a last line
//! `{"problem": …}`, an error before it as a status of 4xx or 5xx with a `Problem` (`application/problem+json`) as its body.
//! Unknown fields in answers must be ignored by clients, unknown fields in requests are refused. Ids are lower-case hex.
//!
//! What each route means is written in [`openapi`], on the function that stands for it.

pub mod base64;
mod convert;
pub mod event;
pub mod files;
pub mod hex;
pub mod job;
pub mod node;
pub mod openapi;
pub mod paths;
pub mod problem;
pub mod result;
pub mod routes;
pub mod spec;
pub mod template;

pub use convert::SpecError;
pub use event::{Event, EventKind};
pub use files::{BlobRef, FileLine, FilesRequest, IngestedFile};
pub use job::{
    Counts, Delay, Delivery, DownAnswer, DownRequest, FetchLine, FetchRequest, JobDetail, JobList, JobState,
    JobSummary, Missing, MissingCopy, RevokeAnswer, Role, SubmitLine, SubmitRequest, TaskPage, TaskRow, TaskState,
};
pub use node::{Member, MemberList, NodeInfo, NodeRef};
pub use problem::{Code, Problem};
pub use result::{Data, OutputFile, ResultLine, Stream, TaskCause, TaskResult};
pub use spec::JobSpec;
