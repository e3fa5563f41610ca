//! What every ledger must do, as one suite. `run` panics at the first thing that does not hold.

use std::collections::BTreeMap;

use filch_types::record::Record;
use filch_types::sign::Sig;
use filch_types::{FactId, JobId, SignedFact, SignedManifest};

use crate::{Ledger, ReplayStats};

/// Runs every case; `fresh` makes an empty ledger, `reopen` ends one as a crash would and opens it again.
pub fn run<L: Ledger>(mut fresh: impl FnMut() -> L, mut reopen: impl FnMut(L) -> L) {
    let cases: [(&str, Case<L>); 10] = [
        ("every kind of record comes back", every_kind_comes_back),
        ("a manifest comes before what belongs to it", manifests_first),
        ("forget keeps only the tombstone", forget_keeps_the_tombstone),
        ("drop keeps nothing", drop_keeps_nothing),
        ("a group applies in order", order_within_a_group),
        ("the same fact is kept once", same_fact_once),
        ("a lost fact is gone", a_lost_fact_is_gone),
        ("the highest round wins", highest_round_wins),
        ("bytes that are not the id are not handed out", wrong_bytes_are_dropped),
        ("notes", notes),
    ];
    for (name, case) in cases {
        tracing::debug!(name, "conformance");
        case(&mut fresh, &mut reopen);
    }
}

type Case<L> = fn(Fresh<'_, L>, Reopen<'_, L>);
type Fresh<'a, L> = &'a mut dyn FnMut() -> L;
type Reopen<'a, L> = &'a mut dyn FnMut(L) -> L;

/// A fact with arbitrary bytes; the ledger does not look into them.
pub fn a_fact(seed: u64, len: usize) -> (FactId, SignedFact) {
    let mut bytes = seed.to_le_bytes().to_vec();
    bytes.resize(len.max(8), seed as u8);
    let fact = SignedFact { bytes, sig: Sig([seed as u8; 64]) };
    (fact.id(), fact)
}

/// A manifest with arbitrary bytes, and the job that they name.
pub fn a_manifest(seed: u64) -> (JobId, SignedManifest) {
    let manifest = SignedManifest { bytes: seed.to_le_bytes().repeat(20), sig: Sig([!seed as u8; 64]) };
    (manifest.job(), manifest)
}

/// Everything that a ledger replays, in its order.
pub fn replayed(ledger: &mut dyn Ledger) -> (Vec<Record>, ReplayStats) {
    let mut records = Vec::new();
    let stats = ledger.replay(&mut |r| records.push(r)).expect("replay");
    (records, stats)
}

fn sorted(mut records: Vec<Record>) -> Vec<String> {
    records.sort_by_key(|r| format!("{r:?}"));
    records.iter().map(|r| format!("{r:?}")).collect()
}

fn commit(ledger: &mut dyn Ledger, records: &[Record]) {
    ledger.commit(records).expect("commit");
}

/// One job with one record of each kind.
fn job(seed: u64) -> (JobId, Vec<Record>) {
    let (job, manifest) = a_manifest(seed);
    let (id, fact) = a_fact(seed, 100);
    let (other, pack) = a_fact(seed + 1000, 5000);
    let records = vec![
        Record::Manifest(job, manifest),
        Record::Held(job),
        Record::Fact(job, id, fact),
        Record::Fact(job, other, pack),
        Record::Outbox(job, other),
        Record::Round(job, seed as u32),
    ];
    (job, records)
}

fn every_kind_comes_back<L: Ledger>(fresh: Fresh<'_, L>, reopen: Reopen<'_, L>) {
    let mut ledger = fresh();
    assert_eq!(replayed(&mut ledger), (Vec::new(), ReplayStats::default()), "a new ledger is empty");
    let (a, mut records) = job(1);
    let (b, more) = job(2);
    commit(&mut ledger, &records);
    commit(&mut ledger, &more);
    commit(&mut ledger, &[]);
    records.extend(more);
    let reader = ledger.reader();
    for record in &records {
        match record {
            Record::Fact(job, id, fact) => assert_eq!(reader.fact(*job, *id).expect("fact").as_ref(), Some(fact)),
            Record::Manifest(job, m) => assert_eq!(reader.manifest(*job).expect("manifest").as_ref(), Some(m)),
            _ => {}
        }
    }
    assert_eq!(reader.fact(a, FactId([7; 32])).expect("fact"), None);
    assert_eq!(reader.fact(b, a_fact(1, 100).0).expect("fact"), None, "a fact of another job");
    assert_eq!(reader.manifest(JobId([7; 32])).expect("manifest"), None);
    drop(reader);
    let mut ledger = reopen(ledger);
    let (got, stats) = replayed(&mut ledger);
    assert_eq!(sorted(got), sorted(records));
    let want = ReplayStats { manifests: 2, facts: 4, held: 2, rounds: 2, outbox: 2, tombstones: 0, dropped: 0 };
    assert_eq!(stats, want);
}

