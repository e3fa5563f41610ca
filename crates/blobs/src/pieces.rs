//! Blobs piece by piece, each piece checked against the hash tree before anybody sees it.
//!
//! A transfer is the pre-order walk of the tree that bao defines, cut at groups of 16 KiB: inner nodes (two hashes) and groups of
//! bytes, from the group at the starting offset to the end. The length is not sent; the receiver knows what it asked for.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

use bao_tree::iter::{BaoChunk, ResponseIter};
use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges, TreeNode};
use blake3::Hash;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use filch_types::BlobId;

use crate::PIECE;
use crate::error::ReadError;
use crate::layout::{Temp, create_new};
use crate::put::COPY_BUFFER;
use crate::state::{Entry, Place};
use crate::store::Inner;

/// Groups of 16 chunks of 1 KiB.
const GROUP: BlockSize = BlockSize::from_chunk_log(4);

/// The hash tree of a blob of this length.
pub(crate) fn tree(len: u64) -> BaoTree {
    BaoTree::new(len, GROUP)
}

/// The walk from the piece at `from`, a multiple of the piece length inside the blob.
pub(crate) fn walk(len: u64, from: u64) -> ResponseIter {
    ResponseIter::new(tree(len), ChunkRanges::from(ChunkNum(from / 1024)..))
}

/// The hash of a group of bytes at its place in the tree.
pub(crate) fn leaf_hash(start: ChunkNum, bytes: &[u8], is_root: bool) -> Hash {
    if is_root {
        return blake3::hash(bytes);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start.to_bytes());
    hasher.update(bytes);
    Hash::from(hasher.finalize_non_root())
}

/// The two hashes of an inner node.
pub(crate) fn split_pair(pair: &[u8; 64]) -> (Hash, Hash) {
    let (mut left, mut right) = ([0; 32], [0; 32]);
    left.copy_from_slice(&pair[..32]);
    right.copy_from_slice(&pair[32..]);
    (Hash::from(left), Hash::from(right))
}

/// The hash of an inner node from those of its children.
pub(crate) fn parent_hash(left: &Hash, right: &Hash, is_root: bool) -> Hash {
    if is_root {
        merge_subtrees_root(left.as_bytes(), right.as_bytes(), Mode::Hash)
    } else {
        Hash::from(merge_subtrees_non_root(left.as_bytes(), right.as_bytes(), Mode::Hash))
    }
}

/// Where an inner node is in the file of inner nodes.
pub(crate) fn node_offset(tree: BaoTree, node: TreeNode) -> Option<u64> {
    tree.post_order_offset(node).map(|at| at.value() * 64)
}

/// Hashes exactly `len` bytes and writes the inner nodes, in order. `UnexpectedEof` if there are fewer.
pub(crate) fn hash_file(data: impl Read, len: u64, outboard: impl Write) -> io::Result<BlobId> {
    let data = BufReader::with_capacity(COPY_BUFFER, data);
    let root = bao_tree::io::sync::outboard_post_order(data, tree(len), outboard)?;
    Ok(BlobId(*root.as_bytes()))
}

/// One step of the walk.
pub(crate) enum Item<'a> {
    Parent([u8; 64]),
    Leaf(&'a [u8]),
}

/// Why the walk stopped.
enum Stop {
    /// The bytes do not match.
    Data,
    /// The inner nodes do not match: the bytes may still be good.
    Outboard,
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Self {
        Stop::Io(e)
    }
}

/// Where bytes are read from.
enum Bytes {
    Memory(Vec<u8>),
    File(File),
}

