//! malloc and its like while a profile or a recording is on: the caches are closed, and what lies
//! behind the fast paths (see `global`) leads here.
//!
//! ```text
//! malloc ── closed ──► malloc_slow ─┬─► malloc_sampled    count down, then as the fast path would
//!                                   └─► malloc_recorded   as the fast path would, then a record
//! ```
//! What takes a chunk of a closed cache without a lock stands in the section of the fast paths,
//! like these themselves.

use crate::cache::{
    Freed, Resized, free_closed, is_recorded, malloc_closed, memalign_closed, realloc_closed,
    realloc_recording,
};
use crate::chunk::at;
use crate::global::{ALLOCATOR, must_count, or_enomem, overflow, realloc_slow, serves, slot};
use crate::linux::machine;
use crate::record::{self, ENDED};
use crate::sampling::{counting, passes};
use crate::threads::Slot;
use heapwise_layout::record::{Cause, Kind};
use heapwise_layout::state::Cache;

/// malloc while a profile is on.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
pub(crate) extern "C" fn malloc_sampled(request: usize) -> *mut u8 {
    // SAFETY: this function stands in the section of the fast paths.
    match unsafe { cached_sampled(request) } {
        0 => malloc_sampled_slow(request),
        pointer => at(pointer),
    }
}

/// What the closed cache has for a request that no sample falls into; 0 if it has nothing.
///
/// # Safety
/// The caller stands in the section of the fast paths.
#[inline(always)]
unsafe fn cached_sampled(request: usize) -> usize {
    if !serves(request) {
        return 0;
    }
    let cache = at::<Cache>(machine::cache_address());
    // SAFETY: this thread's cache; the rest by contract.
    unsafe { counting(cache, request, |cache| malloc_closed(cache, request)) }
}

#[cold]
#[inline(never)]
extern "C" fn malloc_sampled_slow(request: usize) -> *mut u8 {
    or_enomem(sampled(Kind::Malloc, request, request, |slot| ALLOCATOR.malloc(slot, request)))
}

/// calloc while a profile is on.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
pub(crate) fn calloc_sampled(count: usize, each: usize) -> *mut u8 {
    let size = count.saturating_mul(each);
    // SAFETY: this function stands in the section of the fast paths.
    let pointer = unsafe { cached_sampled(size) };
    if pointer != 0 {
        // SAFETY: a fresh chunk of at least `size`.
        unsafe { at::<u8>(pointer).write_bytes(0, size) };
        return at(pointer);
    }
    let calloc = |slot: &Slot| ALLOCATOR.calloc(slot, count, each);
    or_enomem(sampled(Kind::Calloc, size, size, calloc))
}

/// An allocation of `bytes` while a profile is on; `size` is what its record says.
#[inline(always)]
fn sampled(kind: Kind, bytes: usize, size: usize, allocate: impl Fn(&Slot) -> usize) -> usize {
    let pointer = allocate(slot());
    record::sample(slot(), kind, bytes, size, pointer);
    pointer
}

/// An allocation of `size` bytes while a recording is on, or has just ended.
#[inline(always)]
fn recorded(kind: Kind, cause: Cause, size: usize, allocate: impl Fn(&Slot) -> usize) -> usize {
    reopen_after_recording();
    record::begins(cause);
    let pointer = allocate(slot());
    record::allocated(kind, size as u64, pointer);
    pointer
}

/// A recording that has ended leaves the caches closed: each thread opens its own again.
#[inline(always)]
fn reopen_after_recording() {
    if record::state() == ENDED {
        reopen();
    }
}

#[cold]
#[inline(never)]
fn reopen() {
    if ALLOCATOR.is_sampling() {
        ALLOCATOR.set_sampling(false);
    }
    if slot().cache().counting.get() == 0 || must_count() {
        return;
    }
    ALLOCATOR.set_counting(slot(), must_count());
}

