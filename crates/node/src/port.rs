//! The port that the system chose last time: chosen again, so that what others remember of this node stays true.

use crate::disk::{Disk, Note};

/// The note in the ledger.
pub const KEY: &str = "port";

/// What to listen on if nobody said anything: this machine only.
const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0";

/// The addresses with the port of the note wherever any port would do; `None` if none would.
pub fn again(listen: &[String], note: &[u8]) -> Option<Vec<String>> {
    let port: u16 = std::str::from_utf8(note).ok()?.parse().ok()?;
    let loopback = [LOOPBACK.to_owned()];
    let listen = if listen.is_empty() { &loopback } else { listen };
    let put = |a: &String| a.replace("/tcp/0", &format!("/tcp/{port}")).replace("/udp/0", &format!("/udp/{port}"));
    let any = |a: &String| a.ends_with("/tcp/0") || a.contains("/udp/0/");
    listen.iter().any(any).then(|| listen.iter().map(|a| if any(a) { put(a) } else { a.clone() }).collect())
}

/// Writes down the port that is listened on, if it is news.
pub fn remember(disk: &Disk, last: Option<&[u8]>, addresses: &[String]) {
    let port = addresses.iter().find_map(|a| a.split_once("/tcp/")?.1.split('/').next());
    if let Some(port) = port.map(str::as_bytes)
        && last != Some(port)
    {
        disk.note(Note { key: KEY.into(), value: Some(port.to_vec()), done: None });
    }
}

#[cfg(test)]
mod tests {
    use super::again;

    #[test]
    fn only_ports_that_nobody_fixed_are_chosen_again() {
        let listen = |list: &[&str]| list.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
        assert_eq!(again(&[], b"7001"), Some(listen(&["/ip4/127.0.0.1/tcp/7001"])));
        assert_eq!(
            again(&listen(&["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/tcp/9"]), b"7001"),
            Some(listen(&["/ip4/0.0.0.0/tcp/7001", "/ip4/0.0.0.0/udp/7001/quic-v1", "/ip6/::/tcp/9"]))
        );
        assert_eq!(again(&listen(&["/ip4/0.0.0.0/tcp/70"]), b"7001"), None);
        assert_eq!(again(&[], b"many"), None);
    }
}
