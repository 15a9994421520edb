//! The block of an order that a CPU freed last: its frame's byte says whether it is here.
//!
//! ```text
//!   waiting: of this order, the front's colour     byte == waiting: here, and nowhere else
//!   alloc   byte == waiting, asked for as `used`  ─► byte = used       one store
//!   free    the same number, byte == used         ─► byte = waiting    one store
//! ```
//! No two fronts have one colour. So the byte alone says that the block is free *and* that
//! this front has it: a pair of calls is two stores to one byte, and what it loads is
//! compared, not computed with. Number and place of a block that left stay: most often it
//! comes back, and they need not be written again.
//!
//! Invariant: a block whose byte is `waiting` is here, and on no stack; it leaves by a request.
//! What is freed while one is here goes to the stack.

use crate::atomic::AtomicU8;
use crate::cpu::Colour;
use crate::frame::Pfn;
use crate::state::{self, FrameMap, State};

/// Tells the compiler that this way is the other one.
#[inline(always)]
#[cold]
const fn seldom() {}

/// What [`Warm::keep`] did.
pub(crate) enum Keep<'m> {
    /// Marked and kept.
    Kept,
    /// Nothing: another one of its kind is here. The block's byte, and that kind.
    Full(&'m AtomicU8, State),
    /// Nothing: of another kind or zone, or not in use.
    Refused,
}

/// A block freed last, here or gone again; and of which kind the next may be.
#[derive(Clone, Copy)]
pub(crate) struct Warm<'m> {
    byte: &'m AtomicU8,
    pfn: Pfn,
    /// Of a block that is taken.
    used: State,
    /// Of one that the short way keeps: the same, or of none if frees are exact.
    keeps: State,
    waiting: State,
}

impl<'m> Warm<'m> {
    /// None, of no kind; `nowhere` is no frame's byte.
    pub(crate) const fn empty(nowhere: &'m AtomicU8) -> Self {
        let (used, keeps, waiting) = (State::OF_NONE, State::OF_NONE, State::OF_NONE);
        Self { byte: nowhere, pfn: Pfn::new(0), used, keeps, waiting }
    }

    /// Forgets the block, which has gone elsewhere, and the kind.
    pub(crate) fn clear(&mut self) {
        *self = Self::empty(self.byte);
    }

    /// Takes the block, if it is here and of this kind, and marks it as in use.
    #[inline(always)]
    pub(crate) fn take(&self, used: State) -> Option<Pfn> {
        // One branch for both: a pair has few instructions beside its branches.
        if state::load(self.byte).differs(self.waiting) | self.used.differs(used) != 0 {
            seldom();
            return None;
        }
        state::store(self.byte, used);
        Some(self.pfn)
    }

    /// Keeps a block in use, if none is here and it is of the kind that was here last, and
    /// marks it as waiting.
    #[inline(always)]
    pub(crate) fn keep(&mut self, pfn: Pfn, frames: &FrameMap<'m>) -> Keep<'m> {
        let another = self.pfn.get() ^ pfn.get();
        if another | u32::from(state::load(self.byte).differs(self.keeps)) != 0 {
            seldom();
            return if another != 0 { self.keep_another(pfn, frames) } else { Keep::Refused };
        }
        state::store(self.byte, self.waiting);
        Keep::Kept
    }

    #[inline(always)]
    fn keep_another(&mut self, pfn: Pfn, frames: &FrameMap<'m>) -> Keep<'m> {
        let Some(byte) = frames.byte(frames.index(pfn)) else { return Keep::Refused };
        if state::load(byte) != self.keeps {
            return Keep::Refused;
        }
        if state::load(self.byte) == self.waiting {
            return Keep::Full(byte, self.used);
        }
        (self.pfn, self.byte) = (pfn, byte);
        state::store(byte, self.waiting);
        Keep::Kept
    }

    /// The block, if it is here, and its state in use.
    pub(crate) fn get(&self) -> Option<(Pfn, State)> {
        let here = state::load(self.byte) == self.waiting;
        here.then_some((self.pfn, self.used))
    }

    /// From now on, this is the block, whose byte is stored; of any kind. `exact`: the short
    /// way keeps none.
    pub(crate) fn set(
        &mut self,
        pfn: Pfn,
        byte: &'m AtomicU8,
        used: State,
        colour: Colour,
        exact: bool,
    ) {
        let keeps = if exact { State::OF_NONE } else { used };
        let waiting = State::waiting(used.order(), colour);
        *self = Self { byte, pfn, used, keeps, waiting };
    }
}
