//! The state around the chunks: heaps, arenas, thread caches, the process root.
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
use crate::header::ALIGNMENT;
use crate::size::CACHE_BINS;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};

/// Bumped whenever anything in this crate moves.
pub const LAYOUT_VERSION: u32 = 5;
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
}

/// One class of a thread cache: a list of ready chunks and how long it may get.
///
/// The list is linked through the user pointers: `head` is a user pointer, the
/// first word there is the next.
#[repr(C)]
pub struct CacheBin {
    /// First ready chunk (user pointer), 0 if none.
    pub head: Cell<usize>,
    /// The header word, without P, that a live chunk of this class carries:
    /// `tag << 48 | size | A`. In a bin without a class it can match no header.
    pub live_header: Cell<u64>,
    /// How many more chunks may be freed here before the bin overflows.
    pub room: Cell<i32>,
    /// How many chunks the bin may hold now.
    pub bound: Cell<u32>,
    /// How far the bound may be raised before the bin gives chunks back.
    pub limit: Cell<u32>,
    /// Chunks to fetch at the next refill.
    pub fill: Cell<u16>,
    /// Overflows since the last refill.
    pub overflows: Cell<u16>,
}

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

/// Chunks of one size on their way to one arena: a private list, pushed as a [`Parcel`].
#[repr(C)]
pub struct ForeignBin {
    /// The header word, without P, that a live chunk of this arena and size carries.
    pub live_header: Cell<u64>,
    /// Newest chunk (user pointer), linked through the first word; 0 if there is none.
    pub head: Cell<usize>,
    /// Oldest chunk, the list's end; no meaning if there is none.
    pub tail: Cell<usize>,
    /// 1 + the index of the arena they belong to, 0 for an unused bin.
    pub owner: Cell<u32>,
    /// Chunks in the list.
    pub count: Cell<u16>,
    /// At so many they go home.
    pub bound: Cell<u16>,
}

const _: () = assert!(core::mem::size_of::<ForeignBin>() == 32);

/// Foreign bins of a cache, direct-mapped by arena and class.
pub const FOREIGN_BINS: usize = 256;

/// A heap of another arena, or an older one of the own, as the thread has last found it.
#[repr(C)]
pub struct HeapHint {
    /// The first user pointer that the heap can have.
    pub start: Cell<usize>,
    /// Bytes from there to the heap's end as it was; 0 for an unused hint.
    pub bytes: Cell<usize>,
    /// How often a heap had shrunk or gone when this was found. Once more, and the hint is void.
    pub epoch: Cell<usize>,
    /// 1 + the index of its arena, 0 if that is the cache's own.
    pub owner: Cell<u32>,
    /// Where the arena's foreign bins begin: a class stands so many further, modulo
    /// [`FOREIGN_BINS`].
    pub bins_at: Cell<u32>,
}

const _: () = assert!(core::mem::size_of::<HeapHint>() == 32);

/// Number of hints of a cache, direct-mapped by the address's multiple of [`HEAP_RESERVE`].
pub const HINTS: usize = 8;

/// Frees of a thread that wait for the header of their chunk, at most.
pub const WAITING: usize = 16;
/// They wait in groups of so many, each read and written whole.
pub const WAITING_GROUP: usize = 4;
const WAITING_GROUPS: usize = WAITING / WAITING_GROUP;
/// In [`Waiting::units`]: nothing waits here.
pub const NOT_WAITING: u32 = u32::MAX;
/// Counters of large live chunks.
pub const LARGE_COUNTERS: usize = 64;
/// Pages remembered among those that freed chunks lay in.
pub const SEEN_PAGES: usize = 64;

/// Frees that wait for the headers of their chunks. Until then these read as live.
#[repr(C, align(64))]
pub struct Waiting {
    /// The chunks: (user pointer − [`Cache::range_lo`]) / 16, else [`NOT_WAITING`]. Groups of
    /// [`WAITING_GROUP`] are filled in turns, in each the newest comes first.
    pub units: [Cell<u32>; WAITING],
    /// How many live chunks of more than `MEDIUM_MAX_CHUNK` bytes have a user pointer
    /// whose bits 4 to 9 are the index, at least: their frees do not wait.
    pub large: [Cell<u8>; LARGE_COUNTERS],
    /// Pages of chunks that waited lately, by their lowest bits.
    pub seen: [Cell<u16>; SEEN_PAGES],
    /// Frees wait while this is not 0; looks that find them warm take from it.
    pub patience: Cell<u32>,
    /// Calls behind the fast paths until it is tried whether waiting pays.
    pub pause: Cell<u32>,
    /// What `pause` will begin with the next time, at least.
    pub next_pause: Cell<u32>,
}

