//! malloc, free, calloc, realloc, memalign: everything behind the fast paths.
//!
//! Each works for every kind of thread (see `threads`). Callers get a user
//! pointer, 0 where memory ran out; state is then as before the call.

use crate::arena::Held;
use crate::cache::{self, live_header};
use crate::chunk::{Chunk, at};
use crate::cut::Taken;
use crate::fatal::Fault;
use crate::os::{Os, Span};
use crate::root::{Allocator, Place};
use crate::sampling::sampled_header;
use crate::stats::Call;
use crate::threads::{Slot, is_dead};
use crate::tunables::Setting;
use core::sync::atomic::Ordering::Relaxed;
use heapwise_layout::header::{
    ALIGNMENT, HEADER_BYTES, MIN_CHUNK, OVERHEAD_BYTES, PREV_IN_USE, TAG_SHIFT,
};
use heapwise_layout::size::{
    MEDIUM_MAX_CHUNK, SMALL_MAX_CHUNK, cache_bin, chunk_size, medium_bin, medium_size,
};
use heapwise_layout::state::{ARENA_SHARED, ArenaState, Cache, HeapInfo};

/// How often a thread that can have no arena looks for one that it may use.
const PATIENCE: u32 = 16;

/// Chunks of a heap from this size on are whole pages long. So large chunks that come and go in the
/// same memory begin at the same place in their pages, and use the same cache lines of what is
/// written at their pages' starts; and where one was another of nearly its size fits without a rest.
const PAGES_FROM: usize = 256 << 10;

/// Chunks of a class are cut aligned to this at most, if not more was asked for.
const NATURAL_MAX: usize = 4 << 10;

/// A live chunk in a heap, its header checked.
#[derive(Clone, Copy)]
struct Live<'a> {
    arena: &'a ArenaState,
    chunk: Chunk,
    size: usize,
    /// A profile watches it.
    sampled: bool,
}

/// A user pointer and what of the chunk is known to be zero.
struct Fresh {
    pointer: usize,
    zero: Span,
}

/// The cache bin that serves chunks of `size` bytes, and the chunk size it gives.
#[inline]
fn class_for(size: usize) -> Option<(usize, usize)> {
    if size <= SMALL_MAX_CHUNK {
        Some((size / ALIGNMENT, size))
    } else if size <= MEDIUM_MAX_CHUNK {
        let bin = medium_bin(size);
        Some((bin, medium_size(bin)))
    } else {
        None
    }
}

impl<O: Os> Allocator<O> {
    /// The size of a chunk of a heap that serves `size` bytes: its class, or, of a large one, whole pages.
    fn heap_size(&self, size: usize) -> usize {
        match class_for(size) {
            Some((_, size)) => size,
            None if size >= PAGES_FROM => self.page_up(size),
            None => size,
        }
    }
}

/// The alignment of the largest request of a class's chunks of `size` bytes that is a multiple of it, a
/// small page at most: who asks for aligned blocks asks for such sizes.
fn natural_alignment(size: usize) -> usize {
    let request = size - HEADER_BYTES;
    (request & request.wrapping_neg()).min(NATURAL_MAX)
}

/// Whether a block of a chunk of `old` bytes stays in it when it wants one of `size`.
fn keeps_room(old: usize, size: usize) -> bool {
    let is_close = size <= old && old - size < MIN_CHUNK;
    is_close || old <= MEDIUM_MAX_CHUNK && cache::stays(old, size)
}

impl<O: Os> Allocator<O> {
    /// malloc. 0 if memory ran out or `request` is over PTRDIFF_MAX.
    pub fn malloc(&self, slot: &Slot, request: usize) -> usize {
        let cache = &*self.enter_grown(slot);
        self.note(cache, Call::Malloc);
        let pointer = self.allocate(cache, request);
        self.perturb_new(pointer);
        pointer
    }

    fn allocate(&self, cache: &Cache, request: usize) -> usize {
        let Some(size) = chunk_size(request) else { return self.failed(cache) };
        let small = class_for(size).filter(|_| !self.wants_mapping(size));
        match small.map(|(bin, _)| self.allocate_cached(cache, bin)) {
            Some(pointer) if pointer != 0 => pointer,
            _ => self.allocate_large(cache, size).map_or_else(|| self.failed(cache), |f| f.pointer),
        }
    }

    fn failed(&self, cache: &Cache) -> usize {
        self.note(cache, Call::Failed);
        0
    }

