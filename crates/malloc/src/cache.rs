//! The thread cache: ready chunks a class, and the fast paths over them.
//!
//! ```text
//! bin 3 (48 bytes): head ─► chunk ─► chunk ─► 0      newest first, linked through user pointers
//! ```
//! To the arena a cached chunk is in use; its tag is 0, so a second free of it
//! cannot pass. How much is kept here, and what comes and goes: `stock`.

use crate::arena::Held;
use crate::chunk::{Chunk, at, prefetch};
use crate::os::Os;
use crate::waiting::waits;
use core::hint::select_unpredictable;
use core::sync::atomic::{
    AtomicUsize,
    Ordering::{Relaxed, Release, SeqCst},
    compiler_fence,
};
use heapwise_layout::header::{
    ALIGNMENT, Header, MIN_CHUNK, NON_MAIN, OVERHEAD_BYTES, TAG_SHIFT, tag_of,
};
use heapwise_layout::size::{
    CACHE_BINS, MEDIUM_CLASSES, MEDIUM_FIRST_BIN, MEDIUM_MAX_CHUNK, SMALL_MAX_CHUNK,
    SMALL_MAX_REQUEST, bin_size, medium_bin,
};
use heapwise_layout::state::{
    ARENA_MAIN, ArenaState, CACHE_BINS_OFFSET, Cache, CacheBin, MODE_OPEN,
};

/// Largest request that a medium chunk serves.
pub(crate) const MEDIUM_MAX_REQUEST: usize = MEDIUM_MAX_CHUNK - OVERHEAD_BYTES;

/// From this size on a class that has no chunk takes a larger one …
const LENT_MIN_BYTES: usize = 4 << 10;
/// … of the next so many classes, a quarter larger at most, …
const LENDERS: usize = 2;
/// … if one of them has so many.
const LENDS_FROM: u32 = 3;

/// First bin in use.
pub const FIRST_BIN: usize = 2;
/// Bins in use end here.
pub const END_BIN: usize = MEDIUM_FIRST_BIN + MEDIUM_CLASSES;

/// The bits of the size that the free fast path takes for the bin: one bin each 16 bytes.
pub const BIN_MASK: usize = (CACHE_BINS - 1) * 16;

const _: () = {
    // A medium bin must never look like the small bin of its index to the fast
    // path, which would rebuild the header from the masked size.
    let mut bin = MEDIUM_FIRST_BIN;
    while bin < END_BIN {
        assert!(
            (bin_size(bin) & BIN_MASK) / 16 != bin || bin_size(bin) & BIN_MASK == bin_size(bin)
        );
        bin += 1;
    }
    assert!(SMALL_MAX_CHUNK & BIN_MASK == SMALL_MAX_CHUNK);
};

/// What the first bin, which has no class, holds for a header: no header has just these bits.
const UNUSED_FIRST: u64 = ALIGNMENT as u64;

/// The header word, without P, of a live chunk of `size` bytes in `arena`.
#[inline]
pub fn live_header(arena: &ArenaState, size: usize) -> u64 {
    let flag = if arena.flags.get() & ARENA_MAIN != 0 { 0 } else { NON_MAIN };
    tag_of(arena.key.get(), size) << TAG_SHIFT | size as u64 | flag
}

/// Gives an empty cache its classes.
pub fn init(cache: &Cache, arena: &ArenaState, settings: &crate::tunables::Settings) {
    cache.arena.set(core::ptr::from_ref(arena).expose_provenance());
    cache.publish_at.set(1);
    // An unused bin's header is left 0, which no header that selects it can match: its size bits are
    // not 0. Only those of the first bin are.
    cache.bins[0].live_header.set(UNUSED_FIRST);
    for index in FIRST_BIN..END_BIN {
        cache.bins[index].live_header.set(live_header(arena, bin_size(index)));
    }
    crate::stock::set_bounds(cache, settings);
}

/// Chunks in a bin.
#[inline]
pub fn count(bin: &CacheBin) -> u32 {
    (i64::from(bin.bound.get()) - i64::from(bin.room.get())).max(0) as u32
}

