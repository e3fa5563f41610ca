//! Starts, ends, restarts.

use filch_api::{JobState, NodeInfo, ResultLine};
use filch_node::{DataDirError, RunningNode, UpError};
use hyper::Method;
use serde_json::json;

use crate::api::{array, assert_each_once, job};
use crate::jobs::detail;
use crate::world::{config, pair, start};

pub async fn a_restart_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path(), "a", &[])).await;
    let before: NodeInfo = node.api.get("/v1/node").await;
    let group =
        json!({ "name": "main", "tasks": array(20), "program": { "command": ["sh", "-c", "echo $FILCH_INDEX"] } });
    let request = job(1, group);
    let (id, _) = node.api.submit(&request).await;
    let (first, _) = node.api.results(id, "follow=true&ordered=true").await;
    node.end().await;
    assert!(!dir.path().join("a.sock").exists());

    let node = start(config(dir.path(), "a", &[])).await;
    let after: NodeInfo = node.api.get("/v1/node").await;
    assert_eq!((after.id, after.store), (before.id, before.store));
    assert_eq!(after.addresses, before.addresses, "others find it where it was");
    let (second, _) = node.api.results(id, "follow=true&ordered=true").await;
    assert_eq!(first, second);
    let (again, _) = node.api.submit(&request).await;
    assert_eq!(again, id, "the same nonce is the same job");
    node.end().await;
}

pub async fn delivery_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let node = start(config(dir.path(), "a", &[])).await;
    let go = dir.path().join("go");
    // Tasks of the first half end at once, the others wait for a file.
    let script = "test $FILCH_INDEX -le 4 || while ! test -e $1; do sleep 0.05; done; echo $FILCH_INDEX > f";
    let group = json!({ "name": "main", "tasks": array(8), "outputs": ["f"],
        "program": { "command": ["sh", "-c", script, "_", go.to_str().unwrap()] } });
    let mut request = job(1, group);
    request["spec"]["groups"][0]["program"]["command"][2] = json!(script.replace("> f", "> out-$FILCH_INDEX"));
    request["spec"]["groups"][0]["outputs"] = json!(["out-{}"]);
    request["deliver_to"] = json!(out.to_str().unwrap());
    let (id, _) = node.api.submit(&request).await;
    let mut events = node.api.stream(Method::GET, "/v1/events", &serde_json::Value::Null).await;
    while detail(&node.api, id).await.delivery.unwrap().files < 4 {
        events.next::<filch_api::Event>().await.unwrap();
    }
    node.end().await;
    let name = |n: u32| out.join(format!("out-{n}"));
    assert!((1..=4).all(|n| name(n).exists()) && (5..=8).all(|n| !name(n).exists()));

    std::fs::write(&go, "").unwrap();
    std::fs::remove_file(name(1)).unwrap();
    let node = start(config(dir.path(), "a", &[])).await;
    let (results, last) = node.api.results(id, "follow=true").await;
    assert_each_once(&results, 8);
    let ResultLine::End { state, delivery, .. } = last else { panic!("{last:?}") };
    let delivery = delivery.unwrap();
    assert_eq!((state, delivery.files, delivery.failed), (JobState::Succeeded, 8, 0));
    assert!((2..=8).all(|n| name(n).exists()));
    assert!(!name(1).exists(), "what was delivered is not delivered again");
    node.end().await;
}

pub async fn down_hands_work_back() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = pair(dir.path()).await;
    let group =
        json!({ "name": "main", "tasks": array(40), "program": { "handler": { "name": "sleep", "args": ["50ms"] } } });
    let (id, _) = a.api.submit(&job(1, group)).await;
    let (status, _) = b.api.call(Method::POST, "/v1/down", b"{\"grace_ms\":5000}".to_vec()).await;
    assert_eq!(status, 202);
    b.ended().await;
    let (results, last) = a.api.results(id, "follow=true").await;
    assert_each_once(&results, 40);
    let ResultLine::End { state, .. } = last else { panic!("{last:?}") };
    assert_eq!(state, JobState::Succeeded);
    a.end().await;
}

pub async fn a_second_node_on_a_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path(), "a", &[])).await;
    let refused = RunningNode::start(config(dir.path(), "a", &[])).await.err().unwrap();
    let mine = std::process::id();
    assert!(matches!(&refused, UpError::DataDir(DataDirError::InUse { pid: Some(p), .. }) if *p == mine), "{refused}");
    assert_eq!(refused.exit_code(), 4);
    let mut other = config(dir.path(), "b", &[]);
    other.socket = dir.path().join("a.sock");
    let refused = RunningNode::start(other).await.err().unwrap();
    assert!(matches!(refused, UpError::Socket(_)), "{refused}");
    // The first one is none the worse for it.
    let info: NodeInfo = node.api.get("/v1/node").await;
    assert_eq!(info.name, "a");
    node.end().await;
}
