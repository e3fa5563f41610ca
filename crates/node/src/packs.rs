//! Results as they stand in the ledger: packs, decoded once and kept while they are in use.

use std::sync::{Arc, Mutex, PoisonError};

use filch_core::view::Winner;
use filch_ledger::{LedgerError, LedgerReader};
use filch_types::bag::{BagOutcome, BagResult, TaskRef};
use filch_types::fact::FactBody;
use filch_types::{FactId, JobId, NodeId, Outcome, ResultRun, TaskOutput};

/// Bytes of encoded packs that are kept decoded.
const KEEP: usize = 8 * 1024 * 1024;

/// A pack of results.
#[derive(Debug)]
pub struct Pack {
    /// Who ran the tasks.
    pub by: NodeId,
    /// Sorted and disjoint.
    pub runs: Vec<ResultRun>,
}

impl Pack {
    /// The results of the tasks of `winner`, cut to them.
    pub fn of<'a>(&'a self, winner: &'a Winner) -> impl Iterator<Item = ResultRun> + 'a {
        let from = self.runs.partition_point(|r| r.range().hi <= winner.tasks.lo);
        let runs = self.runs.get(from..).unwrap_or(&[]);
        runs.iter().take_while(|r| r.lo < winner.tasks.hi).filter_map(|r| {
            let cut = r.range().intersect(winner.tasks);
            let wall = u128::from(r.wall_us) * u128::from(cut.len()) / u128::from(r.count.max(1));
            let wall_us = u64::try_from(wall).unwrap_or(u64::MAX);
            (!cut.is_empty()).then(|| ResultRun { lo: cut.lo, count: cut.len(), wall_us, ..r.clone() })
        })
    }
}

/// See the module.
pub struct Packs {
    reader: Arc<dyn LedgerReader>,
    /// The one used last comes last.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    bytes: usize,
    /// Name, encoded bytes, decoded form.
    packs: Vec<(FactId, usize, Arc<Pack>)>,
}

impl Packs {
    /// Over this ledger.
    pub fn new(reader: Arc<dyn LedgerReader>) -> Self {
        Self { reader, kept: Mutex::default() }
    }

    /// The pack, if it is here and whole. Blocks on the disk if it is not in memory.
    pub fn get(&self, job: JobId, id: FactId) -> Result<Option<Arc<Pack>>, LedgerError> {
        if let Some(pack) = self.cached(id) {
            return Ok(Some(pack));
        }
        let Some(signed) = self.reader.fact(job, id)? else { return Ok(None) };
        let size = signed.bytes.len();
        let Ok(fact) = signed.decode() else { return Ok(None) };
        let runs = match fact.body {
            FactBody::Pack(runs) => runs,
            FactBody::Bags(results) => wholes(results),
            _ => return Ok(None),
        };
        let pack = Arc::new(Pack { by: fact.by, runs });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += size;
        kept.packs.push((id, size, pack.clone()));
        while kept.bytes > KEEP && kept.packs.len() > 1 {
            let (_, size, _) = kept.packs.remove(0);
            kept.bytes = kept.bytes.saturating_sub(size);
        }
        Ok(Some(pack))
    }

    fn cached(&self, id: FactId) -> Option<Arc<Pack>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Readers come back for what they read last.
        let at = kept.packs.iter().rposition(|(k, ..)| *k == id)?;
        let entry = kept.packs.remove(at);
        let pack = entry.2.clone();
        kept.packs.push(entry);
        Some(pack)
    }
}

/// Divided tasks that ended, as runs without output: what was counted is not in any one fact.
fn wholes(results: Vec<BagResult>) -> Vec<ResultRun> {
    let ended = results.into_iter().filter_map(|r| match (r.task, r.outcome) {
        (TaskRef::Index(i), BagOutcome::Ended { .. }) => {
            Some(ResultRun::one(i, r.attempt, r.wall_us, Outcome::Success(TaskOutput::default())))
        }
        _ => None,
    });
    let mut runs: Vec<ResultRun> = ended.collect();
    runs.sort_by_key(|r| (r.lo, r.attempt));
    runs.dedup_by_key(|r| r.lo);
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use filch_types::ranges::Range;

    #[test]
    fn divided_tasks_are_runs_and_their_parts_are_not() {
        let ended = |task, attempt| BagResult {
            task,
            attempt,
            wall_us: 5,
            outcome: BagOutcome::Ended { tally: vec![1], children: vec![] },
        };
        let part = TaskRef::Bag(filch_types::BagId([1; 32]));
        let runs = wholes(vec![ended(TaskRef::Index(4), 2), ended(part, 1), ended(TaskRef::Index(2), 1)]);
        assert_eq!(runs.iter().map(|r| (r.lo, r.count, r.wall_us)).collect::<Vec<_>>(), [(2, 1, 5), (4, 1, 5)]);
    }

    #[test]
    fn runs_are_cut_to_the_winner() {
        let run = |lo, count| ResultRun {
            lo,
            count,
            attempt: 1,
            wall_us: 100 * u64::from(count),
            outcome: Outcome::Success(TaskOutput::default()),
        };
        let pack = Pack { by: NodeId::default(), runs: vec![run(0, 10), run(20, 10), run(40, 1)] };
        let winner = |lo, hi| Winner {
            tasks: Range::new(lo, hi),
            pack: FactId::default(),
            attempt: 1,
            success: true,
            is_final: true,
        };
        let cut = |lo, hi| pack.of(&winner(lo, hi)).map(|r| (r.lo, r.count, r.wall_us)).collect::<Vec<_>>();
        assert_eq!(cut(5, 25), [(5, 5, 500), (20, 5, 500)]);
        assert_eq!(cut(10, 20), []);
        assert_eq!(cut(40, 41), [(40, 1, 100)]);
    }
}
