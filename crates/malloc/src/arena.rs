//! An arena, held: the lock, the rings of its bins, chunks entering and leaving them.
//!
//! Invariant while the lock is free: no two neighbouring chunks are both in
//! bins; every binned chunk's size stands again in the next chunk's
//! `prev_size`, whose P is clear; `dirty_bytes` is the sum over binned chunks
//! of the whole pages inside them that are not known to be zero.

use crate::chunk::Chunk;
use crate::fatal::Fault;
use crate::lock;
use crate::os::{Os, Span};
use crate::root::{ADDRESS_BITS, Allocator};
use core::sync::atomic::Ordering::Relaxed;
use heapwise_layout::bins::{BINS, MIN_LARGE, UNSORTED, bin_index};
use heapwise_layout::header::{
    ALIGNMENT, HEADER_OFFSET, Header, MIN_CHUNK, NON_MAIN, PREV_IN_USE, free,
};
use heapwise_layout::state::{ARENA_MAIN, ArenaState};

/// An arena whose lock this thread holds until the value is dropped.
pub struct Held<'a, O: Os> {
    pub(crate) root: &'a Allocator<O>,
    pub(crate) arena: &'a ArenaState,
}

/// A free chunk taken out of its bin, and its pages known to be zero.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) chunk: Chunk,
    pub(crate) size: usize,
    pub(crate) clean: Span,
}

impl<O: Os> Allocator<O> {
    /// Takes the arena's lock.
    pub(crate) fn hold<'a>(&'a self, arena: &'a ArenaState) -> Held<'a, O> {
        lock::lock(&self.os, &arena.lock);
        Held { root: self, arena }
    }

    /// Takes the arena's lock if it is free.
    pub(crate) fn try_hold<'a>(&'a self, arena: &'a ArenaState) -> Option<Held<'a, O>> {
        // Not `then_some`: a value that is not wanted would release the lock.
        lock::try_lock(&arena.lock).then(|| Held { root: self, arena })
    }
}

impl<O: Os> Drop for Held<'_, O> {
    fn drop(&mut self) {
        if self.root.checks_everything() {
            self.root.check_held(self);
        }
        lock::unlock(&self.root.os, &self.arena.lock);
    }
}

/// Makes every ring of a new arena empty.
pub(crate) fn init_bins(arena: &ArenaState) {
    for index in 0..BINS {
        let ring = bin_ring(arena, index).0;
        arena.bins[2 * index].set(ring);
        arena.bins[2 * index + 1].set(ring);
    }
}

/// The bin as a chunk: its FD and BK are the ring's ends.
pub(crate) fn bin_ring(arena: &ArenaState, index: usize) -> Chunk {
    let words: *const _ = &arena.bins[2 * index];
    Chunk(words.expose_provenance() - free::FD)
}

