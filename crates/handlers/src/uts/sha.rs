//! SHA-1 of the one length that UTS needs: a parent's state and a child's number, 24 bytes, one block.

use sha1::block_api::compress;

/// Where SHA-1 starts.
const START: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
/// Bits of the message.
const BITS: u16 = 24 * 8;

/// A node's state: a digest as big-endian words.
pub(super) type State = [u32; 5];

/// The state of the root of the tree of this seed: the hash of sixteen zeros and the seed, 20 bytes.
pub(super) fn root(seed: u32) -> State {
    let mut block = [0; 64];
    block[16..20].copy_from_slice(&seed.to_be_bytes());
    block[20] = 0x80;
    block[62..].copy_from_slice(&160u16.to_be_bytes());
    let mut state = START;
    compress(&mut state, &[block]);
    state
}

/// The state of child `number`.
#[inline]
pub(super) fn child(parent: &State, number: u32) -> State {
    let mut block = [0; 64];
    for (to, word) in block.chunks_exact_mut(4).zip(parent) {
        to.copy_from_slice(&word.to_be_bytes());
    }
    block[20..24].copy_from_slice(&number.to_be_bytes());
    block[24] = 0x80;
    block[62..].copy_from_slice(&BITS.to_be_bytes());
    let mut state = START;
    compress(&mut state, &[block]);
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha1::{Digest, Sha1};

    #[test]
    fn is_sha1() {
        let bytes = |s: State| s.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>();
        let mut message = [0; 20];
        message[16..].copy_from_slice(&19u32.to_be_bytes());
        let root = root(19);
        assert_eq!(bytes(root), Sha1::digest(message).to_vec());
        let message = [bytes(root), 7u32.to_be_bytes().to_vec()].concat();
        assert_eq!(bytes(child(&root, 7)), Sha1::digest(&message).to_vec());
    }
}