impl Waiting {
    /// Makes it ready: nothing waits yet.
    pub fn init(&self) {
        self.units.iter().for_each(|unit| unit.set(NOT_WAITING));
        self.pause.set(1);
    }

    const fn new() -> Self {
        Self {
            units: [const { Cell::new(0) }; WAITING],
            large: [const { Cell::new(0) }; LARGE_COUNTERS],
            seen: [const { Cell::new(0) }; SEEN_PAGES],
            patience: Cell::new(0),
            pause: Cell::new(0),
            next_pause: Cell::new(0),
        }
    }
}

/// [`Cache::mode`]: the cache that a thread has before its first call, and after its last. Shared, never written.
pub const MODE_UNATTACHED: u32 = 0;
/// [`Cache::mode`]: the arena is this thread's alone; the fast paths work.
pub const MODE_OPEN: u32 = 1;
/// [`Cache::mode`]: several threads share the arena; headers are marked by 16-bit stores.
pub const MODE_SHARED: u32 = 2;
/// [`Cache::mode`]: lent to whoever holds the arena's lock while the thread sleeps.
pub const MODE_LENT: u32 = 3;

/// Number of call counters.
pub const CALL_KINDS: usize = 9;

/// A thread's cache. The first line is all that the fast paths read besides one bin.
#[repr(C, align(64))]
pub struct Cache {
    /// First address of the heap that holds the arena's top.
    pub range_lo: AtomicUsize,
    /// Bytes from there that are chunks of this arena; 0 closes the free fast path.
    pub range_span: AtomicUsize,
    /// Requests below this may be served by the malloc fast path; 0 closes it.
    pub limit: AtomicUsize,
    /// `range_span` also where that is 0 because frees wait: for the paths behind the first.
    pub open_span: AtomicUsize,
    /// Where frees wait: how far, in units of 16 bytes; 0 where they do not.
    pub wait_span: AtomicUsize,
    /// Where frees wait: as `limit`; 0 where they do not.
    pub wait_limit: AtomicUsize,
    /// Where in `waiting.units` the group begins that the next free goes into.
    pub wait_at: Cell<usize>,
    /// `MODE_*`.
    pub mode: AtomicU32,
    /// Kernel thread id of the owner.
    pub tid: AtomicU32,
    /// Address of the [`ArenaState`].
    pub arena: Cell<usize>,
    /// Next cache of the same arena.
    pub next: Cell<usize>,
    /// Slow-path calls by the owner so far: the helper's sign of life.
    pub activity: AtomicU32,
    /// Not 0 while the owner is behind the fast paths: the cache may then be half changed.
    pub busy: AtomicU32,
    /// What the bins have been granted beyond their first bounds, bytes.
    pub granted_bytes: Cell<u32>,
    /// Calls counted but not yet published.
    pub unpublished: Cell<u32>,
    /// Calls that the next publication waits for: 1, 2, 4 … so that short processes show too.
    pub publish_at: Cell<u32>,
    /// `activity` as the helper saw it last.
    pub activity_seen: Cell<u32>,
    /// Calls by kind since the last publication.
    pub calls: [Cell<u32>; CALL_KINDS],
    /// 1 while every call is counted.
    pub counting: Cell<u32>,
    /// 1 while a profile counts bytes: malloc's fast path is closed, free's is not.
    pub sampling: Cell<u32>,
    /// Bytes to the next sample of a profile; 0 before the first is drawn.
    pub countdown: Cell<i64>,
    /// State of the generator that draws them; 0 before the first.
    pub sample_seed: Cell<u64>,
    /// Frees that wait.
    pub waiting: Waiting,
    /// Bit set: the foreign bin has an arena.
    pub foreign_map: [Cell<u64>; FOREIGN_BINS / 64],
    /// Heaps whose chunks the thread frees, besides the arena's newest.
    pub hints: [HeapHint; HINTS],
    /// One bin a class, see [`crate::size`].
    pub bins: [CacheBin; CACHE_BINS],
    /// Other arenas' chunks that the thread has freed.
    pub foreign: [ForeignBin; FOREIGN_BINS],
}