// All memory that the methods below read or write lies in heaps of the held
// arena, or in the arena itself: chunks reached from its rings or by boundary
// tags from a chunk of the heap. That is what their SAFETY comments call "ours".
impl<O: Os> Held<'_, O> {
    /// A: set in the headers of secondary arenas.
    pub(crate) fn arena_flag(&self) -> u64 {
        if self.is_main() { 0 } else { NON_MAIN }
    }

    pub(crate) fn is_main(&self) -> bool {
        self.arena.flags.get() & ARENA_MAIN != 0
    }

    /// Could this word be a chunk's address? Cheap, for pointers found in free memory.
    pub(crate) fn plausible(address: usize) -> bool {
        address != 0 && address.is_multiple_of(ALIGNMENT) && address >> ADDRESS_BITS == 0
    }

    /// Could a chunk of this size lie in the arena?
    pub(crate) fn plausible_size(&self, size: usize) -> bool {
        size >= MIN_CHUNK && size <= self.arena.system_bytes.load(Relaxed)
    }

    /// The whole pages of a free chunk that hold none of its bookkeeping.
    pub(crate) fn interior(&self, chunk: Chunk, size: usize) -> Span {
        Span::new(
            self.root.page_up(chunk.0 + free::PAGED_BYTES),
            self.root.page_down(chunk.0 + size),
        )
    }

    /// The range of a paged free chunk that is known to be zero.
    pub(crate) fn clean_of(&self, chunk: Chunk) -> Span {
        // SAFETY: ours, and paged, so the words exist.
        unsafe { Span { start: chunk.word(free::CLEAN_LO), end: chunk.word(free::CLEAN_HI) } }
    }

    /// Puts a free chunk, its neighbours in use, into the unsorted bin.
    ///
    /// `clean` is what is known to be zero in it.
    pub(crate) fn link_free(&self, chunk: Chunk, size: usize, clean: Span) {
        // SAFETY: the chunk is ours and free, the next one ours.
        unsafe {
            chunk.set_header(Header::new(size, PREV_IN_USE | self.arena_flag()));
            chunk.offset(size).set_word(0, size);
            chunk.offset(size).set_prev_in_use(false);
            if size >= MIN_LARGE {
                chunk.set_word(free::FD_NEXTSIZE, 0);
                chunk.set_word(free::BK_NEXTSIZE, 0);
            }
        }
        self.ring_insert(bin_ring(self.arena, UNSORTED), chunk);
        self.pages_enter(chunk, size, clean);
    }

    /// Takes a free chunk out of whatever ring it is in.
    pub(crate) fn unlink_free(&self, chunk: Chunk) -> Found {
        // SAFETY: ours.
        let (size, repeated) = unsafe {
            let size = chunk.header().size();
            if !self.plausible_size(size) {
                self.root.fatal(Fault::CorruptPrevSize);
            }
            (size, chunk.offset(size).word(0))
        };
        if size != repeated {
            self.root.fatal(Fault::CorruptPrevSize);
        }
        self.ring_remove(chunk, Fault::CorruptRing);
        self.nextsize_remove(chunk, size);
        let clean = self.pages_leave(chunk, size);
        Found { chunk, size, clean }
    }

    /// Puts `chunk` behind `ring` (a bin, or a chunk in one).
    pub(crate) fn ring_insert(&self, ring: Chunk, chunk: Chunk) {
        // SAFETY: ours; a ring is closed, so its FD is a bin or a chunk.
        unsafe {
            let next = Chunk(ring.word(free::FD));
            if !Self::plausible(next.0) || next.word(free::BK) != ring.0 {
                self.root.fatal(Fault::CorruptUnsortedRing);
            }
            chunk.set_word(free::FD, next.0);
            chunk.set_word(free::BK, ring.0);
            ring.set_word(free::FD, chunk.0);
            next.set_word(free::BK, chunk.0);
        }
    }

    /// Takes `chunk` out of its ring; `fault` if the ring is not one.
    pub(crate) fn ring_remove(&self, chunk: Chunk, fault: Fault) {
        // SAFETY: ours; the neighbours are checked before they are written.
        unsafe {
            let (next, previous) = (Chunk(chunk.word(free::FD)), Chunk(chunk.word(free::BK)));
            if !Self::plausible(next.0)
                || !Self::plausible(previous.0)
                || next.word(free::BK) != chunk.0
                || previous.word(free::FD) != chunk.0
            {
                self.root.fatal(fault);
            }
            next.set_word(free::BK, previous.0);
            previous.set_word(free::FD, next.0);
        }
    }

    /// Moves a chunk that is in no ring to the bin of its size.
    pub(crate) fn sort(&self, chunk: Chunk, size: usize) {
        let index = bin_index(size);
        let ring = bin_ring(self.arena, index);
        self.mark_bin(index);
        if size < MIN_LARGE {
            self.ring_insert(ring, chunk);
        } else {
            self.large_insert(ring, chunk, size);
        }
    }

    /// Notes that a bin may hold something.
    fn mark_bin(&self, index: usize) {
        let word = &self.arena.binmap[index / 64];
        word.set(word.get() | 1 << (index % 64));
    }

    /// Notes that a bin holds nothing.
    pub(crate) fn unmark_bin(&self, index: usize) {
        let word = &self.arena.binmap[index / 64];
        word.set(word.get() & !(1 << (index % 64)));
    }

    /// The last chunk of a ring, `None` if it is empty.
    pub(crate) fn ring_last(ring: Chunk) -> Option<Chunk> {
        // SAFETY: a bin of the held arena.
        let last = Chunk(unsafe { ring.word(free::BK) });
        (last != ring).then_some(last)
    }

    /// The end of the heap that holds the top.
    pub(crate) fn top_end(&self) -> usize {
        let top = Chunk(self.arena.top.get());
        // SAFETY: ours; called with a top only.
        top.0 + unsafe { top.header() }.size()
    }

    /// The top chunk's size, 0 if there is no heap yet; fatal if it is no size.
    pub(crate) fn top_bytes(&self) -> usize {
        let top = self.arena.top.get();
        if top == 0 {
            return 0;
        }
        // SAFETY: ours.
        let size = unsafe { Chunk(top).header() }.size();
        if size < MIN_CHUNK || size > self.arena.system_bytes.load(Relaxed) {
            self.root.fatal(Fault::CorruptTop);
        }
        size
    }

    /// Makes `chunk`, reaching to the heap's end, the top.
    pub(crate) fn set_top(&self, chunk: Chunk, size: usize) {
        // SAFETY: ours.
        unsafe { chunk.set_header(Header::new(size, PREV_IN_USE | self.arena_flag())) };
        self.arena.top.set(chunk.0);
        let touched = chunk.0 + HEADER_OFFSET + 8;
        self.arena.top_touched.set(self.arena.top_touched.get().max(touched));
    }
}