/// A ready chunk's user pointer, marked live; 0 if there is none.
///
/// # Safety
/// The cache is the calling thread's (or lent to it). `exclusive`: its arena is too.
#[inline(always)]
pub unsafe fn pop(bin: &CacheBin, exclusive: bool) -> usize {
    let pointer = bin.head.get();
    if pointer == 0 {
        return 0;
    }
    let chunk = Chunk::of(pointer);
    // SAFETY: in the list, so a chunk in transit that is this thread's alone.
    unsafe {
        bin.head.set(at::<usize>(pointer).read());
        if exclusive {
            chunk.set_own_header(Header(chunk.own_header().0 | bin.live_header.get()));
        } else {
            chunk.set_tag((bin.live_header.get() >> TAG_SHIFT) as u16);
        }
    }
    bin.room.set(bin.room.get() + 1);
    pointer
}

/// An aligned request looks at this many chunks of its class.
const ALIGNED_LOOKS: usize = 16;

/// A ready chunk whose user pointer is a multiple of `align`, marked live; 0 if there is
/// none among the first few.
///
/// # Safety
/// As [`pop`].
pub unsafe fn pop_aligned(bin: &CacheBin, align: usize, exclusive: bool) -> usize {
    // SAFETY: the caller's promise.
    unsafe { if bring_aligned(bin, align) { pop(bin, exclusive) } else { 0 } }
}

/// Brings a chunk whose user pointer is a multiple of `align`, a power of two, to the front of its
/// list; false if there is none among the first few.
///
/// # Safety
/// As [`pop`].
#[inline(always)]
unsafe fn bring_aligned(bin: &CacheBin, align: usize) -> bool {
    let mut before = 0;
    let mut pointer = bin.head.get();
    let mut looks = ALIGNED_LOOKS;
    while pointer != 0 && looks > 0 {
        // SAFETY: in the list, so a chunk in transit that is this thread's alone.
        let next = unsafe { at::<usize>(pointer).read() };
        if is_aligned(pointer, align) {
            if before != 0 {
                // SAFETY: as above, for both.
                unsafe {
                    at::<usize>(before).write(next);
                    at::<usize>(pointer).write(bin.head.get());
                }
                bin.head.set(pointer);
            }
            return true;
        }
        before = pointer;
        pointer = next;
        looks -= 1;
    }
    false
}

/// Whether `pointer` is a multiple of `align`, a power of two: by a mask, where `is_multiple_of` divides.
#[inline(always)]
fn is_aligned(pointer: usize, align: usize) -> bool {
    pointer & align.wrapping_sub(1) == 0
}

/// Takes a chunk back whose tag has been cleared; true if the bin overflows.
///
/// # Safety
/// As [`pop`]; the chunk is this bin's size, in transit and nobody else's.
#[inline(always)]
pub unsafe fn push(bin: &CacheBin, pointer: usize) -> bool {
    // SAFETY: the chunk is free and this thread's.
    unsafe { at::<usize>(pointer).write(bin.head.get()) };
    // In this order: a fork must find a list that ends.
    compiler_fence(Release);
    bin.head.set(pointer);
    bin.room.set(bin.room.get() - 1);
    bin.room.get() < 0
}

/// A word that a helper may clear meanwhile, in one load that the compiler may
/// fold into the comparison (it does not do so with atomic ones).
#[inline(always)]
pub(crate) fn look(word: &AtomicUsize) -> usize {
    // SAFETY: an aligned word: the processor loads it whole, and either value,
    // the one before or the one after the helper's store, is right (see `threads`).
    unsafe { word.as_ptr().read_volatile() }
}

/// Keeps the compiler from computing a value twice, as it does with the masked
/// size: one instruction less in free.
#[inline(always)]
fn one_register(mut value: usize) -> usize {
    // SAFETY: no instruction at all.
    unsafe {
        core::arch::asm!("/* {} */", inlateout(reg) value, options(pure, nomem, nostack, preserves_flags));
    }
    value
}

