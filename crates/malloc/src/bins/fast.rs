//! Fastbins: the smallest chunks, not merged while here.
//!
//! ```text
//! fast[i] ──► chunk ──FD──► chunk ──FD──► 0      newest first, one size a bin
//! ```
//! To their neighbours they look in use, so freeing into one costs two stores.
//! [`Held::consolidate_fast`] merges them all: before a large request, after a big
//! merge, before the heap grows, and once they add up to [`FAST_LIMIT_BYTES`].
//! (A thread cache that gives a whole list up does so to the depot.)

use crate::arena::Held;
use crate::chunk::Chunk;
use crate::fatal::Fault;
use crate::os::Os;
use crate::tunables::Setting;
use heapwise_layout::bins::{FASTBINS, fast_index};
use heapwise_layout::header::free;
use heapwise_layout::size::chunk_size;

/// Fastbins are merged when they hold this much: what they pin is bounded.
const FAST_LIMIT_BYTES: usize = 128 << 10;

impl<O: Os> Held<'_, O> {
    /// Largest chunk that goes to a fastbin.
    pub(crate) fn max_fast(&self) -> usize {
        match self.root.settings.get(Setting::MxFast) {
            0 => 0,
            request => chunk_size(request).unwrap_or(0),
        }
    }

    /// Frees a chunk of a fastbin's size.
    pub(crate) fn fast_push(&self, chunk: Chunk, size: usize) {
        let bin = &self.arena.fast[fast_index(size)];
        // SAFETY: the chunk is free and of this arena.
        unsafe { chunk.set_word(free::FD, bin.get()) };
        bin.set(chunk.0);
        self.arena.fast_bytes.set(self.arena.fast_bytes.get() + size);
        if self.arena.fast_bytes.get() > FAST_LIMIT_BYTES {
            self.consolidate_fast();
        }
    }

    /// A chunk of exactly `size` bytes from its fastbin.
    pub(crate) fn fast_pop(&self, size: usize) -> Option<Chunk> {
        if self.arena.fast_bytes.get() == 0 || size > self.max_fast() {
            return None;
        }
        let bin = &self.arena.fast[fast_index(size)];
        let chunk = Chunk(bin.get());
        if chunk == Chunk::NONE {
            return None;
        }
        if !Self::plausible(chunk.0) {
            self.root.fatal(Fault::CorruptFastbin);
        }
        // SAFETY: in the list, so a free chunk of this arena.
        let (header, next) = unsafe { (chunk.header(), chunk.word(free::FD)) };
        if header.size() != size {
            self.root.fatal(Fault::CorruptFastbin);
        }
        bin.set(next);
        self.arena.fast_bytes.set(self.arena.fast_bytes.get() - size);
        Some(chunk)
    }

    /// Merges everything that waits in fastbins. O(chunks there).
    pub(crate) fn consolidate_fast(&self) {
        self.each_in_fast(|chunk, size| self.merge(chunk, size));
    }

    /// Empties the fastbins: each of their chunks and its size.
    pub(crate) fn each_in_fast(&self, mut each: impl FnMut(Chunk, usize)) {
        if self.arena.fast_bytes.replace(0) == 0 {
            return;
        }
        for index in 0..FASTBINS {
            let mut chunk = Chunk(self.arena.fast[index].replace(0));
            while chunk != Chunk::NONE {
                if !Self::plausible(chunk.0) {
                    self.root.fatal(Fault::CorruptFastbin);
                }
                // SAFETY: in the list, so a free chunk of this arena.
                let (header, next) = unsafe { (chunk.header(), chunk.word(free::FD)) };
                if !self.plausible_size(header.size()) || fast_index(header.size()) != index {
                    self.root.fatal(Fault::CorruptFastbin);
                }
                each(chunk, header.size());
                chunk = Chunk(next);
            }
        }
    }
}
