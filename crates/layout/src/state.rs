//! The state around the chunks: heaps, arenas, the process root. A thread's cache is in `cache.rs`,
//! and named here.
//!
//! ```text
//! ProcessState ──► arenas[0] main ArenaState ──► heap ──► HeapInfo │ chunk │ chunk │ … │ top
//!      │                  └ cache, inbox, bins        (the break)
//!      ├────────► arenas[1] ArenaState  ──► heap ──► HeapInfo │ ArenaState │ chunk │ … │ top │ reserved
//!      │                                              (64 MiB, aligned)
//!      └────────► mapped: a table of the chunks with mappings of their own
//! ```
//!
//! Addresses are `usize`, so that an outside reader uses the same structs on
//! copied bytes. `Cell` fields belong to whoever holds the arena's lock (or, in
//! a cache, to its thread); atomic ones may be read by anyone.

use crate::bins::{BINMAP_WORDS, BINS, FASTBINS};
use crate::control::Control;
use crate::size::CACHE_BINS;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};

pub use crate::cache::{
    CACHE_BINS_OFFSET, CALL_KINDS, Cache, CacheBin, FOREIGN_BINS, ForeignBin, HINTS, HeapHint,
    LARGE_COUNTERS, MODE_LENT, MODE_OPEN, MODE_SHARED, MODE_UNATTACHED, NOT_WAITING, SEEN_PAGES,
    WAITING, WAITING_GROUP, Waiting,
};

/// Bumped whenever anything in this crate moves.
pub const LAYOUT_VERSION: u32 = 8;
/// First word of [`ProcessState`]: "HEAPWISE".
pub const PROCESS_MAGIC: u64 = u64::from_le_bytes(*b"HEAPWISE");
/// First word of [`ArenaState`]: "HW ARENA".
pub const ARENA_MAGIC: u64 = u64::from_le_bytes(*b"HW ARENA");
/// First word of [`HeapInfo`]: "HW HEAP.".
pub const HEAP_MAGIC: u64 = u64::from_le_bytes(*b"HW HEAP.");

/// Most arenas in a process, whatever the settings.
pub const MAX_ARENAS: usize = 4096;
/// A secondary heap is this long and aligned to it.
pub const HEAP_RESERVE: usize = 64 << 20;

/// The head of every stretch of memory that is cut into chunks.
#[repr(C, align(16))]
pub struct HeapInfo {
    /// [`HEAP_MAGIC`].
    pub magic: Cell<u64>,
    /// Address of the [`ArenaState`] that cuts this heap.
    pub arena: Cell<usize>,
    /// The arena's next older heap, 0 for its first.
    pub older: AtomicUsize,
    /// Address of the first chunk.
    pub start: Cell<usize>,
    /// End of the usable part: of the top chunk, or of the closing fencepost.
    pub end: AtomicUsize,
    /// End of the reservation; for a stretch of the break equal to `end`.
    pub reserved_end: Cell<usize>,
    /// 1 for a stretch of the program break, 0 for a reserved heap.
    pub on_break: Cell<usize>,
    /// Address of the first fencepost once a newer heap has taken over, 0 before.
    pub fence: Cell<usize>,
    /// Address of the [`Parts`] in which marked chunks are counted, 0 before the first one.
    pub parts: Cell<usize>,
    /// Not used: what follows stands where a line begins.
    pub spare: [Cell<usize>; 7],
}

// A bin is addressed as a chunk, and chunks are aligned to 16.
const _: () = assert!(core::mem::offset_of!(ArenaState, bins) % 16 == 0);
const _: () = assert!(core::mem::size_of::<HeapInfo>() == 128);

/// A large heap is divided into at most so many parts.
pub const PARTS: usize = 2046;

/// The marked chunks that begin in one part of a heap. In units of [`crate::header::ALIGNMENT`].
#[repr(C)]
pub struct Part {
    /// Where the first one stands, from the heap's first chunk, plus one; 0 if there is none.
    pub first: Cell<u32>,
    /// Their sizes' sum.
    pub units: Cell<u32>,
}

/// The marked chunks of a heap, part by part: in transit, in no list, and found by their headers.
#[repr(C)]
pub struct Parts {
    /// How often the parts have been made twice as long.
    pub doublings: Cell<u32>,
    /// The part to go on with.
    pub next: Cell<u32>,
    /// The sum of all.
    pub units: Cell<usize>,
    /// In address order.
    pub part: [Part; PARTS],
}

const _: () = assert!(core::mem::size_of::<Parts>() == 16 << 10);

