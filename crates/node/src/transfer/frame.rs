//! The blob protocol, version 1. The asker sends asks, one at a time; the answer to each is, per blob and in the order of
//! the ask: one byte `MISSING`, or one byte `HERE`, the blob's length (u64 LE) and its verified pieces from the offset on.
//! A provider that finds its copy damaged midway closes the stream.

use std::io::{self, Read, Write};

use filch_types::ask::{self, Ask};
use tokio::io::{AsyncRead, AsyncReadExt};

const MISSING: u8 = 0;
const HERE: u8 = 1;

fn bad(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// Sends an ask.
pub fn write_ask(to: &mut dyn Write, ask: &Ask) -> io::Result<()> {
    to.write_all(&ask.frame().map_err(bad)?)?;
    to.flush()
}

/// The next ask; `None` once the asker is done.
pub async fn read_ask<S: AsyncRead + Unpin>(from: &mut S) -> io::Result<Option<Ask>> {
    let mut len = [0; 4];
    match from.read_exact(&mut len).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let mut bytes = vec![0; ask::announced(len).map_err(bad)?];
    from.read_exact(&mut bytes).await?;
    Ask::decode(&bytes).map(Some).map_err(bad)
}

/// Says whether the blob is here, and how long it is; its pieces follow.
pub fn write_head(to: &mut dyn Write, len: Option<u64>) -> io::Result<()> {
    match len {
        None => to.write_all(&[MISSING]),
        Some(len) => {
            let mut head = [HERE; 9];
            head[1..].copy_from_slice(&len.to_le_bytes());
            to.write_all(&head)
        }
    }
}

/// The reverse.
pub fn read_head(from: &mut dyn Read) -> io::Result<Option<u64>> {
    let mut kind = [0];
    from.read_exact(&mut kind)?;
    match kind[0] {
        MISSING => Ok(None),
        HERE => {
            let mut len = [0; 8];
            from.read_exact(&mut len)?;
            Ok(Some(u64::from_le_bytes(len)))
        }
        other => Err(bad(format_args!("an answer of kind {other}, which this build does not know"))),
    }
}

#[cfg(test)]
mod tests {
    use filch_types::BlobId;

    use super::*;

    #[tokio::test]
    async fn asks_come_back_and_arbitrary_bytes_are_refused() {
        let ask = Ask { blobs: vec![(BlobId([3; 32]), 16_384), (BlobId([4; 32]), u64::MAX)] };
        let mut wire = Vec::new();
        write_ask(&mut wire, &ask).unwrap();
        let mut from = wire.as_slice();
        assert_eq!(read_ask(&mut from).await.unwrap(), Some(ask));
        assert_eq!(read_ask(&mut from).await.unwrap(), None);
        for bytes in [&[255, 255, 255, 255][..], &[2, 0, 0, 0, 9, 9], &[2, 0, 0, 0, 1, 200], &[9, 0, 0, 0, 1]] {
            assert!(!matches!(read_ask(&mut &bytes[..]).await, Ok(Some(_))), "{bytes:?}");
        }
    }

    #[test]
    fn heads() {
        let mut wire = Vec::new();
        for len in [None, Some(0), Some(u64::MAX)] {
            wire.clear();
            write_head(&mut wire, len).unwrap();
            assert_eq!(read_head(&mut wire.as_slice()).unwrap(), len);
        }
        assert!(read_head(&mut &[7u8][..]).is_err());
    }
}