/// malloc while a recording is on.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
pub(crate) extern "C" fn malloc_recorded(request: usize) -> *mut u8 {
    // SAFETY: this function stands in the section of the fast paths.
    match unsafe { cached_recorded(request) } {
        0 => malloc_recorded_slow(request),
        pointer if record::served_shortly(Kind::Malloc, request, pointer) => at(pointer),
        pointer => served_malloc(request, pointer),
    }
}

// What each call does now and then is a jump to a function of its own, at the end: so the usual way
// saves no registers.
#[inline(never)]
extern "C" fn served_malloc(request: usize, pointer: usize) -> *mut u8 {
    record::served(Kind::Malloc, request, pointer);
    at(pointer)
}

/// What the closed cache has for a request; 0 if it has nothing.
///
/// # Safety
/// The caller stands in the section of the fast paths.
#[inline(always)]
unsafe fn cached_recorded(request: usize) -> usize {
    if !serves(request) {
        return 0;
    }
    let cache = at::<Cache>(machine::cache_address());
    // SAFETY: this thread's cache; the rest by contract.
    unsafe { if is_recorded(cache) { malloc_closed(cache, request) } else { 0 } }
}

/// Records what a closed cache has served.
#[inline(always)]
fn note_served(kind: Kind, size: usize, pointer: usize) {
    if !record::served_shortly(kind, size, pointer) {
        record::served(kind, size, pointer);
    }
}

#[cold]
#[inline(never)]
pub(crate) extern "C" fn malloc_recorded_slow(request: usize) -> *mut u8 {
    let malloc = |slot: &Slot| ALLOCATOR.malloc(slot, request);
    or_enomem(recorded(Kind::Malloc, Cause::Malloc, request, malloc))
}

/// free while a recording is on.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
pub(crate) extern "C" fn free_recorded(pointer: *mut u8) {
    let cache = at::<Cache>(machine::cache_address());
    let note = || record::gives_shortly(pointer.addr());
    // SAFETY: as in `malloc_recorded`.
    match unsafe { free_closed(cache, pointer.addr(), note) } {
        Freed::Done => {}
        Freed::Overflow => overflow_recorded(pointer),
        Freed::Not => free_recorded_timed(pointer),
    }
}

/// [`free_recorded`], with a record that is no short one.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
extern "C" fn free_recorded_timed(pointer: *mut u8) {
    let cache = at::<Cache>(machine::cache_address());
    let note = || {
        record::gives(pointer.addr());
        true
    };
    // SAFETY: as in `malloc_recorded`.
    match unsafe { free_closed(cache, pointer.addr(), note) } {
        Freed::Done => {}
        Freed::Overflow => overflow_recorded(pointer),
        Freed::Not => free_recorded_slow(pointer),
    }
}

#[cold]
#[inline(never)]
extern "C" fn overflow_recorded(pointer: *mut u8) {
    record::gives_slowly();
    overflow(pointer);
    record::freed();
}

#[cold]
#[inline(never)]
pub(crate) extern "C" fn free_recorded_slow(pointer: *mut u8) {
    if pointer.is_null() {
        return;
    }
    reopen_after_recording();
    record::frees(pointer.expose_provenance());
    ALLOCATOR.free(slot(), pointer.expose_provenance());
    record::freed();
}

/// calloc while a recording is on.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
pub(crate) fn calloc_recorded(count: usize, each: usize) -> *mut u8 {
    let size = count.saturating_mul(each);
    if record::plain() {
        // SAFETY: this function stands in the section of the fast paths.
        let pointer = unsafe { cached_recorded(size) };
        if pointer != 0 {
            note_served(Kind::Calloc, size, pointer);
            // SAFETY: a fresh chunk of at least `size`.
            unsafe { at::<u8>(pointer).write_bytes(0, size) };
            return at(pointer);
        }
    }
    let calloc = |slot: &Slot| ALLOCATOR.calloc(slot, count, each);
    or_enomem(recorded(Kind::Calloc, Cause::Calloc, size, calloc))
}

