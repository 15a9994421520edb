//! Merging the depot of a large arena in parts, so that no call walks over all of it.
//!
//! ```text
//!  depot ──► marked, in no list        parts:  │ first, bytes │ first, bytes │ 0, 0 │ …
//!  heap:   │ live │ marked │ live │ marked │ free │ live │ …
//!                 └ part 3 first           └ part 4 first
//! ```
//! When more waits than the depot may hold, what comes is marked instead of kept in
//! lists, and so is what was there before, some of it at each call. Each part of
//! the heap knows its first marked chunk and how many bytes of them it has. Once
//! all is marked, each call walks over a few parts, in address order, from the
//! first marked chunk to the last, and merges what it finds.
//!
//! A marked chunk stays where it is until a walk over its part comes by, so
//! what a part knows stays true whatever happens around it.

use crate::arena::Held;
use crate::chunk::{Chunk, at};
use crate::fatal::Fault;
use crate::os::{Os, Span};
use crate::sweep::WAYS;
use core::sync::atomic::Ordering::Relaxed;
use heapwise_layout::header::{ALIGNMENT, SWEPT};
use heapwise_layout::state::{HeapInfo, PARTS, Parts};

/// log2 of the bytes of a part of a heap that is not longer than this many times [`PARTS`].
const PART_LOG2: u32 = 17;
/// Chunks that one call marks, …
const MARKS_AT_ONCE: usize = 2 << 10;
/// … or merges one by one, …
const MERGED_AT_ONCE: usize = 4 << 10;
/// … or bytes of a heap that it walks over, if not a part of it is more.
const WALK_AT_ONCE: usize = 2 << 20;
/// If a smaller share of the arena waits, its chunks are merged one by one.
const DENSE_SHARE: usize = 8;

/// log2 of the bytes of a part.
fn part_log2(parts: &Parts) -> u32 {
    PART_LOG2 + parts.doublings.get()
}

/// Makes the parts twice as long.
fn double(parts: &Parts) {
    parts.doublings.set(parts.doublings.get() + 1);
    parts.next.set(0);
    for (index, part) in parts.part.iter().enumerate() {
        let (mut first, mut units) = (0, 0);
        for old in [2 * index, 2 * index + 1] {
            if let Some(old) = parts.part.get(old) {
                if first == 0 {
                    first = old.first.get();
                }
                units += old.units.get();
            }
        }
        part.first.set(first);
        part.units.set(units);
    }
}

