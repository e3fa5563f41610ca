//! JSON: the API's own objects, one a line; lists are one line an element.

use std::io::Write;

use filch_api::{
    Delivery, DownAnswer, Event, JobDetail, JobList, MemberList, NodeInfo, NodeRef, RevokeAnswer, TaskPage,
};
use filch_client::Values;
use filch_types::JobId;
use serde::Serialize;
use serde_json::json;

use super::{Renderer, Result, stdout};

pub(crate) struct JsonRenderer;

fn line(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string(value).map_err(std::io::Error::from)?;
    text.push('\n');
    stdout(std::io::stdout().lock().write_all(text.as_bytes()))
}

impl Renderer for JsonRenderer {
    fn node(&mut self, node: &NodeInfo) -> Result<()> {
        line(node)
    }
    fn nodes(&mut self, nodes: &MemberList) -> Result<()> {
        nodes.nodes.iter().try_for_each(line)
    }
    fn jobs(&mut self, jobs: &JobList) -> Result<()> {
        jobs.jobs.iter().try_for_each(line)
    }
    fn job(&mut self, job: &JobDetail) -> Result<()> {
        line(job)
    }
    fn tasks(&mut self, page: &TaskPage, _: &Values) -> Result<()> {
        page.tasks.iter().try_for_each(line)
    }
    fn accepted(&mut self, job: JobId, holders: &[NodeRef]) -> Result<()> {
        line(&json!({"job": job.to_string(), "holders": holders}))
    }
    fn revoked(&mut self, answer: &RevokeAnswer) -> Result<()> {
        line(answer)
    }
    fn fetched(&mut self, delivery: &Delivery) -> Result<()> {
        line(delivery)
    }
    fn event(&mut self, event: &Event) -> Result<()> {
        line(event)
    }
    fn down(&mut self, answer: &DownAnswer) -> Result<()> {
        line(answer)
    }
}
