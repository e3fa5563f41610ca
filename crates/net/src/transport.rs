//! Connections: TCP with noise and yamux, or QUIC; both only with a proof of membership.
//!
//! On TCP the proof runs inside the noise channel, before a muxer exists. On QUIC it runs on the dialer's first stream, before
//! the connection is handed to the swarm. Either way whoever does not prove membership never has a connection on which a
//! protocol could be negotiated.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::poll_fn;
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox};
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, OrTransport, PortUse, TransportEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, NegotiationError, OutboundConnectionUpgrade, Version};
use libp2p::core::{ConnectedPoint, UpgradeInfo};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId, Transport, TransportError, noise, quic, tcp};

use crate::address::node_id;
use crate::config::{NetError, NetLimits};
use crate::counters::Counters;
use crate::membership::{Gate, HandshakeError, Role};
use crate::mux::{Counted, Yamux};

pub(crate) fn build(
    keypair: &Keypair,
    gate: Gate,
    limits: &NetLimits,
    counters: Arc<Counters>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetError> {
    let noise = noise::Config::new(keypair).map_err(|e| NetError::Setup(e.to_string()))?;
    let secure = Secure { noise, gate: gate.clone() };
    let tcp_counters = counters.clone();
    let tcp = FreshPort(tcp::tokio::Transport::new(tcp::Config::default().nodelay(true)))
        .upgrade(Version::V1Lazy)
        .authenticate(secure)
        .multiplex(Yamux)
        .map(move |(peer, muxer), _| (peer, StreamMuxerBox::new(Counted::new(muxer, tcp_counters))));

    let mut config = quic::Config::new(keypair);
    config.handshake_timeout = limits.handshake;
    let quic = quic::tokio::Transport::new(config)
        .and_then(move |(peer, connection), point| prove_on_first_stream(gate, peer, connection, point))
        .map(move |(peer, muxer), _| (peer, StreamMuxerBox::new(Counted::new(muxer, counters))));

    let both = OrTransport::new(quic, tcp).map(|either, _| either.into_inner());
    let both = TransportTimeout::with_ingoing_timeout(both, limits.handshake);
    Ok(TransportTimeout::with_outgoing_timeout(both, limits.dial).boxed())
}

/// Dials from a fresh port. By default libp2p dials from the port that it listens on: two nodes that dial each other at the same
/// moment then share one TCP connection on which both are the dialler, and the handshake fails.
struct FreshPort<T>(T);

impl<T: Transport + Unpin> Transport for FreshPort<T> {
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

    fn listen_on(&mut self, id: ListenerId, addr: Multiaddr) -> Result<(), TransportError<T::Error>> {
        self.0.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(&mut self, addr: Multiaddr, opts: DialOpts) -> Result<T::Dial, TransportError<T::Error>> {
        self.0.dial(addr, DialOpts { port_use: PortUse::New, ..opts })
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<T::ListenerUpgrade, T::Error>> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// Noise, then the proof. Under a name of its own, so that other libp2p programs are gone after one message.
#[derive(Clone)]
struct Secure {
    noise: noise::Config,
    gate: Gate,
}

#[derive(Debug, thiserror::Error)]
enum SecureError {
    #[error("the encrypted channel could not be set up")]
    Noise(#[source] noise::Error),
    #[error("no proof of membership")]
    Member(#[source] HandshakeError),
}

type Secured<C> = Pin<Box<dyn Future<Output = Result<(PeerId, noise::Output<C>), SecureError>> + Send>>;

impl UpgradeInfo for Secure {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/filch/1/noise")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> InboundConnectionUpgrade<C> for Secure {
    type Output = (PeerId, noise::Output<C>);
    type Error = SecureError;
    type Future = Secured<C>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        Box::pin(async move {
            let (peer, io) = self.noise.upgrade_inbound(socket, info).await.map_err(SecureError::Noise)?;
            pass(&self.gate, peer, io, Role::Listener).await
        })
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> OutboundConnectionUpgrade<C> for Secure {
    type Output = (PeerId, noise::Output<C>);
    type Error = SecureError;
    type Future = Secured<C>;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        Box::pin(async move {
            let (peer, io) = self.noise.upgrade_outbound(socket, info).await.map_err(SecureError::Noise)?;
            pass(&self.gate, peer, io, Role::Dialer).await
        })
    }
}

async fn pass<S>(gate: &Gate, peer: PeerId, mut io: S, role: Role) -> Result<(PeerId, S), SecureError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let node = node_id(&peer).ok_or(SecureError::Member(HandshakeError::ForeignKey))?;
    gate.pass(&mut io, role, node).await.map_err(SecureError::Member)?;
    Ok((peer, io))
}

async fn prove_on_first_stream(
    gate: Gate,
    peer: PeerId,
    mut connection: quic::Connection,
    point: ConnectedPoint,
) -> Result<(PeerId, quic::Connection), SecureError> {
    let broken = |e: quic::Error| SecureError::Member(HandshakeError::Io(io::Error::other(e)));
    let (role, mut stream) = match point {
        ConnectedPoint::Dialer { .. } => {
            let stream = poll_fn(|cx| Pin::new(&mut connection).poll_outbound(cx)).await.map_err(broken)?;
            (Role::Dialer, stream)
        }
        ConnectedPoint::Listener { .. } => {
            // Bounded by the transport's time limit for incoming connections.
            let stream = poll_fn(|cx| Pin::new(&mut connection).poll_inbound(cx)).await.map_err(broken)?;
            (Role::Listener, stream)
        }
    };
    let node = node_id(&peer).ok_or(SecureError::Member(HandshakeError::ForeignKey))?;
    let result = gate.pass(&mut stream, role, node).await;
    // Without this the verdict could die with the connection.
    let _ = tokio::time::timeout(gate.limit, stream.close()).await;
    result.map_err(SecureError::Member)?;
    Ok((peer, connection))
}

/// The handshake's error inside what the swarm reports, if it was that.
pub(crate) fn handshake_error(error: &io::Error) -> Option<&HandshakeError> {
    find(error)
}

/// Whether the other side is some other program: no common name for the first step.
pub(crate) fn speaks_otherwise(error: &io::Error) -> bool {
    matches!(find(error), Some(NegotiationError::Failed))
}

/// The first error of this type among the error and its sources.
fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // `io::Error::source` skips the error that it wraps.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|inner| find(inner)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}
