//! The depot: lists that thread caches gave up, kept as they are until merging pays.
//!
//! ```text
//! depot[class] ──► first ──► chunk ──► … 0        a batch: one list of one class
//!                    └ below ──► first ──► …      the batch that came before it
//! ```
//! Putting a batch here, and taking one out, touches its first chunk alone. So a
//! program that frees and allocates the same sizes again merges nothing, nor
//! does one that frees everything and ends. Chunks here are in transit.
//!
//! What waits here is merged (see `sweep`) before the heap grows, if it is worth
//! it; when it is three quarters of what was in use at the last sweep; when the arena's thread
//! sleeps, and if it does not but the batches stay, when the helper asks for it;
//! and by `malloc_trim`. In a large arena each call does a bounded share of it (see
//! `parts`). What was merged and then needed again is not merged the next time.

use crate::arena::Held;
use crate::cache::{END_BIN, FIRST_BIN};
use crate::chunk::{Chunk, at, prefetch};
use crate::fatal::Fault;
use crate::os::Os;
use crate::stats::Tally;
use crate::sweep::WAYS;
use core::sync::atomic::Ordering::Relaxed;
use heapwise_layout::header::{ALIGNMENT, HEADER_BYTES, HEADER_OFFSET, Header, OVERHEAD_BYTES};
use heapwise_layout::size::bin_size;
use heapwise_layout::state::Batch;

/// The limit is never below this.
const LIMIT_MIN_BYTES: usize = 64 << 10;
/// Otherwise it is so much of what is in use …
const LIMIT_PARTS: usize = 3;
/// … of so many parts; what is merged at once is then three times as much as what stays. With
/// less, a heap that is freed is walked over more often, for fewer chunks each time …
const LIMIT_OF_PARTS: usize = 4;
/// … or, in a heap of which less than one part in so many is in use, as much: there each chunk
/// pins a page.
const SPARSE_SHARE: usize = 8;
/// An arena with more from the system than this is large: no call walks over it (see `parts`).
const LARGE_ARENA_BYTES: usize = 64 << 20;
/// Before the heap grows, so much is worth merging …
const WORTH_MIN_BYTES: usize = 64 << 10;
/// … and so large a part of the heap.
const WORTH_SHARE: usize = 32;
/// What has been here for a whole look of the helper is worth asking for.
const ASK_MIN_BYTES: usize = 256 << 10;

/// A list of the depot that is being followed.
#[derive(Clone, Copy)]
struct Way {
    pointer: usize,
    index: usize,
    left: usize,
}

