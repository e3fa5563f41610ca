//! Starts, ends, restarts.

use std::time::Duration;

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

/// The blob store of a node that has ended. In one process its last task may still be on the way out.
async fn blobs_of(dir: &std::path::Path) -> filch_blobs::BlobStore {
    loop {
        match filch_blobs::BlobStore::open(&dir.join("a/blobs"), Default::default()) {
            Err(filch_blobs::OpenError::Locked { .. }) => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}

/// Tasks that write more than a result carries inline.
fn blobs(dir: &std::path::Path) -> serde_json::Value {
    let group = json!({ "name": "main", "tasks": array(3), "outputs": ["out-{}"],
        "program": { "command": ["sh", "-c", "seq $FILCH_INDEX 9999 | tee out-$FILCH_INDEX"] } });
    let mut request = job(1, group);
    request["deliver_to"] = json!(dir.to_str().unwrap());
    request
}

pub async fn a_damaged_blob_index_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let node = start(config(dir.path(), "a", &[])).await;
    let (id, _) = node.api.submit(&blobs(&out)).await;
    let (first, _) = node.api.results(id, "follow=true&ordered=true").await;
    node.end().await;
    for junk in [None, Some(vec![9; 5000])] {
        let index = dir.path().join("a/blobs/index.redb");
        match junk {
            Some(junk) => std::fs::write(&index, junk).unwrap(),
            None => std::fs::remove_file(&index).unwrap(),
        }
        let node = start(config(dir.path(), "a", &[])).await;
        let (second, _) = node.api.results(id, "follow=true&ordered=true").await;
        assert_eq!(first, second);
        for task in 0..3 {
            let (status, body) = node.api.call(Method::GET, &format!("/v1/jobs/{id}/logs/{task}"), Vec::new()).await;
            let text = String::from_utf8_lossy(&body);
            assert_eq!((status, text.lines().last()), (200, Some("9999")), "task {task}");
        }
        node.end().await;
        // The job holds its blobs again: nothing of it is swept.
        let store = blobs_of(dir.path()).await;
        assert_eq!(store.rebuilt(), None);
        let before = store.usage().blobs;
        for _ in 0..3 {
            store.sweep().unwrap();
        }
        assert_eq!(store.usage().blobs, before);
    }
}

/// Every result blob on the disk of one of two nodes is damaged while it runs: it hands out no wrong byte, gets them from the other one, and
/// has them again when that one is gone.
pub async fn damaged_results_come_back_from_the_other_node() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let (a, b) = crate::world::pair(dir.path()).await;
    let (id, copies) = b.api.submit(&blobs(&out)).await;
    assert_eq!(copies, 2);
    b.api.results(id, "follow=true").await;
    let mut damaged = 0;
    for pack in std::fs::read_dir(dir.path().join("b/blobs/packs")).unwrap() {
        let path = pack.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.iter_mut().step_by(500).for_each(|byte| *byte ^= 0xff);
        damaged += bytes.len();
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(damaged > 3 * 40_000, "three results of some 48 KB each");
    let before = log_of("a", &a.api, id).await;
    assert_eq!(log_of("b", &b.api, id).await, before);
    a.end().await;
    assert_eq!(log_of("b alone", &b.api, id).await, before);
    b.end().await;
}

/// A blob of a result that nobody reads rots in the middle of a pack: the walk over the store finds it, and the other node still has it.
pub async fn what_nobody_reads_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let a = start(config(dir.path(), "a", &[])).await;
    let mut looks = config(dir.path(), "b", &a.addresses);
    looks.scrub = Some(Duration::from_millis(20));
    let b = start(looks).await;
    b.meets(1).await;
    let (id, copies) = b.api.submit(&blobs(&out)).await;
    assert_eq!(copies, 2);
    b.api.results(id, "follow=true").await;
    let pack = std::fs::read_dir(dir.path().join("b/blobs/packs")).unwrap().next().unwrap().unwrap().path();
    let file = std::fs::OpenOptions::new().write(true).open(&pack).unwrap();
    let len = file.metadata().unwrap().len();
    std::os::unix::fs::FileExt::write_all_at(&file, b"rotten", len / 2).unwrap();
    // Until it was found, and what it was is here again.
    loop {
        let info: NodeInfo = b.api.get("/v1/node").await;
        let whole: NodeInfo = a.api.get("/v1/node").await;
        if info.counters.scrub_damaged == 1 && info.store_blobs == whole.store_blobs {
            assert!(info.counters.scrub_bytes > 0);
            break;
        }
        tokio::task::yield_now().await;
    }
    let before = log_of("a", &a.api, id).await;
    a.end().await;
    assert_eq!(log_of("b alone", &b.api, id).await, before);
    b.end().await;
}

