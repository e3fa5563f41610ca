//! Taking a blob from a peer that is not believed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use bao_tree::iter::BaoChunk;
use blake3::Hash;
use filch_types::BlobId;

use crate::error::{PutError, ReceiveError};
use crate::layout::{open_rw, remove};
use crate::pieces::{leaf_hash, node_offset, parent_hash, split_pair, tree, walk};
use crate::put::COPY_BUFFER;
use crate::store::{BlobStore, Inner};
use crate::{MAX_BLOB, PACKED_MAX};

/// Bytes of small unfinished transfers that are kept in memory for the next try.
const MAX_LEFTOVER_BYTES: usize = 16 << 20;
/// Unfinished large transfers whose progress is remembered; others are checked again when they go on.
const MAX_LEFTOVER_FILES: usize = 4096;

/// Unfinished transfers of this process.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    small: HashMap<BlobId, (u64, Vec<u8>)>,
    small_bytes: usize,
    /// (length, verified bytes).
    large: HashMap<BlobId, (u64, u64)>,
}

impl Leftovers {
    fn take_small(&mut self, id: BlobId, len: u64) -> Vec<u8> {
        let Some((claimed, bytes)) = self.small.remove(&id) else { return Vec::new() };
        self.small_bytes -= bytes.len();
        if claimed == len { bytes } else { Vec::new() }
    }

    fn keep_small(&mut self, id: BlobId, len: u64, bytes: Vec<u8>) {
        if !bytes.is_empty() && self.small_bytes + bytes.len() <= MAX_LEFTOVER_BYTES {
            self.small_bytes += bytes.len();
            self.small.insert(id, (len, bytes));
        }
    }
}

/// A blob on its way in. One at a time per blob; what has come stays when the receiver is dropped, and the next one goes on from
/// there, after a restart too if the blob is larger than `PACKED_MAX`.
pub struct Receiver {
    store: BlobStore,
    id: BlobId,
    len: u64,
    /// Verified bytes.
    at: u64,
    sink: Sink,
}

enum Sink {
    /// The blob is in the store already.
    Present,
    Memory(Vec<u8>),
    Partial(Partial),
}

struct Partial {
    data: File,
    outboard: File,
    /// Verified bytes that are not written yet; they end at `Receiver::at`.
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Receiver({} at {} of {})", self.id.short(), self.at, self.len)
    }
}

impl BlobStore {
    /// Begins or goes on to receive a blob of `len` bytes. A wrong length is noticed like a wrong byte, at the first piece that
    /// it changes. `Busy` while another receiver of this blob lives; `Full` if the rest does not fit on the disk.
    pub fn receive(&self, id: BlobId, len: u64) -> Result<Receiver, PutError> {
        if len > MAX_BLOB {
            return Err(PutError::TooLarge { len, max: MAX_BLOB });
        }
        if !self.inner.state().receiving.insert(id) {
            return Err(PutError::Busy(id));
        }
        // From here on dropping the receiver ends the claim.
        let mut receiver = Receiver { store: self.clone(), id, len, at: 0, sink: Sink::Memory(Vec::new()) };
        if self.len(id) == Some(len) {
            (receiver.at, receiver.sink) = (len, Sink::Present);
            return Ok(receiver);
        }
        if len <= PACKED_MAX {
            let bytes = self.inner.state().leftovers.take_small(id, len);
            (receiver.at, receiver.sink) = (bytes.len() as u64, Sink::Memory(bytes));
        } else {
            let (partial, at) = self.inner.open_partial(id, len)?;
            (receiver.at, receiver.sink) = (at, Sink::Partial(partial));
        }
        self.inner.check_room(len - receiver.at)?;
        Ok(receiver)
    }
}

impl Inner {
    fn open_partial(&self, id: BlobId, len: u64) -> Result<(Partial, u64), PutError> {
        let path = self.layout.partial(id);
        let io = |e| self.put_error(&path, len, e);
        let data = open_rw(&path).map_err(io)?;
        let outboard = open_rw(&self.layout.partial_outboard(id)).map_err(io)?;
        let claim = self.layout.partial_len(id);
        let same = std::fs::read(&claim).is_ok_and(|claimed| claimed == len.to_le_bytes());
        if !same {
            data.set_len(0).and_then(|()| outboard.set_len(0)).map_err(io)?;
            std::fs::write(&claim, len.to_le_bytes()).map_err(io)?;
            self.state().leftovers.large.remove(&id);
        }
        let remembered = self.state().leftovers.large.remove(&id).filter(|(l, _)| *l == len);
        let at = match remembered {
            Some((_, at)) => at,
            None => verified_prefix(id, len, &data, &outboard),
        };
        Ok((Partial { data, outboard, buffer: Vec::new() }, at))
    }
}

/// How many bytes from the start are proved by the inner nodes that came with them.
fn verified_prefix(id: BlobId, len: u64, data: &File, outboard: &File) -> u64 {
    let mut stack = vec![Hash::from(id.0)];
    let mut buf = Vec::new();
    let mut at = 0;
    for chunk in walk(len, 0) {
        let Some(want) = stack.pop() else { break };
        match chunk {
            BaoChunk::Parent { node, is_root, left, right, .. } => {
                let mut pair = [0; 64];
                let Some(offset) = node_offset(tree(len), node) else { break };
                if outboard.read_exact_at(&mut pair, offset).is_err() {
                    break;
                }
                let (l, r) = split_pair(&pair);
                if parent_hash(&l, &r, is_root) != want {
                    break;
                }
                stack.extend(right.then_some(r));
                stack.extend(left.then_some(l));
            }
            BaoChunk::Leaf { start_chunk, size, is_root, .. } => {
                buf.resize(size, 0);
                let read = data.read_exact_at(&mut buf, start_chunk.to_bytes());
                if read.is_err() || leaf_hash(start_chunk, &buf, is_root) != want {
                    break;
                }
                at += size as u64;
            }
        }
    }
    at
}

