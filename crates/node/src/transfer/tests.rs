use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use filch_blobs::{BlobStore, Options};
use filch_types::items::{Item, Writer};
use filch_types::manifest::{Generator, Group, InFile, Program, TaskLimits};
use filch_types::{BlobId, JobId, JobSpec, Manifest, NodeId, Nonce};
use futures::future::BoxFuture;

use super::closure::Holder;
use super::*;
use crate::stats::Stats;

const A: NodeId = NodeId([1; 32]);
const B: NodeId = NodeId([2; 32]);
const C: NodeId = NodeId([3; 32]);

/// What is at the other end of a stream.
#[derive(Clone)]
enum Peer {
    Serves(Server),
    /// Answers well, but flips a bit at this byte of its answers.
    Lies(Server, usize),
    Away,
}

#[derive(Default)]
struct Pipes {
    peers: Mutex<HashMap<NodeId, Peer>>,
    opened: Mutex<Vec<NodeId>>,
}

impl Opener for Pipes {
    fn open(&self, to: NodeId) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        self.opened.lock().unwrap().push(to);
        let peer = self.peers.lock().unwrap().get(&to).cloned().unwrap_or(Peer::Away);
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(64 * 1024);
            match peer {
                Peer::Away => return Err(io::Error::other("away")),
                Peer::Serves(server) => drop(tokio::spawn(async move { server.serve(far).await })),
                Peer::Lies(server, at) => {
                    let (inner, honest) = tokio::io::duplex(64 * 1024);
                    tokio::spawn(async move { server.serve(honest).await });
                    tokio::spawn(lie(inner, far, at));
                }
            }
            Ok(Box::new(near) as Box<dyn Duplex>)
        })
    }
}

async fn lie(inner: tokio::io::DuplexStream, far: tokio::io::DuplexStream, at: usize) -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut from, mut to_server) = tokio::io::split(inner);
    let (mut asks, mut to) = tokio::io::split(far);
    tokio::spawn(async move { tokio::io::copy(&mut asks, &mut to_server).await });
    let (mut seen, mut buf) = (0, vec![0; 4096]);
    loop {
        let n = from.read(&mut buf).await?;
        if n == 0 {
            return to.shutdown().await;
        }
        if (seen..seen + n).contains(&at) {
            buf[at - seen] ^= 1;
        }
        seen += n;
        to.write_all(&buf[..n]).await?;
    }
}

struct Bench {
    _dir: tempfile::TempDir,
    pipes: Arc<Pipes>,
    own: BlobStore,
    fetcher: Arc<Fetcher>,
    stats: Arc<Stats>,
}

fn store(dir: &std::path::Path, name: &str) -> BlobStore {
    BlobStore::open(&dir.join(name), Options::default()).unwrap()
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let own = store(dir.path(), "own");
    let (pipes, stats) = (Arc::new(Pipes::default()), Arc::new(Stats::default()));
    let fetcher = Arc::new(Fetcher::new(own.clone(), pipes.clone(), stats.clone()));
    Bench { _dir: dir, pipes, own, fetcher, stats }
}

impl Bench {
    fn peer(&self, name: &str, blobs: &[Vec<u8>]) -> Server {
        let store = store(self._dir.path(), name);
        for b in blobs {
            store.put_bytes(b).unwrap();
        }
        Server::new(store, self.stats.clone(), Arc::new(|_| ()))
    }
    fn set(&self, id: NodeId, peer: Peer) {
        self.pipes.peers.lock().unwrap().insert(id, peer);
    }
}

fn bytes(n: usize, seed: u8) -> Vec<u8> {
    (0..n).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed) ^ (i >> 8) as u8).collect()
}