    /// From the thread cache, refilled if need be.
    #[inline]
    fn allocate_cached(&self, cache: &Cache, index: usize) -> usize {
        if is_dead(cache) {
            return 0;
        }
        let exclusive = self.is_exclusive(cache);
        let bin = &cache.bins[index];
        // SAFETY: this thread's cache, and `exclusive` is what its arena is.
        let pointer = unsafe { cache::pop(bin, exclusive) };
        if pointer != 0 {
            self.note(cache, Call::CacheHit);
            return pointer;
        }
        self.alive(cache);
        let held = self.hold(self.arena_of(cache));
        if !held.refill(cache, index) {
            return 0;
        }
        drop(held);
        // SAFETY: as above.
        unsafe { cache::pop(bin, exclusive) }
    }

    /// Whether an attached cache's arena is its thread's alone. Not to be told by the
    /// mode: a helper that tries to borrow changes that for a moment.
    fn is_exclusive(&self, cache: &Cache) -> bool {
        self.arena_of(cache).flags.get() & ARENA_SHARED == 0
    }

    /// From the arena or the kernel, one chunk of just this size.
    fn allocate_large(&self, cache: &Cache, size: usize) -> Option<Fresh> {
        let wants_mapping = self.wants_mapping(size);
        if wants_mapping && let Some(fresh) = self.allocate_mapped(size) {
            return Some(fresh);
        }
        self.alive(cache);
        if let Some(taken) = self.take_somewhere(cache, self.heap_size(size)) {
            return Some(Fresh { pointer: taken.chunk.pointer(), zero: taken.zero });
        }
        // No arena can grow: a mapping may still be had, whatever the size.
        if wants_mapping { None } else { self.allocate_mapped(size) }
    }

    fn allocate_mapped(&self, size: usize) -> Option<Fresh> {
        self.prepare();
        let pointer = self.map_chunk(size, ALIGNMENT)?;
        Some(Fresh { pointer, zero: Span::new(pointer, usize::MAX) })
    }

    /// A live chunk from the thread's arena, or from any that this thread may edit.
    fn take_somewhere(&self, cache: &Cache, size: usize) -> Option<Taken> {
        let take = |arena| {
            let held = self.hold(arena);
            held.drain_inbox(None);
            let taken = held.take(size)?;
            held.mark_live(taken.chunk);
            held.large_comes(taken.chunk.pointer(), size);
            Some(taken)
        };
        if !is_dead(cache) {
            return take(self.arena_of(cache));
        }
        // No arena of its own: any that has no owner, or whose owner sleeps. One that
        // runs may soon do so: memory is short, and a moment cheaper than a failure.
        for _ in 0..PATIENCE {
            let mut hope = false;
            for arena in self.arenas() {
                let Some(held) = self.try_hold(arena) else {
                    hope = true;
                    continue;
                };
                if !held.may_edit() {
                    hope = true;
                    continue;
                }
                held.drain_inbox(None);
                if let Some(taken) = held.take(size) {
                    held.mark_live(taken.chunk);
                    return Some(taken);
                }
            }
            if !hope {
                return None;
            }
            self.os.pause();
        }
        None
    }

    /// calloc. 0 if memory ran out or the product overflows.
    pub fn calloc(&self, slot: &Slot, count: usize, each: usize) -> usize {
        let cache = &*self.enter_grown(slot);
        self.note(cache, Call::Calloc);
        let Some(size) = count.checked_mul(each).and_then(chunk_size) else {
            return self.failed(cache);
        };
        let bytes = count * each;
        let cached = class_for(size)
            .filter(|_| !self.wants_mapping(size))
            .map_or(0, |(bin, _)| self.allocate_cached(cache, bin));
        if cached != 0 {
            zero(Span::new(cached, cached + bytes));
            return cached;
        }
        let Some(fresh) = self.allocate_large(cache, size) else { return self.failed(cache) };
        let all = Span::new(fresh.pointer, fresh.pointer + bytes);
        let known = all.overlap(fresh.zero);
        if known.bytes() == 0 {
            zero(all);
        } else {
            zero(Span::new(all.start, known.start));
            zero(Span::new(known.end, all.end));
        }
        fresh.pointer
    }

    /// A chunk whose user pointer is a multiple of `align`, a power of two.
    pub fn memalign(&self, slot: &Slot, align: usize, request: usize) -> usize {
        if align <= ALIGNMENT {
            return self.malloc(slot, request);
        }
        let cache = &*self.enter(slot);
        self.note(cache, Call::Aligned);
        let pointer = self.allocate_aligned(cache, align, request);
        self.perturb_new(pointer);
        pointer
    }