/// malloc without a call: the user pointer, or 0 for the slow path.
///
/// # Safety
/// `cache` is the calling thread's, and open if its limit is not 0.
#[inline(always)]
pub unsafe fn malloc_fast(cache: *const Cache, request: usize) -> usize {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    if request >= look(&cache.limit) {
        return 0;
    }
    // SAFETY: as the caller's; the limit is right below the small sizes' end.
    unsafe { pop_small(cache, request) }
}

/// A ready chunk for a request of at most `SMALL_MAX_REQUEST`, 0 if there is none.
///
/// # Safety
/// The cache is the calling thread's, and open.
#[inline(always)]
pub(crate) unsafe fn pop_small(cache: &Cache, request: usize) -> usize {
    // SAFETY: the caller's promise.
    unsafe { pop(small_bin(cache, request), true) }
}

/// The bin of a request of at most `SMALL_MAX_REQUEST`.
///
/// # Safety
/// The request is no larger.
#[inline(always)]
pub(crate) unsafe fn small_bin(cache: &Cache, request: usize) -> &CacheBin {
    let size = (request.max(24) + 23) & !15;
    // SAFETY: size ≤ SMALL_MAX_CHUNK, so the bin exists.
    unsafe { bin_at(cache, size) }
}

/// [`pop`], of an exclusive arena where frees may wait; 0 also if one waits for the chunk that
/// would come: it is freed twice, and the slow path says so.
///
/// # Safety
/// As [`pop`].
#[inline(always)]
pub(crate) unsafe fn pop_unless_waiting(cache: &Cache, bin: &CacheBin) -> usize {
    if waits(cache, bin.head.get()) {
        return 0;
    }
    // SAFETY: the caller's promise.
    let pointer = unsafe { pop(bin, true) };
    // The next malloc of the class reads it, and would wait.
    prefetch(bin.head.get());
    pointer
}

/// What the free fast path leaves to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Freed {
    /// Nothing.
    Done,
    /// The chunk is in its bin, which is over its bound.
    Overflow,
    /// Everything: it was not for the fast path.
    Not,
}

/// free without a call.
///
/// One range check tells that the pointer lies in the arena's current heap, so
/// its header may be read; one compare that the header is the one of a live
/// chunk of this arena with just this size.
///
/// # Safety
/// As [`malloc_fast`].
#[inline(always)]
pub unsafe fn free_fast(cache: *const Cache, pointer: usize) -> Freed {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    if pointer.wrapping_sub(look(&cache.range_lo)) >= look(&cache.range_span) {
        return Freed::Not;
    }
    // SAFETY: the pointer lies in the current heap of this thread's own arena.
    unsafe { small_home(cache, pointer).take(pointer) }
}

/// malloc as its fast paths would do it, of a cache that is closed because every call is recorded:
/// the user pointer, or 0 for the slow path.
///
/// # Safety
/// As [`malloc_fast`], and [`is_recorded`] or [`is_sampled`] says yes; `request` is not to be mapped. The caller stands in the section of the
/// fast paths: a helper that lends the cache changes the mode first, then looks where the
/// thread is.
#[inline(always)]
pub unsafe fn malloc_closed(cache: *const Cache, request: usize) -> usize {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    if request > MEDIUM_MAX_REQUEST {
        return 0;
    }
    // SAFETY: by contract.
    unsafe {
        if request <= SMALL_MAX_REQUEST {
            pop_small(cache, request)
        } else {
            pop(&cache.bins[medium_bin((request + 23) & !15)], true)
        }
    }
}

/// An aligned request as its fast path would do it, of a closed cache.
///
/// # Safety
/// As [`malloc_closed`]; `align` is a power of two.
#[inline(always)]
pub unsafe fn memalign_closed(cache: *const Cache, align: usize, request: usize) -> usize {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    if request > MEDIUM_MAX_REQUEST {
        return 0;
    }
    // SAFETY: as in `malloc_closed`.
    unsafe { pop_aligned(class_bin(cache, request), align, true) }
}

