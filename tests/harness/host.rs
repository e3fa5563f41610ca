//! Free TCP ports for nodes, below the range that the system hands out for outgoing connections: a node that comes back
//! finds its port again.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);
const FIRST: u32 = 20_000;
const PORTS: u32 = 12_000;

/// A port of the loopback interface that nobody listens on now.
pub fn free_port() -> u16 {
    let start = std::process::id().wrapping_mul(131);
    for _ in 0..PORTS {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_add(n)) % PORTS;
        let port = u16::try_from(port).expect("below 65536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}
