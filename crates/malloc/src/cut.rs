//! Chunks going out: found in the bins or cut from the top.
//!
//! The order of the articles: fastbin, small bin, unsorted, large bins (best
//! fit), any larger bin, top, kernel. Invariant: what goes out has exactly the
//! size asked for; a rest of 16 bytes is avoided by taking another chunk.

use crate::arena::{Found, Held};
use crate::chunk::{Chunk, at};
use crate::os::{Os, Span};
use core::sync::atomic::Ordering::Relaxed;
use heapwise_layout::bins::MIN_LARGE;
use heapwise_layout::header::{Header, MIN_CHUNK, PREV_IN_USE};

/// A chunk in transit, and what in it is known to be zero.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) chunk: Chunk,
    pub(crate) zero: Span,
}

/// Chunks of one size, linked through their user pointers in address order.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) count: usize,
}

impl Run {
    const EMPTY: Self = Self { first: 0, last: 0, count: 0 };

    /// Appends a chunk.
    fn push(&mut self, chunk: Chunk) {
        let pointer = chunk.pointer();
        if self.last == 0 {
            self.first = pointer;
        } else {
            // SAFETY: the last chunk of the run, in transit and ours.
            unsafe { at::<usize>(self.last).write(pointer) };
        }
        // SAFETY: as above.
        unsafe { at::<usize>(pointer).write(0) };
        self.last = pointer;
        self.count += 1;
    }
}

impl<O: Os> Held<'_, O> {
    /// One chunk of exactly `size` bytes, or `None` if the kernel gives no more.
    pub(crate) fn take(&self, size: usize) -> Option<Taken> {
        if let Some(chunk) = self.fast_pop(size) {
            return Some(Taken { chunk, zero: Span::default() });
        }
        if let Some(found) = self.find(size) {
            self.cut(found, size, 1, |_| ());
            return Some(Taken { chunk: found.chunk, zero: found.clean });
        }
        if !self.ensure_top(size) {
            return if self.consolidate_all() { self.take(size) } else { None };
        }
        let untouched = self.arena.top_touched.get();
        let chunk = Chunk(self.arena.top.get());
        self.cut_top(size, 1, |_| ());
        Some(Taken { chunk, zero: Span::new(untouched.max(chunk.pointer()), chunk.0 + size) })
    }

    /// Up to `want` chunks of exactly `size` bytes; fewer if that saves a search, 0 only
    /// if the kernel gives no more.
    pub(crate) fn take_run(&self, size: usize, want: usize) -> Run {
        let mut run = Run::EMPTY;
        while run.count < want {
            let Some(chunk) = self.fast_pop(size) else { break };
            run.push(chunk);
        }
        while run.count < want && size < MIN_LARGE {
            let Some(found) = self.small_take(size) else { break };
            self.cut(found, size, 1, |c| run.push(c));
        }
        if run.count > 0 {
            return run;
        }
        if let Some(found) = self.find(size) {
            self.cut(found, size, want, |c| run.push(c));
        } else if self.ensure_top(size) {
            let most = (self.top_bytes() - MIN_CHUNK) / size;
            self.cut_top(size, want.min(most), |c| run.push(c));
        } else if self.consolidate_all() {
            return self.take_run(size, want);
        }
        run
    }

    /// A free chunk that can serve `size`, out of its bin. What waits in the depot is
    /// merged first if else the heap would grow.
    fn find(&self, size: usize) -> Option<Found> {
        if let Some(found) = self.search(size) {
            return Some(found);
        }
        if self.top_bytes() >= size + MIN_CHUNK || !self.consolidate_if_worth() {
            return None;
        }
        self.search(size)
    }

    fn search(&self, size: usize) -> Option<Found> {
        if size < MIN_LARGE {
            if let Some(found) = self.small_take(size) {
                return Some(found);
            }
        } else if self.arena.fast_bytes.get() > 0 {
            self.consolidate_fast();
        }
        if let Some(found) = self.unsorted_take(size) {
            return Some(found);
        }
        if size >= MIN_LARGE
            && let Some(found) = self.large_take(size)
        {
            return Some(found);
        }
        self.larger_take(size)
    }

    /// Cuts up to `want` chunks from the front of a found one; the rest goes back unsorted.
    fn cut(&self, found: Found, size: usize, want: usize, mut each: impl FnMut(Chunk)) {
        let mut count = want.min(found.size / size);
        if found.size - count * size == MIN_CHUNK / 2 {
            count -= 1;
        }
        self.note_cut(count * size);
        let flags = PREV_IN_USE | self.arena_flag();
        let rest = found.chunk.offset(count * size);
        let clean = self.prepare_within(found.clean, rest.0, count * size);
        for index in 0..count {
            let chunk = found.chunk.offset(index * size);
            // SAFETY: inside the found chunk, which is free and ours.
            unsafe { chunk.set_header(Header::new(size, flags)) };
            each(chunk);
        }
        let rest_bytes = found.size - count * size;
        let used = Span::new(found.chunk.0, rest.0);
        self.root.budget.refault(found.clean.overlap(used).bytes());
        if rest_bytes == 0 {
            // SAFETY: the chunk behind the found one, ours.
            unsafe { rest.set_prev_in_use(true) };
        } else {
            self.link_free(rest, rest_bytes, clean);
            if size < MIN_LARGE {
                self.arena.last_remainder.set(rest.0);
            }
        }
    }

    /// Cuts `count` chunks from the top, which is large enough.
    fn cut_top(&self, size: usize, count: usize, mut each: impl FnMut(Chunk)) {
        let top = Chunk(self.arena.top.get());
        let bytes = self.top_bytes();
        let flags = PREV_IN_USE | self.arena_flag();
        self.note_cut(count * size);
        self.prepare_top(top.0 + count * size + MIN_CHUNK, count * size);
        let touched = self.arena.top_touched.get();
        for index in 0..count {
            let chunk = top.offset(index * size);
            // SAFETY: inside the top, which is ours.
            unsafe { chunk.set_header(Header::new(size, flags)) };
            each(chunk);
        }
        let rest = top.offset(count * size);
        self.set_top(rest, bytes - count * size);
        self.note_top_touched(touched);
        self.arena.turns.fetch_add(1, Relaxed);
    }
}
