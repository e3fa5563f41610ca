//! A node with functions of its own: a plain one, and one whose work splits while it runs.
//!
//! ```console
//! $ cargo run --release --example own-functions
//! n1 (…) is up: 2 slots, …/filch.sock
//! shout: HELLO CLUSTER
//! 10 queens on a board of 10 x 10: 724 ways, 35538 positions looked at
//! ```
//! Started on several machines (`Settings { lan: Some(true), cluster_key: …, .. }`, and without the temporary directory) the
//! nodes share the work: whoever has a function of that name may run it. Any `filch` of the same cluster can submit:
//! `filch run --handler queens -- 12`.

// An example may print.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use filch_client::{Client, JobBuilder};
use filch_node::{Config, Divisible, DivisibleKind, Progress, Reduce, RunningNode, Settings};

/// Ways to put N queens on a board of N x N so that none attacks another.
struct Queens;

/// Boards with some columns filled, from the left; each is a row number per column.
struct Boards {
    size: u8,
    open: Vec<Vec<u8>>,
    ways: u64,
    seen: u64,
}

impl DivisibleKind for Queens {
    fn name(&self) -> &str {
        "queens"
    }
    fn reduce(&self) -> Vec<Reduce> {
        vec![Reduce::Sum, Reduce::Sum]
    }
    fn start(&self, args: &[String]) -> Result<Box<dyn Divisible>, String> {
        let size = match args {
            [n] => n.parse().ok().filter(|n| (1..=20).contains(n)),
            _ => None,
        };
        let size = size.ok_or("queens: give the size of the board, 1 to 20")?;
        Ok(Box::new(Boards { size, open: vec![Vec::new()], ways: 0, seen: 0 }))
    }
    // The bytes come from another node: nothing in them is believed.
    fn unpack(&self, bag: &[u8]) -> Result<Box<dyn Divisible>, String> {
        let (&size, boards) = bag.split_first().ok_or("queens: an empty bag")?;
        let mut open: Vec<Vec<u8>> = boards.split(|b| *b == END).map(<[u8]>::to_vec).collect();
        if open.pop().is_none_or(|behind| !behind.is_empty()) {
            return Err("queens: a bag that is cut off".into());
        }
        let good = |board: &Vec<u8>| board.len() < size.into() && board.iter().all(|row| *row < size);
        if !(1..=20).contains(&size) || !open.iter().all(good) {
            return Err("queens: a bag that is none".into());
        }
        Ok(Box::new(Boards { size, open, ways: 0, seen: 0 }))
    }
}

/// Behind each board in a bag.
const END: u8 = 255;

impl Boards {
    fn packed(&self, boards: &[Vec<u8>]) -> Vec<u8> {
        let boards = boards.iter().flat_map(|b| b.iter().copied().chain([END]));
        std::iter::once(self.size).chain(boards).collect()
    }
    fn extend(&mut self, board: &[u8]) {
        for row in 0..self.size {
            let safe = board.iter().rev().zip(1..).all(|(r, away)| *r != row && r.abs_diff(row) != away);
            if safe && board.len() + 1 == usize::from(self.size) {
                self.ways += 1;
                self.seen += 1;
            } else if safe {
                self.open.push([board, &[row]].concat());
            }
        }
    }
}

impl Divisible for Boards {
    fn process(&mut self, budget: u64) -> Result<Progress, String> {
        let mut done = 0;
        while done < budget.max(1) {
            let Some(board) = self.open.pop() else { return Ok(Progress::Done(done)) };
            self.extend(&board);
            self.seen += 1;
            done += 1;
        }
        Ok(Progress::More(done))
    }
    fn split(&mut self, least: u64) -> Option<Vec<u8>> {
        // Every other one: the oldest are worth the most by far.
        let (mut kept, mut given) = (Vec::new(), Vec::new());
        for (n, board) in self.open.drain(..).enumerate() {
            if n % 2 == 0 { kept.push(board) } else { given.push(board) }
        }
        let worth: u64 = given.iter().map(|b| 1 << (self.size - b.len() as u8)).sum();
        if given.is_empty() || worth < least {
            self.open = kept.into_iter().chain(given).collect();
            return None;
        }
        self.open = kept;
        Some(self.packed(&given))
    }
    fn pack(&self) -> Vec<u8> {
        self.packed(&self.open)
    }
    fn tally(&self) -> Vec<u64> {
        vec![self.ways, self.seen]
    }
    fn left(&self) -> u64 {
        self.open.len() as u64
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let here = Settings { data_dir: Some(dir.path().join("n1")), name: Some("n1".into()), ..Settings::default() };
    let socket = dir.path().join("filch.sock");
    let mut config = Config::resolve(Settings { socket: Some(socket.clone()), ..here })?;
    // This program does not end in `filch_node::spawner_main`, so the node runs functions only.
    config.spawner = Some(Vec::new());
    config.registry.register("shout", |cx| Ok(cx.args().join(" ").to_uppercase().into_bytes()));
    config.registry.divisible(Queens);

    let node = RunningNode::start(config).await?;
    eprintln!("{}", node.ready);
    let down = node.down();
    let node = tokio::spawn(node.run());

    let client = Client::new(socket);
    let shout = JobBuilder::handler("shout", ["hello", "cluster"]).submit(&client).await?;
    println!("shout: {}", String::from_utf8(shout.result().await?)?);
    let queens = JobBuilder::divisible("queens", ["10"]).submit(&client).await?;
    let tally = queens.tally().await?;
    println!("10 queens on a board of 10 x 10: {} ways, {} positions looked at", tally[0], tally[1]);

    down.ask(None);
    node.await?;
    Ok(())
}