    fn allocate_aligned(&self, cache: &Cache, align: usize, request: usize) -> usize {
        let Some(least) = chunk_size(request) else { return self.failed(cache) };
        let size = self.heap_size(least);
        let class = class_for(size).filter(|_| !self.wants_mapping(size));
        // A chunk that joins a class is cut so that it serves every aligned request of its size.
        let cut = if class.is_some() { align.max(natural_alignment(size)) } else { align };
        let Some(padded) = cut.checked_add(size + MIN_CHUNK).filter(|&p| p <= isize::MAX as usize)
        else {
            return self.failed(cache);
        };
        if let Some((index, _)) = class
            && !is_dead(cache)
        {
            let exclusive = self.is_exclusive(cache);
            // SAFETY: this thread's cache, and `exclusive` is what its arena is.
            let pointer = unsafe { cache::pop_aligned(&cache.bins[index], align, exclusive) };
            if pointer != 0 {
                self.note(cache, Call::CacheHit);
                return pointer;
            }
        }
        self.prepare();
        if self.wants_mapping(size)
            && let Some(pointer) = self.map_chunk(least, align)
        {
            return pointer;
        }
        if !is_dead(cache) {
            self.alive(cache);
            let held = self.hold(self.arena_of(cache));
            held.drain_inbox(None);
            if let Some((index, _)) = class {
                held.demand(cache, index);
            }
            if let Some(taken) = held.take(padded) {
                let pointer = held.cut_aligned(taken.chunk, padded, cut, size);
                held.large_comes(pointer, size);
                return pointer;
            }
        }
        self.map_chunk(least, align).unwrap_or_else(|| self.failed(cache))
    }

    /// free. A null pointer is nothing; any other must be a live chunk's.
    pub fn free(&self, slot: &Slot, pointer: usize) {
        if pointer == 0 {
            return;
        }
        let cache = &*self.enter(slot);
        self.note(cache, Call::Free);
        self.release(cache, pointer);
    }

    /// Frees what is not null, uncounted.
    pub(crate) fn release(&self, cache: &Cache, pointer: usize) {
        let epoch = self.heap_epoch();
        match self.locate(pointer) {
            Place::Mapped => {
                self.note_mapped_end(pointer);
                self.unmap_chunk(pointer);
            }
            Place::Nowhere => self.fatal(Fault::FreeInvalidPointer),
            Place::Heap(arena, heap) => match self.live_at(arena, heap, pointer) {
                Some(live) => {
                    if live.sampled {
                        self.note_watched_end(pointer);
                    }
                    self.remember(cache, pointer, arena, heap, epoch);
                    self.free_live(cache, live);
                }
                None => self.diagnose(arena, heap, pointer),
            },
        }
    }

    /// Remembers a heap, found at `epoch`, for the next free of a chunk there, unless it is the
    /// newest of the own arena.
    fn remember(
        &self,
        cache: &Cache,
        pointer: usize,
        arena: &ArenaState,
        heap: &HeapInfo,
        epoch: usize,
    ) {
        if !is_dead(cache)
            && self.arena_of(cache).heap.load(Relaxed) != core::ptr::from_ref(heap).addr()
        {
            self.note_heap(cache, pointer, heap, arena, epoch);
        }
    }