/// What the first chunk of a list in the depot holds from its user pointer on: the
/// least that a chunk can hold.
#[repr(C)]
pub struct Batch {
    /// The list's next chunk (user pointer), 0 at its end.
    pub next: Cell<usize>,
    /// The next list of the class.
    pub below: Cell<usize>,
    /// Chunks in the list.
    pub count: Cell<usize>,
}

const _: () = assert!(
    core::mem::size_of::<Batch>() <= crate::header::MIN_CHUNK - crate::header::OVERHEAD_BYTES
);

/// What the first chunk of a list in an inbox holds from its user pointer on: chunks of one
/// class, or one chunk of any size.
#[repr(C)]
pub struct Parcel {
    /// The list's next chunk (user pointer), 0 at its end.
    pub next: Cell<usize>,
    /// The parcel that was pushed before this one, 0 for the first.
    pub below: Cell<usize>,
    /// The list's last chunk (user pointer), and above [`Parcel::COUNT_SHIFT`] how many there are.
    pub end: Cell<usize>,
}

impl Parcel {
    /// User pointers end below this bit.
    pub const COUNT_SHIFT: u32 = 48;
    /// Most chunks in a parcel.
    pub const MAX_COUNT: usize = (1 << (usize::BITS - Self::COUNT_SHIFT)) - 1;

    /// What [`Parcel::end`] is for a list of `count` chunks that ends with `last`.
    #[must_use]
    pub const fn end(last: usize, count: usize) -> usize {
        count << Self::COUNT_SHIFT | last
    }

    /// The last chunk and the number of chunks, from [`Parcel::end`].
    #[must_use]
    pub const fn last_and_count(end: usize) -> (usize, usize) {
        (end & ((1 << Self::COUNT_SHIFT) - 1), end >> Self::COUNT_SHIFT)
    }
}

const _: () = assert!(
    core::mem::size_of::<Parcel>() <= crate::header::MIN_CHUNK - crate::header::OVERHEAD_BYTES
);

/// [`ArenaState::flags`]: the main arena, on the break.
pub const ARENA_MAIN: u32 = 1;
/// [`ArenaState::flags`]: threads share it; no cache of it is ever open.
pub const ARENA_SHARED: u32 = 2;

