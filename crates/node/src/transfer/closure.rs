//! Everything that the tasks of a job may read, durably here: item lists first, then the inputs that they name.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use filch_blobs::{BlobStore, PutError, SyncError};
use filch_types::manifest::Generator;
use filch_types::{BlobId, JobId, Manifest, NodeId};

use super::lists::{LONGEST, ListError};
use super::{FetchError, Fetcher, Lists};

/// Blobs that are fetched, retained and synced together: bounds the memory that a closure of millions takes.
const WINDOW: usize = 16 * 1024;

/// Why blobs are not durably here.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// They cannot be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// An item list is not what it should be.
    #[error(transparent)]
    List(#[from] ListError),
    /// They cannot be kept.
    #[error("blobs cannot be kept: {0}")]
    Retain(#[from] PutError),
    /// They cannot be made durable.
    #[error("blobs cannot be made durable: {0}")]
    Sync(#[from] SyncError),
    /// The work was given up.
    #[error("given up: {0}")]
    Stopped(String),
}

/// What fetching needs.
#[derive(Clone)]
pub struct Holder {
    /// Where blobs go.
    pub store: BlobStore,
    /// How they come.
    pub fetcher: Arc<Fetcher>,
    /// Item lists in memory.
    pub lists: Arc<Lists>,
}

/// Item lists of a manifest: blob, length.
pub fn item_lists(manifest: &Manifest) -> impl Iterator<Item = (BlobId, u64)> + '_ {
    manifest.spec.groups.iter().filter_map(|g| match g.tasks {
        Generator::Items { list, len, .. } => Some((list, len)),
        Generator::Once | Generator::Array { .. } => None,
    })
}

/// Inputs that whole groups share.
pub fn group_inputs(manifest: &Manifest) -> impl Iterator<Item = (BlobId, u64)> + '_ {
    manifest.spec.groups.iter().flat_map(|g| g.inputs.iter().map(|f| (f.blob, f.len)))
}

/// Whether items may name inputs of their own. The owner counted the closure's blobs; if lists and group inputs are all of
/// them, the lists need not be read. An owner that counts wrong harms its own job only.
pub fn items_have_inputs(manifest: &Manifest) -> bool {
    let direct: HashSet<BlobId> = item_lists(manifest).chain(group_inputs(manifest)).map(|(id, _)| id).collect();
    let counted = usize::try_from(manifest.spec.closure_blobs).unwrap_or(usize::MAX);
    counted == 0 || counted > direct.len()
}

impl Holder {
    /// Has these blobs here, kept for the job, durable.
    pub async fn hold(
        &self,
        job: JobId,
        blobs: Vec<(BlobId, u64)>,
        from: &[NodeId],
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), HoldError> {
        if blobs.is_empty() {
            return Ok(());
        }
        let ids = self.keep(job, &blobs).await?;
        self.fetcher.fetch(&blobs, from, progress).await?;
        let store = self.store.clone();
        blocking(move || Ok(store.sync(&ids)?)).await
    }

    /// Keeps blobs for the job, those to come as well. Before anybody looks whether they are here: what was seen first could be
    /// released with another job in between.
    pub async fn keep(&self, job: JobId, blobs: &[(BlobId, u64)]) -> Result<Vec<BlobId>, HoldError> {
        let ids: Vec<BlobId> = blobs.iter().map(|(id, _)| *id).collect();
        let store = self.store.clone();
        blocking(move || {
            store.retain(job, &ids)?;
            Ok(ids)
        })
        .await
    }

    /// Has the whole input closure here, durable. `progress` is told bytes held in all.
    pub async fn hold_closure(
        &self,
        job: JobId,
        manifest: Arc<Manifest>,
        from: &[NodeId],
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), HoldError> {
        let held = AtomicU64::new(0);
        let step = |n: u64| {
            if n > 0 {
                progress(held.fetch_add(n, Ordering::Relaxed).saturating_add(n));
            }
        };
        if let Some((id, len)) = item_lists(&manifest).find(|(_, len)| *len > LONGEST) {
            let why = format!("{len} bytes, at most {LONGEST} are allowed");
            return Err(ListError::Read { id, why, missing: false }.into());
        }
        let mut direct: Vec<(BlobId, u64)> = item_lists(&manifest).chain(group_inputs(&manifest)).collect();
        direct.sort_unstable();
        direct.dedup();
        self.hold(job, direct, from, &step).await?;
        if !items_have_inputs(&manifest) {
            return Ok(());
        }
        for (list, len) in item_lists(&manifest) {
            let lists = self.lists.clone();
            let reader = blocking(move || Ok(lists.get(list, len)?)).await?;
            let blocks = reader.count().div_ceil(filch_types::items::BLOCK);
            let mut at = 0;
            while at < blocks {
                let reader = reader.clone();
                let (next, window) = blocking(move || window(&reader, at, blocks, list)).await?;
                at = next;
                self.hold(job, window, from, &step).await?;
            }
        }
        Ok(())
    }
}

/// Inputs of the blocks from `at` on, until there are many; and the block after them.
fn window(
    reader: &filch_types::items::Reader<Vec<u8>>,
    mut at: u32,
    blocks: u32,
    list: BlobId,
) -> Result<(u32, Vec<(BlobId, u64)>), HoldError> {
    let mut out = Vec::new();
    while at < blocks && out.len() < WINDOW {
        let items = reader.block(at).map_err(|source| ListError::Format { id: list, source })?;
        out.extend(items.iter().flat_map(|i| i.inputs.iter().map(|f| (f.blob, f.len))));
        at += 1;
    }
    out.sort_unstable();
    out.dedup();
    Ok((at, out))
}

/// Runs on the pool for work that blocks.
pub async fn blocking<R: Send + 'static>(
    f: impl FnOnce() -> Result<R, HoldError> + Send + 'static,
) -> Result<R, HoldError> {
    let result = tokio::task::spawn_blocking(f).await.unwrap_or_else(|e| Err(HoldError::Stopped(e.to_string())));
    if let Err(HoldError::Sync(SyncError::Fatal(why))) = &result {
        crate::fatal::disk(why);
    }
    if let Err(HoldError::Retain(e)) = &result
        && e.is_fatal()
    {
        crate::fatal::disk(&e.to_string());
    }
    result
}