impl Receiver {
    /// Good bytes so far: what to ask the next sender for.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// Reads what `BlobStore::encode(id, self.offset())` wrote, and not a byte more. Every good piece is kept, also when this ends
    /// with an error; it stops at the first bad one.
    pub fn feed(&mut self, from: &mut dyn Read) -> Result<(), ReceiveError> {
        if self.at >= self.len {
            return Ok(());
        }
        let fed = self.pieces(from);
        // What is good stays, whatever came after it.
        fed.and(self.write_out())
    }

    fn pieces(&mut self, from: &mut dyn Read) -> Result<(), ReceiveError> {
        let mut stack = vec![Hash::from(self.id.0)];
        let mut buf = Vec::new();
        for chunk in walk(self.len, self.at) {
            let want = stack.pop().ok_or_else(|| self.bad_piece())?;
            match chunk {
                BaoChunk::Parent { node, is_root, left, right, .. } => {
                    let mut pair = [0; 64];
                    from.read_exact(&mut pair).map_err(|e| self.broken(e))?;
                    let (l, r) = split_pair(&pair);
                    if parent_hash(&l, &r, is_root) != want {
                        return Err(self.bad_piece());
                    }
                    stack.extend(right.then_some(r));
                    stack.extend(left.then_some(l));
                    if let (Sink::Partial(partial), Some(at)) = (&self.sink, node_offset(tree(self.len), node)) {
                        let written = partial.outboard.write_all_at(&pair, at);
                        written.map_err(|e| self.store_error(64, e))?;
                    }
                }
                BaoChunk::Leaf { start_chunk, size, is_root, .. } => {
                    buf.resize(size, 0);
                    from.read_exact(&mut buf).map_err(|e| self.broken(e))?;
                    if leaf_hash(start_chunk, &buf, is_root) != want {
                        return Err(self.bad_piece());
                    }
                    self.keep(&buf)?;
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, piece: &[u8]) -> Result<(), ReceiveError> {
        self.at += piece.len() as u64;
        match &mut self.sink {
            Sink::Present => {}
            Sink::Memory(bytes) => bytes.extend_from_slice(piece),
            Sink::Partial(partial) => {
                partial.buffer.extend_from_slice(piece);
                if partial.buffer.len() >= COPY_BUFFER {
                    return self.write_out();
                }
            }
        }
        Ok(())
    }

    /// Writes what is buffered. After a failure the receiver is back where the file is.
    fn write_out(&mut self) -> Result<(), ReceiveError> {
        let Sink::Partial(partial) = &mut self.sink else { return Ok(()) };
        let buffer = std::mem::take(&mut partial.buffer);
        if buffer.is_empty() {
            return Ok(());
        }
        let need = buffer.len() as u64;
        let start = self.at.saturating_sub(need);
        let written = self.store.inner.check_room(need).and_then(|()| {
            let written = partial.data.write_all_at(&buffer, start);
            written.map_err(|e| self.store.inner.put_error(&self.store.inner.layout.partial(self.id), need, e))
        });
        match written {
            Ok(()) => {
                partial.buffer = buffer;
                partial.buffer.clear();
                Ok(())
            }
            Err(e) => {
                self.at = start;
                Err(e.into())
            }
        }
    }

    /// Makes the blob visible in the store, once all of it is here. Durable after `sync`, like a put.
    pub fn finish(mut self) -> Result<(), ReceiveError> {
        if self.at < self.len {
            return Err(ReceiveError::Incomplete { id: self.id, offset: self.at, len: self.len });
        }
        // No piece proves an empty blob.
        if self.len == 0 && self.id != BlobId::of(&[]) {
            return Err(self.bad_piece());
        }
        let inner = &self.store.inner;
        match &self.sink {
            Sink::Present => return Ok(()),
            Sink::Memory(bytes) => inner.put_packed(self.id, bytes)?,
            Sink::Partial(_) => {
                let layout = &inner.layout;
                inner.adopt(self.id, self.len, &layout.partial(self.id), &layout.partial_outboard(self.id))?;
                let claim = layout.partial_len(self.id);
                remove(&claim).map_err(|e| PutError::io(&claim, e))?;
            }
        }
        self.sink = Sink::Present;
        Ok(())
    }

    fn bad_piece(&self) -> ReceiveError {
        ReceiveError::BadPiece { id: self.id, offset: self.at }
    }

    fn broken(&self, source: io::Error) -> ReceiveError {
        ReceiveError::Broken { id: self.id, offset: self.at, len: self.len, source }
    }

    fn store_error(&self, need: u64, e: io::Error) -> ReceiveError {
        let inner = &self.store.inner;
        inner.put_error(&inner.layout.partial_outboard(self.id), need, e).into()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.store.inner.state();
        match std::mem::replace(&mut self.sink, Sink::Present) {
            Sink::Present => {}
            Sink::Memory(bytes) => state.leftovers.keep_small(self.id, self.len, bytes),
            Sink::Partial(_) => {
                if state.leftovers.large.len() < MAX_LEFTOVER_FILES {
                    state.leftovers.large.insert(self.id, (self.len, self.at));
                }
            }
        }
        state.receiving.remove(&self.id);
    }
}
