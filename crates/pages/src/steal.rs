//! When a type has run out: take from another, and whole pageblocks if it pays.
//!
//! ```text
//!   largest foreign block first ─► a pageblock or more:  all of it changes type
//!                               ─► half a pageblock is free or alike: it changes
//!                               ─► else only the block, the rest keeps its type
//!   movable, and only small blocks: the smallest that does (movable can leave)
//! ```
//! Linux 6.12, `__rmqueue_fallback` and `steal_suitable_fallback`: scattering
//! unmovable frames over many pageblocks is what makes huge pages impossible
//! later, so a foreign pageblock is entered seldom, and then taken over.

use crate::frame::{Order, PAGEBLOCK_ORDER};
use crate::migrate::MigrateType;
use crate::zone::Zone;

const PAGEBLOCK: usize = PAGEBLOCK_ORDER.get();

impl Zone<'_> {
    /// A block for `want` out of another type's sets. O(orders + pageblock).
    #[cold]
    pub(crate) fn take_fallback(&mut self, order: usize, want: MigrateType) -> Option<usize> {
        for found in (order..=self.max_order).rev() {
            let Some(from) = self.fallback_with(found, want) else { continue };
            if !want.may_steal(Order::of(found)) && found > order {
                return self.take_smallest_foreign(order, want);
            }
            return self.take_over(found, order, from, want);
        }
        None
    }

    fn fallback_with(&self, order: usize, want: MigrateType) -> Option<MigrateType> {
        want.fallbacks().into_iter().find(|from| self.set(*from, order).count != 0)
    }

    fn take_smallest_foreign(&mut self, order: usize, want: MigrateType) -> Option<usize> {
        let (found, from) = (order..=self.max_order)
            .find_map(|found| Some((found, self.fallback_with(found, want)?)))?;
        self.take_over(found, order, from, want)
    }

    /// Takes a block of order `found`, with its pageblock where that pays.
    fn take_over(
        &mut self,
        found: usize,
        order: usize,
        from: MigrateType,
        want: MigrateType,
    ) -> Option<usize> {
        let index = self.set(from, found).first(self.words)? << found;
        if found >= PAGEBLOCK {
            self.remove(from, found, index);
            self.set_types(index, 1 << found, want);
            self.expand(index, found, order, want);
            return Some(index);
        }
        let block = index >> PAGEBLOCK << PAGEBLOCK;
        if want.may_steal(Order::of(found)) && self.pays_to_take(block, from, want) {
            self.spell_out_pageblock(block);
            self.move_free_blocks(block, from, want);
            self.set_types(block, 1, want);
            return self.take_smallest(order, want);
        }
        self.remove(from, found, index);
        self.expand(index, found, order, from);
        Some(index)
    }

    /// Whether half of a pageblock is free or of a kind with `want`. O(pageblock).
    fn pays_to_take(&self, block: usize, from: MigrateType, want: MigrateType) -> bool {
        let (mut used, mut movable, mut present) = (0, 0, 0);
        for index in block..block + (1 << PAGEBLOCK) {
            let state = self.state_at(index);
            present += u32::from(!state.is_absent());
            if state.is_head() {
                used += state.order().frames();
                if state.is_used() && state.migrate() == MigrateType::Movable {
                    movable += state.order().frames();
                }
            }
        }
        let free = present.saturating_sub(used);
        // From a movable pageblock, what cannot move is of a kind with both other
        // types; between those two, an owner's intent is unknown: nothing is alike.
        let alike = match (want, from) {
            (MigrateType::Movable, _) => movable,
            (_, MigrateType::Movable) => used - movable,
            _ => 0,
        };
        free + alike >= 1 << (PAGEBLOCK - 1)
    }

    /// Moves a pageblock's free blocks from one type's sets to another's, whole
    /// words at a time. O(pageblock / 64 + orders).
    fn move_free_blocks(&mut self, block: usize, from: MigrateType, to: MigrateType) {
        for order in 0..PAGEBLOCK.min(self.max_order + 1) {
            let bits = (1 << PAGEBLOCK) >> order;
            let step = bits.min(64);
            let mask = if step == 64 { u64::MAX } else { (1 << step) - 1 };
            let first = block >> order;
            for bit in (first..first + bits).step_by(step) {
                self.move_bits(order, bit, mask << (bit % 64), from, to);
            }
        }
    }

    fn move_bits(
        &mut self,
        order: usize,
        bit: usize,
        mask: u64,
        from: MigrateType,
        to: MigrateType,
    ) {
        let source = *self.set(from, order);
        let target = *self.set(to, order);
        let old = self.words[source.word_of(bit)];
        let moved = old & mask;
        if moved == 0 {
            return;
        }
        source.set_word(self.words, bit, old & !moved);
        let into = self.words[target.word_of(bit)];
        target.set_word(self.words, bit, into | moved);
        let count = moved.count_ones() as i32;
        self.recount(from, order, -count);
        self.recount(to, order, count);
    }
}