/// free as its fast paths would do it, of a closed cache; `before` is called before anybody may
/// have the chunk again, and if it says no nothing is done.
///
/// # Safety
/// As [`malloc_closed`].
#[inline(always)]
pub unsafe fn free_closed(cache: *const Cache, pointer: usize, before: impl Fn() -> bool) -> Freed {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    if !in_closed_range(cache, pointer) {
        return Freed::Not;
    }
    // SAFETY: the pointer lies in the current heap of this thread's own arena.
    unsafe {
        let mut home = small_home(cache, pointer);
        if !home.fits() {
            home = medium_home(cache, pointer);
        }
        if !home.fits() || !before() {
            return Freed::Not;
        }
        home.take(pointer)
    }
}

/// Where a chunk would go if it is live.
pub(crate) struct Home<'a> {
    bin: &'a CacheBin,
    /// Its header against that of a live chunk of the bin: 0 or P if it is one.
    flag: u64,
    size: usize,
}

impl Home<'_> {
    #[inline(always)]
    pub(crate) fn fits(&self) -> bool {
        self.flag <= 1
    }

    /// Puts the chunk into its bin.
    ///
    /// # Safety
    /// The home is what [`small_home`] or [`medium_home`] said of `pointer`.
    #[inline(always)]
    pub(crate) unsafe fn take(self, pointer: usize) -> Freed {
        if !self.fits() {
            return Freed::Not;
        }
        // SAFETY: a live chunk of this thread's own arena and of this bin's size.
        unsafe {
            Chunk::of(pointer).set_own_header(Header(self.flag | self.size as u64));
            if push(self.bin, pointer) { Freed::Overflow } else { Freed::Done }
        }
    }
}

/// The home of a small chunk.
///
/// # Safety
/// `pointer` lies behind the first header of the newest heap of the calling thread's own arena.
#[inline(always)]
pub(crate) unsafe fn small_home(cache: &Cache, pointer: usize) -> Home<'_> {
    // SAFETY: the range is mapped and starts behind the first header.
    let header = unsafe { Chunk::of(pointer).wild_header() }.0;
    let size = one_register(header as usize & BIN_MASK);
    // SAFETY: the mask keeps the bin inside the cache.
    let bin = unsafe { bin_at(cache, size) };
    Home { bin, flag: header ^ bin.live_header.get(), size }
}

/// Whether the fast paths may use a cache.
///
/// # Safety
/// As [`malloc_fast`].
#[inline(always)]
pub unsafe fn is_open(cache: *const Cache) -> bool {
    // SAFETY: a cache, by contract.
    open_limit(unsafe { &*cache }) != 0
}

/// Requests below this may be served by the fast paths, also where frees wait.
#[inline(always)]
fn open_limit(cache: &Cache) -> usize {
    look(&cache.limit) | look(&cache.wait_limit)
}

/// Whether `pointer` lies in the arena's current heap and its header may be read without a
/// lock, also where frees wait.
#[inline(always)]
fn in_open_range(cache: &Cache, pointer: usize) -> bool {
    pointer.wrapping_sub(look(&cache.range_lo)) < look(&cache.open_span)
}

/// Whether `pointer` lies in the arena's current heap, of a cache that is closed because every call
/// is recorded, and nothing waits in it.
#[inline(always)]
fn in_closed_range(cache: &Cache, pointer: usize) -> bool {
    pointer.wrapping_sub(look(&cache.range_lo)) < look(&cache.closed_span)
}

/// Whether a cache is closed because every call is recorded and for no other reason, and nothing
/// waits in it.
///
/// # Safety
/// As [`malloc_fast`].
#[inline(always)]
pub unsafe fn is_recorded(cache: *const Cache) -> bool {
    // SAFETY: a cache, by contract.
    look(unsafe { &(*cache).closed_span }) != 0
}

/// Whether a cache is closed because a profile counts bytes, and nothing waits in it.
///
/// # Safety
/// As [`malloc_fast`].
#[inline(always)]
pub unsafe fn is_sampled(cache: *const Cache) -> bool {
    // SAFETY: a cache, by contract.
    look(unsafe { &(*cache).sample_limit }) != 0
}

/// Closes a cache for the fast paths.
pub fn close(cache: &Cache) {
    cache.range_span.store(0, SeqCst);
    cache.limit.store(0, SeqCst);
    cache.open_span.store(0, SeqCst);
    cache.wait_span.store(0, SeqCst);
    cache.wait_limit.store(0, SeqCst);
    cache.closed_span.store(0, SeqCst);
    cache.sample_limit.store(0, SeqCst);
}

