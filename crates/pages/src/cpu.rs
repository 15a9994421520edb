//! What one CPU keeps in front of the buddy: stacks of ready blocks.
//!
//! ```text
//!   warm[order]       the block freed last    ▲ push, pop: one CPU, no lock, newest first
//!   single[type]        256 frames            │
//!   larger[order][type]  64 blocks            │
//!                     ▼ empty: a batch at once from the buddy; full: the older half back
//! ```
//! The warm block stands beside the stacks (`warm.rs`): of a stack, length and slot are
//! written at each step, of the warm block only the frame's byte.
//!
//! Linux's per-cpu pagesets for orders 0 to 3, with its batch of 63 rounded up to
//! a word: 64 neighbours share one cache line of frame bytes, so two CPUs that
//! refill do not share one. Larger orders go straight to the buddy.

use crate::atomic::AtomicU8;
#[cfg(not(loom))]
use crate::atomic::NOWHERE;
use crate::frame::{Order, Pfn};
use crate::migrate::MIGRATE_TYPES;
use crate::state::State;
use crate::warm::Warm;
use crate::zone::ZONES;

/// Frames taken from the buddy at once.
pub const BATCH: usize = 64;
/// Single frames kept at most, for each zone and type.
pub const HIGH: usize = 256;
/// The largest order with lists (Linux's `PAGE_ALLOC_COSTLY_ORDER`).
pub const LISTED_ORDER: usize = 3;
/// Blocks of a larger order kept at most.
pub const HIGH_LARGER: usize = 64;

/// Blocks taken at once, for each order: a mebibyte at most.
const BATCHES: [usize; LISTED_ORDER + 1] = [BATCH, 32, 32, 32];

const _: () = assert!(HIGH >= 2 * BATCH && HIGH_LARGER >= 2 * 32);

/// A stack of blocks.
pub(crate) struct Stack<const N: usize> {
    len: usize,
    slots: [Pfn; N],
}

impl<const N: usize> Stack<N> {
    const EMPTY: Self = Self { len: 0, slots: [Pfn::new(0); N] };

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Pfn> {
        let top = self.len.wrapping_sub(1);
        let pfn = *self.slots.get(top)?;
        self.len = top;
        Some(pfn)
    }

    /// `false` if it is full.
    #[inline]
    pub(crate) fn push(&mut self, pfn: Pfn) -> bool {
        let Some(slot) = self.slots.get_mut(self.len) else { return false };
        *slot = pfn;
        self.len += 1;
        true
    }
}

/// A stack of any size, for the slow paths.
pub(crate) struct StackMut<'s> {
    len: &'s mut usize,
    slots: &'s mut [Pfn],
}

impl StackMut<'_> {
    /// Fills the (empty) stack so that the first of `blocks` is popped first.
    pub(crate) fn refill(&mut self, blocks: &[Pfn]) {
        for (slot, pfn) in self.slots.iter_mut().zip(blocks.iter().rev()) {
            *slot = *pfn;
        }
        *self.len = blocks.len();
    }

    pub(crate) fn pop(&mut self) -> Option<Pfn> {
        let top = self.len.wrapping_sub(1);
        let pfn = *self.slots.get(top)?;
        *self.len = top;
        Some(pfn)
    }

    pub(crate) const fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The oldest `count` blocks.
    pub(crate) fn oldest(&self, count: usize) -> &[Pfn] {
        &self.slots[..count.min(*self.len)]
    }

    /// Forgets the oldest `count` blocks.
    pub(crate) fn forget_oldest(&mut self, count: usize) {
        let count = count.min(*self.len);
        self.slots.copy_within(count..*self.len, 0);
        *self.len -= count;
    }
}

/// One zone's lists.
pub(crate) struct ZoneLists {
    pub(crate) single: [Stack<HIGH>; MIGRATE_TYPES],
    larger: [[Stack<HIGH_LARGER>; MIGRATE_TYPES]; LISTED_ORDER],
}

impl ZoneLists {
    const EMPTY: Self = Self {
        single: [const { Stack::EMPTY }; MIGRATE_TYPES],
        larger: [const { [const { Stack::EMPTY }; MIGRATE_TYPES] }; LISTED_ORDER],
    };