fn manifests_first<L: Ledger>(fresh: Fresh<'_, L>, reopen: Reopen<'_, L>) {
    let mut ledger = fresh();
    for seed in 0..20 {
        let (_, mut records) = job(seed);
        records.reverse();
        commit(&mut ledger, &records);
    }
    let mut ledger = reopen(ledger);
    let mut known = BTreeMap::new();
    for record in replayed(&mut ledger).0 {
        match record {
            Record::Manifest(job, _) => drop(known.insert(job, ())),
            other => assert!(known.contains_key(&other.job()), "{other:?} before its manifest"),
        }
    }
    assert_eq!(known.len(), 20);
}

fn forget_keeps_the_tombstone<L: Ledger>(fresh: Fresh<'_, L>, reopen: Reopen<'_, L>) {
    let mut ledger = fresh();
    let ((gone, records), (_, stays)) = (job(1), job(2));
    commit(&mut ledger, &records);
    commit(&mut ledger, &stays);
    let (_, delete) = a_fact(77, 50);
    commit(&mut ledger, &[Record::Forget(gone, delete.clone())]);
    assert_eq!(ledger.reader().manifest(gone).expect("manifest"), None);
    assert_eq!(ledger.reader().fact(gone, a_fact(1, 100).0).expect("fact"), None);
    let mut ledger = reopen(ledger);
    let mut want = stays;
    want.push(Record::Forget(gone, delete));
    assert_eq!(sorted(replayed(&mut ledger).0), sorted(want));
}

fn drop_keeps_nothing<L: Ledger>(fresh: Fresh<'_, L>, reopen: Reopen<'_, L>) {
    let mut ledger = fresh();
    let ((gone, records), (_, stays)) = (job(1), job(2));
    commit(&mut ledger, &records);
    commit(&mut ledger, &stays);
    commit(&mut ledger, &[Record::Drop(gone), Record::Drop(JobId([9; 32]))]);
    let mut ledger = reopen(ledger);
    assert_eq!(sorted(replayed(&mut ledger).0), sorted(stays));
}

fn order_within_a_group<L: Ledger>(fresh: Fresh<'_, L>, reopen: Reopen<'_, L>) {
    let mut ledger = fresh();
    let (job, records) = job(1);
    let (id, fact) = a_fact(5, 30);
    let mut group = records;
    group.push(Record::Drop(job));
    group.extend([Record::Fact(job, id, fact.clone()), Record::Outbox(job, id), Record::OutboxDone(job, id)]);
    group.push(Record::Fact(job, id, fact.clone()));
    commit(&mut ledger, &group);
    let mut ledger = reopen(ledger);
    assert_eq!(replayed(&mut ledger).0, vec![Record::Fact(job, id, fact)]);
}

fn same_fact_once<L: Ledger>(fresh: Fresh<'_, L>, reopen: Reopen<'_, L>) {
    let mut ledger = fresh();
    let ((a, _), (b, _)) = (a_manifest(1), a_manifest(2));
    let (id, fact) = a_fact(5, 30);
    let record = |job| Record::Fact(job, id, fact.clone());
    commit(&mut ledger, &[record(a), record(a), record(b)]);
    commit(&mut ledger, &[record(a)]);
    let mut ledger = reopen(ledger);
    commit(&mut ledger, &[record(b), record(a)]);
    assert_eq!(sorted(replayed(&mut ledger).0), sorted(vec![record(a), record(b)]));
    commit(&mut ledger, &[Record::Drop(a)]);
    assert_eq!(ledger.reader().fact(a, id).expect("fact"), None);
    assert_eq!(ledger.reader().fact(b, id).expect("fact"), Some(fact.clone()));
    commit(&mut ledger, &[record(a)]);
    let ledger = reopen(ledger);
    assert_eq!(ledger.reader().fact(a, id).expect("fact"), Some(fact.clone()), "also before any replay");
}

