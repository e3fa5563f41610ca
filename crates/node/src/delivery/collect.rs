//! Output files of winners: from packs in the ledger, blobs fetched where they are missing.

use filch_core::view::Winner;
use filch_types::ranges::Range;
use filch_types::result::OutFile;
use filch_types::{BlobId, Content, JobId, NodeId};

use crate::packs::Packs;
use crate::transfer::Fetcher;

/// Tasks whose winners are looked at in one go.
pub const SPAN: u32 = 16 * 1024;

/// The files that these winners left. Blocks.
pub fn files(packs: &Packs, job: JobId, winners: &[Winner]) -> Result<Vec<OutFile>, String> {
    let mut out = Vec::new();
    for w in winners.iter().filter(|w| w.success) {
        let pack = packs.get(job, w.pack).map_err(|e| e.to_string())?;
        let pack =
            pack.ok_or_else(|| format!("the results of tasks {} to {} are damaged here", w.tasks.lo, w.tasks.hi - 1))?;
        for run in pack.of(w) {
            if let filch_types::Outcome::Success(output) = run.outcome {
                out.extend(output.files);
            }
        }
    }
    Ok(out)
}

/// Has the blobs of these files here, if anybody has them. What stays missing shows when the file is written.
pub async fn bring(fetcher: &Fetcher, files: &[OutFile], from: &[NodeId]) {
    let blobs: Vec<(BlobId, u64)> = files
        .iter()
        .filter_map(|f| match f.content {
            Content::Blob(id, len) => Some((id, len)),
            Content::Inline(_) => None,
        })
        .collect();
    if let Err(e) = fetcher.fetch(&blobs, from, &|_| ()).await {
        tracing::warn!(%e, "output files cannot be fetched");
    }
}

/// Cuts ranges into spans of a bounded number of tasks.
pub fn spans(ranges: Vec<Range>) -> impl Iterator<Item = Range> {
    ranges.into_iter().flat_map(|r| {
        (r.lo..r.hi).step_by(SPAN as usize).map(move |lo| Range::new(lo, lo.saturating_add(SPAN).min(r.hi)))
    })
}
