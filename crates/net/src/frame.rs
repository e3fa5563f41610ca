//! Frames: a length of four bytes, then a versioned postcard value, never longer than its kind allows.

use std::io;
use std::marker::PhantomData;

use filch_types::codec::{self, CodecError};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads one frame. `InvalidData` means that the sender broke the rules; `UnexpectedEof` before the first byte is a plain end.
pub(crate) async fn read<S: AsyncRead + Unpin>(io: &mut S, max: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > max {
        return Err(invalid(CodecError::TooLong { got: length, max }));
    }
    // Grows with what really comes: a claimed length costs nothing.
    let mut bytes = Vec::new();
    io.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Writes one frame, without a flush.
pub(crate) async fn write<S: AsyncWrite + Unpin>(io: &mut S, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    // One write: a small frame should be one packet.
    let mut frame = Vec::with_capacity(bytes.len() + 4);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(bytes);
    io.write_all(&frame).await
}

pub(crate) fn invalid(error: CodecError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Whether the other side sent something that breaks the rules, and what.
pub(crate) fn broke_rules(error: &io::Error) -> Option<String> {
    error.get_ref().and_then(|e| e.downcast_ref::<CodecError>()).map(bad)
}

/// For people.
pub(crate) fn bad(error: &CodecError) -> String {
    format!("sent a bad frame: {error}")
}

/// Requests and responses as frames.
pub(crate) struct Codec<Q, A> {
    max: usize,
    kinds: PhantomData<fn() -> (Q, A)>,
}

impl<Q, A> Codec<Q, A> {
    pub fn new(max: usize) -> Self {
        Self { max, kinds: PhantomData }
    }

    async fn get<S: AsyncRead + Unpin, T: DeserializeOwned>(&self, io: &mut S) -> io::Result<T> {
        let bytes = read(io, self.max).await?;
        codec::decode(&bytes, self.max).map_err(invalid)
    }

    async fn put<S: AsyncWrite + Unpin, T: Serialize>(&self, io: &mut S, value: &T) -> io::Result<()> {
        // Too long for us to send: an error of ours, not of the peer, so no `CodecError` inside.
        let bytes = codec::encode(value, self.max).map_err(|e| io::Error::other(e.to_string()))?;
        write(io, &bytes).await
    }
}

impl<Q, A> Clone for Codec<Q, A> {
    fn clone(&self) -> Self {
        Self::new(self.max)
    }
}

impl<Q, A> request_response::Codec for Codec<Q, A>
where
    Q: Serialize + DeserializeOwned + Send + Sync + 'static,
    A: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    type Protocol = StreamProtocol;
    /// A request that could not be read is handed on as its error: libp2p keeps a failed read to itself.
    type Request = Result<Q, CodecError>;
    type Response = A;

    async fn read_request<S>(&mut self, _: &StreamProtocol, io: &mut S) -> io::Result<Self::Request>
    where
        S: AsyncRead + Unpin + Send,
    {
        match self.get(io).await {
            Ok(request) => Ok(Ok(request)),
            Err(error) => match error.get_ref().and_then(|e| e.downcast_ref::<CodecError>()) {
                Some(broken) => Ok(Err(broken.clone())),
                None => Err(error),
            },
        }
    }

    async fn read_response<S: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut S) -> io::Result<A> {
        self.get(io).await
    }

    async fn write_request<S>(&mut self, _: &StreamProtocol, io: &mut S, request: Self::Request) -> io::Result<()>
    where
        S: AsyncWrite + Unpin + Send,
    {
        self.put(io, &request.map_err(io::Error::other)?).await
    }

    async fn write_response<S>(&mut self, _: &StreamProtocol, io: &mut S, response: A) -> io::Result<()>
    where
        S: AsyncWrite + Unpin + Send,
    {
        self.put(io, &response).await
    }
}

#[cfg(test)]
mod tests {
    use filch_types::wire::{Message, Request, Response, Summary};
    use filch_types::{limits, members};
    use futures::io::Cursor;
    use proptest::prelude::*;

    use super::*;

    fn block<T>(future: impl Future<Output = T>) -> T {
        futures::executor::block_on(future)
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let codec = Codec::<Request, Response>::new(limits::MAX_FRAME);
            let _ = block(codec.get::<_, Request>(&mut Cursor::new(&bytes)));
            let _ = block(codec.get::<_, Response>(&mut Cursor::new(&bytes)));
            let _ = codec::decode::<Message>(&bytes, limits::MAX_FRAME);
            let _ = codec::decode::<Summary>(&bytes, limits::MAX_SUMMARY);
            let _ = codec::decode::<members::Known>(&bytes, members::MAX_BYTES);
        }

        #[test]
        fn well_framed_arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let mut bytes = (body.len() as u32 + 1).to_be_bytes().to_vec();
            bytes.push(codec::VERSION);
            bytes.extend(&body);
            let codec = Codec::<Request, Response>::new(limits::MAX_FRAME);
            if let Ok(request) = block(codec.get::<_, Request>(&mut Cursor::new(&bytes))) {
                let mut again = Vec::new();
                block(codec.put(&mut again, &request)).unwrap();
                prop_assert_eq!(block(codec.get::<_, Request>(&mut Cursor::new(&again))).unwrap(), request);
            }
            let _ = block(codec.get::<_, Response>(&mut Cursor::new(&bytes)));
        }
    }

    #[test]
    fn a_claimed_length_costs_nothing_and_too_much_is_refused() {
        let err = block(read(&mut Cursor::new(u32::MAX.to_be_bytes()), 100)).unwrap_err();
        assert!(broke_rules(&err).is_some());
        let err = block(read(&mut Cursor::new([0, 0, 0, 99, 1, 2]), 100)).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::UnexpectedEof);
    }
}