fn a_lost_fact_is_gone<L: Ledger>(fresh: Fresh<'_, L>, reopen: Reopen<'_, L>) {
    let mut ledger = fresh();
    let ((job, manifest), (other, _)) = (a_manifest(1), a_manifest(2));
    let ((a, lost), (b, stays)) = (a_fact(5, 30), a_fact(6, 40));
    commit(&mut ledger, &[Record::Manifest(job, manifest.clone()), Record::Fact(job, a, lost.clone())]);
    commit(
        &mut ledger,
        &[Record::Outbox(job, a), Record::Fact(job, b, stays.clone()), Record::Fact(other, a, lost.clone())],
    );
    commit(&mut ledger, &[Record::Lost(job, a), Record::Lost(job, FactId([9; 32]))]);
    let all = |ledger: &L| {
        let mut out = Vec::new();
        ledger.reader().facts(job, &mut |id, fact| out.push((id, fact))).expect("facts");
        out
    };
    assert_eq!(all(&ledger), vec![(b, stays.clone())]);
    assert_eq!(ledger.reader().fact(job, a).expect("fact"), None);
    let mut ledger = reopen(ledger);
    let want = vec![
        Record::Manifest(job, manifest),
        Record::Fact(job, b, stays.clone()),
        Record::Fact(other, a, lost.clone()),
    ];
    assert_eq!(sorted(replayed(&mut ledger).0), sorted(want));
    commit(&mut ledger, &[Record::Fact(job, a, lost.clone())]);
    let mut found = all(&ledger);
    found.sort_by_key(|(id, _)| *id);
    let mut both = vec![(a, lost), (b, stays)];
    both.sort_by_key(|(id, _)| *id);
    assert_eq!(found, both, "it may come back");
}

fn highest_round_wins<L: Ledger>(fresh: Fresh<'_, L>, reopen: Reopen<'_, L>) {
    let mut ledger = fresh();
    let job = JobId([3; 32]);
    commit(&mut ledger, &[Record::Round(job, 5), Record::Round(job, 2)]);
    commit(&mut ledger, &[Record::Round(job, 4)]);
    let mut ledger = reopen(ledger);
    assert_eq!(replayed(&mut ledger).0, vec![Record::Round(job, 5)]);
    commit(&mut ledger, &[Record::Round(job, u32::MAX)]);
    assert_eq!(replayed(&mut ledger).0, vec![Record::Round(job, u32::MAX)]);
}

fn wrong_bytes_are_dropped<L: Ledger>(fresh: Fresh<'_, L>, reopen: Reopen<'_, L>) {
    let mut ledger = fresh();
    let (job, manifest) = a_manifest(1);
    let ((id, fact), (other, wrong)) = (a_fact(1, 64), a_fact(2, 64));
    let (not_its, _) = a_manifest(2);
    commit(&mut ledger, &[Record::Manifest(job, manifest.clone()), Record::Fact(job, id, fact.clone())]);
    let (third, _) = a_fact(3, 64);
    commit(&mut ledger, &[Record::Fact(job, third, wrong.clone()), Record::Manifest(not_its, manifest.clone())]);
    let reader = ledger.reader();
    assert_eq!(reader.fact(job, third).expect("fact"), None);
    assert_eq!(reader.manifest(not_its).expect("manifest"), None);
    drop(reader);
    let mut ledger = reopen(ledger);
    let (records, stats) = replayed(&mut ledger);
    assert_eq!(records, vec![Record::Manifest(job, manifest.clone()), Record::Fact(job, id, fact.clone())]);
    assert_eq!(stats.dropped, 2);
    // The good one comes from a peer, in the place of the bad one.
    let good = a_fact(3, 64).1;
    commit(&mut ledger, &[Record::Fact(job, third, good.clone()), Record::Fact(job, other, wrong)]);
    assert_eq!(ledger.reader().fact(job, third).expect("fact"), Some(good));
    let (records, stats) = replayed(&mut ledger);
    assert_eq!((records.len(), stats.facts, stats.dropped), (4, 3, 0), "dropped rows do not stay");
}

fn notes<L: Ledger>(fresh: Fresh<'_, L>, reopen: Reopen<'_, L>) {
    let mut ledger = fresh();
    for (key, value) in [("addr/b", "2"), ("addr/a", "1"), ("addr", "0"), ("addrs", "x"), ("b", "y")] {
        ledger.put_meta(key, Some(value.as_bytes())).expect("put");
    }
    ledger.put_meta("b", None).expect("remove");
    ledger.put_meta("never there", None).expect("remove");
    ledger.put_meta("addr/a", Some(b"one")).expect("replace");
    let mut ledger = reopen(ledger);
    let reader = ledger.reader();
    assert_eq!(reader.meta("addr/a").expect("meta"), Some(b"one".to_vec()));
    assert_eq!(reader.meta("b").expect("meta"), None);
    let found = reader.metas("addr/").expect("metas");
    assert_eq!(found, vec![("addr/a".to_owned(), b"one".to_vec()), ("addr/b".to_owned(), b"2".to_vec())]);
    assert_eq!(reader.metas("").expect("metas").len(), 4);
    assert_eq!(replayed(&mut ledger).0, Vec::new(), "notes are no records");
}
