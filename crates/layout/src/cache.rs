//! A thread's cache: ready chunks by class, frees that wait, other arenas' chunks on their way home.
//!
//! ```text
//!   range, limit, mode     all that the fast paths read besides one bin
//!   waiting                frees whose chunk's header is not in the processor's cache yet
//!   hints ──► foreign      heaps of other arenas, and their chunks: home as parcels
//!   bins                   lists of ready chunks; what overflows goes to the arena's depot
//! ```
//! `Cell` fields belong to the cache's thread; atomic ones may be read by anyone.

use crate::header::ALIGNMENT;
use crate::size::CACHE_BINS;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicUsize};

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

/// Chunks of one size on their way to one arena: a private list, pushed as a [`Parcel`](crate::state::Parcel).
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

/// Number of hints of a cache, direct-mapped by the address's multiple of [`HEAP_RESERVE`](crate::state::HEAP_RESERVE).
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
    /// As `range_span`, while every call is recorded and nothing else closes the cache; else 0.
    pub closed_span: AtomicUsize,
    /// Requests below this are counted and then served while a profile is on; else 0.
    pub sample_limit: AtomicUsize,
    /// Address of the [`ArenaState`](crate::state::ArenaState).
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
    /// 1: the arena has taken memory from the kernel since its thread last looked around.
    pub grew: AtomicU32,
    /// 1 + the index of an arena without a thread to which chunks have gone home; 0 for none.
    pub heir_of: Cell<u32>,
    /// So many looks around may still move the thread to another arena.
    pub moves: Cell<u32>,
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
            closed_span: AtomicUsize::new(0),
            sample_limit: AtomicUsize::new(0),
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
            grew: AtomicU32::new(0),
            heir_of: Cell::new(0),
            moves: Cell::new(0),
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

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_fast_paths_read_one_line_besides_a_bin() {
        assert!(offset_of!(Cache, range_lo) < 64);
        assert!(offset_of!(Cache, range_span) < 64);
        assert!(offset_of!(Cache, limit) < 64);
        assert_eq!(CACHE_BINS_OFFSET % align_of::<CacheBin>(), 0);
    }
}
