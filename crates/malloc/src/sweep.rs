//! Merging all that waits in fastbins and in the depot.
//!
//! ```text
//!   │ live │ marked │ marked │ free │ live │ marked │ top      one walk, in address order
//!          └──── one free chunk ────┘      └──── top
//! ```
//! A chunk that comes home alone touches its neighbours and their neighbours in
//! two rings: half a dozen lines that are in no cache. So if much waits, all of
//! it is marked first, several lists at a time, as their misses then overlap;
//! the walk finds the rest where the processor has fetched it already.

use crate::arena::Held;
use crate::chunk::{Chunk, prefetch};
use crate::fatal::Fault;
use crate::os::{Os, Span};
use core::sync::atomic::Ordering::Relaxed;
use heapwise_layout::header::{ALIGNMENT, HEADER_OFFSET, Header, MIN_CHUNK, SWEPT};
use heapwise_layout::state::HeapInfo;

/// Walks that go side by side.
pub(crate) const WAYS: usize = 8;

/// Neighbours that become one free chunk; none if `bytes` is 0.
///
/// Changed in place, word by word: moved about it would be written in one width and read in another.
#[derive(Clone, Copy)]
struct Joined {
    chunk: Chunk,
    bytes: usize,
    clean: Span,
    /// 1 for anything but one free chunk as it was, still in its bin.
    changed: usize,
}

impl Joined {
    const NONE: Self =
        Self { chunk: Chunk::NONE, bytes: 0, clean: Span { start: 0, end: 0 }, changed: 0 };

    fn is_none(&self) -> bool {
        self.bytes == 0
    }
}

/// A walk over a part of a heap.
struct Walk {
    /// Reached so far, and its header.
    chunk: Chunk,
    header: Header,
    /// Where the next walk began, or the heap ends.
    end: usize,
    /// Bytes of marked chunks that it is to find, after which it need go no further.
    left: usize,
    /// Neighbours up to here.
    joined: Joined,
    /// Neighbours from the walk's first chunk on, which may have others below.
    first: Joined,
    /// 1 while nothing but those has been seen.
    opens: usize,
    /// 1 until it is at its end.
    open: usize,
}

impl Walk {
    const NONE: Self = Self {
        chunk: Chunk::NONE,
        header: Header(0),
        end: 0,
        left: usize::MAX,
        joined: Joined::NONE,
        first: Joined::NONE,
        opens: 0,
        open: 0,
    };
}

/// What walks have come by: bytes in use, marked chunks.
pub(crate) struct Passed {
    used: usize,
    pub(crate) met: usize,
}

/// Marked chunks, one in each part of the newest heap, for walks to start from.
struct Starts {
    lo: usize,
    part: usize,
    found: [usize; WAYS],
}

impl Starts {
    fn new(heap: Option<&HeapInfo>) -> Self {
        let (lo, end) = heap.map_or((0, 0), |heap| (heap.start.get(), heap.end.load(Relaxed)));
        Self { lo, part: ((end - lo) / WAYS).max(1), found: [0; WAYS] }
    }

    #[inline(always)]
    fn see(&mut self, chunk: usize) {
        if let Some(found) = self.found.get_mut(chunk.wrapping_sub(self.lo) / self.part) {
            *found = chunk;
        }
    }

    /// Those inside a heap, rising, its first chunk left out.
    fn inside(&self, first: usize, end: usize) -> impl Iterator<Item = usize> + use<> {
        self.found.into_iter().skip(1).filter(move |&found| first < found && found < end)
    }
}

