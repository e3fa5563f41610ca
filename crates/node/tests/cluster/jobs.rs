//! Jobs that run.

use std::collections::BTreeSet;

use filch_api::{Data, Delivery, FetchLine, JobDetail, JobState, ResultLine, TaskPage, TaskState};
use filch_types::items::{Item, Writer};
use filch_types::manifest::InFile;
use hyper::Method;
use serde_json::{Value, json};

use crate::api::{array, assert_each_once, job};
use crate::world::{config, pair, start};

fn end(line: ResultLine) -> (JobState, filch_api::Counts, Option<Delivery>) {
    match line {
        ResultLine::End { counts, state, delivery } => (state, counts, delivery),
        other => panic!("{other:?}"),
    }
}

pub async fn an_array_of_noops_on_one_node() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path(), "a", &[])).await;
    let group = json!({ "name": "main", "tasks": array(10_000), "program": { "handler": { "name": "noop" } } });
    let (id, copies) = node.api.submit(&job(1, group)).await;
    assert_eq!(copies, 1);
    let (results, last) = node.api.results(id, "follow=true").await;
    assert_each_once(&results, 10_000);
    assert!(results.iter().all(|r| r.is_final && r.state == TaskState::Succeeded));
    let (state, counts, delivery) = end(last);
    assert_eq!((state, counts.succeeded, counts.finals, delivery), (JobState::Succeeded, 10_000, 10_000, None));
    let page: TaskPage = node.api.get(&format!("/v1/jobs/{id}/tasks?limit=10000")).await;
    assert_eq!(page.tasks.iter().map(|r| r.count).sum::<u32>(), 10_000);
    assert_eq!(page.next, None);
    node.end().await;
}

pub async fn two_nodes_share_a_job() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = pair(dir.path()).await;
    let go = dir.path().join("go");
    let script = "until test -e $1; do sleep 0.02; done";
    let group = json!({ "name": "main", "tasks": array(60),
        "program": { "command": ["sh", "-c", script, "_", go.to_str().unwrap()] } });
    let (id, copies) = a.api.submit(&job(1, group)).await;
    assert_eq!(copies, 2);
    // Nothing ends before both are at work.
    let mut events = b.api.stream(Method::GET, "/v1/events", &serde_json::Value::Null).await;
    while detail(&b.api, id).await.running_here == 0 {
        events.next::<filch_api::Event>().await.unwrap();
    }
    std::fs::write(&go, "").unwrap();
    let (results, last) = a.api.results(id, "follow=true").await;
    assert_each_once(&results, 60);
    assert_eq!(end(last).0, JobState::Succeeded);
    let who: BTreeSet<String> = results.iter().filter_map(|r| r.node.clone()).map(|n| n.name).collect();
    assert_eq!(who, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    let (there, _) = b.api.results(id, "follow=true").await;
    assert_each_once(&there, 60);
    a.end().await;
    b.end().await;
}

pub async fn files_travel_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = pair(dir.path()).await;
    let mut list = Writer::default();
    let mut bodies = Vec::new();
    for n in 0..12u32 {
        let body = format!("file {n}\n").repeat(if n == 3 { 300_000 } else { 10 });
        let blob = a.api.put(body.as_bytes()).await;
        let file = InFile { path: format!("in/{n}.txt"), blob: blob.blob, len: blob.len, executable: false };
        list.push(&Item { values: vec![format!("in/{n}.txt")], inputs: vec![file] }).unwrap();
        bodies.push(body);
    }
    let bytes = list.finish();
    let blob = a.api.put(&bytes).await;
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let group = json!({
        "name": "main", "tasks": { "items": { "list": blob.blob.to_string(), "len": blob.len, "count": 12 } },
        "program": { "command": ["sh", "-c", "sleep 0.02; tr a-z A-Z < $1 > $2", "_", "{in}", "{out}"] },
        "outputs": ["done/{/}"] });
    let mut request = job(1, group);
    request["deliver_to"] = json!(out.to_str().unwrap());
    let (id, _) = a.api.submit(&request).await;
    let (results, last) = a.api.results(id, "follow=true").await;
    assert_each_once(&results, 12);
    let (state, _, delivery) = end(last);
    let delivery = delivery.unwrap();
    assert_eq!((state, delivery.files, delivery.pending, delivery.failed), (JobState::Succeeded, 12, 0, 0));
    for (n, body) in bodies.iter().enumerate() {
        let got = std::fs::read_to_string(out.join(format!("done/{n}.txt"))).unwrap();
        assert_eq!(got, body.to_uppercase(), "{n}");
    }
    // The other node can write them too.
    let second = dir.path().join("second");
    std::fs::create_dir(&second).unwrap();
    let path = format!("/v1/jobs/{}/fetch", &id.to_string()[..8]);
    let mut lines = b.api.stream(Method::POST, &path, &json!({ "dir": second.to_str().unwrap() })).await;
    let done = loop {
        match lines.next::<FetchLine>().await.unwrap() {
            FetchLine::Waiting(_) | FetchLine::Progress(_) => {}
            FetchLine::Done(done) => break done,
            FetchLine::Problem(p) => panic!("{p}"),
        }
    };
    assert_eq!((done.files, done.failed), (12, 0));
    assert_eq!(std::fs::read(second.join("done/3.txt")).unwrap(), bodies[3].to_uppercase().as_bytes());
    a.end().await;
    b.end().await;
}