/// Offset of the bins in a [`Cache`]; the fast paths use it.
pub const CACHE_BINS_OFFSET: usize = core::mem::offset_of!(Cache, bins);

const _: () = assert!(core::mem::size_of::<CacheBin>() == 32);
// A bin is addressed as a chunk, and chunks are aligned to 16.
const _: () = assert!(core::mem::offset_of!(ArenaState, bins) % 16 == 0);
const _: () = assert!(core::mem::size_of::<HeapInfo>() == 64);

impl Cache {
    /// The places of [`Waiting::units`], the one that has been there longest first.
    pub fn waiting_places(&self) -> impl Iterator<Item = &Cell<u32>> {
        let group = self.wait_at.get() / WAITING_GROUP;
        (0..WAITING).map(move |step| {
            let age = WAITING_GROUP - 1 - step / WAITING_GROUPS;
            &self.waiting.units[(group + step) % WAITING_GROUPS * WAITING_GROUP + age]
        })
    }

    /// User pointers of the chunks whose frees wait.
    pub fn waiting_pointers(&self) -> impl Iterator<Item = usize> {
        let lo = self.range_lo.load(core::sync::atomic::Ordering::Relaxed);
        let units = self.waiting_places().map(|place| place.get());
        units.filter(|&unit| unit != NOT_WAITING).map(move |unit| lo + unit as usize * ALIGNMENT)
    }

    /// A closed cache without an arena: all zero but for its mode.
    #[must_use]
    pub const fn new(mode: u32) -> Self {
        Self {
            range_lo: AtomicUsize::new(0),
            range_span: AtomicUsize::new(0),
            limit: AtomicUsize::new(0),
            open_span: AtomicUsize::new(0),
            wait_span: AtomicUsize::new(0),
            wait_limit: AtomicUsize::new(0),
            wait_at: Cell::new(0),
            mode: AtomicU32::new(mode),
            tid: AtomicU32::new(0),
            arena: Cell::new(0),
            next: Cell::new(0),
            activity: AtomicU32::new(0),
            busy: AtomicU32::new(0),
            granted_bytes: Cell::new(0),
            unpublished: Cell::new(0),
            publish_at: Cell::new(0),
            activity_seen: Cell::new(0),
            calls: [const { Cell::new(0) }; CALL_KINDS],
            counting: Cell::new(0),
            sampling: Cell::new(0),
            countdown: Cell::new(0),
            sample_seed: Cell::new(0),
            waiting: Waiting::new(),
            foreign_map: [const { Cell::new(0) }; FOREIGN_BINS / 64],
            hints: [const {
                HeapHint {
                    start: Cell::new(0),
                    bytes: Cell::new(0),
                    epoch: Cell::new(0),
                    owner: Cell::new(0),
                    bins_at: Cell::new(0),
                }
            }; HINTS],
            bins: [const {
                CacheBin {
                    head: Cell::new(0),
                    live_header: Cell::new(0),
                    room: Cell::new(0),
                    bound: Cell::new(0),
                    limit: Cell::new(0),
                    fill: Cell::new(0),
                    overflows: Cell::new(0),
                }
            }; CACHE_BINS],
            foreign: [const {
                ForeignBin {
                    live_header: Cell::new(0),
                    head: Cell::new(0),
                    tail: Cell::new(0),
                    owner: Cell::new(0),
                    count: Cell::new(0),
                    bound: Cell::new(0),
                }
            }; FOREIGN_BINS],
        }
    }
}

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
    /// Bytes in the depot.
    pub depot_bytes: AtomicUsize,
    /// The depot is merged when it holds more than this.
    pub depot_limit: Cell<usize>,
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
            depot_limit: Cell::new(0),
            depot_low_bytes: Cell::new(0),
            merge_wanted: AtomicU32::new(0),
            binmap: [const { Cell::new(0) }; BINMAP_WORDS],
            bins: [const { Cell::new(0) }; 2 * BINS],
            inbox: Inbox { head: AtomicUsize::new(0) },
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
    fn the_fast_paths_read_one_line_besides_a_bin() {
        assert!(offset_of!(Cache, range_lo) < 64);
        assert!(offset_of!(Cache, range_span) < 64);
        assert!(offset_of!(Cache, limit) < 64);
        assert_eq!(CACHE_BINS_OFFSET % align_of::<CacheBin>(), 0);
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