/// What became of a small block that was to change its size.
pub enum Resized {
    /// It stays where it is.
    Stays,
    /// It has moved here.
    Moved(usize),
    /// It has moved, and what it was is in a bin that is over its bound.
    MovedOverflow(usize),
    /// Everything is still to be done.
    Not,
}

/// realloc from one small class to another without a lock; the checks are those of [`free_fast`].
///
/// # Safety
/// As [`malloc_fast`]; the caller stands in the section of the fast paths.
#[inline(always)]
pub unsafe fn realloc_fast(cache: *const Cache, pointer: usize, request: usize) -> Resized {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    if request.wrapping_sub(1) >= open_limit(cache).saturating_sub(1)
        || !in_open_range(cache, pointer)
        || waits(cache, pointer)
    {
        return Resized::Not;
    }
    // SAFETY: the pointer lies in the current heap of this thread's own arena, which is open.
    unsafe { resize_small(cache, pointer, request, true) }
}

/// [`realloc_fast`] of a cache that is closed because a profile counts bytes. Unless `may_move` the
/// block stays, or nothing is done. A watched block is for the slow path: it is no live one here.
///
/// # Safety
/// As [`realloc_fast`].
#[inline(always)]
pub unsafe fn realloc_closed(
    cache: *const Cache,
    pointer: usize,
    request: usize,
    may_move: bool,
) -> Resized {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    if request.wrapping_sub(1) >= look(&cache.sample_limit).saturating_sub(1)
        || pointer.wrapping_sub(look(&cache.range_lo)) >= look(&cache.range_span)
    {
        return Resized::Not;
    }
    // SAFETY: as in `realloc_fast`; the limit says that the cache is this thread's.
    unsafe { resize_small(cache, pointer, request, may_move) }
}

/// [`realloc_fast`] of a cache that is closed because every call is recorded.
///
/// # Safety
/// As [`realloc_fast`].
#[inline(always)]
pub unsafe fn realloc_recording(cache: *const Cache, pointer: usize, request: usize) -> Resized {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    if request.wrapping_sub(1) >= SMALL_MAX_REQUEST || !in_closed_range(cache, pointer) {
        return Resized::Not;
    }
    // SAFETY: as in `realloc_fast`; the span says that the cache is this thread's.
    unsafe { resize_small(cache, pointer, request, true) }
}

/// A small block to another small size, if it is live and there is a chunk for it.
///
/// # Safety
/// `pointer` lies behind the first header of the newest heap of the calling thread's own arena,
/// whose cache this is; `request` is 1 to `SMALL_MAX_REQUEST`.
#[inline(always)]
unsafe fn resize_small(cache: &Cache, pointer: usize, request: usize, may_move: bool) -> Resized {
    // SAFETY: by contract.
    let home = unsafe { small_home(cache, pointer) };
    if !home.fits() {
        return Resized::Not;
    }
    let size = (request.max(24) + 23) & !15;
    if stays(home.size, size) {
        return Resized::Stays;
    }
    if !may_move {
        return Resized::Not;
    }
    // SAFETY: as for malloc; the limit is right below the small sizes' end.
    let new = unsafe { pop_unless_waiting(cache, bin_at(cache, size)) };
    if new == 0 {
        return Resized::Not;
    }
    let bytes = (home.size - OVERHEAD_BYTES).min(request);
    // SAFETY: both chunks are the caller's, distinct, and at least this long; the old one is
    // live, as was just seen, and given up now.
    unsafe {
        core::ptr::copy_nonoverlapping(at::<u8>(pointer), at::<u8>(new), bytes);
        match home.take(pointer) {
            Freed::Overflow => Resized::MovedOverflow(new),
            _ => Resized::Moved(new),
        }
    }
}

/// Whether a chunk of at most `MEDIUM_MAX_CHUNK` bytes stays where it is when `size` is wanted.
pub(crate) fn stays(old: usize, size: usize) -> bool {
    size <= old && (old - size < MIN_CHUNK || size * 2 > old)
}