pub async fn a_failed_task_keeps_its_output() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path(), "a", &[])).await;
    let group = json!({ "name": "main", "tasks": array(2),
        "program": { "command": ["sh", "-c", "echo out; echo err >&2; test $FILCH_INDEX = 1"] } });
    let (id, _) = node.api.submit(&job(1, group)).await;
    let (mut results, last) = node.api.results(id, "follow=true").await;
    let (state, counts, _) = end(last);
    assert_eq!((state, counts.succeeded, counts.failed), (JobState::Failed, 1, 1));
    results.sort_by_key(|r| r.task);
    assert_eq!(results[1].cause, Some(filch_api::TaskCause::Exit(1)));
    assert_eq!(results[1].stderr.kept, Data::Text("err\n".into()));
    let (status, log) = node.api.call(Method::GET, &format!("/v1/jobs/{id}/logs/1?stream=stdout"), vec![]).await;
    assert_eq!((status, log.as_slice()), (200, &b"out\n"[..]));
    let page: TaskPage = node.api.get(&format!("/v1/jobs/{id}/tasks?state=failed")).await;
    assert_eq!(page.tasks.iter().map(|t| t.task).collect::<Vec<_>>(), [1]);
    node.end().await;
}

pub async fn a_node_that_keeps_nothing_reads_along() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = pair(dir.path()).await;
    let group = json!({ "name": "main", "tasks": array(20),
        "program": { "command": ["sh", "-c", "head -c 20000 /dev/zero | tr '\\0' x"] } });
    let mut request = job(1, group);
    request["copies"] = json!(1);
    let (id, copies) = a.api.submit(&request).await;
    assert_eq!(copies, 1);
    // Gossip may take a moment to tell the other node of the job.
    let mut events = b.api.stream(Method::GET, "/v1/events", &Value::Null).await;
    while b.api.call(Method::GET, &format!("/v1/jobs/{id}"), vec![]).await.0 != 200 {
        events.next::<filch_api::Event>().await.unwrap();
    }
    let (results, last) = b.api.results(id, "follow=true").await;
    assert_each_once(&results, 20);
    assert_eq!(end(last).0, JobState::Succeeded);
    let Data::Blob { id: blob, len } = &results[0].stdout.kept else { panic!("{:?}", results[0].stdout) };
    let (status, bytes) = b.api.call(Method::GET, &format!("/v1/blobs/{blob}?job={id}"), vec![]).await;
    assert_eq!((status, bytes.len() as u64, *len), (200, 20_000, 20_000));
    a.end().await;
    b.end().await;
}

pub async fn ordered_results_continue_behind_a_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path(), "a", &[])).await;
    let group = json!({ "name": "main", "tasks": array(30),
        "program": { "command": ["sh", "-c", "sleep 0.0$((FILCH_INDEX % 5)); echo $FILCH_INDEX"] } });
    let (id, _) = node.api.submit(&job(1, group)).await;
    let (results, _) = node.api.results(id, "follow=true&ordered=true").await;
    let order: Vec<u32> = results.iter().map(|r| r.task).collect();
    assert_eq!(order, (0..30).collect::<Vec<_>>());
    let (rest, _) = node.api.results(id, &format!("ordered=true&from={}", results[11].cursor)).await;
    assert_eq!(rest.iter().map(|r| r.task).collect::<Vec<_>>(), (12..30).collect::<Vec<_>>());
    node.end().await;
}

pub async fn a_cancelled_job_accounts_for_every_task() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path(), "a", &[])).await;
    let group = json!({ "name": "main", "tasks": array(50), "program": { "command": ["sleep", "60"] } });
    let (id, _) = node.api.submit(&job(1, group)).await;
    let api = node.api.clone();
    let follow = tokio::spawn(async move { api.results(id, "follow=true").await });
    let (status, _) = node.api.call(Method::POST, &format!("/v1/jobs/{id}/cancel"), vec![]).await;
    assert_eq!(status, 200);
    let (results, last) = follow.await.unwrap();
    assert_each_once(&results, 50);
    assert!(results.iter().all(|r| r.state == TaskState::Cancelled));
    assert_eq!(end(last).0, JobState::Cancelled);
    let (status, _) = node.api.call(Method::DELETE, &format!("/v1/jobs/{id}"), vec![]).await;
    assert_eq!(status, 200);
    let (status, _) = node.api.call(Method::GET, &format!("/v1/jobs/{id}"), vec![]).await;
    assert_eq!(status, 404);
    node.end().await;
}

/// One job.
pub async fn detail(api: &crate::api::Api, id: filch_types::JobId) -> JobDetail {
    api.get(&format!("/v1/jobs/{id}")).await
}
