//! Many single frames at once: 64 to a word.
//!
//! ```text
//!   free 64 neighbours     order 0  1111…  64 bits  ─ pairs ─►  order 1  11…  32
//!   (any subset of them)   what has no pair stays   ─ pairs ─►  order 2  …    16
//! ```
//! A word's frames merge in parallel, one step an order, rather than one walk up
//! the orders for each frame.

use crate::error::{BulkFreeError, FreeError};
use crate::frame::{Order, Pfn};
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
    /// O(blocks); at order 0 about one word operation for 64 frames.
    pub fn alloc_bulk(&mut self, order: Order, migrate: MigrateType, out: &mut [Pfn]) -> usize {
        if order == Order::ZERO {
            return self.take_frames(migrate, out);
        }
        for (got, slot) in out.iter_mut().enumerate() {
            match self.alloc(order, migrate) {
                Ok(pfn) => *slot = pfn,
                Err(_) => return got,
            }
        }
        out.len()
    }

    /// The same, but stopping at a watermark.
    pub(crate) fn alloc_above(
        &mut self,
        order: Order,
        request: Request,
        mark: Mark,
        out: &mut [Pfn],
    ) -> usize {
        let spare = self.spare_frames(request, mark) as usize >> order.get();
        let count = out.len().min(spare.max(1));
        self.alloc_bulk(order, request.migrate, &mut out[..count])
    }

    fn take_frames(&mut self, migrate: MigrateType, out: &mut [Pfn]) -> usize {
        let used = State::used(Order::ZERO, migrate);
        let mut got = 0;
        while got < out.len() {
            let rest = &mut out[got..];
            let nonempty = self.nonempty[migrate.index()];
            let taken = if nonempty & 1 != 0 {
                self.take_word(migrate, used, rest)
            } else if nonempty != 0 {
                let order = nonempty.trailing_zeros() as usize;
                self.take_run(order, migrate, used, rest)
            } else if let Some(index) = self.take_fallback(0, migrate) {
                self.map.set(index, used);
                rest[0] = self.map.pfn(index);
                1
            } else {
                break;
            };
            self.free -= taken as u32;
            got += taken;
        }
        got
    }

    /// The free single frames of one word, lowest first.
    fn take_word(&mut self, migrate: MigrateType, used: State, out: &mut [Pfn]) -> usize {
        let tree = self.trees[migrate.index()][0];
        let Some(first) = tree.first(self.words) else { return 0 };
        let base = first & !63;
        let mut word = self.words[tree.word_of(first)];
        let mut taken = 0;
        for slot in out {
            if word == 0 {
                break;
            }
            let index = base + word.trailing_zeros() as usize;
            word &= word - 1;
            self.map.set(index, used);
            *slot = self.map.pfn(index);
            taken += 1;
        }
        tree.set_word(self.words, first, word);
        self.recount(migrate, 0, -(taken as i32));
        taken
    }

    /// The lowest block of `order`, cut to single frames; what is too much of it
    /// goes back as the largest blocks.
    fn take_run(
        &mut self,
        order: usize,
        migrate: MigrateType,
        used: State,
        out: &mut [Pfn],
    ) -> usize {
        let bit = self.trees[migrate.index()][order].first(self.words);
        let Some(bit) = bit else { return 0 };
        let index = bit << order;
        self.remove(migrate, order, index);
        let count = out.len().min(1 << order);
        for (nth, slot) in out[..count].iter_mut().enumerate() {
            *slot = self.map.pfn(index + nth);
        }
        self.map.fill(index, count, used);
        let (mut from, to) = (index + count, index + (1 << order));
        while from < to {
            let piece = from.trailing_zeros() as usize;
            self.insert(migrate, piece, from);
            from += 1 << piece;
        }
        count
    }

    /// Takes many blocks of one order back. O(blocks); at order 0, frames of one
    /// 256 KiB that follow each other in any order merge together.
    ///
    /// [`BulkFreeError`]: those before the refused one are free.
    pub fn free_bulk(&mut self, blocks: &[Pfn], order: Order) -> Result<(), BulkFreeError> {
        let cached = false;
        self.free_many(blocks, order, cached)
    }

    /// The same for blocks in use, or for those that a per-CPU list held.
    pub(crate) fn free_many(
        &mut self,
        blocks: &[Pfn],
        order: Order,
        cached: bool,
    ) -> Result<(), BulkFreeError> {
        if order == Order::ZERO && self.max_order >= WORD_ORDER {
            return self.free_frames_by_word(blocks, cached);
        }
        for (freed, pfn) in blocks.iter().enumerate() {
            let result =
                if cached { self.free_cached(*pfn, order) } else { self.free(*pfn, order) };
            result.map_err(|cause| BulkFreeError { freed, cause })?;
        }
        Ok(())
    }

    fn free_frames_by_word(&mut self, blocks: &[Pfn], cached: bool) -> Result<(), BulkFreeError> {
        let map = self.map;
        let mut freed = 0;
        let mut result = Ok(());
        while result.is_ok() && freed < blocks.len() {
            let base = map.index(blocks[freed]) & !63;
            let mut mask = 0_u64;
            for pfn in &blocks[freed..] {
                let index = map.index(*pfn);
                if index & !63 != base {
                    break;
                }
                let byte = map.byte(index).filter(|byte| {
                    let state = state::load(byte);
                    if cached {
                        state.is_cached_as(Order::ZERO)
                    } else {
                        state.is_used_as(Order::ZERO)
                    }
                });
                let Some(byte) = byte else {
                    let cause = if mask & 1 << (index & 63) != 0 {
                        FreeError::DoubleFree
                    } else {
                        self.refuse(*pfn, Order::ZERO)
                    };
                    result = Err(BulkFreeError { freed, cause });
                    break;
                };
                state::store(byte, State::PLAIN);
                mask |= 1 << (index & 63);
                freed += 1;
            }
            self.put_word(base, mask);
        }
        result
    }

    /// Frees the frames of `mask` in the word of frames at `base`.
    #[inline]
    fn put_word(&mut self, base: usize, mask: u64) {
        self.free += mask.count_ones();
        if mask == u64::MAX {
            return self.merge(base, WORD_ORDER);
        }
        if mask & mask.wrapping_sub(1) == 0 {
            if mask != 0 {
                self.merge(base + mask.trailing_zeros() as usize, 0);
            }
            return;
        }
        let migrate = self.type_at(base);
        let mut fresh = mask;
        for order in 0..WORD_ORDER {
            if fresh == 0 {
                return;
            }
            let tree = self.trees[migrate.index()][order];
            let bit = base >> order;
            let window = u64::MAX >> (64 - (64 >> order));
            let shift = bit % 64;
            let word = self.words[tree.word_of(bit)];
            let before = word >> shift & window;
            let both = before | fresh;
            let pairs = both & both >> 1 & EVEN;
            let after = both & !(pairs | pairs << 1);
            tree.set_word(self.words, bit, word & !(window << shift) | after << shift);
            self.recount(migrate, order, after.count_ones() as i32 - before.count_ones() as i32);
            fresh = squeeze(pairs);
        }
        if fresh != 0 {
            self.merge(base, WORD_ORDER);
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
