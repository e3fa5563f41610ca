//! Who is a member: the first exchange on every connection, before any other protocol can be reached.
//!
//! It runs over a channel on which each side knows the other's id already (noise or QUIC's TLS saw to that). Both sides send
//! a hello with a nonce, then a proof, then their verdict. A proof covers the role, both ids and both nonces, so that it
//! is worthless on any other connection, for anybody else and in the other direction.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use filch_types::NodeId;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const MAGIC: [u8; 7] = *b"filch/m";
const VERSION: u8 = 1;
const MAX_PROOF: usize = 4096;
const ACCEPTED: u8 = 1;
const REFUSED: u8 = 0;

/// Which side of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Dialer,
    Listener,
}

impl Role {
    fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Listener,
            Self::Listener => Self::Dialer,
        }
    }
}

/// What a proof is bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    pub dialer: NodeId,
    pub listener: NodeId,
    pub dialer_nonce: [u8; 32],
    pub listener_nonce: [u8; 32],
}

/// A way to prove membership. Today one shared key; certificates fit as well (a proof is at most 4 KiB).
pub(crate) trait Membership: Send + Sync {
    /// This node's proof as `role`.
    fn prove(&self, role: Role, binding: &Binding) -> Vec<u8>;
    /// Whether `proof` is one of a member as `role`.
    fn verify(&self, role: Role, binding: &Binding, proof: &[u8]) -> bool;
}

/// Everybody who holds the cluster key is a member.
pub(crate) struct ClusterKey([u8; 32]);

impl ClusterKey {
    pub fn new(key: &[u8; 32]) -> Self {
        Self(blake3::derive_key("filch 2026 cluster membership proof v1", key))
    }

    fn mac(&self, role: Role, binding: &Binding) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[match role {
            Role::Dialer => 1,
            Role::Listener => 2,
        }]);
        hasher.update(binding.dialer.as_bytes()).update(binding.listener.as_bytes());
        hasher.update(&binding.dialer_nonce).update(&binding.listener_nonce);
        hasher.finalize()
    }
}

impl Membership for ClusterKey {
    fn prove(&self, role: Role, binding: &Binding) -> Vec<u8> {
        self.mac(role, binding).as_bytes().to_vec()
    }

    fn verify(&self, role: Role, binding: &Binding, proof: &[u8]) -> bool {
        // `blake3::Hash` compares in constant time.
        <[u8; 32]>::try_from(proof).is_ok_and(|p| self.mac(role, binding) == p)
    }
}

/// Why a connection ended before it was one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error(
        "it does not hold this cluster's key; if it should be a member, start both nodes with the same cluster key (--cluster-key FILE)"
    )]
    NotAMember { peer: NodeId },
    #[error("it refused this node as no member of its cluster; start both nodes with the same cluster key")]
    RefusedByPeer { peer: NodeId },
    #[error("it is no filch node")]
    Stranger { peer: NodeId },
    #[error("it speaks version {got} of the membership proof, this node version {VERSION}; upgrade the older one")]
    Version { peer: NodeId, got: u8 },
    #[error("it did not prove membership within {limit:?}")]
    TimedOut { peer: NodeId, limit: Duration },
    #[error("its key is of a kind that no filch node has")]
    ForeignKey,
    #[error("the connection broke during the proof of membership: {0}")]
    Io(#[from] io::Error),
}

impl HandshakeError {
    /// The other side, as far as it is known.
    pub fn peer(&self) -> Option<NodeId> {
        match self {
            Self::NotAMember { peer }
            | Self::RefusedByPeer { peer }
            | Self::Stranger { peer }
            | Self::Version { peer, .. }
            | Self::TimedOut { peer, .. } => Some(*peer),
            Self::ForeignKey | Self::Io(_) => None,
        }
    }

    /// Whether trying again soon is pointless.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Io(_) | Self::TimedOut { .. })
    }
}

/// What one node needs to meet another.
#[derive(Clone)]
pub(crate) struct Gate {
    pub own: NodeId,
    pub membership: Arc<dyn Membership>,
    pub limit: Duration,
}

impl Gate {
    /// Proves and verifies, both within the time limit.
    pub async fn pass<S>(&self, io: &mut S, role: Role, peer: NodeId) -> Result<(), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match tokio::time::timeout(self.limit, self.exchange(io, role, peer)).await {
            Ok(result) => result,
            Err(_) => Err(HandshakeError::TimedOut { peer, limit: self.limit }),
        }
    }

    async fn exchange<S>(&self, io: &mut S, role: Role, peer: NodeId) -> Result<(), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let mut hello = MAGIC.to_vec();
        hello.push(VERSION);
        hello.extend_from_slice(&nonce);
        io.write_all(&hello).await?;
        io.flush().await?;

        let theirs = read_hello(io, peer).await?;
        let binding = match role {
            Role::Dialer => Binding { dialer: self.own, listener: peer, dialer_nonce: nonce, listener_nonce: theirs },
            Role::Listener => Binding { dialer: peer, listener: self.own, dialer_nonce: theirs, listener_nonce: nonce },
        };
        let proof = self.membership.prove(role, &binding);
        let length = u16::try_from(proof.len()).map_err(io::Error::other)?;
        io.write_all(&length.to_be_bytes()).await?;
        io.write_all(&proof).await?;
        io.flush().await?;

        let good = match read_proof(io).await? {
            Some(proof) => self.membership.verify(role.other(), &binding, &proof),
            None => false,
        };
        io.write_all(&[if good { ACCEPTED } else { REFUSED }]).await?;
        io.flush().await?;
        let mut verdict = [REFUSED];
        let read = io.read_exact(&mut verdict).await;
        if !good {
            return Err(HandshakeError::NotAMember { peer });
        }
        read?;
        if verdict == [ACCEPTED] { Ok(()) } else { Err(HandshakeError::RefusedByPeer { peer }) }
    }
}

