//! A recording while it runs: the memory that the recorder shares with the processes it records.
//!
//! ```text
//! 0        ┌──────────────────────────────┐
//!          │ LiveHeader                   │ what to record; which chunks are free
//! 8192     ├──────────────────────────────┤
//!          │ chunk 0: ChunkHead │ records │ one thread's, packed as in record.rs
//! +64 KiB  ├──────────────────────────────┤
//!          │ chunk 1 …                    │ claimed by clearing its bit in `free`
//!          └──────────────────────────────┘
//! ```
//! A thread claims a chunk, fills it, hands it over as full and claims the
//! next. The recorder collects full chunks, and now and then what stands in
//! open ones. What a thread wrote is safe in this memory whatever becomes of
//! the thread: each record counts from the store to `used` behind it.
//!
//! Invariants: a chunk whose bit is set in `free` belongs to nobody; only the
//! recorder sets a bit, and only over memory that exists. An open chunk has one
//! writer.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Environment variable that names the shared file.
pub const LIVE_ENV: &str = "HEAPWISE_RECORD_FILE";
/// First word of the file: "HWRECORD".
pub const LIVE_MAGIC: u64 = u64::from_le_bytes(*b"HWRECORD");
/// Bumped whenever something here moves.
pub const LIVE_VERSION: u32 = 3;
/// Bytes before the first chunk.
pub const LIVE_HEADER_BYTES: usize = 8192;
/// Bytes of a chunk, head and records.
pub const CHUNK_BYTES: usize = 64 << 10;
/// Bytes of a chunk's head.
pub const CHUNK_HEAD_BYTES: usize = 128;
/// Most chunks in a file.
pub const CHUNKS: usize = 16384;
/// A recorder that waits is woken when so many chunks have become full: a call to the kernel costs
/// a thread as much as hundreds of records.
pub const WAKE_CHUNKS: u32 = 8;
/// Size of the (sparse) file.
pub const LIVE_FILE_BYTES: usize = LIVE_HEADER_BYTES + CHUNKS * CHUNK_BYTES;
/// Ticks of the processor's counter are shifted so far down before they are recorded.
pub const TICK_SHIFT: u32 = 4;

/// [`LiveHeader::stop`]: record.
pub const RUNNING: u32 = 0;
/// [`LiveHeader::stop`]: the recorder takes no more.
pub const STOPPED: u32 = 1;

/// The start of the file.
#[repr(C)]
pub struct LiveHeader {
    /// [`LIVE_MAGIC`].
    pub magic: AtomicU64,
    /// [`LIVE_VERSION`].
    pub version: AtomicU32,
    /// [`RUNNING`] or [`STOPPED`].
    pub stop: AtomicU32,
    /// Mean distance of two samples in bytes, 0 to record everything.
    pub sample_bytes: AtomicU64,
    /// Most frames of a stack, 0 without.
    pub stack_depth: AtomicU32,
    /// Bytes of the stack that a sample copies, 0 for none.
    pub snippet_bytes: AtomicU32,
    /// Processes so far.
    pub processes: AtomicU32,
    /// Stacks so far.
    pub stacks: AtomicU32,
    /// Streams so far.
    pub streams: AtomicU32,
    /// One more than the highest chunk ever claimed.
    pub high_water: AtomicU32,
    /// Rises with each full chunk; the recorder waits on it.
    pub filled: AtomicU32,
    /// 1 while the recorder waits on `filled`; then it is woken at each [`WAKE_CHUNKS`]th.
    pub recorder_waits: AtomicU32,
    /// Rises whenever chunks become free; threads without one wait on it.
    pub freed: AtomicU32,
    /// Threads that wait for a chunk.
    pub starving: AtomicU32,
    /// CLOCK_MONOTONIC in ns when the recorder last looked: a dead one must not hold threads up.
    pub heartbeat_ns: AtomicU64,
    /// Records that found no room.
    pub lost: AtomicU64,
    /// Inode of the pid namespace that the recorder lives in.
    pub pid_namespace: AtomicU64,
    /// Bit set: the chunk is free.
    pub free: [AtomicU64; CHUNKS / 64],
    /// The recorder's pid where it lives, 0 if it does not tell.
    pub recorder_pid: AtomicU32,
    /// Its descriptor of this file.
    pub live_descriptor: AtomicU32,
    /// Its descriptor of the trace; [`NO_DESCRIPTOR`] while the trace is kept in memory.
    pub trace_descriptor: AtomicU32,
    /// CLOCK_MONOTONIC in ns: what was recorded before stands in the trace.
    pub collected_ns: AtomicU64,
    /// Of blocks from so many bytes on it is recorded how much of them is in memory when they end;
    /// 0 for none.
    pub touched_bytes: AtomicU64,
}

