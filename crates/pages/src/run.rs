//! The run: one range of free frames that stands in front of the sets.
//!
//! ```text
//!   sets    order 3 ├───────┤        order 1 ├─┤
//!   run              start ─►├──────────────┤◄─ end
//!                    alloc cuts here        free of the next block grows it
//! ```
//! Blocks that are taken, or freed, side by side pass through the run at a few
//! instructions each; the sets of the orders between would be written once for
//! each block otherwise, and mostly to no lasting effect. What a split leaves over is
//! the run; a block that is freed beside it joins it; anything else first
//! *settles* it: its pieces go into the sets, merged with their buddies.
//!
//! Invariant: no frame of the run is in a set, all are plain; what looks at
//! the sets settles first, or counts the run as if it were settled.

use crate::frame::{ORDERS, Order, PAGEBLOCK_ORDER};
use crate::migrate::{MIGRATE_TYPES, MigrateType};
use crate::zone::Zone;

/// Blocks of the largest order in one run, about.
const GROUP: u32 = 16;
const LARGEST: usize = Order::MAX.frames() as usize;
const PAGEBLOCK: usize = PAGEBLOCK_ORDER.frames() as usize;

/// `start..end`, as indices in the zone; empty, and of no type, if they are equal.
#[derive(Clone, Copy, Default)]
pub(crate) struct Run {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) migrate: MigrateType,
}

