//! A slow walk over everything that the node keeps: what rots without being read is found, and fetched again, while others still have it.
//! Whoever reads damaged bytes tells the core in any case; this only makes sure that somebody reads them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use filch_blobs::{BlobStore, ScrubCursor};
use filch_core::view::Role;
use filch_ledger::LedgerReader;
use tokio_util::sync::CancellationToken;

use crate::disk::{Disk, Note};
use crate::driver::DriverHandle;
use crate::stats::Stats;

/// The note in the ledger: when the pass began, and how far it is.
pub const KEY: &str = "scrub";

/// Bytes read at a time.
const SLICE: u64 = 1 << 20;
/// Between two slices, at least: 4 MiB a second, however large the store is.
const SHORTEST: Duration = Duration::from_millis(250);
/// At most: a small store is looked at sooner than it has to be.
const LONGEST: Duration = Duration::from_secs(3600);
/// After a start, others have the disk for themselves.
const FIRST: Duration = Duration::from_secs(60);
/// Bytes after which the place is written down.
const NOTED: u64 = 64 << 20;

/// How far a pass is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pass {
    /// Seconds since 1970.
    began: u64,
    /// `None` once it is over.
    at: Option<ScrubCursor>,
}

impl Pass {
    fn new() -> Self {
        Self { began: now(), at: Some(ScrubCursor::default()) }
    }
    fn to_note(self) -> Vec<u8> {
        let mut note = self.began.to_le_bytes().to_vec();
        note.extend(self.at.iter().flat_map(|at| at.to_bytes()));
        note
    }
    fn from_note(note: &[u8]) -> Option<Self> {
        let (began, at) = note.split_first_chunk::<8>()?;
        let at = if at.is_empty() { None } else { Some(ScrubCursor::from_bytes(at)?) };
        Some(Self { began: u64::from_le_bytes(*began), at })
    }
    /// How long until the next one. A clock that went back makes it begin at once.
    fn rest(&self, period: Duration, now: u64) -> Duration {
        match now.checked_sub(self.began) {
            Some(gone) => period.saturating_sub(Duration::from_secs(gone)),
            None => Duration::ZERO,
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Between two slices of a store of so many bytes that is to be read within `period`.
fn pause(period: Duration, bytes: u64) -> Duration {
    let slices = u32::try_from(bytes.div_ceil(SLICE).max(1)).unwrap_or(u32::MAX);
    (period / slices).clamp(SHORTEST, LONGEST)
}

/// See the module.
pub struct Scrub {
    /// Whose blobs.
    pub store: BlobStore,
    /// Whose rows.
    pub reader: Arc<dyn LedgerReader>,
    /// Knows the jobs.
    pub driver: DriverHandle,
    /// For the note.
    pub disk: Disk,
    /// What it counts.
    pub stats: Arc<Stats>,
    /// In which all is to be read once.
    pub period: Duration,
    /// The node ends.
    pub ending: CancellationToken,
}

impl Scrub {
    /// Goes on where the note says. Ends with the node.
    pub async fn run(self, note: Option<Vec<u8>>) {
        let mut pass = note.and_then(|n| Pass::from_note(&n)).unwrap_or_default();
        if !self.wait(FIRST.min(self.period)).await {
            return;
        }
        loop {
            if pass.at.is_none() {
                if !self.wait(pass.rest(self.period, now()).max(SHORTEST)).await || !self.rows().await {
                    return;
                }
                pass = Pass::new();
            }
            if !self.blobs(&mut pass).await {
                return;
            }
        }
    }

    /// False if the node ends.
    async fn wait(&self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.ending.cancelled()).await.is_err()
    }

    /// Facts, a job at a time. What is damaged is noticed by whoever reads it.
    async fn rows(&self) -> bool {
        let kept = |n: &filch_core::Node| {
            n.jobs().into_iter().filter(|j| j.role != Role::Hearsay).map(|j| j.job).collect::<Vec<_>>()
        };
        for job in self.driver.read(kept).await.unwrap_or_default() {
            let reader = self.reader.clone();
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = 0;
                reader.facts(job, &mut |_, fact| bytes += fact.bytes.len() as u64).map(|()| bytes)
            });
            let bytes = match read.await {
                Ok(Ok(bytes)) => bytes,
                Ok(Err(error)) => {
                    tracing::error!(%error, ?job, "the facts of a job cannot be read");
                    0
                }
                Err(_) => return false,
            };
            self.stats.scrub_bytes.add(bytes);
            let slices = u32::try_from(bytes.div_ceil(SLICE)).unwrap_or(u32::MAX);
            if !self.wait(SHORTEST.saturating_mul(slices.max(1))).await {
                return false;
            }
        }
        true
    }

    /// Blobs, to the end of the pass. False if the node ends, or nothing can be read.
    async fn blobs(&self, pass: &mut Pass) -> bool {
        let mut unnoted = 0;
        while let Some(at) = pass.at {
            let store = self.store.clone();
            let found = match tokio::task::spawn_blocking(move || store.scrub(at, SLICE)).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    tracing::error!(%error, "blobs are not looked at any more");
                    return false;
                }
                Err(_) => return false,
            };
            self.stats.scrub_bytes.add(found.bytes);
            self.stats.scrub_blobs.add(found.blobs);
            self.stats.scrub_damaged.add(found.damaged);
            self.stats.scrub_unreadable.add(found.unreadable);
            pass.at = found.next;
            unnoted += found.bytes;
            if unnoted >= NOTED || found.next.is_none() {
                unnoted = 0;
                self.disk.note(Note { key: KEY.into(), value: Some(pass.to_note()), done: None });
            }
            if found.next.is_some() && !self.wait(pause(self.period, self.store.usage().bytes)).await {
                return false;
            }
        }
        self.stats.scrub_passes.add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 86_400);

    #[test]
    fn the_pace_follows_the_size_of_the_store_and_is_bounded() {
        assert_eq!(pause(WEEK, 0), LONGEST);
        assert_eq!(pause(WEEK, 100 << 20), LONGEST);
        assert_eq!(pause(WEEK, 100 << 30).as_millis(), 5906);
        assert_eq!(pause(WEEK, u64::MAX), SHORTEST);
        assert_eq!(pause(Duration::ZERO, 1), SHORTEST);
    }

    #[test]
    fn a_pass_goes_on_where_it_was_and_the_next_one_waits() {
        let under_way = Pass { began: 100, at: ScrubCursor::from_bytes(&[7; 40]) };
        let over = Pass { began: 100, at: None };
        for pass in [under_way, over] {
            assert_eq!(Pass::from_note(&pass.to_note()), Some(pass));
        }
        assert_eq!(Pass::from_note(b"what is this"), None);
        assert_eq!(over.rest(WEEK, 100 + 86_400), Duration::from_secs(6 * 86_400));
        assert_eq!(over.rest(WEEK, 100 + 30 * 86_400), Duration::ZERO);
        assert_eq!(over.rest(WEEK, 50), Duration::ZERO);
        assert_eq!(Pass::default().rest(WEEK, now()), Duration::ZERO);
    }
}
