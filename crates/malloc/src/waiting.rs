//! Frees that wait for the headers of their chunks.
//!
//! `free` reads the word before the block. In a large heap that is freed in random order it
//! is in no cache of the processor's, and the program would wait for memory at each call.
//! There a free has the line fetched and waits itself, for the 16 that come after it:
//!
//! ```text
//! free(p) ──► fetch p's header; units: │ p │ … │ o │ …     o, the oldest, is checked and put into
//!                                      at ──────►          its bin as `free_fast` would have done
//! ```
//! So a misuse is told a few frees later, and still always: before a chunk is handed out
//! again it is compared with all that wait, since a free that waits for it then is a second
//! one. (The first one has been carried out, or the chunk would not be in its bin.) Everything
//! behind the fast paths carries out first what waits.
//!
//! Waiting costs some 40 instructions a pair, so it must pay: what waits is looked at whenever the
//! slow path is entered. Frees are cold if they lie in many pages that those before them did not.
//! Large chunks never wait: they are counted by a few bits of their address.

use crate::arena::Held;
use crate::cache::{
    Freed, free_fast, look, malloc_fast, pop_unless_waiting, small_bin, small_home,
};
use crate::chunk::{Chunk, prefetch};
use crate::os::Os;
use crate::root::Allocator;
use crate::threads::Slot;
use crate::tunables::Setting;
use core::cell::Cell;
use core::sync::atomic::{
    Ordering::{Relaxed, Release},
    compiler_fence,
};
use heapwise_layout::header::{ALIGNMENT, HEADER_BYTES, HEADER_OFFSET};
use heapwise_layout::size::{MEDIUM_MAX_CHUNK, cache_bin};
use heapwise_layout::state::{
    Cache, LARGE_COUNTERS, MODE_OPEN, NOT_WAITING, SEEN_PAGES, WAITING, WAITING_GROUP,
};

/// Frees are cold if one in so many lies in a page that those before it did not.
const COLD_SHARE: usize = 2;
/// Frees wait until looks have taken so many points: once they have been cold …
const MOST_PATIENCE: u32 = 8 * WARM;
/// … and at a trial.
const FIRST_PATIENCE: u32 = 2 * WARM;
/// Points of a look that finds them warm …
const WARM: u32 = 64;
/// … and of one that finds too few to tell; where there were none at all it takes one.
const FEW: u32 = 16;
/// Calls behind the fast paths until the next trial, after frees were cold; twice as many after each
/// trial that found them warm …
const FIRST_PAUSE: u32 = 4;
/// … up to this.
const LAST_PAUSE: u32 = 64;
/// log2 of the bytes of a page, as far as pages matter here.
const PAGE_LOG2: u32 = 12;

/// What became of a free where frees wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// Nothing is left to do.
    Done,
    /// This chunk, whose free has waited, is in its bin, which is over its bound.
    Overflow(usize),
    /// This one is still to be freed: it may not wait, or it has and is not small.
    Other(usize),
}

/// Where `pointer` lies in the range, in units of 16 bytes; beyond every range if it is not aligned.
#[inline(always)]
fn unit(cache: &Cache, pointer: usize) -> usize {
    pointer.wrapping_sub(look(&cache.range_lo)).rotate_right(ALIGNMENT.ilog2())
}

/// Whether a free of the chunk at `unit` waits. The compiler makes four comparisons of it.
#[inline(always)]
fn holds(cache: &Cache, unit: u32) -> bool {
    cache.waiting.units.iter().fold(false, |found, place| found | (place.get() == unit))
}

/// Whether no free waits. The compiler makes four comparisons of it.
fn none_waits(cache: &Cache) -> bool {
    cache.waiting.units.iter().fold(true, |none, place| none & (place.get() == NOT_WAITING))
}

/// Puts `unit` into the group whose turn it is; what has waited there longest.
///
/// The group is written by one store, as wide as the loads of [`holds`] are: narrower ones would
/// let these wait until all stores before them are done, of which some go to cold blocks.
#[inline(always)]
fn shift_in(cache: &Cache, unit: u32) -> u32 {
    let first = cache.wait_at.get() % WAITING / WAITING_GROUP * WAITING_GROUP;
    cache.wait_at.set(first + WAITING_GROUP);
    let group = &cache.waiting.units[first..first + WAITING_GROUP];
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of the architecture. The group is 16 bytes, aligned as its line is, in
    // cells of this thread.
    unsafe {
        use core::arch::x86_64::{
            __m128i, _mm_cvtsi32_si128, _mm_cvtsi128_si32, _mm_load_si128, _mm_or_si128,
            _mm_shuffle_epi32, _mm_slli_si128, _mm_store_si128,
        };
        let group = group.as_ptr().cast_mut().cast::<__m128i>();
        let old = _mm_load_si128(group);
        let new = _mm_or_si128(_mm_slli_si128::<4>(old), _mm_cvtsi32_si128(unit as i32));
        _mm_store_si128(group, new);
        _mm_cvtsi128_si32(_mm_shuffle_epi32::<0xff>(old)) as u32
    }
    #[cfg(not(target_arch = "x86_64"))]
    group.iter().fold(unit, |unit, place| place.replace(unit))
}

