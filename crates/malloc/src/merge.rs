//! Free chunks coming home: fastbin, or merged both ways by boundary tags.
//!
//! ```text
//!   │ free, P→ │ freed now │ free │ in use        P of the freed chunk clear: prev_size leads back
//!   └──────────┴───────────┴──────┘ P clear        P of the next but one clear: the next is free
//!   └──── one free chunk, unsorted ┘
//! ```

use crate::arena::Held;
use crate::chunk::Chunk;
use crate::fatal::Fault;
use crate::os::{Os, Span};
use heapwise_layout::bins::CONSOLIDATION_BYTES;
use heapwise_layout::header::ALIGNMENT;

impl<O: Os> Held<'_, O> {
    /// Takes back a chunk in transit.
    pub(crate) fn give(&self, chunk: Chunk) {
        // SAFETY: a chunk of this arena, freed by its holder.
        let size = unsafe { chunk.header() }.size();
        if !self.plausible_size(size) {
            self.root.fatal(Fault::FreeInvalidSize);
        }
        if size <= self.max_fast() {
            self.fast_push(chunk, size);
        } else {
            self.merge(chunk, size);
        }
    }

    /// Merges a free chunk with its free neighbours into the unsorted bin or the top;
    /// a large result consolidates the fastbins and may trim.
    pub(crate) fn merge(&self, chunk: Chunk, size: usize) {
        if self.coalesce(chunk, size) >= CONSOLIDATION_BYTES {
            self.consolidate_fast();
            self.trim_top_if_large();
        }
    }

    /// Merges a free chunk with its free neighbours, no more; the size that came out.
    ///
    /// For callers that need the top as it is: a trim would take away what was just got.
    pub(crate) fn coalesce(&self, mut chunk: Chunk, mut size: usize) -> usize {
        let next = chunk.offset(size);
        self.note_merged(size);
        let mut clean = Span::default();
        // SAFETY: `chunk` is a chunk of this arena and its size was checked to
        // lie in it; `next` is then a chunk, the top or a fencepost.
        unsafe {
            if next.0 > self.top_limit(chunk) {
                self.root.fatal(Fault::FreeInvalidSize);
            }
            if !chunk.header().prev_in_use() {
                let found = self.unlink_free(self.free_before(chunk));
                chunk = found.chunk;
                size += found.size;
                clean = found.clean;
            }
            if next.0 == self.arena.top.get() {
                size += self.top_bytes();
                self.set_top(chunk, size);
            } else {
                let next_header = next.header();
                let next_size = next_header.size();
                if next_size < ALIGNMENT || next_size > self.top_limit(next) - next.0 {
                    self.root.fatal(Fault::FreeInvalidNextSize);
                }
                if !next_header.prev_in_use() {
                    self.root.fatal(Fault::DoubleFreeBinned);
                }
                if !next.offset(next_size).header().prev_in_use() && next_size != ALIGNMENT {
                    let found = self.unlink_free(next);
                    size += found.size;
                    if found.clean.bytes() > clean.bytes() {
                        clean = found.clean;
                    }
                }
                self.link_free(chunk, size, clean);
            }
        }
        size
    }

    /// The free chunk before `chunk`.
    ///
    /// # Safety
    /// `chunk` is one of this arena's, and its P is clear.
    pub(crate) unsafe fn free_before(&self, chunk: Chunk) -> Chunk {
        // SAFETY: with P clear the size of the chunk before stands here; it is checked to lead to a
        // chunk of the heap with this size.
        unsafe {
            let size = chunk.word(0);
            if !self.plausible_size(size)
                || size > chunk.0
                || chunk.0 - size < self.heap_start(chunk)
                || chunk.before(size).header().size() != size
            {
                self.root.fatal(Fault::CorruptPrevSizeMerging);
            }
            chunk.before(size)
        }
    }
}
