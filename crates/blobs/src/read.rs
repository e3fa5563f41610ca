//! Handing bytes out, none of them unchecked.

use std::fs::OpenOptions;
use std::io::{self, Cursor, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use filch_types::BlobId;

use crate::error::ReadError;
use crate::pieces::{AtStart, Item, Pieces};
use crate::put::COPY_BUFFER;
use crate::state::{Entry, Place};
use crate::store::{BlobStore, Inner};

impl BlobStore {
    fn entry(&self, id: BlobId) -> Result<Entry, ReadError> {
        self.inner.locate(id).ok_or(ReadError::Missing(id))
    }

    /// All bytes of a blob of at most `max` bytes.
    pub fn read(&self, id: BlobId, max: u64) -> Result<Vec<u8>, ReadError> {
        let entry = self.entry(id)?;
        if entry.len > max {
            return Err(ReadError::TooLong { len: entry.len, max });
        }
        if entry.place != Place::File {
            return self.inner.read_packed(id, &entry);
        }
        let file = self.inner.open_file(id, &entry)?;
        let mut bytes = Vec::with_capacity(usize::try_from(entry.len).unwrap_or(0));
        let limit = entry.len.saturating_add(1);
        let read = AtStart { file: &file, at: 0 }.take(limit).read_to_end(&mut bytes);
        read.map_err(|e| ReadError::io(&self.inner.layout.file(id), e))?;
        if bytes.len() as u64 != entry.len || BlobId::of(&bytes) != id {
            return Err(self.inner.damaged(id, &entry));
        }
        Ok(bytes)
    }

    /// Reads a blob from its start. Every piece is checked before its bytes are handed out; at the first that does not match the
    /// reader fails with `InvalidData` and the blob is dropped.
    pub fn open_read(&self, id: BlobId) -> Result<BlobReader, ReadError> {
        let entry = self.entry(id)?;
        let source = match entry.place {
            Place::Packed { .. } => Source::Small(Cursor::new(self.inner.read_packed(id, &entry)?)),
            Place::File => {
                let pieces = Box::new(Pieces::open(&self.inner, id, entry, 0)?);
                Source::Large { store: self.clone(), pieces, ready: Vec::new(), at: 0 }
            }
        };
        Ok(BlobReader { source })
    }

    /// Makes a file with the blob's bytes where there is none: shares blocks where the file system can, else copies, and never
    /// links, so that whoever gets the file cannot write through to the store. The file is there only when all of it matched.
    pub fn place(&self, id: BlobId, dest: &Path, executable: bool) -> Result<(), ReadError> {
        let entry = self.entry(id)?;
        let mode = if executable { 0o755 } else { 0o644 };
        match entry.place {
            Place::Packed { .. } => {
                let bytes = self.inner.read_packed(id, &entry)?;
                let mut file = create(dest, mode)?;
                file.write_all(&bytes).map_err(|e| abandon(dest, e))
            }
            Place::File => {
                let source = self.inner.open_file(id, &entry)?;
                let file = create(dest, mode)?;
                let found = self.inner.copy_out(&source, &file).map_err(|e| abandon(dest, e))?;
                if found == (id, entry.len) {
                    return Ok(());
                }
                let _ = std::fs::remove_file(dest);
                Err(self.inner.damaged(id, &entry))
            }
        }
    }

    /// Writes what a `Receiver` at offset `from` reads: the blob from there to its end, with the hashes that prove it. `from` is a
    /// multiple of `PIECE`; the length is not sent. Every piece is checked before it is written; a damaged blob is dropped and
    /// what was written of it is still good.
    pub fn encode(&self, id: BlobId, from: u64, out: &mut dyn Write) -> Result<(), ReadError> {
        let entry = self.entry(id)?;
        if from == entry.len {
            return Ok(());
        }
        let mut pieces = Pieces::open(&self.inner, id, entry, from)?;
        while let Some(item) = pieces.next(&self.inner)? {
            let written = match item {
                Item::Parent(pair) => out.write_all(&pair),
                Item::Leaf(bytes) => out.write_all(bytes),
            };
            written.map_err(|e| ReadError::io(Path::new("the transfer"), e))?;
        }
        Ok(())
    }
}

fn create(dest: &Path, mode: u32) -> Result<std::fs::File, ReadError> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(dest);
    file.map_err(|e| ReadError::io(dest, e))
}

fn abandon(dest: &Path, e: io::Error) -> ReadError {
    let _ = std::fs::remove_file(dest);
    ReadError::io(dest, e)
}

impl Inner {
    /// Fills `dest` from `source` and returns the hash and length of what is in `dest` now.
    fn copy_out(&self, source: &std::fs::File, dest: &std::fs::File) -> io::Result<(BlobId, u64)> {
        // Shared blocks are read through the new file: that is what will be used.
        let shared = self.reflink(source, dest);
        let mut from = AtStart { file: if shared { dest } else { source }, at: 0 };
        let mut hasher = blake3::Hasher::new();
        let mut buf = vec![0; COPY_BUFFER];
        loop {
            let n = from.read(&mut buf)?;
            let Some(bytes) = buf.get(..n).filter(|b| !b.is_empty()) else { break };
            hasher.update(bytes);
            if !shared {
                (&mut &*dest).write_all(bytes)?;
            }
        }
        Ok((BlobId(*hasher.finalize().as_bytes()), from.at))
    }
}

/// Reads one blob, checked. See `BlobStore::open_read`.
pub struct BlobReader {
    source: Source,
}

enum Source {
    Small(Cursor<Vec<u8>>),
    Large { store: BlobStore, pieces: Box<Pieces>, ready: Vec<u8>, at: usize },
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (store, pieces, ready, at) = match &mut self.source {
            Source::Small(bytes) => return bytes.read(buf),
            Source::Large { store, pieces, ready, at } => (store, pieces, ready, at),
        };
        while *at == ready.len() {
            match pieces.next(&store.inner) {
                Ok(Some(Item::Parent(_))) => {}
                Ok(Some(Item::Leaf(bytes))) => {
                    ready.clear();
                    ready.extend_from_slice(bytes);
                    *at = 0;
                }
                Ok(None) => return Ok(0),
                Err(ReadError::Io { source, .. }) => return Err(source),
                Err(e) => return Err(io::Error::new(io::ErrorKind::InvalidData, e)),
            }
        }
        let n = ready.get(*at..).map_or(Ok(0), |mut left| left.read(buf))?;
        *at += n;
        Ok(n)
    }
}
