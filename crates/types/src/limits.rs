//! Every bound that two nodes or a person can run into, in one place.

/// Tasks in one job.
pub const MAX_TASKS: u32 = 10_000_000;
/// Groups in one job.
pub const MAX_GROUPS: usize = 256;
/// Edges into one group.
pub const MAX_EDGES: usize = 64;
/// Bytes of one encoded manifest.
pub const MAX_MANIFEST: usize = 128 * 1024;
/// Bytes of one encoded fact.
pub const MAX_FACT: usize = 160 * 1024;
/// Bytes of one frame on the wire.
pub const MAX_FRAME: usize = 256 * 1024;
/// Payload that a sender puts into one frame; the rest is head room for framing.
pub const FRAME_BUDGET: usize = 224 * 1024;
/// Bytes of a gossiped job summary.
pub const MAX_SUMMARY: usize = 1024;
/// Replicas of a job, repair included (P12).
pub const MAX_REPLICAS: usize = 8;
/// Bytes of an output that travel inside the result instead of as a blob.
pub const INLINE_OUTPUT: usize = 4096;
/// Inline bytes of one result in all; outputs beyond it become blobs however small.
pub const INLINE_RESULT: usize = 16 * 1024;
/// Runs in one pack.
pub const MAX_PACK_RUNS: usize = 256;
/// Encoded bytes after which a pack is closed.
pub const PACK_BYTES: usize = 96 * 1024;
/// Runs in one pin.
pub const MAX_PIN_RUNS: usize = 1024;
/// Bytes of captured stdout or stderr that are kept from the beginning.
pub const LOG_HEAD: u64 = 1024 * 1024;
/// Bytes of captured stdout or stderr that are kept from the end.
pub const LOG_TAIL: u64 = 1024 * 1024;
/// Arguments of one command.
pub const MAX_ARGV: usize = 4096;
/// Bytes of one template, value or path.
pub const MAX_TEXT: usize = 64 * 1024;
/// Bytes of a path inside a task's directory.
pub const MAX_PATH: usize = 4096;
/// Declared inputs or outputs of one task.
pub const MAX_FILES: usize = 4096;
/// Retries that a job may ask for; an attempt's number fits its byte (see `Attempt`).
pub const MAX_RETRIES: u16 = 200;
/// Times a task may take its node down before it counts as failed (P14).
pub const CRASH_BUDGET: u32 = 4;
/// Times that a task may move between queues before it stays.
pub const MAX_HOPS: u8 = 12;
/// Tasks of one job that may be executing twice at a time because the first attempt straggles.
pub const MAX_COPIES: u64 = 256;
/// Ranges of one job that one steward ever had copied.
pub const MAX_COPIES_EVER: usize = 4096;
/// Ranges that one node may hold of all jobs; beyond it the node claims nothing more.
pub const MAX_HELD_RUNS: usize = 3000;
/// Ranges in one grant or steal.
pub const MAX_GRANT_RUNS: usize = 64;
/// Peers that a node keeps in mind.
pub const MAX_PEERS: usize = 16_384;
/// Jobs that a node keeps in mind, tombstones excluded.
pub const MAX_JOBS: usize = 100_000;
/// Jobs in one heartbeat.
pub const MAX_BEAT_JOBS: usize = 128;
/// Bytes of a name of a job, group or node.
pub const MAX_NAME: usize = 200;
/// Addresses that a peer may tell of itself.
pub const MAX_ADDRS: usize = 16;
/// Components of a divisible task's tally.
pub const MAX_TALLY: usize = 16;
/// Bytes of a bag: the remaining state of a divisible task.
pub const MAX_BAG: usize = 1024 * 1024;
/// Parts that one result of a divisible task names; a task that gave so many ends itself.
pub const MAX_CHILDREN: usize = 64;
/// Bytes of parts carried inside one result of a divisible task, about; beyond it the task ends itself.
pub const CHILDREN_BYTES: usize = 64 * 1024;
/// Results of divisible tasks in one fact.
pub const MAX_BAG_RESULTS: usize = 64;
/// Bags that one node holds of all jobs; beyond it gifts are dropped, and their steward gives them to others.
pub const MAX_HELD_BAGS: usize = 256;
/// Bags in one grant or gift.
pub const MAX_GRANT_BAGS: usize = 16;
/// Peers that may wait at one node for work.
pub const MAX_LIFELINES: usize = 256;
/// Lost attempts in one fact.
pub const MAX_LOST: usize = 4096;

/// Fact sets are compared by at least two to the power of this many buckets.
pub const MIN_BUCKET_BITS: u32 = 8;
/// And at most this: 40 KiB of an anti-entropy request.
pub const MAX_BUCKET_BITS: u32 = 12;
