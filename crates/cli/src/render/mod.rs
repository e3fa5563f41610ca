//! How answers look on stdout: one trait, text for people and JSON for programs.

mod json;
pub(crate) mod table;
mod text;
pub(crate) mod words;

use filch_api::{
    Delivery, DownAnswer, Event, JobDetail, JobList, MemberList, NodeInfo, NodeRef, RevokeAnswer, TaskPage,
};
use filch_client::Values;
use filch_types::JobId;

use crate::error::Error;

pub(crate) use json::JsonRenderer;
pub(crate) use text::TextRenderer;

/// Nothing, or a stdout that takes nothing.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Names stdout in what went wrong with writing to it.
pub(crate) fn stdout(written: std::io::Result<()>) -> Result<()> {
    written.map_err(Error::Stdout)
}

/// Writes answers to stdout.
pub(crate) trait Renderer {
    fn node(&mut self, node: &NodeInfo) -> Result<()>;
    fn nodes(&mut self, nodes: &MemberList) -> Result<()>;
    fn jobs(&mut self, jobs: &JobList) -> Result<()>;
    fn job(&mut self, job: &JobDetail) -> Result<()>;
    fn tasks(&mut self, page: &TaskPage, values: &Values) -> Result<()>;
    fn accepted(&mut self, job: JobId, holders: &[NodeRef]) -> Result<()>;
    fn revoked(&mut self, answer: &RevokeAnswer) -> Result<()>;
    fn fetched(&mut self, delivery: &Delivery) -> Result<()>;
    fn event(&mut self, event: &Event) -> Result<()>;
    fn down(&mut self, answer: &DownAnswer) -> Result<()>;
}
