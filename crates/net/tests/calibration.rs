//! The simulator's quiet LAN beside a real cluster: fifty networks of this crate in one process, fully connected over loopback.
//!
//! `cargo test --release -p filch-net --test calibration -- --nocapture` prints by how much they differ. What is asserted is the
//! shape: everybody hears, every steal is answered, and neither world is more than a hundred times the other.
#![allow(missing_docs, clippy::print_stdout)]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use common::{config, job};
use filch_core::io::ReqId;
use filch_net::{Command, Net, NetConfig, NetEvent};
use filch_sim::model::{DrawnLinks, Links};
use filch_sim::options::LinkOptions;
use filch_types::time::Span;
use filch_types::wire::{JobState, Request, Response, Summary};
use filch_types::{Epoch, NodeId};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const NODES: usize = 50;
/// Summaries whose spread is measured.
const SUMMARIES: u64 = 20;
/// Steals of every node.
const STEALS: usize = 4;
/// Only a failing test takes as long.
const LIMIT: Duration = Duration::from_secs(400);
/// Files that the process must be able to open: two per connection, and what every node has.
const FILES: u64 = (NODES * NODES + 20 * NODES) as u64;

/// What a node saw, and when.
struct Seen {
    at: Instant,
    node: usize,
    what: What,
}

enum What {
    Up(NodeId),
    Down(NodeId),
    Heard(u64),
    /// The answer to a steal; false if there was none.
    Answered(ReqId, bool),
}

struct Cluster {
    nets: Vec<Net>,
    seen: UnboundedReceiver<Seen>,
    /// Came while something else was awaited.
    heard: BTreeMap<u64, BTreeMap<usize, Instant>>,
}

impl Cluster {
    /// All of them, each connected with every other.
    async fn start() -> Self {
        let (to, seen) = unbounded_channel();
        let mut nets: Vec<Net> = Vec::new();
        for n in 0..NODES {
            let bootstrap = nets.iter().take(3).map(|net| net.addresses().remove(0)).collect();
            let n16 = u16::try_from(n).expect("few nodes");
            let (net, mut events) = filch_net::start(NetConfig { bootstrap, ..config(n16) }).await.expect("it starts");
            let (to, own) = (to.clone(), net.clone());
            tokio::spawn(async move {
                while let Some(event) = events.recv().await {
                    let at = Instant::now();
                    let what = match event {
                        NetEvent::Up(peer) => What::Up(peer),
                        NetEvent::Down(peer) => What::Down(peer),
                        NetEvent::Gossip(summary) => What::Heard(summary.seq),
                        NetEvent::Response(id, response) => {
                            What::Answered(id, matches!(response, Response::Stolen { .. }))
                        }
                        NetEvent::RequestFailed(id) => What::Answered(id, false),
                        NetEvent::Request(_, token, Request::Steal { .. }) => {
                            let none =
                                Response::Stolen { epoch: Epoch::FIRST, runs: vec![], bags: vec![], manifest: None };
                            let _ = own.command(Command::Respond(token, none));
                            continue;
                        }
                        _ => continue,
                    };
                    let _ = to.send(Seen { at, node: n, what });
                }
            });
            nets.push(net);
        }
        let mut cluster = Self { nets, seen, heard: BTreeMap::new() };
        let mut up: Vec<BTreeSet<NodeId>> = vec![BTreeSet::new(); NODES];
        cluster
            .until("everybody is connected with everybody", |seen| {
                match seen.what {
                    What::Up(peer) => {
                        up[seen.node].insert(peer);
                    }
                    What::Down(peer) => {
                        up[seen.node].remove(&peer);
                    }
                    _ => {}
                }
                up.iter().all(|peers| peers.len() == NODES - 1).then_some(())
            })
            .await;
        cluster
    }