/// Whether a free of `pointer` waits; any value may be asked for.
#[inline(always)]
pub(crate) fn waits(cache: &Cache, pointer: usize) -> bool {
    let unit = unit(cache, pointer);
    unit < look(&cache.wait_span) && holds(cache, unit as u32)
}

/// The counter of large chunks that `pointer` belongs to.
#[inline(always)]
fn large_counter(cache: &Cache, pointer: usize) -> &Cell<u8> {
    &cache.waiting.large[pointer / ALIGNMENT % LARGE_COUNTERS]
}

/// How many units of a heap of `span` bytes can be told apart.
pub(crate) fn units(span: usize) -> usize {
    (span / ALIGNMENT).min(NOT_WAITING as usize - 1)
}

/// malloc where frees wait: the user pointer, or 0 for the other paths.
///
/// # Safety
/// As `malloc_fast`.
#[inline(always)]
pub unsafe fn malloc_waiting(cache: *const Cache, request: usize) -> usize {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    if request >= look(&cache.wait_limit) {
        return 0;
    }
    // SAFETY: as the caller's; the limit is right below the small sizes' end.
    unsafe { pop_unless_waiting(cache, small_bin(cache, request)) }
}

/// free where frees wait.
///
/// # Safety
/// As `free_fast`.
#[inline(always)]
pub unsafe fn free_waiting(cache: *const Cache, pointer: usize) -> Waited {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    let unit = unit(cache, pointer);
    if unit >= look(&cache.wait_span) || large_counter(cache, pointer).get() != 0 {
        return Waited::Other(pointer);
    }
    prefetch(pointer - HEADER_BYTES + HEADER_OFFSET);
    let oldest = shift_in(cache, unit as u32);
    // In this order: a fork must not find it here and in a list.
    compiler_fence(Release);
    if oldest == NOT_WAITING {
        return Waited::Done;
    }
    let pointer = look(&cache.range_lo) + oldest as usize * ALIGNMENT;
    // SAFETY: in the range when it came; that changes only after all that waits is let in.
    match unsafe { small_home(cache, pointer).take(pointer) } {
        Freed::Done => Waited::Done,
        Freed::Overflow => Waited::Overflow(pointer),
        Freed::Not => Waited::Other(pointer),
    }
}

/// malloc by whichever fast path is open: the user pointer, or 0 for the slow path.
///
/// # Safety
/// As `malloc_fast`.
#[inline(always)]
pub unsafe fn malloc_either(cache: *const Cache, request: usize) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        match malloc_fast(cache, request) {
            0 => malloc_waiting(cache, request),
            pointer => pointer,
        }
    }
}

/// free by whichever fast path is open.
///
/// # Safety
/// As `free_fast`.
#[inline(always)]
pub unsafe fn free_either(cache: *const Cache, pointer: usize) -> Waited {
    // SAFETY: the caller's promise.
    unsafe {
        match free_fast(cache, pointer) {
            Freed::Done => Waited::Done,
            Freed::Overflow => Waited::Overflow(pointer),
            Freed::Not => free_waiting(cache, pointer),
        }
    }
}

/// What waits, oldest first; nothing does afterwards.
fn take_waiting(cache: &Cache) -> impl Iterator<Item = usize> {
    let lo = look(&cache.range_lo);
    cache.waiting_places().filter_map(move |place| {
        let unit = place.replace(NOT_WAITING);
        compiler_fence(Release);
        (unit != NOT_WAITING).then(|| lo + unit as usize * ALIGNMENT)
    })
}

/// What a look at what waits has found.
enum Found {
    Cold,
    Warm,
    Few,
    None,
    /// Most are not small: they have pages of their own, which waiting does not bring sooner.
    NotSmall,
}

