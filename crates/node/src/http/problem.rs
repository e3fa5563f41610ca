//! Errors as answers.

use axum::response::{IntoResponse, Response};
use filch_api::{Code, Problem, SpecError, routes};
use filch_core::ClientError;
use filch_types::wire::Refusal;

use crate::driver::DriverError;

/// An error that becomes the answer.
#[derive(Debug)]
pub struct Fail(pub Problem);

impl From<Problem> for Fail {
    fn from(p: Problem) -> Self {
        Self(p)
    }
}

impl IntoResponse for Fail {
    fn into_response(self) -> Response {
        let status = axum::http::StatusCode::from_u16(self.0.status).unwrap_or_default();
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        (status, [(axum::http::header::CONTENT_TYPE, routes::PROBLEM_JSON)], body).into_response()
    }
}

impl From<DriverError> for Fail {
    fn from(e: DriverError) -> Self {
        Self(match e {
            DriverError::Busy(_) => Problem::new(Code::Refused).detail(e).hint("try again in a moment"),
            DriverError::Gone => Problem::new(Code::Draining),
        })
    }
}

/// What a failed call of the core is to a client.
pub fn of_client(e: &ClientError) -> Problem {
    match e {
        ClientError::Spec(why) => Problem::new(Code::SpecInvalid).detail(why),
        ClientError::UnknownJob => Problem::new(Code::NoSuchJob),
        ClientError::Copies { .. } => Problem::new(Code::TooFewCopies)
            .detail(e)
            .hint("nothing is lost: submit again to continue, with fewer --copies if nodes are missing"),
        ClientError::Refused(Refusal::Draining) => Problem::new(Code::Draining),
        ClientError::Refused(why) => Problem::new(Code::Refused).detail(why),
        ClientError::DiskFull(why) => {
            Problem::new(Code::DiskFull).detail(why).hint("free some space on the node's disk")
        }
        ClientError::Unreachable => Problem::new(Code::Unreachable).detail("the nodes that keep the job are away"),
    }
}

/// What a spec that cannot be used is to a client.
pub fn of_spec(e: &SpecError) -> Problem {
    Problem::new(Code::SpecInvalid).detail(e)
}

/// A fault of ours.
pub fn internal(why: impl std::fmt::Display) -> Problem {
    tracing::error!(%why, "a request failed");
    Problem::new(Code::Internal).detail(why).hint("the node's log may say more")
}
