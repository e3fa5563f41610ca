//! Bounded, versioned postcard: what is signed or hashed is always the received bytes, never a re-encoding.

use serde::{Serialize, de::DeserializeOwned};

/// The version byte in front of every frame, record, manifest and fact.
pub const VERSION: u8 = 1;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// More bytes than the kind allows.
    #[error("{got} bytes, at most {max} are allowed")]
    TooLong {
        /// Bytes there are.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// No bytes at all.
    #[error("empty")]
    Empty,
    /// Written by a version that this one does not know.
    #[error("format version {got}, this build reads {VERSION}; upgrade filch on this machine")]
    Version {
        /// The version found.
        got: u8,
    },
    /// Not the expected shape.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The value was followed by more bytes.
    #[error("{0} bytes left over after the value")]
    Trailing(usize),
    /// Decoded, but breaks a rule of its type.
    #[error("invalid: {0}")]
    Invalid(&'static str),
}

/// Encodes with the version byte in front. Errors only when `max` is exceeded or a type cannot be encoded.
pub fn encode<T: Serialize>(value: &T, max: usize) -> Result<Vec<u8>, CodecError> {
    let bytes = postcard::to_extend(value, vec![VERSION]).map_err(|e| CodecError::Malformed(e.to_string()))?;
    if bytes.len() > max {
        return Err(CodecError::TooLong { got: bytes.len(), max });
    }
    Ok(bytes)
}

/// Decodes exactly all of `bytes`. Memory is bounded by a small multiple of `max`: postcard reserves at most what the
/// remaining input could hold.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, CodecError> {
    if bytes.len() > max {
        return Err(CodecError::TooLong { got: bytes.len(), max });
    }
    let (&version, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if version != VERSION {
        return Err(CodecError::Version { got: version });
    }
    let (value, rest) = postcard::take_from_bytes(body).map_err(|e| CodecError::Malformed(e.to_string()))?;
    if !rest.is_empty() {
        return Err(CodecError::Trailing(rest.len()));
    }
    Ok(value)
}