impl<O: Os> Held<'_, O> {
    /// Bytes in fastbins and in the depot.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.arena.fast_bytes.get() + self.arena.depot_bytes.load(Relaxed)
    }

    /// Merges everything that waits. O(chunks that wait), or O(chunks of the arena) if
    /// they are a good part of it.
    pub(crate) fn consolidate(&self) {
        self.arena.merge_wanted.store(0, Relaxed);
        while (self.is_large() || self.arena.marked_bytes.get() > 0) && self.merge_some() {}
        if self.arena.depot_bytes.load(Relaxed) == 0 {
            self.consolidate_fast();
        } else if self.waiting_bytes() < self.worth_a_walk() {
            self.consolidate_fast();
            _ = self.coalesce_from_depot(usize::MAX);
            self.trim_top_if_large();
        } else {
            self.consolidate_in_a_walk();
        }
    }

    /// Merges everything that waits in one walk over the arena. (Apart, since a small program
    /// never comes here, and so has fewer pages of the library.)
    #[inline(never)]
    fn consolidate_in_a_walk(&self) {
        self.each_in_fast(|chunk, _| self.mark(chunk));
        let mut starts = Starts::new(self.heap());
        _ = self.each_in_depot(usize::MAX, |chunk, _| {
            self.mark(chunk);
            starts.see(chunk.0);
        });
        self.arena.depot_bytes.store(0, Relaxed);
        let used = self.root.heaps(self.arena).map(|heap| self.sweep(heap, &starts)).sum();
        self.set_depot_limit(used);
        self.trim_top_if_large();
    }

    /// Merges `count` chunks of the depot, one by one, and a few more; how many it were.
    pub(crate) fn coalesce_from_depot(&self, count: usize) -> usize {
        let mut bytes = 0;
        let taken = self.each_in_depot(count, |chunk, size| {
            bytes += size;
            self.coalesce(chunk, size);
        });
        if taken < count {
            // The lists are empty, whatever was counted.
            bytes = self.arena.depot_bytes.load(Relaxed) - self.arena.marked_bytes.get();
        }
        let left = self.arena.depot_bytes.load(Relaxed).saturating_sub(bytes);
        self.arena.depot_bytes.store(left, Relaxed);
        taken.min(count)
    }

    pub(crate) fn mark(&self, chunk: Chunk) {
        // SAFETY: a chunk in transit, in a list of the held arena.
        unsafe { chunk.set_header(Header(chunk.header().0 | SWEPT)) };
    }

    /// Walks a heap, in several places at once, and merges marked chunks with each other and
    /// with free ones; the bytes that are neither.
    fn sweep(&self, heap: &HeapInfo, starts: &Starts) -> usize {
        let (first, end) = (heap.start.get(), heap.end.load(Relaxed));
        let others = starts.inside(first, end).map(|start| (start, usize::MAX));
        self.walk_side_by_side(end, true, core::iter::once((first, usize::MAX)).chain(others)).used
    }

    /// Walks from each of some chunks of a heap, rising, to the next one's start or until so many
    /// bytes of marked ones have been seen; merges those.
    ///
    /// All are marked; but for the first if it is the first of the heap.
    pub(crate) fn walk_side_by_side(
        &self,
        end: usize,
        from_first: bool,
        starts: impl Iterator<Item = (usize, usize)>,
    ) -> Passed {
        let mut walks = [const { Walk::NONE }; WAYS];
        let mut count = 0;
        for (start, left) in starts {
            if count > 0 {
                walks[count - 1].end = start;
            }
            let walk = &mut walks[count];
            walk.chunk = Chunk(start);
            // SAFETY: a chunk of the heap.
            walk.header = unsafe { walk.chunk.header() };
            walk.end = end;
            walk.left = left;
            walk.opens = usize::from(count > 0 || !from_first);
            walk.open = 1;
            count += 1;
        }
        let walks = &mut walks[..count];
        let mut passed = Passed { used: 0, met: 0 };
        let mut open = 1;
        while open != 0 {
            open = 0;
            for walk in &mut *walks {
                if walk.open != 0 {
                    self.step(walk, end, &mut passed);
                    open |= walk.open;
                }
            }
        }
        // Where one walk ended the next may have begun, with a marked chunk.
        let mut joined = Joined::NONE;
        for walk in &mut *walks {
            let first = if walk.opens != 0 { &walk.joined } else { &walk.first };
            if joined.chunk.0 + joined.bytes != first.chunk.0 {
                self.settle_last(&mut joined);
            }
            self.join_above(&mut joined, first);
            if walk.opens == 0 {
                self.settle_last(&mut joined);
                joined = walk.joined;
            }
        }
        self.settle_last(&mut joined);
        passed
    }

    /// [`Held::settle_joined`] where what lies before the first chunk was not passed by a walk, and
    /// the top may follow.
    fn settle_last(&self, joined: &mut Joined) {
        if joined.changed != 0 {
            // SAFETY: a chunk of the heap; the size before one whose P is clear.
            unsafe {
                if !joined.chunk.header().prev_in_use() {
                    let before = self.free_before(joined.chunk);
                    joined.bytes += joined.chunk.0 - before.0;
                    joined.chunk = before;
                    self.unlink_into(joined, before);
                }
            }
            if joined.chunk.0 + joined.bytes == self.arena.top.get() {
                self.set_top(joined.chunk, joined.bytes + self.top_bytes());
                joined.changed = 0;
            }
        }
        self.settle_joined(joined);
    }

    /// One chunk further.
    #[inline(always)]
    fn step(&self, walk: &mut Walk, heap_end: usize, passed: &mut Passed) {
        let Walk { chunk, header, end, .. } = *walk;
        if chunk.0 >= end || chunk.0 == self.arena.top.get() {
            if chunk.0 > end {
                self.root.fatal(Fault::FreeInvalidNextSize);
            }
            walk.open = 0;
            return;
        }
        let size = header.size();
        if size < ALIGNMENT || size > heap_end - chunk.0 {
            self.root.fatal(Fault::FreeInvalidNextSize);
        }
        let next = chunk.offset(size);
        if next.0 == heap_end {
            // The last fencepost.
            walk.open = 0;
            return;
        }
        // SAFETY: a chunk of the heap, from its first to its end: each size is checked before
        // it leads to the next header. The lock is held.
        let next_header = unsafe { next.header() };
        let is_free = !next_header.prev_in_use() && size >= MIN_CHUNK;
        if walk.left == 0 && (!is_free || walk.joined.is_none()) {
            walk.open = 0;
            return;
        }
        prefetch(next.0.wrapping_add(next_header.size()) + HEADER_OFFSET);
        (walk.chunk, walk.header) = (next, next_header);
        let marked = header.0 & SWEPT != 0 && header.tag() == 0;
        if marked || is_free {
            self.join(&mut walk.joined, chunk, size, marked);
            if marked {
                walk.left = walk.left.saturating_sub(size);
                passed.met += 1;
            }
            return;
        }
        if walk.opens != 0 {
            walk.opens = 0;
            walk.first = walk.joined;
            walk.joined.bytes = 0;
            walk.joined.changed = 0;
        } else {
            self.settle_joined(&mut walk.joined);
        }
        passed.used += size;
    }

    /// Adds a chunk to its neighbours below; a free one leaves its bin if there is anything to join.
    #[inline(always)]
    fn join(&self, all: &mut Joined, chunk: Chunk, size: usize, marked: bool) {
        if all.is_none() {
            all.chunk = chunk;
            all.bytes = size;
            all.clean = Span::default();
            all.changed = usize::from(marked);
            return;
        }
        if all.changed == 0 {
            self.unlink_into(all, all.chunk);
        }
        if !marked {
            self.unlink_into(all, chunk);
        }
        all.bytes += size;
        all.changed = 1;
    }

    /// Takes a free chunk that `all` is to hold out of its bin.
    fn unlink_into(&self, all: &mut Joined, chunk: Chunk) {
        let clean = self.unlink_free(chunk).clean;
        if clean.bytes() > all.clean.bytes() {
            all.clean = clean;
        }
    }

    /// Adds neighbours to those below them; if any, the former begin with a marked chunk.
    fn join_above(&self, all: &mut Joined, above: &Joined) {
        if above.is_none() {
            return;
        }
        if all.is_none() {
            *all = *above;
            return;
        }
        if all.changed == 0 {
            self.unlink_into(all, all.chunk);
        }
        if above.clean.bytes() > all.clean.bytes() {
            all.clean = above.clean;
        }
        all.bytes += above.bytes;
        all.changed = 1;
    }

    /// The end of a row of neighbours: one free chunk, if it is not one that there has been.
    #[inline(always)]
    fn settle_joined(&self, joined: &mut Joined) {
        if joined.changed != 0 {
            self.link_free(joined.chunk, joined.bytes, joined.clean);
        }
        joined.bytes = 0;
        joined.changed = 0;
    }
}
