//! Many blocks at once: 64 to a word.
//!
//! ```text
//!   free 64 neighbours     order 0  1111…  64 bits  ─ pairs ─►  order 1  11…  32
//!   (any subset of them)   what has no pair stays   ─ pairs ─►  order 2  …    16
//! ```
//! A word's frames merge in parallel, one step an order, rather than one walk up
//! the orders for each frame.

use crate::error::{BulkFreeError, FreeError};
use crate::frame::{Order, PAGEBLOCK_ORDER, Pfn};
use crate::migrate::MigrateType;
use crate::state::{self, State};
use crate::watermark::{Mark, Request};
use crate::zone::Zone;

/// log2 of a word's frames.
const WORD_ORDER: usize = 6;
/// The lower bit of each pair.
const EVEN: u64 = 0x5555_5555_5555_5555;

impl Zone<'_> {
    /// As many blocks as there are, up to `out.len()`, whatever the watermarks say.
    /// O(blocks): about one word operation for 64 blocks.
    pub fn alloc_bulk(&mut self, order: Order, migrate: MigrateType, out: &mut [Pfn]) -> usize {
        self.alloc_some(order, migrate, out.len(), out)
    }

    /// The same, content with `enough` blocks where a word ends.
    fn alloc_some(
        &mut self,
        order: Order,
        migrate: MigrateType,
        enough: usize,
        out: &mut [Pfn],
    ) -> usize {
        let used = State::used(order, migrate);
        let mut got = 0;
        self.settle();
        while got < enough && order.get() <= self.max_order {
            let rest = &mut out[got..];
            let nonempty = self.nonempty[migrate.index()] >> order.get();
            let taken = if nonempty & 1 != 0 {
                self.take_word(migrate, used, rest)
            } else if nonempty != 0 {
                let found = order.get() + nonempty.trailing_zeros() as usize;
                self.take_run(found, migrate, used, rest)
            } else if let Some(index) = self.take_fallback(order.get(), migrate) {
                self.map.set(index, used);
                rest[0] = self.map.pfn(index);
                1
            } else {
                break;
            };
            self.free = self.free.wrapping_sub((taken << order.get()) as u32);
            got += taken;
        }
        got
    }

    /// How many of `wanted` blocks may be taken above a watermark; one at least, which is for the
    /// caller to refuse.
    fn most_above(&self, order: Order, request: Request, mark: Mark, wanted: usize) -> usize {
        let spare = self.spare_frames(request, mark) as usize >> order.get();
        wanted.min(spare.max(1))
    }

    /// The same, but stopping at a watermark.
    pub(crate) fn alloc_above(
        &mut self,
        order: Order,
        request: Request,
        mark: Mark,
        out: &mut [Pfn],
    ) -> usize {
        let count = self.most_above(order, request, mark, out.len());
        self.alloc_bulk(order, request.migrate, &mut out[..count])
    }

    /// The same for a front: half of what it asks for will do, so that what it takes next
    /// begins with a word, and not with the rest of one.
    pub(crate) fn alloc_batch(
        &mut self,
        order: Order,
        request: Request,
        mark: Mark,
        out: &mut [Pfn],
    ) -> usize {
        let count = self.most_above(order, request, mark, out.len());
        self.alloc_some(order, request.migrate, count.div_ceil(2), &mut out[..count])
    }

    /// The free blocks of one word, lowest first.
    fn take_word(&mut self, migrate: MigrateType, used: State, out: &mut [Pfn]) -> usize {
        let order = used.order().get();
        let tree = *self.set(migrate, order);
        let Some(first) = tree.first(self.words) else { return 0 };
        let base = first & !63;
        let mut word = self.words[tree.word_of(first)];
        let mut taken = 0;
        for slot in out {
            if word == 0 {
                break;
            }
            let index = (base + word.trailing_zeros() as usize) << order;
            word &= word - 1;
            self.map.set(index, used);
            *slot = self.map.pfn(index);
            taken += 1;
        }
        tree.set_word(self.words, first, word);
        self.recount(migrate, order, -(taken as i32));
        taken
    }

    /// The lowest block of order `found`, cut to blocks of the wanted one; what is
    /// too much of it goes back as the largest blocks.
    fn take_run(
        &mut self,
        found: usize,
        migrate: MigrateType,
        used: State,
        out: &mut [Pfn],
    ) -> usize {
        let order = used.order().get();
        let bit = self.set(migrate, found).first(self.words);
        let Some(bit) = bit else { return 0 };
        let index = bit << found;
        self.remove(migrate, found, index);
        let count = out.len().min(1 << (found - order));
        for (nth, slot) in out[..count].iter_mut().enumerate() {
            *slot = self.map.pfn(index + (nth << order));
        }
        self.map.fill_every(index, count, order, used);
        let (mut from, to) = (index + (count << order), index + (1 << found));
        while from < to {
            let piece = from.trailing_zeros() as usize;
            self.insert(migrate, piece, from);
            from += 1 << piece;
        }
        count
    }

    /// Takes many blocks of one order back. O(blocks); up to order 3, blocks of one
    /// word (64 neighbours) that follow each other in any order merge together.
    ///
    /// [`BulkFreeError`]: those before the refused one are free.
    pub fn free_bulk(&mut self, blocks: &[Pfn], order: Order) -> Result<(), BulkFreeError> {
        let waiting = false;
        self.free_many(blocks, order, waiting)
    }

    /// The same for blocks in use, or for those that a per-CPU list held.
    pub(crate) fn free_many(
        &mut self,
        blocks: &[Pfn],
        order: Order,
        waiting: bool,
    ) -> Result<(), BulkFreeError> {
        let pageblock = PAGEBLOCK_ORDER.get().min(self.max_order);
        if order.get() + WORD_ORDER <= pageblock {
            return self.free_by_word(blocks, order, waiting);
        }
        for (freed, pfn) in blocks.iter().enumerate() {
            let result =
                if waiting { self.free_waiting(*pfn, order) } else { self.free(*pfn, order) };
            result.map_err(|cause| BulkFreeError { freed, cause })?;
        }
        Ok(())
    }

    fn free_by_word(
        &mut self,
        blocks: &[Pfn],
        order: Order,
        waiting: bool,
    ) -> Result<(), BulkFreeError> {
        self.settle();
        let map = self.map;
        let within = (64 << order.get()) - 1;
        let mut freed = 0;
        let mut result = Ok(());
        while result.is_ok() && freed < blocks.len() {
            let base = map.index(blocks[freed]) & !within;
            if order == Order::ZERO {
                self.spell_out(base);
            }
            let mut mask = 0_u64;
            for pfn in &blocks[freed..] {
                let index = map.index(*pfn);
                if index & !within != base {
                    break;
                }
                let byte = map.byte(index).filter(|byte| {
                    let state = state::load(byte);
                    if waiting { state.is_waiting_as(order) } else { state.is_used_as(order) }
                });
                let bit = 1 << ((index & within) >> order.get());
                let Some(byte) = byte else {
                    let twice = pfn.is_aligned(order) && mask & bit != 0;
                    let cause =
                        if twice { FreeError::DoubleFree } else { self.refuse(*pfn, order) };
                    result = Err(BulkFreeError { freed, cause });
                    break;
                };
                state::store(byte, State::PLAIN);
                mask |= bit;
                freed += 1;
            }
            self.put_word(base, order.get(), mask);
        }
        result
    }

    /// Frees the blocks of `mask` in the word of blocks at `base`.
    #[inline]
    fn put_word(&mut self, base: usize, least: usize, mask: u64) {
        let single = mask.is_power_of_two();
        if single && least == 0 && self.insert_lone(base + mask.trailing_zeros() as usize) {
            return;
        }
        self.free = self.free.wrapping_add(mask.count_ones() << least);
        if mask == u64::MAX {
            return self.merge(base, least + WORD_ORDER);
        }
        if single {
            return self.merge(base + ((mask.trailing_zeros() as usize) << least), least);
        }
        let migrate = self.type_at(base);
        let mut fresh = mask;
        for order in least..least + WORD_ORDER {
            if fresh == 0 {
                return;
            }
            let tree = *self.set(migrate, order);
            let bit = base >> order;
            let window = u64::MAX >> (64 - (64 >> (order - least)));
            let shift = bit % 64;
            let word = self.words[tree.word_of(bit)];
            let before = (word >> shift) & window;
            let both = before | fresh;
            let pairs = both & (both >> 1) & EVEN;
            let after = both & !(pairs | (pairs << 1));
            tree.set_word(self.words, bit, (word & !(window << shift)) | (after << shift));
            self.recount(migrate, order, after.count_ones() as i32 - before.count_ones() as i32);
            fresh = squeeze(pairs);
        }
        if fresh != 0 {
            self.merge(base, least + WORD_ORDER);
        }
    }
}

/// The even bits, side by side.
const fn squeeze(mut even: u64) -> u64 {
    even = (even | even >> 1) & 0x3333_3333_3333_3333;
    even = (even | even >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    even = (even | even >> 4) & 0x00ff_00ff_00ff_00ff;
    even = (even | even >> 8) & 0x0000_ffff_0000_ffff;
    (even | even >> 16) & 0x0000_0000_ffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squeezing_keeps_every_even_bit() {
        assert_eq!(squeeze(EVEN), 0xffff_ffff);
        for bit in 0..32 {
            assert_eq!(squeeze(1 << (2 * bit)), 1 << bit);
        }
    }
}
