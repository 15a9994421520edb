//! Large bins: ranges of sizes, sorted, best fit.
//!
//! ```text
//! bin ─FD─► 1536 ─► 1536 ─► 1200 ─► 1040 ─► bin       falling sizes
//!            ▲  first of its size ─nextsize─► 1200 ─► 1040 ─► (round to) 1536
//! ```
//! Only the first chunk of each size is in the nextsize ring, so that a search
//! skips equals; the others have 0 there.

use crate::arena::{Found, Held, bin_ring};
use crate::chunk::Chunk;
use crate::fatal::Fault;
use crate::os::Os;
use heapwise_layout::bins::{BINMAP_WORDS, BINS, MIN_LARGE, bin_index};
use heapwise_layout::header::{MIN_CHUNK, free};

/// Whether a free chunk of `found` bytes can serve `size`: no rest, or one that is a chunk.
fn fits(found: usize, size: usize) -> bool {
    found == size || found >= size + MIN_CHUNK
}

impl<O: Os> Held<'_, O> {
    /// Sorts a chunk into a large bin. O(distinct sizes in the bin).
    pub(crate) fn large_insert(&self, ring: Chunk, chunk: Chunk, size: usize) {
        let Some(smallest) = Self::ring_last(ring) else {
            self.ring_insert(ring, chunk);
            self.nextsize_link(chunk, chunk, chunk);
            return;
        };
        // SAFETY: chunks of the ring, free and of this arena; every size in it is large.
        unsafe {
            let largest = Chunk(ring.word(free::FD));
            if size < smallest.header().size() {
                self.ring_insert(smallest, chunk);
                let last_first = Chunk(largest.word(free::BK_NEXTSIZE));
                self.nextsize_link(chunk, last_first, largest);
                return;
            }
            let mut at = largest;
            while size < at.header().size() {
                at = self.nextsize(at, free::FD_NEXTSIZE);
            }
            if size == at.header().size() {
                // Second in its size: the first keeps its place in the nextsize ring.
                self.ring_insert(at, chunk);
                chunk.set_word(free::FD_NEXTSIZE, 0);
            } else {
                self.ring_insert(Chunk(at.word(free::BK)), chunk);
                let larger = Chunk(at.word(free::BK_NEXTSIZE));
                self.nextsize_link(chunk, larger, at);
            }
        }
    }

    /// The nextsize neighbour of `chunk`, its way back checked.
    fn nextsize(&self, chunk: Chunk, way: usize) -> Chunk {
        let back = if way == free::FD_NEXTSIZE { free::BK_NEXTSIZE } else { free::FD_NEXTSIZE };
        // SAFETY: in a large bin and first of its size; the neighbour is checked before use.
        unsafe {
            let next = Chunk(chunk.word(way));
            if !Self::plausible(next.0) || next.word(back) != chunk.0 {
                self.root.fatal(Fault::CorruptLargeRing);
            }
            next
        }
    }

    /// Puts `chunk` between two firsts of their sizes (or makes it the only one).
    fn nextsize_link(&self, chunk: Chunk, larger: Chunk, smaller: Chunk) {
        // SAFETY: free chunks of this arena, large.
        unsafe {
            chunk.set_word(free::BK_NEXTSIZE, larger.0);
            chunk.set_word(free::FD_NEXTSIZE, smaller.0);
            larger.set_word(free::FD_NEXTSIZE, chunk.0);
            smaller.set_word(free::BK_NEXTSIZE, chunk.0);
        }
    }

    /// Takes `chunk`, already out of its ring, out of the nextsize ring too.
    pub(crate) fn nextsize_remove(&self, chunk: Chunk, size: usize) {
        // SAFETY: a free chunk of this arena; the words exist in a large one.
        unsafe {
            if size < MIN_LARGE || chunk.word(free::FD_NEXTSIZE) == 0 {
                return;
            }
            let smaller = self.nextsize(chunk, free::FD_NEXTSIZE);
            let larger = self.nextsize(chunk, free::BK_NEXTSIZE);
            // The ring's links of `chunk` still stand in it: its follower may be an equal.
            let follower = Chunk(chunk.word(free::FD));
            let is_equal = bin_ring(self.arena, bin_index(size)) != follower
                && follower.header().size() == size;
            if is_equal {
                if smaller == chunk {
                    self.nextsize_link(follower, follower, follower);
                } else {
                    self.nextsize_link(follower, larger, smaller);
                }
            } else if smaller != chunk {
                larger.set_word(free::FD_NEXTSIZE, smaller.0);
                smaller.set_word(free::BK_NEXTSIZE, larger.0);
            }
        }
    }

    /// The smallest chunk of the request's own large bin that fits. O(distinct sizes).
    pub(crate) fn large_take(&self, size: usize) -> Option<Found> {
        let ring = bin_ring(self.arena, bin_index(size));
        Self::ring_last(ring)?;
        // SAFETY: the bin is not empty, its first chunk is first of its size.
        unsafe {
            let largest = Chunk(ring.word(free::FD));
            let mut first = self.nextsize(largest, free::BK_NEXTSIZE);
            while !fits(first.header().size(), size) {
                if first == largest {
                    return None;
                }
                first = self.nextsize(first, free::BK_NEXTSIZE);
            }
            // An equal behind the first is cheaper to take.
            let second = Chunk(first.word(free::FD));
            let equal = second != ring && second.header().size() == first.header().size();
            Some(self.unlink_free(if equal { second } else { first }))
        }
    }

    /// The smallest chunk of any larger bin, found by the map of bins.
    pub(crate) fn larger_take(&self, size: usize) -> Option<Found> {
        let mut index = bin_index(size) + 1;
        while index < BINS {
            let word = self.arena.binmap[index / 64].get() & (!0 << (index % 64));
            if word == 0 {
                index = (index / 64 + 1) * 64;
                if index >= BINMAP_WORDS * 64 {
                    return None;
                }
                continue;
            }
            index = index / 64 * 64 + word.trailing_zeros() as usize;
            match Self::ring_last(bin_ring(self.arena, index)) {
                None => self.unmark_bin(index),
                Some(chunk) => {
                    // SAFETY: in the ring, so a free chunk of this arena.
                    if fits(unsafe { chunk.header() }.size(), size) {
                        return Some(self.unlink_free(chunk));
                    }
                }
            }
            index += 1;
        }
        None
    }
}
