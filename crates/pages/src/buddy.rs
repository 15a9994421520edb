//! Split and merge: blocks of one order, and their buddies.
//!
//! ```text
//!   order 2   ├───────────────┤            split: keep the lower half,
//!   order 1   ├───────┼───────┤                   insert the upper
//!   order 0   ├───┼───┼───┼───┤            merge: while the buddy is free,
//!              idx idx^1                          remove it and go up
//! ```
//! The lowest free block of the smallest sufficient order is taken; neighbours pass
//! through the run (`run.rs`). Linux takes
//! the newest of its list and puts blocks that may merge soon at the tail, to the
//! same end: low addresses fill, high ones merge. Warm reuse is the per-CPU
//! lists' work.

use crate::error::{AllocError, ClaimError, FreeError};
use crate::frame::{Order, Pfn};
use crate::migrate::MigrateType;
use crate::state::State;
use crate::zone::Zone;

impl Zone<'_> {
    /// Takes a block, whatever the watermarks say. O(orders), plus O(pageblock)
    /// when it has to take over another type's pageblock.
    ///
    /// [`AllocError::OutOfMemory`], [`AllocError::TooLarge`].
    #[inline(always)]
    pub fn alloc(&mut self, order: Order, migrate: MigrateType) -> Result<Pfn, AllocError> {
        if order.get() > self.max_order {
            return Err(AllocError::TooLarge);
        }
        let at = order.get();
        let ready = self.cut(at, migrate).or_else(|| self.take_exact(at, migrate));
        let index = match ready {
            Some(index) => index,
            None => self.search(at, migrate).ok_or(AllocError::OutOfMemory)?,
        };
        self.free = self.free.wrapping_sub(order.frames());
        if ready.is_some() && order == Order::ZERO {
            self.mark_out(index);
        } else {
            self.map.set(index, State::used(order, migrate));
        }
        Ok(self.map.pfn(index))
    }

    #[inline(never)]
    fn search(&mut self, order: usize, migrate: MigrateType) -> Option<usize> {
        self.open(order, migrate).or_else(|| self.take_fallback(order, migrate))
    }

    /// Takes a block back. O(orders). Any misuse is refused and changes nothing.
    ///
    /// All of [`FreeError`].
    #[inline(always)]
    pub fn free(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let index = self.map.index(pfn);
        if order == Order::ZERO && self.take_out(index) {
            self.put(index, order);
            return Ok(());
        }
        if !self.map.get(index).is_used_as(order) {
            return Err(self.refuse(pfn, order));
        }
        self.map.set(index, State::PLAIN);
        self.put(index, order);
        Ok(())
    }

    /// Takes back a block that a per-CPU list held.
    pub(crate) fn free_waiting(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let index = self.map.index(pfn);
        if !self.map.get(index).is_waiting_as(order) {
            return Err(FreeError::DoubleFree);
        }
        self.map.set(index, State::PLAIN);
        self.put(index, order);
        Ok(())
    }

    #[inline(always)]
    fn put(&mut self, index: usize, order: Order) {
        let size = order.frames() as usize;
        if size == 1 && self.join_lone(index) {
            return;
        }
        self.free = self.free.wrapping_add(order.frames());
        if !self.join_quickly(index, size) {
            self.join(index, size);
        }
    }

    /// Takes the very block at `pfn`, if all of it is free. O(orders).
    ///
    /// All of [`ClaimError`].
    pub fn alloc_at(
        &mut self,
        pfn: Pfn,
        order: Order,
        migrate: MigrateType,
    ) -> Result<(), ClaimError> {
        if order.get() > self.max_order {
            return Err(ClaimError::TooLarge);
        }
        let index = self.map.index(pfn);
        if self.map.get(index).is_absent() {
            return Err(ClaimError::Foreign);
        }
        if !pfn.is_aligned(order) {
            return Err(ClaimError::Misaligned);
        }
        self.settle();
        let (head, mut found) = self.free_block_over(index).ok_or(ClaimError::NotFree)?;
        if found < order.get() {
            return Err(ClaimError::NotFree);
        }
        let of = self.type_at(head);
        self.remove(of, found, head);
        while found > order.get() {
            found -= 1;
            let other = (index >> found << found) ^ (1 << found);
            self.insert(of, found, other);
        }
        self.free = self.free.wrapping_sub(order.frames());
        self.map.set(index, State::used(order, migrate));
        Ok(())
    }

    /// Turns a block in use into `1 << order` single frames in use, each to be freed
    /// by itself (Linux's `split_page`). O(frames of the block).
    ///
    /// All of [`FreeError`].
    pub fn split_block(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let index = self.map.index(pfn);
        self.spell_out(index);
        let state = self.map.get(index);
        if !state.is_used_as(order) {
            return Err(self.refuse(pfn, order));
        }
        let single = State::used(Order::ZERO, state.migrate());
        self.map.fill(index, order.frames() as usize, single);
        Ok(())
    }

    /// The lowest block of the smallest sufficient order of one type, split down in
    /// the sets.
    pub(crate) fn take_smallest(&mut self, order: usize, migrate: MigrateType) -> Option<usize> {
        let enough = self.nonempty[migrate.index()] >> order;
        if enough == 0 {
            return None;
        }
        let found = order + enough.trailing_zeros() as usize;
        let index = self.set(migrate, found).first(self.words)? << found;
        self.remove(migrate, found, index);
        self.expand(index, found, order, migrate);
        Some(index)
    }

    /// Gives the upper halves back until the block at `index` is of `order`.
    #[inline]
    pub(crate) fn expand(
        &mut self,
        index: usize,
        mut from: usize,
        order: usize,
        migrate: MigrateType,
    ) {
        while from > order {
            from -= 1;
            self.insert(migrate, from, index + (1 << from));
        }
    }

    /// Puts a block into the free sets, with its free buddies.
    #[inline]
    pub(crate) fn merge(&mut self, index: usize, order: usize) {
        let migrate = self.type_at(index);
        self.merge_as(index, order, migrate);
    }

    #[inline(never)]
    pub(crate) fn merge_as(&mut self, mut index: usize, mut order: usize, migrate: MigrateType) {
        let inside = self.max_order.min(crate::frame::PAGEBLOCK_ORDER.get());
        while order < inside {
            if !self.insert_or_pair(migrate, order, index) {
                return;
            }
            index &= !(1 << order);
            order += 1;
        }
        self.merge_pageblocks(index, order, migrate);
    }

    /// The last steps, across pageblocks: the freed block's type wins.
    #[inline(never)]
    fn merge_pageblocks(&mut self, mut index: usize, mut order: usize, migrate: MigrateType) {
        while order < self.max_order {
            let buddy = index ^ (1 << order);
            let of = if buddy < self.map.len() { self.type_at(buddy) } else { migrate };
            if !self.is_free_block(of, order, buddy) {
                break;
            }
            self.remove(of, order, buddy);
            if of != migrate {
                self.set_types(buddy, 1 << order, migrate);
            }
            index &= buddy;
            order += 1;
        }
        self.insert(migrate, order, index);
    }

    /// Says what is wrong with a free. O(orders).
    #[cold]
    pub(crate) fn refuse(&self, pfn: Pfn, order: Order) -> FreeError {
        let index = self.map.index(pfn);
        let state = self.state_at(index);
        if state.is_absent() {
            FreeError::Foreign
        } else if !pfn.is_aligned(order) {
            FreeError::Misaligned
        } else if state.is_waiting()
            || self.run.contains(index)
            || self.free_block_over(index).is_some()
        {
            FreeError::DoubleFree
        } else if state.is_used() {
            FreeError::WrongOrder { allocated: state.order() }
        } else {
            self.block_over(index).unwrap_or(FreeError::DoubleFree)
        }
    }

    /// The block that covers a frame: in use, or in a per-CPU list and so free.
    fn block_over(&self, index: usize) -> Option<FreeError> {
        (1..=self.max_order).find_map(|order| {
            let head = index >> order << order;
            let state = self.state_at(head);
            let covers = state.is_head() && head + (1 << state.order().get()) > index;
            let inside = FreeError::InsideBlock { head: self.map.pfn(head), order: state.order() };
            let error = if state.is_waiting() { FreeError::DoubleFree } else { inside };
            covers.then_some(error)
        })
    }
}
