//! Decoders of everything that comes from a peer or a disk.

use std::fmt::Debug;

use filch_types::ask::{self, Ask};
use filch_types::items::{BLOCK, Reader, Writer};
use filch_types::members::{self, Known};
use filch_types::record::Record;
use filch_types::sign::{Keyring, Simulated};
use filch_types::template::Context;
use filch_types::wire::{Message, Request, Response, Summary};
use filch_types::{Fact, JobId, Manifest, NodeId, SignedFact, SignedManifest, codec, limits};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What was accepted must say the same again: else two nodes could read one frame differently.
fn back<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8], max: usize) -> Option<T> {
    let value: T = codec::decode(bytes, max).ok()?;
    // A longer spelling of a number is read as well, never written.
    let again = codec::encode(&value, max).expect("what was read can be written");
    assert!(again.len() <= bytes.len(), "{value:?} is written longer than it was read");
    assert_eq!(codec::decode::<T>(&again, max).as_ref(), Ok(&value));
    Some(value)
}

/// The first byte chooses the kind of frame.
pub fn frames(bytes: &[u8]) {
    let Some((kind, frame)) = bytes.split_first() else { return };
    match kind % 4 {
        0 => drop(back::<Message>(frame, limits::MAX_FRAME)),
        1 => drop(back::<Request>(frame, limits::MAX_FRAME)),
        2 => drop(back::<Response>(frame, limits::MAX_FRAME)),
        _ => drop(back::<Summary>(frame, limits::MAX_SUMMARY)),
    }
}

/// A blob stream: what one node asks another for, ask after ask.
pub fn asks(bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((prefix, after)) = rest.split_first_chunk() {
        let Ok(len) = ask::announced(*prefix) else { return };
        assert!(len <= ask::MAX_BYTES);
        let Some((body, after)) = after.split_at_checked(len) else { return };
        rest = after;
        let Ok(asked) = Ask::decode(body) else { return };
        assert!(asked.blobs.len() <= ask::MAX_BLOBS);
        assert_eq!(back::<Ask>(body, ask::MAX_BYTES).as_ref(), Some(&asked));
        let again = asked.frame().expect("what was read can be asked");
        assert_eq!(Ask::decode(&again[4..]), Ok(asked));
    }
}

/// Where a member says that it and others are. What is taken of it can be told on, and says the same there.
pub fn members(bytes: &[u8]) {
    let Some(heard) = back::<Known>(bytes, members::MAX_BYTES) else { return };
    let own: Vec<String> = heard.own().map(str::to_owned).collect();
    let others: Vec<(NodeId, Vec<String>)> =
        heard.members().map(|(node, addrs)| (node, addrs.map(str::to_owned).collect())).collect();
    let short =
        |addrs: &[String]| addrs.len() <= limits::MAX_ADDRS && addrs.iter().all(|a| a.len() <= members::MAX_ADDRESS);
    assert!(short(&own) && others.len() <= members::MAX_MEMBERS && others.iter().all(|(_, a)| short(a)));
    let told = Known::new(own.clone(), others.iter().cloned());
    let bytes = codec::encode(&told, members::MAX_BYTES).expect("what was heard can be told");
    let again: Known = codec::decode(&bytes, members::MAX_BYTES).expect("what was told can be heard");
    assert!(again.own().eq(own.iter().map(String::as_str)));
    let mut left = others.iter().filter(|(_, a)| !a.is_empty());
    for (node, addrs) in again.members() {
        let (expected, texts) = left.next().expect("nothing is made up");
        assert!(node == *expected && addrs.eq(texts.iter().map(String::as_str)));
    }
}

/// A group of records, as a ledger hands them out after a restart, goes into a node.
pub fn records(bytes: &[u8]) {
    let Some(record) = back::<Record>(bytes, limits::MAX_FRAME) else { return };
    let mut node = crate::talk::node(1);
    node.restore(record.clone());
    node.restore(record.clone());
    node.handle_timeout(filch_types::Timestamp(5_000_000));
    crate::talk::settle(&mut node, filch_types::Timestamp(5_000_000));
    assert!(node.job(record.job()).is_none_or(|j| j.counts.total > 0));
}

/// Bodies of facts and manifests, signed by whoever they say: what a member with a valid key may say.
pub fn facts(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    if kind % 2 == 0 {
        let Some(fact) = back::<Fact>(body, limits::MAX_FACT) else { return };
        let by = Simulated(fact.by);
        let signed = SignedFact { bytes: body.to_vec(), sig: by.sign(body) };
        let Ok(opened) = signed.open(&Simulated(NodeId::default())) else { return };
        assert_eq!(opened, fact);
        assert!(opened.closure().count() <= limits::MAX_FACT / 32);
        assert!(
            SignedFact { bytes: body.to_vec(), sig: Simulated(NodeId([77; 32])).sign(body) }.open(&by).is_err()
                || fact.by == NodeId([77; 32])
        );
    } else {
        let Some(manifest) = back::<Manifest>(body, limits::MAX_MANIFEST) else { return };
        let by = Simulated(manifest.owner);
        let signed = SignedManifest { bytes: body.to_vec(), sig: by.sign(body) };
        assert_eq!(signed.job(), JobId::of(body));
        if signed.open(&by).is_ok() {
            tasks(&manifest);
        }
    }
}

/// Every task of a manifest that was accepted has its place.
fn tasks(m: &Manifest) {
    let total = m.spec.total();
    assert!(total > 0 && total <= limits::MAX_TASKS);
    for index in [0, total / 2, total - 1] {
        let (g, _, within) = m.spec.locate(index).expect("a task has a group");
        let range = m.spec.group_range(g);
        assert_eq!(range.lo + within, index);
        assert!(range.hi <= total);
    }
    assert!(m.spec.locate(total).is_none());
    let values = ["a/b.c".to_owned(), "d".to_owned()];
    for out in m.spec.groups.iter().flat_map(|g| &g.outputs) {
        let text = out.expand(&Context { values: &values, ..Context::default() });
        // Where it would lead is checked before anything is written.
        let _ = filch_types::paths::normalise(&text);
    }
}

/// Packed lists of items.
pub fn items(bytes: &[u8]) {
    let Ok(reader) = Reader::new(bytes) else { return };
    let mut writer = Writer::default();
    let blocks = reader.count().div_ceil(BLOCK).min(64);
    for n in 0..blocks {
        let Ok(block) = reader.block(n) else { return };
        for (i, item) in block.iter().enumerate() {
            assert_eq!(reader.get(n * BLOCK + i as u32).as_ref(), Ok(item));
            writer.push(item).expect("what was read can be written");
        }
    }
    assert!(reader.get(reader.count()).is_err());
    if blocks == reader.count().div_ceil(BLOCK) {
        let again = writer.finish();
        assert!(again.len() <= bytes.len());
        assert_eq!(Reader::new(&again).map(|r| r.count()), Ok(reader.count()));
    }
}
