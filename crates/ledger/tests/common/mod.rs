//! A disk that keeps only what was synced, tears what was not, and fails on demand.
#![allow(dead_code)]

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use filch_ledger::{OpenError, RedbLedger};
use redb::StorageBackend;

const SECTOR: usize = 512;

/// A write or a change of length that is not on the platter yet.
#[derive(Clone, Debug)]
enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Debug, Default)]
struct Inner {
    /// What the running system sees.
    seen: Vec<u8>,
    /// What is on the platter for certain.
    synced: Vec<u8>,
    since: Vec<Op>,
    /// Bytes that it holds at most.
    capacity: Option<u64>,
    /// Operations until the next one fails for good.
    fail_in: Option<u64>,
    fail_sync: Option<io::ErrorKind>,
    /// Writes and syncs so far.
    ops: u64,
    /// What there would be after a crash before each operation from now on.
    crash_at: Option<u64>,
    crashed: Option<(Vec<u8>, Vec<Op>)>,
}

/// Shared by everything that has the "file" open.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Inner>>);

fn put(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let (at, end) = (at as usize, at as usize + data.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(data);
}

impl Disk {
    pub fn with(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Inner { seen: bytes.clone(), synced: bytes, ..Inner::default() })))
    }
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub fn open(&self) -> Result<RedbLedger, OpenError> {
        let disk = self.clone();
        RedbLedger::open_on(Path::new("simulated"), move || Ok(disk.clone()))
    }
    pub fn bytes(&self) -> Vec<u8> {
        self.inner().seen.clone()
    }
    /// Flips a bit in every place where `what` is: rot, of which nobody is told.
    pub fn rot(&self, what: &[u8]) -> usize {
        let mut inner = self.inner();
        let hits: Vec<usize> =
            inner.seen.windows(what.len()).enumerate().filter(|(_, w)| *w == what).map(|(at, _)| at).collect();
        for at in &hits {
            inner.seen[at + what.len() / 2] ^= 1;
        }
        hits.len()
    }
    pub fn ops(&self) -> u64 {
        self.inner().ops
    }
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner().capacity = bytes;
    }
    pub fn fail_in(&self, ops: u64) {
        self.inner().fail_in = Some(ops);
    }
    pub fn fail_sync(&self, fail: Option<io::ErrorKind>) {
        self.inner().fail_sync = fail;
    }
    /// Remembers what there is just before operation number `op`.
    pub fn crash_at(&self, op: u64) {
        self.inner().crash_at = Some(op);
    }
    pub fn crashed(&self) -> bool {
        self.inner().crashed.is_some()
    }
    /// The platter after the crash: of what was not synced, each sector survives or not as `survives` says.
    pub fn image(&self, mut survives: impl FnMut() -> bool) -> Vec<u8> {
        let inner = self.inner();
        let (synced, ops) = match &inner.crashed {
            Some((synced, ops)) => (synced.clone(), ops.clone()),
            None => (inner.synced.clone(), inner.since.clone()),
        };
        let mut image = synced;
        for op in ops {
            match op {
                Op::SetLen(len) if survives() => image.resize(len as usize, 0),
                Op::SetLen(_) => {}
                Op::Write(at, data) => {
                    for (n, sector) in data.chunks(SECTOR).enumerate() {
                        let at = at + (n * SECTOR) as u64;
                        if survives() && at as usize + sector.len() <= image.len() {
                            put(&mut image, at, sector);
                        }
                    }
                }
            }
        }
        image
    }
    /// Before each operation that changes something.
    fn step(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.inner();
        if inner.crash_at == Some(inner.ops) && inner.crashed.is_none() {
            inner.crashed = Some((inner.synced.clone(), inner.since.clone()));
        }
        inner.ops += 1;
        match &mut inner.fail_in {
            Some(0) => return Err(io::Error::other("the disk is broken")),
            Some(n) => *n -= 1,
            None => {}
        }
        Ok(inner)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inner().seen.len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.inner();
        let at = offset as usize;
        let from = inner.seen.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.step()?;
        if inner.capacity.is_some_and(|c| len > c && len > inner.seen.len() as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inner.seen.resize(len as usize, 0);
        inner.since.push(Op::SetLen(len));
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.step()?;
        if let Some(kind) = inner.fail_sync {
            return Err(io::Error::new(kind, "fsync failed"));
        }
        inner.synced = inner.seen.clone();
        inner.since.clear();
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.step()?;
        if inner.capacity.is_some_and(|c| offset + data.len() as u64 > c) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        put(&mut inner.seen, offset, data);
        inner.since.push(Op::Write(offset, data.to_vec()));
        Ok(())
    }
}

/// A small generator of numbers, the same for the same seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.roll() % n.max(1)
    }
}
