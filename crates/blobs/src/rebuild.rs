//! A new index out of what is in packs and files, when the old one is damaged or gone.
//!
//! What is found is believed for its hash only. Which jobs hold a blob is written nowhere else: whoever opens a rebuilt store
//! retains again, before the second sweep.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;

use filch_types::BlobId;

use crate::error::OpenError;
use crate::index::{Index, Loaded};
use crate::layout::{Layout, remove};
use crate::packs::{self, HEADER};
use crate::state::{Batch, Change, Entry, PackStat, Place, Totals};

/// Rows of large blobs that are committed together.
const BATCH: usize = 1024;

/// What came of making the index again, or for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// What was wrong with the old one.
    pub why: String,
    /// Blobs found.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Damaged blobs whose place was still known; what else is missing cannot be told from here.
    pub damaged: u64,
}

/// Opens the index. One that is damaged, or missing although there are blobs, is made again from them; the damaged one stays beside it as
/// `index.damaged`.
pub(crate) fn open(layout: &Layout) -> Result<(Index, Loaded, Option<Rebuilt>), OpenError> {
    let (root, path) = (&layout.root, layout.index());
    let io = |source| OpenError::Io { path: path.clone(), source };
    let load = |index: Index| {
        let loaded = index.load();
        loaded.map(|l| (index, l)).map_err(|e| OpenError::Corrupt { path: root.clone(), why: e.to_string() })
    };
    let why = if path.try_exists().map_err(io)? {
        match Index::open(root, &path).and_then(load) {
            Ok((index, loaded)) => return Ok((index, loaded, None)),
            Err(OpenError::Corrupt { why, .. }) => why,
            Err(e) => return Err(e),
        }
    } else {
        "there was none".to_owned()
    };
    let empty = is_empty(layout).map_err(io)?;
    if !empty {
        tracing::warn!(path = %path.display(), why, "the blob index is damaged and is made again from all packs and files");
    }
    let mut rebuilt = Rebuilt { why, blobs: 0, bytes: 0, damaged: 0 };
    Index::create(root, &path, |index| {
        let mut scan = Scan { layout, index, rebuilt: &mut rebuilt };
        scan.packs()?;
        scan.files()?;
        // Kept for whoever wants to know what happened; not being able to is no reason to stop.
        let kept = path.with_extension("damaged");
        let _ = remove(&kept).and_then(|()| std::fs::hard_link(&path, &kept));
        Ok(())
    })?;
    let Rebuilt { blobs, bytes, damaged, .. } = rebuilt;
    // A new directory has no damage.
    if !empty {
        tracing::warn!(
            blobs,
            bytes,
            damaged,
            "the blob index is whole again; blobs that are gone have to be fetched again"
        );
    }
    let (index, loaded) = Index::open(root, &path).and_then(load)?;
    Ok((index, loaded, Some(rebuilt)))
}

/// Whether there is neither a pack nor a large blob.
fn is_empty(layout: &Layout) -> io::Result<bool> {
    let mut names = std::fs::read_dir(layout.packs())?.chain(std::fs::read_dir(layout.files())?);
    Ok(names.next().is_none())
}

struct Scan<'a> {
    layout: &'a Layout,
    index: &'a Index,
    rebuilt: &'a mut Rebuilt,
}

impl Scan<'_> {
    /// Every pack; its rows are one transaction.
    fn packs(&mut self) -> Result<(), OpenError> {
        let dir = self.layout.packs();
        let at = |source| OpenError::Io { path: dir.clone(), source };
        let mut numbers = Vec::new();
        for file in std::fs::read_dir(&dir).map_err(at)? {
            numbers.extend(file.map_err(at)?.file_name().to_str().and_then(|n| n.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        for number in numbers {
            let path = self.layout.pack(number);
            let bytes = std::fs::read(&path).map_err(|source| OpenError::Io { path, source })?;
            self.pack(number, &bytes)?;
        }
        Ok(())
    }

    fn pack(&mut self, number: u32, bytes: &[u8]) -> Result<(), OpenError> {
        let mut batch = Batch::default();
        let mut here = HashSet::new();
        let mut live = 0;
        for record in packs::records(number, bytes) {
            let Some(blob) = bytes.get(record.range.clone()).filter(|b| BlobId::of(b) == record.id) else {
                self.rebuilt.damaged += 1;
                continue;
            };
            if !here.insert(record.id) || self.index.get(record.id).map_err(|e| self.failed(e))?.is_some() {
                continue;
            }
            let (len, offset) = (blob.len() as u64, record.range.start as u64);
            live += len + HEADER;
            batch.changes.push((record.id, Change::Put(entry(len, Place::Packed { pack: number, offset }))));
            self.count(len);
        }
        let size = bytes.len() as u64;
        batch.packs.push((number, Some(PackStat { size, dead: size.saturating_sub(live), changed: false })));
        self.commit(batch)
    }

    /// Every large blob; one that does not match its name goes.
    fn files(&mut self) -> Result<(), OpenError> {
        let dir = self.layout.files();
        let at = |source| OpenError::Io { path: dir.clone(), source };
        let mut batch = Batch::default();
        for shard in std::fs::read_dir(&dir).map_err(at)? {
            for file in std::fs::read_dir(shard.map_err(at)?.path()).map_err(at)? {
                let path = file.map_err(at)?.path();
                let Some(id) = path.file_name().and_then(|n| n.to_str()?.parse::<BlobId>().ok()) else { continue };
                match hash(&path).map_err(|source| OpenError::Io { path: path.clone(), source })? {
                    (found, len) if found == id => {
                        batch.changes.push((id, Change::Put(entry(len, Place::File))));
                        self.count(len);
                    }
                    _ => self.rebuilt.damaged += 1,
                }
                if batch.changes.len() >= BATCH {
                    self.commit(std::mem::take(&mut batch))?;
                }
            }
        }
        self.commit(batch)
    }

    fn count(&mut self, len: u64) {
        self.rebuilt.blobs += 1;
        self.rebuilt.bytes += len;
    }

    fn commit(&self, batch: Batch) -> Result<(), OpenError> {
        let totals = Totals { blobs: self.rebuilt.blobs, bytes: self.rebuilt.bytes, epoch: 0 };
        self.index.commit(&Batch { totals, ..batch }).map_err(|e| self.failed(e))
    }

    fn failed(&self, e: redb::Error) -> OpenError {
        OpenError::Io { path: self.layout.index(), source: io::Error::other(e) }
    }
}

fn entry(len: u64, place: Place) -> Entry {
    Entry { len, epoch: 0, place }
}

fn hash(path: &Path) -> io::Result<(BlobId, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok((BlobId(*hasher.finalize().as_bytes()), hasher.count()))
}