    /// Waits for what `pick` finds.
    async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(&Seen) -> Option<T>) -> T {
        let find = async {
            loop {
                let seen = self.seen.recv().await.expect("the nodes live");
                if let What::Heard(seq) = seen.what {
                    self.heard.entry(seq).or_default().entry(seen.node).or_insert(seen.at);
                }
                if let Some(found) = pick(&seen) {
                    return found;
                }
            }
        };
        tokio::time::timeout(LIMIT, find).await.unwrap_or_else(|_| panic!("in time: {what}"))
    }

    /// Publishes one summary at node 0 and waits until all others heard it; how long each took, by node.
    async fn publish(&mut self, seq: u64) -> Vec<(usize, Duration)> {
        let began = Instant::now();
        self.nets[0].command(Command::Publish(summary(seq))).expect("room for a command");
        if self.heard.get(&seq).is_none_or(|h| h.len() < NODES - 1) {
            let mut left = NODES - 1;
            self.until(&format!("all heard summary {seq}"), |seen| {
                left -= usize::from(matches!(seen.what, What::Heard(s) if s == seq));
                (left == 0).then_some(())
            })
            .await;
        }
        let heard = self.heard.remove(&seq).unwrap_or_default();
        assert_eq!(heard.len(), NODES - 1, "everybody but who said it");
        heard.into_iter().map(|(node, at)| (node, at.duration_since(began))).collect()
    }

    /// Gossip promises nothing before its mesh stands: says something until everybody heard one and the same.
    async fn warm_up(&mut self) {
        let mut heard: HashMap<u64, usize> = HashMap::new();
        let mut every = tokio::time::interval(Duration::from_millis(200));
        let publisher = self.nets[0].clone();
        let say = async {
            for seq in 1_000_000.. {
                every.tick().await;
                let _ = publisher.command(Command::Publish(summary(seq)));
            }
        };
        let all = self.until("a summary reaches everybody", |seen| {
            let What::Heard(seq) = seen.what else { return None };
            let count = heard.entry(seq).or_default();
            *count += 1;
            (*count == NODES - 1).then_some(())
        });
        tokio::select! { () = all => {}, () = say => {} }
    }

    /// One steal, from asking to the answer.
    async fn steal(&mut self, thief: usize, victim: usize, number: u64) -> Duration {
        let began = Instant::now();
        let (to, id) = (self.nets[victim].id(), ReqId(number));
        let ask = Request::Steal { job: job(1), want: 1, idle: 1, wait: Span(0) };
        self.nets[thief].command(Command::Request(to, id, ask)).expect("room for a command");
        let (at, answered) = self
            .until("a steal is answered", |seen| match seen.what {
                What::Answered(of, good) if of == id && seen.node == thief => Some((seen.at, good)),
                _ => None,
            })
            .await;
        assert!(answered, "steal {number} of node {thief} at node {victim}");
        at.duration_since(began)
    }
}

fn summary(seq: u64) -> Summary {
    Summary {
        job: job(seq),
        owner: NodeId([1; 32]),
        name: "calibration".into(),
        replicas: vec![NodeId([1; 32]), NodeId([2; 32]), NodeId([3; 32])],
        steward: NodeId([1; 32]),
        epoch: Epoch::FIRST,
        seq,
        priority: 0,
        needs: vec!["command".into()],
        total: 1000,
        succeeded: 0,
        failed: 0,
        leased: 0,
        grantable: 1000,
        state: JobState::Active,
        created_ms: 0,
    }
}

/// The victim of this steal: another node, a different one each time.
fn victim(thief: usize, round: usize) -> usize {
    (thief + 1 + (7 * round + 3 * thief) % (NODES - 1)) % NODES
}

fn median(mut of: Vec<f64>) -> (f64, f64) {
    of.sort_by(f64::total_cmp);
    (of[of.len() / 2], of[of.len() * 95 / 100])
}

/// Prints a line and returns how many times the simulated median the real one is.
fn compare(what: &str, simulated: Vec<f64>, real: Vec<f64>) -> f64 {
    let (sim, sim95) = median(simulated);
    let (real, real95) = median(real);
    let ratio = real / sim;
    println!("{what:<34} {sim:>9.0} {sim95:>9.0} {real:>9.0} {real95:>9.0} {ratio:>8.2} x");
    ratio
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_lan_is_of_the_right_order() {
    if !enough_files() {
        return;
    }
    let mut cluster = Cluster::start().await;
    cluster.warm_up().await;
    let mut links = DrawnLinks::new(LinkOptions::default(), 1);

    let (mut simulated, mut real) = (Vec::new(), Vec::new());
    for seq in 0..SUMMARIES {
        for (node, took) in cluster.publish(seq).await {
            real.push(took.as_secs_f64() * 1e6);
            simulated.push(links.gossip(0, node).expect("a quiet LAN loses nothing") as f64);
        }
    }
    println!("{NODES} nodes, microseconds:         simulated       95 %      real       95 %   ratio");
    let gossip = compare("gossip, until a node has heard", simulated, real);

    let (mut simulated, mut real) = (Vec::new(), Vec::new());
    for round in 0..STEALS {
        for thief in 0..NODES {
            let victim = victim(thief, round);
            real.push(cluster.steal(thief, victim, (round * NODES + thief) as u64).await.as_secs_f64() * 1e6);
            let way = |links: &mut DrawnLinks, a, b| links.carry(a, b, 0).first.expect("a quiet LAN loses nothing");
            simulated.push((way(&mut links, thief, victim) + way(&mut links, victim, thief)) as f64);
        }
    }
    let steal = compare("steal, there and back", simulated, real);
    // Fifty nodes share this machine's processors, and what gossipsub does not push at once it offers by the second: gossip is
    // hundreds of times slower here than over a LAN of fifty machines as it is modelled. Only what makes no sense is refused.
    for (what, ratio, most) in [("gossip", gossip, 10_000.0), ("steal", steal, 100.0)] {
        assert!((0.01..most).contains(&ratio), "{what}: real is {ratio} times simulated");
    }
}

/// Fifty nodes in one process have thousands of sockets.
fn enough_files() -> bool {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|max| max < FILES) {
        println!("SKIP calibration: {FILES} open files are not allowed here");
        return false;
    }
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the maximum");
    true
}

#[test]
fn nobody_steals_from_itself() {
    for round in 0..STEALS {
        assert!((0..NODES).all(|thief| victim(thief, round) != thief));
    }
}