/// malloc of a medium class without a lock: the user pointer, or 0 for the slow path.
///
/// # Safety
/// As [`malloc_fast`]; `request` is not to be mapped.
#[inline(always)]
pub unsafe fn malloc_medium(cache: *const Cache, request: usize) -> usize {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    let small = SMALL_MAX_REQUEST + 1;
    if open_limit(cache) == 0 || request.wrapping_sub(small) > MEDIUM_MAX_REQUEST - small {
        return 0;
    }
    let size = (request + 23) & !15;
    let index = medium_bin(size);
    // SAFETY: an open cache is this thread's, and its arena too.
    let pointer = unsafe { pop_unless_waiting(cache, &cache.bins[index]) };
    if pointer != 0 || size < LENT_MIN_BYTES {
        return pointer;
    }
    for bin in cache.bins[..END_BIN].iter().skip(index + 1).take(LENDERS) {
        if count(bin) >= LENDS_FROM {
            // SAFETY: as above.
            let pointer = unsafe { pop_unless_waiting(cache, bin) };
            if pointer != 0 {
                return pointer;
            }
        }
    }
    0
}

/// An aligned request without a lock, by the newest chunk of its class: the user pointer, or 0 if
/// that is not aligned, and for what [`memalign_behind`] and the slow path do.
///
/// # Safety
/// As [`malloc_medium`]; `align` is a power of two, `request` at most what a medium chunk serves.
#[inline(always)]
pub unsafe fn memalign_fast(cache: *const Cache, align: usize, request: usize) -> usize {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    if open_limit(cache) == 0 {
        return 0;
    }
    let bin = class_bin(cache, request);
    if !is_aligned(bin.head.get(), align) {
        return 0;
    }
    // SAFETY: as above.
    unsafe { pop_unless_waiting(cache, bin) }
}

/// An aligned request without a lock, by any of the newest chunks of its class: the user pointer, or 0
/// for the slow path.
///
/// # Safety
/// As [`memalign_fast`], but for the size.
#[inline(always)]
pub unsafe fn memalign_behind(cache: *const Cache, align: usize, request: usize) -> usize {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    if open_limit(cache) == 0 || request > MEDIUM_MAX_REQUEST {
        return 0;
    }
    let bin = class_bin(cache, request);
    // SAFETY: as above.
    unsafe { if bring_aligned(bin, align) { pop_unless_waiting(cache, bin) } else { 0 } }
}

/// The bin of a request of at most `MEDIUM_MAX_REQUEST`. Without a branch on small or medium, which a
/// processor could not foresee where both are asked for in turn.
#[inline(always)]
fn class_bin(cache: &Cache, request: usize) -> &CacheBin {
    let size = (request.max(24) + 23) & !15;
    let medium = medium_bin(size.max(SMALL_MAX_CHUNK + ALIGNMENT));
    let index = select_unpredictable(size <= SMALL_MAX_CHUNK, size / ALIGNMENT, medium);
    // SAFETY: both are bins.
    unsafe { bin_at(cache, index * ALIGNMENT) }
}

/// free of a medium class without a lock; the checks are those of [`free_fast`].
///
/// A chunk that is the last before the top is left to the slow path: it goes home
/// at once, since here it would keep the break from falling.
///
/// # Safety
/// As [`malloc_fast`].
#[inline(always)]
pub unsafe fn free_medium(cache: *const Cache, pointer: usize) -> Freed {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    if !in_open_range(cache, pointer) {
        return Freed::Not;
    }
    // SAFETY: the pointer lies in the current heap of this thread's own arena.
    unsafe {
        let mut home = medium_home(cache, pointer);
        if !home.fits() && look(&cache.range_span) == 0 {
            // A small chunk where frees wait, but not this one.
            home = small_home(cache, pointer);
        }
        home.take(pointer)
    }
}

