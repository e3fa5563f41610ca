//! The packed item list of a job with explicit tasks: one blob, random access, no N task objects.
//!
//! Layout: `FLI1`, count (u32 LE), blocks (u32 LE), end offset of every block (u64 LE each), then the blocks: postcard of up
//! to `BLOCK` items, one after another.

use serde::{Deserialize, Serialize};

use crate::codec::CodecError;
use crate::limits;
use crate::manifest::InFile;

/// Items of one block: what one lookup decodes.
pub const BLOCK: u32 = 64;
const MAGIC: &[u8; 4] = b"FLI1";
const HEAD: usize = 12;

/// One task's own data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Values, one per source.
    pub values: Vec<String>,
    /// Its own input files, in the order of `-i`.
    pub inputs: Vec<InFile>,
}

/// Builds the packed list, item by item.
#[derive(Default)]
pub struct Writer {
    body: Vec<u8>,
    ends: Vec<u64>,
    count: u32,
}

impl Writer {
    /// Adds a task. Errors at `limits::MAX_TASKS` or on an item that cannot be encoded.
    pub fn push(&mut self, item: &Item) -> Result<(), CodecError> {
        if self.count >= limits::MAX_TASKS {
            return Err(CodecError::TooLong { got: self.count as usize + 1, max: limits::MAX_TASKS as usize });
        }
        let body = std::mem::take(&mut self.body);
        self.body = postcard::to_extend(item, body).map_err(|e| CodecError::Malformed(e.to_string()))?;
        self.count += 1;
        if self.count.is_multiple_of(BLOCK) {
            self.ends.push(self.body.len() as u64);
        }
        Ok(())
    }
    /// Tasks so far.
    pub fn count(&self) -> u32 {
        self.count
    }
    /// The blob's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        if !self.count.is_multiple_of(BLOCK) {
            self.ends.push(self.body.len() as u64);
        }
        let mut out = Vec::with_capacity(HEAD + 8 * self.ends.len() + self.body.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&(self.ends.len() as u32).to_le_bytes());
        for e in &self.ends {
            out.extend_from_slice(&e.to_le_bytes());
        }
        out.extend_from_slice(&self.body);
        out
    }
}

/// Reads a packed list without unpacking it. `B` is any holder of the bytes: a slice, an `Arc`, a memory map.
#[derive(Clone, Debug)]
pub struct Reader<B> {
    bytes: B,
    count: u32,
    blocks: usize,
}

impl<B: AsRef<[u8]>> Reader<B> {
    /// Checks the frame: magic, sizes, ascending ends that fill the blob exactly.
    pub fn new(bytes: B) -> Result<Self, CodecError> {
        let b = bytes.as_ref();
        let word = |at: usize| -> Option<u32> { Some(u32::from_le_bytes(b.get(at..at + 4)?.try_into().ok()?)) };
        let (Some(count), Some(blocks), Some(MAGIC)) = (word(4), word(8), b.first_chunk::<4>()) else {
            return Err(CodecError::Invalid("not an item list"));
        };
        let blocks = blocks as usize;
        let table = blocks.checked_mul(8).and_then(|n| n.checked_add(HEAD));
        let body = table.and_then(|t| b.len().checked_sub(t));
        let (Some(body), true) = (body, blocks == count.div_ceil(BLOCK) as usize && count <= limits::MAX_TASKS) else {
            return Err(CodecError::Invalid("an item list of the wrong size"));
        };
        let reader = Self { bytes, count, blocks };
        let mut last = 0;
        for n in 0..blocks {
            let end = reader.end(n);
            if end < last || end > body {
                return Err(CodecError::Invalid("item list: block ends are not ascending"));
            }
            last = end;
        }
        if last != body {
            return Err(CodecError::Invalid("item list: bytes after the last block"));
        }
        Ok(reader)
    }
    /// Tasks in it.
    pub fn count(&self) -> u32 {
        self.count
    }
    fn end(&self, block: usize) -> usize {
        let at = HEAD + 8 * block;
        let raw = self.bytes.as_ref().get(at..at + 8).and_then(|s| s.try_into().ok());
        raw.map_or(usize::MAX, |raw| usize::try_from(u64::from_le_bytes(raw)).unwrap_or(usize::MAX))
    }
    /// The items of block `n`; the last one may be short.
    pub fn block(&self, n: u32) -> Result<Vec<Item>, CodecError> {
        let n = n as usize;
        if n >= self.blocks {
            return Err(CodecError::Invalid("item list: no such block"));
        }
        let body = HEAD + 8 * self.blocks;
        let start = if n == 0 { 0 } else { self.end(n - 1) };
        let mut raw = self
            .bytes
            .as_ref()
            .get(body + start..body + self.end(n))
            .ok_or(CodecError::Invalid("item list: a block out of bounds"))?;
        let want = (self.count - n as u32 * BLOCK).min(BLOCK);
        let mut items = Vec::new();
        for _ in 0..want {
            let (item, rest) =
                postcard::take_from_bytes::<Item>(raw).map_err(|e| CodecError::Malformed(e.to_string()))?;
            items.push(item);
            raw = rest;
        }
        if raw.is_empty() { Ok(items) } else { Err(CodecError::Trailing(raw.len())) }
    }
    /// Item `i`.
    pub fn get(&self, i: u32) -> Result<Item, CodecError> {
        let mut block = self.block(i / BLOCK)?;
        let at = (i % BLOCK) as usize;
        if at < block.len() { Ok(block.swap_remove(at)) } else { Err(CodecError::Invalid("item list: no such item")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_what_was_written(n in 0u32..200, probe in 0u32..200) {
            let mut w = Writer::default();
            for i in 0..n {
                w.push(&Item { values: vec![format!("v{i}")], inputs: vec![] }).unwrap();
            }
            let r = Reader::new(w.finish()).unwrap();
            prop_assert_eq!(r.count(), n);
            match r.get(probe) {
                Ok(item) => { prop_assert!(probe < n); prop_assert_eq!(&item.values[0], &format!("v{probe}")); }
                Err(_) => prop_assert!(probe >= n),
            }
        }
        #[test]
        fn arbitrary_bytes_are_refused_without_panic(mut b in prop::collection::vec(any::<u8>(), 0..200), i in any::<u32>()) {
            if let Ok(r) = Reader::new(&b) { let _ = r.get(i); }
            if b.len() >= 12 { b[..4].copy_from_slice(b"FLI1"); b[8..12].copy_from_slice(&1u32.to_le_bytes()); }
            if let Ok(r) = Reader::new(&b) { let _ = r.get(i % 64); }
        }
    }
}
