//! What two nodes tell each other about where members are, as addresses: which are told, and which are believed.

use filch_types::limits;
use filch_types::members::{Known, MAX_ADDRESS};
use libp2p::{Multiaddr, PeerId};

use crate::address;

/// Leaves out what makes no sense to the receiver and what would be too much.
pub(crate) fn tell<'a>(
    own: &[Multiaddr],
    members: impl Iterator<Item = (&'a PeerId, &'a [Multiaddr])>,
    over_loopback: bool,
) -> Known {
    let members = members.filter_map(|(peer, addrs)| Some((address::node_id(peer)?, told(addrs, over_loopback))));
    Known::new(told(own, over_loopback), members)
}

/// Checked addresses: of the sender first, then of each member that it told of.
pub(crate) fn read(known: &Known, sender: PeerId, over_loopback: bool) -> Vec<(PeerId, Vec<Multiaddr>)> {
    let mut all = vec![(sender, taken(known.own(), sender, over_loopback))];
    for (node, addrs) in known.members() {
        if let Some(peer) = address::peer_id(&node) {
            all.push((peer, taken(addrs, peer, over_loopback)));
        }
    }
    all.retain(|(_, addrs)| !addrs.is_empty());
    all
}

fn told(addrs: &[Multiaddr], over_loopback: bool) -> Vec<String> {
    let fit = addrs.iter().filter(|a| address::may_be_told(a, over_loopback));
    fit.map(Multiaddr::to_string).filter(|t| t.len() <= MAX_ADDRESS).take(limits::MAX_ADDRS).collect()
}

fn taken<'a>(texts: impl Iterator<Item = &'a str>, peer: PeerId, over_loopback: bool) -> Vec<Multiaddr> {
    let parsed = texts.filter_map(|t| address::parse(t).ok());
    let own = parsed.filter(|a| a.peer.is_none_or(|p| p == peer)).map(|a| a.addr);
    own.filter(|a| address::may_be_told(a, over_loopback)).collect()
}

#[cfg(test)]
mod tests {
    use filch_types::codec;
    use filch_types::members::MAX_BYTES;
    use proptest::prelude::*;

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
        let known = tell(&own, [(&b, own.as_slice())].into_iter(), true);
        assert_eq!(read(&known, a, true), vec![(a, own.clone()), (b, own.clone())]);
        // The same words over another link: loopback addresses are ignored.
        assert_eq!(read(&known, a, false), vec![(a, own[1..].to_vec()), (b, own[1..].to_vec())]);
    }

    #[test]
    fn the_largest_one_fits() {
        let long: Multiaddr = format!("/dns/{}/tcp/1", "x".repeat(250)).parse().unwrap();
        let addrs = vec![long; 40];
        let peers: Vec<PeerId> = (0..=255).map(|i| peer(9, i)).collect();
        let known = tell(&addrs, peers.iter().map(|p| (p, addrs.as_slice())), false);
        codec::encode(&known, MAX_BYTES).unwrap();
        assert_eq!(known.own().count(), limits::MAX_ADDRS);
    }

    /// Texts that look like addresses, and others.
    fn text() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "/ip4/10.0.0.1",
            "/ip6/::1",
            "/ip6/fe80::1",
            "/dns/a",
            "/tcp/1",
            "/udp/1",
            "/quic-v1",
            "/ws",
            "/p2p/",
            "/p2p-circuit",
            "/",
            "12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu",
            "::1",
            ":",
            "65536",
            "x",
        ]);
        prop_oneof![prop::collection::vec(part, 0..6).prop_map(|p| p.concat()), any::<String>()]
    }

    proptest! {
        /// Whatever a member says comes out as something that can be dialled, is told on as it was read, and reads the same.
        #[test]
        fn arbitrary_texts_become_addresses_or_nothing(
            own in prop::collection::vec(text(), 0..20),
            others in prop::collection::vec((0..4u8, prop::collection::vec(text(), 0..20)), 0..4),
            loopback: bool,
        ) {
            let node = |n: u8| address::node_id(&peer(7, n)).unwrap();
            let said = Known::new(own, others.into_iter().map(|(n, addrs)| (node(n), addrs)));
            let heard = read(&said, peer(1, 0), loopback);
            for (_, addrs) in &heard {
                prop_assert!(!addrs.is_empty() && addrs.len() <= limits::MAX_ADDRS);
                for addr in addrs {
                    prop_assert!(address::may_be_told(addr, loopback));
                    prop_assert_eq!(&address::split(addr.clone()).unwrap().addr, addr);
                }
            }
            let again = tell(&[], heard.iter().map(|(p, a)| (p, a.as_slice())), loopback);
            prop_assert!(read(&again, peer(1, 1), loopback).iter().all(|(p, a)| heard.iter().any(|h| h.0 == *p && h.1 == *a)));
        }
    }
}
