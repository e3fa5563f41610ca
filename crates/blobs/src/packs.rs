//! Packs: small blobs one after another in a few files, so that one fsync makes many of them durable.
//!
//! In front of each blob is a header that says where it ends and what it is. Nothing reads it as long as the index is whole; without
//! an index it tells the blobs apart.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use filch_types::BlobId;

use crate::error::{PutError, ReadError, SyncError, is_full};
use crate::layout;
use crate::state::{Entry, OpenPack, PackStat, Place, State};
use crate::store::Inner;

/// Bytes after which a pack is full and the next one is started.
pub(crate) const PACK_BYTES: u64 = 64 << 20;

/// Bytes of a header: magic, length, check, id.
pub(crate) const HEADER: u64 = 48;
const MAGIC: [u8; 8] = *b"\xf1blob\r\n\x01";

fn header(pack: u32, offset: u64, len: u32, id: BlobId) -> [u8; HEADER as usize] {
    let mut out = [0; HEADER as usize];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&len.to_le_bytes());
    out[12..16].copy_from_slice(&check(pack, offset, len, id));
    out[16..].copy_from_slice(&id.0);
    out
}

/// Over the place too, so that bytes inside a blob that look like a header are none.
fn check(pack: u32, offset: u64, len: u32, id: BlobId) -> [u8; 4] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&pack.to_le_bytes()).update(&offset.to_le_bytes()).update(&len.to_le_bytes()).update(&id.0);
    let mut out = [0; 4];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..4]);
    out
}

/// A blob in a pack, as its header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: BlobId,
    /// Where its bytes are.
    pub(crate) range: Range<usize>,
}

/// All blobs of a pack whose headers are whole; whether their bytes are, is for the caller to look. Goes on behind damage.
pub(crate) fn records(pack: u32, bytes: &[u8]) -> impl Iterator<Item = Record> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = bytes.get(at..)?;
            let start = at + rest.windows(MAGIC.len()).position(|w| w == MAGIC)?;
            match record(pack, bytes, start) {
                Some(record) => {
                    at = record.range.end;
                    return Some(record);
                }
                None => at = start + 1,
            }
        }
    })
}

fn record(pack: u32, bytes: &[u8], start: usize) -> Option<Record> {
    let (head, rest) = bytes.get(start..)?.split_first_chunk::<{ HEADER as usize }>()?;
    let len = u32::from_le_bytes(*head.get(8..)?.first_chunk()?);
    let id = BlobId(*head.last_chunk()?);
    let begin = start + head.len();
    let end = begin.checked_add(usize::try_from(len).ok()?)?;
    let good = *head == header(pack, start as u64, len, id) && u64::from(len) <= crate::PACKED_MAX;
    (good && end - begin <= rest.len()).then_some(Record { id, range: begin..end })
}

impl Inner {
    /// Goes on with the last pack if it has room and all its bytes.
    pub(crate) fn reopen_last_pack(&self, state: &mut State) -> io::Result<()> {
        let Some((&number, stat)) = state.packs.last_key_value() else { return Ok(()) };
        state.next_pack = number.saturating_add(1);
        if stat.size >= PACK_BYTES {
            return Ok(());
        }
        let file = layout::open_rw(&self.layout.pack(number))?;
        if file.metadata()?.len() != stat.size {
            tracing::warn!(pack = number, "a pack is shorter than it should be; some blobs have to be fetched again");
            return Ok(());
        }
        state.current = Some(OpenPack { number, file: Arc::new(file), end: stat.size });
        Ok(())
    }

    /// Appends a blob to the current pack. After a failure the pack is as before.
    pub(crate) fn append(&self, state: &mut State, id: BlobId, bytes: &[u8]) -> Result<Place, PutError> {
        if state.current.as_ref().is_none_or(|p| p.end >= PACK_BYTES) {
            state.current = Some(self.new_pack(state)?);
        }
        let Some(pack) = &mut state.current else {
            return Err(PutError::Sync(SyncError::Fatal("no pack to append to".to_owned())));
        };
        let start = pack.end;
        let offset = start + HEADER;
        let head = header(pack.number, start, u32::try_from(bytes.len()).unwrap_or(u32::MAX), id);
        let written = pack.file.write_all_at(&head, start).and_then(|()| pack.file.write_all_at(bytes, offset));
        if let Err(e) = written {
            if is_full(&e) {
                // What was written is beyond the end and will be overwritten; give the room back already.
                let _ = pack.file.set_len(start);
            }
            return Err(self.put_error(&self.layout.pack(pack.number), bytes.len() as u64, e));
        }
        pack.end = offset + bytes.len() as u64;
        let (number, end, file) = (pack.number, pack.end, pack.file.clone());
        state.dirty.entry(number).or_insert(file);
        let stat = state.packs.entry(number).or_default();
        (stat.size, stat.changed) = (end, true);
        Ok(Place::Packed { pack: number, offset })
    }

    fn new_pack(&self, state: &mut State) -> Result<OpenPack, PutError> {
        // Never a number used before in this process: a reader may still be on its way to that pack.
        let number = state.next_pack.max(1);
        state.next_pack = number.saturating_add(1);
        let path = self.layout.pack(number);
        let file = layout::open_rw(&path).and_then(|f| f.set_len(0).map(|()| f));
        let file = Arc::new(file.map_err(|e| self.put_error(&path, 0, e))?);
        state.new_pack = true;
        state.packs.insert(number, PackStat { changed: true, ..PackStat::default() });
        Ok(OpenPack { number, file, end: 0 })
    }

    /// The bytes of a packed blob, checked.
    pub(crate) fn read_packed(&self, id: BlobId, entry: &Entry) -> Result<Vec<u8>, ReadError> {
        let Place::Packed { pack, offset } = entry.place else { return Err(ReadError::Missing(id)) };
        let path = self.layout.pack(pack);
        let mut bytes = vec![0; usize::try_from(entry.len.min(crate::PACKED_MAX)).unwrap_or_default()];
        let read = std::fs::File::open(&path).and_then(|f| f.read_exact_at(&mut bytes, offset));
        match read {
            Ok(()) if BlobId::of(&bytes) == id => Ok(bytes),
            Ok(()) => Err(self.damaged(id, entry)),
            Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound) => {
                // Either its pack was tidied away between the look-up and the read, or it is cut off.
                match self.locate(id) {
                    Some(now) if now.place != entry.place => self.read_packed(id, &now),
                    _ => Err(self.damaged(id, entry)),
                }
            }
            Err(e) => Err(ReadError::io(&path, e)),
        }
    }
}
