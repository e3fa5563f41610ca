//! Functions of the program that embeds a node, and work that splits while it runs.

use filch_api::{Data, NodeInfo, TaskResult, TaskState};
use filch_node::Kinds;
use serde_json::json;

use crate::api::job;
use crate::world::{config, pair, start};

fn stdout(result: &TaskResult) -> &str {
    match &result.stdout.kept {
        Data::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

/// What one core alone counts.
fn alone(tree: &str) -> String {
    let kinds = Kinds::builtin();
    let mut task = kinds.get("uts").unwrap().start(&[tree.into()]).unwrap();
    task.process(u64::MAX).unwrap();
    let words: Vec<String> = task.tally().iter().map(u64::to_string).collect();
    words.join(" ") + "\n"
}

pub async fn an_embedding_program_adds_functions() {
    let dir = tempfile::tempdir().unwrap();
    let mut own = config(dir.path(), "a", &[]);
    own.registry.register("shout", |cx| Ok(cx.args().join(" ").to_uppercase().into_bytes()));
    own.handlers = Some(vec!["shout".into(), "noop".into()]);
    let node = start(own).await;
    let info: NodeInfo = node.api.get("/v1/node").await;
    assert_eq!(info.offers, ["command", "handler:noop", "handler:shout"]);
    let group = json!({ "name": "main", "program": { "handler": { "name": "shout", "args": ["hello", "cluster"] } } });
    let (id, _) = node.api.submit(&job(1, group)).await;
    let (results, _) = node.api.results(id, "follow=true").await;
    assert_eq!(stdout(&results[0]), "HELLO CLUSTER");
    node.end().await;
}

pub async fn divided_tasks_say_what_their_parts_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = pair(dir.path()).await;
    let tasks = json!({ "array": { "first": 7, "step": 1, "count": 3 } });
    let uts = json!({ "handler": { "name": "uts", "args": ["geo:4,{},19"] } });
    let (id, _) = a.api.submit(&job(1, json!({ "name": "main", "tasks": tasks, "program": uts }))).await;
    let want: Vec<String> = (7..10).map(|depth| alone(&format!("geo:4,{depth},19"))).collect();
    for node in [&a, &b] {
        let (results, _) = node.api.results(id, "follow=true&ordered=true").await;
        assert!(results.iter().all(|r| r.state == TaskState::Succeeded && r.count == 1));
        assert_eq!(results.iter().map(stdout).collect::<Vec<_>>(), want);
        let (status, log) = node.api.call(hyper::Method::GET, &format!("/v1/jobs/{id}/logs/2"), Vec::new()).await;
        assert_eq!((status, String::from_utf8(log).unwrap()), (200, want[2].clone()));
    }
    a.end().await;
    b.end().await;
}
