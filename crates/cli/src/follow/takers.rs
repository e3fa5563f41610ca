//! Jobs that wait because nobody has their function.

use std::time::Duration;

use filch_api::spec::ProgramSpec;
use filch_api::{JobDetail, JobState};
use filch_client::ClientError;
use filch_types::JobId;

use crate::context::Context;
use crate::render::words::tame;

/// How long a job may lie before somebody looks why.
pub(crate) const LOOK: Duration = Duration::from_secs(5);

/// Looks at a job again, and says so if it waits for a node that has its function. What cannot be found out is not said.
pub(crate) async fn look(cx: &Context, job: JobId) -> Option<String> {
    let detail = cx.client.job(&job.to_string()).await.ok()?;
    wanting(cx, &detail).await.ok()?
}

/// What is to be said of a job of which no task has started because of its function.
pub(crate) async fn wanting(cx: &Context, job: &JobDetail) -> Result<Option<String>, ClientError> {
    let functions = waiting_for(job);
    if functions.is_empty() {
        return Ok(None);
    }
    let offers = cx.client.node().await?.offers;
    let Some(missing) = functions.into_iter().find(|f| !offers.contains(f)) else { return Ok(None) };
    let alone = !cx.client.nodes().await?.nodes.iter().any(|n| !n.this && n.alive);
    Ok(Some(phrase(&job.summary.job, &missing, &offers, alone)))
}

/// The functions of a job of which nothing has started.
fn waiting_for(job: &JobDetail) -> Vec<String> {
    let counts = &job.summary.counts;
    if job.summary.state != JobState::Active || counts.queued == 0 || counts.leased > 0 || counts.done() > 0 {
        return Vec::new();
    }
    let groups = job.spec.iter().flat_map(|spec| &spec.groups);
    groups
        .filter_map(|g| match &g.program {
            ProgramSpec::Command(_) => None,
            ProgramSpec::Handler { name, .. } => Some(format!("handler:{name}")),
            ProgramSpec::Divisible { name, .. } => Some(format!("divisible:{name}")),
        })
        .collect()
}

/// Other nodes do not tell this one's clients what they offer: only that nobody has started anything is known of them.
fn phrase(job: &JobId, missing: &str, offers: &[String], alone: bool) -> String {
    let (job, missing) = (job.short(), tame(missing, 210));
    let names: Vec<&str> = offers.iter().filter_map(|o| o.split_once(':')).map(|(_, name)| name).collect();
    let names = if names.is_empty() { "none".into() } else { tame(&names.join(" "), 200) };
    let who = if alone {
        format!("no node known here offers `{missing}`")
    } else {
        format!("this node does not offer `{missing}`, and no other one has started a task of it")
    };
    format!("{who}: job {job} waits for one that does; functions here: {names}. `filch cancel {job}` ends it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(counts: &str, program: &str) -> JobDetail {
        let node = format!(r#"{{"id":"{}","name":"a"}}"#, "ab".repeat(32));
        let job = "cd".repeat(32);
        serde_json::from_str(&format!(
            r#"{{"summary":{{"job":"{job}","name":"n","state":"active","owner":{node},"created_ms":0,"priority":0,"role":"owner",
            "counts":{counts},"copies":1,"want_copies":1}},
            "spec":{{"name":"n","groups":[{{"name":"main","tasks":"once","program":{program}}}]}},
            "steward":{node},"replicas":[],"holders":[],"running_here":0}}"#
        ))
        .unwrap()
    }
    fn counts(queued: u64, leased: u64) -> String {
        format!(
            r#"{{"total":2,"waiting":0,"queued":{queued},"leased":{leased},"succeeded":0,"failed":0,"cancelled":0,"final":0}}"#
        )
    }

    #[test]
    fn only_jobs_of_functions_that_nobody_started() {
        let handler = r#"{"handler":{"name":"nope"}}"#;
        assert_eq!(waiting_for(&detail(&counts(2, 0), handler)), ["handler:nope"]);
        assert!(waiting_for(&detail(&counts(1, 1), handler)).is_empty());
        assert!(waiting_for(&detail(&counts(2, 0), r#"{"command":["x"]}"#)).is_empty());
    }

    #[test]
    fn what_is_said() {
        let offers = ["command".to_owned(), "handler:noop".into(), "divisible:uts".into()];
        let say = |alone| phrase(&JobId([0xab; 32]), "handler:nope", &offers, alone);
        assert_eq!(
            say(true),
            "no node known here offers `handler:nope`: job ababababab waits for one that does; functions here: noop uts. \
             `filch cancel ababababab` ends it"
        );
        assert!(say(false).starts_with("this node does not offer `handler:nope`, and no other one has started"));
    }
}
