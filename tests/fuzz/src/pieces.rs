//! A blob on its way in from senders that are not believed: the bytes are a script of lines that are cut, wrong or made up, of
//! receivers dropped and begun again, and of what happens to the unfinished file while the process is away.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{Cursor, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use filch_blobs::{BlobStore, Fsync, Options, PACKED_MAX, PIECE, PutError, ReceiveError, Receiver};
use filch_types::BlobId;

/// Steps that one input may take.
const STEPS: usize = 24;
/// Restarts of the store in one input: each is dear.
const RESTARTS: usize = 2;
/// Inputs after which the stores are made anew.
const INPUTS: u64 = 400;
/// Lengths: none, within a piece, whole pieces and more, the longest that is kept in memory, files.
const LENGTHS: [u64; 16] = [
    0,
    1,
    200,
    1024,
    PIECE - 1,
    PIECE,
    PIECE + 1,
    2 * PIECE,
    3 * PIECE + 5,
    100_000,
    12 * PIECE,
    17 * PIECE + 1,
    20 * PIECE - 1,
    PACKED_MAX,
    PACKED_MAX + 1,
    PACKED_MAX + 9 * PIECE + 77,
];

/// Nothing here is about power failures.
#[derive(Debug)]
struct Unsynced;

impl Fsync for Unsynced {
    fn file(&self, _: &Path, _: &File) -> std::io::Result<()> {
        Ok(())
    }
    fn dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
}

/// Stores are dear to make, so inputs share them; each has a blob of its own.
struct Stores {
    dir: tempfile::TempDir,
    sender: BlobStore,
    receiver: BlobStore,
    used: u64,
}

impl Stores {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let (sender, receiver) = (open(&dir.path().join("a")), open(&dir.path().join("b")));
        Self { dir, sender, receiver, used: 0 }
    }
}

fn open(dir: &Path) -> BlobStore {
    let options = Options { reserve: Some(0), fsync: std::sync::Arc::new(Unsynced) };
    BlobStore::open(dir, options).expect("a store can be opened")
}

thread_local! {
    static STORES: RefCell<Option<Stores>> = const { RefCell::new(None) };
}

struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
    /// A place among so many.
    fn place(&mut self, among: usize) -> usize {
        let (a, b, c) = (self.byte(), self.byte(), self.byte());
        let all = [a, b, c].iter().fold(0, |n, b| n << 8 | usize::from(b.unwrap_or(0)));
        all % among.max(1)
    }
    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// One blob, and what has come of it.
struct Transfer<'a> {
    stores: &'a mut Stores,
    id: BlobId,
    data: Vec<u8>,
    len: u64,
    /// What the store has proved of it.
    good: u64,
    restarts: usize,
    /// What an honest sender says from there on, the last that was asked for: hashing is what an input costs.
    encoded: Option<(u64, Rc<Vec<u8>>)>,
}

/// See the module.
pub fn pieces(bytes: &[u8]) {
    let mut script = Script(bytes);
    let Some(kind) = script.byte() else { return };
    // A panic leaves none behind: the next input begins with new stores.
    let mut stores = STORES.take().filter(|s| s.used < INPUTS).unwrap_or_else(Stores::new);
    stores.used += 1;
    if kind >= 0xf0 {
        made_up(&stores.receiver, &mut script);
    } else {
        let len = LENGTHS[usize::from(kind % 16)];
        transfer(&mut stores, len, &mut script);
    }
    STORES.set(Some(stores));
}

/// A name and a length that a stranger chose, and a line that does not belong to them, or does by design.
fn made_up(store: &BlobStore, script: &mut Script<'_>) {
    let by_name = script.byte().unwrap_or(0).is_multiple_of(2);
    let claimed = script.place(1 << 24) as u64;
    // Up to lengths that no blob may have.
    let claimed = claimed << (script.byte().unwrap_or(0) % 40);
    let line = script.0;
    let id = if by_name { BlobId::of(line) } else { BlobId(*blake3::hash(&[line, b"!"].concat()).as_bytes()) };
    if store.has(id) {
        return;
    }
    let mut receiver = match store.receive(id, claimed) {
        Ok(receiver) => receiver,
        Err(PutError::TooLarge { .. } | PutError::Full { .. }) => return,
        Err(e) => panic!("{e}"),
    };
    let fed = receiver.feed(&mut &line[..]);
    // A line that is one piece is its own proof.
    let right = by_name && claimed == line.len() as u64 && claimed <= PIECE;
    assert_eq!(fed.is_ok(), right || claimed == 0);
    assert_eq!(receiver.offset(), if right { claimed } else { 0 });
    assert_eq!(receiver.finish().is_ok(), right);
    assert_eq!(store.has(id), right);
}

