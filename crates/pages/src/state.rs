//! One byte a frame: what it is, in which order, for whom.
//!
//! ```text
//!   7 6   5 4   3 2 1 0
//!   kind  type  order        kind 0 absent: a hole, or not added yet
//!                                 1 free, or inside a block (not its first frame)
//!                                 2 first frame of a block in use
//!                                 3 the same, waiting in a per-CPU list
//! ```
//! The bytes are atomic, so that a CPU's front can check and mark its own blocks
//! without the zone's lock. Loads and stores are plain (relaxed): a block has one
//! owner, and only a double free brings two to one byte.

use crate::atomic::{AtomicU8, Relaxed};
use crate::frame::{Order, Pfn};
use crate::migrate::MigrateType;
use core::fmt;

const KIND: u8 = 0b1100_0000;
const TYPE_SHIFT: u32 = 4;
const ORDER: u8 = 0b0000_1111;
const ABSENT: u8 = 0;
const PLAIN: u8 = 1 << 6;
const USED: u8 = 2 << 6;
const CACHED: u8 = 3 << 6;

/// A frame's byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct State(u8);

impl State {
    pub(crate) const ABSENT: Self = Self(ABSENT);
    pub(crate) const PLAIN: Self = Self(PLAIN);

    #[inline]
    pub(crate) const fn used(order: Order, migrate: MigrateType) -> Self {
        Self(USED | (migrate as u8) << TYPE_SHIFT | order.get() as u8)
    }

    #[inline]
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    #[inline]
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) const fn cached(self) -> Self {
        Self(self.0 | CACHED)
    }

    #[inline]
    pub(crate) const fn is_used_as(self, order: Order) -> bool {
        self.0 & (KIND | ORDER) == USED | order.get() as u8
    }

    #[inline]
    pub(crate) const fn is_cached_as(self, order: Order) -> bool {
        self.0 & (KIND | ORDER) == CACHED | order.get() as u8
    }

    #[inline]
    pub(crate) const fn is_used(self) -> bool {
        self.0 & KIND == USED
    }

    #[inline]
    pub(crate) const fn is_cached(self) -> bool {
        self.0 & KIND == CACHED
    }

    #[inline]
    pub(crate) const fn is_head(self) -> bool {
        self.0 & USED != 0
    }

    #[inline]
    pub(crate) const fn is_absent(self) -> bool {
        self.0 & KIND == ABSENT
    }

    #[inline]
    pub(crate) const fn order(self) -> Order {
        Order::of((self.0 & ORDER) as usize)
    }

    #[inline]
    pub(crate) const fn migrate(self) -> MigrateType {
        MigrateType::from_bits(self.0 >> TYPE_SHIFT)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = ["absent", "plain", "used", "cached"][(self.0 >> 6) as usize];
        write!(f, "{kind} order {} {}", self.0 & ORDER, self.migrate().name())
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

    pub(crate) const fn bytes(&self) -> &'m [AtomicU8] {
        self.bytes
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
