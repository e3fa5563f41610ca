//! A stream as blocking code sees it, on a thread of the pool.

use std::io::{self, Read, Write};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;

/// Reads and writes by waiting on the runtime. Not for threads of the runtime itself.
pub struct Bridge<S> {
    inner: S,
    runtime: Handle,
}

impl<S> Bridge<S> {
    /// Within a runtime.
    pub fn new(inner: S) -> Self {
        Self { inner, runtime: Handle::current() }
    }
    /// The stream again.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: AsyncRead + Unpin> Read for Bridge<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.runtime.block_on(self.inner.read(buf))
    }
}

impl<S: AsyncWrite + Unpin> Write for Bridge<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.runtime.block_on(self.inner.write(buf))
    }
    fn flush(&mut self) -> io::Result<()> {
        self.runtime.block_on(self.inner.flush())
    }
}
