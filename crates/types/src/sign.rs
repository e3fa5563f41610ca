//! Signatures over exact bytes. A trait, so that simulated clusters of thousands of nodes need no elliptic curve.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::ids::NodeId;

/// 64 signature bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Sig(pub [u8; 64]);

impl std::fmt::Debug for Sig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sig({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

impl Serialize for Sig {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let (a, b) = self.0.split_at(32);
        (<[u8; 32]>::try_from(a).unwrap_or([0; 32]), <[u8; 32]>::try_from(b).unwrap_or([0; 32])).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Sig {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let (a, b) = <([u8; 32], [u8; 32])>::deserialize(d)?;
        let mut out = [0; 64];
        out[..32].copy_from_slice(&a);
        out[32..].copy_from_slice(&b);
        Ok(Sig(out))
    }
}

/// Signs as one node and checks what others signed.
pub trait Keyring: Send + Sync {
    /// Whose signatures `sign` makes.
    fn id(&self) -> NodeId;
    /// Signs exactly these bytes.
    fn sign(&self, bytes: &[u8]) -> Sig;
    /// Whether `by` signed exactly these bytes.
    fn verify(&self, by: NodeId, bytes: &[u8], sig: &Sig) -> bool;
}

impl std::fmt::Debug for dyn Keyring {
    /// Whose it is, never the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({:?})", self.id())
    }
}

/// The real thing: ed25519 (RFC 8032), strict verification, so that no signature has a second form.
#[derive(Clone)]
pub struct Ed25519 {
    key: SigningKey,
}

impl Ed25519 {
    /// From the 32 secret bytes that the data directory keeps.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(secret) }
    }
}

impl Keyring for Ed25519 {
    fn id(&self) -> NodeId {
        NodeId(self.key.verifying_key().to_bytes())
    }
    fn sign(&self, bytes: &[u8]) -> Sig {
        Sig(self.key.sign(bytes).to_bytes())
    }
    fn verify(&self, by: NodeId, bytes: &[u8], sig: &Sig) -> bool {
        VerifyingKey::from_bytes(&by.0).is_ok_and(|k| k.verify_strict(bytes, &Signature::from_bytes(&sig.0)).is_ok())
    }
}

/// A stand-in for simulations: a keyed BLAKE3 anyone could forge, but no simulated node does unless told to.
#[derive(Clone)]
pub struct Simulated(pub NodeId);

impl Simulated {
    fn tag(by: NodeId, bytes: &[u8]) -> Sig {
        let h = blake3::keyed_hash(&by.0, bytes);
        let mut out = [0; 64];
        out[..32].copy_from_slice(h.as_bytes());
        Sig(out)
    }
}

impl Keyring for Simulated {
    fn id(&self) -> NodeId {
        self.0
    }
    fn sign(&self, bytes: &[u8]) -> Sig {
        Self::tag(self.0, bytes)
    }
    fn verify(&self, by: NodeId, bytes: &[u8], sig: &Sig) -> bool {
        Self::tag(by, bytes) == *sig
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_signer_and_the_exact_bytes_verify() {
        let (a, b) = (Ed25519::from_secret(&[1; 32]), Ed25519::from_secret(&[2; 32]));
        let sig = a.sign(b"fact");
        assert!(b.verify(a.id(), b"fact", &sig));
        assert!(!b.verify(a.id(), b"fact2", &sig));
        assert!(!b.verify(b.id(), b"fact", &sig));
        assert!(!b.verify(NodeId([0; 32]), b"fact", &sig));
    }
}