/// A row of the ledger rots while the node is down: it goes on with the others, as a new store, and has the row again from the other node.
pub async fn a_ledger_with_a_rotten_row_loses_that_row_only() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let (a, b) = crate::world::pair(dir.path()).await;
    let (id, _) = b.api.submit(&blobs(&out)).await;
    b.api.results(id, "follow=true").await;
    let before = log_of("b", &b.api, id).await;
    let was: NodeInfo = b.api.get("/v1/node").await;
    b.end().await;
    let ledger = dir.path().join("b/ledger.redb");
    let mut bytes = std::fs::read(&ledger).unwrap();
    // Every fact of this node's own begins with the job and its maker.
    let mine = [id.0, was.id.0].concat();
    let places: Vec<usize> = bytes.windows(64).enumerate().filter(|(_, w)| *w == mine).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| bytes[*at] ^= 1);
    std::fs::write(&ledger, bytes).unwrap();
    let b = start(config(dir.path(), "b", &a.addresses)).await;
    let now: NodeInfo = b.api.get("/v1/node").await;
    assert_eq!(now.id, was.id);
    assert_ne!(now.store, was.store, "nobody counts on what it had");
    assert!(dir.path().join("b/ledger.damaged").exists());
    b.meets(1).await;
    b.api.results(id, "follow=true").await;
    assert_eq!(log_of("b again", &b.api, id).await, before);
    b.end().await;
    a.end().await;
}

/// What all three tasks wrote, as this node reads it.
async fn log_of(node: &str, api: &crate::api::Api, id: filch_types::JobId) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for task in 0..3 {
        let (status, body) = api.call(Method::GET, &format!("/v1/jobs/{id}/logs/{task}"), Vec::new()).await;
        assert_eq!(status, 200, "{node}, task {task}");
        assert!(body.ends_with(b"9999\n"), "{node}, task {task}");
        out.push(body);
    }
    out
}

pub async fn blobs_of_a_job_that_nobody_knows_are_released_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let node = start(config(dir.path(), "a", &[])).await;
    let (id, _) = node.api.submit(&blobs(&out)).await;
    node.api.results(id, "follow=true").await;
    node.end().await;
    // As a crash in the middle of deleting a job leaves it.
    let store = blobs_of(dir.path()).await;
    let blob = store.put_bytes(b"of a job that is gone").unwrap().0;
    let gone = filch_types::JobId([7; 32]);
    store.retain(gone, &[blob]).unwrap();
    store.sync(&[blob]).unwrap();
    assert_eq!(store.holding().unwrap().len(), 2);
    drop(store);

    let node = start(config(dir.path(), "a", &[])).await;
    node.end().await;
    let store = blobs_of(dir.path()).await;
    assert_eq!(store.holding().unwrap(), [id]);
    assert!(!store.has(blob));
}

pub async fn a_store_without_its_ledger_is_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path(), "a", &[])).await;
    let before: NodeInfo = node.api.get("/v1/node").await;
    node.end().await;
    let ledger = dir.path().join("a/ledger.redb");
    std::fs::write(&ledger, vec![1; 10_000]).unwrap();
    let refused = RunningNode::start(config(dir.path(), "a", &[])).await.err().unwrap();
    assert!(matches!(refused, UpError::Ledger(_)), "{refused}");
    assert_eq!(refused.exit_code(), 4);
    for word in [ledger.to_str().unwrap(), "move it away", "copies on other nodes"] {
        assert!(refused.to_string().contains(word), "{refused}");
    }
    std::fs::rename(&ledger, dir.path().join("ledger.damaged")).unwrap();
    let node = start(config(dir.path(), "a", &[])).await;
    let after: NodeInfo = node.api.get("/v1/node").await;
    assert_eq!(after.id, before.id);
    assert_ne!(after.store, before.store, "what others believe of the old one is void");
    node.end().await;
    let node = start(config(dir.path(), "a", &[])).await;
    let again: NodeInfo = node.api.get("/v1/node").await;
    assert_eq!(again.store, after.store, "and stays this one");
    node.end().await;
}