/// An arena: its bins, its top, and what waits for it.
#[repr(C, align(64))]
pub struct ArenaState {
    /// [`ARENA_MAGIC`].
    pub magic: Cell<u64>,
    /// [`LAYOUT_VERSION`].
    pub version: Cell<u32>,
    /// Position in [`ProcessState::arenas`].
    pub index: Cell<u32>,
    /// The secret behind the tags of this arena's chunks.
    pub key: Cell<u64>,
    /// `ARENA_*`.
    pub flags: Cell<u32>,
    /// The lock: 0 free, 1 held, 2 held and waited for.
    pub lock: AtomicU32,
    /// Threads attached.
    pub users: AtomicU32,
    /// Free bytes that an arena without a thread keeps, about; 0 while it has one.
    pub idle_bytes: AtomicUsize,
    /// `cache.activity` at a look of another thread whose arena grew, and when that was.
    pub looked_activity: AtomicU32,
    /// The time of that look, in ns of the monotonic clock.
    pub looked_ns: AtomicU64,
    /// How often another thread has merged and given back what was free here.
    pub relieved: AtomicU32,
    /// Refills and flushes since the start, a sign of life.
    pub turns: AtomicU32,
    /// Chunk address of the wilderness.
    pub top: Cell<usize>,
    /// Bytes of it from here on have never been touched (or were given back): zero.
    pub top_touched: Cell<usize>,
    /// Highest `top_touched` ever: growth below it is a refault, not growth.
    pub top_peak: Cell<usize>,
    /// Up to here the top's pages have memory although nobody has touched them: they
    /// came as huge pages. No meaning below `top_touched`.
    pub top_resident: Cell<usize>,
    /// Huge pages put behind the top so far.
    pub huge_pages: AtomicUsize,
    /// The remainder of the last split, if it alone is unsorted.
    pub last_remainder: Cell<usize>,
    /// Newest heap, the one that holds `top`.
    pub heap: AtomicUsize,
    /// Bytes from the system in this arena's heaps.
    pub system_bytes: AtomicUsize,
    /// Highest `system_bytes`.
    pub system_peak_bytes: AtomicUsize,
    /// Oldest chunk with dirty pages.
    pub dirty_oldest: Cell<usize>,
    /// Newest chunk with dirty pages.
    pub dirty_newest: Cell<usize>,
    /// Bytes of whole pages in binned chunks that have not been given back.
    pub dirty_bytes: AtomicUsize,
    /// Lowest dirty total since the helper's last look.
    pub dirty_low_bytes: Cell<usize>,
    /// All caches of this arena, newest first.
    pub caches: Cell<usize>,
    /// Bytes in fastbins.
    pub fast_bytes: Cell<usize>,
    /// Fastbin heads (chunk addresses, linked through FD).
    pub fast: [Cell<usize>; FASTBINS],
    /// Lists that caches gave up, not merged yet: a stack of [`Batch`]es a class (user pointers).
    pub depot: [Cell<usize>; CACHE_BINS],
    /// Bytes in the depot, in lists and marked.
    pub depot_bytes: AtomicUsize,
    /// Those of them that are marked, in no list any more (see [`Parts`]).
    pub marked_bytes: Cell<usize>,
    /// And how many chunks that are.
    pub marked_count: Cell<usize>,
    /// The depot is merged when it holds more than this.
    pub depot_limit: Cell<usize>,
    /// About how many bytes are in use or on their way.
    pub used_bytes: Cell<usize>,
    /// Bytes that were merged since the depot was full, and have not been cut again.
    pub merged_bytes: Cell<usize>,
    /// Bytes cut since then.
    pub cut_bytes: Cell<usize>,
    /// 1: what was merged so has been needed again, so the depot may hold all there is.
    pub swings: Cell<u32>,
    /// 1 while all that is in lists is being marked, call by call.
    pub marking: Cell<u32>,
    /// Lowest `depot_bytes` since the helper's last look.
    pub depot_low_bytes: Cell<usize>,
    /// 1: the helper asks the arena's thread to merge the depot.
    pub merge_wanted: AtomicU32,
    /// Bit set: the bin may hold something.
    pub binmap: [Cell<u64>; BINMAP_WORDS],
    /// `fd`, `bk` of each bin's ring. Bin `i` is addressed as a chunk whose FD is word `2i`.
    pub bins: [Cell<usize>; 2 * BINS],
    /// Foreign frees: a lock-free stack of [`Parcel`]s (user pointers).
    pub inbox: Inbox,
    /// The first thread's cache.
    pub cache: Cache,
}

/// The stack of parcels that other threads freed, on a cache line of its own.
#[repr(C, align(64))]
pub struct Inbox {
    /// First chunk of the newest [`Parcel`] (user pointer); 0 if empty.
    pub head: AtomicUsize,
    /// Bytes of them all, about: stored without regard to other threads that store it.
    pub bytes: AtomicUsize,
}

impl ArenaState {
    /// An arena without memory, all zero: what nobody writes to needs no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            magic: Cell::new(0),
            version: Cell::new(0),
            index: Cell::new(0),
            key: Cell::new(0),
            flags: Cell::new(0),
            lock: AtomicU32::new(0),
            users: AtomicU32::new(0),
            idle_bytes: AtomicUsize::new(0),
            looked_activity: AtomicU32::new(0),
            looked_ns: AtomicU64::new(0),
            relieved: AtomicU32::new(0),
            turns: AtomicU32::new(0),
            top: Cell::new(0),
            top_touched: Cell::new(0),
            top_peak: Cell::new(0),
            top_resident: Cell::new(0),
            huge_pages: AtomicUsize::new(0),
            last_remainder: Cell::new(0),
            heap: AtomicUsize::new(0),
            system_bytes: AtomicUsize::new(0),
            system_peak_bytes: AtomicUsize::new(0),
            dirty_oldest: Cell::new(0),
            dirty_newest: Cell::new(0),
            dirty_bytes: AtomicUsize::new(0),
            dirty_low_bytes: Cell::new(0),
            caches: Cell::new(0),
            fast_bytes: Cell::new(0),
            fast: [const { Cell::new(0) }; FASTBINS],
            depot: [const { Cell::new(0) }; CACHE_BINS],
            depot_bytes: AtomicUsize::new(0),
            marked_bytes: Cell::new(0),
            marked_count: Cell::new(0),
            depot_limit: Cell::new(0),
            used_bytes: Cell::new(0),
            merged_bytes: Cell::new(0),
            cut_bytes: Cell::new(0),
            swings: Cell::new(0),
            marking: Cell::new(0),
            depot_low_bytes: Cell::new(0),
            merge_wanted: AtomicU32::new(0),
            binmap: [const { Cell::new(0) }; BINMAP_WORDS],
            bins: [const { Cell::new(0) }; 2 * BINS],
            inbox: Inbox { head: AtomicUsize::new(0), bytes: AtomicUsize::new(0) },
            cache: Cache::new(MODE_UNATTACHED),
        }
    }
}