async fn read_hello<S: AsyncRead + Unpin>(io: &mut S, peer: NodeId) -> Result<[u8; 32], HandshakeError> {
    let mut magic = [0; MAGIC.len()];
    io.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(HandshakeError::Stranger { peer });
    }
    let mut version = [0];
    io.read_exact(&mut version).await?;
    if version != [VERSION] {
        return Err(HandshakeError::Version { peer, got: version[0] });
    }
    let mut nonce = [0; 32];
    io.read_exact(&mut nonce).await?;
    Ok(nonce)
}

/// None if it is longer than any proof.
async fn read_proof<S: AsyncRead + Unpin>(io: &mut S) -> Result<Option<Vec<u8>>, HandshakeError> {
    let mut length = [0; 2];
    io.read_exact(&mut length).await?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_PROOF {
        return Ok(None);
    }
    let mut proof = vec![0; length];
    io.read_exact(&mut proof).await?;
    Ok(Some(proof))
}

#[cfg(test)]
mod tests {
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    const A: NodeId = NodeId([1; 32]);
    const B: NodeId = NodeId([2; 32]);

    fn gate(own: NodeId, key: u8) -> Gate {
        Gate { own, membership: Arc::new(ClusterKey::new(&[key; 32])), limit: Duration::from_secs(5) }
    }

    async fn meet(a: Gate, b: Gate, b_as_seen: NodeId) -> (Result<(), HandshakeError>, Result<(), HandshakeError>) {
        let (x, y) = tokio::io::duplex(8192);
        let (mut x, mut y) = (x.compat(), y.compat());
        tokio::join!(a.pass(&mut x, Role::Dialer, b_as_seen), b.pass(&mut y, Role::Listener, A))
    }

    #[tokio::test]
    async fn members_meet() {
        let (a, b) = meet(gate(A, 1), gate(B, 1), B).await;
        a.unwrap();
        b.unwrap();
    }

    #[tokio::test]
    async fn another_key_is_refused_on_both_sides() {
        let (a, b) = meet(gate(A, 1), gate(B, 2), B).await;
        assert!(matches!(a, Err(HandshakeError::NotAMember { peer: B })));
        assert!(matches!(b, Err(HandshakeError::NotAMember { peer: A })));
    }

    #[tokio::test]
    async fn a_relayed_proof_is_worthless() {
        // A believes to talk to somebody else than B does: what a man in the middle would need.
        let (a, b) = meet(gate(A, 1), gate(B, 1), NodeId([3; 32])).await;
        assert!(a.is_err() && b.is_err());
    }

    #[tokio::test]
    async fn a_reflected_proof_is_worthless() {
        let (x, y) = tokio::io::duplex(8192);
        let (mut x, mut y) = (x.compat(), y.compat());
        let echo = async {
            let mut buffer = [0; 256];
            while let Ok(n) = y.read(&mut buffer).await {
                if n == 0 || y.write_all(&buffer[..n]).await.is_err() {
                    break;
                }
            }
        };
        let gate = gate(A, 1);
        let result = tokio::select! {
            result = gate.pass(&mut x, Role::Dialer, A) => result,
            () = echo => panic!("the echo ended first"),
        };
        assert!(matches!(result, Err(HandshakeError::NotAMember { .. })));
    }

    #[tokio::test]
    async fn strangers_and_other_versions_are_told_apart() {
        for (sent, stranger) in [(*b"\x13/multistream/1.0.0\n", true), (*b"filch/m\x09____________", false)] {
            let (x, y) = tokio::io::duplex(8192);
            let (mut x, mut y) = (x.compat(), y.compat());
            y.write_all(&sent).await.unwrap();
            match gate(A, 1).pass(&mut x, Role::Listener, B).await {
                Err(HandshakeError::Stranger { peer: B }) => assert!(stranger),
                Err(HandshakeError::Version { peer: B, got: 9 }) => assert!(!stranger),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_has_a_limit() {
        let (x, _y) = tokio::io::duplex(8192);
        let result = gate(A, 1).pass(&mut x.compat(), Role::Listener, B).await;
        assert!(matches!(result, Err(HandshakeError::TimedOut { peer: B, .. })));
    }
}