impl<O: Os> Held<'_, O> {
    /// Takes a cache's list of `count` chunks as it is, and merges what waits if that is too much.
    pub(crate) fn park(&self, index: usize, first: usize, count: usize) {
        let bytes = self.arena.depot_bytes.load(Relaxed) + count * bin_size(index);
        self.arena.depot_bytes.store(bytes, Relaxed);
        let is_full = bytes > self.arena.depot_limit.get() && !self.swings();
        if self.is_large() {
            if is_full && self.arena.marked_bytes.get() == 0 {
                self.note_full(bytes);
                self.begin_marking();
            }
            if self.arena.marking.get() != 0 {
                self.mark_list(first, bin_size(index));
            } else {
                self.put(index, first, count);
            }
            return self.go_on_merging();
        }
        self.put(index, first, count);
        if is_full {
            self.note_full(bytes);
            self.consolidate();
        }
    }

    /// Puts a list on the stack of its class.
    fn put(&self, index: usize, first: usize, count: usize) {
        // SAFETY: a chunk in transit and ours, at least as large as a batch's head.
        let batch = unsafe { &*at::<Batch>(first) };
        batch.below.set(self.arena.depot[index].get());
        batch.count.set(count);
        self.arena.depot[index].set(first);
    }

    /// Takes lists out of the depot, several at a time, until there have been `most` chunks or there
    /// are no more; each chunk and its size. How many there were; how much is left, the caller counts.
    pub(crate) fn each_in_depot(&self, most: usize, mut each: impl FnMut(Chunk, usize)) -> usize {
        let mut index = FIRST_BIN;
        let mut next_list = || {
            while index < END_BIN {
                let first = self.arena.depot[index].get();
                if first != 0 {
                    let batch = self.batch(index, first);
                    self.arena.depot[index].set(batch.below.get());
                    return Some(Way { pointer: first, index, left: batch.count.get() });
                }
                index += 1;
            }
            None
        };
        let mut ways = [Way { pointer: 0, index: 0, left: 0 }; WAYS];
        let mut taken = 0;
        let mut open = true;
        while open && taken < most {
            open = false;
            for way in &mut ways {
                if way.pointer == 0 {
                    match next_list() {
                        Some(list) => *way = list,
                        None => continue,
                    }
                }
                open = true;
                let pointer = way.pointer;
                let size = bin_size(way.index);
                way.pointer = self.next_in_transit(pointer);
                way.left = way.left.saturating_sub(1);
                prefetch(way.pointer);
                prefetch(way.pointer.wrapping_sub(OVERHEAD_BYTES));
                let chunk = Chunk::of(pointer);
                // SAFETY: in the list, so a chunk in transit.
                if unsafe { chunk.header() }.size() != size {
                    self.root.fatal(Fault::UnalignedInTransit);
                }
                each(chunk, size);
                taken += 1;
            }
        }
        for way in ways.into_iter().filter(|way| way.pointer != 0) {
            self.put(way.index, way.pointer, way.left);
        }
        let bytes = self.arena.depot_bytes.load(Relaxed);
        self.arena.depot_low_bytes.set(self.arena.depot_low_bytes.get().min(bytes));
        taken
    }

    /// The newest batch of a class: its first chunk and how many; `None` without one.
    pub(crate) fn unpark(&self, index: usize) -> Option<(usize, usize)> {
        let first = self.arena.depot[index].get();
        if first == 0 {
            return None;
        }
        let batch = self.batch(index, first);
        let count = batch.count.get();
        self.arena.depot[index].set(batch.below.get());
        let bytes = self.arena.depot_bytes.load(Relaxed).saturating_sub(count * bin_size(index));
        self.arena.depot_bytes.store(bytes, Relaxed);
        self.arena.depot_low_bytes.set(self.arena.depot_low_bytes.get().min(bytes));
        Some((first, count))
    }

    /// The head of a batch of class `index`, looked at before it is believed.
    pub(crate) fn batch(&self, index: usize, first: usize) -> &Batch {
        // SAFETY: an address that some list led to; its header tells whether a chunk is there.
        let header = |pointer: usize| unsafe {
            Header(at::<u64>(pointer - HEADER_BYTES + HEADER_OFFSET).read())
        };
        if !first.is_multiple_of(ALIGNMENT) || header(first).size() != bin_size(index) {
            self.root.fatal(Fault::UnalignedInTransit);
        }
        // SAFETY: a chunk of this class, in transit and ours.
        unsafe { &*at::<Batch>(first) }
    }

    /// How much is here. O(batches).
    pub(crate) fn depot_tally(&self) -> Tally {
        let mut count = 0;
        for index in FIRST_BIN..END_BIN {
            let mut first = self.arena.depot[index].get();
            while first != 0 {
                let batch = self.batch(index, first);
                count += batch.count.get();
                first = batch.below.get();
            }
        }
        count += self.arena.marked_count.get();
        Tally { count, bytes: self.arena.depot_bytes.load(Relaxed) }
    }

    /// Before the heap grows: merges what waits, if it is enough to be worth it.
    pub(crate) fn consolidate_if_worth(&self) -> bool {
        let waits = self.waiting_bytes();
        let worth = waits >= WORTH_MIN_BYTES
            && waits >= self.arena.system_bytes.load(Relaxed) / WORTH_SHARE;
        if worth && self.is_large() {
            self.begin_merging();
        } else if worth {
            self.consolidate();
        }
        worth
    }

    /// Nothing grows: merges what waits, however little; false if nothing does.
    pub(crate) fn consolidate_all(&self) -> bool {
        let waits = self.waiting_bytes() > 0;
        if waits {
            self.consolidate();
        }
        waits
    }

    /// So much is in use, as a sweep has found or since the heap grows.
    pub(crate) fn set_depot_limit(&self, used: usize) {
        let system = self.arena.system_bytes.load(Relaxed);
        let used = used.min(system);
        let limit = if used < system / SPARSE_SHARE {
            used / SPARSE_SHARE
        } else {
            used / LIMIT_OF_PARTS * LIMIT_PARTS
        };
        self.arena.used_bytes.set(used);
        self.arena.depot_limit.set(limit.max(LIMIT_MIN_BYTES));
    }

    /// So much has been merged.
    pub(crate) fn note_merged(&self, bytes: usize) {
        self.arena.used_bytes.set(self.arena.used_bytes.get().saturating_sub(bytes));
    }

    /// So much is merged since the depot is full.
    fn note_full(&self, bytes: usize) {
        let merged = self.arena.merged_bytes.get();
        if merged == 0 {
            self.arena.cut_bytes.set(0);
        }
        self.arena.merged_bytes.set(merged + bytes);
    }

    /// So much has been cut.
    pub(crate) fn note_cut(&self, bytes: usize) {
        self.arena.used_bytes.set(self.arena.used_bytes.get() + bytes);
        self.arena.cut_bytes.set(self.arena.cut_bytes.get() + bytes);
    }

    /// The depot is full. Whether it may hold more all the same: what had been merged when it was
    /// full was needed again, at least half of it.
    fn swings(&self) -> bool {
        let arena = self.arena;
        if arena.swings.get() == 0
            && arena.merged_bytes.get() > 0
            && arena.cut_bytes.get() >= arena.merged_bytes.get() / 2
        {
            arena.swings.set(1);
        }
        arena.swings.get() != 0
    }

    /// From how many bytes on a walk over the arena is the better way to merge what waits.
    pub(crate) fn worth_a_walk(&self) -> usize {
        self.arena.depot_limit.get()
    }

    /// Whether a walk over the arena would keep its caller waiting.
    pub(crate) fn is_large(&self) -> bool {
        self.arena.system_bytes.load(Relaxed) > LARGE_ARENA_BYTES
    }

    /// The helper's look at an arena whose thread is at work: asks it to merge what
    /// has been here since the last look. True if it was asked.
    pub(crate) fn ask_to_merge(&self) -> bool {
        let bytes = self.arena.depot_bytes.load(Relaxed);
        let low = self.arena.depot_low_bytes.replace(bytes).min(bytes);
        let ask = low >= ASK_MIN_BYTES;
        if ask {
            self.arena.merge_wanted.store(1, Relaxed);
        }
        ask
    }

    /// Merges what waits if the helper has asked for it.
    pub(crate) fn merge_if_asked(&self) {
        if self.arena.merge_wanted.load(Relaxed) == 0 {
            return;
        }
        self.end_swings();
        if self.is_large() {
            self.arena.merge_wanted.store(u32::from(self.begin_merging()), Relaxed);
        } else {
            self.consolidate();
        }
    }

    /// What the depot holds has not been needed for a while.
    pub(crate) fn end_swings(&self) {
        self.arena.swings.set(0);
        self.arena.merged_bytes.set(0);
        self.arena.cut_bytes.set(0);
    }
}
