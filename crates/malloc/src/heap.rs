//! Reserved heaps: 64 MiB of address space, aligned to it, made usable by need.
//!
//! ```text
//! base (64 MiB-aligned)
//! │ HeapInfo │ ArenaState (first heap only) │ chunks … top │ reserved, PROT_NONE │
//! └──────────────────── usable, grows by mprotect ─────────┘
//! ```
//! So `pointer & !(64 MiB − 1)` finds the head. Older heaps are full and end in
//! fenceposts; a newest heap that falls empty goes back whole.

use crate::arena::Held;
use crate::chunk::{Chunk, at};
use crate::os::{Os, Span};
use crate::root::Allocator;
use core::sync::atomic::Ordering::{Relaxed, Release};
use heapwise_layout::header::ALIGNMENT;
use heapwise_layout::state::{ArenaState, HEAP_RESERVE, HeapInfo};

/// Usable part of a fresh heap, unless the need is larger: 132 KiB.
const FIRST_USABLE: usize = 132 << 10;

/// Offset of the first chunk behind a heap's head.
const fn chunks_offset(with_arena: bool) -> usize {
    let head = (size_of::<HeapInfo>() + 63) & !63;
    if with_arena {
        head + ((size_of::<ArenaState>() + ALIGNMENT - 1) & !(ALIGNMENT - 1))
    } else {
        head
    }
}

const _: () = assert!(align_of::<ArenaState>() == 64 && chunks_offset(true) < FIRST_USABLE / 4);

impl<O: Os> Allocator<O> {
    /// Reserves an aligned heap and makes its first `usable` bytes usable; its base.
    fn reserve_heap(&self, usable: usize) -> Option<usize> {
        let base = self.reserve_aligned()?;
        let end = base + HEAP_RESERVE;
        // SAFETY: inside the fresh reservation.
        if !self.heap_fits_map(base) || !unsafe { self.commit(Span::new(base, base + usable)) } {
            // SAFETY: nothing is in it.
            unsafe { self.unmap(Span::new(base, end)) };
            return None;
        }
        Some(base)
    }

    /// Reserves 64 MiB aligned to it: out of twice as much, or, where that is too
    /// much, by luck.
    fn reserve_aligned(&self) -> Option<usize> {
        let Some(start) = self.reserve(2 * HEAP_RESERVE) else {
            let start = self.reserve(HEAP_RESERVE)?;
            if start % HEAP_RESERVE == 0 {
                return Some(start);
            }
            // SAFETY: the fresh reservation, of no use.
            unsafe { self.unmap(Span::new(start, start + HEAP_RESERVE)) };
            return None;
        };
        let base = (start + HEAP_RESERVE - 1) & !(HEAP_RESERVE - 1);
        let whole = Span::new(start, start + 2 * HEAP_RESERVE);
        // SAFETY: a fresh reservation, of which nobody is to know the ends.
        unsafe { self.unmap_around(whole, Span::new(base, base + HEAP_RESERVE)) };
        Some(base)
    }

    /// Makes an arena in a heap of its own.
    pub(crate) fn make_arena(&self, flags: u32) -> Option<&ArenaState> {
        let base = self.reserve_heap(self.page_up(FIRST_USABLE))?;
        let address = base + ((size_of::<HeapInfo>() + 63) & !63);
        // SAFETY: fresh zeroed memory, aligned to 64, inside the usable part: an arena as
        // `ArenaState::new` makes it, and what is not written to needs no memory.
        let arena = unsafe { &*at::<ArenaState>(address) };
        arena.flags.set(flags);
        self.register_arena(arena);
        let held = self.hold(arena);
        let end = base + self.page_up(FIRST_USABLE);
        held.begin_heap(base, base + chunks_offset(true), end, base + HEAP_RESERVE, false);
        self.set_heap_bit(base, true);
        drop(held);
        Some(arena)
    }
}

impl<O: Os> Held<'_, O> {
    /// Grows the top by `need` bytes inside its reserved heap, or in a new one.
    pub(crate) fn grow_reserved(&self, need: usize) -> bool {
        let pad = self.growth_pad().min(HEAP_RESERVE);
        if let Some(heap) = self.heap().filter(|h| h.on_break.get() == 0) {
            let end = heap.end.load(Relaxed);
            let missing = need - self.top_bytes();
            let room = heap.reserved_end.get() - end;
            if missing <= room {
                let last = heap.reserved_end.get();
                return self.growth_ends(end + missing, need).any(|new_end| {
                    let new_end = new_end.min(last);
                    // SAFETY: the reserved rest of this heap.
                    let done = unsafe { self.root.commit(Span::new(end, new_end)) };
                    if done {
                        self.extend_to(heap, new_end);
                    }
                    done
                });
            }
        }
        let offset = chunks_offset(false);
        if need + offset > HEAP_RESERVE {
            return false;
        }
        let usable = self.root.page_up(need + offset + pad).max(self.root.page_up(FIRST_USABLE));
        let usable = usable.min(HEAP_RESERVE);
        let Some(base) = self.root.reserve_heap(usable) else { return false };
        self.begin_heap(base, base + offset, base + usable, base + HEAP_RESERVE, false);
        self.root.set_heap_bit(base, true);
        true
    }

    /// Gives newest heaps back that hold nothing but the top.
    pub(crate) fn drop_empty_heaps(&self) -> bool {
        let mut dropped = false;
        while let Some(heap) = self.heap() {
            let older = heap.older.load(Relaxed);
            if heap.on_break.get() == 1 || older == 0 || self.arena.top.get() != heap.start.get() {
                break;
            }
            let base = core::ptr::from_ref(heap).addr();
            let (start, end) = (heap.start.get(), heap.end.load(Relaxed));
            // SAFETY: the head of an older heap of this arena, mapped.
            let below = unsafe { &*at::<HeapInfo>(older) };
            // The fenceposts there become the top again, with the free chunk before them.
            let mut top = Chunk(below.fence.get());
            // SAFETY: the first fencepost of a closed heap, ours.
            unsafe {
                if !top.header().prev_in_use() {
                    top = self.unlink_free(top.before(top.word(0))).chunk;
                }
            }
            let bytes = below.end.load(Relaxed) - top.0;
            below.fence.set(0);
            self.root.set_heap_bit(base, false);
            self.root.heap_epoch.fetch_add(1, Release);
            self.arena.heap.store(older, Release);
            self.arena.system_bytes.fetch_sub(end - base, Relaxed);
            self.arena.top_touched.set(below.end.load(Relaxed));
            self.arena.top_peak.set(below.end.load(Relaxed));
            self.arena.top_resident.set(0);
            self.set_top(top, bytes);
            self.publish_range();
            self.drop_parts(heap);
            debug_assert!(start > base);
            // SAFETY: no chunk of the heap is in use or in transit: its top is all of it.
            unsafe { self.root.unmap(Span::new(base, base + HEAP_RESERVE)) };
            dropped = true;
        }
        dropped
    }
}