fn transfer(stores: &mut Stores, len: u64, script: &mut Script<'_>) {
    let mut data = vec![0; usize::try_from(len).expect("short")];
    // Differs from input to input, so that none finds what another left.
    blake3::Hasher::new().update(&stores.used.to_le_bytes()).update(&len.to_le_bytes()).finalize_xof().fill(&mut data);
    let id = stores.sender.put_bytes(&data).expect("there is room").0;
    if stores.receiver.has(id) {
        return;
    }
    let mut t = Transfer { stores, id, data, len, good: 0, restarts: 0, encoded: None };
    for _ in 0..STEPS {
        let Some(step) = script.byte() else { break };
        t.step(step, script);
        if t.stores.receiver.has(id) {
            break;
        }
    }
    t.complete();
}

impl Transfer<'_> {
    fn wire(&mut self, from: u64) -> Rc<Vec<u8>> {
        if let Some((at, wire)) = &self.encoded
            && *at == from
        {
            return wire.clone();
        }
        let mut out = Vec::new();
        if from < self.len || self.len == 0 {
            self.stores.sender.encode(self.id, from, &mut out).expect("an honest sender");
        }
        let wire = Rc::new(out);
        self.encoded = Some((from, wire.clone()));
        wire
    }

    fn receive(&self) -> Receiver {
        let receiver = self.stores.receiver.receive(self.id, self.len).expect("nobody else does");
        assert_eq!(receiver.offset(), self.good, "what was good stays");
        receiver
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step % 7 {
            0 => {
                let wire = self.wire(self.good);
                let cut = script.place(wire.len() + 1);
                self.feed(&wire[..cut], &wire);
            }
            1 => {
                let wire = self.wire(self.good);
                let mut line = wire.to_vec();
                let at = script.place(line.len());
                let flip = script.byte().unwrap_or(0).max(1);
                line.iter_mut().skip(at).take(1).for_each(|b| *b ^= flip);
                self.feed(&line, &wire);
            }
            2 => {
                let wire = self.wire(self.good);
                self.feed(script.bytes(64), &wire);
            }
            3 => self.another_length(script.place(1 << 17) as i64 - (1 << 16)),
            4 => self.finish_early(),
            5 => {
                let _first = self.receive();
                let second = self.stores.receiver.receive(self.id, self.len);
                assert!(matches!(second, Err(PutError::Busy(busy)) if busy == self.id));
            }
            _ if self.restarts < RESTARTS => self.restart(script),
            _ => {}
        }
    }

    /// Takes from a line as much as it shares with the honest one, and nothing that it does not.
    fn feed(&mut self, line: &[u8], honest: &[u8]) {
        let mut receiver = self.receive();
        let shared = line.iter().zip(honest).take_while(|(a, b)| a == b).count() as u64;
        let mut from = Cursor::new([line, b"next"].concat());
        let cut = from.get_ref().len() - 4;
        from.get_mut().truncate(if shared == honest.len() as u64 { cut + 4 } else { cut });
        let fed = receiver.feed(&mut from);
        let kept = receiver.offset() - self.good;
        if shared == honest.len() as u64 {
            fed.expect("all of it came");
            assert_eq!(from.position(), shared, "not a byte more is read");
            assert_eq!(receiver.offset(), self.len);
        } else {
            let e = fed.expect_err("some of it is missing or wrong");
            let offset = match e {
                ReceiveError::BadPiece { offset, .. } | ReceiveError::Broken { offset, .. } => offset,
                e => panic!("{e}"),
            };
            assert_eq!(offset, receiver.offset());
            assert!(kept <= shared && offset.is_multiple_of(PIECE) && offset < self.len);
            // One piece less, and the hashes on the way there.
            assert!(kept + PIECE + 64 * (kept / PIECE + 48) >= shared, "good pieces are kept: {kept} of {shared}");
        }
        self.good = receiver.offset();
        assert!(!self.stores.receiver.has(self.id), "not there before it is finished");
    }

    /// Whoever says another length is found out, and spoils nothing but what had come.
    fn another_length(&mut self, off: i64) {
        let claimed = self.len.saturating_add_signed(off);
        if claimed == self.len {
            return;
        }
        let mut receiver = self.stores.receiver.receive(self.id, claimed).expect("nobody else does");
        assert!(receiver.offset() < claimed.max(1), "the last piece is never proved for this length");
        for line in [self.wire(0), self.wire(self.good)] {
            let fed = receiver.feed(&mut line.as_slice());
            assert!(fed.is_err() || claimed == 0, "{claimed} bytes instead of {}", self.len);
        }
        receiver.finish().expect_err("that is not its length");
        assert!(!self.stores.receiver.has(self.id));
        // An unfinished file does not push out what is kept in memory, nor the reverse.
        let begun = self.stores.receiver.receive(self.id, self.len).expect("nobody else does");
        assert!(begun.offset() == 0 || begun.offset() == self.good);
        self.good = begun.offset();
    }

    fn finish_early(&mut self) {
        if self.good < self.len {
            let e = self.receive().finish().expect_err("not all of it has come");
            assert!(matches!(e, ReceiveError::Incomplete { offset, .. } if offset == self.good), "{e}");
        }
    }

    fn partial(&self, ext: &str) -> PathBuf {
        self.stores.dir.path().join("b/partial").join(self.id.to_string()).with_extension(ext)
    }

    /// The process ends, its unfinished files change, another one begins.
    fn restart(&mut self, script: &mut Script<'_>) {
        self.restarts += 1;
        // The lock goes with the last of its handles.
        let spare = open(&self.stores.dir.path().join("spare"));
        drop(std::mem::replace(&mut self.stores.receiver, spare));
        let ext = ["", "obao", "len"][script.place(3)];
        if let Ok(file) = OpenOptions::new().write(true).open(self.partial(ext)) {
            let at = script.place(1 << 21) as u64;
            let len = file.metadata().map_or(0, |m| m.len());
            match script.byte().unwrap_or(0) % 3 {
                0 => {}
                1 => file.set_len(at % (len + 1)).expect("it can be cut"),
                _ => file.write_all_at(script.bytes(40), at % (len + 1)).expect("it can be written"),
            }
        }
        let receiver = open(&self.stores.dir.path().join("b"));
        self.stores.receiver = receiver;
        let begun = self.stores.receiver.receive(self.id, self.len).expect("nobody else does");
        let proved = begun.offset();
        drop(begun);
        // It may be more than before: what an earlier harm cut off is proved again once its hashes are.
        assert!(proved.is_multiple_of(PIECE) || proved == self.len, "{proved} of {} after a restart", self.len);
        assert!(self.len > PACKED_MAX || proved == 0);
        self.good = proved;
    }

    /// An honest sender is enough, whatever went before.
    fn complete(mut self) {
        if !self.stores.receiver.has(self.id) {
            let wire = self.wire(self.good);
            if self.good < self.len {
                self.feed(&wire, &wire);
            }
            self.receive().finish().expect("it is complete");
        }
        let whole = self.wire(0);
        let store = &self.stores.receiver;
        assert!(store.read(self.id, self.len).expect("it is there") == self.data, "other bytes than were sent");
        let mut again = Vec::new();
        store.encode(self.id, 0, &mut again).expect("it can be handed on");
        assert!(again == *whole, "and says the same there");
        // A peer may ask for it from anywhere.
        for from in [1, PIECE, self.len, self.len + 1, u64::MAX - 5] {
            let mut out = Vec::new();
            // Of what was asked to its end nothing is left to say.
            let fits = from == self.len || from.is_multiple_of(PIECE) && from < self.len;
            assert_eq!(store.encode(self.id, from, &mut out as &mut dyn Write).is_ok(), fits);
        }
    }
}
