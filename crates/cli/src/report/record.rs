//! One slot of the report file, decoded: what one process image did.

use std::mem::offset_of;

use heapwise_layout::report::{ProcessRecord, STATE_EMPTY};

/// The counters are listed once: this makes the struct and its decoder.
macro_rules! record {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// A [`ProcessRecord`] as plain numbers.
        #[derive(Debug, Clone, Default)]
        pub struct Record {
            /// `STATE_*` of the layout.
            pub state: u32,
            /// Process id.
            pub pid: u32,
            /// Parent's process id at the start.
            pub ppid: u32,
            /// A fork child, not a fresh image.
            pub forked: bool,
            /// `comm`, made printable.
            pub comm: String,
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Record {
            /// Reads a slot; `None` if nobody filled it in.
            pub fn decode(slot: &[u8]) -> Option<Self> {
                let state = half(slot, offset_of!(ProcessRecord, state));
                let pid = half(slot, offset_of!(ProcessRecord, pid));
                if state == STATE_EMPTY || pid == 0 {
                    return None;
                }
                Some(Self {
                    state,
                    pid,
                    ppid: half(slot, offset_of!(ProcessRecord, ppid)),
                    forked: half(slot, offset_of!(ProcessRecord, forked)) != 0,
                    comm: comm(slot),
                    $($field: word(slot, offset_of!(ProcessRecord, $field)),)*
                })
            }
        }
    };
}

record! {
    /// CLOCK_MONOTONIC at the start.
    start_ns,
    /// CLOCK_MONOTONIC at the last update.
    end_ns,
    /// Highest RSS.
    rss_peak_kib,
    /// RSS at the last update.
    rss_last_kib,
    /// Faults served without I/O.
    minor_faults,
    /// Faults that needed I/O.
    major_faults,
    /// Calls of malloc and its like.
    malloc_calls,
    /// Calls of calloc.
    calloc_calls,
    /// Calls of realloc.
    realloc_calls,
    /// Calls of the aligned variants.
    aligned_calls,
    /// Calls of free.
    free_calls,
    /// Allocations that the thread cache served.
    cache_hits,
    /// Frees that the thread cache took.
    cache_frees,
    /// Frees of other threads' chunks.
    foreign_frees,
    /// Requests refused with ENOMEM.
    failed_calls,
    /// Calls of brk.
    brk_calls,
    /// Calls of mmap.
    mmap_calls,
    /// Calls of munmap.
    munmap_calls,
    /// Calls of mremap.
    mremap_calls,
    /// Calls of mprotect.
    mprotect_calls,
    /// Calls of madvise.
    madvise_calls,
    /// Bytes given back by madvise.
    purged_bytes,
    /// Arenas made.
    arenas,
    /// Thread caches made.
    caches,
    /// Bytes from the system.
    system_bytes,
    /// Highest of these.
    system_peak_bytes,
    /// Bytes that the program holds.
    live_bytes,
    /// Chunks that the program holds.
    live_chunks,
    /// Of these, chunks with a mapping of their own.
    mapped_chunks,
    /// Their bytes.
    mapped_bytes,
    /// Bytes in thread caches and inboxes.
    cached_bytes,
    /// Bytes in bins and tops.
    free_bytes,
}

fn half(slot: &[u8], offset: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&slot[offset..offset + 4]);
    u32::from_ne_bytes(bytes)
}

fn word(slot: &[u8], offset: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&slot[offset..offset + 8]);
    u64::from_ne_bytes(bytes)
}

/// A process may call itself anything, escape sequences included.
fn comm(slot: &[u8]) -> String {
    let words =
        [0, 8].map(|offset| word(slot, offset_of!(ProcessRecord, comm) + offset).to_le_bytes());
    let bytes = words.concat();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    printable(&String::from_utf8_lossy(&bytes[..end]))
}

/// The text with control characters replaced, safe for a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