fn look_at_waiting(cache: &Cache) -> Found {
    if none_waits(cache) {
        return Found::None;
    }
    let (mut all, mut small, mut new) = (0, 0, 0);
    for pointer in cache.waiting_pointers() {
        let page = pointer >> PAGE_LOG2;
        let seen = cache.waiting.seen[page % SEEN_PAGES].replace(page as u16);
        all += 1;
        // SAFETY: in the range when it came, and that has not changed since.
        let is_small = unsafe { small_home(cache, pointer) }.fits();
        small += usize::from(is_small);
        new += usize::from(seen != page as u16 && is_small);
    }
    match all {
        _ if small * 2 < all => Found::NotSmall,
        _ if all < WAITING / 2 => Found::Few,
        _ if new * COLD_SHARE >= all => Found::Cold,
        _ => Found::Warm,
    }
}

impl<O: Os> Allocator<O> {
    /// Behind the fast paths, before anything else: carries out what waits, and decides
    /// whether frees are to wait from now on.
    #[inline]
    pub(crate) fn let_in(&self, cache: &Cache) {
        if cache.waiting.patience.get() != 0 {
            self.let_in_and_judge(cache);
        } else if cache.mode.load(Relaxed) == MODE_OPEN {
            let left = cache.waiting.pause.get() - 1;
            cache.waiting.pause.set(left);
            if left == 0 {
                self.try_waiting(cache);
            }
        }
    }

    /// Carries out what waits in the calling thread.
    pub(crate) fn let_in_own(&self, slot: &Slot) {
        if slot.cache().waiting.patience.get() != 0 {
            drop(self.enter(slot));
        }
    }

    #[cold]
    #[inline(never)]
    fn let_in_and_judge(&self, cache: &Cache) {
        let patience = cache.waiting.patience.get();
        let pause = &cache.waiting.next_pause;
        let found = look_at_waiting(cache);
        let patience = match found {
            _ if cache.counting.get() != 0 || cache.sampling.get() != 0 => 0,
            Found::Cold => {
                pause.set(FIRST_PAUSE);
                (patience + WARM).min(MOST_PATIENCE)
            }
            Found::Warm if patience > WARM => patience - WARM,
            Found::Warm | Found::NotSmall => {
                pause.set((pause.get() * 2).clamp(FIRST_PAUSE, LAST_PAUSE));
                0
            }
            Found::Few => patience.saturating_sub(FEW),
            Found::None => patience - 1,
        };
        if !matches!(found, Found::None) {
            for pointer in take_waiting(cache) {
                self.free_after_waiting(cache, pointer);
            }
        }
        cache.waiting.patience.set(patience);
        if patience == 0 {
            cache.waiting.pause.set(pause.get().max(FIRST_PAUSE));
            self.hold(self.arena_of(cache)).publish_range();
        }
    }

    fn free_after_waiting(&self, cache: &Cache, pointer: usize) {
        // SAFETY: in the range when it came; that changes only after all that waits is let in.
        match unsafe { small_home(cache, pointer).take(pointer) } {
            Freed::Done => {}
            Freed::Overflow => {
                // SAFETY: just pushed.
                let size = unsafe { Chunk::of(pointer).header() }.size();
                if let Some(index) = cache_bin(size) {
                    self.overflow(cache, index);
                }
            }
            Freed::Not => self.release(cache, pointer),
        }
    }

    /// Lets frees wait, to see whether they are cold.
    #[cold]
    #[inline(never)]
    fn try_waiting(&self, cache: &Cache) {
        cache.waiting.pause.set(FIRST_PAUSE);
        let least = self.settings.get(Setting::FreeWait);
        let arena = self.arena_of(cache);
        if least != 0
            && arena.system_bytes.load(Relaxed) >= least
            && cache.counting.get() == 0
            && cache.sampling.get() == 0
        {
            let held = self.hold(arena);
            cache.waiting.patience.set(FIRST_PATIENCE);
            held.publish_range();
        }
    }
}

impl<O: Os> Held<'_, O> {
    /// Carries out what waits in a cache that is lent, or that nobody has.
    pub(crate) fn let_in(&self, cache: &Cache) {
        for pointer in take_waiting(cache) {
            self.free_lent(cache, pointer);
        }
    }

    /// A chunk of `size` bytes has been handed out at `pointer`.
    pub(crate) fn large_comes(&self, pointer: usize, size: usize) {
        self.count_large(pointer, size, |count| count.saturating_add(1));
    }

    /// A chunk of `size` bytes at `pointer` is not live any more.
    pub(crate) fn large_goes(&self, pointer: usize, size: usize) {
        // One that has been full says nothing any more.
        self.count_large(pointer, size, |count| {
            if count == u8::MAX { count } else { count.saturating_sub(1) }
        });
    }

    fn count_large(&self, pointer: usize, size: usize, change: impl Fn(u8) -> u8) {
        if size > MEDIUM_MAX_CHUNK {
            let cache = &self.arena.cache;
            let counter = large_counter(cache, pointer);
            counter.set(change(counter.get()));
        }
    }
}