impl Bytes {
    fn read(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Bytes::File(file) => file.read_exact_at(out, at),
            Bytes::Memory(bytes) => {
                let start = usize::try_from(at).map_err(io::Error::other)?;
                let from = bytes.get(start..).and_then(|b| b.get(..out.len()));
                out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

/// A verified walk over one blob.
pub(crate) struct Pieces {
    id: BlobId,
    entry: Entry,
    from: u64,
    data: Bytes,
    outboard: Bytes,
    walk: ResponseIter,
    stack: Vec<Hash>,
    buf: Vec<u8>,
    /// Steps done, to get back here after the inner nodes were rebuilt.
    done: u64,
    rebuilt: bool,
}

impl Pieces {
    /// Starts at the piece at `from`.
    pub(crate) fn open(store: &Inner, id: BlobId, entry: Entry, from: u64) -> Result<Self, ReadError> {
        if !from.is_multiple_of(PIECE) || (from >= entry.len && from > 0) {
            return Err(ReadError::Offset { from, len: entry.len });
        }
        let (data, outboard, rebuilt) = match entry.place {
            Place::Packed { .. } => {
                let bytes = store.read_packed(id, &entry)?;
                let mut outboard = Vec::new();
                hash_file(&bytes[..], entry.len, &mut outboard).map_err(|e| ReadError::io(&store.layout.root, e))?;
                (Bytes::Memory(bytes), Bytes::Memory(outboard), true)
            }
            Place::File => {
                let file = store.open_file(id, &entry)?;
                match File::open(store.layout.outboard(id)) {
                    Ok(outboard) => (Bytes::File(file), Bytes::File(outboard), false),
                    Err(_) => {
                        let outboard = store.rebuild(id, &entry, &file)?;
                        (Bytes::File(file), Bytes::File(outboard), true)
                    }
                }
            }
        };
        let walk = walk(entry.len, from);
        let stack = vec![Hash::from(id.0)];
        Ok(Self { id, entry, from, data, outboard, walk, stack, buf: Vec::new(), done: 0, rebuilt })
    }

    /// The next step, checked. `Damaged` if the blob does not match its name; it has been dropped then.
    pub(crate) fn next(&mut self, store: &Inner) -> Result<Option<Item<'_>>, ReadError> {
        let step = match self.step() {
            Err(Stop::Outboard) if !self.rebuilt => {
                self.restart(store)?;
                self.step()
            }
            step => step,
        };
        match step {
            Ok(None) => Ok(None),
            Ok(Some(None)) => Ok(Some(Item::Leaf(&self.buf))),
            Ok(Some(Some(pair))) => Ok(Some(Item::Parent(pair))),
            Err(e) => Err(self.stopped(store, e)),
        }
    }

    /// Rebuilds the inner nodes from the bytes and walks again to where it was.
    fn restart(&mut self, store: &Inner) -> Result<(), ReadError> {
        let Bytes::File(file) = &self.data else { return Ok(()) };
        self.outboard = Bytes::File(store.rebuild(self.id, &self.entry, file)?);
        self.rebuilt = true;
        self.walk = walk(self.entry.len, self.from);
        self.stack = vec![Hash::from(self.id.0)];
        for _ in 0..std::mem::take(&mut self.done) {
            self.step().map_err(|e| self.stopped(store, e))?;
        }
        Ok(())
    }

    fn stopped(&self, store: &Inner, e: Stop) -> ReadError {
        match e {
            Stop::Io(e) if e.kind() != io::ErrorKind::UnexpectedEof => ReadError::io(&store.layout.file(self.id), e),
            Stop::Io(_) | Stop::Data | Stop::Outboard => store.damaged(self.id, &self.entry),
        }
    }

    /// One step: `Some(pair)` for an inner node, `None` for bytes, which are in `buf`.
    fn step(&mut self) -> Result<Option<Option<[u8; 64]>>, Stop> {
        let Some(chunk) = self.walk.next() else { return Ok(None) };
        let want = self.stack.pop().ok_or(Stop::Data)?;
        let item = match chunk {
            BaoChunk::Parent { node, is_root, left, right, .. } => {
                let at = node_offset(tree(self.entry.len), node).ok_or(Stop::Outboard)?;
                let mut pair = [0; 64];
                self.outboard.read(&mut pair, at).map_err(|_| Stop::Outboard)?;
                let (l, r) = split_pair(&pair);
                if parent_hash(&l, &r, is_root) != want {
                    return Err(Stop::Outboard);
                }
                self.stack.extend(right.then_some(r));
                self.stack.extend(left.then_some(l));
                Some(pair)
            }
            BaoChunk::Leaf { start_chunk, size, is_root, .. } => {
                self.buf.resize(size, 0);
                self.data.read(&mut self.buf, start_chunk.to_bytes())?;
                if leaf_hash(start_chunk, &self.buf, is_root) != want {
                    return Err(Stop::Data);
                }
                None
            }
        };
        self.done += 1;
        Ok(Some(item))
    }
}

impl Inner {
    /// The file of a large blob.
    pub(crate) fn open_file(&self, id: BlobId, entry: &Entry) -> Result<File, ReadError> {
        let path = self.layout.file(id);
        match File::open(&path) {
            Ok(file) => Ok(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(self.damaged(id, entry)),
            Err(e) => Err(ReadError::io(&path, e)),
        }
    }

    /// Makes the inner nodes of a large blob anew, checking all of its bytes.
    fn rebuild(&self, id: BlobId, entry: &Entry, file: &File) -> Result<File, ReadError> {
        let temp = Temp { path: self.layout.temp() };
        let io = |e| ReadError::io(&temp.path, e);
        let fresh = create_new(&temp.path).map_err(io)?;
        let mut out = BufWriter::with_capacity(COPY_BUFFER, &fresh);
        let hashed = hash_file(AtStart { file, at: 0 }, entry.len, &mut out).and_then(|id| out.flush().map(|()| id));
        drop(out);
        match hashed {
            Ok(found) if found == id => {
                std::fs::rename(&temp.path, self.layout.outboard(id)).map_err(io)?;
                Ok(fresh)
            }
            Ok(_) => Err(self.damaged(id, entry)),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged(id, entry)),
            Err(e) => Err(io(e)),
        }
    }
}

/// Reads a shared file from its start, whatever its cursor says.
pub(crate) struct AtStart<'a> {
    pub(crate) file: &'a File,
    pub(crate) at: u64,
}

impl Read for AtStart<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buf, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
