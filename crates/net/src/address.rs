//! Addresses as people write them, as libp2p writes them, and which of them may be told to whom.

use std::net::{IpAddr, SocketAddr};

use filch_types::NodeId;
use libp2p::identity::{PublicKey, ed25519};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither form.
    #[error("expected HOST:PORT or a multiaddress such as /ip4/192.168.1.5/tcp/4600 (or /udp/4600/quic-v1)")]
    Malformed,
    /// A multiaddress of a kind that this node cannot use.
    #[error("only IP or DNS addresses over tcp or udp/quic-v1 can be used")]
    Unsupported,
    /// The `/p2p/` part is not a node's.
    #[error("the part after /p2p/ is not a node's id")]
    Peer,
}

/// An address with the node that is expected there, if known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Without `/p2p/`.
    pub addr: Multiaddr,
    pub peer: Option<PeerId>,
}

/// Checks an address as `NetConfig` and `Command::Dial` take it: `HOST:PORT` (TCP) or a multiaddress over `tcp` or
/// `udp/…/quic-v1`, with or without `/p2p/ID`.
pub fn check(text: &str) -> Result<(), AddressError> {
    parse(text).map(|_| ())
}

pub(crate) fn parse(text: &str) -> Result<Address, AddressError> {
    if text.starts_with('/') {
        let addr: Multiaddr = text.parse().map_err(|_| AddressError::Malformed)?;
        return split(addr);
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        let addr = Multiaddr::empty().with(socket.ip().into()).with(Protocol::Tcp(socket.port()));
        return Ok(Address { addr, peer: None });
    }
    let (host, port) = text.rsplit_once(':').ok_or(AddressError::Malformed)?;
    let port: u16 = port.parse().map_err(|_| AddressError::Malformed)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    if host.is_empty() || host.len() > 253 || !host.chars().all(plain) {
        return Err(AddressError::Malformed);
    }
    let addr = Multiaddr::empty().with(Protocol::Dns(host.to_string().into())).with(Protocol::Tcp(port));
    Ok(Address { addr, peer: None })
}

/// Takes the `/p2p/` part off and checks that the rest is something that this node can dial.
pub(crate) fn split(mut addr: Multiaddr) -> Result<Address, AddressError> {
    let mut peer = None;
    if let Some(Protocol::P2p(id)) = addr.iter().last() {
        addr.pop();
        node_id(&id).ok_or(AddressError::Peer)?;
        peer = Some(id);
    }
    let mut parts = addr.iter();
    let host = matches!(
        parts.next(),
        Some(Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_))
    );
    let carrier = match (parts.next(), parts.next()) {
        (Some(Protocol::Tcp(_)), None) => true,
        (Some(Protocol::Udp(_)), Some(Protocol::QuicV1)) => parts.next().is_none(),
        _ => false,
    };
    if host && carrier { Ok(Address { addr, peer }) } else { Err(AddressError::Unsupported) }
}

/// With `/p2p/`, as people are shown it.
pub(crate) fn shown(addr: &Multiaddr, peer: PeerId) -> String {
    addr.clone().with(Protocol::P2p(peer)).to_string()
}

pub(crate) fn ip(addr: &Multiaddr) -> Option<IpAddr> {
    match addr.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(ip.into()),
        Some(Protocol::Ip6(ip)) => Some(ip.into()),
        _ => None,
    }
}

/// What the system calls an IP address over TCP.
pub(crate) fn tcp_socket(addr: &Multiaddr) -> Option<SocketAddr> {
    match addr.iter().nth(1) {
        Some(Protocol::Tcp(port)) => ip(addr).map(|ip| SocketAddr::new(ip, port)),
        _ => None,
    }
}

pub(crate) fn is_loopback(addr: &Multiaddr) -> bool {
    ip(addr).is_some_and(|ip| ip.is_loopback())
}

/// Whether an address makes sense to somebody else. A loopback address does only to those who are themselves connected
/// over loopback: on any other machine it means another node.
pub(crate) fn may_be_told(addr: &Multiaddr, over_loopback: bool) -> bool {
    match ip(addr) {
        Some(ip) if ip.is_loopback() => over_loopback,
        Some(IpAddr::V4(ip)) => !ip.is_unspecified() && !ip.is_multicast(),
        // Link-local addresses mean nothing without the interface.
        Some(IpAddr::V6(ip)) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local(),
        None => true,
    }
}

/// The node of a libp2p id. Only ed25519 keys, whose ids contain them, are nodes.
pub(crate) fn node_id(peer: &PeerId) -> Option<NodeId> {
    let hash = peer.as_ref();
    if hash.code() != 0 {
        return None;
    }
    let key = PublicKey::try_decode_protobuf(hash.digest()).ok()?.try_into_ed25519().ok()?;
    Some(NodeId(key.to_bytes()))
}

/// The libp2p id of a node; none if the bytes are no point of the curve.
pub(crate) fn peer_id(node: &NodeId) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(node.as_bytes()).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let ok = |t: &str| parse(t).unwrap().addr.to_string();
        assert_eq!(ok("192.168.1.5:4600"), "/ip4/192.168.1.5/tcp/4600");
        assert_eq!(ok("[::1]:1"), "/ip6/::1/tcp/1");
        assert_eq!(ok("host-a.lan:4600"), "/dns/host-a.lan/tcp/4600");
        assert_eq!(ok("/ip4/1.2.3.4/udp/9/quic-v1"), "/ip4/1.2.3.4/udp/9/quic-v1");
        for bad in
            ["", "host", "host:x", ":1", "a b:1", "/ip4/1.2.3.4", "/ip4/1.2.3.4/udp/9", "/ip4/1.2.3.4/tcp/1/ws", "/x"]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert_eq!(
            check("/ip4/1.2.3.4/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"),
            Err(AddressError::Peer)
        );
    }

    #[test]
    fn ids_go_there_and_back() {
        let key = libp2p::identity::Keypair::ed25519_from_bytes([7; 32]).unwrap();
        let peer = key.public().to_peer_id();
        let node = node_id(&peer).unwrap();
        assert_eq!(peer_id(&node), Some(peer));
        let text = shown(&"/ip4/1.2.3.4/tcp/1".parse().unwrap(), peer);
        assert_eq!(parse(&text).unwrap().peer, Some(peer));
    }

    #[test]
    fn loopback_stays_on_loopback() {
        let told = |t: &str, lo| may_be_told(&t.parse().unwrap(), lo);
        assert!(told("/ip4/127.0.0.1/tcp/1", true));
        assert!(!told("/ip4/127.0.0.1/tcp/1", false));
        assert!(told("/ip4/10.0.0.1/tcp/1", false));
        assert!(!told("/ip6/fe80::1/tcp/1", false));
    }
}