impl Run {
    #[inline]
    pub(crate) const fn contains(&self, index: usize) -> bool {
        self.start <= index && index < self.end
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

impl Zone<'_> {
    /// Cuts a block from the run, if it holds one in the right place.
    #[inline(always)]
    pub(crate) fn cut(&mut self, order: usize, migrate: MigrateType) -> Option<usize> {
        let (size, start) = (1 << order, self.run.start);
        let fits = self.run.end - start >= size && start & (size - 1) == 0;
        if !fits || self.run.migrate != migrate {
            return None;
        }
        self.run.start = start + size;
        Some(start)
    }

    /// Takes the lowest block of just this order, if there is one and no run to settle; not
    /// of the largest, which become a run.
    #[inline(always)]
    pub(crate) fn take_exact(&mut self, order: usize, migrate: MigrateType) -> Option<usize> {
        let here = self.nonempty[migrate.index()] >> order & 1 != 0;
        if here && self.run.is_empty() && order < self.max_order {
            self.remove_first(migrate, order)
        } else {
            None
        }
    }

    /// Takes the lowest block of the smallest sufficient order; what is left of it
    /// becomes the run.
    #[inline(never)]
    pub(crate) fn open(&mut self, order: usize, migrate: MigrateType) -> Option<usize> {
        self.settle();
        let enough = self.nonempty[migrate.index()] >> order;
        if enough == 0 {
            return None;
        }
        let found = order + enough.trailing_zeros() as usize;
        let tree = *self.set(migrate, found);
        let bit = tree.first(self.words)?;
        let index = bit << found;
        let mut blocks = 1;
        if found == self.max_order {
            let word = self.words[tree.word_of(bit)];
            blocks = (word >> (bit % 64)).trailing_ones().min(GROUP);
            let taken = ((1 << blocks) - 1) << (bit % 64);
            tree.set_word(self.words, bit, word & !taken);
            self.recount(migrate, found, -(blocks as i32));
        } else {
            self.remove(migrate, found, index);
        }
        let end = index + ((blocks as usize) << found);
        self.run = Run { start: index + (1 << order), end, migrate };
        Some(index)
    }

    /// Takes in a freed block that [`join_quickly`](Self::join_quickly) left: into the run, if
    /// it starts one or comes before it; else the run is settled, this block goes into
    /// the sets, and an empty run waits behind it for the next.
    #[inline(never)]
    pub(crate) fn join(&mut self, index: usize, size: usize) {
        let run = self.run;
        if run.is_empty() {
            if index == run.end {
                self.run = Run { start: index, end: index + size, migrate: self.type_at(index) };
            } else {
                self.put_alone(index, size);
            }
        } else if index + size == run.start && self.same_block(run.start, self.type_at(index)) {
            self.run.start = index;
        } else {
            self.put_alone(index, size);
        }
    }

    /// Takes a freed frame in and counts it, if there is no run and all that it needs is its
    /// bit in the set. A run stays away then until the frame's neighbour comes, whose buddy
    /// is in the set.
    #[inline(always)]
    pub(crate) fn join_lone(&mut self, index: usize) -> bool {
        self.run.is_empty() && index != self.run.end && self.insert_lone(index)
    }

    /// Takes a freed block in, if it continues the run.
    #[inline(always)]
    pub(crate) fn join_quickly(&mut self, index: usize, size: usize) -> bool {
        let run = self.run;
        let continues = !run.is_empty() && index == run.end && self.same_block(index, run.migrate);
        if continues {
            self.run.end = index + size;
        }
        continues
    }

    /// Whether the frame at `border` and the one before it may be in one run: of one
    /// type, and the run not too long to be settled at once.
    #[inline(always)]
    fn same_block(&self, border: usize, migrate: MigrateType) -> bool {
        border & (PAGEBLOCK - 1) != 0
            || (self.run.end - self.run.start < GROUP as usize * LARGEST
                && self.type_at(border) == migrate)
    }

    #[inline(never)]
    fn put_alone(&mut self, index: usize, size: usize) {
        if !self.run.is_empty() {
            self.put_pieces(self.run);
        }
        let migrate = self.type_at(index);
        let behind = index + size;
        self.run = Run { start: behind, end: behind, migrate };
        self.put_block(index, size.trailing_zeros() as usize, migrate);
    }

    /// Puts the run's pieces into the sets, merged. O(orders).
    #[inline]
    pub(crate) fn settle(&mut self) {
        let run = core::mem::take(&mut self.run);
        if !run.is_empty() {
            self.put_pieces(run);
        }
    }

    #[inline(never)]
    fn put_pieces(&mut self, Run { mut start, end, migrate }: Run) {
        while start < end {
            let order = piece_at(start, end, self.max_order);
            self.put_block(start, order, migrate);
            start += 1 << order;
        }
    }

    #[inline(always)]
    fn put_block(&mut self, index: usize, order: usize, migrate: MigrateType) {
        if order == self.max_order {
            self.insert(migrate, order, index);
        } else {
            self.merge_as(index, order, migrate);
        }
    }

    /// The counts of the sets as they would be after settling. O(orders).
    pub(crate) fn settled_counts(&self) -> [[u32; ORDERS]; MIGRATE_TYPES] {
        let mut counts = self.counts();
        let Run { mut start, mut end, migrate } = self.run;
        let mut absorb = |order: usize, buddy: usize| {
            let inside = order < self.max_order && buddy < self.map.len();
            let of = if inside { self.type_at(buddy) } else { migrate };
            let free = inside && self.is_free_block(of, order, buddy);
            counts[of.index()][order] -= u32::from(free);
            free
        };
        while start < end {
            let first = piece_at(start, end, self.max_order);
            let last = piece_before(start, end, self.max_order);
            let below = start ^ (1 << first);
            let above = (end - (1 << last)) ^ (1 << last);
            if below < start && absorb(first, below) {
                start = below;
            } else if above >= end && absorb(last, above) {
                end = above + (1 << last);
            } else {
                break;
            }
        }
        while start < end {
            let order = piece_at(start, end, self.max_order);
            counts[migrate.index()][order] += 1;
            start += 1 << order;
        }
        counts
    }
}

/// The order of the largest aligned block that starts `start..end`.
#[inline]
fn piece_at(start: usize, end: usize, max_order: usize) -> usize {
    let align = (start.trailing_zeros() as usize).min(max_order);
    align.min((end - start).ilog2() as usize)
}

/// The order of the largest aligned block that ends `start..end`.
fn piece_before(start: usize, end: usize, max_order: usize) -> usize {
    let align = (end.trailing_zeros() as usize).min(max_order);
    align.min((end - start).ilog2() as usize)
}
