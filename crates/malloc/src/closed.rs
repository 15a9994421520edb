//! malloc and its like while a profile or a recording is on: the caches are closed, and what lies
//! behind the fast paths (see `global`) leads here.
//!
//! ```text
//! malloc ── closed ──► malloc_slow ─┬─► malloc_sampled    count down, then as the fast path would
//!                                   └─► malloc_recorded   as the fast path would, then a record
//! ```
//! What takes a chunk of a closed cache without a lock stands in the section of the fast paths,
//! like these themselves.

use crate::cache::{Freed, free_closed, malloc_closed, memalign_closed};
use crate::chunk::at;
use crate::global::{ALLOCATOR, must_count, or_enomem, overflow, serves, slot};
use crate::linux::machine;
use crate::record::{self, ENDED};
use crate::sampling::counting;
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
    match unsafe { cached_recorded(Kind::Malloc, request) } {
        0 => malloc_recorded_slow(request),
        pointer => at(pointer),
    }
}

/// What the closed cache has for a request, with its record; 0 if it has nothing.
///
/// # Safety
/// The caller stands in the section of the fast paths.
#[inline(always)]
unsafe fn cached_recorded(kind: Kind, request: usize) -> usize {
    if !serves(request) {
        return 0;
    }
    // SAFETY: this thread's cache; the rest by contract.
    let pointer = unsafe { malloc_closed(at::<Cache>(machine::cache_address()), request) };
    if pointer != 0 {
        record::served(kind, request, pointer);
    }
    pointer
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
    let note = || record::gives(pointer.addr());
    // SAFETY: as in `malloc_recorded`.
    match unsafe { free_closed(cache, pointer.addr(), note) } {
        Freed::Done => {}
        Freed::Overflow => {
            record::gives_slowly();
            overflow(pointer);
            record::freed();
        }
        Freed::Not => free_recorded_slow(pointer),
    }
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
        let pointer = unsafe { cached_recorded(Kind::Calloc, size) };
        if pointer != 0 {
            // SAFETY: a fresh chunk of at least `size`.
            unsafe { at::<u8>(pointer).write_bytes(0, size) };
            return at(pointer);
        }
    }
    let calloc = |slot: &Slot| ALLOCATOR.calloc(slot, count, each);
    or_enomem(recorded(Kind::Calloc, Cause::Calloc, size, calloc))
}

/// A realloc to `request` bytes has given `pointer`, and a sample is due.
#[cold]
#[inline(never)]
pub(crate) fn sample_realloc(request: usize, pointer: usize) {
    record::sample(slot(), Kind::Malloc, request, request, pointer);
}

/// realloc of a block to a size, neither 0, while a recording is on.
#[cold]
pub(crate) fn realloc_recorded(address: usize, request: usize) -> usize {
    reopen_after_recording();
    record::begins(Cause::Realloc);
    let new = ALLOCATOR.realloc(slot(), address, request);
    record::reallocated(address, request, new);
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
        let pointer = unsafe { memalign_closed(cache, align, request) };
        if pointer != 0 {
            record::served(Kind::Aligned, packed, pointer);
            return pointer;
        }
    }
    let memalign = |slot: &Slot| ALLOCATOR.memalign(slot, align, request);
    recorded(Kind::Aligned, Cause::Aligned, packed, memalign)
}
