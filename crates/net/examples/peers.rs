//! Who comes and goes: a bare member that asks everybody something every two seconds, as a node's heartbeats do.
//! `cargo run -p filch-net --example peers -- SEED LISTEN [BOOTSTRAP…]`, SEED a number per node; mDNS unless LISTEN is on loopback.
//! All of them share a key that is no secret.
#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use filch_core::io::ReqId;
use filch_net::{Command, NetConfig, NetEvent, start};
use filch_types::JobId;
use filch_types::wire::{Request, Response};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let seed: u8 = args.next().ok_or("SEED is missing")?.parse()?;
    let listen: Vec<String> = args.next().into_iter().collect();
    let mdns = listen.iter().all(|l| !l.contains("127.0.0.1"));
    let config = NetConfig { listen, mdns, bootstrap: args.collect(), ..NetConfig::new([seed; 32], [0; 32]) };
    let (net, mut events) = start(config).await?;
    let began = Instant::now();
    let (mut up, mut next) = (BTreeSet::new(), 0);
    let mut beat = tokio::time::interval(Duration::from_secs(2));
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(NetEvent::Request(_, token, _)) => net.command(Command::Respond(token, Response::Done))?,
                Some(NetEvent::Response(..)) => {}
                Some(event) => {
                    match &event {
                        NetEvent::Up(node) => drop(up.insert(*node)),
                        NetEvent::Down(node) => drop(up.remove(node)),
                        _ => {}
                    }
                    println!("{:8.3} {} up, {event:?}", began.elapsed().as_secs_f64(), up.len());
                }
                None => return Ok(()),
            },
            _ = beat.tick() => for node in &up {
                next += 1;
                net.command(Command::Request(*node, ReqId(next), Request::Manifest(JobId([0; 32]))))?;
            },
        }
    }
}
