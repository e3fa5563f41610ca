//! The client against a scripted node on a Unix socket: what is sent, what is understood, what is said when things break.

use std::path::PathBuf;

use filch_client::api::{Code, SubmitLine, SubmitRequest, spec::JobSpec};
use filch_client::types::{BlobId, JobId, Nonce};
use filch_client::{Client, ClientError, Follow, Update};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

struct Fake {
    client: Client,
    served: JoinHandle<Vec<String>>,
    _dir: tempfile::TempDir,
}

/// Answers the given responses, one connection each, and returns what was asked.
fn fake(responses: Vec<Vec<u8>>) -> Fake {
    let dir = tempfile::tempdir().unwrap();
    let socket: PathBuf = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let served = tokio::spawn(async move {
        let mut asked = Vec::new();
        for response in responses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut got = Vec::new();
            while !complete(&got) {
                assert_ne!(stream.read_buf(&mut got).await.unwrap(), 0, "the client hung up");
            }
            asked.push(String::from_utf8_lossy(&got).into_owned());
            stream.write_all(&response).await.unwrap();
        }
        asked
    });
    Fake { client: Client::new(socket), served, _dir: dir }
}

fn complete(got: &[u8]) -> bool {
    let text = String::from_utf8_lossy(got).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |l| l.parse().unwrap());
    body.len() >= length
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A chunked answer, cut into pieces wherever it suits, with or without its end.
fn chunks(pieces: &[&str], whole: bool) -> Vec<u8> {
    let mut out = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for piece in pieces {
        out.extend_from_slice(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
    }
    if whole {
        out.extend_from_slice(b"0\r\n\r\n");
    }
    out
}

const COUNTS: &str =
    r#"{"total":1,"waiting":0,"queued":0,"leased":0,"succeeded":1,"failed":0,"cancelled":0,"final":1}"#;

#[tokio::test]
async fn nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    for there in [false, true] {
        let socket = dir.path().join("s");
        if there {
            drop(UnixListener::bind(&socket).unwrap());
        }
        let error = Client::new(&socket).node().await.unwrap_err();
        assert!(matches!(error, ClientError::NoNode { .. }), "{error:?}");
        assert!(error.to_string().contains(socket.to_str().unwrap()), "{error}");
        assert!(error.hint().unwrap().contains("filch up"));
        assert_eq!(error.exit(), 4);
    }
}

