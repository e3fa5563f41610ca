//! What one node asks another for on a blob stream: a length of four bytes (LE), then an ask. What is answered lies with the
//! node; asks are here because they are what a stranger's bytes are read as first.

use serde::{Deserialize, Serialize};

use crate::BlobId;
use crate::codec::{self, CodecError};

/// Blobs in one ask.
pub const MAX_BLOBS: usize = 256;
/// Bytes of an encoded ask.
pub const MAX_BYTES: usize = 16 * 1024;

/// Which blobs, each from which byte on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// At most `MAX_BLOBS`.
    pub blobs: Vec<(BlobId, u64)>,
}

/// Bytes of the ask that follows. `TooLong` before anything is read or reserved for it.
pub fn announced(prefix: [u8; 4]) -> Result<usize, CodecError> {
    let got = usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(usize::MAX);
    if got > MAX_BYTES { Err(CodecError::TooLong { got, max: MAX_BYTES }) } else { Ok(got) }
}

impl Ask {
    /// Length and ask, as they go on the stream.
    pub fn frame(&self) -> Result<Vec<u8>, CodecError> {
        self.check()?;
        let bytes = codec::encode(self, MAX_BYTES)?;
        let len = u32::try_from(bytes.len()).map_err(|_| CodecError::TooLong { got: bytes.len(), max: MAX_BYTES })?;
        Ok([&len.to_le_bytes()[..], &bytes].concat())
    }

    /// Reads what follows the length.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let ask: Self = codec::decode(bytes, MAX_BYTES)?;
        ask.check()?;
        Ok(ask)
    }

    fn check(&self) -> Result<(), CodecError> {
        if self.blobs.len() > MAX_BLOBS {
            Err(CodecError::Invalid("more blobs in one ask than allowed"))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_ask_fits_and_a_larger_one_is_neither_said_nor_heard() {
        let ask = |count| Ask { blobs: vec![(BlobId([255; 32]), u64::MAX); count] };
        let frame = ask(MAX_BLOBS).frame().unwrap();
        assert_eq!(announced([frame[0], frame[1], frame[2], frame[3]]), Ok(frame.len() - 4));
        assert_eq!(Ask::decode(&frame[4..]), Ok(ask(MAX_BLOBS)));
        let more = ask(MAX_BLOBS + 1);
        assert!(more.frame().is_err());
        assert!(matches!(Ask::decode(&codec::encode(&more, MAX_BYTES).unwrap()), Err(CodecError::Invalid(_))));
    }
}