/// Bytes that the holder of a live block may use, if it lies in the newest heap of the calling
/// thread's own arena and is of a class; 0 for the slow path. The checks are those of [`free_fast`].
///
/// # Safety
/// As [`malloc_fast`].
#[inline(always)]
pub unsafe fn usable_fast(cache: *const Cache, pointer: usize) -> usize {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    if !in_open_range(cache, pointer) {
        return 0;
    }
    // SAFETY: the pointer lies in the current heap of this thread's own arena.
    unsafe {
        let mut home = small_home(cache, pointer);
        if !home.fits() {
            home = medium_home(cache, pointer);
        }
        if home.fits() { home.size - OVERHEAD_BYTES } else { 0 }
    }
}

/// The home of a medium chunk. One that is the last before the top has none.
///
/// # Safety
/// As [`small_home`].
#[inline(always)]
pub(crate) unsafe fn medium_home(cache: &Cache, pointer: usize) -> Home<'_> {
    let none = Home { bin: &cache.bins[0], flag: u64::MAX, size: 0 };
    if !pointer.is_multiple_of(ALIGNMENT) {
        return none;
    }
    let chunk = Chunk::of(pointer);
    // SAFETY: the range is mapped and starts behind the first header.
    let header = unsafe { chunk.own_header() };
    let size = header.size();
    if size.wrapping_sub(SMALL_MAX_CHUNK + 1) >= MEDIUM_MAX_CHUNK - SMALL_MAX_CHUNK {
        return none;
    }
    let bin = &cache.bins[medium_bin(size)];
    // SAFETY: an open cache holds the address of its arena.
    let top = unsafe { (*at::<ArenaState>(cache.arena.get())).top.get() };
    if chunk.0 + size == top {
        return none;
    }
    Home { bin, flag: header.0 ^ bin.live_header.get(), size }
}

/// The bin `size` × 2 bytes behind the first: a bin is 32 bytes, a class 16.
///
/// # Safety
/// `size / 16` < [`CACHE_BINS`].
#[inline(always)]
unsafe fn bin_at(cache: &Cache, size: usize) -> &CacheBin {
    let base = core::ptr::from_ref(cache).cast::<u8>();
    // SAFETY: inside the array of bins by contract.
    unsafe { &*base.add(CACHE_BINS_OFFSET + size * 2).cast::<CacheBin>() }
}

impl<O: Os> Held<'_, O> {
    /// Opens the cache of the thread that owns this arena for its fast paths, over
    /// the heap that holds the top.
    pub(crate) fn publish_range(&self) {
        let cache = &self.arena.cache;
        if cache.mode.load(Relaxed) != MODE_OPEN {
            return;
        }
        // Of what waits while a profile begins, the thread itself must take care first.
        let waits = cache.waiting.patience.get() != 0;
        let range = self.heap().map(|heap| {
            let lo = heap.start.get() + heapwise_layout::header::HEADER_BYTES;
            (lo, heap.end.load(Relaxed) - lo)
        });
        if cache.counting.get() != 0 || waits && cache.sampling.get() != 0 {
            close(cache);
            if let (Some((lo, span)), false) = (range, waits || self.root.others_count()) {
                cache.range_lo.store(lo, Relaxed);
                cache.closed_span.store(span, Relaxed);
            }
            return;
        }
        cache.closed_span.store(0, Relaxed);
        if let Some((lo, span)) = range {
            // Never a range with the old start and the new length.
            cache.range_span.store(0, Relaxed);
            cache.open_span.store(0, Relaxed);
            cache.wait_span.store(0, Relaxed);
            cache.range_lo.store(lo, Relaxed);
            cache.open_span.store(span, Relaxed);
            if waits {
                cache.wait_span.store(crate::waiting::units(span), Relaxed);
            } else {
                cache.range_span.store(span, Relaxed);
            }
        }
        let small = SMALL_MAX_REQUEST + 1;
        // Under a profile nothing waits, as said above.
        let (open, sampled, waiting) = match (cache.sampling.get() != 0, waits) {
            (true, _) => (0, small, 0),
            (false, false) => (small, 0, 0),
            (false, true) => (0, 0, small),
        };
        cache.limit.store(open, Relaxed);
        cache.sample_limit.store(sampled, Relaxed);
        cache.wait_limit.store(waiting, Relaxed);
    }
}
