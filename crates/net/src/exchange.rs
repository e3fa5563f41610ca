//! What two nodes tell each other about where members are, on every new connection and now and then.

use filch_types::{NodeId, limits};
use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

use crate::address;

/// Bytes of one exchange.
pub(crate) const MAX_BYTES: usize = 64 * 1024;
/// Members in one exchange: with 16 addresses of a usual length each they fit `MAX_BYTES`.
pub(crate) const MAX_MEMBERS: usize = 64;
/// Bytes of one address.
const MAX_ADDRESS: usize = 300;

/// Where the sender and the members that it is connected to can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// The sender's own.
    own: Vec<String>,
    members: Vec<(NodeId, Vec<String>)>,
}

impl Known {
    /// Leaves out what makes no sense to the receiver and what would be too much.
    pub fn new<'a>(
        own: &[Multiaddr],
        members: impl Iterator<Item = (&'a PeerId, &'a [Multiaddr])>,
        over_loopback: bool,
    ) -> Self {
        let own = told(own, over_loopback);
        let mut bytes = size(&own);
        let mut list = Vec::new();
        for (peer, addrs) in members {
            let addrs = told(addrs, over_loopback);
            let Some(node) = address::node_id(peer).filter(|_| !addrs.is_empty()) else { continue };
            bytes += 40 + size(&addrs);
            if bytes > MAX_BYTES - 1024 || list.len() == MAX_MEMBERS {
                break;
            }
            list.push((node, addrs));
        }
        Self { own, members: list }
    }

    /// Checked addresses: of the sender first, then of each member that it told of.
    pub fn read(&self, sender: PeerId, over_loopback: bool) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut all = vec![(sender, taken(&self.own, sender, over_loopback))];
        for (node, addrs) in self.members.iter().take(MAX_MEMBERS) {
            if let Some(peer) = address::peer_id(node) {
                all.push((peer, taken(addrs, peer, over_loopback)));
            }
        }
        all.retain(|(_, addrs)| !addrs.is_empty());
        all
    }
}

fn told(addrs: &[Multiaddr], over_loopback: bool) -> Vec<String> {
    let fit = addrs.iter().filter(|a| address::may_be_told(a, over_loopback));
    fit.map(Multiaddr::to_string).filter(|t| t.len() <= MAX_ADDRESS).take(limits::MAX_ADDRS).collect()
}

fn taken(texts: &[String], peer: PeerId, over_loopback: bool) -> Vec<Multiaddr> {
    let parsed = texts.iter().take(limits::MAX_ADDRS).filter(|t| t.len() <= MAX_ADDRESS);
    let parsed = parsed.filter_map(|t| address::parse(t).ok());
    let own = parsed.filter(|a| a.peer.is_none_or(|p| p == peer)).map(|a| a.addr);
    own.filter(|a| address::may_be_told(a, over_loopback)).collect()
}

fn size(addrs: &[String]) -> usize {
    addrs.iter().map(|a| a.len() + 3).sum()
}

#[cfg(test)]
mod tests {
    use filch_types::codec;

    use super::*;

    fn peer(seed: u8, more: u8) -> PeerId {
        let mut secret = [seed; 32];
        secret[0] = more;
        libp2p::identity::Keypair::ed25519_from_bytes(secret).unwrap().public().to_peer_id()
    }

    #[test]
    fn told_and_read() {
        let own: Vec<Multiaddr> = vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap(), "/ip4/10.0.0.1/tcp/1".parse().unwrap()];
        let (a, b) = (peer(1, 0), peer(2, 0));
        let known = Known::new(&own, [(&b, own.as_slice())].into_iter(), true);
        assert_eq!(known.read(a, true), vec![(a, own.clone()), (b, own.clone())]);
        // The same words over another link: loopback addresses are ignored.
        assert_eq!(known.read(a, false), vec![(a, own[1..].to_vec()), (b, own[1..].to_vec())]);
    }

    #[test]
    fn the_largest_one_fits() {
        let long: Multiaddr = format!("/dns/{}/tcp/1", "x".repeat(250)).parse().unwrap();
        let addrs = vec![long; 40];
        let peers: Vec<PeerId> = (0..=255).map(|i| peer(9, i)).collect();
        let known = Known::new(&addrs, peers.iter().map(|p| (p, addrs.as_slice())), false);
        codec::encode(&known, MAX_BYTES).unwrap();
        assert_eq!(known.own.len(), limits::MAX_ADDRS);
    }
}