    /// The live chunk at `pointer`, which lies in `heap`; `None` if there is none.
    fn live_at<'a>(
        &self,
        arena: &'a ArenaState,
        heap: &HeapInfo,
        pointer: usize,
    ) -> Option<Live<'a>> {
        let chunk = Chunk::of(pointer);
        // SAFETY: `pointer` lies behind the first header of a mapped heap.
        let header = unsafe { chunk.header() };
        let size = header.size();
        let word = header.0 & !PREV_IN_USE;
        let sampled = word != live_header(arena, size) && self.watched.load(Relaxed) != 0;
        let expected = if sampled { sampled_header(arena, size) } else { live_header(arena, size) };
        let valid =
            word == expected && size >= MIN_CHUNK && size <= heap.end.load(Relaxed) - chunk.0;
        valid.then_some(Live { arena, chunk, size, sampled })
    }

    /// A watched chunk of a heap ends.
    fn note_watched_end(&self, pointer: usize) {
        self.watched.fetch_sub(1, Relaxed);
        self.os.note_sampled_free(pointer);
    }

    /// A mapped chunk, which may be watched, ends.
    fn note_mapped_end(&self, pointer: usize) {
        if self.is_sampling() {
            self.os.note_sampled_free(pointer);
        }
    }

    fn free_live(&self, cache: &Cache, live: Live<'_>) {
        let Live { arena, chunk, size, .. } = live;
        self.perturb_freed(chunk, size);
        // SAFETY: a live chunk that its holder frees. From here on a second free fails.
        unsafe { chunk.set_tag(0) };
        if is_dead(cache) {
            self.free_foreign_alone(arena, chunk);
        } else if !core::ptr::eq(arena, self.arena_of(cache)) {
            self.note(cache, Call::ForeignFree);
            self.free_foreign(cache, arena, chunk, size);
        } else if let Some(index) = cache_bin(size).filter(|_| !borders_top(live)) {
            self.note(cache, Call::CacheFree);
            // SAFETY: this thread's cache and a chunk of this bin's size.
            if unsafe { cache::push(&cache.bins[index], chunk.pointer()) } {
                self.overflow(cache, index);
            }
        } else {
            self.alive(cache);
            self.note_density(chunk.pointer(), size);
            let held = self.hold(arena);
            held.large_goes(chunk.pointer(), size);
            held.give(chunk);
            let look = held.settle();
            drop(held);
            if look {
                self.want_helper();
            }
        }
    }

    /// A bin of the thread's cache is over its bound.
    #[cold]
    pub(crate) fn overflow(&self, cache: &Cache, index: usize) {
        if crate::stock::grant(cache, index, self.settings.get(Setting::CacheBytes)) {
            return;
        }
        self.alive(cache);
        let held = self.hold(self.arena_of(cache));
        held.overflow(cache, index);
        let look = held.settle();
        drop(held);
        if look {
            self.want_helper();
        }
    }

    /// The foreign bin of that index is full, says the free fast path.
    #[cold]
    pub fn foreign_full_at(&self, slot: &Slot, index: usize) {
        let cache = &*self.enter(slot);
        // Or it has been sent home since, by whom the cache was lent to.
        if !is_dead(cache) {
            self.send_bin(cache, index);
        }
    }

    /// The bin of an overflow that the free fast path reports for `pointer`.
    #[cold]
    pub fn overflow_at(&self, slot: &Slot, pointer: usize) {
        // Before anything else may move it on, out of the heap at last.
        // SAFETY: just pushed, a chunk in this thread's cache.
        let size = unsafe { Chunk::of(pointer).header() }.size();
        let cache = &*self.enter(slot);
        let Some(index) = cache_bin(size) else { return };
        if !is_dead(cache) && cache.bins[index].room.get() < 0 {
            self.overflow(cache, index);
        }
    }

    /// Says which misuse it is that frees `pointer`, which is not a live chunk's.
    #[cold]
    fn diagnose(&self, arena: &ArenaState, heap: &HeapInfo, pointer: usize) -> ! {
        self.fatal(self.misuse_at(arena, heap, pointer))
    }

    /// realloc. 0 if memory ran out (the old chunk is then untouched) or `request` is 0.
    pub fn realloc(&self, slot: &Slot, pointer: usize, request: usize) -> usize {
        self.realloc_or_keep(slot, pointer, request).0
    }

    /// [`realloc`](Self::realloc), and whether the block only uses more or less of the room that its
    /// chunk has: then nothing was allocated.
    pub fn realloc_or_keep(&self, slot: &Slot, pointer: usize, request: usize) -> (usize, bool) {
        if pointer == 0 {
            return (self.malloc(slot, request), false);
        }
        if request == 0 {
            self.free(slot, pointer);
            return (0, false);
        }
        let cache = &*self.enter(slot);
        self.note(cache, Call::Realloc);
        let (old_usable, in_place) = match self.locate(pointer) {
            Place::Nowhere => self.fatal(Fault::ReallocInvalidPointer),
            Place::Mapped => {
                let Some(size) = chunk_size(request) else { return (self.failed(cache), false) };
                if self.mapping_fits(pointer, size) {
                    return (pointer, true);
                }
                self.note_mapped_end(pointer);
                (self.mapped_usable(pointer), self.remap_chunk(pointer, size))
            }
            Place::Heap(arena, heap) => {
                let Some(live) = self.live_at(arena, heap, pointer) else {
                    match self.misuse_at(arena, heap, pointer) {
                        Fault::FreeInvalidPointer => self.fatal(Fault::ReallocInvalidPointer),
                        Fault::FreeInvalidSize => self.fatal(Fault::ReallocInvalidOldSize),
                        fault => self.fatal(fault),
                    }
                };
                let Some(size) = chunk_size(request) else { return (self.failed(cache), false) };
                let size = self.heap_size(size);
                if keeps_room(live.size, size) {
                    if live.sampled {
                        self.os.note_sampled_resize(pointer, request);
                    }
                    return (pointer, true);
                }
                if live.sampled {
                    // What comes of it is an allocation of its own.
                    self.note_watched_end(pointer);
                    let tag = live_header(live.arena, live.size) >> TAG_SHIFT;
                    // SAFETY: the caller's live chunk; its holder may store its tag.
                    unsafe { live.chunk.set_tag(tag as u16) };
                }
                (
                    live.size - OVERHEAD_BYTES,
                    self.resize_in_place(cache, live, size).then_some(pointer),
                )
            }
        };
        if let Some(pointer) = in_place {
            return (pointer, false);
        }
        let new = self.allocate(cache, request);
        if new == 0 {
            // A chunk that shrinks can always stay.
            return (if request <= old_usable { pointer } else { 0 }, false);
        }
        // SAFETY: both chunks are the caller's, distinct, and at least this long.
        unsafe {
            core::ptr::copy_nonoverlapping(
                at::<u8>(pointer),
                at::<u8>(new),
                old_usable.min(request),
            )
        };
        self.release(cache, pointer);
        (new, false)
    }

    /// Makes a live chunk `size` bytes long where it is, if that is cheap.
    fn resize_in_place(&self, cache: &Cache, live: Live<'_>, size: usize) -> bool {
        let mine = !is_dead(cache) && core::ptr::eq(live.arena, self.arena_of(cache));
        if !mine || live.size <= SMALL_MAX_CHUNK || size <= SMALL_MAX_CHUNK {
            return false;
        }
        self.alive(cache);
        let held = self.hold(live.arena);
        let done = held.resize(live.chunk, live.size, size);
        if done {
            held.large_goes(live.chunk.pointer(), live.size);
            held.large_comes(live.chunk.pointer(), size);
        }
        let look = held.settle();
        drop(held);
        if look {
            self.want_helper();
        }
        done
    }

    /// Bytes that the holder of `pointer` may use; 0 for null.
    pub fn usable_size(&self, pointer: usize) -> usize {
        match self.locate(pointer) {
            Place::Mapped => self.mapped_usable(pointer),
            Place::Heap(arena, heap) => {
                self.live_at(arena, heap, pointer).map_or(0, |live| live.size - OVERHEAD_BYTES)
            }
            Place::Nowhere => 0,
        }
    }

    fn perturb_new(&self, pointer: usize) {
        let byte = self.settings.get(Setting::Perturb) as u8;
        if byte != 0 && pointer != 0 {
            // SAFETY: the caller's fresh chunk.
            unsafe { at::<u8>(pointer).write_bytes(!byte, self.usable_size(pointer)) };
        }
    }

    fn perturb_freed(&self, chunk: Chunk, size: usize) {
        let byte = self.settings.get(Setting::Perturb) as u8;
        if byte != 0 {
            // SAFETY: the caller's chunk, given up.
            unsafe { at::<u8>(chunk.pointer()).write_bytes(byte, size - OVERHEAD_BYTES) };
        }
    }

    /// A sign of life for the helper.
    #[inline]
    fn alive(&self, cache: &Cache) {
        if !is_dead(cache) {
            cache.activity.store(cache.activity.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }
}

impl<O: Os> Held<'_, O> {
    /// Frees a chunk of this arena into a cache that is lent, or that nobody has.
    pub(crate) fn free_lent(&self, cache: &Cache, pointer: usize) {
        let Place::Heap(arena, heap) = self.root.locate(pointer) else {
            self.root.fatal(Fault::FreeInvalidPointer)
        };
        let Some(live) = self.root.live_at(arena, heap, pointer) else {
            self.root.diagnose(arena, heap, pointer)
        };
        if live.sampled {
            self.root.note_watched_end(pointer);
        }
        // SAFETY: a live chunk that its holder has freed; the arena is the caller's to edit.
        unsafe { live.chunk.set_tag(0) };
        match cache_bin(live.size).filter(|_| !borders_top(live)) {
            Some(index) => {
                // SAFETY: the cache is the caller's to edit; a chunk of this bin's size. The bin may
                // stand over its bound until the next free.
                let _ = unsafe { cache::push(&cache.bins[index], pointer) };
            }
            None => self.give(live.chunk),
        }
    }
}

/// Whether a medium chunk is the last before the top: then it goes home at once,
/// as a cached chunk there would keep the break from falling.
fn borders_top(live: Live<'_>) -> bool {
    // Another thread of a shared arena may move the top meanwhile; then it matters little.
    live.size > SMALL_MAX_CHUNK && live.chunk.0 + live.size == live.arena.top.get()
}

/// Zeroes a range of a caller's fresh chunk.
fn zero(span: Span) {
    if span.bytes() > 0 {
        // SAFETY: inside a fresh chunk that its caller has not seen yet.
        unsafe { at::<u8>(span.start).write_bytes(0, span.bytes()) };
    }
}

const _: () = assert!(HEADER_BYTES == ALIGNMENT);
