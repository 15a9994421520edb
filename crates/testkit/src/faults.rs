//! Which calls to the kernel fail: the Nth, some kinds, all from the Nth on.

/// A kind of call that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the methods of Os")]
pub enum Kind {
    Sbrk,
    Map,
    Reserve,
    Commit,
    Unmap,
    Remap,
    Purge,
}

/// Every kind.
pub const ALL: u32 = 0x7f;
/// The kinds by which the allocator asks for memory.
pub const ASKING: u32 = 0b010_1111;

impl Kind {
    /// Its bit in a set of kinds.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The plan.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Calls of the kinds in `kinds` so far.
    pub calls: u64,
    /// Calls refused so far.
    pub refused: u64,
    /// The first call that fails, counted from 1; 0 for none.
    pub first: u64,
    /// How many fail from there on.
    pub length: u64,
    /// Only these kinds count and fail.
    pub kinds: u32,
}

impl Faults {
    /// Nothing fails.
    #[must_use]
    pub const fn none() -> Self {
        Self { calls: 0, refused: 0, first: 0, length: 0, kinds: ALL }
    }

    /// From the next call on, the `nth` of `kinds` fails, and `length` in all.
    pub const fn plan(&mut self, nth: u64, length: u64, kinds: u32) {
        self.first = self.calls + nth;
        self.length = length;
        self.kinds = kinds;
    }

    /// Nothing fails any more.
    pub const fn lift(&mut self) {
        self.first = 0;
    }

    /// Counts a call; true if it fails.
    pub const fn strikes(&mut self, kind: Kind) -> bool {
        if self.kinds & kind.bit() == 0 {
            return false;
        }
        self.calls += 1;
        let hit =
            self.first != 0 && self.calls >= self.first && self.calls - self.first < self.length;
        if hit {
            self.refused += 1;
        }
        hit
    }
}
