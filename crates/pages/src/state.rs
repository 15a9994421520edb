//! One byte a frame: what it is, in which order, for whom.
//!
//! ```text
//!   0                    absent: a hole, or not added yet
//!   1                    free, or inside a block (not its first frame)
//!   4 + 4 colour + order first frame of a block that waits in a per-CPU list (orders 0 to
//!                        3); the warm one of a front carries its colour (`warm.rs`)
//!   11 type:2 order:4    the same of a block in use
//! ```
//! The bytes are atomic, so that a CPU's front can check and mark its own blocks
//! without the zone's lock. Loads and stores are plain (relaxed): a block has one
//! owner, and only a double free brings two to one byte.

use crate::atomic::{AtomicU8, Relaxed};
use crate::cpu::{Colour, LISTED_ORDER};
use crate::frame::{ORDERS, Order, Pfn};
use crate::migrate::{MIGRATE_TYPES, MigrateType};
use core::fmt;

const ABSENT: u8 = 0;
const PLAIN: u8 = 1;
const TYPE_SHIFT: u32 = 4;
const USED: u8 = 0b1100_0000;
const ORDER: u8 = 0b0000_1111;
const WAITING: u8 = 4;
const COLOUR_SHIFT: u32 = 2;
const LISTED: u8 = 0b11;

const _: () = assert!(LISTED_ORDER == LISTED as usize && ORDERS <= ORDER as usize + 1);
const _: () = assert!(MIGRATE_TYPES <= 4);
const _: () = assert!(WAITING as u32 + (Colour::COUNT << COLOUR_SHIFT) <= USED as u32);

/// A frame's byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct State(u8);

impl State {
    pub(crate) const ABSENT: Self = Self(ABSENT);
    pub(crate) const PLAIN: Self = Self(PLAIN);
    /// No frame's byte.
    pub(crate) const OF_NONE: Self = Self(2);

    #[inline]
    pub(crate) const fn used(order: Order, migrate: MigrateType) -> Self {
        Self(USED | (migrate as u8) << TYPE_SHIFT | order.get() as u8)
    }

    /// Of an order that has lists.
    #[inline]
    pub(crate) const fn waiting(order: Order, colour: Colour) -> Self {
        Self(WAITING + (colour.get() << COLOUR_SHIFT) + (order.get() as u8 & LISTED))
    }

    /// As a number, to be kept beside others.
    #[inline(always)]
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    #[inline(always)]
    pub(crate) const fn of_bits(bits: u8) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) const fn is_used_as(self, order: Order) -> bool {
        self.0 & (USED | ORDER) == USED | order.get() as u8
    }

    #[inline]
    pub(crate) const fn is_waiting_as(self, order: Order) -> bool {
        self.is_waiting() && self.0 & LISTED == order.get() as u8
    }

    #[inline]
    pub(crate) const fn is_used(self) -> bool {
        self.0 >= USED
    }

    #[inline]
    pub(crate) const fn is_waiting(self) -> bool {
        self.0.wrapping_sub(WAITING) < USED - WAITING
    }

    #[inline]
    pub(crate) const fn is_head(self) -> bool {
        self.0 >= WAITING
    }

    #[inline]
    pub(crate) const fn is_absent(self) -> bool {
        self.0 == ABSENT
    }

    /// Of a block's first frame.
    #[inline]
    pub(crate) const fn order(self) -> Order {
        Order::of((self.0 & if self.is_waiting() { LISTED } else { ORDER }) as usize)
    }

    /// Of a block in use.
    #[inline]
    pub(crate) const fn migrate(self) -> MigrateType {
        MigrateType::from_bits(self.type_index() as u8)
    }

    /// The same as an index.
    #[inline(always)]
    pub(crate) const fn type_index(self) -> usize {
        (self.0 >> TYPE_SHIFT & 3) as usize
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ABSENT => f.write_str("absent"),
            Self::PLAIN => f.write_str("plain"),
            waiting if waiting.is_waiting() => write!(f, "waiting order {}", self.order().get()),
            _ => write!(f, "used order {} {}", self.order().get(), self.migrate().name()),
        }
    }
}

/// The bytes of a zone's frames, shared by the zone and the fronts.
#[derive(Clone, Copy)]
pub(crate) struct FrameMap<'m> {
    base: u32,
    bytes: &'m [AtomicU8],
}

impl<'m> FrameMap<'m> {
    pub(crate) const fn new(base: Pfn, bytes: &'m [AtomicU8]) -> Self {
        Self { base: base.get(), bytes }
    }

    pub(crate) const fn empty() -> Self {
        Self { base: 0, bytes: &[] }
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A frame's place in the zone; past the end for frames of other zones.
    #[inline]
    pub(crate) const fn index(&self, pfn: Pfn) -> usize {
        pfn.get().wrapping_sub(self.base) as usize
    }

    #[inline]
    pub(crate) const fn pfn(&self, index: usize) -> Pfn {
        Pfn::new(self.base + index as u32)
    }

    /// The byte of a frame; `None` for frames of other zones.
    #[inline]
    pub(crate) fn byte(&self, index: usize) -> Option<&'m AtomicU8> {
        self.bytes.get(index)
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> State {
        self.bytes.get(index).map_or(State::ABSENT, load)
    }

    #[inline]
    pub(crate) fn set(&self, index: usize, state: State) {
        if let Some(byte) = self.bytes.get(index) {
            store(byte, state);
        }
    }

    /// Sets the first frames of `count` blocks of `order` from `index` on.
    #[inline]
    pub(crate) fn fill_every(&self, index: usize, count: usize, order: usize, state: State) {
        if order == 0 {
            return self.fill(index, count, state);
        }
        for byte in self.bytes.iter().skip(index).step_by(1 << order).take(count) {
            store(byte, state);
        }
    }

    /// Sets `count` frames from `index` on.
    #[inline]
    pub(crate) fn fill(&self, index: usize, count: usize, state: State) {
        for byte in self.bytes.get(index..index + count).unwrap_or_default() {
            store(byte, state);
        }
    }
}

#[inline]
pub(crate) fn load(byte: &AtomicU8) -> State {
    State(byte.load(Relaxed))
}

#[inline]
pub(crate) fn store(byte: &AtomicU8, state: State) {
    byte.store(state.0, Relaxed);
}

/// Stores `new`, if it is still `old`.
#[inline]
pub(crate) fn exchange(byte: &AtomicU8, old: State, new: State) -> bool {
    byte.compare_exchange(old.0, new.0, Relaxed, Relaxed).is_ok()
}