fn want(blobs: &[Vec<u8>]) -> Vec<(BlobId, u64)> {
    blobs.iter().map(|b| (BlobId::of(b), b.len() as u64)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_and_some_large_blobs_come_over_few_streams() {
    let b = bench();
    let mut blobs: Vec<Vec<u8>> = (0..300u16).map(|n| [&n.to_le_bytes()[..], &bytes(100, 7)].concat()).collect();
    blobs.extend([bytes(3_000_000, 1), bytes(0, 0), bytes(16 * 1024, 2)]);
    b.set(A, Peer::Serves(b.peer("a", &blobs)));
    let mut list = want(&blobs);
    list.extend(want(&blobs[..3]));
    b.fetcher.fetch(&list, &[A], &|_| ()).await.unwrap();
    for blob in &blobs {
        assert_eq!(&b.own.read(BlobId::of(blob), blob.len() as u64).unwrap(), blob);
    }
    assert!(b.pipes.opened.lock().unwrap().len() <= 4, "streams are used again");
    assert_eq!(b.stats.blobs_fetched.get(), 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_provider_takes_over_where_a_liar_was_caught() {
    let b = bench();
    let blobs = vec![bytes(4_000_000, 9)];
    b.set(A, Peer::Lies(b.peer("a", &blobs), 2_000_000));
    b.set(B, Peer::Away);
    b.set(C, Peer::Serves(b.peer("c", &blobs)));
    b.fetcher.fetch(&want(&blobs), &[A, B, C], &|_| ()).await.unwrap();
    assert_eq!(b.own.read(BlobId::of(&blobs[0]), 4_000_000).unwrap(), blobs[0]);
    let moved = b.stats.bytes_fetched.get();
    assert!(moved < 4_700_000, "good pieces of the liar are not fetched again: {moved}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_is_named_and_the_rest_arrives() {
    let b = bench();
    let (here, nowhere) = (vec![bytes(1000, 1)], vec![bytes(1000, 2)]);
    b.set(A, Peer::Serves(b.peer("a", &here)));
    let both = [want(&here), want(&nowhere)].concat();
    let e = b.fetcher.fetch(&both, &[A, B], &|_| ()).await.unwrap_err();
    assert!(
        matches!(e, FetchError::Missing { missing: 1, first, asked: 2, .. } if first == BlobId::of(&nowhere[0])),
        "{e}"
    );
    assert!(b.own.has(BlobId::of(&here[0])));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_want_the_same_fetch_it_once() {
    let b = bench();
    let blobs = vec![bytes(2_000_000, 5)];
    b.set(A, Peer::Serves(b.peer("a", &blobs)));
    let list = want(&blobs);
    let none = |_| ();
    let (one, two) = tokio::join!(b.fetcher.fetch(&list, &[A], &none), b.fetcher.fetch(&list, &[A], &none));
    one.unwrap();
    two.unwrap();
    assert_eq!(b.stats.blobs_fetched.get(), 1);
}

fn manifest(list: &[u8], count: u32, shared: &[u8], blobs: u32) -> Manifest {
    let file = |b: &[u8]| InFile { path: "s".into(), blob: BlobId::of(b), len: b.len() as u64, executable: false };
    let group = Group {
        name: "main".into(),
        tasks: Generator::Items { list: BlobId::of(list), len: list.len() as u64, count },
        program: Program::Handler { name: "hash".into(), args: vec![] },
        env: vec![],
        inputs: vec![file(shared)],
        outputs: vec![],
        limits: TaskLimits::default(),
        retries: 0,
        needs: vec![],
        resources: vec![],
    };
    let spec = JobSpec {
        name: "j".into(),
        priority: 0,
        attended: false,
        groups: vec![group],
        closure_bytes: 0,
        closure_blobs: blobs,
    };
    Manifest { owner: A, nonce: Nonce::default(), created_ms: 0, k: 1, r: 1, replicas: vec![A], spec }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closure_is_lists_shared_inputs_and_what_items_name() {
    let b = bench();
    let inputs: Vec<Vec<u8>> = (0..130u8).map(|n| bytes(2000, n)).collect();
    let shared = b"shared".to_vec();
    let mut w = Writer::default();
    for i in &inputs {
        let file = InFile { path: "f".into(), blob: BlobId::of(i), len: i.len() as u64, executable: false };
        w.push(&Item { values: vec![], inputs: vec![file] }).unwrap();
    }
    let list = w.finish();
    let all = [inputs.clone(), vec![shared.clone(), list.clone()]].concat();
    b.set(A, Peer::Serves(b.peer("a", &all)));
    let holder =
        Holder { store: b.own.clone(), fetcher: b.fetcher.clone(), lists: Arc::new(Lists::new(b.own.clone())) };
    let m = Arc::new(manifest(&list, 130, &shared, 132));
    let told = Mutex::new(0);
    holder.hold_closure(JobId::default(), m.clone(), &[A], &|n| *told.lock().unwrap() = n).await.unwrap();
    assert!(all.iter().all(|blob| b.own.has(BlobId::of(blob))));
    assert_eq!(*told.lock().unwrap(), all.iter().map(|b| b.len() as u64).sum::<u64>());
    // Everything is here: nobody needs to be asked.
    b.set(A, Peer::Away);
    holder.hold_closure(JobId::default(), m, &[A], &|_| ()).await.unwrap();
    let absent = Arc::new(manifest(&list, 130, b"not here", 132));
    assert!(holder.hold_closure(JobId::default(), absent, &[A], &|_| ()).await.is_err());
}
