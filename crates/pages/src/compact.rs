//! Compaction: movable blocks go up, so that large blocks come free below.
//!
//! ```text
//!   before   M . M . . U . M . .           migrate scanner ─►   ◄─ free scanner
//!   after    . . . . . U . M M M           they stop where they meet, or as soon
//!                                          as a block of the wanted order is free
//! ```
//! The allocator only keeps the books: the caller's [`Mover`] copies the contents
//! and rewrites the mappings, or refuses (pinned), and then nothing has changed.

use crate::frame::{Order, Pfn};
use crate::migrate::MigrateType;
use crate::state::State;
use crate::zone::Zone;

/// Moves frames for the compactor.
pub trait Mover {
    /// Copy the `order.frames()` frames at `from` to `to` and point every mapping
    /// there. `false`: they cannot move now; `from` must be as before.
    fn migrate(&mut self, from: Pfn, to: Pfn, order: Order) -> bool;
}

impl<F: FnMut(Pfn, Pfn, Order) -> bool> Mover for F {
    fn migrate(&mut self, from: Pfn, to: Pfn, order: Order) -> bool {
        self(from, to, order)
    }
}

/// How a compaction went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compacted {
    /// Whether a block of the wanted order is free now.
    pub success: bool,
    /// Blocks in use that the migrate scanner looked at.
    pub scanned: u32,
    /// Frames moved.
    pub moved: u32,
    /// Blocks that the mover refused.
    pub refused: u32,
}

impl Zone<'_> {
    /// Moves movable blocks up until a block of `wanted` is free or the scanners
    /// meet. Blocks in per-CPU lists stay: drain them first.
    /// O(frames), and one mover's call for each block moved.
    pub fn compact(&mut self, wanted: Order, mover: &mut dyn Mover) -> Compacted {
        let mut done = Compacted::default();
        let mut migrate = 0;
        self.settle();
        done.success = self.has_block(wanted);
        while !done.success && migrate < self.map.len() {
            let state = self.state_at(migrate);
            if !state.is_head() {
                migrate += self.free_block_over(migrate).map_or(1, |(head, order)| {
                    (head + (1 << order)).saturating_sub(migrate).max(1)
                });
                continue;
            }
            let order = state.order();
            done.scanned += 1;
            if state.is_used() && state.migrate() == MigrateType::Movable {
                let Some(target) = self.highest_free(order.get(), migrate) else { break };
                if self.move_block(migrate, target, state, mover) {
                    done.moved += order.frames();
                    done.success = self.has_block(wanted);
                } else {
                    done.refused += 1;
                }
            }
            migrate += order.frames() as usize;
        }
        done
    }

    fn has_block(&self, order: Order) -> bool {
        self.nonempty.iter().any(|orders| orders >> order.get() != 0)
    }

    /// The free scanner: the highest place for a block of `order` above the other. Other types'
    /// pageblocks are left to them, as in Linux. O(orders).
    fn highest_free(&self, order: usize, above: usize) -> Option<usize> {
        (order..=self.max_order)
            .filter_map(|found| {
                let set = self.set(MigrateType::Movable, found);
                let head = set.last(self.words)? << found;
                Some(head + (1 << found) - (1 << order))
            })
            .max()
            .filter(|place| *place > above)
    }

    fn move_block(&mut self, from: usize, to: usize, state: State, mover: &mut dyn Mover) -> bool {
        let order = state.order();
        let (from, to) = (self.map.pfn(from), self.map.pfn(to));
        if self.alloc_at(to, order, state.migrate()).is_err() {
            return false;
        }
        let moved = mover.migrate(from, to, order);
        let vacated = if moved { from } else { to };
        let freed = self.free(vacated, order).is_ok();
        self.settle();
        moved & freed
    }
}