    /// The stack of an order that has lists.
    pub(crate) fn stack(&mut self, order: usize, migrate: usize) -> Option<StackMut<'_>> {
        if order == 0 {
            let stack = self.single.get_mut(migrate)?;
            return Some(StackMut { len: &mut stack.len, slots: &mut stack.slots });
        }
        let stack = self.larger.get_mut(order - 1)?.get_mut(migrate)?;
        Some(StackMut { len: &mut stack.len, slots: &mut stack.slots })
    }

    #[inline]
    pub(crate) fn larger(
        &mut self,
        order: usize,
        migrate: usize,
    ) -> Option<&mut Stack<HIGH_LARGER>> {
        self.larger.get_mut(order.wrapping_sub(1))?.get_mut(migrate)
    }
}

/// What marks a front's warm blocks as its own; no two fronts of one machine have the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colour(u8);

impl Colour {
    /// Of a front that keeps no warm blocks, and of all that is on a stack.
    pub(crate) const NONE: Self = Self(0);
    /// How many there are, with none.
    pub(crate) const COUNT: u32 = 47;

    #[inline(always)]
    pub(crate) const fn get(self) -> u8 {
        self.0
    }
}

/// Which colours are given out.
pub(crate) struct Colours(u64);

impl Colours {
    pub(crate) const NEW: Self = Self(1 << Colour::NONE.0);

    /// One for a front; none if all are given out.
    pub(crate) fn take(&mut self) -> Colour {
        let colour = self.0.trailing_ones();
        if colour >= Colour::COUNT {
            return Colour::NONE;
        }
        self.0 |= 1 << colour;
        Colour(colour as u8)
    }

    pub(crate) fn give(&mut self, colour: Colour) {
        if colour != Colour::NONE {
            self.0 &= !(1 << colour.0);
        }
    }
}

/// One CPU's lists. The caller owns one for each CPU (16 KiB, `const` to make) and
/// hands it to every call made on that CPU, always to one [`Pages`](crate::Pages). The first
/// 46 fronts also keep a warm block of each order; those beyond do without.
#[repr(align(128))]
pub struct CpuFront<'m> {
    pub(crate) colour: Colour,
    /// For each order the block freed last, of the highest zone.
    pub(crate) warm: [Warm<'m>; LISTED_ORDER + 1],
    pub(crate) zones: [ZoneLists; ZONES],
}

impl<'m> CpuFront<'m> {
    /// Empty lists.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self::with(&NOWHERE)
    }

    /// The same; loom's atomics are not `const` to make. One is leaked.
    #[cfg(loom)]
    pub fn new() -> Self {
        extern crate std;
        Self::with(std::boxed::Box::leak(std::boxed::Box::new(AtomicU8::new(0))))
    }

    const fn with(nowhere: &'m AtomicU8) -> Self {
        Self {
            colour: Colour::NONE,
            warm: [Warm::empty(nowhere); LISTED_ORDER + 1],
            zones: [const { ZoneLists::EMPTY }; ZONES],
        }
    }

    /// Puts a block of a listed order on its stack: its zone's place among the fronts, and its
    /// state in use. `false` if that is full.
    #[inline]
    pub(crate) fn push(&mut self, pfn: Pfn, place: usize, order: Order, used: State) -> bool {
        let Some(lists) = self.zones.get_mut(place) else { return false };
        let migrate = used.type_index();
        if order == Order::ZERO {
            lists.single.get_mut(migrate).is_some_and(|stack| stack.push(pfn))
        } else {
            lists.larger(order.get(), migrate).is_some_and(|stack| stack.push(pfn))
        }
    }

    /// Frames in its lists. O(lists).
    pub fn frames(&self) -> u32 {
        let zone_frames = |zone: &ZoneLists| {
            let single: usize = zone.single.iter().map(|stack| stack.len).sum();
            let larger = zone.larger.iter().enumerate().map(|(nth, stacks)| {
                stacks.iter().map(|stack| stack.len << (nth + 1)).sum::<usize>()
            });
            single + larger.sum::<usize>()
        };
        let warm = |(nth, warm): (usize, &Warm<'_>)| usize::from(warm.get().is_some()) << nth;
        let warm = self.warm.iter().enumerate().map(warm).sum::<usize>();
        (self.zones.iter().map(zone_frames).sum::<usize>() + warm) as u32
    }
}

impl Default for CpuFront<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// How many blocks a refill takes.
pub(crate) const fn batch(order: Order) -> usize {
    BATCHES[order.get()]
}

/// How many a flush gives back: half of the list.
pub(crate) const fn flush_batch(order: Order) -> usize {
    if order.get() == 0 { HIGH / 2 } else { HIGH_LARGER / 2 }
}
