//! Names of things: fixed-size byte strings, printed as lower-case hex.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text has the wrong length.
    #[error("expected {want} hex digits, got {got}")]
    Length {
        /// Digits that a full id has.
        want: usize,
        /// Digits that were given.
        got: usize,
    },
    /// A character is not a hex digit.
    #[error("`{0}` is not a hex digit")]
    Digit(char),
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for b in bytes {
        write!(f, "{b:02x}")?;
    }
    Ok(())
}

fn unhex<const N: usize>(s: &str) -> Result<[u8; N], IdError> {
    let digits: Vec<u8> =
        s.chars().map(|c| c.to_digit(16).map(|d| d as u8).ok_or(IdError::Digit(c))).collect::<Result<_, _>>()?;
    if digits.len() != 2 * N {
        return Err(IdError::Length { want: 2 * N, got: digits.len() });
    }
    let mut out = [0; N];
    for (o, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *o = pair[0] << 4 | pair[1];
    }
    Ok(out)
}

/// The first bytes as a number: nearly always enough to order two ids, in one comparison instead of a call.
#[inline]
fn first(id: &[u8]) -> u64 {
    id.first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Ten hex digits: enough for a person to tell two apart.
            pub fn short(&self) -> String {
                let mut s = self.to_string();
                s.truncate(10);
                s
            }
            /// The raw bytes.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }
        impl Ord for $name {
            #[inline]
            fn cmp(&self, other: &Self) -> Ordering {
                first(&self.0).cmp(&first(&other.0)).then_with(|| self.0.cmp(&other.0))
            }
        }
        impl PartialOrd for $name {
            #[inline]
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.short())
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                unhex(s).map(Self)
            }
        }
    };
}

id!(
    /// A node's ed25519 public key; the libp2p peer id is derived from it.
    NodeId,
    32
);
id!(
    /// BLAKE3 of the exact manifest bytes.
    JobId,
    32
);
id!(
    /// BLAKE3 of a blob's bytes.
    BlobId,
    32
);
id!(
    /// BLAKE3 of the exact fact bytes.
    FactId,
    32
);
id!(
    /// A part of a divisible task that was split off.
    BagId,
    32
);
id!(
    /// Random, made together with a data directory: a wiped node is a different holder.
    StoreId,
    16
);
id!(
    /// Names the machine a node runs on, so that copies prefer to spread.
    MachineId,
    16
);
id!(
    /// Chosen by the client before the first send; makes a retried submit the same job.
    Nonce,
    16
);

impl BlobId {
    /// The id of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}
impl JobId {
    /// The id of a manifest with these bytes.
    pub fn of(manifest: &[u8]) -> Self {
        Self(*blake3::hash(manifest).as_bytes())
    }
}
impl FactId {
    /// The id of a fact with these bytes.
    pub fn of(fact: &[u8]) -> Self {
        Self(*blake3::hash(fact).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip_and_refusals() {
        let id = BlobId::of(b"x");
        assert_eq!(id.to_string().parse::<BlobId>(), Ok(id));
        assert_eq!("zz".parse::<StoreId>(), Err(IdError::Digit('z')));
        assert_eq!("ab".parse::<StoreId>(), Err(IdError::Length { want: 32, got: 2 }));
        assert!("ü".parse::<StoreId>().is_err());
    }

    #[test]
    fn ids_are_ordered_like_their_bytes() {
        let mut ids: Vec<BlobId> = (0..200u8).map(|n| BlobId::of(&[n])).collect();
        // Some that differ only in their last bytes.
        ids.extend((0..20).map(|n| BlobId([[7; 30].as_slice(), &[n, 255 - n]].concat().try_into().unwrap())));
        let mut bytes: Vec<[u8; 32]> = ids.iter().map(|id| id.0).collect();
        ids.sort_unstable();
        bytes.sort_unstable();
        assert_eq!(ids.iter().map(|id| id.0).collect::<Vec<_>>(), bytes);
    }
}
