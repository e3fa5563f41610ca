//! Several streams over one connection: yamux with bounded windows, and a wrapper that counts bytes.
//!
//! libp2p's own yamux upgrade does not let its receive window be set (1 GiB), hence this one.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::UpgradeInfo;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};

use crate::counters::Counters;

/// Streams on one connection, both directions. More end the connection, so it leaves room above what both sides' limits
/// add up to (64 requests each way, 32 blob streams each way, a handful of others).
const MAX_STREAMS: usize = 320;
/// yamux insists on its initial window for every stream; a stream grows beyond it by what it reads per round trip.
const WINDOW: usize = MAX_STREAMS * yamux::DEFAULT_CREDIT as usize;
/// Larger frames than yamux's 16 KiB: fewer copies and headers for bulk, still short on any LAN.
const SPLIT: usize = 64 * 1024;

#[derive(Clone, Copy)]
pub(crate) struct Yamux;

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(io, yamux::Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(io, yamux::Mode::Client)))
    }
}

/// A yamux connection. yamux makes progress only while it is asked for inbound streams, so `poll` does that and keeps
/// what comes for `poll_inbound`.
pub(crate) struct Muxer<C> {
    connection: yamux::Connection<C>,
    inbound: VecDeque<yamux::Stream>,
    waiting: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(io: C, mode: yamux::Mode) -> Self {
        let mut config = yamux::Config::default();
        // In this order: each setter checks the pair.
        config.set_max_num_streams(MAX_STREAMS);
        config.set_max_connection_receive_window(Some(WINDOW));
        config.set_split_send_size(SPLIT);
        Self { connection: yamux::Connection::new(io, config, mode), inbound: VecDeque::new(), waiting: None }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Result<yamux::Stream, yamux::ConnectionError>> {
        Poll::Ready(ready!(self.connection.poll_next_inbound(cx)).unwrap_or(Err(yamux::ConnectionError::Closed)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = yamux::ConnectionError;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        let this = self.get_mut();
        if let Some(stream) = this.inbound.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        if let Poll::Ready(result) = this.next(cx) {
            return Poll::Ready(result);
        }
        this.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        self.get_mut().connection.poll_new_outbound(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.get_mut().connection.poll_close(cx)
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        let this = self.get_mut();
        let stream = ready!(this.next(cx))?;
        // yamux itself bounds the streams that can exist.
        this.inbound.push_back(stream);
        if let Some(waker) = this.waiting.take() {
            waker.wake();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// How long a connection may take to say good-bye: over a dead link it never could, and would stay up for 15 minutes.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Counts the bytes of all streams of a connection, and bounds the time that it takes to close.
pub(crate) struct Counted<M> {
    inner: M,
    counters: Arc<Counters>,
    closing: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<M> Counted<M> {
    pub fn new(inner: M, counters: Arc<Counters>) -> Self {
        Self { inner, counters, closing: None }
    }

    fn wrap<S, E>(&self, stream: Result<S, E>) -> Result<CountedStream<S>, E> {
        stream.map(|inner| CountedStream { inner, counters: self.counters.clone() })
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Counted<M>
where
    M::Substream: Unpin,
{
    type Substream = CountedStream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_inbound(cx));
        Poll::Ready(self.wrap(stream))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_outbound(cx));
        Poll::Ready(self.wrap(stream))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let this = &mut *self;
        if let Poll::Ready(result) = Pin::new(&mut this.inner).poll_close(cx) {
            return Poll::Ready(result);
        }
        let limit = this.closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_LIMIT)));
        limit.as_mut().poll(cx).map(Ok)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

pub(crate) struct CountedStream<S> {
    inner: S,
    counters: Arc<Counters>,
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.counters.add(&self.counters.bytes_in, n as u64);
        Poll::Ready(Ok(n))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.counters.add(&self.counters.bytes_out, n as u64);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
