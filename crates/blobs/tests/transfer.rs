//! From one store to another over a line that lies.

mod common;

use std::io::{self, Read};

use common::{Fixture, bytes};
use filch_blobs::{PACKED_MAX, PIECE, PutError, ReceiveError};
use filch_types::BlobId;
use proptest::prelude::*;

fn encoded(f: &Fixture, id: BlobId, from: u64) -> Vec<u8> {
    let mut out = Vec::new();
    f.store.encode(id, from, &mut out).expect("encode");
    out
}

#[test]
fn a_blob_of_any_length_arrives() {
    let (a, b) = (Fixture::new(), Fixture::new());
    let packed = PACKED_MAX as usize;
    for len in [0, 1, 1024, 16384, 16385, 32768, 100_000, packed, packed + 1, packed + 16384, 5 * packed + 3] {
        let data = bytes(len as u64, len);
        let id = a.store.put_bytes(&data).expect("put").0;
        let mut receiver = b.store.receive(id, len as u64).expect("receive");
        assert_eq!(receiver.offset(), 0);
        let wire = encoded(&a, id, 0);
        let mut line = io::Cursor::new([&wire[..], b"next"].concat());
        receiver.feed(&mut line).expect("feed");
        assert_eq!(line.position(), wire.len() as u64, "not a byte more is read");
        assert!(!b.store.has(id), "not there before finish");
        receiver.finish().expect("finish");
        assert_eq!(b.store.read(id, len as u64).expect("read"), data);
        b.store.sync(&[id]).expect("sync");
        // What came over the line can be handed on.
        assert_eq!(encoded(&b, id, 0), wire);
    }
}