impl<O: Os> Held<'_, O> {
    fn parts<'h>(&self, heap: &'h HeapInfo) -> Option<&'h Parts> {
        // SAFETY: 0, or a mapping of their own that lives as long as the heap; all zero is right.
        unsafe { at::<Parts>(heap.parts.get()).as_ref() }
    }

    fn parts_or_new<'h>(&self, heap: &'h HeapInfo) -> Option<&'h Parts> {
        if heap.parts.get() == 0 {
            heap.parts.set(self.root.map(self.root.page_up(size_of::<Parts>()))?);
        }
        self.parts(heap)
    }

    /// A heap is about to go, without a chunk in it.
    pub(crate) fn drop_parts(&self, heap: &HeapInfo) {
        let start = heap.parts.replace(0);
        if start != 0 {
            let end = start + self.root.page_up(size_of::<Parts>());
            // SAFETY: mapped by `parts_or_new`, and nobody else knows it.
            unsafe { self.root.unmap(Span::new(start, end)) };
        }
    }

    /// Marks a chunk in transit that is in no list any more; false if that cannot be noted.
    fn mark_in_part(&self, chunk: Chunk, size: usize) -> bool {
        let heap = self.heap_of(chunk);
        let offset = chunk.0 - heap.start.get();
        let (Ok(place), Some(parts)) =
            (u32::try_from(offset / ALIGNMENT + 1), self.parts_or_new(heap))
        else {
            return false;
        };
        while offset >> part_log2(parts) >= PARTS {
            double(parts);
        }
        let part = &parts.part[offset >> part_log2(parts)];
        if part.first.get() == 0 || place < part.first.get() {
            part.first.set(place);
        }
        part.units.set(part.units.get() + (size / ALIGNMENT) as u32);
        parts.units.set(parts.units.get() + size / ALIGNMENT);
        self.mark(chunk);
        self.arena.marked_bytes.set(self.arena.marked_bytes.get() + size);
        self.arena.marked_count.set(self.arena.marked_count.get() + 1);
        true
    }

    /// Marks a chunk that the depot's count holds already, or merges it.
    fn mark_or_merge(&self, chunk: Chunk, size: usize) {
        if !self.mark_in_part(chunk, size) {
            let bytes = self.arena.depot_bytes.load(Relaxed).saturating_sub(size);
            self.arena.depot_bytes.store(bytes, Relaxed);
            self.coalesce(chunk, size);
        }
    }

    /// Marks a cache's list instead of keeping it.
    pub(crate) fn mark_list(&self, first: usize, size: usize) {
        let mut pointer = first;
        while pointer != 0 {
            let next = self.next_in_transit(pointer);
            let chunk = Chunk::of(pointer);
            // SAFETY: in the list, so a chunk in transit.
            if unsafe { chunk.header() }.size() != size {
                self.root.fatal(Fault::UnalignedInTransit);
            }
            self.mark_or_merge(chunk, size);
            pointer = next;
        }
    }

    /// Bytes that the depot has in lists.
    fn listed_bytes(&self) -> usize {
        self.arena.depot_bytes.load(Relaxed).saturating_sub(self.arena.marked_bytes.get())
    }

    /// Marks some of what the depot has in lists.
    fn mark_some(&self) {
        let taken = self.each_in_depot(MARKS_AT_ONCE, |c, size| self.mark_or_merge(c, size));
        if taken < MARKS_AT_ONCE {
            // The lists are empty, whatever was counted.
            self.arena.depot_bytes.store(self.arena.marked_bytes.get(), Relaxed);
            self.arena.marking.set(0);
        }
    }

    /// Whether so much waits that a walk is the better way to merge it.
    fn is_dense(&self) -> bool {
        let waits = self.arena.depot_bytes.load(Relaxed);
        waits >= self.arena.system_bytes.load(Relaxed) / DENSE_SHARE
    }

    /// All that is in lists is to be merged, by this call and those that follow.
    pub(crate) fn begin_marking(&self) {
        self.arena.marking.set(1);
    }

    /// Goes on with what has been begun, by about as much as one call may do.
    pub(crate) fn go_on_merging(&self) {
        if self.arena.marking.get() != 0 {
            self.mark_some();
        } else if self.arena.marked_bytes.get() > 0 {
            self.walk_some();
            self.trim_top_if_large();
        }
    }

    /// Begins to merge what waits, or goes on; true if it is to be begun again, as only some has been
    /// merged.
    pub(crate) fn begin_merging(&self) -> bool {
        if self.arena.marked_bytes.get() == 0 {
            if !self.is_dense() {
                return self.coalesce_from_depot(MERGED_AT_ONCE) == MERGED_AT_ONCE;
            }
            self.begin_marking();
        }
        self.go_on_merging();
        false
    }

    /// Merges some of all that waits, about as much as one call may; false if nothing is left.
    pub(crate) fn merge_some(&self) -> bool {
        self.consolidate_fast();
        if self.listed_bytes() == 0 {
            self.walk_some();
        } else if self.arena.marked_bytes.get() > 0 || self.is_dense() {
            self.mark_some();
        } else {
            _ = self.coalesce_from_depot(MERGED_AT_ONCE);
        }
        self.trim_top_if_large();
        self.arena.depot_bytes.load(Relaxed) > 0
    }

    /// Walks over the next parts with marked chunks. Once none are left, what is in use decides how
    /// much the depot may hold.
    pub(crate) fn walk_some(&self) {
        let mut left = WALK_AT_ONCE;
        for heap in self.root.heaps(self.arena) {
            let Some(parts) = self.parts(heap) else { continue };
            while parts.units.get() > 0 && left > 0 {
                left = left.saturating_sub(self.walk_parts(heap, parts));
                if self.arena.marked_bytes.get() == 0 {
                    self.set_depot_limit(self.arena.used_bytes.get());
                }
            }
        }
    }

    /// Walks over the next few parts of a heap that has marked chunks, side by side; how many bytes
    /// they are.
    fn walk_parts(&self, heap: &HeapInfo, parts: &Parts) -> usize {
        let log2 = part_log2(parts);
        let most = (WALK_AT_ONCE >> log2).clamp(1, WAYS);
        let mut starts = [(0, 0); WAYS];
        let from = parts.next.get() as usize;
        let (mut count, mut units, mut index) = (0, 0, from);
        while index < PARTS && count < most {
            let part = &parts.part[index];
            let (first, sum) = (part.first.replace(0) as usize, part.units.replace(0) as usize);
            if first != 0 {
                let start = Chunk(heap.start.get() + (first - 1) * ALIGNMENT);
                // SAFETY: a chunk of the heap, noted when it was marked.
                if unsafe { start.header() }.0 & SWEPT == 0 {
                    self.root.fatal(Fault::UnalignedInTransit);
                }
                starts[count] = (start.0, sum * ALIGNMENT);
                count += 1;
                units += sum;
            }
            index += 1;
        }
        parts.next.set(if index < PARTS { index as u32 } else { 0 });
        if count == 0 && from == 0 {
            // Some are marked, says their sum, and no part has one.
            self.root.fatal(Fault::UnalignedInTransit);
        }
        if count > 0 {
            let bytes = units * ALIGNMENT;
            parts.units.set(parts.units.get().saturating_sub(units));
            let end = heap.end.load(Relaxed);
            let met = self.walk_side_by_side(end, false, starts.into_iter().take(count)).met;
            self.arena.marked_count.set(self.arena.marked_count.get().saturating_sub(met));
            self.note_merged(bytes);
            let marked = self.arena.marked_bytes.get().saturating_sub(bytes);
            self.arena.marked_bytes.set(marked);
            let waits = self.arena.depot_bytes.load(Relaxed).saturating_sub(bytes);
            self.arena.depot_bytes.store(waits, Relaxed);
        }
        count << log2
    }
}
