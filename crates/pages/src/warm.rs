//! The block of an order that a CPU freed last, in one word beside its stacks.
//!
//! ```text
//!   63      40 39       32 31                  0
//!        0     state in use   !frame number         low half 0: none
//! ```
//! A pair of calls is bound by its stores, one a cycle, and by the chain from a store of the
//! word to the load of it. So the kind stays when the block goes (one store, of a
//! constant), the number is kept as its complement (putting it in is one addition), and
//! what the word holds is checked together with the frame's bounds: of another kind, or
//! empty, it is past the end of every zone.

use crate::atomic::AtomicU8;
use crate::frame::Pfn;
use crate::state::{self, FrameMap, State};

const KIND_SHIFT: u32 = 32;

/// The bytes of the highest zone, as the quick ways reach them.
pub(crate) struct Quick<'m> {
    /// The first frame's number, plus one.
    first: u64,
    bytes: &'m [AtomicU8],
}

impl<'m> Quick<'m> {
    pub(crate) fn new(map: FrameMap<'m>) -> Self {
        Self { first: u64::from(map.pfn(0).get()) + 1, bytes: map.bytes() }
    }

    /// Of no frame.
    pub(crate) const EMPTY: Self = Self { first: 0, bytes: &[] };

    /// The byte of the frame before number `next`.
    #[inline(always)]
    fn byte_before(&self, next: u64) -> Option<&'m AtomicU8> {
        self.bytes.get(next.wrapping_sub(self.first) as usize)
    }
}

/// Tells the compiler that this way is the other one.
#[inline(always)]
#[cold]
const fn seldom() {}

/// What [`Warm::keep`] did.
pub(crate) enum Keep {
    /// Marked and kept.
    Kept,
    /// Nothing: this other block of its kind is here. The kind, as the state in use.
    Full(Pfn, State),
    /// Nothing: of another kind or zone, or not in use.
    Refused,
}

/// A block freed last, or none; and of which kind the next may be.
pub(crate) struct Warm(u64);

impl Warm {
    /// None, of no kind: no byte is that large.
    pub(crate) const EMPTY: Self = Self(0x100 << KIND_SHIFT);

    #[inline(always)]
    const fn none_of(used: State) -> u64 {
        (used.bits() as u64) << KIND_SHIFT
    }

    /// Takes the block, if it is of this kind, and marks it as in use.
    #[inline(always)]
    pub(crate) fn take(&mut self, used: State, frames: &Quick<'_>) -> Option<Pfn> {
        let next = self.0 ^ Self::none_of(used);
        let Some(byte) = frames.byte_before(next) else {
            seldom();
            return None;
        };
        let pfn = Pfn::new((self.0 as u32).wrapping_sub(1));
        self.0 = Self::none_of(used);
        state::store(byte, used);
        Some(pfn)
    }

    /// Keeps a block in use, if there is none and it is of the kind that was here last, and
    /// marks it as waiting.
    #[inline(always)]
    pub(crate) fn keep(&mut self, pfn: Pfn, frames: &Quick<'_>) -> Keep {
        // Loaded before the byte, which hangs on the frame's number.
        let before = self.0;
        let next = u64::from(pfn.get()) + 1;
        let Some(byte) = frames.byte_before(next) else { return Keep::Refused };
        let state = state::load(byte);
        if before == Self::none_of(state) {
            self.0 = before + next;
            state::store(byte, state.cached());
            return Keep::Kept;
        }
        seldom();
        let kind = (before >> KIND_SHIFT) as u32;
        if kind == u32::from(state.bits()) {
            return Keep::Full(Pfn::new(before as u32 - 1), State::from_bits(kind as u8));
        }
        Keep::Refused
    }

    /// Keeps a block that is marked; the one before, if there is one, and its state in use.
    #[inline(always)]
    pub(crate) fn replace(&mut self, pfn: Pfn, used: State) -> Option<(Pfn, State)> {
        let before = core::mem::replace(self, Self(Self::none_of(used) + u64::from(pfn.get()) + 1));
        before.get()
    }

    /// Gives it away, whatever it is, still marked.
    pub(crate) fn empty(&mut self) -> Option<(Pfn, State)> {
        core::mem::replace(self, Self::EMPTY).get()
    }

    pub(crate) const fn is_some(&self) -> bool {
        self.0 as u32 != 0
    }

    #[inline]
    const fn get(&self) -> Option<(Pfn, State)> {
        let used = State::from_bits((self.0 >> KIND_SHIFT) as u8);
        if self.is_some() { Some((Pfn::new(self.0 as u32 - 1), used)) } else { None }
    }
}
