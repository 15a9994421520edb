//! The report file: what a process under `heapwise run --report` leaves behind.
//!
//! One sparse file, mapped MAP_SHARED by every process of the run, so that a
//! record survives `_exit`, `exec` and a kill:
//!
//! ```text
//! 0        ┌────────────────────────────┐
//!          │ ReportHeader (one page)    │ magic, version, `claimed`
//! 4096     ├────────────────────────────┤
//!          │ slot 0: ProcessRecord      │ the first process that started
//! +SLOT    ├────────────────────────────┤
//!          │ slot 1: …                  │ claimed by `claimed.fetch_add(1)`
//!          └────────────────────────────┘
//! ```
//!
//! Invariant: a slot has one writer process; readers may look at any time and
//! see counters that lag by at most [`PUBLISH_EVERY`] calls per thread.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Environment variable that names the report file.
pub const REPORT_ENV: &str = "HEAPWISE_REPORT_FILE";
/// First word of the file: "HWREPORT", little endian.
pub const REPORT_MAGIC: u64 = u64::from_le_bytes(*b"HWREPORT");
/// Bumped whenever a field moves.
pub const REPORT_VERSION: u32 = 1;
/// Bytes before the first slot.
pub const REPORT_HEADER_BYTES: usize = 4096;
/// Bytes of one slot.
pub const REPORT_SLOT_BYTES: usize = 1024;
/// Slots in a file; processes beyond that go uncounted (`claimed` still counts them).
pub const REPORT_SLOTS: usize = 16384;
/// Size of the (sparse) file.
pub const REPORT_FILE_BYTES: usize = REPORT_HEADER_BYTES + REPORT_SLOTS * REPORT_SLOT_BYTES;
/// A thread publishes its counters after this many calls.
pub const PUBLISH_EVERY: u32 = 256;

/// The start of the file.
#[repr(C)]
pub struct ReportHeader {
    /// [`REPORT_MAGIC`].
    pub magic: AtomicU64,
    /// [`REPORT_VERSION`].
    pub version: AtomicU32,
    /// Number of slots asked for so far, also by processes that found none left.
    pub claimed: AtomicU32,
}

/// [`ProcessRecord::state`]: nobody has claimed the slot.
pub const STATE_EMPTY: u32 = 0;
/// [`ProcessRecord::state`]: the process runs, or ended without running its exit handlers.
pub const STATE_LIVE: u32 = 1;
/// [`ProcessRecord::state`]: the process ran its exit handlers, its last figures are exact.
pub const STATE_EXITED: u32 = 2;

/// What one process image (one `exec`) did. All counters start at 0.
#[repr(C)]
#[derive(Default)]
pub struct ProcessRecord {
    /// `STATE_*`.
    pub state: AtomicU32,
    /// Process id.
    pub pid: AtomicU32,
    /// Parent's process id when the slot was claimed.
    pub ppid: AtomicU32,
    /// 1 if the slot was claimed by a fork child, 0 if by a fresh image.
    pub forked: AtomicU32,
    /// `comm`, 16 bytes, NUL-padded, in two little-endian words.
    pub comm: [AtomicU64; 2],
    /// CLOCK_MONOTONIC at the claim, ns.
    pub start_ns: AtomicU64,
    /// CLOCK_MONOTONIC at the last update, ns.
    pub end_ns: AtomicU64,
    /// Highest RSS seen by the kernel (`ru_maxrss`) at the last update, KiB.
    pub rss_peak_kib: AtomicU64,
    /// RSS at the last update, KiB.
    pub rss_last_kib: AtomicU64,
    /// Minor page faults up to the last update.
    pub minor_faults: AtomicU64,
    /// Major page faults up to the last update.
    pub major_faults: AtomicU64,

    /// Calls of malloc, operator new and their like.
    pub malloc_calls: AtomicU64,
    /// Calls of calloc.
    pub calloc_calls: AtomicU64,
    /// Calls of realloc and reallocarray.
    pub realloc_calls: AtomicU64,
    /// Calls of memalign, posix_memalign, aligned_alloc, valloc, pvalloc, aligned new.
    pub aligned_calls: AtomicU64,
    /// Calls of free and operator delete with a non-null pointer.
    pub free_calls: AtomicU64,
    /// Allocations served by the thread cache alone.
    pub cache_hits: AtomicU64,
    /// Frees absorbed by the thread cache alone.
    pub cache_frees: AtomicU64,
    /// Frees of another thread's chunk, sent to its arena's inbox.
    pub foreign_frees: AtomicU64,
    /// Requests that failed with ENOMEM.
    pub failed_calls: AtomicU64,

    /// Calls that moved (or tried to move) the break.
    pub brk_calls: AtomicU64,
    /// Calls of mmap.
    pub mmap_calls: AtomicU64,
    /// Calls of munmap.
    pub munmap_calls: AtomicU64,
    /// Calls of mremap.
    pub mremap_calls: AtomicU64,
    /// Calls of mprotect.
    pub mprotect_calls: AtomicU64,
    /// Calls of madvise (or process_madvise).
    pub madvise_calls: AtomicU64,
    /// Bytes given back by madvise, in all.
    pub purged_bytes: AtomicU64,

    /// Arenas made so far, the main one included.
    pub arenas: AtomicU64,
    /// Thread caches made so far.
    pub caches: AtomicU64,
    /// Bytes from the system now, arenas and mmapped chunks.
    pub system_bytes: AtomicU64,
    /// Highest `system_bytes`.
    pub system_peak_bytes: AtomicU64,
    /// Bytes in chunks the program holds, at the last full count.
    pub live_bytes: AtomicU64,
    /// Chunks the program holds, at the last full count.
    pub live_chunks: AtomicU64,
    /// Of these, mmapped chunks: count.
    pub mapped_chunks: AtomicU64,
    /// Of these, mmapped chunks: bytes.
    pub mapped_bytes: AtomicU64,
    /// Bytes that wait in thread caches and inboxes, at the last full count.
    pub cached_bytes: AtomicU64,
    /// Bytes in bins and tops, at the last full count.
    pub free_bytes: AtomicU64,
}

const _: () = assert!(core::mem::size_of::<ProcessRecord>() <= REPORT_SLOT_BYTES);
const _: () = assert!(core::mem::size_of::<ReportHeader>() <= REPORT_HEADER_BYTES);

/// Byte offset of slot `index` in the file.
#[must_use]
pub const fn slot_offset(index: usize) -> usize {
    REPORT_HEADER_BYTES + index * REPORT_SLOT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_fill_the_file() {
        assert_eq!(slot_offset(0), REPORT_HEADER_BYTES);
        assert_eq!(slot_offset(REPORT_SLOTS), REPORT_FILE_BYTES);
        assert_eq!(&REPORT_MAGIC.to_le_bytes(), b"HWREPORT");
    }
}