#[tokio::test]
async fn problems_are_typed() {
    let body = r#"{"type":"urn:filch:problem:ambiguous_job","code":"ambiguous_job","status":409,"title":"several jobs begin with this id","detail":"ab12: ab1234, ab1299","exit":2}"#;
    let f = fake(vec![answer("409 Conflict", body), answer("500 Oops", "not json")]);
    match f.client.job("ab12").await.unwrap_err() {
        ClientError::Problem(p) => assert_eq!((p.code, p.exit), (Code::AmbiguousJob, 2)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(f.client.nodes().await.unwrap_err(), ClientError::Protocol(_)));
    let asked = f.served.await.unwrap();
    assert!(asked[0].starts_with("GET /v1/jobs/ab12 HTTP/1.1\r\n"), "{}", asked[0]);
}

#[tokio::test]
async fn results_come_in_any_pieces_and_end_once() {
    let lines = format!(
        "{}\n{}\n\n{}\n",
        format_args!(r#"{{"progress":{{"counts":{COUNTS},"state":"active"}}}}"#),
        r#"{"result":{"cursor":"c1","task":0,"number":0,"state":"succeeded","final":true,"stdout":{"kept":{"text":"hi\n"},"total":3},"new_field":1}}"#,
        format_args!(r#"{{"end":{{"counts":{COUNTS},"state":"succeeded"}}}}"#),
    );
    let pieces: Vec<&str> = lines.as_bytes().chunks(7).map(|c| std::str::from_utf8(c).unwrap()).collect();
    let f = fake(vec![chunks(&pieces, true)]);
    let how = Follow { follow: true, from: Some("a b".into()), ..Follow::default() };
    let mut updates = f.client.results(JobId([7; 32]), &how).await.unwrap();
    assert!(matches!(updates.next().await.unwrap(), Some(Update::Progress { .. })));
    match updates.next().await.unwrap() {
        Some(Update::Result(r)) => assert_eq!(r.stdout.kept.inline().unwrap().unwrap(), b"hi\n"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(updates.next().await.unwrap(), Some(Update::End { .. })));
    assert!(updates.next().await.unwrap().is_none());
    let asked = f.served.await.unwrap();
    assert!(asked[0].contains("/results?follow=true&from=a%20b HTTP"), "{}", asked[0]);
}

#[tokio::test]
async fn a_connection_that_breaks_is_not_an_end() {
    let progress = format!("{{\"progress\":{{\"counts\":{COUNTS},\"state\":\"active\"}}}}\n");
    for (pieces, whole) in [(vec![progress.as_str()], false), (vec![progress.as_str()], true), (vec!["{\"pro"], true)] {
        let f = fake(vec![chunks(&pieces, whole)]);
        let mut updates = f.client.results(JobId([7; 32]), &Follow::default()).await.unwrap();
        let error = loop {
            match updates.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("ended well"),
                Err(e) => break e,
            }
        };
        assert!(matches!(error, ClientError::Lost(_)), "{error:?}");
    }
}

#[tokio::test]
async fn submit_tells_the_id_first_and_the_copies_later() {
    let id = "07".repeat(32);
    let holder = format!(r#"{{"id":"{}","name":"a"}}"#, "01".repeat(32));
    let lines = [
        format!("{{\"submitted\":{{\"job\":\"{id}\",\"known\":false}}}}\n"),
        format!(
            "{{\"copies\":{{\"have\":1,\"want\":2,\"holders\":[{holder}],\"missing_bytes\":9,\"eta_ms\":20000}}}}\n"
        ),
        format!("{{\"accepted\":{{\"job\":\"{id}\",\"holders\":[{holder}]}}}}\n"),
    ];
    let pieces: Vec<&str> = lines.iter().map(String::as_str).collect();
    let f = fake(vec![chunks(&pieces, true)]);
    let spec: JobSpec = serde_json::from_str(r#"{"groups":[{"program":{"command":["true"]}}]}"#).unwrap();
    let request = SubmitRequest { nonce: Nonce([3; 16]), spec, deliver_to: None, copies: Some(2) };
    let mut submission = f.client.submit(&request).await.unwrap();
    assert_eq!(submission.job, JobId([7; 32]));
    assert!(matches!(submission.next().await.unwrap(), SubmitLine::Copies { eta_ms: Some(20000), .. }));
    assert_eq!(submission.accepted().await.unwrap()[0].name, "a");
    let asked = f.served.await.unwrap();
    let body = asked[0].split_once("\r\n\r\n").unwrap().1;
    assert_eq!(serde_json::from_str::<SubmitRequest>(body).unwrap(), request);
}

#[tokio::test]
async fn many_files_go_in_batches_and_keep_their_numbers() {
    let batch = |n: u32| {
        let line = |i: u32| {
            format!("{{\"file\":{{\"index\":{i},\"blob\":\"{}\",\"len\":1,\"executable\":false}}}}\n", BlobId([1; 32]))
        };
        chunks(&[(0..n).map(line).collect::<String>().as_str()], true)
    };
    let f = fake(vec![batch(10_000), batch(5)]);
    let paths: Vec<String> = (0..10_005).map(|i| format!("/f/{i}")).collect();
    let mut ingest = f.client.ingest(&paths);
    let mut seen = 0;
    while let Some(file) = ingest.next().await.unwrap() {
        assert_eq!(file.index, seen);
        seen += 1;
    }
    assert_eq!(seen, 10_005);
    let problem = "{\"problem\":{\"type\":\"urn:filch:problem:file_missing\",\"code\":\"file_missing\",\"status\":422,\"title\":\"a file does not exist\",\"detail\":\"/f/0\",\"exit\":2}}\n";
    let f = fake(vec![chunks(&[problem], true)]);
    let error = f.client.ingest(&paths[..1]).next().await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.exit()), ("a file does not exist: /f/0", 2));
}

#[tokio::test]
async fn a_stored_blob_must_be_what_was_sent() {
    let right = format!("{{\"blob\":\"{}\",\"len\":2}}", BlobId::of(b"xy"));
    let f = fake(vec![answer("200 OK", &right), answer("200 OK", &right)]);
    assert_eq!(f.client.put_blob("xy").await.unwrap().len, 2);
    assert!(matches!(f.client.put_blob("zz").await.unwrap_err(), ClientError::Protocol(_)));
    let asked = f.served.await.unwrap();
    assert!(asked[0].starts_with("PUT /v1/blobs ") && asked[0].ends_with("\r\n\r\nxy"), "{}", asked[0]);
}

fn result(task: u32, count: u32) -> String {
    format!(
        "{{\"result\":{{\"cursor\":\"o{}\",\"task\":{task},\"count\":{count},\"number\":{task},\"state\":\"succeeded\",\"final\":true}}}}\n",
        task + count
    )
}

/// All results as (task, count), and how often the node went away and came back.
async fn all(updates: &mut filch_client::Updates) -> Result<(Vec<(u32, u32)>, u32, u32), ClientError> {
    let (mut tasks, mut away, mut back) = (Vec::new(), 0, 0);
    while let Some(update) = updates.next().await? {
        match update {
            Update::Result(r) => tasks.push((r.task, r.count)),
            Update::Away { .. } => away += 1,
            Update::Back => back += 1,
            Update::Progress { .. } | Update::End { .. } => {}
        }
    }
    Ok((tasks, away, back))
}

const PATIENT: Follow = Follow {
    follow: true,
    ordered: false,
    stage: filch_client::Stage::Final,
    from: None,
    patience: std::time::Duration::from_secs(60),
};

#[tokio::test]
async fn results_go_on_after_the_node_was_away_and_none_comes_twice() {
    let end = format!("{{\"end\":{{\"counts\":{COUNTS},\"state\":\"succeeded\"}}}}\n");
    let draining = r#"{"type":"t","code":"draining","status":503,"title":"the node is going down","exit":4}"#;
    let f = fake(vec![
        chunks(&[&result(5, 1), &result(0, 3), "{\"resu"], false),
        // Still on its way down; then another life, which cuts its runs elsewhere.
        answer("503 Service Unavailable", draining),
        chunks(&[&result(1, 1), &result(2, 5)], true),
        chunks(&[&result(0, 8), &end], true),
    ]);
    let mut updates = f.client.results(JobId([7; 32]), &PATIENT).await.unwrap();
    let (tasks, away, back) = all(&mut updates).await.unwrap();
    assert_eq!(tasks, [(5, 1), (0, 3), (3, 2), (6, 1), (7, 1)]);
    assert_eq!((away, back), (2, 2));
    assert!(f.served.await.unwrap().iter().all(|asked| asked.contains("/results?follow=true HTTP")));
}

#[tokio::test]
async fn ordered_results_go_on_behind_the_last_one() {
    let end = format!("{{\"end\":{{\"counts\":{COUNTS},\"state\":\"succeeded\"}}}}\n");
    let f = fake(vec![chunks(&[&result(0, 4)], false), chunks(&[&result(4, 2), &end], true)]);
    let how = Follow { ordered: true, ..PATIENT };
    let mut updates = f.client.results(JobId([7; 32]), &how).await.unwrap();
    assert_eq!(all(&mut updates).await.unwrap(), (vec![(0, 4), (4, 2)], 1, 1));
    let asked = f.served.await.unwrap();
    assert!(asked[1].contains("/results?follow=true&ordered=true&from=o4 HTTP"), "{}", asked[1]);
}

#[tokio::test]
async fn patience_has_an_end() {
    let f = fake(vec![chunks(&[&result(0, 1)], false)]);
    let how = Follow { patience: std::time::Duration::from_millis(1), ..PATIENT };
    let mut updates = f.client.results(JobId([7; 32]), &how).await.unwrap();
    let served = f.served.await.unwrap();
    assert_eq!(served.len(), 1);
    let error = all(&mut updates).await.unwrap_err();
    assert!(matches!(error, ClientError::NoNode { .. } | ClientError::Lost(_)), "{error:?}");
}