/// [`LiveHeader::trace_descriptor`]: none.
pub const NO_DESCRIPTOR: u32 = u32::MAX;

/// Name of the memory file, as `/proc/PID/maps` has it behind `memfd:`.
pub const LIVE_NAME: &str = "heapwise-recording";

/// [`ChunkHead::state`]: nobody's.
pub const CHUNK_FREE: u32 = 0;
/// [`ChunkHead::state`]: a thread writes.
pub const CHUNK_OPEN: u32 = 1;
/// [`ChunkHead::state`]: to be collected.
pub const CHUNK_FULL: u32 = 2;

/// [`ChunkHead::left`]: a record is being written; a signal handler must not write another.
pub const WRITING: u32 = u32::MAX;

/// The head of a chunk. What each record changes comes first.
#[repr(C)]
pub struct ChunkHead {
    /// `CHUNK_*`.
    pub state: AtomicU32,
    /// The process, as the recording counts them.
    pub process: AtomicU32,
    /// Bytes used, the head included.
    pub used: AtomicU32,
    /// Records that may follow with the time of the last reading of the counter, or [`WRITING`].
    /// The recorder may take them away.
    pub left: AtomicU32,
    /// The writer's coder: time.
    pub time: AtomicU64,
    /// The writer's coder: address.
    pub address: AtomicU64,
    /// Records so far, blobs not counted.
    pub records: AtomicU32,
    /// Blobs so far.
    pub blobs: AtomicU32,
    /// How many records a reading of the counter is good for at present.
    pub run: AtomicU32,
    /// The call of the program that runs now, a `Cause`.
    pub cause: AtomicU32,
    /// The stream.
    pub stream: AtomicU32,
    /// Kernel thread id of the writer.
    pub thread: AtomicU32,
    /// Its pid; 0 if the recorder would know it by another one.
    pub pid: AtomicU32,
    /// Records that this stream could not write since the last chunk.
    pub lost: AtomicU32,
    /// Number of the chunk in its stream.
    pub sequence: AtomicU64,
    /// What the first record builds on, ticks.
    pub base_time: AtomicU64,
    /// What the first record builds on, address.
    pub base_address: AtomicU64,
    /// First address of the mapping that the writer's stack lies in, 0 if not known yet.
    pub stack_low: AtomicU64,
    /// Its end.
    pub stack_high: AtomicU64,
    /// What the writer's process calls itself, in this recording and no other.
    pub owner: AtomicU64,
}

const _: () = assert!(core::mem::size_of::<LiveHeader>() <= LIVE_HEADER_BYTES);
const _: () = assert!(core::mem::size_of::<ChunkHead>() <= CHUNK_HEAD_BYTES);

/// Offset of a chunk in the file.
#[must_use]
pub const fn chunk_offset(index: usize) -> usize {
    LIVE_HEADER_BYTES + index * CHUNK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_fill_the_file() {
        assert_eq!(chunk_offset(0), LIVE_HEADER_BYTES);
        assert_eq!(chunk_offset(CHUNKS), LIVE_FILE_BYTES);
        assert_eq!(&LIVE_MAGIC.to_le_bytes(), b"HWRECORD");
    }
}
