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
    word: Word,
}

/// All that a call compares, so that one load brings it.
///
/// ```text
///   63        32 31   24 23   16 15    8 7      0
///     frame         0     keeps    used   waiting
/// ```
#[derive(Clone, Copy)]
struct Word(u64);

impl Word {
    const USED: u32 = 8;
    const KEEPS: u32 = 16;
    const FRAME: u32 = 32;

    /// `used`: of the block that is taken. `keeps`: of one that the short way keeps, the same,
    /// or of none if frees are exact.
    const fn new(pfn: Pfn, keeps: State, used: State, waiting: State) -> Self {
        Self(
            (pfn.get() as u64) << Self::FRAME
                | (keeps.bits() as u64) << Self::KEEPS
                | (used.bits() as u64) << Self::USED
                | waiting.bits() as u64,
        )
    }

    #[inline(always)]
    const fn waiting(self) -> State {
        State::of_bits(self.0 as u8)
    }

    const fn used(self) -> State {
        State::of_bits((self.0 >> Self::USED) as u8)
    }

    const fn keeps(self) -> State {
        State::of_bits((self.0 >> Self::KEEPS) as u8)
    }

    #[inline(always)]
    const fn pfn(self) -> Pfn {
        Pfn::new((self.0 >> Self::FRAME) as u32)
    }

    /// Whether a block of this kind waits, whose byte is `state`.
    #[inline(always)]
    const fn gives(self, used: State, state: State) -> bool {
        self.0 as u16 == (used.bits() as u16) << Self::USED | state.bits() as u16
    }

    /// Whether it is this block, and `state` that of one that may be kept.
    #[inline(always)]
    const fn keeps_this(self, pfn: Pfn, state: State) -> bool {
        const FRAME: u32 = Word::FRAME - Word::KEEPS;
        self.0 >> Self::KEEPS == (pfn.get() as u64) << FRAME | state.bits() as u64
    }
}

impl<'m> Warm<'m> {
    /// None, of no kind; `nowhere` is no frame's byte.
    pub(crate) const fn empty(nowhere: &'m AtomicU8) -> Self {
        let none = State::OF_NONE;
        Self { byte: nowhere, word: Word::new(Pfn::new(0), none, none, none) }
    }

    /// Forgets the block, which has gone elsewhere, and the kind.
    pub(crate) fn clear(&mut self) {
        *self = Self::empty(self.byte);
    }

    /// Takes the block, if it is here and of this kind, and marks it as in use.
    #[inline(always)]
    pub(crate) fn take(&self, used: State) -> Option<Pfn> {
        let word = self.word;
        if !word.gives(used, state::load(self.byte)) {
            seldom();
            return None;
        }
        state::store(self.byte, used);
        Some(word.pfn())
    }

    /// Keeps a block in use, if none is here and it is of the kind that was here last, and
    /// marks it as waiting.
    #[inline(always)]
    pub(crate) fn keep(&mut self, pfn: Pfn, frames: &FrameMap<'m>) -> Keep<'m> {
        let word = self.word;
        if !word.keeps_this(pfn, state::load(self.byte)) {
            seldom();
            let another = word.pfn() != pfn;
            return if another { self.keep_another(pfn, frames) } else { Keep::Refused };
        }
        state::store(self.byte, word.waiting());
        Keep::Kept
    }

    #[inline(always)]
    fn keep_another(&mut self, pfn: Pfn, frames: &FrameMap<'m>) -> Keep<'m> {
        let Some(byte) = frames.byte(frames.index(pfn)) else { return Keep::Refused };
        let word = self.word;
        if state::load(byte) != word.keeps() {
            return Keep::Refused;
        }
        if state::load(self.byte) == word.waiting() {
            return Keep::Full(byte, word.used());
        }
        self.byte = byte;
        self.word = Word::new(pfn, word.keeps(), word.used(), word.waiting());
        state::store(byte, word.waiting());
        Keep::Kept
    }

    /// The block, if it is here, and its state in use.
    pub(crate) fn get(&self) -> Option<(Pfn, State)> {
        let here = state::load(self.byte) == self.word.waiting();
        here.then_some((self.word.pfn(), self.word.used()))
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
        *self = Self { byte, word: Word::new(pfn, keeps, used, waiting) };
    }
}
