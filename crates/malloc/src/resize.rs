//! Live chunks changed where they stand, under the lock: aligned ones cut out,
//! others grown into the top or a free neighbour, or cut short.

use crate::arena::Held;
use crate::cache::live_header;
use crate::chunk::Chunk;
use crate::fatal::Fault;
use crate::os::Os;
use heapwise_layout::header::{Header, MIN_CHUNK, PREV_IN_USE};

impl<O: Os> Held<'_, O> {
    /// Cuts an aligned live chunk of `size` bytes out of one of `bytes` in transit; its user pointer.
    pub(crate) fn cut_aligned(
        &self,
        chunk: Chunk,
        bytes: usize,
        align: usize,
        size: usize,
    ) -> usize {
        let mut pointer = (chunk.pointer() + align - 1) & !(align - 1);
        if pointer != chunk.pointer() && pointer - chunk.pointer() < MIN_CHUNK {
            pointer += align;
        }
        let lead = pointer - chunk.pointer();
        let aligned = Chunk::of(pointer);
        let tail = bytes - lead - size;
        let size = if tail < MIN_CHUNK { size + tail } else { size };
        // SAFETY: all inside the chunk in transit, lock held.
        unsafe {
            // A chunk out of a fastbin may have a free one before it.
            let before = chunk.header().0 & PREV_IN_USE;
            // All headers first: giving one part back may merge what lies around the others.
            if lead > 0 {
                chunk.set_header(Header::new(lead, before | self.arena_flag()));
            }
            let own = if lead > 0 { PREV_IN_USE } else { before };
            aligned.set_header(Header::new(size, own | self.arena_flag()));
            self.mark_live(aligned);
            if tail >= MIN_CHUNK {
                aligned.offset(size).set_header(Header::new(tail, PREV_IN_USE | self.arena_flag()));
                self.give(aligned.offset(size));
            }
            if lead > 0 {
                self.give(chunk);
            }
        }
        pointer
    }

    /// Resizes a live chunk under the lock. Grows into the top or a free neighbour.
    pub(crate) fn resize(&self, chunk: Chunk, old: usize, size: usize) -> bool {
        let next = chunk.offset(old);
        let mut total = old;
        if size > old {
            let missing = size - old;
            // SAFETY: behind a live chunk stands a chunk, the top or a fencepost.
            unsafe {
                if next.0 == self.arena.top.get() {
                    let room = self.top_bytes();
                    let would_map = self.root.wants_mapping(size);
                    if room < missing + MIN_CHUNK && (would_map || !self.ensure_top(missing)) {
                        return false;
                    }
                    // Growing may have moved the top to another heap.
                    if next.0 != self.arena.top.get() {
                        return false;
                    }
                    let rest = self.top_bytes() - missing;
                    let touched = self.arena.top_touched.get();
                    self.set_top(next.offset(missing), rest);
                    self.note_top_touched(touched);
                    self.relabel(chunk, size);
                    return true;
                }
                let next_header = next.header();
                if next_header.size() < MIN_CHUNK {
                    return false;
                }
                if next_header.size() > self.top_limit(chunk) - next.0 {
                    self.root.fatal(Fault::ReallocInvalidNextSize);
                }
                let behind = next.offset(next_header.size());
                if behind.header().prev_in_use() || next_header.size() < missing {
                    return false;
                }
                let found = self.unlink_free(next);
                total += found.size;
                self.root.budget.refault(found.clean.bytes());
                behind.set_prev_in_use(true);
            }
        }
        let rest = total - size;
        if rest < MIN_CHUNK {
            self.relabel(chunk, total);
        } else {
            self.relabel(chunk, size);
            let tail = chunk.offset(size);
            // SAFETY: inside what was the chunk, now nobody's.
            unsafe { tail.set_header(Header::new(rest, PREV_IN_USE | self.arena_flag())) };
            self.merge(tail, rest);
        }
        true
    }

    /// Gives a live chunk a new size, its P kept.
    fn relabel(&self, chunk: Chunk, size: usize) {
        // SAFETY: a live chunk of this arena; its holder waits for this call and
        // this thread may edit headers here, so nobody else writes this one.
        unsafe {
            let keep = chunk.header().0 & PREV_IN_USE;
            chunk.set_header(Header(live_header(self.arena, size) | keep));
        }
    }
}