impl Default for ArenaState {
    fn default() -> Self {
        Self::new()
    }
}

/// The table of chunks that have a mapping of their own: open addressing by page number.
#[repr(C)]
pub struct MappedTable {
    /// Guards the rest: 0 free, 1 held, 2 held and waited for.
    pub lock: AtomicU32,
    /// log2 of the number of slots.
    pub slots_log2: AtomicU32,
    /// Address of the slots: user pointers, 0 empty, 1 deleted.
    pub slots: AtomicUsize,
    /// Slots in use.
    pub count: AtomicUsize,
    /// Slots in use or deleted.
    pub filled: AtomicUsize,
    /// Bytes mapped.
    pub bytes: AtomicUsize,
    /// Highest count.
    pub peak_count: AtomicUsize,
    /// Highest bytes.
    pub peak_bytes: AtomicUsize,
}

/// The root: from here an inspector finds everything.
#[repr(C)]
pub struct ProcessState {
    /// [`PROCESS_MAGIC`] once the allocator is ready.
    pub magic: AtomicU64,
    /// [`LAYOUT_VERSION`].
    pub version: AtomicU32,
    /// Bytes of a page.
    pub page_bytes: AtomicU32,
    /// Number of arenas made so far.
    pub arena_count: AtomicU32,
    /// 1 while a second thread has been seen.
    pub multi_threaded: AtomicU32,
    /// Address of the settings' values, a word each, in the order of
    /// [`crate::settings::Setting`], and behind them a word that is 1 while the mmap
    /// threshold moves by itself. 0 before the allocator is ready.
    pub settings: AtomicUsize,
    /// How many settings there are.
    pub settings_count: AtomicUsize,
    /// Address of the tokens left for giving back, in bytes, an `i64`; 0 before.
    pub tokens: AtomicUsize,
    /// How the outside asks for something.
    pub control: Control,
    /// The mmapped chunks.
    pub mapped: MappedTable,
    /// Addresses of the [`ArenaState`]s, main first.
    pub arenas: [AtomicUsize; MAX_ARENAS],
}

impl ProcessState {
    /// An empty root, all zero.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            magic: AtomicU64::new(0),
            version: AtomicU32::new(0),
            page_bytes: AtomicU32::new(0),
            arena_count: AtomicU32::new(0),
            multi_threaded: AtomicU32::new(0),
            settings: AtomicUsize::new(0),
            settings_count: AtomicUsize::new(0),
            tokens: AtomicUsize::new(0),
            control: Control::new(),
            mapped: MappedTable {
                lock: AtomicU32::new(0),
                slots_log2: AtomicU32::new(0),
                slots: AtomicUsize::new(0),
                count: AtomicUsize::new(0),
                filled: AtomicUsize::new(0),
                bytes: AtomicUsize::new(0),
                peak_count: AtomicUsize::new(0),
                peak_bytes: AtomicUsize::new(0),
            },
            arenas: [const { AtomicUsize::new(0) }; MAX_ARENAS],
        }
    }
}

impl Default for ProcessState {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{offset_of, size_of};

    #[test]
    fn magics_read_as_text() {
        assert_eq!(&PROCESS_MAGIC.to_le_bytes(), b"HEAPWISE");
        assert_eq!(&ARENA_MAGIC.to_le_bytes(), b"HW ARENA");
        assert_eq!(&HEAP_MAGIC.to_le_bytes(), b"HW HEAP.");
    }

    #[test]
    fn the_inbox_shares_its_line_with_nothing() {
        assert_eq!(offset_of!(ArenaState, inbox) % 64, 0);
        assert_eq!(size_of::<Inbox>(), 64);
    }

    #[test]
    fn new_state_is_closed_and_empty() {
        let arena = ArenaState::new();
        assert_eq!(arena.cache.limit.load(core::sync::atomic::Ordering::Relaxed), 0);
        assert_eq!(arena.top.get(), 0);
        let cache = Cache::new(MODE_UNATTACHED);
        assert!(cache.bins.iter().all(|bin| bin.head.get() == 0));
        assert_eq!(ProcessState::new().magic.load(core::sync::atomic::Ordering::Relaxed), 0);
    }
}