/// realloc while a profile is on, of a small block to a small size. A block that stays in the room that it has counts nothing; any
/// other counts as a new one.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
pub(crate) fn realloc_sampled(pointer: *mut u8, request: usize) -> *mut u8 {
    let cache = at::<Cache>(machine::cache_address());
    // SAFETY: a cache of this thread, or a closed one that all share and whose count is 0.
    let countdown = unsafe { &(*cache).countdown };
    // What is not served here is not counted either.
    let left = countdown.get().wrapping_sub(request as i64);
    // SAFETY: as in `malloc_sampled`.
    match unsafe { realloc_closed(cache, pointer.addr(), request, left > 0) } {
        Resized::Stays => pointer,
        Resized::Moved(new) => {
            countdown.set(left);
            at(new)
        }
        Resized::MovedOverflow(new) => {
            countdown.set(left);
            overflow(pointer);
            at(new)
        }
        // SAFETY: the arguments are the caller's, nothing has been done with them.
        Resized::Not => unsafe { realloc_slow(pointer, request) },
    }
}

/// The same of a block to a size, neither 0, that the closed cache does not do.
#[cold]
#[inline(never)]
pub(crate) fn realloc_counted(address: usize, request: usize) -> usize {
    let (new, kept) = ALLOCATOR.realloc_or_keep(slot(), address, request);
    if new != 0 && !kept && !passes(slot().cache(), request) {
        record::sample(slot(), Kind::Malloc, request, request, new);
    }
    new
}

/// realloc while a recording is on. What the closed cache does is recorded at its end.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
pub(crate) fn realloc_served(pointer: *mut u8, request: usize) -> *mut u8 {
    let cache = at::<Cache>(machine::cache_address());
    let old = pointer.addr();
    // SAFETY: as in `malloc_recorded`.
    match unsafe { realloc_recording(cache, old, request) } {
        Resized::Stays => {
            record::reallocated(old, request, old, true);
            pointer
        }
        Resized::Moved(new) => {
            if !record::moved_shortly(old, request, new) {
                record::reallocated(old, request, new, false);
            }
            at(new)
        }
        Resized::MovedOverflow(new) => {
            // Its calls to the kernel stand before it.
            record::begins(Cause::Realloc);
            overflow(pointer);
            record::reallocated(old, request, new, false);
            at(new)
        }
        // SAFETY: the arguments are the caller's, nothing has been done with them.
        Resized::Not => unsafe { realloc_slow(pointer, request) },
    }
}

/// realloc of a block to a size, neither 0, while a recording is on.
#[cold]
pub(crate) fn realloc_recorded(address: usize, request: usize) -> usize {
    reopen_after_recording();
    record::begins(Cause::Realloc);
    record::shrinks(address, request);
    let (new, kept) = ALLOCATOR.realloc_or_keep(slot(), address, request);
    record::reallocated(address, request, new, kept);
    new
}

/// An aligned request while a profile is on.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
pub(crate) fn memalign_sampled(align: usize, request: usize) -> usize {
    if serves(request) {
        let cache = at::<Cache>(machine::cache_address());
        // SAFETY: this thread's cache; this function stands in the section of the fast paths.
        let pointer =
            unsafe { counting(cache, request, |cache| memalign_closed(cache, align, request)) };
        if pointer != 0 {
            return pointer;
        }
    }
    let packed = record::aligned_size(align, request);
    sampled(Kind::Aligned, request, packed, |slot| ALLOCATOR.memalign(slot, align, request))
}

/// An aligned request while a recording is on.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
pub(crate) fn memalign_recorded(align: usize, request: usize) -> usize {
    let packed = record::aligned_size(align, request);
    if record::plain() && serves(request) {
        let cache = at::<Cache>(machine::cache_address());
        // SAFETY: as in `memalign_sampled`.
        let pointer =
            unsafe { if is_recorded(cache) { memalign_closed(cache, align, request) } else { 0 } };
        if pointer != 0 {
            note_served(Kind::Aligned, packed, pointer);
            return pointer;
        }
    }
    let memalign = |slot: &Slot| ALLOCATOR.memalign(slot, align, request);
    recorded(Kind::Aligned, Cause::Aligned, packed, memalign)
}
