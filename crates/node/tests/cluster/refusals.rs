//! What bad input gets, and bytes in and out.

use filch_api::{Code, FileLine, MemberList};
use hyper::Method;
use serde_json::{Value, json};

use crate::api::{array, job};
use crate::world::{config, start};

pub async fn bad_requests_are_problems() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path(), "a", &[])).await;
    let api = &node.api;
    let noop = || json!({ "name": "main", "tasks": array(1), "program": { "handler": { "name": "noop" } } });
    let no_dir = {
        let mut j = job(2, noop());
        j["deliver_to"] = json!("/does/not/exist");
        j.to_string()
    };
    let unknown = {
        let mut j = job(2, noop());
        j["spec"]["groups"][0]["colour"] = json!("red");
        j.to_string()
    };
    let empty = job(2, json!({ "name": "main", "tasks": array(0), "program": { "handler": { "name": "noop" } } }));
    let many = {
        let mut j = job(2, noop());
        j["copies"] = json!(5);
        j.to_string()
    };
    let huge = " ".repeat(filch_api::routes::MAX_BODY + 1);
    let absent = "ab".repeat(32);
    for (method, path, body, code) in [
        (Method::GET, "/v1/nothing".to_owned(), "", Code::NoSuchRoute),
        (Method::PUT, "/v1/node".to_owned(), "", Code::MethodNotAllowed),
        (Method::GET, "/v1/jobs/xyz".to_owned(), "", Code::BadId),
        (Method::GET, "/v1/jobs/abc".to_owned(), "", Code::BadId),
        (Method::GET, "/v1/jobs/abcd".to_owned(), "", Code::NoSuchJob),
        (Method::GET, format!("/v1/jobs/{absent}/results"), "", Code::NoSuchJob),
        (Method::GET, format!("/v1/blobs/{absent}"), "", Code::NoSuchBlob),
        (Method::GET, "/v1/jobs?limit=many".to_owned(), "", Code::BadRequest),
        (Method::GET, "/v1/jobs?colour=red".to_owned(), "", Code::BadRequest),
        (Method::POST, "/v1/jobs".to_owned(), "{", Code::BadRequest),
        (Method::POST, "/v1/jobs".to_owned(), &huge, Code::TooLarge),
        (Method::POST, "/v1/jobs".to_owned(), &no_dir, Code::DirectoryUnusable),
        (Method::POST, "/v1/jobs".to_owned(), &unknown, Code::BadRequest),
        (Method::POST, "/v1/jobs".to_owned(), &empty.to_string(), Code::SpecInvalid),
        (Method::POST, "/v1/jobs".to_owned(), &many, Code::TooFewCopies),
        (Method::POST, "/v1/files".to_owned(), r#"{"paths":["relative"]}"#, Code::BadRequest),
    ] {
        let p = api.problem(method.clone(), &path, body).await;
        assert_eq!(p.code, code, "{method} {path}: {p}");
    }
    let (id, _) = api.submit(&job(7, noop())).await;
    let mut other = job(7, noop());
    other["spec"]["name"] = json!("another");
    let p = api.problem(Method::POST, "/v1/jobs", &other.to_string()).await;
    assert_eq!(p.code, Code::NonceReused);
    let p = api.problem(Method::GET, &format!("/v1/jobs/{id}/logs/9"), "").await;
    assert_eq!(p.code, Code::NoSuchTask);
    let (status, text) = api.call(Method::GET, "/metrics", vec![]).await;
    assert!(status == 200 && String::from_utf8_lossy(&text).contains("filch_tasks_finished_total"));
    let document: Value = api.get("/v1/openapi.json").await;
    assert!(document["paths"]["/v1/jobs"].is_object());
    let members: MemberList = api.get("/v1/nodes").await;
    assert!(members.nodes.len() == 1 && members.nodes[0].this);
    node.end().await;
}

pub async fn blobs_and_files_go_in_and_out() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path(), "a", &[])).await;
    for len in [0usize, 5, 3_000_000] {
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let blob = node.api.put(&bytes).await;
        assert_eq!(blob.len, len as u64);
        let (status, back) = node.api.call(Method::GET, &format!("/v1/blobs/{}", blob.blob), vec![]).await;
        assert!(status == 200 && back == bytes, "{len}");
    }
    let incoming = dir.path().join("a/incoming");
    assert_eq!(std::fs::read_dir(incoming).unwrap().count(), 0, "nothing is left behind");
    let script = dir.path().join("s.sh");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let paths = json!({ "paths": [script.to_str().unwrap(), dir.path().to_str().unwrap(), "/never/reached"] });
    let mut lines = node.api.stream(Method::POST, "/v1/files", &paths).await;
    let FileLine::File(file) = lines.next().await.unwrap() else { panic!() };
    assert!(file.executable && file.len == 10 && file.index == 0);
    let FileLine::Problem(p) = lines.next().await.unwrap() else { panic!() };
    assert_eq!(p.code, Code::FileUnreadable);
    let missing = json!({ "paths": ["/no/such/file"] });
    let mut lines = node.api.stream(Method::POST, "/v1/files", &missing).await;
    let FileLine::Problem(p) = lines.next().await.unwrap() else { panic!() };
    assert!(p.code == Code::FileMissing && p.detail.unwrap().contains("/no/such/file"));
    node.end().await;
}
