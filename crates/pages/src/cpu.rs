//! What one CPU keeps in front of the buddy: stacks of ready blocks.
//!
//! ```text
//!   warm              the block freed last    ▲ push, pop: one CPU, no lock, newest first
//!   single[type]        256 frames            │
//!   larger[order][type]  64 blocks            │
//!                     ▼ empty: a batch at once from the buddy; full: the older half back
//! ```
//! The warm block stands beside the stacks, under a kind that is compared: a stack's
//! length is stored and loaded again at each step, and its address hangs on the
//! frame's byte, so a pair would wait for memory three times in a row; through the
//! warm block it waits once.
//!
//! Linux's per-cpu pagesets for orders 0 to 3, with its batch of 63 rounded up to
//! a word: 64 neighbours share one cache line of frame bytes, so two CPUs that
//! refill do not share one. Larger orders go straight to the buddy.

use crate::frame::{Order, Pfn};
use crate::migrate::MIGRATE_TYPES;
use crate::state::State;
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

/// What a listed block is: its zone's place among the fronts, its order and type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind(u32);

impl Kind {
    #[inline]
    pub(crate) const fn new(place: usize, used: State) -> Self {
        Self((place as u32) << 8 | used.bits() as u32)
    }

    #[inline]
    pub(crate) const fn place(self) -> usize {
        (self.0 >> 8) as usize
    }

    /// The state of its first frame in use.
    #[inline]
    pub(crate) const fn used(self) -> State {
        State::from_bits(self.0 as u8)
    }
}

/// The block that was freed last.
pub(crate) struct Warm {
    /// [`Warm::NONE`] if there is none: no zone reaches that far.
    pfn: Pfn,
    kind: Kind,
}

impl Warm {
    const NONE: Pfn = Pfn::new(u32::MAX);
    const EMPTY: Self = Self { pfn: Self::NONE, kind: Kind(0) };

    /// Takes it, if it is of this kind.
    #[inline(always)]
    pub(crate) fn take(&mut self, kind: Kind) -> Option<Pfn> {
        if self.kind == kind && self.pfn != Self::NONE {
            return Some(core::mem::replace(&mut self.pfn, Self::NONE));
        }
        None
    }

    /// Keeps a block of the kind that was kept last; `false` if it may not.
    #[inline(always)]
    pub(crate) fn keep(&mut self, pfn: Pfn, kind: Kind) -> bool {
        let may = self.pfn == Self::NONE && self.kind == kind;
        if may {
            self.pfn = pfn;
        }
        may
    }

    /// Keeps a block; the one before, if there is one.
    #[inline(always)]
    pub(crate) fn put(&mut self, pfn: Pfn, kind: Kind) -> Option<(Pfn, Kind)> {
        let before = (self.pfn, self.kind);
        (self.pfn, self.kind) = (pfn, kind);
        (before.0 != Self::NONE).then_some(before)
    }

    /// Takes it, whatever it is.
    pub(crate) fn empty(&mut self) -> Option<(Pfn, Kind)> {
        let pfn = core::mem::replace(&mut self.pfn, Self::NONE);
        (pfn != Self::NONE).then_some((pfn, self.kind))
    }
}

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

/// One CPU's lists. The caller owns one for each CPU (16 KiB, `const` to make) and
/// hands it to every call made on that CPU.
#[repr(align(128))]
pub struct CpuFront {
    pub(crate) warm: Warm,
    pub(crate) zones: [ZoneLists; ZONES],
}

impl CpuFront {
    /// Empty lists.
    pub const fn new() -> Self {
        Self { warm: Warm::EMPTY, zones: [const { ZoneLists::EMPTY }; ZONES] }
    }

    /// Puts a block of a listed order on its stack; `false` if that is full.
    #[inline]
    pub(crate) fn push(&mut self, pfn: Pfn, kind: Kind) -> bool {
        let Some(lists) = self.zones.get_mut(kind.place()) else { return false };
        let (order, migrate) = (kind.used().order(), kind.used().migrate().index());
        if order == Order::ZERO {
            lists.single[migrate].push(pfn)
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
        let warm =
            if self.warm.pfn == Warm::NONE { 0 } else { self.warm.kind.used().order().frames() };
        self.zones.iter().map(zone_frames).sum::<usize>() as u32 + warm
    }
}

impl Default for CpuFront {
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
