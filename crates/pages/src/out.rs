//! Single frames that the zone itself gave out: a bit each, 64 to a word.
//!
//! ```text
//!   bit 1, byte plain    in use, order 0, of its pageblock's type: no front has seen it
//!   bit 0                what the byte says (`state.rs`)
//! ```
//! A front marks bytes, since it holds no lock. The zone does hold it, and its single
//! frames need one bit: freed at random, that is an eighth of the memory to go through.
//! A word whose frames somebody wants to see as bytes is *spelled out* first; it is not
//! turned back.

use crate::frame::{Order, PAGEBLOCK_ORDER};
use crate::state::State;
use crate::zone::Zone;

const PAGEBLOCK: usize = 1 << PAGEBLOCK_ORDER.get();

impl Zone<'_> {
    /// Marks a single frame as given out. Its byte is plain, and its pageblock of its type.
    #[inline(always)]
    pub(crate) fn mark_out(&mut self, index: usize) {
        if let Some(word) = self.words.get_mut(self.out + index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    /// Takes the mark off; `false` if there is none.
    #[inline(always)]
    pub(crate) fn take_out(&mut self, index: usize) -> bool {
        let Some(word) = self.words.get_mut(self.out + index / 64) else { return false };
        let bit = 1 << (index % 64);
        let marked = *word & bit != 0;
        if marked {
            *word ^= bit;
        }
        marked
    }

    /// What a frame is, whoever gave it out.
    pub(crate) fn state_at(&self, index: usize) -> State {
        if index < self.map.len() && self.words[self.out + index / 64] >> (index % 64) & 1 != 0 {
            return State::used(Order::ZERO, self.type_at(index));
        }
        self.map.get(index)
    }

    /// Spells out the marks of the word that a frame is in; whether there were any.
    #[inline]
    pub(crate) fn spell_out(&mut self, index: usize) -> bool {
        if index >= self.map.len() {
            return false;
        }
        let marks = core::mem::take(&mut self.words[self.out + index / 64]);
        if marks != 0 {
            self.spell(index & !63, marks);
        }
        marks != 0
    }

    #[inline(never)]
    fn spell(&mut self, base: usize, mut marks: u64) {
        let used = State::used(Order::ZERO, self.type_at(base));
        while marks != 0 {
            self.map.set(base + marks.trailing_zeros() as usize, used);
            marks &= marks - 1;
        }
    }

    /// The same for a pageblock, before its type changes.
    pub(crate) fn spell_out_pageblock(&mut self, block: usize) {
        for index in (block..block + PAGEBLOCK).step_by(64) {
            self.spell_out(index);
        }
    }
}
